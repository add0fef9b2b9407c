package stage

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	bkclient "github.com/moby/buildkit/client"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
)

// told is everything that a Runner told.
type told struct {
	*Runner
	statuses []*bkclient.SolveStatus
	records  recorder
	spans    *tracetest.InMemoryExporter
	reader   *metric.ManualReader
}

func newTold() *told {
	tl := &told{spans: tracetest.NewInMemoryExporter(), reader: metric.NewManualReader()}
	tl.Runner = New(Options{
		Status: func(s *bkclient.SolveStatus) { tl.statuses = append(tl.statuses, s) },
		Logger: slog.New(&tl.records),
		Tracer: sdktrace.NewTracerProvider(sdktrace.WithSyncer(tl.spans)).Tracer(Scope),
		Meter:  metric.NewMeterProvider(metric.WithReader(tl.reader)).Meter(Scope),
	})
	return tl
}

// last is the last state of each vertex, by name.
func (tl *told) last() map[string]*bkclient.Vertex {
	out := map[string]*bkclient.Vertex{}
	for _, s := range tl.statuses {
		for _, v := range s.Vertexes {
			out[v.Name] = v
		}
	}
	return out
}

type recorder struct {
	mu      sync.Mutex
	records []map[string]any
}

func (r *recorder) Enabled(context.Context, slog.Level) bool { return true }
func (r *recorder) WithAttrs([]slog.Attr) slog.Handler       { panic("not used") }
func (r *recorder) WithGroup(string) slog.Handler            { panic("not used") }
func (r *recorder) Handle(_ context.Context, rec slog.Record) error {
	m := map[string]any{"msg": rec.Message, "level": rec.Level.String()}
	rec.Attrs(func(a slog.Attr) bool {
		m[a.Key] = a.Value.Any()
		return true
	})
	delete(m, FieldDuration)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.records = append(r.records, m)
	return nil
}

func TestStep(t *testing.T) {
	tl := newTold()
	err := tl.Run(t.Context(), "[evidence 1/2] scan", Scan, func(ctx context.Context, s *Step) error {
		s.Progress("database", 0, 100)
		s.Progress("database", 50, 100) // too soon to be shown
		s.Progress("database", 100, 100)
		s.Progress("upload", 7, 0)
		s.Logf("%d packages", 3)
		s.Warn("old database", slog.Int("age_days", 9))
		s.Set(slog.Int("findings", 1), slog.String("image", "sha256:ab"))
		s.Set(slog.Int("findings", 2), slog.Group("by", slog.Float64("risk", 0.5)))
		return tl.Run(ctx, "inner", Gate, func(context.Context, *Step) error { return nil })
	})
	require.NoError(t, err)

	require.Equal(t, []map[string]any{
		{"msg": "scan started", "level": "INFO", "event": "scan.started", "step": "[evidence 1/2] scan"},
		{"msg": "scan warning", "level": "WARN", "event": "scan.warning", "step": "[evidence 1/2] scan", "warning": "old database", "age_days": int64(9)},
		{"msg": "gate started", "level": "INFO", "event": "gate.started", "step": "inner"},
		{"msg": "gate completed", "level": "INFO", "event": "gate.completed", "step": "inner"},
		{
			"msg": "scan completed", "level": "INFO", "event": "scan.completed", "step": "[evidence 1/2] scan",
			"findings": int64(2), "image": "sha256:ab", "by": []slog.Attr{slog.Float64("risk", 0.5)},
		},
	}, tl.records.records)

	var lines, logs, warnings []string
	for _, s := range tl.statuses {
		for _, l := range s.Statuses {
			lines = append(lines, fmt.Sprintf("%s %d/%d %v", l.ID, l.Current, l.Total, l.Completed != nil))
		}
		for _, l := range s.Logs {
			logs = append(logs, string(l.Data))
		}
		for _, w := range s.Warnings {
			warnings = append(warnings, string(w.Short))
		}
	}
	require.Equal(t, []string{"database 0/100 false", "database 100/100 true", "upload 7/0 false", "upload 7/0 true"}, lines)
	require.Equal(t, []string{"3 packages\n"}, logs)
	require.Equal(t, []string{"old database"}, warnings)
	for name, v := range tl.last() {
		require.NotNil(t, v.Completed, name)
		require.Empty(t, v.Error)
	}

	spans := tl.spans.GetSpans()
	require.Len(t, spans, 2)
	require.Equal(t, "gate", spans[0].Name)
	require.Equal(t, spans[1].SpanContext.SpanID(), spans[0].Parent.SpanID(), "steps nest")
	attrs := map[string]string{}
	for _, a := range spans[1].Attributes {
		attrs[string(a.Key)] = a.Value.String()
	}
	require.Equal(t, map[string]string{"step": "[evidence 1/2] scan", "findings": "2", "image": "sha256:ab", "by.risk": "0.5"}, attrs)

	metrics := tl.metrics(t)
	require.EqualValues(t, 2, metrics["temper.scan.findings"].(metricdata.Gauge[int64]).DataPoints[0].Value)
	require.InDelta(t, 0.5, metrics["temper.scan.by.risk"].(metricdata.Gauge[float64]).DataPoints[0].Value, 0)
	require.Len(t, metrics[MetricDuration].(metricdata.Histogram[float64]).DataPoints, 2)
}

