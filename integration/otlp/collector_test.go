package otlp

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/integration/tools"
)

// freePort is a port of the loopback interface that nobody listens at.
func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// collector is a running OpenTelemetry collector.
type collector struct {
	dir        string
	http, grpc int
	cmd        *exec.Cmd
	log        bytes.Buffer
	ended      chan struct{}
}

// toFiles is the configuration of a collector that writes what it gets to files.
// protocol is added to that of both receivers.
func toFiles(dir string, http, grpc int, protocol, extensions string) string {
	return fmt.Sprintf(`
%[5]s
receivers:
  otlp:
    protocols:
      http: {endpoint: "127.0.0.1:%[2]d"%[4]s}
      grpc: {endpoint: "127.0.0.1:%[3]d"%[4]s}
exporters:
  file/logs: {path: "%[1]s/logs.json", flush_interval: 50ms}
  file/traces: {path: "%[1]s/traces.json", flush_interval: 50ms}
  file/metrics: {path: "%[1]s/metrics.json", flush_interval: 50ms}
service:
  extensions: [%[6]s]
  telemetry: {metrics: {level: none}, logs: {level: warn}}
  pipelines:
    logs: {receivers: [otlp], exporters: [file/logs]}
    traces: {receivers: [otlp], exporters: [file/traces]}
    metrics: {receivers: [otlp], exporters: [file/metrics]}
`, dir, http, grpc, protocol, extensions, extensionName(extensions))
}

func extensionName(extensions string) string {
	if extensions == "" {
		return ""
	}
	return "bearertokenauth"
}

// startCollector runs a collector that writes to files until the test ends.
func startCollector(t *testing.T, protocol, extensions string) *collector {
	t.Helper()
	c := &collector{dir: t.TempDir(), http: freePort(t), grpc: freePort(t)}
	config := filepath.Join(c.dir, "config.yaml")
	require.NoError(t, os.WriteFile(config, []byte(toFiles(c.dir, c.http, c.grpc, protocol, extensions)), 0o600))
	c.run(t, c.http, nil, "--config", config)
	return c
}

// run starts the program and waits until it listens at port.
func (c *collector) run(t *testing.T, port int, env []string, args ...string) {
	t.Helper()
	c.cmd = exec.CommandContext(bounded(t), tools.Path("otelcol"), args...)
	c.cmd.Env = append(os.Environ(), env...)
	c.cmd.Stdout, c.cmd.Stderr = &c.log, &c.log
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	require.NoError(t, c.cmd.Start())
	c.ended = make(chan struct{})
	go func() {
		defer close(c.ended)
		_ = c.cmd.Wait()
	}()
	t.Cleanup(func() { c.stop(syscall.SIGKILL) })
	require.Eventually(t, func() bool {
		select {
		case <-c.ended:
			t.Fatalf("the collector ended: %s", c.log.String())
		default:
		}
		conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			conn.Close()
		}
		return err == nil
	}, time.Minute, 50*time.Millisecond, "the collector does not listen")
}

func (c *collector) stop(s syscall.Signal) {
	_ = c.cmd.Process.Signal(s)
	<-c.ended
}

// flush ends the collector, which writes out what it still has, and returns what
// it got.
func (c *collector) flush(t *testing.T) received {
	t.Helper()
	c.stop(syscall.SIGTERM)
	var r received
	for _, f := range []struct {
		name string
		each func(dt []byte) error
	}{
		{"logs.json", func(dt []byte) error { return into(dt, &r.Logs) }},
		{"traces.json", func(dt []byte) error { return into(dt, &r.Traces) }},
		{"metrics.json", func(dt []byte) error { return into(dt, &r.Metrics) }},
	} {
		dt, err := os.ReadFile(filepath.Join(c.dir, f.name))
		require.NoError(t, err, c.log.String())
		for line := range strings.Lines(string(dt)) {
			require.NoError(t, f.each([]byte(line)))
		}
	}
	return r
}

func into[T any](dt []byte, to *[]T) error {
	var v T
	err := json.Unmarshal(dt, &v)
	*to = append(*to, v)
	return err
}

// received is what a collector wrote, one entry a request.
type received struct {
	Logs []struct {
		ResourceLogs []struct {
			Resource  resource
			ScopeLogs []struct {
				LogRecords []struct {
					Attributes                    attributes
					SeverityText, TraceID, SpanID string
					Body                          value
				}
			}
		}
	}
	Traces []struct {
		ResourceSpans []struct {
			Resource   resource
			ScopeSpans []struct{ Spans []span }
		}
	}
	Metrics []struct {
		ResourceMetrics []struct {
			Resource     resource
			ScopeMetrics []struct {
				Metrics []struct {
					Name      string
					Gauge     *struct{ DataPoints []point }
					Histogram *struct{ DataPoints []point }
				}
			}
		}
	}
}

type resource struct{ Attributes attributes }

type span struct {
	Name, TraceID, SpanID, ParentSpanID string
	Attributes                          attributes

	service string
}

type point struct {
	Attributes attributes
	AsInt      string
	Count      string
}

type attributes []struct {
	Key   string
	Value value
}

type value struct{ StringValue, IntValue string }

func (a attributes) get(key string) string {
	for _, kv := range a {
		if kv.Key == key {
			return kv.Value.StringValue + kv.Value.IntValue
		}
	}
	return ""
}

// spans are all spans by their identifiers, which must be unique.
func (r received) spans(t *testing.T) map[string]span {
	t.Helper()
	out := map[string]span{}
	for _, req := range r.Traces {
		for _, rs := range req.ResourceSpans {
			for _, ss := range rs.ScopeSpans {
				for _, s := range ss.Spans {
					require.NotContains(t, out, s.SpanID, "span %s came twice", s.Name)
					s.service = rs.Resource.Attributes.get("service.name")
					out[s.SpanID] = s
				}
			}
		}
	}
	return out
}

// record is a log record with its fields.
type record struct {
	attributes
	level, trace, span string
}

// records are the log records by event.
func (r received) records() map[string]record {
	out := map[string]record{}
	for _, req := range r.Logs {
		for _, rl := range req.ResourceLogs {
			for _, sl := range rl.ScopeLogs {
				for _, l := range sl.LogRecords {
					out[l.Attributes.get("event")] = record{l.Attributes, l.SeverityText, l.TraceID, l.SpanID}
				}
			}
		}
	}
	return out
}

// metrics are the values of gauges, and the counts of histograms by event and
// outcome.
func (r received) metrics() map[string]string {
	out := map[string]string{}
	for _, req := range r.Metrics {
		for _, rm := range req.ResourceMetrics {
			for _, sm := range rm.ScopeMetrics {
				for _, m := range sm.Metrics {
					if m.Gauge != nil {
						out[m.Name] = m.Gauge.DataPoints[0].AsInt
					}
					if m.Histogram != nil {
						for _, p := range m.Histogram.DataPoints {
							out[m.Name+" "+p.Attributes.get("event")+" "+p.Attributes.get("outcome")] = p.Count
						}
					}
				}
			}
		}
	}
	return out
}

// bounded is a context that ends before the test program's own time limit.
func bounded(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	t.Cleanup(cancel)
	return ctx
}
