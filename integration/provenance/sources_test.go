// Package provenance tests what a release says of its origin, with a real builder
// and with sources of every sort.
package provenance

import (
	"context"
	"fmt"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/integration/daemon"
	"github.com/temper-images/temper/integration/tools"
)

// shared is the builder of all tests of this package.
var shared *daemon.Daemon

func TestMain(m *testing.M) {
	os.Exit(func() int {
		// A short path: sockets have at most 108 characters.
		dir, err := os.MkdirTemp("", "temper-")
		if err == nil {
			defer os.RemoveAll(dir)
			shared, err = daemon.Start(context.Background(), dir, daemon.Options{Binary: tools.Path("buildkitd")})
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		code := m.Run()
		if err := shared.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return code
	}())
}

// bounded is a context that ends before the test program's own time limit.
func bounded(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// directory makes a directory of files.
func directory(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		file := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
		require.NoError(t, os.WriteFile(file, []byte(content), 0o644))
	}
	return dir
}

// git runs git in dir, away from the machine's own configuration, and returns
// what it printed.
func git(t testing.TB, dir string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", append([]string{"-C", dir}, args...)...)
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "GIT_CONFIG_NOSYSTEM=1",
		"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.com", "GIT_AUTHOR_DATE=1750000000 +0000",
		"GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.com", "GIT_COMMITTER_DATE=1750000000 +0000",
	}
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "git %v: %s", args, out)
	return strings.TrimSpace(string(out))
}

// repository makes a git repository with one commit of the files and returns its
// directory and the commit.
func repository(t testing.TB, files map[string]string) (string, string) {
	t.Helper()
	dir := directory(t, files)
	git(t, dir, "init", "-q", "-b", "main")
	git(t, dir, "add", ".")
	git(t, dir, "commit", "-q", "-m", "first")
	return dir, git(t, dir, "rev-parse", "HEAD")
}

// serveGit serves a bare copy of the repository over HTTP and returns its URL.
func serveGit(t testing.TB, repo string) string {
	t.Helper()
	root := t.TempDir()
	git(t, root, "clone", "-q", "--bare", repo, filepath.Join(root, "lib.git"))
	backend := &cgi.Handler{
		Path: filepath.Join(git(t, root, "--exec-path"), "git-http-backend"),
		Env:  []string{"GIT_PROJECT_ROOT=" + root, "GIT_HTTP_EXPORT_ALL=1", "GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*"},
	}
	srv := httptest.NewServer(backend)
	t.Cleanup(srv.Close)
	return srv.URL + "/lib.git"
}

// serveFile serves one file and returns its URL.
func serveFile(t testing.TB, name, content string) string {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/"+name {
			http.NotFound(w, r)
			return
		}
		fmt.Fprint(w, content)
	}))
	t.Cleanup(srv.Close)
	return srv.URL + "/" + name
}
