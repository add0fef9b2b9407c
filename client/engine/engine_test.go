package engine

import (
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// serve answers like a Docker engine on a unix socket.
func serve(t *testing.T, driverType, answer string) (host string, loaded *string) {
	t.Helper()
	loaded = new(string)
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Api-Version", "1.48")
		w.Header().Set("Content-Type", "application/json")
		switch {
		case strings.HasSuffix(r.URL.Path, "/_ping"):
		case strings.HasSuffix(r.URL.Path, "/info"):
			io.WriteString(w, `{"DriverStatus":[["driver-type","`+driverType+`"]]}`)
		case strings.HasSuffix(r.URL.Path, "/images/load"):
			dt, err := io.ReadAll(r.Body)
			if err != nil {
				t.Error(err)
			}
			*loaded = string(dt)
			io.WriteString(w, answer)
		default:
			http.NotFound(w, r)
		}
	})
	path := filepath.Join(t.TempDir(), "docker.sock")
	l, err := net.Listen("unix", path)
	require.NoError(t, err)
	srv := &http.Server{Handler: mux}
	go srv.Serve(l)
	t.Cleanup(func() { srv.Close() })
	return "unix://" + path, loaded
}

func TestConnectNobody(t *testing.T) {
	host := "unix://" + filepath.Join(t.TempDir(), "none.sock")
	_, err := Connect(t.Context(), host)
	require.ErrorContains(t, err, host)
}

func TestContainerdStore(t *testing.T) {
	for driver, want := range map[string]bool{"io.containerd.snapshotter.v1": true, "overlay2": false} {
		host, _ := serve(t, driver, "")
		e, err := Connect(t.Context(), host)
		require.NoError(t, err)
		got, err := e.ContainerdStore(t.Context())
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
}

func TestLoad(t *testing.T) {
	for _, tc := range []struct{ name, answer, said, fails string }{
		{name: "loaded", answer: `{"stream":"Loaded image: a:1\n"}`, said: "Loaded image: a:1"},
		{name: "refused", answer: `{"errorDetail":{"message":"no"},"error":"no space"}`, fails: "no space"},
		{name: "nonsense", answer: `{"stream":`, fails: "read the answer"},
		{name: "silence"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			host, loaded := serve(t, "overlay2", tc.answer)
			e, err := Connect(t.Context(), host)
			require.NoError(t, err)
			said, err := e.Load(t.Context(), strings.NewReader("archive"))
			if tc.fails != "" {
				require.ErrorContains(t, err, tc.fails)
				return
			}
			require.NoError(t, err)
			require.Equal(t, tc.said, said)
			require.Equal(t, "archive", *loaded)
		})
	}
}
