package corpus

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/stretchr/testify/require"
)

func init() {
	register(App{Name: "busybox", Bases: []string{"busybox"}, Works: busyboxWorks, Others: busyboxOthers, Quick: true})
	register(App{Name: "smallfiles", Bases: []string{"debian:bookworm-slim"}, Works: smallfilesWorks, Others: smallfilesOthers})
}

func busyboxWorks(i *Instance) {
	i.Start(Process{})
	askText(i, "http://127.0.0.1:8080", map[string]string{
		"/index.html":         "<!doctype html><p>Served by busybox.\n",
		"/cgi-bin/upper?loud": "LOUD\n",
	})
}

// busyboxOthers: another script, errors, and more of its programs.
func busyboxOthers(i *Instance) {
	i.Start(Process{})
	askText(i, "http://127.0.0.1:8080", map[string]string{"/cgi-bin/words": "apple x 1\npear x 2\n"})
	status, _ := i.Get("http://127.0.0.1:8080/none")
	require.Equal(i, http.StatusNotFound, status)
	require.Contains(i, i.ExecOutput("wget", "-qO-", "http://127.0.0.1:8080/"), "Served by busybox.")
	require.Equal(i, "text", i.ExecOutput("sh", "-c", "printf text | gzip | gunzip"))
	require.Contains(i, i.ExecOutput("ps"), "httpd")
	require.Equal(i, "/www/index.html\n", i.ExecOutput("find", "/www", "-name", "index.*"))
	require.Equal(i, "5d41402abc4b2a76b9719d911017c592  -\n", i.ExecOutput("sh", "-c", "printf hello | md5sum"))
}

func smallfilesWorks(i *Instance) {
	i.Start(Process{})
	for _, n := range []int{0, 1000, 54321, 99999} {
		status, body := i.Get(fmt.Sprintf("http://127.0.0.1:8080/d%d/%d.txt", n/1000, n))
		require.Equal(i, http.StatusOK, status)
		require.Equal(i, fmt.Sprintf("number %d\n", n), body)
	}
}

// smallfilesOthers counts the files.
func smallfilesOthers(i *Instance) {
	names := i.Output("busybox", "find", "/data", "-type", "f")
	require.Equal(i, 100_000, strings.Count(names, "\n"))
	require.Equal(i, "number 77777\n", i.Output("busybox", "cat", "/data/d77/77777.txt"))
}
