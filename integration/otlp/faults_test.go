package otlp

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// Whatever a collector does, the build succeeds and says once what was lost.
func TestCollectorsThatFail(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { silent.Close() })
	for name, tc := range map[string]struct{ endpoint, protocol string }{
		"down":         {fmt.Sprintf("http://127.0.0.1:%d", freePort(t)), "http"},
		"down, gRPC":   {fmt.Sprintf("http://127.0.0.1:%d", freePort(t)), "grpc"},
		"silent":       {"http://" + silent.Addr().String(), "http"},
		"silent, gRPC": {"http://" + silent.Addr().String(), "grpc"},
		"503":          {answering(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }), "http"},
		"slow": {answering(t, func(_ http.ResponseWriter, r *http.Request) {
			// Only a server that has read the request sees the client go.
			_, _ = io.Copy(io.Discard, r.Body)
			<-r.Context().Done()
		}), "http"},
		"no such host": {"http://collector.invalid:4318", "http"},
	} {
		t.Run(name, func(t *testing.T) {
			cmd, stderr := temper(t, "echo hello > /hello", nil, "--otlp-endpoint", tc.endpoint, "--otlp-protocol", tc.protocol)
			require.NoError(t, cmd.Run(), stderr)
			require.Equal(t, 1, warnings(stderr), stderr)
			require.DirExists(t, cmd.Dir+"/out.oci")
		})
	}
}

// answering is the address of an HTTP server.
func answering(t *testing.T, f http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(f)
	t.Cleanup(s.Close)
	t.Cleanup(s.CloseClientConnections)
	return s.URL
}

func TestCollectorKilledInTheMiddle(t *testing.T) {
	c := startCollector(t, "", "")
	cmd, stderr := temper(t, "sleep 5", nil, "--otlp-endpoint", fmt.Sprintf("http://127.0.0.1:%d", c.http))
	require.NoError(t, cmd.Start())
	c.waitFor(t, "build started")
	c.stop(syscall.SIGKILL)
	require.NoError(t, cmd.Wait(), stderr)
	require.Equal(t, 1, warnings(stderr), stderr)
	require.DirExists(t, cmd.Dir+"/out.oci")
}

func TestBadOptions(t *testing.T) {
	for _, flags := range [][]string{
		{"--log-format", "xml"}, {"--log-level", "loud"}, {"--otlp-protocol", "http/json"}, {"--otlp-endpoint", "localhost:4318"},
		{"--otlp-header", "no value"}, {"--log-format", "text", "--progress", "tty"},
	} {
		cmd, stderr := temper(t, "true", nil, flags...)
		require.Error(t, cmd.Run(), flags)
		require.Equal(t, 2, cmd.ProcessState.ExitCode(), "%s: %s", flags, stderr)
	}
}
