package corpus

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/stretchr/testify/require"
)

func init() {
	register(App{Name: "entrypoint", Bases: []string{"debian:bookworm-slim"}, Works: entrypointWorks, Others: entrypointOthers, Quick: true})
	register(App{Name: "tinigosu", Bases: []string{"debian:bookworm-slim"}, Works: tinigosuWorks, Others: tinigosuOthers})
}

func entrypointWorks(i *Instance) {
	r := i.Run(Process{Env: []string{"SITE_NAME=corpus", "SITE_PORT=8080"}})
	require.Zero(i, r.Code, r.Stderr)
	require.Contains(i, r.Stdout, "server {\n    name corpus;\n    port 8080;\n    path $uri;\n}\n")
	require.Regexp(i, regexp.MustCompile(`\n[0-9a-f]{64}\n$`), r.Stdout)
	require.Contains(i, r.Stderr, "docker-entrypoint.sh: running /docker-entrypoint.d/10-check.sh\ndocker-entrypoint.sh: running /docker-entrypoint.d/20-render.sh\n")
}

// entrypointOthers: the script's other commands, a refusal, and a command of the
// user's own.
func entrypointOthers(i *Instance) {
	entry := func(code int, env []string, args ...string) string {
		r := i.Run(Process{Args: append([]string{"/docker-entrypoint.sh"}, args...), Env: append(env, "QUIET=yes")})
		require.Equal(i, code, r.Code, "%q: %s", args, r.Stderr)
		return r.Stdout
	}
	require.Equal(i, "./\n./site.conf\n20250616-0006\n", entry(0, []string{"ZONE=Asia/Tokyo"}, "backup"))
	got := strings.Split(entry(0, nil, "report"), "\n")
	require.Equal(i, []string{"9", "c b a", "x,y", "1", "aaef4a47", "1", ""}, got)
	require.Equal(i, "words\n", entry(0, nil, "printf", "%s\n", "words"))
	r := i.Run(Process{Env: []string{"SITE_NAME=bad name"}})
	require.NotZero(i, r.Code)
	require.Contains(i, r.Stderr, "SITE_NAME 'bad name' has characters that are not allowed")
	require.Equal(i, 127, i.Run(Process{Args: []string{"/docker-entrypoint.sh", "no-such-command"}}).Code)
}

func tinigosuWorks(i *Instance) {
	i.Start(Process{})
	require.Equal(i, "tini", tinigosuAsk(i, "first"))
	require.Equal(i, "1970-01-01", tinigosuAsk(i, "keep"))
	require.Equal(i, "what is love?", tinigosuAsk(i, "love"))
	i.Stop()
}

// tinigosuAsk asks the service one question.
func tinigosuAsk(i *Instance, question string) string {
	conn := i.Dial("tcp", "127.0.0.1:7000")
	defer conn.Close()
	_, err := fmt.Fprintln(conn, question)
	require.NoError(i, err)
	return newLines(i, conn).line()
}

// tinigosuOthers: started as root, it becomes another user; no process stays
// behind; what the two programs do else.
func tinigosuOthers(i *Instance) {
	i.Start(Process{User: "0"})
	require.Equal(i, "app", tinigosuAsk(i, "who"))
	require.Equal(i, "1970-01-01", tinigosuAsk(i, "keep"))
	require.Equal(i, "0", tinigosuAsk(i, "zombies"))
	i.Stop()
	r := i.Run(Process{User: "0", Args: []string{"gosu", "nobody:root", "id"}})
	require.Equal(i, "uid=65534(nobody) gid=0(root) groups=0(root)\n", r.Stdout, r.Stderr)
	r = i.Run(Process{User: "0", Args: []string{"gosu", "stranger", "id"}})
	require.NotZero(i, r.Code)
	require.Contains(i, r.Stderr, "stranger")
	require.Equal(i, 3, i.Run(Process{Args: []string{"tini", "-s", "--", "sh", "-c", "exit 3"}}).Code)
	require.Equal(i, 127, i.Run(Process{Args: []string{"tini", "--", "no-such-command"}}).Code)
	require.Contains(i, i.Output("tini", "--version"), "tini version")
	require.Contains(i, i.Output("socat", "-V"), "WITH_OPENSSL")
}
