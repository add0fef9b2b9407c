package corpus

import (
	"bufio"
	"fmt"
	"net"
	"strings"

	"github.com/stretchr/testify/require"
)

func init() {
	register(App{Name: "memcached", Bases: []string{"debian:bookworm-slim"}, Works: memcachedWorks, Others: memcachedOthers, Quick: true})
}

func memcachedWorks(i *Instance) {
	i.Start(Process{})
	m := newLines(i, i.Dial("tcp", "127.0.0.1:11211"))
	require.Equal(i, "STORED", m.ask("set greeting 0 0 5\r\nhello"))
	require.Equal(i, "VALUE greeting 0 5", m.ask("get greeting"))
	require.Equal(i, "hello", m.line())
	require.Equal(i, "END", m.line())
	require.Equal(i, "STORED", m.ask("set n 0 0 2\r\n41"))
	require.Equal(i, "42", m.ask("incr n 1"))
	require.Equal(i, "DELETED", m.ask("delete n"))
}

// memcachedOthers: the meta and the binary protocol, statistics, errors, and
// options that the image's command does not use.
func memcachedOthers(i *Instance) {
	i.Start(Process{})
	m := newLines(i, i.Dial("tcp", "127.0.0.1:11211"))
	require.Equal(i, "HD", m.ask("ms key 3\r\nabc"))
	require.Equal(i, "VA 3 t-1 s3", m.ask("mg key v t s"))
	require.Equal(i, "abc", m.line())
	require.Equal(i, "ERROR", m.ask("nonsense"))
	require.Equal(i, "CLIENT_ERROR bad data chunk", m.ask("set x 0 0 1\r\nlong"))
	m = newLines(i, i.Dial("tcp", "127.0.0.1:11211"))
	require.Regexp(i, "^STAT pid 1$", m.ask("stats"))
	require.Equal(i, "OK", newLines(i, i.Dial("tcp", "127.0.0.1:11211")).ask("flush_all"))

	// A binary no-op has a header of 24 bytes, and so has its answer.
	conn := i.Dial("tcp", "127.0.0.1:11211")
	request := make([]byte, 24)
	request[0], request[1] = 0x80, 0x0a
	_, err := conn.Write(request)
	require.NoError(i, err)
	answer := make([]byte, 24)
	_, err = bufio.NewReader(conn).Read(answer)
	require.NoError(i, err)
	require.Equal(i, []byte{0x81, 0x0a}, answer[:2])
	i.Stop()

	require.True(i, strings.HasPrefix(i.Output("memcached", "-V"), "memcached 1.6."))
	i.Start(Process{Args: []string{"memcached", "-s", "/tmp/socket", "-a", "700", "-vv", "-t", "1"}})
	for !strings.Contains(i.Log(), "server listening") {
		require.NoError(i, i.Context().Err())
	}
}

// lines is a client of a protocol of lines.
type lines struct {
	i    *Instance
	conn net.Conn
	r    *bufio.Reader
}

func newLines(i *Instance, conn net.Conn) *lines {
	return &lines{i: i, conn: conn, r: bufio.NewReader(conn)}
}

// ask sends a line and returns the first line of the answer.
func (l *lines) ask(text string) string {
	_, err := fmt.Fprintf(l.conn, "%s\r\n", text)
	require.NoError(l.i, err)
	return l.line()
}

func (l *lines) line() string {
	text, err := l.r.ReadString('\n')
	require.NoError(l.i, err)
	return strings.TrimRight(text, "\r\n")
}
