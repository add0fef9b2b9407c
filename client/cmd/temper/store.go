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

	"github.com/spf13/cobra"

	"github.com/temper-images/temper/client/artifact"
	"github.com/temper-images/temper/client/build"
	"github.com/temper-images/temper/client/evidence"
	"github.com/temper-images/temper/client/stage"
	"github.com/temper-images/temper/client/subject"
	"github.com/temper-images/temper/client/telemetry"
)

func newStore(records *telemetry.Options) *cobra.Command {
	s := &storeCommand{}
	cmd := &cobra.Command{
		Use:   "store [flags] IMAGE FILE…",
		Short: "Keep documents about an image in an evidence store",
		Long: `Keep documents about an image in an evidence store: bills of materials, scans,
VEX, test results, attestations, each with the FILE.sig, FILE.sigstore.json and
FILE.dsse.sigstore.json that lie beside it.

IMAGE is the directory of an OCI layout, an OCI or Docker archive, or a registry's
reference. What a file is tells its name (sbom-…, scan-…, vex-…, test-…,
hardening-…, attestation-…, *.cdx.json, *.spdx.json) or --kind. When IMAGE has
several platforms, files are about the one that their names end with: -ARCH.json.

Nothing in the store is ever overwritten, and everything is read back before the
index names it. A run that was broken off is completed by running it again.`,
		Example: `  temper store app.oci sbom-app-amd64.cdx.json scan-app-amd64.json
  temper store app.oci junit.xml --kind test --evidence s3://evidence/team?region=eu-central-1`,
		Args: cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return withTelemetry(cmd, *records, func(ctx context.Context, t *telemetry.Telemetry) error {
				return s.run(ctx, cmd, t, args[0], args[1:])
			})
		},
	}
	flags := cmd.Flags()
	s.store.add(flags)
	flags.StringVar(&s.kind, "kind", "", "What the files are: "+strings.Join(kindNames(), ", ")+" (default: by their names)")
	flags.BoolVar(&s.immutable, "immutable", false, "Fail when a document of that name is stored with other content, instead of keeping both")
	flags.StringSliceVar(&s.platforms, "platform", nil, "Platform of IMAGE that the files are about")
	flags.BoolVar(&s.insecure, "allow-insecure-registry", false, "Allow registries over HTTP, and HTTPS with certificates that nobody vouches for")
	flags.StringVar(&s.progress.progress, "progress", "auto", "Progress: auto, plain, tty, rawjson, none (environment: BUILDKIT_PROGRESS)")
	return cmd
}

// storeCommand is what temper store was asked.
type storeCommand struct {
	store               storeFlags
	kind                string
	platforms           []string
	immutable, insecure bool
	progress            progressFlags
}

func kindNames() []string {
	var names []string
	for _, k := range artifact.Kinds() {
		names = append(names, string(k))
	}
	return names
}

func (s *storeCommand) run(ctx context.Context, cmd *cobra.Command, t *telemetry.Telemetry, spec string, files []string) (err error) {
	mode, err := s.progress.displayMode()
	if err != nil {
		return err
	}
	if mode, err = besideRecords(mode, t.Format()); err != nil {
		return err
	}
	if s.kind != "" && !slices.Contains(kindNames(), s.kind) {
		return &build.InputError{Err: fmt.Errorf("--kind %s: it is one of %s", s.kind, strings.Join(kindNames(), ", "))}
	}
	set, err := subject.Open(ctx, spec, subject.Options{Platforms: s.platforms, Keychain: keychain(ctx), Insecure: s.insecure})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, set.Close()) }()
	documents, err := s.documents(set.Images, files)
	if err != nil {
		return &build.InputError{Err: err}
	}
	show, err := openDisplay(ctx, cmd.ErrOrStderr(), mode, "storing evidence about "+spec)
	if err != nil {
		return err
	}
	steps := runner(t, show)
	var lines []string
	for i, img := range set.Images {
		if len(documents[i]) == 0 {
			continue
		}
		stored, err := s.put(ctx, steps, img, documents[i])
		if err != nil {
			show.Close()
			return err
		}
		lines = append(lines, stored...)
	}
	show.Close()
	for _, l := range lines {
		fmt.Fprintln(cmd.OutOrStdout(), l)
	}
	return nil
}

