package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/anchore/syft/syft/sbom"
	"github.com/moby/sys/atomicwriter"
	"github.com/spf13/cobra"

	"github.com/temper-images/temper/client/build"
	"github.com/temper-images/temper/client/catalogue"
	"github.com/temper-images/temper/client/imagefs"
	"github.com/temper-images/temper/client/inspect"
	"github.com/temper-images/temper/client/settings"
	"github.com/temper-images/temper/client/stage"
	"github.com/temper-images/temper/client/subject"
	"github.com/temper-images/temper/client/telemetry"
)

func newInspect(records *telemetry.Options) *cobra.Command {
	c := &inspectCommand{}
	cmd := &cobra.Command{
		Use:   "inspect [flags] IMAGE",
		Short: "Judge an image by its configuration, files, secrets and licences",
		Long: `Judge an image by its configuration, the modes of its files, secrets in them and in
files that were removed, and the licences of its packages.

IMAGE is the directory of an OCI layout, an OCI or Docker archive, or a registry's
reference. The policy is that of the sections inspect and licences in temper.yaml;
the flags add to it. --rules lists the rules.

The result goes to standard output. With --output the document
inspect-NAME-ARCH.json is written into a directory as well. No secret is shown.

Exit codes: 0 when the image may pass, 5 when it may not.`,
		Example: `  temper inspect app.oci
  temper inspect app.oci --fail 'file.*' --off file.setgid --deny-licence 'AGPL-*'
  temper inspect registry.example.com/team/app:1 --format json`,
		Args: func(cmd *cobra.Command, args []string) error {
			if c.rules {
				return cobra.NoArgs(cmd, args)
			}
			return cobra.ExactArgs(1)(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if c.rules {
				return writeRules(cmd.OutOrStdout())
			}
			c.changed = cmd.Flags().Changed
			return withTelemetry(cmd, *records, func(ctx context.Context, t *telemetry.Telemetry) error {
				return c.run(ctx, cmd, t, args[0])
			})
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&c.settings, "settings", "", "File to take the policy from (default: temper.yaml in the current directory)")
	flags.StringVar(&c.gate, "gate", "fail", "What becomes of an image that breaks a rule: fail, warn, off")
	flags.StringSliceVar(&c.fail, "fail", nil, "Rules that refuse the image, by name or glob")
	flags.StringSliceVar(&c.warn, "warn", nil, "Rules that are only told")
	flags.StringSliceVar(&c.off, "off", nil, "Rules that are not asked")
	flags.StringSliceVar(&c.allow, "allow-licence", nil, "The only licences that may be there, SPDX identifiers or globs")
	flags.StringSliceVar(&c.deny, "deny-licence", nil, "Licences that must not be there")
	flags.BoolVar(&c.rules, "rules", false, "List the rules")
	flags.StringVar(&c.format, "format", formatTable, "What is shown: table, json")
	flags.StringVarP(&c.dir, "output", "o", "", "Directory for the documents")
	flags.StringArrayVar(&c.platforms, "platform", nil, "Platforms of IMAGE (default: all)")
	flags.BoolVar(&c.insecure, "allow-insecure-registry", false, "Allow registries over HTTP, and HTTPS with certificates that nobody vouches for")
	flags.StringVar(&c.progress.progress, "progress", "auto", "Progress: auto, plain, tty, rawjson, none (environment: BUILDKIT_PROGRESS)")
	return cmd
}

// The formats of temper inspect.
const (
	formatTable = "table"
	formatJSON  = "json"
)

// inspectCommand is what temper inspect was asked. What no flag says comes from
// temper.yaml.
type inspectCommand struct {
	progress        progressFlags
	settings, gate  string
	fail, warn, off []string
	allow, deny     []string
	rules, insecure bool
	format, dir     string
	platforms       []string

	// changed says whether a flag was given.
	changed func(name string) bool
}

func (c *inspectCommand) run(ctx context.Context, cmd *cobra.Command, t *telemetry.Telemetry, spec string) error {
	mode, err := c.progress.displayMode()
	if err != nil {
		return err
	}
	if mode, err = besideRecords(mode, t.Format()); err != nil {
		return err
	}
	policy, err := c.policy()
	if err != nil {
		return err
	}
	catalogue.Warm()
	set, err := subject.Open(ctx, spec, subject.Options{Platforms: c.platforms, Keychain: keychain(ctx), Insecure: c.insecure})
	if err != nil {
		return err
	}
	defer set.Close()
	if c.format == formatJSON && len(set.Images) > 1 {
		return &build.InputError{Err: fmt.Errorf("--format json shows one image and there are %d: choose with --platform", len(set.Images))}
	}
	show, err := openDisplay(ctx, cmd.ErrOrStderr(), mode, "inspecting "+spec)
	if err != nil {
		return err
	}
	steps := runner(t, show)
	documents := make([]*inspect.Document, len(set.Images))
	for i, img := range set.Images {
		if documents[i], err = inspectImage(ctx, steps, img, policy); err != nil {
			break
		}
	}
	show.Close()
	if err != nil {
		return err
	}
	return c.tell(cmd.OutOrStdout(), set.Images, documents)
}

// policy is that of temper.yaml with what the flags say.
func (c *inspectCommand) policy() (inspect.Policy, error) {
	if c.format != formatTable && c.format != formatJSON {
		return inspect.Policy{}, &build.InputError{Err: fmt.Errorf("--format %s: it is one of %s, %s", c.format, formatTable, formatJSON)}
	}
	s, err := settings.Load(settings.Options{Context: ".", File: c.settings})
	if err != nil {
		return inspect.Policy{}, &build.InputError{Err: err}
	}
	p := inspect.FromConfig(s.Inspect, s.Licences)
	if c.changed("gate") {
		p.Gate = inspect.Action(c.gate)
		p.Licences.Gate = p.Gate
	}
	// What is on the command line goes before what the file says of the same rule.
	given := slices.Concat(c.fail, c.warn, c.off)
	for _, l := range []struct {
		to    *[]string
		flags []string
	}{{&p.Fail, c.fail}, {&p.Warn, c.warn}, {&p.Off, c.off}} {
		*l.to = slices.DeleteFunc(slices.Clone(*l.to), func(r string) bool { return slices.Contains(given, r) })
		*l.to = append(*l.to, l.flags...)
	}
	p.Licences.Allow = slices.Concat(p.Licences.Allow, c.allow)
	p.Licences.Deny = slices.Concat(p.Licences.Deny, c.deny)
	return p, p.Check()
}

// inspectImage catalogues and inspects one image.
func inspectImage(ctx context.Context, steps *stage.Runner, img *subject.Image, p inspect.Policy) (out *inspect.Document, err error) {
	about := []slog.Attr{slog.String("image", img.Digest.String()), slog.String("platform", img.Platform)}
	var fsys *imagefs.FS
	var found *sbom.SBOM
	err = steps.Run(ctx, "["+img.Platform+"] catalogue", stage.Catalogue, func(ctx context.Context, step *stage.Step) (err error) {
		var size int64
		if fsys, err = imagefs.Open(ctx, img.Image, imagefs.Options{Progress: func(done, total int64) {
			size = total
			step.Progress("reading layers", done, total)
		}}); err != nil {
			return err
		}
		o := catalogue.Options{Reference: cmp.Or(img.Reference, img.Name), Version: version()}
		if found, err = catalogue.Image(ctx, img.Image, fsys, o); err != nil {
			return errors.Join(err, fsys.Close())
		}
		step.Set(append(about, slog.Int("packages", found.Artifacts.Packages.PackageCount()),
			slog.Int("files", fsys.Len()), slog.Int64("size_bytes", size))...)
		return nil
	})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, fsys.Close()) }()
	err = steps.Run(ctx, "["+img.Platform+"] inspect", stage.Inspect, func(ctx context.Context, step *stage.Step) (err error) {
		out, err = inspect.Run(ctx, img, fsys, found, inspect.Options{
			Policy: p, Now: time.Now(),
			Progress: func(done, total int) { step.Progress("searching for secrets", int64(done), int64(total)) },
		})
		if err != nil {
			return err
		}
		step.Set(append(about, slog.String("decision", decisions[out.Outcome]), slog.Int("findings", out.Failures()+out.Warnings()),
			slog.Int("secrets", out.Secrets()), slog.Int("licences", out.LicenceFindings()))...)
		return nil
	})
	return out, err
}

