package otlp

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/goccy/go-yaml"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"

	"github.com/temper-images/temper/client/stage"
	"github.com/temper-images/temper/client/telemetry"
	"github.com/temper-images/temper/integration/tools"
)

// service stands for a service that a collector sends to: it keeps what it gets,
// by path.
type service struct {
	addr string

	mu     sync.Mutex
	bodies map[string][]byte
	// refused says why a request was not taken.
	refused []string
}

func (s *service) add(path string, dt []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bodies[path] = append(s.bodies[path], dt...)
}

func (s *service) got(path string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return string(s.bodies[path])
}

// overHTTP is a service that takes requests which check finds good.
func overHTTP(t *testing.T, check func(r *http.Request, body []byte) error) *service {
	t.Helper()
	s := &service{bodies: map[string][]byte{}}
	s.addr = answering(t, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err == nil && check != nil {
			err = check(r, body)
		}
		if err != nil {
			s.mu.Lock()
			s.refused = append(s.refused, err.Error())
			s.mu.Unlock()
			http.Error(w, err.Error(), http.StatusForbidden)
			return
		}
		if r.URL.Path == "/token" {
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprint(w, `{"access_token": "the-token", "token_type": "Bearer", "expires_in": 3600}`)
			return
		}
		if r.Header.Get("Content-Encoding") == "gzip" {
			zr, err := gzip.NewReader(bytes.NewReader(body))
			if err == nil {
				body, err = io.ReadAll(zr)
			}
			if err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
		}
		s.add(r.URL.Path, body)
		w.Header().Set("Content-Type", "application/x-protobuf")
	})
	return s
}

// header is a check that a header has a value.
func header(name, value string) func(*http.Request, []byte) error {
	return func(r *http.Request, _ []byte) error {
		if got := r.Header.Get(name); got != value {
			return fmt.Errorf("%s: %s is %q", r.URL.Path, name, got)
		}
		return nil
	}
}

var credential = regexp.MustCompile(`Credential=AK/\d{8}/eu-central-1/([a-z]+)/aws4_request, SignedHeaders=([a-z0-9;-]+), Signature=`)

// signed checks an AWS Signature, version 4, by signing the same request again.
func signed(r *http.Request, body []byte) error {
	m := credential.FindStringSubmatch(r.Header.Get("Authorization"))
	if m == nil {
		return fmt.Errorf("%s: Authorization is %q", r.URL.Path, r.Header.Get("Authorization"))
	}
	if want := map[string]string{"/v1/logs": "logs", "/v1/traces": "xray"}[r.URL.Path]; m[1] != want {
		return fmt.Errorf("%s is signed for %s", r.URL.Path, m[1])
	}
	at, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
	if err != nil {
		return err
	}
	again, err := http.NewRequestWithContext(r.Context(), r.Method, "http://"+r.Host+r.URL.Path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	for _, name := range strings.Split(m[2], ";") {
		if name != "host" && name != "content-length" {
			again.Header.Set(name, r.Header.Get(name))
		}
	}
	sum := sha256.Sum256(body)
	err = v4.NewSigner().SignHTTP(r.Context(), aws.Credentials{AccessKeyID: "AK", SecretAccessKey: "SK"}, again, hex.EncodeToString(sum[:]), m[1], "eu-central-1", at)
	if err == nil && again.Header.Get("Authorization") != r.Header.Get("Authorization") {
		err = fmt.Errorf("%s: bad signature", r.URL.Path)
	}
	return err
}

// raw is a codec that leaves messages as they are.
type raw struct{}

func (raw) Name() string                     { return "proto" }
func (raw) Marshal(any) ([]byte, error)      { return nil, nil }
func (raw) Unmarshal(dt []byte, v any) error { *v.(*[]byte) = dt; return nil }

// overGRPC is a service that takes every call and answers with an empty message.
func overGRPC(t *testing.T) *service {
	t.Helper()
	s := &service{bodies: map[string][]byte{}}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	server := grpc.NewServer(grpc.ForceServerCodec(raw{}), grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
		var dt []byte
		if err := stream.RecvMsg(&dt); err != nil {
			return err
		}
		method, _ := grpc.MethodFromServerStream(stream)
		s.add(method, dt)
		return stream.SendMsg(nil)
	}))
	go func() { _ = server.Serve(l) }()
	t.Cleanup(server.Stop)
	s.addr = l.Addr().String()
	return s
}

