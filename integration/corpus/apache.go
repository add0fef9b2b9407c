package corpus

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"image"
	_ "image/gif"  // what the application draws
	_ "image/jpeg" // likewise
	_ "image/png"  // likewise
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/stretchr/testify/require"
)

func init() {
	register(App{Name: "apache", Bases: []string{"debian:bookworm"}, Works: apacheWorks, Others: apacheOthers})
}

const apacheURL = "http://127.0.0.1:8080"

func apacheWorks(i *Instance) {
	i.Start(Process{})
	status, body := i.Get(apacheURL + "/")
	require.Equal(i, http.StatusOK, status, body)
	require.JSONEq(i, `{"notes": 3, "sapi": "apache2handler"}`, body)
	status, body = i.Get(apacheURL + "/note/2?x=1")
	require.Equal(i, http.StatusOK, status, body)
	require.JSONEq(i, `{"note": "Größe", "upper": "GRÖSSE"}`, body)
	res, body := i.Do(http.MethodGet, apacheURL+"/style.css", nil, "")
	require.Equal(i, "text/css", res.Header.Get("Content-Type"))
	require.Equal(i, "corpus", res.Header.Get("X-Served-By"))
	require.Contains(i, body, "color")
}

// apacheOthers: error pages, listings with icons, compression, a proxy, passwords,
// pictures, other languages and zones, a reload, the other command.
func apacheOthers(i *Instance) {
	i.Start(Process{})
	status, body := i.Get(apacheURL + "/absent")
	require.Equal(i, http.StatusNotFound, status)
	require.Equal(i, "no such page: /absent", body)
	status, body = i.Get(apacheURL + "/listing/")
	require.Equal(i, http.StatusOK, status)
	require.Contains(i, body, "Index of /listing")
	res, icon := i.Do(http.MethodGet, apacheURL+"/icons/text.gif", nil, "")
	require.Equal(i, http.StatusOK, res.StatusCode)
	require.True(i, strings.HasPrefix(icon, "GIF8"))
	status, body = i.Get(apacheURL + "/loop/words.txt")
	require.Equal(i, http.StatusOK, status, body)
	require.Equal(i, "plain words\n", body)

	res, body = i.Do(http.MethodGet, apacheURL+"/style.css", http.Header{"Accept-Encoding": {"gzip"}}, "")
	require.Equal(i, "gzip", res.Header.Get("Content-Encoding"))
	z, err := gzip.NewReader(strings.NewReader(body))
	require.NoError(i, err)
	dt, err := io.ReadAll(z)
	require.NoError(i, err)
	require.Contains(i, string(dt), "color")

	status, _ = i.Get(apacheURL + "/private/")
	require.Equal(i, http.StatusUnauthorized, status)
	res, body = i.Do(http.MethodGet, apacheURL+"/private/", http.Header{
		"Authorization": {"Basic " + base64.StdEncoding.EncodeToString([]byte("ali:sesame"))},
	}, "")
	require.Equal(i, http.StatusOK, res.StatusCode, body)
	status, body = i.Get(apacheURL + "/server-status?auto")
	require.Equal(i, http.StatusOK, status)
	require.Contains(i, body, "BusyWorkers")

	for _, format := range []string{"png", "jpeg", "gif"} {
		_, body := i.Get(apacheURL + "/picture.php?format=" + format)
		_, got, err := image.Decode(bytes.NewReader([]byte(body)))
		require.NoError(i, err)
		require.Equal(i, format, got)
	}
	_, body = i.Get(apacheURL + "/picture.php?format=webp")
	require.Equal(i, "WEBP", body[8:12])
	_, body = i.Get(apacheURL + "/words.php?locale=ja&zone=Asia/Kathmandu")
	require.Equal(i, "2023年11月15日水曜日 3:58\n四十二\n2023-11-15T03:58:20+05:45 +0545\n93fa967b c6fccbdc\n1\n", body)

	require.NoError(i, i.Service().Signal("USR1"))
	time.Sleep(time.Second)
	status, _ = i.Get(apacheURL + "/")
	require.Equal(i, http.StatusOK, status)
	require.Contains(i, i.Log(), "Graceful restart requested")

	r := i.Exec(Process{Args: []string{"apache2ctl", "configtest"}})
	require.Contains(i, r.Stderr, "Syntax OK")
	require.Contains(i, i.ExecOutput("apache2ctl", "-M"), "rewrite_module")
	require.Contains(i, i.ExecOutput("htpasswd", "-nbB", "ali", "sesame"), "ali:$2y$")
}
