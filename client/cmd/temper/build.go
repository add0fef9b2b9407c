package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/moby/buildkit/util/progress/progressui"
	"github.com/spf13/cobra"
	"github.com/temper-images/temper/client/build"
	"github.com/temper-images/temper/client/output"
	"github.com/temper-images/temper/client/telemetry"
	"github.com/temper-images/temper/hardening/summary"
)

// buildFlags are the flags of temper build.
type buildFlags struct {
	requestFlags
	call         string
	check        bool
	metadataFile string
	iidFile      string
}

func newBuild(bf *builderFlags, records *telemetry.Options) *cobra.Command {
	f := &buildFlags{}
	cmd := &cobra.Command{
		Use:   "build [CONTEXT]",
		Short: "Build a hardened image",
		Long:  buildHelp + "\n\n" + exitCodesHelp,
		Example: `  temper build .
  temper build -o app.oci -t example.com/app:1 --platform linux/amd64,linux/arm64 .
  temper build -o type=image,name=example.com/app,push=true .
  temper build --check .`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				f.req.Context = args[0]
			}
			return withTelemetry(cmd, *records, func(ctx context.Context, t *telemetry.Telemetry) error {
				return f.run(ctx, cmd, bf, t)
			})
		},
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return nil, cobra.ShellCompDirectiveFilterDirs
		},
	}
	f.add(cmd)
	return cmd
}

const buildHelp = `Build a hardened image from the Dockerfile in CONTEXT.

CONTEXT is a directory (the current one by default), the URL of a git repository
or an archive, or - for a Dockerfile or an archive on standard input.

Outputs (-o, may be repeated):
  DIR                            an OCI image layout directory; what was there is
                                 replaced in one step, and only by a build that
                                 succeeded. Default: NAME.oci, after the context
  -                              an OCI archive on standard output
  type=oci,dest=FILE             an OCI archive
  type=docker[,dest=FILE]        load into the Docker engine, or a Docker archive
  type=image,name=REPO,push=true push by digest. Nothing gets a tag, because
                                 nobody has signed the image yet; tags given with
                                 -t are recorded in layouts and archives only
  type=local,dest=DIR            the files of the image
  type=tar,dest=FILE             the files of the image as an archive
  type=cacheonly                 nothing but the build cache
The other options of BuildKit's exporters may follow, as in docker buildx build.

When SOURCE_DATE_EPOCH is set, as a variable or a build argument, images are
written with rewrite-timestamp=true, so that equal builds give equal digests.`

func (f *buildFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	f.requestFlags.add(flags)
	flags.StringVar(&f.call, "call", "build", "What to ask of the frontend: build, check, outline, targets[,format=json]")
	flags.BoolVar(&f.check, "check", false, "Short for --call=check")
	flags.StringVar(&f.metadataFile, "metadata-file", "", "Write what is known about the result to this file, as JSON")
	flags.StringVar(&f.iidFile, "iidfile", "", "Write the image's ID to this file")
}

// complete turns the flags that have a form of their own into the request.
func (f *buildFlags) complete() (err error) {
	if err := f.requestFlags.complete(); err != nil {
		return err
	}
	if f.check {
		f.call = "check"
	}
	if f.req.Call, err = build.ParseCall(f.call); err != nil {
		return err
	}
	for _, spec := range f.req.Outputs {
		o, err := output.Parse(spec)
		if err != nil {
			return &build.InputError{Err: fmt.Errorf("--output %s: %w", spec, err)}
		}
		if f.iidFile != "" && (o.Type == output.TypeLocal || o.Type == output.TypeTar) {
			return &build.InputError{Err: fmt.Errorf("--iidfile: an output of type %s has no image ID", o.Type)}
		}
	}
	return nil
}

func (f *buildFlags) run(ctx context.Context, cmd *cobra.Command, bf *builderFlags, t *telemetry.Telemetry) (err error) {
	mode, err := f.displayMode()
	if err != nil {
		return err
	}
	if mode, err = besideRecords(mode, t.Format()); err != nil {
		return err
	}
	if err := f.complete(); err != nil {
		return err
	}
	// A file of an earlier build must not pass for one of this.
	if f.iidFile != "" {
		if err := os.Remove(f.iidFile); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("--iidfile: %w", err)
		}
	}
	c, err := f.connect(ctx, cmd, bf)
	if err != nil {
		return err
	}
	// After an interrupt there is still a daemon to be stopped.
	defer func() { err = errors.Join(err, c.Close(context.WithoutCancel(ctx))) }()
	show, err := openDisplay(ctx, cmd.ErrOrStderr(), mode, "building on "+c.Builder().String())
	if err != nil {
		return err
	}
	f.req.Status = show.Build()
	res, err := recordedBuild(ctx, t, c, f.req)
	show.Close()
	if err != nil {
		return err
	}
	return f.finish(cmd, mode, res)
}

// finish writes and prints what a successful build gave.
func (f *buildFlags) finish(cmd *cobra.Command, mode progressui.DisplayMode, res *build.Result) error {
	if f.iidFile != "" {
		if err := os.WriteFile(f.iidFile, []byte(res.ImageID()), 0o644); err != nil { //nolint:gosec // no secret, and docker buildx build writes it so
			return fmt.Errorf("--iidfile: %w", err)
		}
	}
	if f.metadataFile != "" {
		if err := res.WriteMetadata(f.metadataFile); err != nil {
			return err
		}
	}
	if f.req.Call != nil {
		code, err := f.req.Call.Print(cmd.OutOrStdout(), res)
		if err != nil {
			return err
		}
		if code != 0 {
			return codeError(code)
		}
		return nil
	}
	switch mode {
	case progressui.RawJSONMode:
		return nil
	case progressui.QuietMode:
		if f.quiet && res.ImageID() != "" {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), res.ImageID())
			return err
		}
		return nil
	}
	return summarise(cmd.ErrOrStderr(), res)
}

func summarise(w io.Writer, res *build.Result) error {
	for _, platform := range res.Platforms() {
		if err := summary.Write(w, platform, res.Reports[platform]); err != nil {
			return err
		}
	}
	fmt.Fprintln(w)
	if d := res.Digest(); d != "" {
		fmt.Fprintln(w, "image", d)
	}
	for _, path := range res.Written {
		fmt.Fprintln(w, "written to", path)
	}
	for _, m := range res.Messages {
		fmt.Fprintln(w, m)
	}
	return nil
}
