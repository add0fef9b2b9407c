package corpus

import (
	"net/http"

	"github.com/stretchr/testify/require"
)

func init() {
	register(App{Name: "ruby", Bases: []string{"debian:bookworm"}, Works: rubyWorks, Others: rubyOthers})
}

const rubyURL = "http://127.0.0.1:8080"

func rubyWorks(i *Instance) {
	i.Start(Process{})
	status, body := i.Get(rubyURL + "/page?lang=de")
	require.Equal(i, http.StatusOK, status, body)
	require.Contains(i, body, "<p>Grüße</p>")
	_, body = i.Get(rubyURL + "/token?name=ali")
	require.JSONEq(i, `{"token": "d3df23aea8b842e1d86f391a2876049c0051bf1caf6e6bf627e76bc71a4d25f6", "visits": 1, "title": "corpus"}`, body)
}

// rubyOthers: the rest of the standard library, encodings, zones, error pages,
// the interpreter's command line.
func rubyOthers(i *Instance) {
	i.Start(Process{})
	status, body := i.Get(rubyURL + "/absent")
	require.Equal(i, http.StatusNotFound, status)
	require.Contains(i, body, "WEBrick")
	status, body = i.Get(rubyURL + "/page?lang=xx")
	require.Equal(i, http.StatusInternalServerError, status)
	require.Contains(i, body, "key not found")
	askText(i, rubyURL+"/more?what=", map[string]string{
		"encodings": "93fa967b c6fccbdc c8d5b1be a4e9a5bb e5652c67 f0d2c9d7c5d4", "normal": "2", "zlib": "squeezed", "digest": "a4abd44411ff33c6",
		"big": "0.14285714285714285714", "csv": "2", "date": "Thursday", "time": "2023-11-15T03:58:20+0545", "fiddle": "7", "ripper": "program",
		"pty": "IO", "etc": userName(i), "console": "true", "socket": "127.0.0.1", "psych": "4", "ssl": "OpenSSL::SSL::SSLContext",
		"certificate": "true", "cipher": "ChaCha20-Poly1305", "xslt": "[x]", "mistake": "Did you mean?  first", "gems": "json nokogiri rexml sqlite3", "rexml": "b",
		"open3": "from a shell", "child": "42", "options": "true", "coverage": "true", "objspace": "true", "fetch": "404", "logger": "true",
		"pstore": "kept", "readline": "false", "irb": "false", "ractor": "42",
	})
	require.Equal(i, "日本", i.ExecOutput("ruby", "-rjson", "-e", `print JSON.parse('["日本"]')[0]`))
	r := i.Exec(Process{Args: []string{"ruby", "-e", "require 'absent'"}})
	require.Contains(i, r.Stderr, "cannot load such file -- absent")
	require.Contains(i, i.ExecOutput("gem", "list"), "nokogiri")
	require.Equal(i, "<b>", i.Exec(Process{Args: []string{"erb"}, Stdin: "<%= '<b>' %>"}).Stdout)
	require.Contains(i, i.Exec(Process{Args: []string{"irb", "--noprompt", "-f"}, Stdin: "6 * 7\n"}).Stdout, "\n42\n")
	require.Contains(i, i.ExecOutput("ruby", "--yjit", "-e", "print 1 + 1"), "2")
}
