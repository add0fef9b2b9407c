package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/anchore/syft/syft/sbom"
	"github.com/moby/sys/atomicwriter"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/temper-images/temper/client/build"
	"github.com/temper-images/temper/client/finding"
	"github.com/temper-images/temper/client/gate"
	"github.com/temper-images/temper/client/scan"
	"github.com/temper-images/temper/client/settings"
	"github.com/temper-images/temper/client/stage"
	"github.com/temper-images/temper/client/subject"
	"github.com/temper-images/temper/client/telemetry"
	"github.com/temper-images/temper/client/vex"
	"github.com/temper-images/temper/client/vulndb"
	"github.com/temper-images/temper/frontend/config"
)

// attachedVEX is the word of --vex for what is attached to the image.
const attachedVEX = "attached"

func newScan(records *telemetry.Options) *cobra.Command {
	c := &scanCommand{}
	cmd := &cobra.Command{
		Use:   "scan [flags] IMAGE|SBOM",
		Short: "Find known vulnerabilities in an image, and decide whether it may pass",
		Long: `Find known vulnerabilities in an image, and decide whether it may pass.

IMAGE is the directory of an OCI layout, an OCI or Docker archive, or a registry's
reference. SBOM is a file: Syft's JSON, CycloneDX or SPDX. The scan is Grype's; the
gate is that of the section scan in temper.yaml, which the flags override.

VEX documents, OpenVEX or CSAF, say which findings do not affect the image. With
--vex attached those count that are attached to the image; nobody vouches for them.

One format goes to standard output. With --output the documents
scan-NAME-ARCH.json, scan-NAME-ARCH.sarif, vuln-NAME-ARCH.json and
gate-NAME-ARCH.json are written into a directory as well.

Exit codes: 0 when the image may pass, 5 when it may not.`,
		Example: `  temper scan app.oci
  temper scan app.oci --fail-on critical --only-fixed=false --vex app.openvex.json
  temper scan registry.example.com/team/app:1 --format sarif -o evidence`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c.changed = cmd.Flags().Changed
			return withTelemetry(cmd, *records, func(ctx context.Context, t *telemetry.Telemetry) error {
				return c.run(ctx, cmd, t, args[0])
			})
		},
	}
	flags := cmd.Flags()
	c.database.add(flags)
	flags.StringVar(&c.settings, "settings", "", "File to take the policy from (default: temper.yaml in the current directory)")
	flags.StringVar(&c.gate, "gate", "fail", "What findings that count lead to: fail, warn, off")
	flags.StringSliceVar(&c.failOn, "fail-on", []string{"critical", "high"}, "Severities that count: critical, high, medium, low, negligible, unknown")
	flags.BoolVar(&c.onlyFixed, "only-fixed", true, "Only what an update would fix counts")
	flags.BoolVar(&c.exploited, "exploited", true, "What is known to be exploited (CISA KEV) counts whatever else is said")
	flags.Float64Var(&c.epss, "epss", 0, "Probability of exploitation (EPSS, 0 to 1) from which on a finding counts whatever its severity")
	flags.IntVar(&c.grace, "grace", 0, "Days that a fix may be there before a finding counts")
	flags.StringArrayVar(&c.vex, "vex", nil, "VEX document, a file; or "+attachedVEX+" for those that are attached to the image")
	flags.StringVar(&c.format, "format", scan.FormatTable, "What is shown: "+strings.Join(scan.Formats, ", "))
	flags.StringVarP(&c.dir, "output", "o", "", "Directory for the documents")
	flags.StringArrayVar(&c.platforms, "platform", nil, "Platforms of IMAGE (default: all)")
	flags.BoolVar(&c.database.insecure, "allow-insecure-registry", false, "Allow registries over HTTP, and HTTPS with certificates that nobody vouches for")
	flags.StringVar(&c.progress.progress, "progress", "auto", "Progress: auto, plain, tty, rawjson, none (environment: BUILDKIT_PROGRESS)")
	return cmd
}

