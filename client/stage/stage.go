// Package stage carries out one step of the client's own work and tells of it in
// three ways at once: as a step in the progress display, like those of the build;
// as two structured log records, at its start and at its end; and as an
// OpenTelemetry span with metrics.
package stage

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"time"

	bkclient "github.com/moby/buildkit/client"
	"github.com/moby/buildkit/identity"
	digest "github.com/opencontainers/go-digest"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/trace"
	tracenoop "go.opentelemetry.io/otel/trace/noop"
)

// Scope is the name of the instrumentation scope of spans and metrics.
const Scope = "github.com/temper-images/temper/client/stage"

// The fields that every record of a step has.
const (
	// FieldEvent is the event's name with what became of it: "scan.started",
	// "scan.completed", "scan.failed", "scan.warning".
	FieldEvent = "event"
	// FieldStep is the step's name, as the display shows it. What is not shown
	// has none.
	FieldStep = "step"
	// FieldDuration is how long the step took, in milliseconds.
	FieldDuration = "duration_ms"
	// FieldError is why it failed.
	FieldError = "error"
)

// Options say where steps are told of. What is nil is left out.
type Options struct {
	// Status receives what the progress display is to show; see
	// display.Display.Send. It is called by one goroutine at a time and may keep
	// what it gets.
	Status func(*bkclient.SolveStatus)
	// Logger receives the records.
	Logger *slog.Logger
	// Tracer and Meter are for spans and metrics.
	Tracer trace.Tracer
	Meter  metric.Meter
}

// Runner carries out steps. Nil and the zero value are usable, and tell nobody. It
// can be used by several goroutines at once.
type Runner struct {
	ready    sync.Once
	logger   *slog.Logger
	tracer   trace.Tracer
	meter    metric.Meter
	duration metric.Float64Histogram

	mu     sync.Mutex
	status func(*bkclient.SolveStatus)
}

// New returns a Runner.
func New(o Options) *Runner {
	return &Runner{status: o.Status, logger: o.Logger, tracer: o.Tracer, meter: o.Meter}
}

// complete puts what does nothing in the place of what is nil.
func (r *Runner) complete() {
	if r.logger == nil {
		r.logger = slog.New(slog.DiscardHandler)
	}
	if r.tracer == nil {
		r.tracer = tracenoop.NewTracerProvider().Tracer(Scope)
	}
	if r.meter == nil {
		r.meter = metricnoop.NewMeterProvider().Meter(Scope)
	}
	// An instrument that a meter refuses does nothing, and a build must not end
	// for that.
	r.duration, _ = r.meter.Float64Histogram(MetricDuration, metric.WithUnit("s"),
		metric.WithDescription("How long the steps of the client took"),
		metric.WithExplicitBucketBoundaries(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800))
}

// Run carries out f as a step. name is for people, "[evidence 3/7] scan for
// vulnerabilities"; when it is empty, the display does not show the step: the whole
// of a command, or a build that shows itself. event is for machines, one of Events.
// Steps may run side by side and within each other: f gets a context that belongs
// to the step's span.
//
// The error is that of f. When ctx was cancelled and f says no more than that,
// the cause is added.
func (r *Runner) Run(ctx context.Context, name, event string, f func(ctx context.Context, s *Step) error) error {
	if r == nil {
		r = &Runner{}
	}
	r.ready.Do(r.complete)
	s := &Step{r: r, name: name, event: event, vertex: digest.FromString(identity.NewID()), began: time.Now()}
	var span trace.Span
	s.ctx, span = r.tracer.Start(ctx, event)
	if name != "" {
		span.SetAttributes(attribute.String(FieldStep, name))
	}
	s.show(nil, nil)
	s.record(slog.LevelInfo, "started")

	// A panic, or the end of the goroutine, goes on its way; but whoever looks at
	// the display must not wait for the step.
	err := errBrokeOff
	defer func() { s.end(span, err) }()
	err = f(s.ctx, s)
	err = withCause(ctx, err)
	return err
}

var errBrokeOff = errors.New("the step broke off: it panicked, or its goroutine ended")

// withCause adds why ctx was cancelled to an error that says only that it was.
func withCause(ctx context.Context, err error) error {
	if err == nil || ctx.Err() == nil || !errors.Is(err, ctx.Err()) {
		return err
	}
	if cause := context.Cause(ctx); !errors.Is(err, cause) {
		return &stoppedError{cause: cause, err: err}
	}
	return err
}

// stoppedError is the end of a step whose context was cancelled.
type stoppedError struct{ cause, err error }

func (e *stoppedError) Error() string   { return e.cause.Error() + ": " + e.err.Error() }
func (e *stoppedError) Unwrap() []error { return []error{e.cause, e.err} }

func (s *Step) end(span trace.Span, err error) {
	took := time.Since(s.began)
	s.mu.Lock()
	s.ended = true
	facts := s.facts
	s.mu.Unlock()

	s.show(err, new(s.began.Add(took)))
	outcome := "completed"
	all := append([]slog.Attr{slog.Int64(FieldDuration, took.Milliseconds())}, facts...)
	if err != nil {
		outcome = "failed"
		s.record(slog.LevelError, outcome, append(all, slog.String(FieldError, err.Error()))...)
		span.SetStatus(codes.Error, err.Error())
	} else {
		s.record(slog.LevelInfo, outcome, all...)
	}
	span.SetAttributes(spanAttributes(facts)...)
	span.End()
	s.r.measure(s.ctx, s.event, outcome, took, facts)
}

// show sends the step itself, and with its end the ends of what it showed.
func (s *Step) show(err error, completed *time.Time) {
	v := &bkclient.Vertex{Digest: s.vertex, Name: s.name, Started: &s.began, Completed: completed}
	st := &bkclient.SolveStatus{Vertexes: []*bkclient.Vertex{v}}
	if err != nil {
		v.Error = err.Error()
		// The display tells by this ending what was cancelled from what failed.
		if ending := context.Canceled.Error(); errors.Is(err, context.Canceled) && !strings.HasSuffix(v.Error, ending) {
			v.Error += ": " + ending
		}
	}
	if completed != nil {
		st.Statuses = s.closeProgress(*completed)
	}
	s.send(st)
}

func (s *Step) record(level slog.Level, what string, attrs ...slog.Attr) {
	all := []slog.Attr{slog.String(FieldEvent, s.event+"."+what)}
	if s.name != "" {
		all = append(all, slog.String(FieldStep, s.name))
	}
	s.r.logger.LogAttrs(s.ctx, level, s.event+" "+what, append(all, attrs...)...)
}

// send gives the display something of the step.
func (s *Step) send(st *bkclient.SolveStatus) {
	if s.r.status == nil || s.name == "" {
		return
	}
	s.r.mu.Lock()
	defer s.r.mu.Unlock()
	s.r.status(st)
}
