package otlp

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/client/stage"
	"github.com/temper-images/temper/integration/base"
	"github.com/temper-images/temper/integration/daemon"
	"github.com/temper-images/temper/integration/records"
	"github.com/temper-images/temper/integration/tools"
)

// builder is the buildkitd of all tests.
var builder *daemon.Daemon

func TestMain(m *testing.M) {
	os.Exit(func() int {
		scratch, err := os.MkdirTemp("", "temper-")
		if err == nil {
			defer os.RemoveAll(scratch)
			builder, err = daemon.Start(context.Background(), scratch, daemon.Options{Binary: tools.Path("buildkitd")})
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		code := m.Run()
		if err := builder.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return code
	}())
}

var busybox = sync.OnceValues(func() (base.Layout, error) { return base.Busybox(context.Background()) })

// temper is a build of a Dockerfile with "RUN run" on Busybox. It has only those
// variables of the environment for telemetry that env names.
func temper(t *testing.T, run string, env []string, flags ...string) (cmd *exec.Cmd, stderr *bytes.Buffer) {
	t.Helper()
	image, err := busybox()
	require.NoError(t, err)
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte("FROM busybox\nRUN "+run+"\nCMD [\"/bin/busybox\"]\n"), 0o644))
	args := []string{"build", "--builder", builder.Addr, "--build-context", "busybox=" + image.Ref(), "--output", "out.oci", "--no-cache"}
	cmd = exec.CommandContext(bounded(t), tools.Path("temper"), slices.Concat(args, flags, []string{"."})...)
	cmd.Dir = dir
	cmd.Env = append(slices.DeleteFunc(os.Environ(), func(v string) bool {
		return strings.HasPrefix(v, "OTEL_") || strings.HasPrefix(v, "TRACE")
	}), env...)
	stderr = &bytes.Buffer{}
	cmd.Stderr = stderr
	return cmd, stderr
}

// warnings are the lines about telemetry that did not arrive.
func warnings(stderr *bytes.Buffer) int { return strings.Count(stderr.String(), "WARNING: telemetry") }

func TestBuild(t *testing.T) {
	for _, protocol := range []string{"http", "grpc"} {
		t.Run(protocol, func(t *testing.T) {
			c := startCollector(t, "", "")
			port := map[string]int{"http": c.http, "grpc": c.grpc}[protocol]
			cmd, stderr := temper(t, "echo hello > /hello", nil, "--log-format", "json",
				"--otlp-endpoint", fmt.Sprintf("http://127.0.0.1:%d", port), "--otlp-protocol", protocol)
			require.NoError(t, cmd.Run(), stderr)
			require.Zero(t, warnings(stderr), stderr)
			got := c.flush(t)

			spans := got.spans(t)
			trace := oneTrace(t, spans)
			services := map[string]int{}
			for _, s := range spans {
				services[s.service]++
			}
			require.Greater(t, services["temper"], 5)
			require.Greater(t, services["buildkitd"], 10)
			require.Len(t, services, 2)
			require.True(t, slices.ContainsFunc(all(spans), func(s span) bool {
				return s.service == "buildkitd" && strings.Contains(s.Name, "RUN echo hello")
			}), "the daemon's step")

			recorded := got.records()
			require.Len(t, recorded, 4)
			for event, r := range recorded {
				require.Equal(t, trace, r.trace, event)
				require.Equal(t, "temper", spans[r.span].service, event)
				require.Equal(t, strings.Split(event, ".")[0], spans[r.span].Name, event)
			}
			built := recorded["build.completed"]
			require.Regexp(t, "^sha256:[0-9a-f]{64}$", built.get("image"))
			require.Equal(t, "temper build", recorded["pipeline.completed"].get("command"))

			metrics := got.metrics()
			require.Equal(t, "1", metrics["temper.step.duration build completed"])
			require.Equal(t, "1", metrics["temper.step.duration pipeline completed"])
			for _, fact := range []string{"files_before", "files_after", "before_bytes", "after_bytes", "platforms"} {
				require.NotEmpty(t, built.get(fact))
				require.Equal(t, built.get(fact), metrics["temper.build."+fact])
			}

			// The same records are on standard error, and nothing else is.
			var onStderr []string
			for line := range strings.Lines(stderr.String()) {
				var r map[string]any
				require.NoError(t, json.Unmarshal([]byte(line), &r), line)
				require.Equal(t, trace, r["trace_id"])
				onStderr = append(onStderr, r["event"].(string))
			}
			require.Equal(t, []string{"pipeline.started", "build.started", "build.completed", "pipeline.completed"}, onStderr)
		})
	}
}

