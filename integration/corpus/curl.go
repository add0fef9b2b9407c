package corpus

import (
	"compress/gzip"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/integration/container"
)

func init() {
	register(App{Name: "curl", Bases: []string{"debian:bookworm-slim"}, Works: curlWorks, Others: curlOthers, Quick: true})
}

// curlServer answers at 127.0.0.1:8443, and asks for a client's certificate if
// clients is set.
func curlServer(i *Instance, a *authority, clients bool, addr string) {
	config := a.serverConfig(clients)
	config.NextProtos = []string{"h2", "http/1.1"}
	srv := &http.Server{ReadHeaderTimeout: time.Minute, TLSConfig: config, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/gzip":
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			defer z.Close()
			fmt.Fprint(z, "unpacked")
		case "/moved":
			http.Redirect(w, r, "/", http.StatusFound)
		case "/upload":
			dt, _ := io.ReadAll(r.Body)
			fmt.Fprintf(w, "%d bytes of %s", len(dt), r.Header.Get("Content-Type"))
		case "/secret":
			name, password, _ := r.BasicAuth()
			fmt.Fprintf(w, "%s %s", name, password)
		default:
			who := "nobody"
			if len(r.TLS.PeerCertificates) > 0 {
				who = r.TLS.PeerCertificates[0].Subject.CommonName
			}
			fmt.Fprintf(w, "%s by %s", who, r.Proto)
		}
	})}
	l := i.Listen("tcp", addr)
	go func() { _ = srv.ServeTLS(l, "", "") }() // it ends with the process
}

// curl runs the image's entrypoint with arguments.
func curl(i *Instance, mounts []Mount, args ...string) container.Result {
	return i.Run(Process{Args: append([]string{"curl", "-sS"}, args...), Mounts: mounts, Env: []string{"LC_ALL=C.UTF-8"}})
}

func curlWorks(i *Instance) {
	a := newAuthority(i)
	curlServer(i, a, true, "127.0.0.1:8443")
	mounts := []Mount{
		ReadOnly(i.File("ca.pem", a.ca), "/certs/ca.pem"), ReadOnly(i.File("client.pem", a.clientCert), "/certs/client.pem"),
		ReadOnly(i.File("client.key", a.clientKey), "/certs/client.key"),
	}
	r := curl(i, mounts, "--cacert", "/certs/ca.pem", "--cert", "/certs/client.pem", "--key", "/certs/client.key", "https://localhost:8443/")
	require.Zero(i, r.Code, r.Stderr)
	require.Equal(i, "corpus client by HTTP/2.0", r.Stdout)
	r = curl(i, mounts, "--cacert", "/certs/ca.pem", "https://localhost:8443/")
	require.NotZero(i, r.Code, "without a certificate")
}

// curlOthers: the system's certificates and a stranger's, compression, a
// redirect, a form, a .netrc, other schemes, names of other scripts, a proxy,
// what it does without a server.
func curlOthers(i *Instance) {
	a, stranger := newAuthority(i), newAuthority(i)
	curlServer(i, a, false, "127.0.0.1:8443")
	curlServer(i, stranger, false, "127.0.0.1:9443")
	// The image's own list of authorities with one more in it.
	bundle, err := os.ReadFile(filepath.Join(i.Root, "etc/ssl/certs/ca-certificates.crt"))
	require.NoError(i, err)
	mounts := []Mount{
		ReadOnly(i.File("bundle.crt", string(bundle)+a.ca), "/etc/ssl/certs/ca-certificates.crt"),
		ReadOnly(i.File("netrc", "machine localhost login me password words\n"), "/certs/netrc"),
	}
	good := func(want string, args ...string) {
		r := curl(i, mounts, args...)
		require.Zero(i, r.Code, "%q: %s", args, r.Stderr)
		require.Equal(i, want, r.Stdout, "%q", args)
	}
	good("nobody by HTTP/2.0", "https://localhost:8443/")
	good("nobody by HTTP/1.1", "--http1.1", "-L", "https://localhost:8443/moved")
	good("unpacked", "--compressed", "-k", "https://localhost:8443/gzip")
	good("5 bytes of application/x-www-form-urlencoded", "-k", "-d", "a=%20", "https://localhost:8443/upload")
	good("me words", "--netrc-file", "/certs/netrc", "https://localhost:8443/secret")
	good("nobody by HTTP/2.0", "-k", "--resolve", "xn--bcher-kva.example:8443:127.0.0.1", "https://bücher.example:8443/")
	good("302", "-k", "-o", "/dev/null", "-w", "%{http_code}", "https://localhost:8443/moved")
	good("nobody by HTTP/2.0", "-k", "--pinnedpubkey", "sha256//"+keyPin(i, a), "https://localhost:8443/")

	require.Equal(i, 60, curl(i, nil, "https://localhost:9443/").Code, "a stranger's certificate")
	r := curl(i, nil, "file:///etc/os-release")
	require.Contains(i, r.Stdout, "bookworm")
	require.Equal(i, 7, curl(i, nil, "http://127.0.0.1:9/").Code)
	require.Equal(i, 6, curl(i, nil, "http://no.such.host.example/").Code)
	require.Equal(i, 37, curl(i, nil, "file:///none").Code)
	require.NotZero(i, curl(i, nil, "ldap://127.0.0.1:9/").Code)
	require.Equal(i, 7, curl(i, nil, "scp://127.0.0.1:9/none").Code)
	version := i.Output("curl", "--version")
	for _, word := range []string{"brotli", "GSS-API", "HTTP2", "IDN", "PSL", "scp", "zstd"} {
		require.Contains(i, version, word)
	}
	l := i.Listen("tcp", "127.0.0.1:2121")
	go serve(l, func(conn net.Conn) {
		fmt.Fprint(conn, "220 here\r\n")
		_, _ = io.ReadFull(conn, make([]byte, 4))
		fmt.Fprint(conn, "530 no\r\n")
		_, _ = io.Copy(io.Discard, conn)
	})
	require.Equal(i, 67, curl(i, nil, "ftp://127.0.0.1:2121/").Code)
}

// keyPin is the checksum of a server's public key.
func keyPin(i *Instance, a *authority) string {
	leaf, err := x509.ParseCertificate(a.server.Certificate[0])
	require.NoError(i, err)
	sum := sha256.Sum256(leaf.RawSubjectPublicKeyInfo)
	return base64.StdEncoding.EncodeToString(sum[:])
}
