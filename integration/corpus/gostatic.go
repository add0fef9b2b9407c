package corpus

import (
	"fmt"
	"net/http"
	"net/url"

	"github.com/stretchr/testify/require"
)

func init() {
	register(App{Name: "gostatic", Bases: []string{"golang:1.26-bookworm", "debian:bookworm-slim"}, Works: gostaticWorks, Others: gostaticOthers})
	register(App{Name: "scratch", Bases: []string{"golang:1.26-bookworm"}, Works: scratchWorks, Others: scratchOthers})
}

func gostaticWorks(i *Instance) {
	i.Start(Process{})
	askText(i, "http://127.0.0.1:8080", map[string]string{
		"/time?zone=Europe/Vienna":  "2025-06-15T17:06:40+02:00\n",
		"/page/hello?who=%3Cyou%3E": "<p>Hello, &lt;you&gt;!\n",
	})
}

// gostaticOthers: other zones and pages, TLS by the system's certificates, types
// of files, names of users, hosts and services.
func gostaticOthers(i *Instance) {
	tls := newAuthority(i)
	l := tlsListener(i, "127.0.0.1:8443", tls.serverConfig(false))
	go func() {
		_ = http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "trusted") }))
	}()
	i.Start(Process{Mounts: []Mount{ReadOnly(i.File("ca.pem", tls.ca), "/etc/ssl/certs/corpus.pem")}})
	askText(i, "http://127.0.0.1:8080", map[string]string{
		"/time?zone=Asia/Tokyo":             "2025-06-16T00:06:40+09:00\n",
		"/time?zone=Antarctica/Troll":       "2025-06-15T17:06:40+02:00\n",
		"/page/goodbye?who=all":             "<p>Goodbye, all.\n",
		"/fetch?url=https://localhost:8443": "trusted",
	})
	status, body := i.Get("http://127.0.0.1:8080/time?zone=Nowhere/Land")
	require.Equal(i, http.StatusBadRequest, status, body)
	status, _ = i.Get("http://127.0.0.1:8080/page/none")
	require.Equal(i, http.StatusNotFound, status)
	ask(i, "http://127.0.0.1:8080", map[string]string{
		"/about": fmt.Sprintf(`{"type": "application/vnd.oasis.opendocument.text", "user": %q, "localhost": "127.0.0.1", "https": 443}`, userName(i)),
	})
	status, body = i.Get("http://127.0.0.1:8080/fetch?url=" + url.QueryEscape("https://127.0.0.1:1"))
	require.Equal(i, http.StatusBadGateway, status, body)
}

func scratchWorks(i *Instance) {
	i.Start(Process{})
	status, body := i.Get("http://127.0.0.1:8080/first.txt")
	require.Equal(i, http.StatusOK, status)
	require.Equal(i, "first words\n", body)
}

// scratchOthers: other files, a list, an error, the other command.
func scratchOthers(i *Instance) {
	i.Start(Process{})
	res, body := i.Do(http.MethodGet, "http://127.0.0.1:8080/deep/data.json", nil, "")
	require.Equal(i, http.StatusOK, res.StatusCode)
	require.Equal(i, "application/json", res.Header.Get("Content-Type"))
	require.JSONEq(i, `{"deep": true}`, body)
	_, body = i.Get("http://127.0.0.1:8080/")
	require.Contains(i, body, "deep/")
	status, _ := i.Get("http://127.0.0.1:8080/none")
	require.Equal(i, http.StatusNotFound, status)
	require.Len(i, i.Output("/files", "-sum", "/files"), 65)
	r := i.Run(Process{Args: []string{"/files", "-sum", "/none"}})
	require.Equal(i, 1, r.Code)
	require.Contains(i, r.Stderr, "no such file")
}