// scanCommand is what temper scan was asked. What no flag says comes from
// temper.yaml.
type scanCommand struct {
	database  databaseFlags
	progress  progressFlags
	settings  string
	gate      string
	failOn    []string
	onlyFixed bool
	exploited bool
	epss      float64
	grace     int
	vex       []string
	format    string
	dir       string
	platforms []string

	// changed says whether a flag was given.
	changed  func(name string) bool
	policy   gate.Policy
	files    []*vex.Document
	attached bool
}

// judged is one image with what was found in it.
type judged struct {
	about  gate.Subject
	arch   string
	result *scan.Result
	gate   *gate.Result
}

func (c *scanCommand) run(ctx context.Context, cmd *cobra.Command, t *telemetry.Telemetry, spec string) error {
	mode, err := c.progress.displayMode()
	if err != nil {
		return err
	}
	if mode, err = besideRecords(mode, t.Format()); err != nil {
		return err
	}
	s, err := settings.Load(settings.Options{Context: ".", File: c.settings})
	if err != nil {
		return &build.InputError{Err: err}
	}
	if err := c.prepare(s); err != nil {
		return err
	}
	document, err := isSBOM(spec)
	if err != nil {
		return &build.InputError{Err: err}
	}
	o, err := c.database.options(cmd, s.Scan.Database, s.Scan.MaxAge)
	if err != nil {
		return err
	}
	show, err := openDisplay(ctx, cmd.ErrOrStderr(), mode, "scanning "+spec)
	if err != nil {
		return err
	}
	steps := runner(t, show)
	var warnings []string
	var all []judged
	if document {
		all, warnings, err = c.document(ctx, steps, spec, o)
	} else {
		all, warnings, err = c.images(ctx, steps, spec, o)
	}
	show.Close()
	for _, warning := range warnings {
		fmt.Fprintf(cmd.ErrOrStderr(), "WARNING: %s\n", finding.Plain(warning))
	}
	if err != nil {
		return err
	}
	return c.tell(cmd, all)
}

// prepare reads everything that a user may have got wrong, before anything long.
func (c *scanCommand) prepare(s *settings.Settings) error {
	conf := s.Scan
	if c.changed("gate") {
		conf.Gate = config.Gate(c.gate)
	}
	if c.changed("fail-on") {
		conf.Severities = c.failOn
	}
	if c.changed("only-fixed") {
		conf.Fixed = c.onlyFixed
	}
	if c.changed("exploited") {
		conf.Exploited = c.exploited
	}
	if c.changed("epss") {
		conf.EPSS = c.epss
	}
	if c.changed("grace") {
		conf.Grace = c.grace
	}
	var err error
	if c.policy, err = gate.FromConfig(conf); err != nil {
		return &build.InputError{Err: err}
	}
	if !slices.Contains(scan.Formats, c.format) {
		return &build.InputError{Err: fmt.Errorf("--format %s: it is one of %s", c.format, strings.Join(scan.Formats, ", "))}
	}
	names := slices.Clone(c.vex)
	for _, name := range conf.VEX {
		names = append(names, filepath.Join(s.Dir, name))
	}
	for _, name := range names {
		if name == attachedVEX {
			c.attached = true
			continue
		}
		d, err := vex.ReadFile(name)
		if err != nil {
			return &build.InputError{Err: err}
		}
		c.files = append(c.files, d)
	}
	return nil
}

// isSBOM tells an SBOM from an image: it is a file that begins with a brace or, as
// SPDX's tag-value form, with a letter, and no archive does.
func isSBOM(spec string) (bool, error) {
	fi, err := os.Stat(spec)
	if err != nil || !fi.Mode().IsRegular() {
		// It may be a reference. Whoever opens it says what is wrong.
		return false, nil
	}
	f, err := os.Open(spec)
	if err != nil {
		return false, err
	}
	defer f.Close()
	head := make([]byte, 512)
	n, err := io.ReadFull(f, head)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return false, err
	}
	text := strings.TrimSpace(strings.TrimPrefix(string(head[:n]), "\uFEFF"))
	return strings.HasPrefix(text, "{") || strings.HasPrefix(text, "SPDXVersion:") || strings.HasPrefix(text, "<?xml"), nil
}

