package telemetry

import (
	"context"
	"slices"
	"sync"

	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
)

// cleanExporter takes secrets out of spans on their way to next.
type cleanExporter struct {
	redact func(string) string

	// Exporters take one call at a time, and there are two who call: the
	// client's spans come in batches, those of the builder when they are there.
	mu   sync.Mutex
	next sdktrace.SpanExporter
}

func (e *cleanExporter) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	out := make([]sdktrace.ReadOnlySpan, len(spans))
	for i, s := range spans {
		out[i] = e.clean(s)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.next.ExportSpans(ctx, out)
}

func (e *cleanExporter) Shutdown(ctx context.Context) error { return e.next.Shutdown(ctx) }

func (e *cleanExporter) clean(s sdktrace.ReadOnlySpan) sdktrace.ReadOnlySpan {
	stub := tracetest.SpanStubFromReadOnlySpan(s)
	stub.Name = e.redact(stub.Name)
	stub.Attributes = e.attributes(stub.Attributes)
	stub.Status.Description = e.redact(stub.Status.Description)
	stub.Events = slices.Clone(stub.Events)
	for i := range stub.Events {
		stub.Events[i].Name = e.redact(stub.Events[i].Name)
		stub.Events[i].Attributes = e.attributes(stub.Events[i].Attributes)
	}
	stub.Links = slices.Clone(stub.Links)
	for i := range stub.Links {
		stub.Links[i].Attributes = e.attributes(stub.Links[i].Attributes)
	}
	return stub.Snapshot()
}

func (e *cleanExporter) attributes(in []attribute.KeyValue) []attribute.KeyValue {
	out := make([]attribute.KeyValue, len(in))
	for i, a := range in {
		switch a.Value.Type() {
		case attribute.STRING:
			a.Value = attribute.StringValue(e.redact(a.Value.AsString()))
		case attribute.STRINGSLICE:
			values := slices.Clone(a.Value.AsStringSlice())
			for j := range values {
				values[j] = e.redact(values[j])
			}
			a.Value = attribute.StringSliceValue(values)
		}
		out[i] = a
	}
	return out
}
