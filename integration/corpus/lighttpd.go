package corpus

import (
	"net/http"

	"github.com/stretchr/testify/require"
)

func init() {
	register(App{Name: "lighttpd", Bases: []string{"debian:bookworm"}, Works: lighttpdWorks, Others: lighttpdOthers})
}

func lighttpdWorks(i *Instance) {
	i.Start(Process{})
	res, body := i.Do(http.MethodGet, "http://127.0.0.1:8080/", nil, "")
	require.Equal(i, http.StatusOK, res.StatusCode)
	require.Contains(i, body, "Served by lighttpd.")
	require.Equal(i, "corpus", res.Header.Get("X-Served-By"))
	// The configuration's own Perl script makes the list of types.
	res, _ = i.Do(http.MethodGet, "http://127.0.0.1:8080/mark.svg", nil, "")
	require.Equal(i, "image/svg+xml", res.Header.Get("Content-Type"))
}

// lighttpdOthers: CGI, a list of files, compression, a redirect, passwords,
// errors, TLS.
func lighttpdOthers(i *Instance) {
	tls := newAuthority(i)
	conf := i.File("tls.conf", "server.modules += (\"mod_openssl\")\n$SERVER[\"socket\"] == \":8443\" {\n ssl.engine = \"enable\"\n ssl.pemfile = \"/etc/site.pem\"\n}\n")
	i.Start(Process{Mounts: []Mount{ReadOnly(i.File("site.pem", tls.cert+tls.key), "/etc/site.pem"), ReadOnly(conf, "/etc/lighttpd/conf-enabled/98-tls.conf")}})
	at := func(path string) string { return "http://127.0.0.1:8080" + path }
	status, body := i.Get(at("/cgi-bin/hello.cgi?words"))
	require.Equal(i, http.StatusOK, status, body)
	require.Equal(i, "GET asked for words\n", body)
	status, body = i.Get(at("/downloads/"))
	require.Equal(i, http.StatusOK, status)
	require.Contains(i, body, "10-cgi.conf")
	res, body := i.Do(http.MethodGet, at("/style.css"), http.Header{"Accept-Encoding": {"gzip"}}, "")
	if res.Header.Get("Content-Encoding") == "gzip" {
		body = gunzip(i, body)
	}
	require.Contains(i, body, "font-family")
	res, _ = i.Do(http.MethodGet, at("/old/mark.svg"), nil, "")
	require.Equal(i, http.StatusMovedPermanently, res.StatusCode)
	status, _ = i.Get(at("/private/index.txt"))
	require.Equal(i, http.StatusUnauthorized, status)
	res, body = i.Do(http.MethodGet, at("/private/index.txt"), http.Header{"Authorization": {"Basic cmVhZGVyOm9wZW5zZXNhbWU="}}, "")
	require.Equal(i, http.StatusOK, res.StatusCode)
	require.Equal(i, "secret\n", body)
	status, body = i.Get(at("/nothing"))
	require.Equal(i, http.StatusNotFound, status)
	require.Contains(i, body, "404")

	client := i.Client()
	client.Transport.(*http.Transport).TLSClientConfig = tls.clientConfig()
	req, err := http.NewRequestWithContext(i.Context(), http.MethodGet, "https://127.0.0.1:8443/", nil)
	require.NoError(i, err)
	answer, err := client.Do(req)
	require.NoError(i, err)
	defer answer.Body.Close()
	require.Equal(i, http.StatusOK, answer.StatusCode)
	require.Contains(i, i.Output("lighttpd", "-V"), "SSL support")
}
