package main

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/moby/buildkit/identity"
	"github.com/moby/buildkit/util/progress/progressui"
	"github.com/spf13/cobra"

	"github.com/temper-images/temper/client"
	"github.com/temper-images/temper/client/build"
	"github.com/temper-images/temper/client/buildtrace"
	"github.com/temper-images/temper/client/display"
	"github.com/temper-images/temper/client/stage"
	"github.com/temper-images/temper/client/telemetry"
	"github.com/temper-images/temper/hardening/spec"
)

// withTelemetry runs f as the pipeline of a command. The context that f gets
// belongs to the command's span; a connection to a builder that is made in it joins
// the builder's spans to the trace.
func withTelemetry(cmd *cobra.Command, o telemetry.Options, f func(ctx context.Context, t *telemetry.Telemetry) error) error {
	// A warning in between would go through the progress display.
	lost := make(chan string, 1)
	o.Out, o.Version, o.Warn = cmd.ErrOrStderr(), version(), func(s string) { lost <- s }
	o.Redact = redactor(cmd)
	ctx := cmd.Context()
	t, err := telemetry.Start(ctx, o)
	if err != nil {
		return &build.InputError{Err: err}
	}
	defer func() {
		t.Shutdown(ctx)
		select {
		case s := <-lost:
			fmt.Fprintln(cmd.ErrOrStderr(), "WARNING:", s)
		default:
		}
	}()
	return runner(t, nil).Run(t.Join(ctx), "", stage.Pipeline, func(ctx context.Context, s *stage.Step) error {
		s.Set(slog.String("command", cmd.CommandPath()))
		return f(ctx, t)
	})
}

// besideRecords is the display that goes with records on standard error: one that
// draws over its own lines would draw over them too.
func besideRecords(mode progressui.DisplayMode, format telemetry.Format) (progressui.DisplayMode, error) {
	switch {
	case format == telemetry.None:
		return mode, nil
	case mode == progressui.TtyMode:
		return "", &build.InputError{Err: fmt.Errorf("--progress tty and --log-format %s exclude each other: both write to standard error; use --progress plain or quiet", format)}
	case mode == progressui.AutoMode && format == telemetry.JSON:
		return progressui.QuietMode, nil
	case mode == progressui.AutoMode:
		return progressui.PlainMode, nil
	}
	return mode, nil
}

// runner carries out the steps of a command, and shows them where there is a
// display.
func runner(t *telemetry.Telemetry, show *display.Display) *stage.Runner {
	o := stage.Options{Logger: t.Logger, Tracer: t.Tracer, Meter: t.Meter}
	if show != nil {
		o.Status = show.Send
	}
	return stage.New(o)
}

// fetchLimit bounds the wait for the builder's spans.
const fetchLimit = 5 * time.Second

// recordedBuild carries out a build as a step that shows itself, and sends the
// builder's spans together with the client's.
func recordedBuild(ctx context.Context, t *telemetry.Telemetry, c *client.Client, r build.Request) (res *build.Result, err error) {
	if t.Tracing() {
		r.Ref = identity.NewID()
	}
	err = runner(t, nil).Run(ctx, "", stage.Build, func(ctx context.Context, s *stage.Step) error {
		s.Set(slog.String("builder", c.Builder().String()))
		res, err = c.Build(ctx, r)
		if t.Tracing() && ctx.Err() == nil {
			if err := addBuilderSpans(ctx, t, c, r.Ref); err != nil {
				s.Warn(err.Error())
			}
		}
		if err != nil {
			return err
		}
		s.Set(buildFacts(res)...)
		return nil
	})
	return res, err
}

func addBuilderSpans(ctx context.Context, t *telemetry.Telemetry, c *client.Client, ref string) error {
	ctx, cancel := context.WithTimeout(ctx, fetchLimit)
	defer cancel()
	spans, err := buildtrace.Fetch(ctx, c.Builder().Client, ref)
	if err != nil {
		return err
	}
	t.AddSpans(ctx, spans)
	return nil
}

// buildFacts are what the record of a build says.
func buildFacts(res *build.Result) []slog.Attr {
	var facts []slog.Attr
	if d := res.Digest(); d != "" {
		facts = append(facts, slog.String("image", d))
	}
	if len(res.Reports) == 0 {
		return facts
	}
	before, after := spec.Totals{}, spec.Totals{}
	for _, r := range res.Reports {
		for _, of := range []struct{ sum, one *spec.Totals }{{&before, &r.Before}, {&after, &r.After}} {
			of.sum.Files += of.one.Files
			of.sum.Bytes += of.one.Bytes
			of.sum.Packages += of.one.Packages
		}
	}
	return append(facts, slog.Int("platforms", len(res.Reports)),
		slog.Int("files_before", before.Files), slog.Int("files_after", after.Files),
		slog.Int("packages_before", before.Packages), slog.Int("packages_after", after.Packages),
		slog.Int64("before_bytes", before.Bytes), slog.Int64("after_bytes", after.Bytes))
}
