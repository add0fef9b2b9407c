package telemetry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/contrib/bridges/otelslog"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/propagation"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
	tracenoop "go.opentelemetry.io/otel/trace/noop"
)

// Scope is the name of the instrumentation scope of records.
const Scope = "github.com/temper-images/temper/client"

// afterWarning bounds the end when the collector is known not to answer.
const afterWarning = time.Second

// chunk is how many of the builder's spans are sent at once.
const chunk = 512

// Telemetry is where records, traces and metrics go. It is to be shut down.
type Telemetry struct {
	// Logger takes the records, Tracer and Meter the rest. They are never nil,
	// and do nothing when nothing is configured.
	Logger *slog.Logger
	Tracer trace.Tracer
	Meter  metric.Meter

	opts     Options
	spans    *cleanExporter
	ends     []func(context.Context) error
	builders sync.WaitGroup
	warned   atomic.Bool
}

// Start sets up what o says. A collector is not waited for. Errors are an
// *OptionError.
func Start(ctx context.Context, o Options) (*Telemetry, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	t := &Telemetry{opts: o, Tracer: tracenoop.NewTracerProvider().Tracer(Scope), Meter: metricnoop.NewMeterProvider().Meter(Scope)}
	var handlers []slog.Handler
	all := &slog.HandlerOptions{Level: o.Level}
	switch o.Format {
	case Text:
		handlers = append(handlers, traced{slog.NewTextHandler(o.Out, all)})
	case JSON:
		handlers = append(handlers, traced{slog.NewJSONHandler(o.Out, all)})
	}
	over, err := t.export(ctx)
	if err != nil {
		// What was set up has sent nothing yet.
		t.Shutdown(ctx)
		return nil, err
	}
	if over != nil {
		handlers = append(handlers, over)
	}
	t.Logger = slog.New(slog.DiscardHandler)
	if len(handlers) > 0 {
		t.Logger = slog.New(least{o.Redact.Handler(slog.NewMultiHandler(handlers...)), o.Level})
	}
	return t, nil
}

// export sets up OTLP, and returns the handler for records if there is one.
func (t *Telemetry) export(ctx context.Context) (slog.Handler, error) {
	want := map[signal]bool{}
	for _, s := range []signal{logs, traces, metrics} {
		w, err := t.opts.wanted(s)
		if err != nil {
			return nil, err
		}
		want[s] = w
	}
	if !want[logs] && !want[traces] && !want[metrics] {
		return nil, nil
	}
	res, err := t.resource(ctx)
	if err != nil {
		return nil, err
	}
	// The exporters have no other way to say that they failed.
	otel.SetErrorHandler(otel.ErrorHandlerFunc(t.lost))
	if want[traces] {
		exp, err := t.opts.spanExporter(ctx)
		if err != nil {
			return nil, asOptionError(traces, err)
		}
		t.spans = &cleanExporter{next: exp, redact: t.opts.Redact.String}
		tp := sdktrace.NewTracerProvider(sdktrace.WithBatcher(t.spans), sdktrace.WithResource(res))
		t.Tracer = tp.Tracer(Scope, trace.WithInstrumentationVersion(t.opts.Version))
		t.ends = append(t.ends, func(ctx context.Context) error {
			t.builders.Wait()
			return tp.Shutdown(ctx)
		})
	}
	if want[metrics] {
		exp, err := t.opts.metricExporter(ctx)
		if err != nil {
			return nil, asOptionError(metrics, err)
		}
		mp := sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewPeriodicReader(exp)), sdkmetric.WithResource(res))
		t.Meter = mp.Meter(Scope, metric.WithInstrumentationVersion(t.opts.Version))
		t.ends = append(t.ends, mp.Shutdown)
	}
	if !want[logs] {
		return nil, nil
	}
	exp, err := t.opts.logExporter(ctx)
	if err != nil {
		return nil, asOptionError(logs, err)
	}
	lp := sdklog.NewLoggerProvider(sdklog.WithProcessor(sdklog.NewBatchProcessor(exp)), sdklog.WithResource(res))
	t.ends = append(t.ends, lp.Shutdown)
	return otelslog.NewHandler(Scope, otelslog.WithLoggerProvider(lp), otelslog.WithVersion(t.opts.Version)), nil
}

