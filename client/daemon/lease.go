package daemon

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/gofrs/flock"
	bkclient "github.com/moby/buildkit/client"
)

// Times that decide how long starting and stopping may take.
const (
	startTimeout = 60 * time.Second
	pollInterval = 25 * time.Millisecond
	infoTimeout  = 2 * time.Second
	// killDelay is how long buildkitd has for an orderly end.
	killDelay = 10 * time.Second
	// handOver is how long the supervisor may take to see that the last lease
	// is gone. It waits inside the kernel, so this is generous.
	handOver = 500 * time.Millisecond
	// startAttempts covers the daemon that somebody else is just stopping.
	startAttempts = 3
)

// StartError says that buildkitd did not come up.
type StartError struct {
	// Reason is what was seen.
	Reason error
	// Log is where buildkitd and its supervisor write, and Tail its last lines.
	Log  string
	Tail string
}

func (e *StartError) Error() string {
	if e.Tail == "" {
		return fmt.Sprintf("start buildkitd: %v (log: %s)", e.Reason, e.Log)
	}
	return fmt.Sprintf("start buildkitd: %v; the end of %s:\n%s", e.Reason, e.Log, indent(e.Tail))
}

func (e *StartError) Unwrap() error { return e.Reason }

// Lease keeps a daemon running until it is released or this process ends.
type Lease struct {
	plan *plan
	lock *flock.Flock
}

// Start returns a lease on a daemon that answers. It starts the daemon if
// nobody has. Errors are a *MissingError, a *StartError or what a file said.
func Start(ctx context.Context, cfg Config) (*Lease, error) {
	p, err := cfg.plan()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, startTimeout, fmt.Errorf("no answer within %s", startTimeout))
	defer cancel()
	l := &Lease{plan: p, lock: flock.New(p.leaseLock())}
	// This waits while a supervisor that saw no lease stops its daemon.
	if _, err := l.lock.TryRLockContext(ctx, pollInterval); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, fmt.Errorf("take a lease on buildkitd in %s: %w", p.StateDir, err)
	}
	for range startAttempts {
		if err = l.attempt(ctx); err == nil {
			return l, nil
		}
		if ctx.Err() != nil {
			err = context.Cause(ctx)
			break
		}
	}
	tail := l.LogTail()
	return nil, errors.Join(&StartError{Reason: err, Log: p.logFile(), Tail: tail}, l.lock.Close())
}

// Address is where the daemon listens, as a URL.
func (l *Lease) Address() string { return l.plan.address() }

// LogTail returns the last lines of the daemon's log.
func (l *Lease) LogTail() string { return tail(l.plan.logFile()) }

// Release gives the lease back. When it was the last one, Release waits until
// the daemon has stopped, the context is done or the daemon had its time.
func (l *Lease) Release(ctx context.Context) error {
	if err := l.lock.Close(); err != nil {
		return fmt.Errorf("release the lease on buildkitd: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, killDelay+handOver)
	defer cancel()
	noticed := time.After(handOver)
	for {
		supervised, err := held(l.plan.supervisorLock())
		if err != nil || !supervised {
			return err
		}
		shared, err := shared(l.plan.leaseLock())
		if err != nil || shared {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-noticed:
			if stopping, err := held(l.plan.leaseLock()); err != nil || !stopping {
				return err
			}
			noticed = nil
		case <-time.After(pollInterval):
		}
	}
}

// attempt brings a supervisor up if there is none and waits for an answer.
func (l *Lease) attempt(ctx context.Context) error {
	supervised, err := held(l.plan.supervisorLock())
	if err != nil {
		return err
	}
	var ended <-chan error
	if !supervised {
		if ended, err = l.plan.spawn(ctx); err != nil {
			return err
		}
	}
	for {
		if answers(ctx, l.plan) {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case err := <-ended:
			// Another process's supervisor may have been faster than ours.
			ended = nil
			if supervised, herr := held(l.plan.supervisorLock()); herr != nil || !supervised {
				return errors.Join(fmt.Errorf("it ended at once: %w", err), herr)
			}
		case <-time.After(pollInterval):
		}
		if ended == nil {
			if supervised, err := held(l.plan.supervisorLock()); err != nil || !supervised {
				return errors.Join(errors.New("its supervisor ended"), err)
			}
		}
	}
}

// spawn starts a supervisor in a session of its own, so that neither a terminal
// nor the end of this process stops it before it has cleaned up.
func (p *plan) spawn(ctx context.Context) (<-chan error, error) {
	arg, err := json.Marshal(p)
	if err != nil {
		return nil, fmt.Errorf("encode the supervisor's argument: %w", err)
	}
	log, err := os.OpenFile(p.logFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the log of buildkitd: %w", err)
	}
	defer log.Close()
	cmd := exec.CommandContext(context.WithoutCancel(ctx), p.Program, "daemon", "supervise", string(arg))
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the supervisor of buildkitd: %w", err)
	}
	ended := make(chan error, 1)
	go func() {
		if err := cmd.Wait(); err != nil {
			ended <- err
			return
		}
		ended <- errors.New("the supervisor ended without an error")
	}()
	return ended, nil
}

func answers(ctx context.Context, p *plan) bool {
	if _, err := os.Stat(p.socket()); err != nil {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, infoTimeout)
	defer cancel()
	c, err := bkclient.New(ctx, p.address())
	if err != nil {
		return false
	}
	defer c.Close()
	_, err = c.Info(ctx)
	return err == nil
}

// held says whether any process has locked path.
func held(path string) (bool, error) {
	lock := flock.New(path)
	defer lock.Close()
	got, err := lock.TryLock()
	if err != nil {
		return false, fmt.Errorf("look at lock %s: %w", path, err)
	}
	return !got, nil
}

// shared says whether processes have locked path together.
func shared(path string) (bool, error) {
	locked, err := held(path)
	if err != nil || !locked {
		return false, err
	}
	lock := flock.New(path)
	defer lock.Close()
	got, err := lock.TryRLock()
	if err != nil {
		return false, fmt.Errorf("look at lock %s: %w", path, err)
	}
	return got, nil
}

// The part of a log that is shown in an error.
const (
	tailBytes = 8 << 10
	tailLines = 20
)

func tail(path string) string {
	f, err := os.Open(filepath.Clean(path))
	if err != nil {
		return ""
	}
	defer f.Close()
	if fi, err := f.Stat(); err == nil && fi.Size() > tailBytes {
		if _, err := f.Seek(-tailBytes, io.SeekEnd); err != nil {
			return ""
		}
	}
	dt, err := io.ReadAll(io.LimitReader(f, tailBytes))
	if err != nil {
		return ""
	}
	lines := bytes.Split(bytes.TrimSpace(dt), []byte("\n"))
	return string(bytes.Join(lines[max(0, len(lines)-tailLines):], []byte("\n")))
}

func indent(s string) string {
	return "  " + strings.ReplaceAll(s, "\n", "\n  ")
}
