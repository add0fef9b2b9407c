package corpus

import (
	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/integration/container"
)

func init() {
	register(App{Name: "tools", Bases: []string{"debian:bookworm-slim"}, Works: toolsWorks, Others: toolsOthers, Quick: true})
}

func toolsWorks(i *Instance) {
	r := i.Run(Process{})
	require.Zero(i, r.Code, "%s", r.Stderr)
	require.Equal(i, "200\teast\n150\tnorth\n", r.Stdout)
}

// toolsOthers: regular expressions, time zones and modules of jq; full-text
// search, mathematics, import and dump of SQLite; another limit; failures.
func toolsOthers(i *Instance) {
	r := i.Run(Process{Env: []string{"LIMIT=1"}})
	require.Equal(i, "200\teast\n", r.Stdout, "%s", r.Stderr)

	jq := func(input string, args ...string) string {
		r := i.Run(Process{Args: append([]string{"jq"}, args...), Stdin: input})
		require.Zero(i, r.Code, "%s", r.Stderr)
		return r.Stdout
	}
	require.Equal(i, "true\n", jq(`"ひらがな"`, `test("^\\p{Hiragana}+$")`))
	require.Equal(i, "\"2024 Mar Fri\"\n", jq(`1709287200`, `strftime("%Y %b %a")`))
	require.Equal(i, "1709287200\n", jq(`"2024-03-01T10:00:00Z"`, "fromdate"))
	require.Equal(i, "aGk=\n", jq(`"hi"`, "-r", "@base64"))
	require.Equal(i, "[\n  1,\n  2\n]\n", jq("[2,1]", "sort"))
	mods := ReadOnly(i.File("mods/m.jq", "def twice: . * 2;"), "/mods/m.jq")
	r = i.Run(Process{Args: []string{"jq", "-L", "/mods", `import "m" as m; m::twice`}, Stdin: "21", Mounts: []container.Mount{mods}})
	require.Equal(i, "42\n", r.Stdout, "%s", r.Stderr)
	r = i.Run(Process{Args: []string{"jq", "."}, Stdin: "{"})
	require.NotZero(i, r.Code)
	require.Contains(i, r.Stderr, "parse error")

	csv := ReadOnly(i.File("more.csv", "west,5,2024-01-01\n"), "/more.csv")
	script := `.mode csv
.import /more.csv sales
.mode list
SELECT count(*), round(sqrt(sum(amount)), 2), strftime('%Y', max(sold)) FROM sales;
CREATE VIRTUAL TABLE notes USING fts5(body);
INSERT INTO notes VALUES ('the quick brown fox'), ('a lazy dog');
SELECT snippet(notes, 0, '[', ']', '', 4) FROM notes WHERE notes MATCH 'fox';
SELECT json_extract('{"a":[1,2]}', '$.a[1]');
SELECT upper(hex(zeroblob(2))), datetime(0, 'unixepoch', 'localtime');
.dump notes_config
`
	r = i.Run(Process{Args: []string{"sqlite3", "-batch", "/srv/data/sales.db"}, User: "0", Stdin: script, Mounts: []container.Mount{csv}})
	require.Zero(i, r.Code, "%s", r.Stderr)
	require.Contains(i, r.Stdout, "5|20.86|2024\nthe quick brown [fox]\n2\n0000|1970-01-01 00:00:00\n")
	require.Contains(i, r.Stdout, "CREATE TABLE IF NOT EXISTS 'notes_config'")
	r = i.Run(Process{Args: []string{"sqlite3", "/srv/data/sales.db", "SELECT absent FROM sales"}})
	require.Equal(i, 1, r.Code)
	require.Contains(i, r.Stderr, "no such column")
}
