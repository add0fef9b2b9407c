package redact

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
)

// Handler returns a handler that hands h records without the known values: in
// the message, in the keys and in values of every kind. Attributes that a logger
// was given beforehand are filtered with each record, so that values that were
// added in between are found.
func (r *Redactor) Handler(h slog.Handler) slog.Handler { return &handler{r: r, inner: h} }

type handler struct {
	r     *Redactor
	inner slog.Handler
	// given are what WithAttrs and WithGroup were called with, in their order.
	given []given
}

type given struct {
	attrs []slog.Attr
	group string
}

func (h *handler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.inner.Enabled(ctx, level)
}

func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	if len(attrs) == 0 {
		return h
	}
	return h.with(given{attrs: attrs})
}

func (h *handler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	return h.with(given{group: name})
}

func (h *handler) with(g given) *handler {
	return &handler{h.r, h.inner, append(slices.Clip(h.given), g)}
}

func (h *handler) Handle(ctx context.Context, record slog.Record) error {
	inner := h.inner
	for _, g := range h.given {
		if g.group != "" {
			inner = inner.WithGroup(h.r.String(g.group))
		} else {
			inner = inner.WithAttrs(h.r.attrs(g.attrs))
		}
	}
	out := slog.NewRecord(record.Time, record.Level, h.r.String(record.Message), record.PC)
	record.Attrs(func(a slog.Attr) bool {
		out.AddAttrs(h.r.Attr(a))
		return true
	})
	return inner.Handle(ctx, out)
}

func (r *Redactor) attrs(attrs []slog.Attr) []slog.Attr {
	out := make([]slog.Attr, len(attrs))
	for i, a := range attrs {
		out[i] = r.Attr(a)
	}
	return out
}

// Attr returns the attribute without the known values. A value of another kind
// than text stays what it is unless it holds one; it becomes text then.
func (r *Redactor) Attr(a slog.Attr) slog.Attr {
	v := a.Value.Resolve()
	switch v.Kind() {
	case slog.KindGroup:
		v = slog.GroupValue(r.attrs(v.Group())...)
	case slog.KindAny:
		v = r.any(v)
	default:
		if s := v.String(); r.Contains(s) {
			v = slog.StringValue(r.String(s))
		}
	}
	return slog.Attr{Key: r.String(a.Key), Value: v}
}

// any looks at a value in the forms in which handlers print it.
func (r *Redactor) any(v slog.Value) slog.Value {
	if b, ok := v.Any().([]byte); ok {
		if r.Contains(string(b)) {
			return slog.StringValue(string(r.Bytes(b)))
		}
		return v
	}
	s := fmt.Sprintf("%+v", v.Any())
	if r.Contains(s) || r.Contains(v.String()) {
		return slog.StringValue(r.String(s))
	}
	// Printed, a json.RawMessage is a list of numbers.
	if dt, err := json.Marshal(v.Any()); err == nil && r.Contains(string(dt)) {
		return slog.StringValue(r.String(string(dt)))
	}
	return v
}
