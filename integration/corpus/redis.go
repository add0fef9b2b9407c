package corpus

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"

	"github.com/stretchr/testify/require"
)

func init() {
	register(App{Name: "redis", Bases: []string{"debian:bookworm-slim"}, Works: redisWorks, Others: redisOthers, Quick: true})
}

func redisWorks(i *Instance) {
	i.Start(Process{})
	r := newRESP(i, i.Dial("tcp", "127.0.0.1:6379"))
	require.Equal(i, "OK", r.do("SET", "greeting", "hello"))
	require.Equal(i, "hello", r.do("GET", "greeting"))
	require.Equal(i, "3", r.do("RPUSH", "list", "a", "b", "c"))
	require.Equal(i, "a b c", r.do("LRANGE", "list", "0", "-1"))
	require.Contains(i, r.do("INFO", "server"), "redis_mode:standalone")
}

// redisOthers: Lua, saving to disk and loading again, the command line, errors.
func redisOthers(i *Instance) {
	i.Start(Process{})
	r := newRESP(i, i.Dial("tcp", "127.0.0.1:6379"))
	require.Equal(i, "3", r.do("EVAL", "redis.call('set', KEYS[1], cjson.encode({1,2})); return 3", "1", "k"))
	require.Equal(i, "[1,2]", r.do("GET", "k"))
	require.Equal(i, "OK", r.do("SAVE"))
	require.Contains(i, r.do("NONSENSE"), "ERR unknown command")
	i.Stop()

	i.Start(Process{})
	require.Equal(i, "[1,2]\n", i.ExecOutput("redis-cli", "GET", "k"))
	require.Contains(i, i.ExecOutput("redis-check-aof", "/data/appendonlydir/appendonly.aof.manifest"), "is valid")
	require.Contains(i, i.ExecOutput("redis-benchmark", "-n", "100", "-q", "-t", "get"), "requests per second")
}

// resp is a client of the Redis protocol (RESP2).
type resp struct {
	i    *Instance
	conn net.Conn
	r    *bufio.Reader
}

func newRESP(i *Instance, conn net.Conn) *resp {
	return &resp{i: i, conn: conn, r: bufio.NewReader(conn)}
}

// do sends a command and returns the answer; the elements of an array are
// separated by spaces.
func (c *resp) do(args ...string) string {
	fmt.Fprintf(c.conn, "*%d\r\n", len(args))
	for _, a := range args {
		fmt.Fprintf(c.conn, "$%d\r\n%s\r\n", len(a), a)
	}
	return c.read()
}

func (c *resp) read() string {
	line, err := c.r.ReadString('\n')
	require.NoError(c.i, err)
	kind, rest := line[0], strings.TrimSpace(line[1:])
	n, _ := strconv.Atoi(rest)
	switch kind {
	case '$':
		if n < 0 {
			return ""
		}
		dt := make([]byte, n+2)
		_, err := io.ReadFull(c.r, dt)
		require.NoError(c.i, err)
		return string(dt[:n])
	case '*':
		var all []string
		for range n {
			all = append(all, c.read())
		}
		return strings.Join(all, " ")
	}
	return rest
}
