package corpus

import (
	"strings"
	"time"

	"github.com/stretchr/testify/require"
)

func init() {
	register(App{Name: "postgres", Bases: []string{"debian:bookworm"}, Works: postgresWorks, Others: postgresOthers})
}

// postgresStart starts the server, which makes its files first, and waits until
// it answers.
func postgresStart(i *Instance) {
	i.Start(Process{})
	i.Dial("tcp", "127.0.0.1:5432").Close()
	require.Eventually(i, func() bool {
		return i.Exec(Process{Args: []string{"pg_isready", "--quiet", "--host=127.0.0.1"}}).Code == 0
	}, readyLimit, 100*time.Millisecond)
}

// postgresSQL runs statements through the command line and returns what they
// select, without headings.
func postgresSQL(i *Instance, statements string, options ...string) string {
	args := append([]string{"psql", "--no-psqlrc", "--host=127.0.0.1", "--tuples-only", "--no-align", "--quiet", "--set=ON_ERROR_STOP=1"}, options...)
	return strings.TrimSpace(i.ExecOutput(append(args, "--command="+statements)...))
}

func postgresWorks(i *Instance) {
	postgresStart(i)
	require.Equal(i, "3", postgresSQL(i, "SELECT count(*) FROM book"))
	require.Equal(i, "Buddenbrooks", postgresSQL(i, "SELECT title FROM book WHERE title % 'budenbrook' ORDER BY similarity(title, 'budenbrook') DESC LIMIT 1"))
	postgresSQL(i, "CREATE TABLE reader (name text UNIQUE, born date); INSERT INTO reader VALUES ('Ada', '1815-12-10')")
	require.Equal(i, "Ada|1815-12-10", postgresSQL(i, "SELECT * FROM reader"))
	r := i.Exec(Process{Args: []string{"psql", "--host=127.0.0.1", "--command=INSERT INTO reader VALUES ('Ada')"}})
	require.Contains(i, r.Stderr, "duplicate key value violates unique constraint")
}

// postgresOthers: other extensions and languages, dictionaries, collations, zones,
// encodings, compiled queries, dumps, a reload, a restart.
func postgresOthers(i *Instance) {
	postgresStart(i)
	for _, extension := range []string{
		"pgcrypto", "hstore", "unaccent", "ltree", "\"uuid-ossp\"", "pg_stat_statements", "postgres_fdw", "file_fdw", "btree_gist", "citext",
		"fuzzystrmatch", "isn", "cube", "earthdistance", "tablefunc", "intarray", "dblink", "pageinspect", "xml2", "sslinfo", "amcheck", "dict_xsyn",
	} {
		postgresSQL(i, "CREATE EXTENSION "+extension)
	}
	for _, tt := range []struct{ query, want string }{
		{"SELECT length(digest('x', 'sha224'))", "28"},
		{"SELECT pgp_sym_decrypt(pgp_sym_encrypt('secret', 'k'), 'k')", "secret"},
		{"SELECT 'a=>1,b=>2'::hstore -> 'b'", "2"},
		{"SELECT unaccent('Größe à la carte')", "Grosse a la carte"},
		{"SELECT length(uuid_generate_v5(uuid_ns_dns(), 'x')::text)", "36"},
		{"SELECT to_tsvector('german', 'Die Häuser standen') @@ to_tsquery('german', 'Haus')", "t"},
		{"SELECT to_tsvector('russian', 'красивые дома') @@ to_tsquery('russian', 'дом')", "t"},
		{"SELECT ts_lexize('english_stem', 'running')", "{run}"},
		{"SELECT string_agg(w, '' ORDER BY w COLLATE \"sv-x-icu\") FROM unnest(ARRAY['ö','z','o']) w", "ozö"},
		{"SELECT timestamptz '2024-07-01 12:00+00' AT TIME ZONE 'Asia/Kathmandu'", "2024-07-01 17:45:00"},
		{"SELECT timestamptz '2024-07-01 12:00 CEST' AT TIME ZONE 'UTC'", "2024-07-01 10:00:00"},
		{"SELECT encode(convert_to('Größe', 'LATIN1'), 'hex')", "4772f6df65"},
		{"SELECT encode(convert_to('日本', 'EUC_JP'), 'hex')", "c6fccbdc"},
		{"SELECT encode(convert_to('日本', 'SJIS'), 'hex')", "93fa967b"},
		{"SELECT (xpath('/a/b/text()', '<a><b>x</b></a>'::xml))[1]", "x"},
		{"SELECT soundex('Robert')", "R163"},
		{"SELECT jsonb_path_query('{\"a\": [1, 2]}', '$.a[1]')", "2"},
		{"SELECT lower('ΑΒΓ' COLLATE \"el-x-icu\")", "αβγ"},
	} {
		require.Equal(i, tt.want, postgresSQL(i, tt.query), tt.query)
	}
	postgresSQL(i, `CREATE FUNCTION twice(n int) RETURNS int LANGUAGE plpgsql AS $$ BEGIN RETURN n * 2; END $$`)
	require.Equal(i, "42", postgresSQL(i, "SELECT twice(21)"))
	require.Contains(i, postgresSQL(i, "SET jit_above_cost = 0; EXPLAIN (ANALYZE) SELECT sum(n) FROM generate_series(1, 1000) n"), "JIT:")
	require.Equal(i, "1|2", postgresSQL(i, "SELECT * FROM dblink('host=127.0.0.1 dbname=postgres', 'SELECT 1, 2') AS t(a int, b int)"))

	dump := i.ExecOutput("pg_dump", "--host=127.0.0.1", "--table=book")
	require.Contains(i, dump, "Buddenbrooks")
	i.ExecOutput("pg_dump", "--host=127.0.0.1", "--format=custom", "--compress=9", "--file=/tmp/book.dump")
	i.ExecOutput("createdb", "--host=127.0.0.1", "--template=template0", "--encoding=LATIN1", "--locale=C", "copy")
	i.ExecOutput("pg_restore", "--host=127.0.0.1", "--dbname=copy", "/tmp/book.dump")
	require.Equal(i, "3", postgresSQL(i, "SELECT count(*) FROM book", "--dbname=copy"))
	i.ExecOutput("vacuumdb", "--host=127.0.0.1", "--all", "--analyze", "--quiet")
	i.ExecOutput("pg_basebackup", "--host=127.0.0.1", "--pgdata=/tmp/backup", "--checkpoint=fast")
	i.ExecOutput("pg_verifybackup", "--quiet", "/tmp/backup")
	i.ExecOutput("pgbench", "--host=127.0.0.1", "--initialize", "--quiet")
	require.Contains(i, i.ExecOutput("pg_controldata"), "in production")

	postgresSQL(i, "ALTER SYSTEM SET work_mem = '5MB'")
	require.NoError(i, i.Service().Signal("HUP"))
	require.Eventually(i, func() bool { return postgresSQL(i, "SHOW work_mem") == "5MB" }, readyLimit, 100*time.Millisecond)
	postgresSQL(i, "ALTER SYSTEM SET shared_preload_libraries = pg_stat_statements, auto_explain")
	i.Stop()
	postgresStart(i)
	postgresSQL(i, "SELECT 1")
	require.Equal(i, "t", postgresSQL(i, "SELECT count(*) > 0 FROM pg_stat_statements"))
}
