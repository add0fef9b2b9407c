package builder

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	controlapi "github.com/moby/buildkit/api/services/control"
	apitypes "github.com/moby/buildkit/api/types"
	"github.com/stretchr/testify/require"
	"github.com/temper-images/temper/client/daemon"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
)

// control answers what a search asks a BuildKit.
type control struct {
	controlapi.UnimplementedControlServer
	version string
}

func (c control) Info(context.Context, *controlapi.InfoRequest) (*controlapi.InfoResponse, error) {
	return &controlapi.InfoResponse{BuildkitVersion: &apitypes.BuildkitVersion{Version: c.version}}, nil
}

func serve(t *testing.T, l net.Listener, version string, opts ...grpc.ServerOption) {
	t.Helper()
	srv := grpc.NewServer(opts...)
	controlapi.RegisterControlServer(srv, control{version: version})
	go srv.Serve(l)
	t.Cleanup(srv.Stop)
}

func listen(t *testing.T) (net.Listener, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s.sock")
	l, err := net.Listen("unix", path)
	require.NoError(t, err)
	return l, path
}

// mute is a socket that accepts and never answers.
func mute(t *testing.T) string {
	t.Helper()
	l, path := listen(t)
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			if _, err := l.Accept(); err != nil {
				return
			}
		}
	}()
	return path
}

// dockerEngine serves BuildKit through the engine's hijacked connection.
func dockerEngine(t *testing.T, driverType string) string {
	t.Helper()
	l, path := listen(t)
	conns := &connListener{conns: make(chan net.Conn), addr: l.Addr(), done: make(chan struct{})}
	serve(t, conns, "in-docker")
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasSuffix(r.URL.Path, "/grpc"):
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			fmt.Fprintf(conn, "HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n", r.Header.Get("Upgrade"))
			conns.conns <- conn
		case strings.HasSuffix(r.URL.Path, "/info"):
			w.Header().Set("Content-Type", "application/json")
			io.WriteString(w, `{"DriverStatus":[["driver-type","`+driverType+`"]]}`)
		default:
			w.Header().Set("Api-Version", "1.48")
		}
	})}
	go srv.Serve(l)
	t.Cleanup(func() { srv.Close() })
	return "unix://" + path
}

type connListener struct {
	conns chan net.Conn
	addr  net.Addr
	done  chan struct{}
}

func (l *connListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}
func (l *connListener) Close() error   { close(l.done); return nil }
func (l *connListener) Addr() net.Addr { return l.addr }

// nowhere is a set of options that finds nothing.
func nowhere(t *testing.T) Options {
	t.Helper()
	t.Setenv("PATH", t.TempDir())
	dir := t.TempDir()
	return Options{
		Sockets:    []string{filepath.Join(dir, "none.sock")},
		DockerHost: "unix://" + filepath.Join(dir, "docker.sock"),
		Daemon:     daemon.Config{StateDir: dir, BinDirs: []string{dir}},
	}
}

func TestOrder(t *testing.T) {
	for _, tc := range []struct {
		name    string
		set     func(t *testing.T, o *Options)
		kind    Kind
		version string
	}{
		{"socket", func(t *testing.T, o *Options) {
			l, path := listen(t)
			serve(t, l, "v1")
			o.Sockets = append(o.Sockets, path)
			o.DockerHost = dockerEngine(t, "io.containerd.snapshotter.v1")
		}, KindSocket, "v1"},
		{"a socket that nobody serves is passed over", func(t *testing.T, o *Options) {
			l, path := listen(t)
			l.(*net.UnixListener).SetUnlinkOnClose(false)
			l.Close()
			o.Sockets = []string{path}
			o.DockerHost = dockerEngine(t, "io.containerd.snapshotter.v1")
		}, KindDocker, "in-docker"},
		{"a socket that does not answer is passed over", func(t *testing.T, o *Options) {
			o.Sockets = []string{mute(t)}
			o.DockerHost = dockerEngine(t, "io.containerd.snapshotter.v1")
		}, KindDocker, "in-docker"},
		{"named", func(t *testing.T, o *Options) {
			l, path := listen(t)
			serve(t, l, "v2")
			o.Address = "unix://" + path
			o.DockerHost = dockerEngine(t, "io.containerd.snapshotter.v1")
		}, KindNamed, "v2"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			o := nowhere(t)
			tc.set(t, &o)
			b, err := Find(t.Context(), o)
			require.NoError(t, err)
			require.Equal(t, tc.kind, b.Kind)
			require.Equal(t, tc.version, b.Version)
			// The connection must outlive the search.
			_, err = b.Info(t.Context())
			require.NoError(t, err)
			require.NoError(t, b.Close(t.Context()))
		})
	}
}