// decisions are the words for outcomes in records.
var decisions = map[string]string{inspect.Passed: "pass", inspect.Warned: "warn", inspect.Refused: "fail"}

// tell shows the results and writes their documents. The error says that an image
// is refused.
func (c *inspectCommand) tell(w io.Writer, images []*subject.Image, documents []*inspect.Document) error {
	var refused error
	for i, d := range documents {
		a, err := d.Artifact(images[i].Arch())
		if err != nil {
			return err
		}
		if c.dir != "" {
			if err := os.MkdirAll(c.dir, 0o755); err != nil { //nolint:gosec // documents are for everybody to read
				return fmt.Errorf("write the inspection: %w", err)
			}
			if err := atomicwriter.WriteFile(filepath.Join(c.dir, a.Name), a.Data, 0o644); err != nil {
				return fmt.Errorf("write the inspection: %w", err)
			}
		}
		if c.format == formatJSON {
			_, err = w.Write(a.Data)
		} else {
			err = d.WriteTable(w)
		}
		if err != nil {
			return err
		}
		if d.Err() != nil {
			refused = codeError(exitRefused)
		}
	}
	return refused
}

func writeRules(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, r := range inspect.Rules() {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n\t\t\t%s\n", r.ID, r.Severity, r.Default, r.Title, r.Remedy)
	}
	return t.Flush()
}
