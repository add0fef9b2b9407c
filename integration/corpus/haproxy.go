package corpus

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/stretchr/testify/require"
)

func init() {
	register(App{Name: "haproxy", Bases: []string{"debian:bookworm-slim"}, Works: haproxyWorks, Others: haproxyOthers})
}

func haproxyWorks(i *Instance) {
	backend(i, "127.0.0.1:9001", "one")
	backend(i, "127.0.0.1:9002", "two")
	i.Start(Process{})
	var seen []string
	for range 4 {
		res, body := i.Do(http.MethodGet, "http://127.0.0.1:8080/", nil, "")
		require.Equal(i, http.StatusOK, res.StatusCode, body)
		require.Equal(i, "corpus", res.Header.Get("X-Proxy"))
		seen = append(seen, body)
	}
	require.Equal(i, []string{"one /", "two /"}, slices.Compact(slices.Sorted(slices.Values(seen))))
	require.Contains(i, i.Log(), "main app/one")
}

// haproxyOthers: Lua, maps, a refusal, nobody behind it, statistics, the command
// socket, compression, TLS on both sides.
func haproxyOthers(i *Instance) {
	tls := newAuthority(i)
	cert := i.File("site.pem", tls.cert+tls.key)
	conf := i.File("tls.cfg", "frontend secure\n  mode http\n  timeout client 5s\n  bind :8443 ssl crt /etc/site.pem alpn h2,http/1.1\n  http-request return status 200 content-type text/plain string \"over TLS\"\n")
	i.Start(Process{Args: []string{"haproxy", "-W", "-db", "-f", "/etc/haproxy/haproxy.cfg", "-f", "/etc/tls.cfg"}, Mounts: []Mount{
		ReadOnly(cert, "/etc/site.pem"), ReadOnly(conf, "/etc/tls.cfg"), ReadOnly(i.File("ca.pem", tls.ca), "/etc/ssl/certs/corpus.pem"),
	}})
	l := tlsListener(i, "127.0.0.1:9443", tls.serverConfig(false))
	go serve(l, func(conn net.Conn) { fmt.Fprint(conn, "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nround") })
	_, body := i.Do(http.MethodGet, "http://127.0.0.1:8080/", http.Header{"Host": {"secure.example"}}, "")
	require.Equal(i, "round", body)
	status, body := i.Get("http://127.0.0.1:8080/hello")
	require.Equal(i, http.StatusOK, status, body)
	require.Equal(i, "hello GET /hello\n", body)
	_, body = i.Do(http.MethodGet, "http://127.0.0.1:8080/", http.Header{"Host": {"Static.Example"}}, "")
	require.Equal(i, "static for Static.Example\n", body)
	res, packed := i.Do(http.MethodGet, "http://127.0.0.1:8080/hello", http.Header{"Accept-Encoding": {"gzip"}}, "")
	if res.Header.Get("Content-Encoding") == "gzip" {
		packed = gunzip(i, packed)
	}
	require.Equal(i, "hello GET /hello\n", packed)
	status, _ = i.Get("http://127.0.0.1:8080/private/x")
	require.Equal(i, http.StatusForbidden, status)
	i.Until(10*time.Second, "a page that says that no server is there", func() bool {
		status, body := i.Get("http://127.0.0.1:8080/")
		return status == http.StatusServiceUnavailable && strings.Contains(body, "No server is available")
	})
	status, body = i.Get("http://127.0.0.1:8404/stats")
	require.Equal(i, http.StatusOK, status)
	require.Contains(i, body, "Statistics Report")
	status, body = i.Get("http://127.0.0.1:8404/stats;csv")
	require.Equal(i, http.StatusOK, status)
	require.Contains(i, body, "app,BACKEND")

	conn := i.Dial("tcp", "127.0.0.1:9999")
	fmt.Fprintln(conn, "show info")
	dt, err := io.ReadAll(conn)
	require.NoError(i, err)
	require.Contains(i, string(dt), "Name: HAProxy")

	client := i.Client()
	client.Transport.(*http.Transport).TLSClientConfig = tls.clientConfig()
	client.Transport.(*http.Transport).ForceAttemptHTTP2 = true
	req, err := http.NewRequestWithContext(i.Context(), http.MethodGet, "https://127.0.0.1:8443/", nil)
	require.NoError(i, err)
	answer, err := client.Do(req)
	require.NoError(i, err)
	defer answer.Body.Close()
	require.Equal(i, 2, answer.ProtoMajor)

	require.Contains(i, i.Output("haproxy", "-vv"), "Built with OpenSSL")
	r := i.Run(Process{Args: []string{"haproxy", "-c", "-f", "/etc/no.cfg"}})
	require.NotZero(i, r.Code)
}

// backend answers requests at addr with its name and the path, until the
// function ends.
func backend(i *Instance, addr, name string) {
	handler(i, addr, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s %s", name, r.URL.Path)
	}))
}

// handler serves HTTP at addr in the instance's network, until the function ends.
func handler(i *Instance, addr string, h http.Handler) {
	srv := &http.Server{Handler: h, ReadHeaderTimeout: time.Minute}
	l := i.Listen("tcp", addr)
	context.AfterFunc(i.Context(), func() { _ = srv.Close() })
	go func() { _ = srv.Serve(l) }() // it ends with ErrServerClosed
}