func TestNothingFound(t *testing.T) {
	o := nowhere(t)
	o.DockerHost = dockerEngine(t, "overlay2")
	_, err := Find(t.Context(), o)
	var nf *NotFoundError
	require.ErrorAs(t, err, &nf)
	require.Len(t, nf.Tried, 3)
	for _, part := range []string{"no such socket", "containerd image store", "buildkitd is missing", "temper doctor"} {
		require.ErrorContains(t, err, part)
	}
}

func TestProbe(t *testing.T) {
	o := nowhere(t)
	o.DockerHost = dockerEngine(t, "io.containerd.snapshotter.v1")
	cs := Probe(t.Context(), o)
	require.Len(t, cs, 3)
	require.Error(t, cs[0].Err)
	require.NoError(t, cs[1].Err)
	require.Equal(t, "in-docker", cs[1].Version)
	var me *daemon.MissingError
	require.ErrorAs(t, cs[2].Err, &me)
}

func TestNamedBuilderFails(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr := closed.Addr().String()
	closed.Close()
	for _, tc := range []struct{ address, says string }{
		{"unix:///nowhere/buildkitd.sock", "no such file"},
		{"tcp://" + addr, "refused"},
		{"docker-container://temper-test-nobody", "docker"},
		{"http://127.0.0.1:1", "begins with one of"},
		{"my-builder", "begins with one of"},
		{"unix://" + mute(t), ""},
	} {
		t.Run(tc.address, func(t *testing.T) {
			o := nowhere(t)
			o.Address = tc.address
			ctx, cancel := context.WithTimeout(t.Context(), 2*namedTimeout)
			defer cancel()
			_, err := Find(ctx, o)
			var ue *UnreachableError
			require.ErrorAs(t, err, &ue)
			require.NoError(t, ctx.Err(), "the answer comes within a bounded time")
			require.ErrorContains(t, err, tc.address)
			require.ErrorContains(t, err, tc.says)
			require.ErrorContains(t, err, "--builder")
		})
	}
}

func TestCancelledSearch(t *testing.T) {
	o := nowhere(t)
	o.Address = "unix://" + mute(t)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := Find(ctx, o)
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

func TestMutualTLS(t *testing.T) {
	dir := t.TempDir()
	writeCerts(t, dir)
	cert, err := tls.LoadX509KeyPair(filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"))
	require.NoError(t, err)
	pool := x509.NewCertPool()
	ca, err := os.ReadFile(filepath.Join(dir, "ca.pem"))
	require.NoError(t, err)
	require.True(t, pool.AppendCertsFromPEM(ca))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	serve(t, l, "secure", grpc.Creds(credentials.NewTLS(&tls.Config{
		Certificates: []tls.Certificate{cert}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert,
	})))

	o := nowhere(t)
	o.Address = "tcp://" + l.Addr().String()
	o.TLS, err = TLSFromDir(dir)
	require.NoError(t, err)
	b, err := Find(t.Context(), o)
	require.NoError(t, err)
	require.Equal(t, "secure", b.Version)
	require.NoError(t, b.Close(t.Context()))

	withoutKey := o
	withoutKey.TLS.Cert, withoutKey.TLS.Key = "", ""
	_, err = Find(t.Context(), withoutKey)
	require.Error(t, err)

	otherName := o
	otherName.TLS.ServerName = "other.example.com"
	_, err = Find(t.Context(), otherName)
	require.ErrorContains(t, err, "other.example.com")

	_, err = TLSFromDir(t.TempDir())
	require.ErrorContains(t, err, "neither ca.pem nor ca.crt")
}

// writeCerts makes one self-signed certificate that is authority, server and
// client at once.
func writeCerts(t *testing.T, dir string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "temper test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	require.NoError(t, err)
	keyDER, err := x509.MarshalECPrivateKey(key)
	require.NoError(t, err)
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	for name, dt := range map[string][]byte{
		"ca.pem": cert, "cert.pem": cert,
		"key.pem": pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER}),
	} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), dt, 0o600))
	}
}
