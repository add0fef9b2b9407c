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
	"strings"

	syftsbom "github.com/anchore/syft/syft/sbom"
	"github.com/moby/sys/atomicwriter"
	"github.com/spf13/cobra"

	"github.com/temper-images/temper/client/artifact"
	"github.com/temper-images/temper/client/build"
	"github.com/temper-images/temper/client/catalogue"
	"github.com/temper-images/temper/client/imagefs"
	"github.com/temper-images/temper/client/sbom"
	"github.com/temper-images/temper/client/stage"
	"github.com/temper-images/temper/client/subject"
	"github.com/temper-images/temper/client/telemetry"
)

func newSBOM(records *telemetry.Options) *cobra.Command {
	s := &sbomCommand{}
	cmd := &cobra.Command{
		Use:   "sbom [flags] IMAGE",
		Short: "Write bills of materials of an image, CycloneDX and SPDX",
		Long: `Write bills of materials of an image: CycloneDX and SPDX, from one look at it.

IMAGE is the directory of an OCI layout, an OCI or Docker archive, or a registry's
reference. Each platform of it gets sbom-NAME-ARCH.cdx.json and
sbom-NAME-ARCH.spdx.json. The same image gives the same bytes: times are those of
the image, and identifiers come from digests.

What Temper's hardening removed is told in both, when its report is attached to
the image. The base and the source are those that the image's own annotations and
labels name.`,
		Example: `  temper sbom app.oci
  temper sbom app.oci --format spdx -o - | jq .packages[].name
  temper sbom registry.example.com/team/app:1 --platform linux/arm64 -o evidence`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return withTelemetry(cmd, *records, func(ctx context.Context, t *telemetry.Telemetry) error {
				return s.run(ctx, cmd, t, args[0])
			})
		},
	}
	flags := cmd.Flags()
	flags.StringSliceVar(&s.options.Formats, "format", sbom.Formats(), "Formats: "+strings.Join(sbom.Formats(), ", "))
	flags.StringVar(&s.options.CycloneDX, "cyclonedx-version", sbom.DefaultCycloneDX, "Version of CycloneDX: 1.4, 1.5, 1.6, 1.7")
	flags.StringVar(&s.options.SPDX, "spdx-version", sbom.DefaultSPDX, "Version of SPDX: 2.3, 3.0")
	flags.StringArrayVar(&s.platforms, "platform", nil, "Platforms of IMAGE (default: all)")
	flags.StringVarP(&s.output, "output", "o", ".", "Directory for the documents; with one document also a FILE.json, or - for standard output")
	flags.BoolVar(&s.insecure, "allow-insecure-registry", false, "Allow registries over HTTP, and HTTPS with certificates that nobody vouches for")
	flags.StringVar(&s.progress.progress, "progress", "auto", "Progress: auto, plain, tty, rawjson, none (environment: BUILDKIT_PROGRESS)")
	return cmd
}

// sbomCommand is what temper sbom was asked.
type sbomCommand struct {
	options   sbom.Options
	platforms []string
	output    string
	insecure  bool
	progress  progressFlags
}

func (s *sbomCommand) run(ctx context.Context, cmd *cobra.Command, t *telemetry.Telemetry, spec string) (err error) {
	mode, err := s.progress.displayMode()
	if err != nil {
		return err
	}
	if mode, err = besideRecords(mode, t.Format()); err != nil {
		return err
	}
	if err := s.options.Validate(); err != nil {
		return &build.InputError{Err: err}
	}
	catalogue.Warm()
	set, err := subject.Open(ctx, spec, subject.Options{Platforms: s.platforms, Keychain: keychain(ctx), Insecure: s.insecure})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, set.Close()) }()
	if n := len(set.Images) * len(s.options.Formats); n > 1 && s.single() {
		return &build.InputError{Err: fmt.Errorf("--output %s takes one document and there are %d: choose with --format and --platform, or name a directory", s.output, n)}
	}
	show, err := openDisplay(ctx, cmd.ErrOrStderr(), mode, "looking at "+spec)
	if err != nil {
		return err
	}
	steps := runner(t, show)
	var all []artifact.Artifact
	for _, img := range set.Images {
		documents, err := s.documents(ctx, steps, img)
		if err != nil {
			show.Close()
			return err
		}
		all = append(all, documents...)
	}
	show.Close()
	return s.write(cmd.OutOrStdout(), all)
}

// documents catalogues one image and writes its bills of materials.
func (s *sbomCommand) documents(ctx context.Context, steps *stage.Runner, img *subject.Image) (out []artifact.Artifact, err error) {
	facts := sbom.Facts{
		Subject: sbom.Subject{Name: img.Name, Reference: img.Reference, Digest: img.Digest, Platform: img.Platform},
		Epoch:   img.Created, Version: version(),
	}
	if facts.Base, facts.Source, err = sbom.Declared(img.Image); err != nil {
		return nil, err
	}
	if facts.Hardening, err = img.Report(ctx); err != nil {
		return nil, err
	}
	about := []slog.Attr{slog.String("image", img.Digest.String()), slog.String("platform", img.Platform)}
	found, err := catalogueImage(ctx, steps, img, about)
	if err != nil {
		return nil, err
	}
	err = steps.Run(ctx, "["+img.Platform+"] write SBOMs", stage.SBOM, func(_ context.Context, step *stage.Step) error {
		if out, err = sbom.Artifacts(found, facts, s.options); err != nil {
			return err
		}
		size := 0
		for _, a := range out {
			size += len(a.Data)
		}
		step.Set(append(about, slog.Int("documents", len(out)), slog.Int("size_bytes", size))...)
		return nil
	})
	return out, err
}

// catalogueImage finds out what an image is made of.
func catalogueImage(ctx context.Context, steps *stage.Runner, img *subject.Image, about []slog.Attr) (out *syftsbom.SBOM, err error) {
	err = steps.Run(ctx, "["+img.Platform+"] catalogue", stage.Catalogue, func(ctx context.Context, step *stage.Step) (err error) {
		var size int64
		fsys, err := imagefs.Open(ctx, img.Image, imagefs.Options{Progress: func(done, total int64) {
			size = total
			step.Progress("reading layers", done, total)
		}})
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, fsys.Close()) }()
		o := catalogue.Options{Reference: cmp.Or(img.Reference, img.Name), Version: version()}
		if out, err = catalogue.Image(ctx, img.Image, fsys, o); err != nil {
			return err
		}
		step.Set(append(about, slog.Int("packages", out.Artifacts.Packages.PackageCount()),
			slog.Int("files", fsys.Len()), slog.Int64("size_bytes", size))...)
		return nil
	})
	return out, err
}

// single says that the output takes one document.
func (s *sbomCommand) single() bool {
	return s.output == "-" || strings.HasSuffix(s.output, ".json") && !isDir(s.output)
}

func (s *sbomCommand) write(stdout io.Writer, documents []artifact.Artifact) error {
	if s.output == "-" {
		_, err := stdout.Write(documents[0].Data)
		return err
	}
	for _, a := range documents {
		path := s.output
		if !s.single() {
			if err := os.MkdirAll(s.output, 0o755); err != nil { //nolint:gosec // documents are for everybody to read
				return fmt.Errorf("write SBOMs: %w", err)
			}
			path = filepath.Join(s.output, a.Name)
		}
		if err := atomicwriter.WriteFile(path, a.Data, 0o644); err != nil {
			return fmt.Errorf("write SBOM: %w", err)
		}
		fmt.Fprintln(stdout, path)
	}
	return nil
}
