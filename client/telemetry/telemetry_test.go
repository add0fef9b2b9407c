package telemetry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/temper-images/temper/client/redact"
)

// env is an environment in which nothing is set but what it says.
func env(pairs ...string) func(string) string {
	return func(key string) string {
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i] == key {
				return pairs[i+1]
			}
		}
		return ""
	}
}

// sink is a collector that keeps the bytes of each path; OTLP's strings can be
// read in them.
type sink struct {
	*httptest.Server
	mu     sync.Mutex
	bodies map[string]string
	header http.Header
}

func newSink(t *testing.T, answer func(w http.ResponseWriter, r *http.Request) bool) *sink {
	s := &sink{bodies: map[string]string{}}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		dt, _ := io.ReadAll(r.Body)
		s.mu.Lock()
		s.bodies[r.URL.Path] += string(dt)
		s.header = r.Header
		s.mu.Unlock()
		if answer != nil && answer(w, r) {
			return
		}
		w.Header().Set("Content-Type", "application/x-protobuf")
	}))
	t.Cleanup(s.Close)
	t.Cleanup(s.CloseClientConnections)
	return s
}

func (s *sink) body(path string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bodies[path]
}

func TestNothingByDefault(t *testing.T) {
	var out bytes.Buffer
	tl, err := Start(t.Context(), Options{Out: &out, Getenv: env()})
	require.NoError(t, err)
	require.Equal(t, None, tl.Format())
	require.False(t, tl.Tracing())
	ctx, span := tl.Tracer.Start(t.Context(), "x")
	require.False(t, span.IsRecording())
	tl.Logger.ErrorContext(ctx, "x")
	tl.AddSpans(ctx, nil)
	tl.Shutdown(ctx)
	require.Empty(t, out.String())
}

