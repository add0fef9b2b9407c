package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/temper-images/temper/client/build"
	"github.com/temper-images/temper/client/catalogue"
	"github.com/temper-images/temper/client/examine"
	"github.com/temper-images/temper/client/referrer"
	"github.com/temper-images/temper/client/registry"
	"github.com/temper-images/temper/client/stage"
	"github.com/temper-images/temper/client/subject"
	"github.com/temper-images/temper/client/telemetry"
	"github.com/temper-images/temper/client/transfer"
	"github.com/temper-images/temper/hardening/spec"
)

// examineFlags are those of the commands that read images to explain and compare
// them.
type examineFlags struct {
	progress  progressFlags
	platforms []string
	insecure  bool
	json      bool
}

func (f *examineFlags) add(flags *pflag.FlagSet) {
	flags.BoolVar(&f.json, "json", false, "Print a document for machines")
	flags.BoolVar(&f.insecure, "allow-insecure-registry", false, "Allow registries over HTTP, and HTTPS with certificates that nobody vouches for")
	flags.StringVar(&f.progress.progress, "progress", "auto", "Progress: auto, plain, tty, rawjson, none (environment: BUILDKIT_PROGRESS)")
}

// open finds the images of a name.
func (f *examineFlags) open(ctx context.Context, name string) (*subject.Set, error) {
	catalogue.Warm()
	return subject.Open(ctx, name, subject.Options{Platforms: f.platforms, Keychain: keychain(ctx), Insecure: f.insecure})
}

// report reads the hardening report of an image that was found under a name.
func (f *examineFlags) report(ctx context.Context, name string, img *subject.Image) (*spec.Report, error) {
	var p *published
	report, err := examine.Report(ctx, img, func() (referrer.Source, error) {
		var err error
		p, err = openPublished(ctx, name, f.insecure, nil)
		// A file that is no OCI layout, and one that is without a name for the image, has
		// nothing beside the image.
		var archive *transfer.ArchiveError
		var input *transfer.InputError
		if errors.As(err, &archive) || errors.As(err, &input) || errors.Is(err, fs.ErrNotExist) {
			return nil, registry.ErrNotFound
		}
		if err != nil {
			return nil, err
		}
		return p.source, nil
	})
	if p != nil {
		err = errors.Join(err, p.close())
	}
	return report, err
}

// read reads an image, as a step.
func (f *examineFlags) read(ctx context.Context, steps *stage.Runner, name string, img *subject.Image, o examine.Options) (out *examine.Image, err error) {
	err = steps.Run(ctx, fmt.Sprintf("[%s] read %s", img.Platform, name), stage.Read, func(ctx context.Context, s *stage.Step) error {
		var size int64
		o.Files.Progress = func(done, total int64) {
			size = total
			s.Progress("reading layers", done, total)
		}
		out, err = examine.Open(ctx, img, o)
		if err != nil {
			return err
		}
		s.Set(slog.String("image", img.Digest.String()), slog.String("platform", img.Platform),
			slog.Int("packages", len(out.Packages)), slog.Int("files", out.Files.Len()), slog.Int64("size_bytes", size))
		return nil
	})
	return out, err
}

// oneForJSON refuses --json for several platforms.
func (f *examineFlags) oneForJSON(n int) error {
	if f.json && n > 1 {
		return &build.InputError{Err: fmt.Errorf("--json shows one image and there are %d: choose with --platform", n)}
	}
	return nil
}

// during shows the steps of f on standard error.
func (f *examineFlags) during(ctx context.Context, cmd *cobra.Command, t *telemetry.Telemetry, doing string, do func(steps *stage.Runner) error) error {
	mode, err := f.progress.displayMode()
	if err != nil {
		return err
	}
	if mode, err = besideRecords(mode, t.Format()); err != nil {
		return err
	}
	show, err := openDisplay(ctx, cmd.ErrOrStderr(), mode, doing)
	if err != nil {
		return err
	}
	defer show.Close()
	return do(runner(t, show))
}
