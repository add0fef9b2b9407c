package corpus

import (
	"net/http"

	"github.com/stretchr/testify/require"
)

func init() {
	register(App{Name: "perl", Bases: []string{"debian:bookworm"}, Works: perlWorks, Others: perlOthers})
}

const perlURL = "http://127.0.0.1:8080"

func perlWorks(i *Instance) {
	i.Start(Process{})
	status, body := i.Get(perlURL + "/books")
	require.Equal(i, http.StatusOK, status, body)
	require.JSONEq(i, `[{"title": "Der Prozeß", "year": 1925}, {"title": "Das Schloß", "year": 1926}]`, body)
	_, body = i.Get(perlURL + "/page")
	require.Contains(i, body, "<li>Der Prozeß (1925)</li>")
}

// perlOthers: other modules, encodings, zones and locales, failures, the
// interpreter's command line.
func perlOthers(i *Instance) {
	i.Start(Process{})
	status, body := i.Get(perlURL + "/absent")
	require.Equal(i, http.StatusNotFound, status)
	require.Equal(i, "no such page\n", body)
	askText(i, perlURL+"/more?what=", map[string]string{
		"encodings": "93fa967b c6fccbdc c8d5b1be a4e9a5bb e5652c67",
		"names":     "LATIN SMALL LETTER SHARP S",
		"classes":   "αβ", "fold": "ασ SS same", "normal": "2", "collate": "aéz",
		"zones": "2023-11-15T03:58:20+0545", "locales": "Dienstag, 14. November",
		"xml": "1", "html": "ü", "yaml": "2", "storable": "2", "compress": "squeezed", "bzip": "yes",
		"digests": "a4abd4449dd4e461", "big": "1267650600228229401496703205376", "posix": "1970 C.UTF-8", "user": userName(i), "host": "127.0.0.1",
		"shell": "from sh", "fetch": "500", "temp": "made", "find": "found", "usage": "rendered", "dumper": "{'a' => [1]}",
		"threads": "42", "dbm": "kept", "diagnostics": "loaded", "drivers": "DBM File Mem SQLite", "memory": "7",
		"plugin": "4",
	})
	require.Equal(i, "42\n", i.ExecOutput("perl", "-MList::Util=sum", "-E", "say sum 20, 22"))
	r := i.Exec(Process{Args: []string{"perl", "-e", "use Absent::Module;"}})
	require.Contains(i, r.Stderr, "Can't locate Absent/Module.pm")
	require.Contains(i, i.ExecOutput("perl", "-V"), "Summary of my perl5")
	require.Contains(i, i.ExecOutput("perl", "-MConfig", "-e", "print $Config{archname}"), "linux-gnu")
	require.Contains(i, i.ExecOutput("prove", "--version"), "TAP::Harness")
	require.Contains(i, i.Exec(Process{Args: []string{"json_xs", "-f", "json", "-t", "yaml"}, Stdin: `{"a": 1}`}).Stdout, "a: 1")
}
