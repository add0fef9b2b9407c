package corpus

import (
	"bytes"
	"image"
	"net/http"
	"strings"
	"time"

	"github.com/stretchr/testify/require"
)

func init() {
	register(App{Name: "flask", Bases: []string{"debian:bookworm-slim"}, Works: flaskWorks, Others: flaskOthers})
}

const flaskURL = "http://127.0.0.1:8000"

func flaskAdd(i *Instance, body string) {
	res, answer := i.Do(http.MethodPost, flaskURL+"/notes", http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}, "body="+body)
	require.Equal(i, http.StatusCreated, res.StatusCode, answer)
}

func flaskWorks(i *Instance) {
	i.Start(Process{})
	flaskAdd(i, "%3Cfirst%3E")
	status, body := i.Get(flaskURL + "/")
	require.Equal(i, http.StatusOK, status, body)
	require.Contains(i, body, "<title>The corpus</title>")
	require.Contains(i, body, "<li>&lt;first&gt;</li>")
	res, body := i.Do(http.MethodGet, flaskURL+"/static/style.css", nil, "")
	require.Equal(i, http.StatusOK, res.StatusCode)
	require.Equal(i, "text/css; charset=utf-8", res.Header.Get("Content-Type"))
	require.Contains(i, body, "sans-serif")
	_, body = i.Get(flaskURL + "/date?locale=de&zone=Europe/Vienna")
	require.Equal(i, "Dienstag, 14. November 2023 um 23:13:20 Mitteleuropäische Normalzeit", body)
}

// flaskOthers: error pages, other languages and zones, pictures, other packages,
// the command line, another kind of worker, a reload.
func flaskOthers(i *Instance) {
	i.Start(Process{})
	flaskAdd(i, "first")
	status, body := i.Get(flaskURL + "/absent")
	require.Equal(i, http.StatusNotFound, status)
	require.Contains(i, body, "<p>There is no /absent here.</p>")
	status, body = i.Get(flaskURL + "/broken")
	require.Equal(i, http.StatusInternalServerError, status)
	require.Contains(i, body, "Internal Server Error")
	require.Eventually(i, func() bool { return strings.Contains(i.Log(), "RuntimeError: broken on purpose") }, readyLimit, 100*time.Millisecond)
	status, _ = i.Get(flaskURL + "/notes")
	require.Equal(i, http.StatusMethodNotAllowed, status)
	_, body = i.Get(flaskURL + "/date?locale=ja&zone=Asia/Kathmandu")
	require.Equal(i, "2023年11月15日水曜日 3時58分20秒 ネパール時間", body)
	_, body = i.Get(flaskURL + "/price?locale=hi_IN&currency=INR")
	require.Equal(i, "₹1,234.50", body)
	for _, format := range []string{"png", "jpeg", "gif"} {
		_, body := i.Get(flaskURL + "/picture." + format)
		_, got, err := image.Decode(bytes.NewReader([]byte(body)))
		require.NoError(i, err)
		require.Equal(i, format, got)
	}
	_, body = i.Get(flaskURL + "/picture.webp")
	require.Equal(i, "WEBP", body[8:12])
	_, body = i.Get(flaskURL + "/markdown")
	require.Contains(i, body, "<td>b</td>")
	_, body = i.Get(flaskURL + "/peer")
	require.JSONEq(i, `{"status": 200, "certificates": true}`, body)
	_, body = i.Get(flaskURL + "/other-database")
	require.Contains(i, body, "Connection refused")
	res, body := i.Do(http.MethodGet, flaskURL+"/session", nil, "")
	require.JSONEq(i, `{"n": 1, "flashed": ["counted"]}`, body)
	require.True(i, strings.HasPrefix(res.Header.Get("Set-Cookie"), "session="))

	require.Equal(i, "1 notes\n", i.ExecOutput("flask", "count"))
	require.Contains(i, i.ExecOutput("flask", "routes"), "/markdown")
	require.Contains(i, i.ExecOutput("flask", "--version"), "Werkzeug")
	require.Contains(i, i.ExecOutput("pybabel", "--list-locales"), "gsw_LI")
	require.NoError(i, i.Service().Signal("HUP"))
	require.Eventually(i, func() bool { return strings.Count(i.Log(), "Booting worker") >= 4 }, readyLimit, 100*time.Millisecond)
	status, _ = i.Get(flaskURL + "/")
	require.Equal(i, http.StatusOK, status)
	i.Stop()

	i.Start(Process{Args: []string{"gunicorn", "--worker-class", "gevent", "--workers", "1", "--access-logfile", "-", "app:app", "--config", "gunicorn.conf.py"}})
	status, _ = i.Get(flaskURL + "/")
	require.Equal(i, http.StatusOK, status)
	require.Contains(i, i.Log(), "Using worker: gevent")
}
