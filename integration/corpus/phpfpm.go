package corpus

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/stretchr/testify/require"
)

func init() {
	register(App{Name: "phpfpm", Bases: []string{"debian:bookworm-slim"}, Works: phpfpmWorks, Others: phpfpmOthers, Quick: true})
}

// phpfpmGet asks for a script of the application, as a web server in front would.
func phpfpmGet(i *Instance, script, query string) (status int, body string) {
	status, body, problems := phpfpmDo(i, http.MethodGet, script, query, "")
	require.Empty(i, problems)
	return status, body
}

func phpfpmDo(i *Instance, method, script, query, body string) (status int, answer, problems string) {
	return fastCGI(i, "127.0.0.1:9000", map[string]string{
		"REQUEST_METHOD": method, "SCRIPT_FILENAME": "/srv/site" + script, "SCRIPT_NAME": script, "QUERY_STRING": query,
		"REQUEST_URI": script + "?" + query, "SERVER_PROTOCOL": "HTTP/1.1", "GATEWAY_INTERFACE": "CGI/1.1",
		"CONTENT_LENGTH": strconv.Itoa(len(body)), "CONTENT_TYPE": "text/plain",
	}, body)
}

func phpfpmWorks(i *Instance) {
	i.Start(Process{})
	status, body := phpfpmGet(i, "/index.php", "who=ali")
	require.Equal(i, http.StatusOK, status, body)
	require.JSONEq(i, `{"who": "ali", "visits": 1, "zone": "Europe/Vienna", "posted": null}`, body)
	status, body, _ = phpfpmDo(i, http.MethodPost, "/index.php", "", "some words")
	require.Equal(i, http.StatusOK, status, body)
	require.JSONEq(i, `{"who": "nobody", "visits": 2, "zone": "Europe/Vienna", "posted": "some words"}`, body)
}

// phpfpmUser is the ID under which scripts run: the pool's own when the server
// starts as root.
func phpfpmUser(i *Instance) string {
	if userName(i) == "root" {
		return "33"
	}
	return "65532"
}

// phpfpmOthers: the other extensions, failures, status, a reload, the command line.
func phpfpmOthers(i *Instance) {
	i.Start(Process{})
	for what, want := range map[string]string{
		"zip": "600", "bz2": "squeezed", "gmp": "1267650600228229401496703205376", "bcmath": "0.14285714285714285714",
		"apcu": "kept", "xsl": "[x]", "curl": "7 http https ftp", "mysql": "2002", "pgsql": "refused", "soap": "none",
		"session": "started", "openssl": "secret", "sodium": "17", "password": "yes", "iconv": "f0d2c9d7c5d4",
		"gettext": "untranslated", "zone": "+05:45", "shell": "from sh", "host": "127.0.0.1", "user": phpfpmUser(i),
		"mail": "=?ISO-8859-1?Q?Gr=FC=DFe?=", "ftp": "built in", "opcache": "on", "fileinfo": "image/png",
	} {
		status, body := phpfpmGet(i, "/more.php", "what="+what)
		require.Equal(i, http.StatusOK, status, "%s: %s", what, body)
		same(i, what, want, body)
	}
	status, body := phpfpmGet(i, "/more.php", "what=nothing")
	require.Equal(i, http.StatusBadRequest, status, body)
	status, _, problems := phpfpmDo(i, http.MethodGet, "/broken.php", "", "")
	require.Equal(i, http.StatusInternalServerError, status)
	require.Contains(i, problems, "broken on purpose")
	status, body, _ = phpfpmDo(i, http.MethodGet, "/absent.php", "", "")
	require.Equal(i, http.StatusNotFound, status)
	require.Contains(i, body, "File not found")
	status, body = phpfpmGet(i, "/ping", "")
	require.Equal(i, http.StatusOK, status)
	require.Equal(i, "pong", body)
	_, body = phpfpmGet(i, "/status", "full&json")
	require.Contains(i, body, `"pool":"www"`)

	require.NoError(i, i.Service().Signal("USR2"))
	require.Eventually(i, func() bool { return strings.Count(i.Log(), "ready to handle connections") == 2 }, readyLimit, 100*time.Millisecond)
	status, body = phpfpmGet(i, "/ping", "")
	require.Equal(i, http.StatusOK, status)
	require.Equal(i, "pong", body)
	require.Equal(i, "42", i.ExecOutput("php", "-r", "echo 6 * 7;"))
	require.Contains(i, i.ExecOutput("php", "-m"), "Zend OPcache")
	require.Contains(i, i.ExecOutput("php", "-i"), "PDO drivers => mysql, pgsql, sqlite")
}