func asOptionError(s signal, err error) error {
	var already *OptionError
	if errors.As(err, &already) {
		return err
	}
	return &OptionError{Option: "OTLP exporter for " + string(s), Err: err}
}

// resource describes this run of the program. What the environment says goes
// before what the caller says.
func (t *Telemetry) resource(ctx context.Context) (*resource.Resource, error) {
	attrs := []attribute.KeyValue{semconv.ServiceName("temper")}
	if t.opts.Version != "" {
		attrs = append(attrs, semconv.ServiceVersion(t.opts.Version))
	}
	for _, key := range slices.Sorted(maps.Keys(t.opts.Resource)) {
		attrs = append(attrs, attribute.String(key, t.opts.Redact.String(t.opts.Resource[key])))
	}
	res, err := resource.New(ctx, resource.WithTelemetrySDK(), resource.WithAttributes(attrs...), resource.WithFromEnv())
	if err != nil {
		return nil, &OptionError{Option: "OTEL_RESOURCE_ATTRIBUTES", Err: err}
	}
	return res, nil
}

// Format is how records are written to standard error: what the options or the
// environment said.
func (t *Telemetry) Format() Format { return t.opts.Format }

// Tracing says whether traces are exported.
func (t *Telemetry) Tracing() bool { return t.spans != nil }

// Join puts ctx into the trace that the environment names in TRACEPARENT and
// TRACESTATE (W3C Trace Context), as CI platforms do that trace their jobs.
func (t *Telemetry) Join(ctx context.Context) context.Context {
	return propagation.TraceContext{}.Extract(ctx, propagation.MapCarrier{
		"traceparent": t.opts.Getenv("TRACEPARENT"), "tracestate": t.opts.Getenv("TRACESTATE"),
	})
}

// AddSpans sends spans that others recorded, in the background.
func (t *Telemetry) AddSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) {
	if t.spans == nil {
		return
	}
	ctx = context.WithoutCancel(ctx)
	t.builders.Go(func() {
		for part := range slices.Chunk(spans, chunk) {
			if err := t.spans.ExportSpans(ctx, part); err != nil {
				t.lost(err)
				return
			}
		}
	})
}

// Shutdown sends what has not been sent, and ends. It returns after the time that
// Options.Shutdown allows, whatever the collector does, also when ctx is done
// already.
func (t *Telemetry) Shutdown(ctx context.Context) {
	if len(t.ends) == 0 {
		return
	}
	limit := t.opts.Shutdown
	if t.warned.Load() {
		limit = min(limit, afterWarning)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
	defer cancel()
	done := make(chan error, 1)
	go func() {
		var (
			all  sync.WaitGroup
			mu   sync.Mutex
			errs []error
		)
		for _, end := range t.ends {
			all.Go(func() {
				if err := end(ctx); err != nil {
					mu.Lock()
					defer mu.Unlock()
					errs = append(errs, err)
				}
			})
		}
		all.Wait()
		done <- errors.Join(errs...)
	}()
	select {
	case err := <-done:
		if err != nil {
			t.lost(err)
		}
	case <-ctx.Done():
		t.lost(fmt.Errorf("the collector did not answer within %s", limit))
	}
}

// lost says once that something was lost, and why.
func (t *Telemetry) lost(err error) {
	if err != nil && t.warned.CompareAndSwap(false, true) {
		t.opts.Warn(t.opts.Redact.String(fmt.Sprintf("telemetry: records, traces or metrics did not reach the collector, and no more is said of it: %v", err)))
	}
}
