package telemetry

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"

	"go.opentelemetry.io/otel/trace"
)

// filter is a slog.Handler that holds back what is below a level and takes secrets
// out of the rest.
type filter struct {
	next   slog.Handler
	level  slog.Level
	redact func(string) string
}

func (f *filter) Enabled(ctx context.Context, l slog.Level) bool {
	return l >= f.level && f.next.Enabled(ctx, l)
}

func (f *filter) Handle(ctx context.Context, r slog.Record) error {
	out := slog.NewRecord(r.Time, r.Level, f.redact(r.Message), r.PC)
	r.Attrs(func(a slog.Attr) bool {
		out.AddAttrs(f.attr(a))
		return true
	})
	return f.next.Handle(ctx, out)
}

func (f *filter) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &filter{f.next.WithAttrs(f.attrs(attrs)), f.level, f.redact}
}

func (f *filter) WithGroup(name string) slog.Handler {
	return &filter{f.next.WithGroup(name), f.level, f.redact}
}

func (f *filter) attrs(in []slog.Attr) []slog.Attr {
	out := make([]slog.Attr, len(in))
	for i, a := range in {
		out[i] = f.attr(a)
	}
	return out
}

func (f *filter) attr(a slog.Attr) slog.Attr {
	v := a.Value.Resolve()
	switch v.Kind() {
	case slog.KindString:
		v = slog.StringValue(f.redact(v.String()))
	case slog.KindGroup:
		v = slog.GroupValue(f.attrs(v.Group())...)
	case slog.KindAny:
		v = f.any(v.Any())
	}
	return slog.Attr{Key: f.redact(a.Key), Value: v}
}

// any makes something of which every text has been seen.
func (f *filter) any(v any) slog.Value {
	switch v := v.(type) {
	case error:
		return slog.StringValue(f.redact(v.Error()))
	case fmt.Stringer:
		return slog.StringValue(f.redact(v.String()))
	case []string:
		out := make([]string, len(v))
		for i, s := range v {
			out[i] = f.redact(s)
		}
		return slog.AnyValue(out)
	case map[string]string:
		out := maps.Clone(v)
		for key, s := range v {
			delete(out, key)
			out[f.redact(key)] = f.redact(s)
		}
		return slog.AnyValue(out)
	}
	dt, err := json.Marshal(v)
	if err != nil {
		return slog.StringValue(f.redact(fmt.Sprint(v)))
	}
	return slog.StringValue(f.redact(string(dt)))
}

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