// put stores documents about one image and returns where they are.
func (s *storeCommand) put(ctx context.Context, steps *stage.Runner, img *subject.Image, documents []artifact.Artifact) (where []string, err error) {
	var total int64
	for _, d := range documents {
		total += int64(len(d.Data))
	}
	err = steps.Run(ctx, "["+img.Platform+"] store evidence", stage.Store, func(ctx context.Context, step *stage.Step) (err error) {
		var done int64
		store, err := s.store.open(ctx, evidence.Options{Immutable: s.immutable, Progress: func(e evidence.Event) {
			if e.State == evidence.Retry {
				step.Logf("%s: %v; trying again in %s", e.Path, e.Err, e.Wait.Round(1e8))
				return
			}
			// The index is not counted.
			done = min(done+e.Size, total)
			step.Progress("storing documents", done, total)
		}})
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, store.Close()) }()
		r, err := store.Put(ctx, evidenceImage(img), documents)
		if err != nil {
			return err
		}
		for _, e := range r.Entries {
			where = append(where, store.Locate(e.Path))
		}
		step.Set(slog.String("image", img.Digest.String()), slog.String("platform", img.Platform), slog.String("url", store.URL()),
			slog.Int("documents", len(r.Entries)), slog.Int("uploaded", r.Sent), slog.Int("unchanged", r.Present), slog.Int64("size_bytes", r.SentBytes))
		return nil
	})
	return where, err
}

// documents reads the files and those that sign them, and gives each to its image.
func (s *storeCommand) documents(images []*subject.Image, files []string) ([][]artifact.Artifact, error) {
	all := make([][]artifact.Artifact, len(images))
	given := map[string]bool{}
	for _, f := range files {
		given[filepath.Clean(f)] = true
	}
	for _, f := range files {
		paths := []string{f}
		for _, suffix := range []string{artifact.SignatureSuffix, artifact.BundleSuffix, artifact.EnvelopeSuffix} {
			beside := filepath.Clean(f) + suffix
			if _, err := os.Stat(beside); err == nil && !given[beside] {
				paths = append(paths, beside)
			}
		}
		i, err := about(images, filepath.Base(f))
		if err != nil {
			return nil, err
		}
		for _, p := range paths {
			a, err := readDocument(p, artifact.Kind(s.kind), images[i].Platform)
			if err != nil {
				return nil, err
			}
			all[i] = append(all[i], a)
		}
	}
	return all, nil
}

// about says which of the images a file is about, by its name.
func about(images []*subject.Image, name string) (int, error) {
	if len(images) == 1 {
		return 0, nil
	}
	var platforms []string
	for i, img := range images {
		if before, after, ok := strings.Cut(name, "-"+img.Arch()); ok && before != "" && strings.HasPrefix(after, ".") {
			return i, nil
		}
		platforms = append(platforms, img.Platform)
	}
	return 0, fmt.Errorf("%s: its name does not tell which platform it is about: give --platform, one of %s", name, strings.Join(platforms, ", "))
}

func readDocument(path string, kind artifact.Kind, platform string) (artifact.Artifact, error) {
	f, err := os.Open(path)
	if err != nil {
		return artifact.Artifact{}, err
	}
	defer f.Close()
	if fi, err := f.Stat(); err == nil && !fi.Mode().IsRegular() {
		return artifact.Artifact{}, fmt.Errorf("%s is not a regular file", path)
	}
	data, err := io.ReadAll(io.LimitReader(f, evidence.MaxDocument+1))
	if err != nil {
		return artifact.Artifact{}, err
	}
	if len(data) > evidence.MaxDocument {
		return artifact.Artifact{}, fmt.Errorf("%s is larger than %d bytes", path, evidence.MaxDocument)
	}
	return evidence.FromFile(filepath.Base(path), data, kind, platform)
}
