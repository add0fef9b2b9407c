package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"

	"github.com/docker/go-units"
	"github.com/google/go-containerregistry/pkg/name"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/temper-images/temper/client/registry"
	"github.com/temper-images/temper/client/registry/ecr"
	"github.com/temper-images/temper/client/signing"
	"github.com/temper-images/temper/client/stage"
	"github.com/temper-images/temper/client/telemetry"
	"github.com/temper-images/temper/client/transfer"
	"github.com/temper-images/temper/client/verify"
)

// transferFlags are those of the commands that copy images.
type transferFlags struct {
	verifyFlags
	platform string
	moveTag  bool
	insecure bool
	json     bool
	progress progressFlags
}

// add defines the flags, with those of a registry as destination where push says so.
func (f *transferFlags) add(flags *pflag.FlagSet, push bool) {
	f.verifyFlags.add(flags)
	flags.Lookup("key").Usage = "Verify the image's signature with this public key before anything is written, and again afterwards"
	flags.StringVar(&f.platform, "platform", "", "Copy the image of one platform, linux/arm64, with what is attached to it (default: the index with all)")
	if push {
		flags.BoolVar(&f.moveTag, "move-tag", false, "Let a tag of the destination that names another image name this one")
	}
	flags.BoolVar(&f.insecure, "allow-insecure-registry", false, "Allow registries over HTTP, and HTTPS with certificates that nobody vouches for")
	flags.BoolVar(&f.json, "json", false, "Print JSON")
	flags.StringVar(&f.progress.progress, "progress", "auto", "Progress: auto, plain, tty, rawjson, none (environment: BUILDKIT_PROGRESS)")
	flags.BoolVarP(&f.progress.quiet, "quiet", "q", false, "Print nothing but the name and digest of the image at its destination")
}

// errInput makes what is wrong with the command line an error of that.
func errInput(format string, args ...any) error {
	return &transfer.InputError{Err: fmt.Errorf(format, args...)}
}

// verification is what --key or an identity demand, or nil.
func (f *transferFlags) verification(ctx context.Context, ask asker, image string) (transfer.Verify, error) {
	o, err := f.options(ask)
	if err != nil {
		return nil, err
	}
	if o.Key == "" && len(o.Identities) == 0 {
		if f.tlog != "" || f.timestamp || o.Sigstore.TrustedRoot != "" {
			return nil, errInput("say whose signature is demanded: --key, or --certificate-identity and --certificate-oidc-issuer")
		}
		return nil, nil
	}
	v, err := signing.NewVerifier(ctx, o)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, src transfer.Source, subject ocispecs.Descriptor) error {
		return verify.Signed(ctx, src, subject, image, []*signing.Verifier{v})
	}, nil
}

// carry runs a transfer as a step that shows itself, and prints what came of it.
func (f *transferFlags) carry(cmd *cobra.Command, records telemetry.Options, event, image string, move func(ctx context.Context, o transfer.Options, ro registry.Options) (*transfer.Result, error)) error {
	mode, err := f.progress.displayMode()
	if err != nil {
		return err
	}
	check, err := f.verification(cmd.Context(), asker{cmd.InOrStdin(), cmd.ErrOrStderr()}, image)
	if err != nil {
		return err
	}
	var result *transfer.Result
	err = withTelemetry(cmd, records, func(ctx context.Context, t *telemetry.Telemetry) error {
		if mode, err = besideRecords(mode, t.Format()); err != nil {
			return err
		}
		show, err := openDisplay(ctx, cmd.ErrOrStderr(), mode, event+" "+image)
		if err != nil {
			return err
		}
		defer show.Close()
		return runner(t, show).Run(ctx, event+" "+image, event, func(ctx context.Context, s *stage.Step) (err error) {
			o := transfer.Options{Platform: f.platform, Verify: check, MoveTag: f.moveTag, Progress: s.Progress, Notice: s.Log}
			ro := registry.Options{Keychain: keychain(ctx), Insecure: f.insecure, Notice: s.Log, Create: ecr.Creator{}}
			if result, err = move(ctx, o, ro); err != nil {
				return err
			}
			s.Set(slog.String("image", result.Image.String()), slog.Int("manifests", result.Manifests), slog.Int("attached", result.Attached),
				slog.Int("uploaded", result.Pushed), slog.Int("mounted", result.Mounted), slog.Int64("size_bytes", result.Bytes))
			for _, dgst := range result.Foreign {
				s.Warn(fmt.Sprintf("layer %s lies outside of registries, and was not copied", dgst))
			}
			return nil
		})
	})
	if err != nil {
		return err
	}
	return f.tell(cmd.OutOrStdout(), cmd.ErrOrStderr(), result)
}

