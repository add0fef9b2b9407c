package release

import (
	"context"
	"log/slog"
	"slices"
	"strconv"
	"strings"

	"github.com/temper-images/temper/client/build"
	"github.com/temper-images/temper/client/output"
	"github.com/temper-images/temper/client/recompress"
	"github.com/temper-images/temper/client/stage"
	"github.com/temper-images/temper/hardening/spec"
)

// recompress says how the layers of a release are compressed here: faster than the
// builder does it, and to the same bytes whatever the builder is. It is nil where the
// builder compresses: where the request says how, where layers are those of the base
// image, which registries have already, and where the image's configuration names the
// builder's layers.
func (o Options) recompress(r *build.Request) *recompress.Options {
	if !o.Settings.Remote && o.Settings.Harden.Level == spec.LevelOff || inlineCache(r) {
		return nil
	}
	out, err := output.Parse(r.Outputs[0])
	if err != nil {
		return nil // the build says why
	}
	for _, attr := range []string{"compression", "compression-level", "force-compression"} {
		if _, said := out.Attrs[attr]; said {
			return nil
		}
	}
	opts := &recompress.Options{Step: func(ctx context.Context, work func(context.Context) (recompress.Stats, error)) error {
		return o.Steps.Run(ctx, "[release] compress layers", stage.Compress, func(ctx context.Context, s *stage.Step) error {
			stats, err := work(ctx)
			s.Set(slog.Int("layers", stats.Layers), slog.Int("unchanged_layers", stats.Known),
				slog.Int64("uncompressed_bytes", stats.Before), slog.Int64("compressed_bytes", stats.After))
			return err
		})
	}}
	if !o.Fresh {
		opts.Known = &recompress.Known{Dir: o.layersDir(), ReadOnly: o.Push != nil && o.Push.DryRun}
	}
	return opts
}

// layersDir is where it is remembered what layers were compressed to: beside the
// journals.
func (o Options) layersDir() string {
	if o.State == "" {
		return recompress.DefaultDir()
	}
	return strings.TrimRight(o.State, "/") + ".layers"
}

// inlineCache says that the image's configuration is to say what the build cache has.
func inlineCache(r *build.Request) bool {
	for _, arg := range r.BuildArgs {
		value, ok := strings.CutPrefix(arg, "BUILDKIT_INLINE_CACHE=")
		if on, err := strconv.ParseBool(value); ok && (on || err != nil) || arg == "BUILDKIT_INLINE_CACHE" {
			return true
		}
	}
	return slices.ContainsFunc(r.CacheTo, func(s string) bool { return strings.Contains(s, "type=inline") })
}
