package telemetry

import (
	"context"
	"log/slog"

	"go.opentelemetry.io/otel/trace"
)

// least is a slog.Handler that takes records from a level on.
type least struct {
	slog.Handler
	level slog.Level
}

func (l least) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= l.level && l.Handler.Enabled(ctx, level)
}

func (l least) WithAttrs(attrs []slog.Attr) slog.Handler {
	return least{l.Handler.WithAttrs(attrs), l.level}
}

func (l least) WithGroup(name string) slog.Handler { return least{l.Handler.WithGroup(name), l.level} }

// traced is a slog.Handler that adds the identifiers of the span that a record
// belongs to.
type traced struct{ slog.Handler }

func (t traced) Handle(ctx context.Context, r slog.Record) error {
	if sc := trace.SpanContextFromContext(ctx); sc.IsValid() {
		r = r.Clone()
		r.AddAttrs(slog.String("trace_id", sc.TraceID().String()), slog.String("span_id", sc.SpanID().String()))
	}
	return t.Handler.Handle(ctx, r)
}

func (t traced) WithAttrs(attrs []slog.Attr) slog.Handler { return traced{t.Handler.WithAttrs(attrs)} }
func (t traced) WithGroup(name string) slog.Handler       { return traced{t.Handler.WithGroup(name)} }
