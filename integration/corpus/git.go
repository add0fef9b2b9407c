package corpus

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/stretchr/testify/require"
)

func init() {
	register(App{Name: "git", Bases: []string{"debian:bookworm", "debian:bookworm-slim"}, Works: gitWorks, Others: gitOthers})
}

const (
	gitSSH   = "ssh://git@localhost:2222/srv/git/"
	gitHTTPS = "https://localhost:8443/"
)

// gitStart starts the server and lets its own user in.
func gitStart(i *Instance, env ...string) {
	i.Start(Process{Env: env})
	require.NoError(i, i.Dial("tcp", "127.0.0.1:8443").Close())
	i.ExecOutput("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "/home/git/.ssh/id_ed25519")
	dir := filepath.Join(i.Root, "home/git/.ssh")
	key, err := os.ReadFile(filepath.Join(dir, "id_ed25519.pub"))
	require.NoError(i, err)
	require.NoError(i, os.WriteFile(filepath.Join(dir, "authorized_keys"), key, 0o644))
	require.NoError(i, os.WriteFile(filepath.Join(dir, "config"), []byte("StrictHostKeyChecking accept-new\n"), 0o644))
	require.NoError(i, os.WriteFile(filepath.Join(i.Root, "home/git/.gitconfig"), []byte(
		"[user]\n\tname = A Committer\n\temail = committer@example.test\n[http]\n\tsslCAInfo = /etc/git-server/server.crt\n[init]\n\tdefaultBranch = main\n"), 0o644))
}

// git runs git below the home directory and returns its standard output.
func git(i *Instance, dir string, args ...string) string {
	return i.ExecOutput(append([]string{"git", "-C", filepath.Join("/home/git", dir)}, args...)...)
}

// gitFails runs git, which must fail, and returns what it said.
func gitFails(i *Instance, dir string, args ...string) string {
	r := i.Exec(Process{Args: append([]string{"git", "-C", filepath.Join("/home/git", dir)}, args...)})
	require.NotZero(i, r.Code, "%q: %s", args, r.Stdout)
	return r.Stderr + r.Stdout
}

// gitFile writes a file of a working tree as the image's user would own it.
func gitFile(i *Instance, name, content string, mode os.FileMode) {
	path := filepath.Join(i.Root, "home/git", name)
	require.NoError(i, os.WriteFile(path, []byte(content), mode))
	require.NoError(i, os.Chmod(path, mode))
}

func gitWorks(i *Instance) {
	gitStart(i)
	git(i, "", "clone", "--quiet", gitSSH+"project.git", "work")
	gitFile(i, "work/README", "words\n", 0o644)
	git(i, "work", "add", "README")
	git(i, "work", "commit", "--quiet", "-m", "first")
	git(i, "work", "push", "--quiet", "origin", "main")
	git(i, "", "clone", "--quiet", gitHTTPS+"project.git", "second")
	require.Equal(i, "first\n", git(i, "second", "log", "--format=%s"))
}

// gitOthers: a push over HTTPS, hooks, submodules, rebase, bisect and other
// commands that are scripts, archives, patches, bundles, encodings, a daemon of
// git's own, and failures.
func gitOthers(i *Instance) {
	gitStart(i, "REPOSITORIES=project library")
	for n, name := range []string{"library", "project"} {
		git(i, "", "clone", "--quiet", gitHTTPS+name+".git", name)
		for _, text := range []string{"one\n", "one\ntwo\n", "one\ntwo\nthree\n"} {
			gitFile(i, name+"/text", text, 0o644)
			git(i, name, "add", "text")
			git(i, name, "commit", "--quiet", "-m", strings.Fields(text)[strings.Count(text, "\n")-1])
		}
		if n == 0 {
			git(i, name, "push", "--quiet", "origin", "main")
		}
	}
	hook := "#!/bin/sh\nwhile read old new ref; do echo \"$ref\" >>pushed; done\n"
	gitFile(i, "../../srv/git/project.git/hooks/post-receive", hook, 0o755)
	git(i, "project", "push", "--quiet", "origin", "main")
	pushed, err := os.ReadFile(filepath.Join(i.Root, "srv/git/project.git/pushed"))
	require.NoError(i, err)
	require.Equal(i, "refs/heads/main\n", string(pushed))
	require.FileExists(i, filepath.Join(i.Root, "srv/git/project.git/hooks/pre-push.sample"), "the templates of git init")

	git(i, "project", "submodule", "add", "--quiet", gitSSH+"library.git", "library")
	git(i, "project", "commit", "--quiet", "-m", "with a library")
	require.Contains(i, git(i, "project", "submodule", "status"), "library (heads/main)")
	require.Contains(i, git(i, "project", "submodule", "foreach", "--quiet", "git log --format=%s -1"), "three")

	r := i.Exec(Process{Args: []string{"git", "-C", "/home/git/library", "rebase", "--quiet", "-i", "HEAD~2"}, Env: []string{`GIT_SEQUENCE_EDITOR=sed -i -e 2s/pick/fixup/`}})
	require.Zero(i, r.Code, "%s", r.Stderr)
	require.Equal(i, "two\none\n", git(i, "library", "log", "--format=%s"))
	git(i, "project", "bisect", "start", "HEAD", "HEAD~3")
	require.Contains(i, git(i, "project", "bisect", "run", "sh", "-c", "! grep -q three text"), "is the first bad commit")
	git(i, "project", "bisect", "reset")
	gitFile(i, "library/text", "changed\n", 0o644)
	git(i, "library", "stash", "--quiet")
	git(i, "library", "stash", "pop", "--quiet")
	git(i, "library", "checkout", "--quiet", "text")
	r = i.Exec(Process{Args: []string{"git", "-C", "/home/git/library", "filter-branch", "-f", "--msg-filter", "sed -e s/^/x/"}, Env: []string{"FILTER_BRANCH_SQUELCH_WARNING=1"}})
	require.Zero(i, r.Code, "%s", r.Stderr)
	require.Equal(i, "xtwo\nxone\n", git(i, "library", "log", "--format=%s"))
	require.Contains(i, git(i, "project", "request-pull", "HEAD~1", gitHTTPS+"project.git", "HEAD~1:main"), "are available in the Git repository at")
	require.Contains(i, git(i, "project", "mergetool", "--tool-help"), "vimdiff")

	git(i, "project", "format-patch", "--quiet", "-o", "/tmp/patches", "HEAD~2..HEAD~1")
	git(i, "project", "archive", "--format=tar.gz", "-o", "/tmp/a.tgz", "HEAD")
	git(i, "project", "archive", "--format=zip", "-o", "/tmp/a.zip", "HEAD")
	git(i, "project", "bundle", "create", "--quiet", "/tmp/a.bundle", "main")
	git(i, "", "clone", "--quiet", "/tmp/a.bundle", "bundled")
	git(i, "bundled", "reset", "--quiet", "--hard", "HEAD~2")
	git(i, "bundled", "am", "--quiet", "/tmp/patches/0001-three.patch")
	require.Equal(i, "text:three\n", git(i, "bundled", "grep", "-P", `^th(?=re)\w+`))
	git(i, "bundled", "fsck", "--strict")
	git(i, "bundled", "gc", "--quiet")

	git(i, "bundled", "-c", "i18n.commitEncoding=EUC-JP", "commit", "--quiet", "--allow-empty", "-m", "日本")
	require.Equal(i, "日本\n", git(i, "bundled", "log", "-1", "--encoding=UTF-8", "--format=%s"))
	require.Equal(i, "\xc6\xfc\xcb\xdc\n", git(i, "bundled", "log", "-1", "--encoding=EUC-JP", "--format=%s"))

	git(i, "", "daemon", "--detach", "--listen=127.0.0.1", "--export-all", "--base-path=/srv/git")
	require.NoError(i, i.Dial("tcp", "127.0.0.1:9418").Close())
	git(i, "", "clone", "--quiet", "--depth", "1", "git://localhost/library.git", "shallow")
	require.Contains(i, gitFails(i, "", "clone", gitSSH+"absent.git"), "does not appear to be a git repository")
	require.Contains(i, gitFails(i, "", "clone", gitHTTPS+"absent.git"), "not found")
	require.Contains(i, gitFails(i, "", "-c", "http.sslCAInfo=/etc/ssl/certs/ca-certificates.crt", "clone", gitHTTPS+"project.git", "untrusted"), "certificate")
	r = i.Exec(Process{Args: []string{"ssh", "-p", "2222", "git@localhost"}})
	require.NotZero(i, r.Code)
	require.Contains(i, r.Stderr, "Interactive git shell is not enabled")
}
