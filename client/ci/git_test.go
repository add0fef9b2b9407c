package ci

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// run runs git away from the machine's own configuration.
func run(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", append([]string{"-C", dir, "-c", "user.name=a", "-c", "user.email=a@example.com"}, args...)...)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "git %v: %s", args, out)
	return strings.TrimSpace(string(out))
}

// newRepository makes a repository with one commit.
func newRepository(t *testing.T) (dir, commit string) {
	t.Helper()
	t.Setenv("GIT_CONFIG_GLOBAL", os.DevNull)
	t.Setenv("GIT_CONFIG_NOSYSTEM", "1")
	dir = t.TempDir()
	run(t, dir, "init", "-q", "-b", "main")
	require.NoError(t, os.Mkdir(filepath.Join(dir, "app"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "app", "Dockerfile"), []byte("FROM scratch\n"), 0o600))
	run(t, dir, "add", ".")
	run(t, dir, "commit", "-q", "-m", "first")
	return dir, run(t, dir, "rev-parse", "HEAD")
}

func detectIn(t *testing.T, dir string, ignore ...string) *Facts {
	t.Helper()
	f, err := Detect(t.Context(), Options{Lookup: lookup(nil), Dir: dir, Ignore: ignore})
	require.NoError(t, err)
	return f
}

func TestCheckout(t *testing.T) {
	dir, commit := newRepository(t)
	run(t, dir, "remote", "add", "origin", "https://bot:hunter2@git.example.com/team/app.git")
	app := filepath.Join(dir, "app")

	got := detectIn(t, app)
	clean := Checkout{Repository: "https://git.example.com/team/app", Commit: commit, Ref: "refs/heads/main", Dir: "app"}
	require.Equal(t, &Facts{
		Platform: Local, Repository: clean.Repository, Commit: commit, Ref: "refs/heads/main", Checkout: &clean,
		Origins: map[string]Origin{FactRepository: FromRepository, FactCommit: FromRepository, FactRef: FromRepository},
	}, got)
	require.Equal(t, "local, https://git.example.com/team/app at "+commit[:12], got.String())
	require.Equal(t, ".", detectIn(t, dir).Checkout.Dir)

	t.Run("dirty", func(t *testing.T) {
		output := filepath.Join(app, "app.oci")
		require.NoError(t, os.Mkdir(output, 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(output, "index.json"), nil, 0o600))
		require.True(t, detectIn(t, app).Checkout.Dirty, "a new file")
		require.False(t, detectIn(t, app, output).Checkout.Dirty, "the build's own output")
		require.NoError(t, os.WriteFile(filepath.Join(app, "Dockerfile"), []byte("FROM busybox\n"), 0o600))
		require.True(t, detectIn(t, app, output).Checkout.Dirty, "a changed file")
		run(t, dir, "checkout", "-q", ".")
		require.False(t, detectIn(t, app, output).Checkout.Dirty)
		require.NoError(t, os.RemoveAll(output))
	})
	t.Run("by a tag", func(t *testing.T) {
		run(t, dir, "tag", "v1")
		run(t, dir, "checkout", "-q", "--detach")
		require.Equal(t, "refs/tags/v1", detectIn(t, app).Ref)
		run(t, dir, "tag", "v2")
		require.Empty(t, detectIn(t, app).Ref, "two tags say nothing")
	})
	t.Run("another remote", func(t *testing.T) {
		run(t, dir, "remote", "rename", "origin", "upstream")
		require.Equal(t, "https://git.example.com/team/app", detectIn(t, app).Repository)
		run(t, dir, "remote", "set-url", "upstream", "/srv/git/app")
		require.Empty(t, detectIn(t, app).Repository)
	})
	t.Run("a configuration that starts programs", func(t *testing.T) {
		witness := filepath.Join(t.TempDir(), "started")
		hook := filepath.Join(t.TempDir(), "hook")
		require.NoError(t, os.WriteFile(hook, []byte("#!/bin/sh\ntouch "+witness+"\n"), 0o700))
		run(t, dir, "config", "core.fsmonitor", hook)
		detectIn(t, app)
		require.NoFileExists(t, witness)
	})
}

func TestNoCheckout(t *testing.T) {
	dir, _ := newRepository(t)
	for name, tc := range map[string]struct {
		dir, notice string
		prepare     func(t *testing.T)
	}{
		"no repository": {dir: t.TempDir(), notice: "not in a git repository"},
		"no commit": {dir: func() string {
			d := t.TempDir()
			run(t, d, "init", "-q")
			return d
		}(), notice: "has no commit yet"},
		"no git":       {dir: dir, notice: "there is no git command", prepare: func(t *testing.T) { t.Setenv("PATH", t.TempDir()) }},
		"somebody's":   {dir: dir, notice: "belongs to somebody else", prepare: func(t *testing.T) { t.Setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1") }},
		"no directory": {dir: filepath.Join(dir, "absent"), notice: "git could not be asked"},
	} {
		t.Run(name, func(t *testing.T) {
			if tc.prepare != nil {
				tc.prepare(t)
			}
			got := detectIn(t, tc.dir)
			require.Nil(t, got.Checkout)
			require.Nil(t, got.Source())
			require.Len(t, got.Notices, 1)
			require.Contains(t, got.Notices[0], tc.notice)
		})
	}
	t.Run("cancelled", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := Detect(ctx, Options{Lookup: lookup(nil), Dir: dir})
		require.ErrorIs(t, err, context.Canceled)
	})
}

func TestSource(t *testing.T) {
	f := &Facts{Repository: "https://a", Commit: commitA, Ref: "refs/heads/main"}
	require.Equal(t, &Checkout{Repository: "https://a", Commit: commitA, Ref: "refs/heads/main"}, f.Source())
	f.Checkout = &Checkout{Commit: commitA, Dirty: true}
	require.Equal(t, &Checkout{Repository: "https://a", Commit: commitA, Ref: "refs/heads/main", Dirty: true}, f.Source(), "a bare checkout of the same commit")
	f.Checkout = &Checkout{Commit: commitB}
	require.Equal(t, &Checkout{Commit: commitB}, f.Source(), "what is built is what is checked out")
}