// document scans an SBOM.
func (c *scanCommand) document(ctx context.Context, steps *stage.Runner, spec string, o vulndb.Options) (all []judged, warnings []string, err error) {
	db, err := openDatabase(ctx, steps, o)
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	name, _, _ := strings.Cut(filepath.Base(spec), ".")
	one, err := c.judge(ctx, steps, gate.Subject{Name: name}, "sbom", func(ctx context.Context) (*scan.Result, error) {
		return scan.File(ctx, spec, db, scan.Options{VEX: c.files, Image: vex.Image{Name: name}})
	})
	if err != nil {
		return nil, nil, err
	}
	return []judged{one}, slices.Concat(db.Warnings, one.result.Warnings), nil
}

// subjectImage is an image that is ready to be matched.
type subjectImage struct {
	*subject.Image
	sbom  *sbom.SBOM
	vex   []*vex.Document
	about vex.Image
}

// images scans every platform of an image. The database is opened while the first
// is catalogued.
func (c *scanCommand) images(ctx context.Context, steps *stage.Runner, spec string, o vulndb.Options) (all []judged, warnings []string, err error) {
	set, err := subject.Open(ctx, spec, subject.Options{Platforms: c.platforms, Keychain: keychain(ctx), Insecure: c.database.insecure})
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, set.Close()) }()
	if len(set.Images) > 1 && c.format != scan.FormatTable && c.dir == "" {
		return nil, nil, &build.InputError{Err: fmt.Errorf("--format %s shows one document and there are %d images: choose with --platform, or name a directory with --output", c.format, len(set.Images))}
	}
	var db *vulndb.Database
	opened := make(chan struct{})
	group, both := errgroup.WithContext(ctx)
	group.Go(func() (err error) {
		if db, err = openDatabase(both, steps, o); err == nil {
			close(opened)
		}
		return err
	})
	group.Go(func() error {
		for _, img := range set.Images {
			ready, err := c.look(both, steps, img)
			if err != nil {
				return err
			}
			select {
			case <-opened:
			case <-both.Done():
				return context.Cause(both)
			}
			one, err := c.match(both, steps, ready, db)
			if err != nil {
				return err
			}
			all = append(all, one)
		}
		return nil
	})
	err = group.Wait()
	if db != nil {
		warnings = db.Warnings
		err = errors.Join(err, db.Close())
	}
	for _, one := range all {
		warnings = append(warnings, one.result.Warnings...)
	}
	return all, warnings, err
}

func (c *scanCommand) match(ctx context.Context, steps *stage.Runner, img subjectImage, db *vulndb.Database) (judged, error) {
	about := gate.Subject{Name: img.Name, Digest: img.Digest.String(), Platform: img.Platform}
	return c.judge(ctx, steps, about, img.Arch(), func(ctx context.Context) (*scan.Result, error) {
		return scan.Match(ctx, img.sbom, db, scan.Options{VEX: slices.Concat(c.files, img.vex), Image: img.about, Time: img.Created})
	})
}

func (c *scanCommand) look(ctx context.Context, steps *stage.Runner, img *subject.Image) (out subjectImage, err error) {
	out.Image = img
	if out.about, err = scan.About(img); err != nil {
		return out, err
	}
	if c.attached {
		if out.vex, err = scan.AttachedVEX(ctx, img); err != nil {
			return out, err
		}
	}
	out.sbom, err = catalogueImage(ctx, steps, img, []slog.Attr{slog.String("image", img.Digest.String()), slog.String("platform", img.Platform)})
	return out, err
}

// openDatabase opens the vulnerability database, and fetches it where it is due.
func openDatabase(ctx context.Context, steps *stage.Runner, o vulndb.Options) (db *vulndb.Database, err error) {
	err = steps.Run(ctx, "open the vulnerability database", stage.Database, func(ctx context.Context, step *stage.Step) (err error) {
		var fetched int64
		o.Progress = func(p vulndb.Progress) {
			step.Progress(p.Step, p.Done, p.Total)
			if p.Step == vulndb.Downloading {
				fetched = p.Done
			}
		}
		if db, err = vulndb.Open(ctx, o, time.Now()); err != nil {
			return err
		}
		step.Set(slog.String("built", db.Built.Format(time.RFC3339)), slog.String("source", db.Source), slog.String("digest", db.Archive))
		if fetched > 0 {
			step.Set(slog.Int64("size_bytes", fetched))
		}
		return nil
	})
	return db, err
}