// oneTrace checks that the spans are one tree, and returns the trace's identifier.
func oneTrace(t *testing.T, spans map[string]span) (trace string) {
	t.Helper()
	roots := 0
	for _, s := range spans {
		if trace == "" {
			trace = s.TraceID
		}
		require.Equal(t, trace, s.TraceID, s.Name)
		if s.ParentSpanID == "" {
			roots++
			require.Equal(t, "pipeline", s.Name)
			continue
		}
		require.Contains(t, spans, s.ParentSpanID, "the parent of %s", s.Name)
	}
	require.Equal(t, 1, roots)
	return trace
}

func all(spans map[string]span) (out []span) {
	for _, s := range spans {
		out = append(out, s)
	}
	return out
}

// A buildkitd of temper's own has temper's environment, but must not export by
// itself what temper exports for it.
func TestOwnDaemonByEnvironment(t *testing.T) {
	c := startCollector(t, "", "")
	cmd, stderr := temper(t, "echo hello > /hello", []string{
		"OTEL_EXPORTER_OTLP_ENDPOINT=" + fmt.Sprintf("http://127.0.0.1:%d", c.http), "OTEL_SERVICE_NAME=release-of-app",
		"OTEL_RESOURCE_ATTRIBUTES=cicd.pipeline.name=nightly",
		"TRACEPARENT=00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "PATH=" + tools.Bin() + ":" + os.Getenv("PATH"),
	}, "--builder", "ephemeral", "--state-dir", t.TempDir(), "--progress", "plain")
	require.NoError(t, cmd.Run(), stderr)
	require.Zero(t, warnings(stderr), stderr)
	got := c.flush(t)
	services := map[string]int{}
	for _, s := range got.spans(t) {
		services[s.service]++
		require.Equal(t, "4bf92f3577b34da6a3ce929d0e0e4736", s.TraceID, "the trace of who calls")
		if s.Name == "pipeline" {
			require.Equal(t, "00f067aa0ba902b7", s.ParentSpanID)
		}
	}
	require.Positive(t, services["release-of-app"])
	require.Positive(t, services["buildkitd"])
	require.Equal(t, "nightly", got.Logs[0].ResourceLogs[0].Resource.Attributes.get("cicd.pipeline.name"))
}

// A builder that keeps no history has no spans to give; that is told, and the
// client's own are sent.
func TestBuilderWithoutHistory(t *testing.T) {
	scratch, err := os.MkdirTemp("", "temper-") //nolint:usetesting // a short path: sockets have at most 108 characters
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(scratch)) })
	d, err := daemon.Start(t.Context(), scratch, daemon.Options{Binary: tools.Path("buildkitd"), Config: "[history]\nmaxEntries = 0\n"})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, d.Stop()) })
	c := startCollector(t, "", "")
	cmd, stderr := temper(t, "echo hello > /hello", nil, "--builder", d.Addr, "--otlp-endpoint", fmt.Sprintf("http://127.0.0.1:%d", c.http))
	require.NoError(t, cmd.Run(), stderr)
	require.Zero(t, warnings(stderr), stderr)
	got := c.flush(t)
	require.Contains(t, got.records()["build.warning"].get("warning"), "has recorded no spans")
	require.Contains(t, got.records(), "build.completed")
	for _, s := range got.spans(t) {
		require.Equal(t, "temper", s.service)
	}
}

func TestBuildThatFails(t *testing.T) {
	c := startCollector(t, "", "")
	cmd, stderr := temper(t, "false", nil, "--otlp-endpoint", fmt.Sprintf("http://127.0.0.1:%d", c.http))
	require.Error(t, cmd.Run())
	require.Equal(t, 1, cmd.ProcessState.ExitCode(), stderr)
	require.Zero(t, warnings(stderr), stderr)
	got := c.flush(t)
	oneTrace(t, got.spans(t))
	for _, event := range []string{"build.failed", "pipeline.failed"} {
		require.Contains(t, got.records(), event)
		require.Equal(t, "ERROR", got.records()[event].level)
		require.Contains(t, got.records()[event].get("error"), `process "/bin/sh -c false" did not complete successfully`)
	}
	require.Equal(t, "1", got.metrics()["temper.step.duration build failed"])
}

