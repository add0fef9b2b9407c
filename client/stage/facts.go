package stage

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// The metrics of a step. Facts that are numbers are gauges named
// "temper.EVENT.FACT": "temper.scan.findings".
const (
	// MetricDuration is a histogram in seconds with the attributes "event" and
	// "outcome", "completed" or "failed".
	MetricDuration = "temper.step.duration"
	metricPrefix   = "temper."
)

// spanAttributes turns facts into attributes of a span, groups into "group.fact".
func spanAttributes(facts []slog.Attr) []attribute.KeyValue {
	var out []attribute.KeyValue
	for _, f := range flatten("", facts) {
		out = append(out, spanAttribute(f))
	}
	return out
}

func flatten(prefix string, facts []slog.Attr) []slog.Attr {
	var out []slog.Attr
	for _, f := range facts {
		f.Value = f.Value.Resolve()
		if f.Value.Kind() == slog.KindGroup {
			inner := prefix
			if f.Key != "" {
				inner += f.Key + "."
			}
			out = append(out, flatten(inner, f.Value.Group())...)
			continue
		}
		f.Key = prefix + f.Key
		out = append(out, f)
	}
	return out
}

func spanAttribute(f slog.Attr) attribute.KeyValue {
	switch v := f.Value; v.Kind() {
	case slog.KindBool:
		return attribute.Bool(f.Key, v.Bool())
	case slog.KindInt64:
		return attribute.Int64(f.Key, v.Int64())
	case slog.KindUint64:
		return attribute.Int64(f.Key, int64(v.Uint64()))
	case slog.KindFloat64:
		return attribute.Float64(f.Key, v.Float64())
	case slog.KindAny:
		switch a := v.Any().(type) {
		case []string:
			return attribute.StringSlice(f.Key, a)
		case fmt.Stringer:
			return attribute.String(f.Key, a.String())
		}
	}
	return attribute.String(f.Key, f.Value.String())
}

func (r *Runner) measure(ctx context.Context, event, outcome string, took time.Duration, facts []slog.Attr) {
	// What is cancelled is measured too.
	ctx = context.WithoutCancel(ctx)
	r.duration.Record(ctx, took.Seconds(), metric.WithAttributes(attribute.String(FieldEvent, event), attribute.String("outcome", outcome)))
	all := flatten("", facts)
	labels := metric.WithAttributes()
	for _, f := range all {
		// Images of several platforms have their own numbers.
		if f.Key == platform.Key {
			labels = metric.WithAttributes(spanAttribute(f))
		}
	}
	for _, f := range all {
		name, unit := metricPrefix+event+"."+f.Key, "1"
		if strings.HasSuffix(f.Key, "_bytes") {
			unit = "By"
		}
		switch v := f.Value; v.Kind() {
		case slog.KindInt64, slog.KindUint64:
			n := int64(0)
			if v.Kind() == slog.KindInt64 {
				n = v.Int64()
			} else {
				n = int64(v.Uint64())
			}
			if g, err := r.meter.Int64Gauge(name, metric.WithUnit(unit)); err == nil {
				g.Record(ctx, n, labels)
			}
		case slog.KindFloat64:
			if g, err := r.meter.Float64Gauge(name, metric.WithUnit(unit)); err == nil {
				g.Record(ctx, v.Float64(), labels)
			}
		}
	}
}
