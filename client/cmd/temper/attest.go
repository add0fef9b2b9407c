package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strings"

	"github.com/moby/sys/atomicwriter"
	"github.com/spf13/cobra"

	"github.com/temper-images/temper/client/artifact"
	"github.com/temper-images/temper/client/build"
	"github.com/temper-images/temper/client/provenance"
	"github.com/temper-images/temper/client/stage"
	"github.com/temper-images/temper/client/subject"
	"github.com/temper-images/temper/client/telemetry"
)

// maxPredicate is the largest predicate that is read, in bytes.
const maxPredicate = 40 << 20

func newAttest(records *telemetry.Options) *cobra.Command {
	a := &attestCommand{}
	cmd := &cobra.Command{
		Use:   "attest [flags] IMAGE",
		Short: "Write an in-toto statement about an image: provenance, or any predicate",
		Long: `Write an in-toto statement about an image.

IMAGE is the directory of an OCI layout, an OCI or Docker archive, or a registry's
reference. Each platform of it gets attestation-NAME-ARCH.json.

With --predicate the statement says what FILE says, under --type. Without it, it is
SLSA provenance of what can be seen of a finished image: the image's digest, the
documents about it that lie in --dir (sbom-NAME-ARCH.cdx.json and so on) with their
digests, and what labels and attached provenance claim, marked as claims. It names
no builder and no time: only temper release, which sees the build, can do that.

The statement is not signed. temper sign signs it.`,
		Example: `  temper attest app.oci
  temper attest app.oci --dir evidence -o evidence
  temper attest app.oci --predicate tests.json --type https://in-toto.io/attestation/test-result/v0.1`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return withTelemetry(cmd, *records, func(ctx context.Context, t *telemetry.Telemetry) error {
				return a.run(ctx, cmd, t, args[0])
			})
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&a.predicate, "predicate", "", "File with the predicate, a JSON object, or - for standard input")
	flags.StringVar(&a.typ, "type", "", "Type of the predicate: a URI, or "+strings.Join(provenance.TypeNames(), ", "))
	flags.StringVar(&a.dir, "dir", "", "Directory with the documents about IMAGE")
	flags.StringArrayVar(&a.platforms, "platform", nil, "Platforms of IMAGE (default: all)")
	flags.StringVarP(&a.output, "output", "o", ".", "Directory for the statements; with one statement also a FILE.json, or - for standard output")
	flags.BoolVar(&a.insecure, "allow-insecure-registry", false, "Allow registries over HTTP, and HTTPS with certificates that nobody vouches for")
	return cmd
}

// attestCommand is what temper attest was asked.
type attestCommand struct {
	predicate, typ, dir, output string
	platforms                   []string
	insecure                    bool
}

func (a *attestCommand) run(ctx context.Context, cmd *cobra.Command, t *telemetry.Telemetry, spec string) (err error) {
	predicate, err := a.readPredicate(cmd.InOrStdin())
	if err != nil {
		return &build.InputError{Err: err}
	}
	set, err := subject.Open(ctx, spec, subject.Options{Platforms: a.platforms, Keychain: keychain(ctx), Insecure: a.insecure})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, set.Close()) }()
	if n := len(set.Images); n > 1 && a.single() {
		return &build.InputError{Err: fmt.Errorf("--output %s takes one statement and there are %d: choose with --platform, or name a directory", a.output, n)}
	}
	steps := runner(t, nil)
	var all []artifact.Artifact
	for _, img := range set.Images {
		out := artifact.Artifact{
			Kind: artifact.Attestation, Name: "attestation-" + img.Name + "-" + img.Arch() + ".json", MediaType: artifact.TypeInToto, Platform: img.Platform,
		}
		err := steps.Run(ctx, "["+img.Platform+"] attest", stage.Provenance, func(ctx context.Context, s *stage.Step) (err error) {
			if predicate == nil {
				out.Data, err = a.observe(ctx, img)
			} else {
				out.Data, err = a.wrap(predicate, img)
			}
			s.Set(slog.String("image", img.Digest.String()), slog.String("platform", img.Platform),
				slog.Int("documents", 1), slog.Int("size_bytes", len(out.Data)))
			return err
		})
		if err != nil {
			return err
		}
		all = append(all, out)
	}
	return a.write(cmd.OutOrStdout(), all)
}