func TestInterruptedBuild(t *testing.T) {
	c := startCollector(t, "", "")
	cmd, stderr := temper(t, "sleep 60", nil, "--otlp-endpoint", fmt.Sprintf("http://127.0.0.1:%d", c.http), "--progress", "quiet")
	require.NoError(t, cmd.Start())
	c.waitFor(t, "build started")
	require.NoError(t, cmd.Process.Signal(syscall.SIGINT))
	require.Error(t, cmd.Wait())
	require.Equal(t, 130, cmd.ProcessState.ExitCode(), stderr)
	require.Zero(t, warnings(stderr), stderr)
	got := c.flush(t)
	require.Contains(t, got.records()["build.failed"].get("error"), "interrupted")
	require.Contains(t, got.records()["pipeline.failed"].get("error"), "interrupted")
}

// waitFor returns when a record has reached the collector.
func (c *collector) waitFor(t *testing.T, text string) {
	t.Helper()
	require.Eventually(t, func() bool {
		dt, _ := os.ReadFile(filepath.Join(c.dir, "logs.json"))
		return bytes.Contains(dt, []byte(text))
	}, time.Minute, 50*time.Millisecond)
}

func TestTLSAndToken(t *testing.T) {
	dir := t.TempDir()
	cert, key := selfSigned(t, dir)
	for _, protocol := range []string{"http", "grpc"} {
		for name, tc := range map[string]struct {
			token    string
			flags    []string
			warnings int
		}{
			"well":         {"s3cret-token", []string{"--otlp-cacert", cert}, 0},
			"wrong token":  {"another-token", []string{"--otlp-cacert", cert}, 1},
			"unknown root": {"s3cret-token", nil, 1},
		} {
			t.Run(protocol+", "+name, func(t *testing.T) {
				c := startCollector(t, fmt.Sprintf(", tls: {cert_file: %q, key_file: %q}, auth: {authenticator: bearertokenauth}", cert, key),
					"extensions: {bearertokenauth: {token: s3cret-token}}")
				port := map[string]int{"http": c.http, "grpc": c.grpc}[protocol]
				cmd, stderr := temper(t, "true", []string{"OTEL_EXPORTER_OTLP_HEADERS=authorization=Bearer%20" + tc.token},
					append(tc.flags, "--otlp-endpoint", fmt.Sprintf("https://127.0.0.1:%d", port), "--otlp-protocol", protocol, "--log-format", "text", "--log-level", "debug")...)
				require.NoError(t, cmd.Run(), stderr)
				require.Equal(t, tc.warnings, warnings(stderr), stderr)
				require.NotContains(t, stderr.String(), tc.token)
				got := c.flush(t)
				if tc.warnings == 0 {
					require.Contains(t, got.records(), "pipeline.completed")
					oneTrace(t, got.spans(t))
				} else {
					require.Empty(t, got.records())
					require.Empty(t, got.Traces)
				}
			})
		}
	}
}

// selfSigned writes a certificate for 127.0.0.1 that is its own root.
func selfSigned(t *testing.T, dir string) (cert, key string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "collector"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &k.PublicKey, k)
	require.NoError(t, err)
	keyDER, err := x509.MarshalPKCS8PrivateKey(k)
	require.NoError(t, err)
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	require.NoError(t, os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	require.NoError(t, os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), 0o600))
	return cert, key
}

// Records have the facts that are documented, and no others.
func TestRecordsAreDocumented(t *testing.T) {
	build, stderr := temper(t, "echo hello > /hello", nil, "--log-format", "json")
	require.NoError(t, build.Run(), stderr)
	lines := stderr.String()
	for _, args := range [][]string{
		{"sbom", "out.oci"},
		{"attest", "out.oci"},
		{"store", "out.oci", "sbom-out-" + runtime.GOARCH + ".cdx.json"},
	} {
		cmd := exec.CommandContext(bounded(t), tools.Path("temper"), append(args, "--log-format", "json")...)
		cmd.Dir, cmd.Env = build.Dir, build.Env
		var out bytes.Buffer
		cmd.Stderr = &out
		require.NoError(t, cmd.Run(), "%s: %s", args, &out)
		lines += out.String()
	}
	events, err := records.Check(lines)
	require.NoError(t, err)
	for _, name := range []string{stage.Pipeline, stage.Build, stage.Catalogue, stage.SBOM, stage.Provenance, stage.Store} {
		require.Contains(t, events, name+".completed")
	}
}