// tell sends records, a span and metrics as temper does.
func tell(t *testing.T, endpoint string) {
	t.Helper()
	var lost []string
	tl, err := telemetry.Start(t.Context(), telemetry.Options{Endpoint: endpoint, Warn: func(s string) { lost = append(lost, s) }, Getenv: func(string) string { return "" }})
	require.NoError(t, err)
	r := stage.New(stage.Options{Logger: tl.Logger, Tracer: tl.Tracer, Meter: tl.Meter})
	require.NoError(t, r.Run(t.Context(), "[evidence 4/7] sign", stage.Sign, func(context.Context, *stage.Step) error { return nil }))
	tl.Shutdown(t.Context())
	require.Empty(t, lost)
}

// Each example is a configuration that the collector takes, and brings what temper
// tells to where the service that it is for expects it. Only addresses differ.
func TestExamples(t *testing.T) {
	const record = "sign.completed"
	for name, tc := range map[string]struct {
		service *service
		// env is what the example asks of the environment; over is laid over it,
		// with %s for the service's address.
		env, over []string
		// arrives is what is to be found at each path.
		arrives map[string]string
	}{
		"loki": {
			service: overHTTP(t, header("X-Scope-OrgID", "team")),
			env:     []string{"LOKI_TENANT=team", "LOKI_URL=%s"},
			arrives: map[string]string{"/otlp/v1/logs": record},
		},
		"elastic": {
			service: overHTTP(t, header("Authorization", "ApiKey k3y")),
			env:     []string{"ELASTIC_OTLP_ENDPOINT=%s", "ELASTIC_API_KEY=k3y"},
			arrives: map[string]string{"/v1/logs": record, "/v1/traces": "[evidence 4/7] sign", "/v1/metrics": stage.MetricDuration},
		},
		"fluent": {
			service: overHTTP(t, nil),
			env:     []string{"FLUENT_OTLP_URL=%s"},
			arrives: map[string]string{"/v1/logs": record, "/v1/traces": "[evidence 4/7] sign", "/v1/metrics": stage.MetricDuration},
		},
		"cloudwatch": {
			service: overHTTP(t, func(r *http.Request, body []byte) error {
				if r.URL.Path == "/v1/logs" {
					if err := header("x-aws-log-group", "/temper/releases")(r, body); err != nil {
						return err
					}
				}
				return signed(r, body)
			}),
			env:     []string{"AWS_REGION=eu-central-1", "AWS_ACCESS_KEY_ID=AK", "AWS_SECRET_ACCESS_KEY=SK"},
			over:    []string{"exporters::otlp_http/logs::logs_endpoint: %s/v1/logs", "exporters::otlp_http/traces::traces_endpoint: %s/v1/traces"},
			arrives: map[string]string{"/v1/logs": record, "/v1/traces": "[evidence 4/7] sign"},
		},
		"azure-monitor": {
			service: overHTTP(t, func(r *http.Request, body []byte) error {
				if r.URL.Path != "/token" {
					return header("Authorization", "Bearer the-token")(r, body)
				}
				for _, want := range []string{"client_credentials", "monitor.azure.com%2F.default"} {
					if !strings.Contains(string(body), want) {
						return fmt.Errorf("token: no %s in %s", want, body)
					}
				}
				if id, secret, _ := r.BasicAuth(); id != "client" || secret != "s3cret" {
					return fmt.Errorf("token: wrong credentials")
				}
				return nil
			}),
			env: []string{
				"AZURE_TENANT_ID=t", "AZURE_CLIENT_ID=client", "AZURE_CLIENT_SECRET=s3cret",
				"AZURE_OTLP_LOGS_ENDPOINT=%s/l", "AZURE_OTLP_TRACES_ENDPOINT=%s/t", "AZURE_OTLP_METRICS_ENDPOINT=%s/m",
			},
			over:    []string{"extensions::oauth2client::token_url: %s/token"},
			arrives: map[string]string{"/l": record, "/t": "[evidence 4/7] sign", "/m": stage.MetricDuration},
		},
		"google-cloud": {
			service: overGRPC(t),
			env:     []string{"GOOGLE_CLOUD_PROJECT=a-project"},
			over: []string{
				"exporters::googlecloud::log: {endpoint: \"%s\", use_insecure: true}", "exporters::googlecloud::trace: {endpoint: \"%s\", use_insecure: true}",
				"exporters::googlecloud::metric: {endpoint: \"%s\", use_insecure: true}",
			},
			arrives: map[string]string{
				"/google.logging.v2.LoggingServiceV2/WriteLogEntries":         record,
				"/google.devtools.cloudtrace.v2.TraceService/BatchWriteSpans": "[evidence 4/7] sign",
				"/google.monitoring.v3.MetricService/CreateTimeSeries":        stage.MetricDuration,
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(tools.Root(), "examples", "logging", name+".yaml")
			fill := func(list []string) (out []string) {
				for _, s := range list {
					out = append(out, strings.ReplaceAll(s, "%s", tc.service.addr))
				}
				return out
			}
			env := fill(tc.env)
			validate := exec.CommandContext(bounded(t), tools.Path("otelcol"), "validate", "--config", file)
			validate.Env = append(os.Environ(), env...)
			out, err := validate.CombinedOutput()
			require.NoError(t, err, "%s", out)

			c := &collector{http: freePort(t)}
			args := []string{"--config", file}
			for _, over := range append(fill(tc.over),
				fmt.Sprintf("receivers::otlp::protocols::http::endpoint: 127.0.0.1:%d", c.http),
				"service::telemetry::metrics::level: none") {
				args = append(args, "--config", "yaml:"+over)
			}
			if dt, err := os.ReadFile(file); err == nil && strings.Contains(string(dt), "grpc:") {
				args = append(args, "--config", fmt.Sprintf("yaml:receivers::otlp::protocols::grpc::endpoint: 127.0.0.1:%d", freePort(t)))
			}
			c.run(t, c.http, env, args...)
			tell(t, fmt.Sprintf("http://127.0.0.1:%d", c.http))
			require.Eventually(t, func() bool {
				for path, text := range tc.arrives {
					if !strings.Contains(tc.service.got(path), text) {
						return false
					}
				}
				return true
			}, time.Minute, 50*time.Millisecond, "arrived: %v, refused: %v", tc.service, tc.service)
			require.Empty(t, tc.service.refused)
		})
	}
}