func (f *transferFlags) tell(stdout, stderr io.Writer, r *transfer.Result) error {
	if f.json {
		enc := json.NewEncoder(stdout)
		enc.SetIndent("", "  ")
		return enc.Encode(r)
	}
	at := r.Name
	if !strings.Contains(at, "@") {
		at += "@" + r.Image.String()
	}
	if !f.progress.quiet {
		fmt.Fprintf(stderr, "%d manifests, %d attached to them, %d blobs, %s\n", r.Manifests, r.Attached, r.Blobs, units.HumanSize(float64(r.Bytes)))
	}
	_, err := fmt.Fprintln(stdout, at)
	return err
}

// source parses what is copied. tag is the one that it names, or empty.
func (f *transferFlags) source(spec string) (ref name.Reference, tag string, err error) {
	var options []name.Option
	if f.insecure {
		options = append(options, name.Insecure)
	}
	if info, err := os.Stat(spec); err == nil && info.Mode().IsRegular() {
		return nil, "", errInput("%s is a file, and no reference of a registry: temper load pushes it", spec)
	}
	if ref, err = name.ParseReference(spec, options...); err != nil {
		return nil, "", errInput("%s is no reference of a registry: %w", spec, err)
	}
	return ref, tagOf(spec, ref), nil
}

// tagOf is the tag that a reference names in words, not the one that stands in when
// it names none, unless there is no digest either.
func tagOf(spec string, ref name.Reference) string {
	named, _, digested := strings.Cut(spec, "@")
	if !digested {
		return ref.Identifier()
	}
	if _, tag, ok := strings.Cut(named[strings.LastIndexByte(named, '/')+1:], ":"); ok {
		return tag
	}
	return ""
}

// image opens the image at its source.
func (f *transferFlags) image(ctx context.Context, ref name.Reference, tag string, o registry.Options) (transfer.Image, error) {
	r, err := registry.Open(ctx, ref.Context(), o)
	if err != nil {
		return transfer.Image{}, err
	}
	img := transfer.Image{Source: r, Name: fullName(ref, tag)}
	if img.Top, _, err = r.Manifest(ctx, ref.Identifier()); errors.Is(err, registry.ErrNotFound) {
		return img, errInput("%s: there is no such image: %w", ref, err)
	}
	return img, err
}

// fullName is what an image is called in a file: as people write it, with its tag or
// else its digest.
func fullName(ref name.Reference, tag string) string {
	repo := ref.Context().Name()
	if rest, hub := strings.CutPrefix(repo, name.DefaultRegistry+"/"); hub {
		repo = "docker.io/" + rest
	}
	if tag != "" {
		return repo + ":" + tag
	}
	return repo + "@" + ref.Identifier()
}

// destination parses where an image goes: a repository, with a tag or without.
func (f *transferFlags) destination(spec string) (name.Repository, string, error) {
	if strings.Contains(spec, "@") {
		return name.Repository{}, "", errInput("%s: a copy has the digest of what is copied; name a repository, or a tag in it", spec)
	}
	var options []name.Option
	if f.insecure {
		options = append(options, name.Insecure)
	}
	ref, err := name.NewTag(spec, options...)
	if err != nil {
		return name.Repository{}, "", errInput("%s is no reference of a registry: %w", spec, err)
	}
	if !strings.Contains(spec[strings.LastIndexByte(spec, '/')+1:], ":") {
		return ref.Context(), "", nil
	}
	return ref.Context(), ref.TagStr(), nil
}

// openDestination opens a repository to push to.
func openDestination(ctx context.Context, repo name.Repository, o registry.Options) (*registry.Repository, error) {
	o.Push = true
	return registry.Open(ctx, repo, o)
}