func TestRecords(t *testing.T) {
	for format, want := range map[Format]string{
		Text: `level=WARN msg="signed with «redacted»" event=sign.completed key=«redacted» trace_id=4bf92f3577b34da6a3ce929d0e0e4736 span_id=00f067aa0ba902b7`,
		JSON: `"level":"WARN","msg":"signed with «redacted»","event":"sign.completed","key":"«redacted»","trace_id":"4bf92f3577b34da6a3ce929d0e0e4736","span_id":"00f067aa0ba902b7"}`,
	} {
		t.Run(string(format), func(t *testing.T) {
			var out bytes.Buffer
			tl, err := Start(t.Context(), Options{
				Format: format, Level: slog.LevelWarn, Out: &out, Redact: hide(),
				Getenv: env("TRACEPARENT", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
			})
			require.NoError(t, err)
			require.Equal(t, format, tl.Format())
			ctx := tl.Join(t.Context())
			tl.Logger.InfoContext(ctx, "not shown")
			tl.Logger.WarnContext(ctx, "signed with hunter2", "event", "sign.completed", "key", "hunter2")
			require.Contains(t, out.String(), want)
			require.NotContains(t, out.String(), "not shown")
			require.Equal(t, 1, strings.Count(out.String(), "\n"))
		})
	}
	var out bytes.Buffer
	tl, err := Start(t.Context(), Options{Out: &out, Getenv: env("TEMPER_LOG_FORMAT", "json")})
	require.NoError(t, err)
	tl.Logger.Info("x")
	require.Contains(t, out.String(), `"msg":"x"`)
}

// hide is a filter that knows one secret.
func hide() *redact.Redactor {
	r := &redact.Redactor{}
	r.Add([]byte("hunter2"))
	return r
}

type secretStringer struct{}

func (secretStringer) String() string { return "hunter2" }

func TestSecretsReachNoSink(t *testing.T) {
	s := newSink(t, nil)
	var out bytes.Buffer
	var warnings []string
	tl, err := Start(t.Context(), Options{
		Format: JSON, Out: &out, Endpoint: s.URL, Redact: hide(), Getenv: env(),
		Resource: map[string]string{"cicd.pipeline.name": "hunter2"}, Warn: func(w string) { warnings = append(warnings, w) },
	})
	require.NoError(t, err)
	ctx, span := tl.Tracer.Start(t.Context(), "span hunter2")
	span.SetAttributes(attribute.String("a", "hunter2"), attribute.StringSlice("b", []string{"hunter2"}))
	span.RecordError(errors.New("hunter2"))
	span.AddLink(trace.Link{SpanContext: span.SpanContext(), Attributes: []attribute.KeyValue{attribute.String("l", "hunter2")}})
	span.End()
	tl.AddSpans(ctx, tracetest.SpanStubs{{Name: "builder hunter2", SpanContext: span.SpanContext()}}.Snapshots())
	tl.Logger.With("with", "hunter2").WithGroup("group").InfoContext(ctx, "hunter2",
		"string", "hunter2", "error", fmt.Errorf("wrapped: %w", errors.New("hunter2")), "stringer", secretStringer{},
		"list", []string{"hunter2"}, "map", map[string]string{"hunter2": "hunter2"},
		"struct", struct{ Password string }{"hunter2"}, "bytes", json.RawMessage(`{"a":"hunter2"}`),
		"group", slog.GroupValue(slog.String("inner", "hunter2")), "hunter2", 1)
	tl.Shutdown(ctx)
	require.Empty(t, warnings)
	all := out.String()
	for _, path := range []string{"/v1/logs", "/v1/traces"} {
		require.Contains(t, s.body(path), redact.Mark, path)
		all += s.body(path)
	}
	require.NotContains(t, all, "hunter2")
	require.Contains(t, s.body("/v1/traces"), "builder "+redact.Mark)
	require.Equal(t, 12, strings.Count(out.String(), redact.Mark), out.String())
}

func TestHeadersAreSecrets(t *testing.T) {
	var out bytes.Buffer
	var r redact.Redactor
	tl, err := Start(t.Context(), Options{
		Format: JSON, Out: &out, Redact: &r, Headers: map[string]string{"authorization": "Bearer token-by-flag"},
		Getenv: env("OTEL_EXPORTER_OTLP_HEADERS", "a=one,authorization=ApiKey%20token-by-environment", "OTEL_EXPORTER_OTLP_LOGS_HEADERS", "b=token-for-logs"),
	})
	require.NoError(t, err)
	tl.Logger.Info("token-by-flag token-by-environment token-for-logs")
	require.NotContains(t, out.String(), "token")
}

func TestExport(t *testing.T) {
	s := newSink(t, nil)
	tl, err := Start(t.Context(), Options{
		Endpoint: s.URL + "/base/", Headers: map[string]string{"authorization": "Bearer x"}, Version: "1.2.3",
		Resource: map[string]string{"vcs.ref.head.revision": "abcdef"}, Getenv: env(),
	})
	require.NoError(t, err)
	require.True(t, tl.Tracing())
	ctx, span := tl.Tracer.Start(t.Context(), "a span")
	counter, err := tl.Meter.Int64Counter("a.counter")
	require.NoError(t, err)
	counter.Add(ctx, 1)
	tl.Logger.InfoContext(ctx, "a record", "size_bytes", 3)
	span.End()
	tl.Shutdown(ctx)
	for path, want := range map[string]string{"/base/v1/logs": "a record", "/base/v1/traces": "a span", "/base/v1/metrics": "a.counter"} {
		require.Contains(t, s.body(path), want)
		require.Contains(t, s.body(path), "abcdef")
		require.Contains(t, s.body(path), "1.2.3")
	}
	id := span.SpanContext().TraceID()
	require.Contains(t, s.body("/base/v1/logs"), string(id[:]))
	require.Equal(t, "Bearer x", s.header.Get("Authorization"))
}

func TestEnvironment(t *testing.T) {
	s := newSink(t, nil)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", s.URL)
	t.Setenv("OTEL_TRACES_EXPORTER", "none")
	t.Setenv("OTEL_SERVICE_NAME", "my-release")
	t.Setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-token=abc")
	tl, err := Start(t.Context(), Options{})
	require.NoError(t, err)
	require.False(t, tl.Tracing())
	tl.Logger.Info("a record")
	tl.Shutdown(t.Context())
	require.Contains(t, s.body("/v1/logs"), "my-release")
	require.NotContains(t, s.bodies, "/v1/traces")
	require.Equal(t, "abc", s.header.Get("x-token"))

	t.Setenv("OTEL_SDK_DISABLED", "true")
	tl, err = Start(t.Context(), Options{})
	require.NoError(t, err)
	require.Empty(t, tl.ends)
}

func TestBadOptions(t *testing.T) {
	dir := t.TempDir()
	for name, tc := range map[string]struct {
		o    Options
		want string
	}{
		"format":         {Options{Format: "xml"}, "log format xml: it is one of text, json, none"},
		"format by env":  {Options{Getenv: env("TEMPER_LOG_FORMAT", "xml")}, "TEMPER_LOG_FORMAT xml"},
		"protocol":       {Options{Protocol: "http/json"}, "OTLP protocol http/json"},
		"env protocol":   {Options{Endpoint: "http://x", Getenv: env("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json")}, "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL http/json: it is one of"},
		"endpoint":       {Options{Endpoint: "localhost:4318"}, "OTLP endpoint localhost:4318: it must be a URL"},
		"endpoint empty": {Options{Endpoint: "http://"}, "it must be a URL"},
		"exporter":       {Options{Getenv: env("OTEL_METRICS_EXPORTER", "prometheus")}, "OTEL_METRICS_EXPORTER prometheus: temper exports by otlp or none"},
		"key alone":      {Options{Key: "x"}, "go together"},
		"no CA":          {Options{Endpoint: "https://x", CACert: dir + "/none"}, "OTLP CA certificate"},
		"bad CA":         {Options{Endpoint: "https://x", CACert: "telemetry_test.go"}, "no PEM certificate"},
		"no certificate": {Options{Endpoint: "https://x", Cert: dir + "/none", Key: "x"}, "OTLP client certificate"},
	} {
		t.Run(name, func(t *testing.T) {
			if tc.o.Getenv == nil {
				tc.o.Getenv = env()
			}
			_, err := Start(t.Context(), tc.o)
			require.ErrorContains(t, err, tc.want)
			var oe *OptionError
			require.ErrorAs(t, err, &oe)
		})
	}
}

func TestFlags(t *testing.T) {
	var o Options
	flags := pflag.NewFlagSet("x", pflag.ContinueOnError)
	o.AddFlags(flags)
	require.NoError(t, flags.Parse([]string{
		"--log-format=json", "--log-level=debug", "--otlp-endpoint=http://x", "--otlp-protocol=http",
		"--otlp-header=a=b=c", "--otlp-header", "d=", "--otlp-cacert=ca", "--otlp-cert=cert", "--otlp-key=key",
	}))
	require.Equal(t, Options{
		Format: JSON, Level: slog.LevelDebug, Endpoint: "http://x", Protocol: HTTP,
		Headers: map[string]string{"a": "b=c", "d": ""}, CACert: "ca", Cert: "cert", Key: "key",
	}, o)
	for _, bad := range []string{"--log-format=xml", "--log-level=loud", "--otlp-protocol=http/json", "--otlp-header=secret", "--otlp-header==x", "--otlp-header=a:=x"} {
		flags := pflag.NewFlagSet("x", pflag.ContinueOnError)
		new(Options).AddFlags(flags)
		require.Error(t, flags.Parse([]string{bad}), bad)
	}
}

// Whatever the collector does, the work goes on, the end comes in time, and there
// is one warning.
func TestCollectorsThatFail(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	down := "http://" + closed.Addr().String()
	require.NoError(t, closed.Close())
	// It accepts connections and never says a word.
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { silent.Close() })

	for name, tc := range map[string]struct {
		endpoint string
		protocol Protocol
		warnings int
	}{
		"down":        {down, HTTP, 1},
		"down, gRPC":  {down, GRPC, 1},
		"silent":      {"http://" + silent.Addr().String(), HTTP, 1},
		"silent gRPC": {"http://" + silent.Addr().String(), GRPC, 1},
		"503": {newSink(t, func(w http.ResponseWriter, _ *http.Request) bool {
			w.WriteHeader(http.StatusServiceUnavailable)
			return true
		}).URL, HTTP, 1},
		"401": {newSink(t, func(w http.ResponseWriter, _ *http.Request) bool {
			w.WriteHeader(http.StatusUnauthorized)
			return true
		}).URL, HTTP, 1},
		"not a collector": {newSink(t, func(w http.ResponseWriter, _ *http.Request) bool {
			http.NotFound(w, nil)
			return true
		}).URL, HTTP, 1},
		"slow": {newSink(t, func(_ http.ResponseWriter, r *http.Request) bool {
			<-r.Context().Done()
			return true
		}).URL, HTTP, 1},
		"well": {newSink(t, nil).URL, HTTP, 0},
	} {
		t.Run(name, func(t *testing.T) {
			var mu sync.Mutex
			var warnings []string
			tl, err := Start(t.Context(), Options{
				Endpoint: tc.endpoint, Protocol: tc.protocol, Getenv: env(), Shutdown: time.Second,
				Warn: func(s string) { mu.Lock(); warnings = append(warnings, s); mu.Unlock() },
			})
			require.NoError(t, err)
			counter, err := tl.Meter.Int64Counter("c")
			require.NoError(t, err)
			// More than the queues hold: what does not fit is dropped.
			for range 5000 {
				ctx, span := tl.Tracer.Start(t.Context(), "x")
				tl.Logger.InfoContext(ctx, "x")
				counter.Add(ctx, 1)
				span.End()
			}
			ended := make(chan struct{})
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			go func() {
				tl.Shutdown(ctx)
				close(ended)
			}()
			select {
			case <-ended:
			case <-time.After(time.Minute):
				t.Fatal("the end does not come")
			}
			mu.Lock()
			defer mu.Unlock()
			require.Len(t, warnings, tc.warnings)
			if tc.warnings > 0 {
				require.Contains(t, warnings[0], "did not reach the collector")
			}
		})
	}
}