// The collector of the tests has no exporter for Splunk, so only this much of that
// example is tested: all but the exporter is good, and the exporter's fields are
// those that its documentation has.
func TestSplunkExample(t *testing.T) {
	dt, err := os.ReadFile(filepath.Join(tools.Root(), "examples", "logging", "splunk.yaml"))
	require.NoError(t, err)
	var config map[string]map[string]any
	require.NoError(t, yaml.Unmarshal(dt, &config))
	exporter := config["exporters"]["splunk_hec"].(map[string]any)
	require.Equal(t, []string{"endpoint", "index", "source", "sourcetype", "token"}, slices.Sorted(maps.Keys(exporter)))

	file := filepath.Join(t.TempDir(), "config.yaml")
	other := strings.Replace(string(dt), "  splunk_hec:\n", "  file: {path: "+filepath.Join(t.TempDir(), "x")+"}\n  #", 1)
	other = regexp.MustCompile(`(?m)^    (endpoint|token|source|sourcetype|index): .*\n`).ReplaceAllString(other, "")
	other = strings.Replace(other, "exporters: [splunk_hec]", "exporters: [file]", 1)
	require.NoError(t, os.WriteFile(file, []byte(other), 0o600))
	out, err := exec.CommandContext(bounded(t), tools.Path("otelcol"), "validate", "--config", file).CombinedOutput()
	require.NoError(t, err, "%s\n%s", out, other)
}

// Every example is tested, or is no configuration of a collector.
func TestExamplesAreAll(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(tools.Root(), "examples", "logging", "*"))
	require.NoError(t, err)
	var names []string
	for _, f := range files {
		names = append(names, filepath.Base(f))
	}
	require.Equal(t, []string{
		"azure-monitor.yaml", "cloudwatch.yaml", "elastic.yaml", "fluent-bit.yaml", "fluent.yaml", "fluentd.conf", "google-cloud.yaml", "loki.yaml", "splunk.yaml",
	}, names)
}