func (tl *told) metrics(t *testing.T) map[string]metricdata.Aggregation {
	var rm metricdata.ResourceMetrics
	require.NoError(t, tl.reader.Collect(t.Context(), &rm))
	out := map[string]metricdata.Aggregation{}
	for _, m := range rm.ScopeMetrics[0].Metrics {
		out[m.Name] = m.Data
	}
	return out
}

func TestStepThatFails(t *testing.T) {
	boom := errors.New("boom")
	interrupted := errors.New("interrupted")
	cancelled, cancel := context.WithCancelCause(t.Context())
	cancel(interrupted)
	for name, tc := range map[string]struct {
		ctx       context.Context
		err       error
		is        []error
		want, vtx string
	}{
		"failure":              {t.Context(), boom, []error{boom}, "boom", "boom"},
		"wrapped cancellation": {cancelled, fmt.Errorf("read x: %w", context.Canceled), []error{interrupted, context.Canceled}, "interrupted: read x: context canceled", "interrupted: read x: context canceled"},
		"cause":                {cancelled, interrupted, []error{interrupted}, "interrupted", "interrupted"},
		"another failure":      {cancelled, boom, []error{boom}, "boom", "boom"},
		"cancelled elsewhere":  {t.Context(), fmt.Errorf("%w by the server", context.Canceled), []error{context.Canceled}, "context canceled by the server", "context canceled by the server: context canceled"},
	} {
		t.Run(name, func(t *testing.T) {
			tl := newTold()
			err := tl.Run(tc.ctx, "x", Store, func(_ context.Context, s *Step) error {
				s.Set(slog.Int("uploaded", 1))
				return tc.err
			})
			require.EqualError(t, err, tc.want)
			for _, is := range tc.is {
				require.ErrorIs(t, err, is)
			}
			v := tl.last()["x"]
			require.NotNil(t, v.Completed)
			require.Equal(t, tc.vtx, v.Error)
			require.Equal(t, map[string]any{
				"msg": "store failed", "level": "ERROR", "event": "store.failed", "step": "x", "error": tc.want, "uploaded": int64(1),
			}, tl.records.records[1])
			require.Equal(t, codes.Error, tl.spans.GetSpans()[0].Status.Code)
			require.Equal(t, tc.want, tl.spans.GetSpans()[0].Status.Description)
			outcome, _ := tl.metrics(t)[MetricDuration].(metricdata.Histogram[float64]).DataPoints[0].Attributes.Value("outcome")
			require.Equal(t, "failed", outcome.AsString())
		})
	}
}

