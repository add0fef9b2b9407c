package ci

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// What bounds git: the time of one command and how much of its output is read, in
// bytes.
const (
	gitTimeout = 30 * time.Second
	maxGit     = 1 << 20
)

// Checkout is a git repository's state.
type Checkout struct {
	// Repository is the URL of the remote, without credentials, or empty.
	Repository string
	// Commit is what is checked out, and Ref the branch or tag that it was
	// checked out by, or empty.
	Commit, Ref string
	// Dirty says that there are files that the commit does not have, or has with
	// other content.
	Dirty bool
	// Dir is the directory that was asked for, relative to the top of the
	// repository, with slashes; "." for the top itself.
	Dir string
}

// readCheckout asks the git command line about dir. It gives nil and a notice when
// git cannot say anything.
func readCheckout(ctx context.Context, dir string, ignore []string) (*Checkout, string, error) {
	g := git{dir: dir}
	top, err := g.run(ctx, "rev-parse", "--show-toplevel")
	if err != nil {
		if ctx.Err() != nil {
			return nil, "", ctx.Err()
		}
		return nil, notice(err), nil
	}
	// The paths of the user need not be the ones that git resolved.
	prefix, err := g.run(ctx, "rev-parse", "--show-prefix")
	if err != nil {
		return nil, notice(err), ctx.Err()
	}
	c := &Checkout{Dir: filepath.ToSlash(filepath.Clean("./" + prefix))}
	if c.Commit, err = g.run(ctx, "rev-parse", "--verify", "HEAD^{commit}"); err != nil || !commitPattern.MatchString(c.Commit) {
		return nil, "the git repository has no commit yet", ctx.Err()
	}
	if c.Ref, err = g.run(ctx, "symbolic-ref", "--quiet", "HEAD"); err != nil {
		c.Ref = ""
		// A commit with one tag was most likely checked out by it.
		if tags, err := g.run(ctx, "tag", "--points-at", "HEAD"); err == nil && tags != "" && !strings.Contains(tags, "\n") {
			c.Ref = "refs/tags/" + tags
		}
	}
	c.Ref = clean(c.Ref)
	c.Repository = g.remote(ctx)
	status, err := g.run(ctx, append([]string{"status", "--porcelain=v1", "--untracked-files=normal", "--ignore-submodules=none", "--", top}, exclude(top, ignore)...)...)
	switch {
	case ctx.Err() != nil:
		return nil, "", ctx.Err()
	case err != nil:
		return nil, notice(err), nil
	}
	c.Dirty = status != ""
	return c, "", nil
}

// exclude are git's pathspecs for what the build itself writes.
func exclude(top string, paths []string) []string {
	var out []string
	for _, path := range paths {
		abs, err := filepath.Abs(path)
		if err != nil {
			continue
		}
		// git compares real paths; the last element need not exist yet.
		if real, err := filepath.EvalSymlinks(filepath.Dir(abs)); err == nil {
			abs = filepath.Join(real, filepath.Base(abs))
		}
		if rel, err := filepath.Rel(top, abs); err == nil && filepath.IsLocal(rel) && rel != "." {
			out = append(out, ":(top,exclude,literal)"+filepath.ToSlash(rel))
		}
	}
	return out
}

// git runs git in a directory.
type git struct{ dir string }

// remote is the URL of the remote that the branch follows, or of origin, or of the
// only one.
func (g git) remote(ctx context.Context) string {
	candidates := []string{"origin"}
	if branch, err := g.run(ctx, "symbolic-ref", "--quiet", "--short", "HEAD"); err == nil {
		if name, err := g.run(ctx, "config", "--get", "branch."+branch+".remote"); err == nil {
			candidates = append([]string{name}, candidates...)
		}
	}
	if all, err := g.run(ctx, "remote"); err == nil && all != "" && !strings.Contains(all, "\n") {
		candidates = append(candidates, all)
	}
	for _, name := range candidates {
		if address, err := g.run(ctx, "remote", "get-url", "--", name); err == nil {
			if repository := RepositoryURL(address); repository != "" {
				return clean(repository)
			}
		}
	}
	return ""
}

// gitError is what git said when it failed.
type gitError struct {
	words string
	err   error
}

func (e *gitError) Error() string { return fmt.Sprintf("git: %v: %s", e.err, e.words) }
func (e *gitError) Unwrap() error { return e.err }

// run returns what git prints, without space around it. No hook and no file system
// monitor of the repository is started, no lock is taken and nobody is asked.
func (g git) run(ctx context.Context, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, gitTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, "git", append([]string{
		"-c", "core.fsmonitor=false", "-c", "core.hooksPath=" + os.DevNull, "-c", "core.untrackedCache=false", "-C", g.dir,
	}, args...)...)
	cmd.Env = append(os.Environ(), "GIT_OPTIONAL_LOCKS=0", "GIT_TERMINAL_PROMPT=0", "LC_ALL=C")
	cmd.WaitDelay = time.Second
	var out, words limitedBuffer
	cmd.Stdout, cmd.Stderr = &out, &words
	if err := cmd.Run(); err != nil {
		return "", &gitError{words: strings.TrimSpace(words.String()), err: err}
	}
	return strings.TrimSpace(out.String()), nil
}

// notice says why git knew nothing, or nothing when there simply is no repository.
func notice(err error) string {
	var failed *gitError
	switch {
	case errors.Is(err, exec.ErrNotFound):
		return "there is no git command, so that the source commit is not known"
	case errors.As(err, &failed) && strings.Contains(failed.words, "dubious ownership"):
		return "git refuses the repository because it belongs to somebody else: run git config --global --add safe.directory with its directory"
	case errors.As(err, &failed) && strings.Contains(failed.words, "not a git repository"):
		return "the build context is not in a git repository, so that the source commit is not known"
	}
	return "git could not be asked for the source commit"
}

// limitedBuffer keeps the beginning of what is written to it.
type limitedBuffer struct{ bytes.Buffer }

// Write implements io.Writer.
func (b *limitedBuffer) Write(p []byte) (int, error) {
	if room := maxGit - b.Len(); room > 0 {
		b.Buffer.Write(p[:min(len(p), room)])
	}
	return len(p), nil
}