// readPredicate is the predicate that the user gives, or nil.
func (a *attestCommand) readPredicate(stdin io.Reader) (_ []byte, err error) {
	switch {
	case a.predicate == "" && a.typ == "":
		return nil, nil
	case a.predicate == "":
		return nil, errors.New("--type is of a predicate: name its file with --predicate")
	case a.typ == "":
		return nil, errors.New("--predicate needs its --type: a URI, or " + strings.Join(provenance.TypeNames(), ", "))
	case a.dir != "":
		return nil, errors.New("--dir is for provenance, and --predicate for what somebody else says: give one of them")
	}
	if a.typ, err = provenance.ResolveType(a.typ); err != nil {
		return nil, fmt.Errorf("--type: %w", err)
	}
	in := stdin
	if a.predicate != "-" {
		f, err := os.Open(a.predicate)
		if err != nil {
			return nil, fmt.Errorf("--predicate: %w", err)
		}
		defer f.Close()
		in = f
	}
	dt, err := io.ReadAll(io.LimitReader(in, maxPredicate+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("--predicate %s: %w", a.predicate, err)
	case len(dt) > maxPredicate:
		return nil, fmt.Errorf("--predicate %s: it has more than %d bytes", a.predicate, maxPredicate)
	}
	var statement struct {
		Type string `json:"_type"`
	}
	if json.Unmarshal(dt, &statement) == nil && strings.HasPrefix(statement.Type, "https://in-toto.io/Statement/") {
		return nil, fmt.Errorf("--predicate %s: it is a statement already: sign it with temper sign", a.predicate)
	}
	return dt, nil
}

// wrap is the user's predicate about an image.
func (a *attestCommand) wrap(predicate []byte, img *subject.Image) ([]byte, error) {
	out, err := provenance.Wrap(a.typ, predicate, attested(img))
	if err == nil {
		// SLSA provenance has rules, whoever writes it.
		_, err = provenance.Read(out)
	}
	if err != nil {
		return nil, &build.InputError{Err: fmt.Errorf("--predicate %s: %w", a.predicate, err)}
	}
	return out, nil
}

// observe is what can be seen of an image.
func (a *attestCommand) observe(ctx context.Context, img *subject.Image) ([]byte, error) {
	in := provenance.Observed{Image: attested(img), Reference: img.Reference, TemperVersion: version()}
	cfg, err := img.Image.ConfigFile()
	if err != nil {
		return nil, err
	}
	manifest, err := img.Image.Manifest()
	if err != nil {
		return nil, err
	}
	in.Labels = map[string]string{}
	maps.Copy(in.Labels, cfg.Config.Labels)
	maps.Copy(in.Labels, manifest.Annotations)
	if in.Report, err = img.Report(ctx); err != nil {
		return nil, err
	}
	statements, err := img.Statements(ctx)
	if err != nil {
		return nil, err
	}
	for _, s := range statements {
		if strings.HasPrefix(s.PredicateType, "https://slsa.dev/provenance/") {
			if in.Attached, err = provenance.ReadBuild(s.Data); err != nil {
				return nil, fmt.Errorf("provenance that is attached to %s: %w", img.Digest, err)
			}
		}
	}
	if a.dir != "" {
		if in.Byproducts, err = provenance.Documents(ctx, a.dir, img.Name, img.Arch(), img.Digest); err != nil {
			return nil, &build.InputError{Err: err}
		}
		if len(in.Byproducts) == 0 {
			return nil, &build.InputError{Err: fmt.Errorf("--dir %s: there is no document about %s in it: they are called like sbom-%s-%s.cdx.json", a.dir, img.Name, img.Name, img.Arch())}
		}
	}
	return provenance.Observe(in)
}

// attested is the image as a statement names it: without a tag, which can move.
func attested(img *subject.Image) provenance.Image {
	name := img.Name
	if ref := img.Reference; ref != "" {
		name, _, _ = strings.Cut(ref, "@")
		if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, '/') {
			name = name[:i]
		}
	}
	return provenance.Image{Name: name, Digest: img.Digest, Platform: img.Platform}
}

// single says that the output takes one statement.
func (a *attestCommand) single() bool {
	return a.output == "-" || strings.HasSuffix(a.output, ".json") && !isDir(a.output)
}

func (a *attestCommand) write(stdout io.Writer, documents []artifact.Artifact) error {
	if a.output == "-" {
		_, err := stdout.Write(documents[0].Data)
		return err
	}
	for _, d := range documents {
		path := a.output
		if !a.single() {
			if err := os.MkdirAll(a.output, 0o755); err != nil { //nolint:gosec // documents are for everybody to read
				return fmt.Errorf("write statements: %w", err)
			}
			path = filepath.Join(a.output, d.Name)
		}
		if err := atomicwriter.WriteFile(path, d.Data, 0o644); err != nil {
			return fmt.Errorf("write statement: %w", err)
		}
		fmt.Fprintln(stdout, path)
	}
	return nil
}