func TestPanicIsNotSwallowed(t *testing.T) {
	tl := newTold()
	require.PanicsWithValue(t, "boom", func() {
		_ = tl.Run(t.Context(), "x", Sign, func(context.Context, *Step) error { panic("boom") })
	})
	require.NotNil(t, tl.last()["x"].Completed)
	require.Equal(t, errBrokeOff.Error(), tl.last()["x"].Error)
	require.Equal(t, "sign.failed", tl.records.records[1]["event"])
	require.Len(t, tl.spans.GetSpans(), 1)
}

func TestNothingAfterTheEnd(t *testing.T) {
	tl := newTold()
	var kept *Step
	require.NoError(t, tl.Run(t.Context(), "x", Sign, func(_ context.Context, s *Step) error {
		kept = s
		return nil
	}))
	statuses, records := len(tl.statuses), len(tl.records.records)
	kept.Log("late")
	kept.Warn("late")
	kept.Progress("late", 1, 2)
	kept.Set(slog.Int("late", 1))
	require.Len(t, tl.statuses, statuses)
	require.Len(t, tl.records.records, records)
}

func TestStepThatIsNotShown(t *testing.T) {
	tl := newTold()
	require.NoError(t, tl.Run(t.Context(), "", Pipeline, func(_ context.Context, s *Step) error {
		s.Log("a")
		s.Warn("b")
		s.Progress("c", 1, 2)
		return nil
	}))
	require.Empty(t, tl.statuses)
	require.Equal(t, []map[string]any{
		{"msg": "pipeline started", "level": "INFO", "event": "pipeline.started"},
		{"msg": "pipeline warning", "level": "WARN", "event": "pipeline.warning", "warning": "b"},
		{"msg": "pipeline completed", "level": "INFO", "event": "pipeline.completed"},
	}, tl.records.records)
	require.Empty(t, tl.spans.GetSpans()[0].Attributes)
}

func TestNobodyListens(t *testing.T) {
	for name, r := range map[string]*Runner{"nil": nil, "empty": New(Options{}), "zero": {}} {
		t.Run(name, func(t *testing.T) {
			boom := errors.New("boom")
			require.ErrorIs(t, r.Run(t.Context(), "x", Sign, func(_ context.Context, s *Step) error {
				s.Log("a")
				s.Warn("b")
				s.Progress("c", 1, 2)
				s.Set(slog.Int("d", 1))
				return boom
			}), boom)
		})
	}
	var s *Step
	s.Log("a")
	s.Warn("b")
	s.Progress("c", 1, 2)
	s.Set(slog.Int("d", 1))
}

func TestStepsSideBySide(t *testing.T) {
	tl := newTold()
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			_ = tl.Run(t.Context(), fmt.Sprint(i), Sign, func(_ context.Context, s *Step) error {
				var inner sync.WaitGroup
				for j := range 10 {
					inner.Go(func() {
						s.Progress(fmt.Sprint(j), int64(j), 10)
						s.Logf("%d", j)
						s.Set(slog.Int(fmt.Sprint(j), j))
						time.Sleep(time.Millisecond)
					})
				}
				inner.Wait()
				return nil
			})
		})
	}
	wg.Wait()
	require.Len(t, tl.last(), 20)
	require.Len(t, tl.records.records, 40)
	digests := map[string]bool{}
	for _, v := range tl.last() {
		require.NotNil(t, v.Completed)
		digests[v.Digest.String()] = true
	}
	require.Len(t, digests, 20)
}

func TestEvents(t *testing.T) {
	seen := map[string]bool{}
	for _, e := range Events {
		require.False(t, seen[e.Name], "%s is listed twice", e.Name)
		seen[e.Name] = true
		keys := map[string]bool{FieldEvent: true, FieldStep: true, FieldDuration: true, FieldError: true}
		for _, f := range e.Facts {
			require.Regexp(t, `^[a-z]+(_[a-z]+)*$`, f.Key)
			require.False(t, keys[f.Key], "%s: %s", e.Name, f.Key)
			require.NotEmpty(t, f.About)
			keys[f.Key] = true
		}
	}
	_, ok := FindEvent(Scan)
	require.True(t, ok)
	_, ok = FindEvent("other")
	require.False(t, ok)
}