// judge scans one image and asks the gate.
func (c *scanCommand) judge(ctx context.Context, steps *stage.Runner, about gate.Subject, arch string, find func(context.Context) (*scan.Result, error)) (judged, error) {
	out := judged{about: about, arch: arch}
	var facts []slog.Attr
	label := about.Name
	if about.Platform != "" {
		facts = []slog.Attr{slog.String("image", about.Digest), slog.String("platform", about.Platform)}
		label = about.Platform
	}
	err := steps.Run(ctx, "["+label+"] scan", stage.Scan, func(ctx context.Context, step *stage.Step) (err error) {
		if out.result, err = find(ctx); err != nil {
			return err
		}
		step.Set(append(facts, scanFacts(out.result)...)...)
		return nil
	})
	if err != nil {
		return out, err
	}
	err = steps.Run(ctx, "["+label+"] gate", stage.Gate, func(_ context.Context, step *stage.Step) (err error) {
		r := out.result
		out.gate, err = gate.Judge(c.policy, gate.Input{
			Subject: about, Findings: r.Findings, Excused: r.Excused, Distribution: r.Distribution, Uncovered: r.Uncovered,
			Database: gate.Database(r.Database),
		}, time.Now())
		if err != nil {
			return err
		}
		step.Set(append(facts, slog.String("decision", out.gate.Verdict()),
			slog.Int("violations", out.gate.Counts.Counts), slog.Int("exceptions", out.gate.Counts.Excepted))...)
		return nil
	})
	return out, err
}

// scanFacts are what the record of a scan says.
func scanFacts(r *scan.Result) []slog.Attr {
	by := map[finding.Severity]int{}
	fixable, exploited := 0, 0
	for _, f := range r.Findings {
		// The record has no words below "low".
		by[max(f.Severity, finding.Low)]++
		if len(f.Fix.Versions) > 0 {
			fixable++
		}
		if f.Exploited != nil {
			exploited++
		}
	}
	return []slog.Attr{
		slog.Int("findings", len(r.Findings)), slog.Int("critical", by[finding.Critical]), slog.Int("high", by[finding.High]),
		slog.Int("medium", by[finding.Medium]), slog.Int("low", by[finding.Low]), slog.Int("fixable", fixable), slog.Int("kev", exploited),
		slog.Int("suppressed", len(r.Excused)),
	}
}

// tell shows the results and writes their documents. The error is the gate's answer
// when one of the images may not pass.
func (c *scanCommand) tell(cmd *cobra.Command, all []judged) error {
	var refused error
	for _, one := range all {
		if err := c.write(one); err != nil {
			return err
		}
		if len(all) > 1 && c.format == scan.FormatTable {
			fmt.Fprintf(cmd.OutOrStdout(), "%s (%s)\n", finding.Plain(one.about.Name), one.about.Platform)
		}
		dt, err := one.result.Format(c.format)
		if err != nil {
			return err
		}
		if len(all) == 1 || c.format == scan.FormatTable {
			if _, err := cmd.OutOrStdout().Write(dt); err != nil {
				return err
			}
		}
		fmt.Fprint(cmd.ErrOrStderr(), one.gate.Summary())
		refused = errors.Join(refused, one.gate.Err())
	}
	return refused
}

// write writes the documents of one image, each whole or not at all.
func (c *scanCommand) write(one judged) error {
	if c.dir == "" {
		return nil
	}
	list, err := one.result.Artifacts(one.about.Name, one.arch, one.about.Platform)
	if err != nil {
		return err
	}
	decision, err := one.gate.Artifact(one.about.Name, one.arch)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(c.dir, 0o755); err != nil { //nolint:gosec // documents are for everybody to read
		return fmt.Errorf("write scan: %w", err)
	}
	for _, a := range append(list, decision) {
		if err := a.Validate(); err != nil {
			return err
		}
		if err := atomicwriter.WriteFile(filepath.Join(c.dir, a.Name), a.Data, 0o644); err != nil {
			return fmt.Errorf("write scan: %w", err)
		}
	}
	return nil
}
