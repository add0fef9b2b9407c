package corpus

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net/http"
	"os"
	"path/filepath"

	"github.com/stretchr/testify/require"
)

func init() {
	register(App{Name: "python", Bases: []string{"debian:bookworm", "debian:bookworm-slim"}, Works: pythonWorks, Others: pythonOthers})
}

func pythonWorks(i *Instance) {
	i.Start(Process{})
	roots := x509.NewCertPool()
	dt, err := os.ReadFile(filepath.Join(i.Root, "srv/certs/cert.pem"))
	require.NoError(i, err)
	require.True(i, roots.AppendCertsFromPEM(dt))
	client := i.Client()
	client.Transport.(*http.Transport).TLSClientConfig = &tls.Config{RootCAs: roots, ServerName: "localhost"}
	res, err := client.Get("https://127.0.0.1:8443/visit?name=ali&zone=tokyo")
	require.NoError(i, err, i.log())
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	require.NoError(i, err)
	require.JSONEq(i, `{"name": "ali", "visits": 1, "at": "2023-11-15T07:13:20+09:00", "sum": true, "abs": 7}`, string(body))
}

// pythonOthers: the rest of the standard library, error pages, the interpreter's
// command line, another virtual environment.
func pythonOthers(i *Instance) {
	i.Start(Process{})
	status, body := i.Get("http://127.0.0.1:8000/absent")
	require.Equal(i, http.StatusNotFound, status)
	require.Contains(i, body, "Nothing matches the given URI")
	ask(i, "http://127.0.0.1:8000/more?what=", map[string]string{
		"encodings":    `["93fa967b", "c6fccbdc", "c8d5b1be", "2b5a65566e4c412d", "f0d2c9d7c5d4"]`,
		"archives":     `["zipped", "x", "y", true]`,
		"xml":          `["b", "c"]`,
		"mail":         `[1, 25]`,
		"processes":    `[[1, 2], "42"]`,
		"loops":        `6`,
		"libraries":    `["libz.so.1", 3]`,
		"hashes":       `["48b0d2a8", "741efa31", "11ff33c6", "ec308c07"]`,
		"certificates": `[true, "/usr/lib/ssl/cert.pem"]`,
		"accounts":     `["` + userName(i) + `", "127.0.0.1", "` + userName(i) + `", "` + userHome(i) + `"]`,
		"terminals":    `[256, -1]`,
		"numbers":      `["0.1428571428571428571428571429", "1/8", 2]`,
		"text":         `["LATIN SMALL LETTER SHARP S", true, "- a", "x", "[...]", "C.UTF-8"]`,
		"stores":       `[{"v": 1}, "dbm.ndbm", true]`,
		"zones":        `[true, "America/Argentina/Ushuaia"]`,
		"memory":       `[5, true]`,
		"tracing":      `[true, "ValueError: x", "pdb"]`,
		"imports":      `[]`,
	})
	require.Equal(i, "{\n    \"a\": 1\n}\n", i.Exec(Process{Args: []string{"python3", "-m", "json.tool"}, Stdin: `{"a": 1}`}).Stdout)
	require.Contains(i, i.ExecOutput("/usr/bin/python3", "-m", "sysconfig"), "Platform: \"linux-")
	r := i.Exec(Process{Args: []string{"python3", "-i", "-q"}, Stdin: "help(len)\n1/0\n"})
	require.Contains(i, r.Stdout, "Return the number of items in a container")
	require.Contains(i, r.Stderr, "ZeroDivisionError")
	i.ExecOutput("python3", "-m", "venv", "--without-pip", "/tmp/other")
	require.Equal(i, "/tmp/other\n", i.ExecOutput("/tmp/other/bin/python3", "-c", "import sys; print(sys.prefix)"))
	require.Contains(i, i.ExecOutput("/opt/app/bin/python3", "-m", "pip", "list", "--format=freeze"), "corpus-app==1.0")
	require.Contains(i, i.ExecOutput("python3", "-m", "unittest", "--help"), "usage: ")
	require.Contains(i, i.ExecOutput("python3", "-X", "importtime", "-c", "import gauge; print(gauge.__file__)"), "/opt/app/lib/python3")
}
