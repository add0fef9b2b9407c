package container

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/stretchr/testify/require"
)

func TestExec(t *testing.T) {
	root := t.TempDir()
	img := busybox(t, func(c *v1.Config) {
		c.User, c.StopSignal, c.Env = "nobody", "SIGKILL", append(c.Env, "FROM=image")
		c.Cmd = []string{"sleep", "1000"}
	})
	require.NoError(t, Unpack(t.Context(), img, root))
	c, err := Start(t.Context(), filepath.Join(t.TempDir(), "bundle"), img, Options{Root: root})
	require.NoError(t, err)
	for _, tt := range []struct {
		name string
		p    Process
		want Result
	}{
		{"streams and status", Process{Args: []string{"sh", "-c", "echo out; echo err >&2; exit 3"}}, Result{Stdout: "out\n", Stderr: "err\n", Code: 3}},
		{"input", Process{Args: []string{"wc", "-c"}, Stdin: strings.NewReader("12345")}, Result{Stdout: "5\n"}},
		{"no input", Process{Args: []string{"wc", "-c"}}, Result{Stdout: "0\n"}},
		{"environment", Process{Args: []string{"sh", "-c", "echo $FROM $MORE"}, Env: []string{"MORE=too"}}, Result{Stdout: "image too\n"}},
		{"the image's user", Process{Args: []string{"id", "-u"}}, Result{Stdout: "65534\n"}},
		{"another user", Process{Args: []string{"sh", "-c", "id -u; touch /root/x; ls /root"}, User: "root"}, Result{Stdout: "0\nx\n"}},
		{"a directory", Process{Args: []string{"pwd"}, Dir: "/etc"}, Result{Stdout: "/etc\n"}},
		{"the same processes", Process{Args: []string{"sh", "-c", "tr '\\0' ' ' </proc/1/cmdline"}}, Result{Stdout: "sleep 1000 "}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := c.Exec(t.Context(), tt.p)
			require.NoError(t, err)
			require.Equal(t, tt.want, got)
		})
	}
	got, err := c.Exec(t.Context(), Process{Args: []string{"/no/such"}})
	require.NoError(t, err)
	require.NotZero(t, got.Code)
	require.Contains(t, got.Stderr, "no such file")
	_, err = c.Exec(t.Context(), Process{Args: []string{"id"}, User: "stranger"})
	require.ErrorContains(t, err, "stranger")
	require.NoError(t, c.Stop())
	require.FileExists(t, filepath.Join(root, "root", "x"), "the caller's root filesystem stays")
}

func TestMountsAndUser(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "in"), []byte("words"), 0o644))
	out := filepath.Join(dir, "out")
	require.NoError(t, os.Mkdir(out, 0o755))
	require.NoError(t, os.Chmod(out, 0o777))
	got, err := Execute(t.Context(), t.TempDir(), busybox(t, func(*v1.Config) {}), Options{
		Args: []string{"sh", "-c", "id -u; cp /data/in /out/copy; echo x >/data/in"}, User: "1000", Env: []string{"A=b"},
		Mounts: []Mount{{Source: filepath.Join(dir, "in"), Target: "/data/in"}, {Source: out, Target: "/out", Writable: true}},
	})
	require.NoError(t, err)
	require.Equal(t, "1000\n", got.Stdout)
	require.Contains(t, got.Stderr, "/data/in")
	require.Equal(t, 1, got.Code)
	dt, err := os.ReadFile(filepath.Join(out, "copy"))
	require.NoError(t, err)
	require.Equal(t, "words", string(dt))
}

// A container, another one and this process meet in a shared network.
func TestSharedNetwork(t *testing.T) {
	n, err := NewNetwork()
	require.NoError(t, err)
	defer n.Close()
	l, err := n.Listen(t.Context(), "tcp", "127.0.0.1:7000")
	require.NoError(t, err)
	defer l.Close()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(conn, "from the test\n")
			_ = conn.Close()
		}
	}()
	got, err := Run(t.Context(), t.TempDir(), busybox(t, func(*v1.Config) {}), Options{Args: []string{"nc", "127.0.0.1", "7000"}, Network: n})
	require.NoError(t, err)
	require.Equal(t, "from the test\n", got)

	c, err := Start(t.Context(), t.TempDir(), busybox(t, func(c *v1.Config) { c.StopSignal = "SIGKILL" }), Options{
		Args: []string{"httpd", "-f", "-p", "127.0.0.1:7001", "-h", "/etc"}, Network: n,
	})
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	status, _, err := c.Get(ctx, "http://127.0.0.1:7001/passwd")
	require.NoError(t, err)
	require.Equal(t, 200, status)
	conn, err := n.Dial(ctx, "tcp", "127.0.0.1:7001")
	require.NoError(t, err)
	require.NoError(t, conn.Close())
	require.NoError(t, c.Stop())
}
