package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/gofrs/flock"
	"golang.org/x/sys/unix"
)

// Main is what the program named by Config.Program runs when its first argument
// is "daemon"; args are the arguments after it. Messages go to log.
func Main(ctx context.Context, args []string, log io.Writer) error {
	switch {
	case len(args) == 2 && args[0] == "supervise":
		var p plan
		if err := json.Unmarshal([]byte(args[1]), &p); err != nil {
			return fmt.Errorf("decode the supervisor's argument: %w", err)
		}
		return supervise(ctx, &p, log)
	case len(args) > 2 && args[0] == "isolate":
		return isolate(args[1], args[2:])
	}
	return errors.New("daemon: this command is for temper's own use")
}

// supervise runs buildkitd until no lease is left.
func supervise(ctx context.Context, p *plan, log io.Writer) error {
	own := flock.New(p.supervisorLock())
	got, err := own.TryLock()
	if err != nil {
		return fmt.Errorf("lock %s: %w", p.supervisorLock(), err)
	}
	if !got {
		return nil
	}
	defer own.Close()
	// The first line of a new life: what an earlier daemon wrote is of no use.
	if err := os.Truncate(p.logFile(), 0); err != nil {
		return fmt.Errorf("empty the log of buildkitd: %w", err)
	}
	if err := p.clear(ctx); err != nil {
		return err
	}

	ctx, stop := signal.NotifyContext(ctx, unix.SIGTERM, unix.SIGINT)
	defer stop()
	signal.Ignore(unix.SIGHUP)

	// Never closed: closing would wait for Lock. It is released with the process,
	// after buildkitd has gone, and until then no new client gets a lease.
	leases := flock.New(p.leaseLock())
	unused := make(chan error, 1)
	go func() { unused <- leases.Lock() }()

	cmd := p.command(ctx, log)
	exited := make(chan error, 1)
	started := make(chan error, 1)
	go func() {
		// Pdeathsig is sent when the thread that started the process ends, so
		// that thread must live as long as this process.
		runtime.LockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			exited <- cmd.Wait()
		}
		select {}
	}()
	if err := <-started; err != nil {
		return fmt.Errorf("start %s: %w", cmd.Path, err)
	}

	select {
	case err := <-exited:
		return fmt.Errorf("buildkitd ended by itself: %w", ended(err))
	case err := <-unused:
		if err != nil {
			fmt.Fprintf(log, "temper: wait for the last lease: %v\n", err)
		}
	case <-ctx.Done():
	}
	return p.stop(cmd.Process, exited)
}

// clear waits for a daemon that was just killed and removes what it left.
func (p *plan) clear(ctx context.Context) error {
	old := filepath.Join(p.root(), "buildkitd.lock")
	if _, err := os.Stat(old); err == nil {
		lock := flock.New(old)
		ctx, cancel := context.WithTimeout(ctx, killDelay)
		defer cancel()
		if _, err := lock.TryLockContext(ctx, pollInterval); err != nil {
			return fmt.Errorf("another buildkitd holds %s: %w", old, err)
		}
		if err := lock.Close(); err != nil {
			return fmt.Errorf("unlock %s: %w", old, err)
		}
	}
	// An empty configuration of our own keeps that of the machine's buildkitd,
	// if it has one, out of this daemon.
	if err := os.WriteFile(filepath.Join(p.StateDir, "buildkitd.toml"), nil, 0o600); err != nil {
		return fmt.Errorf("write the configuration of buildkitd: %w", err)
	}
	return p.clearRuntime()
}

// clearRuntime leaves the directory itself: the next client may have made sure
// of it already.
func (p *plan) clearRuntime() error {
	entries, err := os.ReadDir(p.RuntimeDir)
	if err != nil {
		return fmt.Errorf("clear the runtime directory of buildkitd: %w", err)
	}
	for _, e := range entries {
		if err := os.RemoveAll(filepath.Join(p.RuntimeDir, e.Name())); err != nil {
			return fmt.Errorf("clear the runtime directory of buildkitd: %w", err)
		}
	}
	return nil
}

// command is buildkitd in a PID namespace: by rootlesskit, or for root through
// isolate.
func (p *plan) command(ctx context.Context, log io.Writer) *exec.Cmd {
	args := p.Args
	attr := &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL}
	if !p.Rootless {
		args = append([]string{p.Program, "daemon", "isolate", filepath.Base(p.Runtime)}, args...)
		attr.Cloneflags = unix.CLONE_NEWPID | unix.CLONE_NEWNS
	}
	// stop ends it in order, and Pdeathsig when there is no time for that.
	cmd := exec.CommandContext(context.WithoutCancel(ctx), args[0], args[1:]...)
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = attr
	// The client fetches the daemon's spans and exports them with its own; a daemon
	// that did so too would export them twice.
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "OTEL_") })
	cmd.Env = append(cmd.Env, "XDG_RUNTIME_DIR="+p.RuntimeDir)
	return cmd
}

func (p *plan) stop(proc *os.Process, exited <-chan error) error {
	if err := proc.Signal(unix.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop buildkitd: %w", err)
	}
	select {
	case <-exited:
	case <-time.After(killDelay):
		if err := proc.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return fmt.Errorf("kill buildkitd: %w", err)
		}
		<-exited
	}
	return p.clearRuntime()
}

func ended(err error) error {
	if err == nil {
		return errors.New("exit status 0")
	}
	return err
}

// isolate becomes the given command as first process of a new PID namespace. In
// its mount namespace it sees its own processes in /proc, and its OCI runtime
// keeps its state where no other container manager looks and where it is gone
// with the namespace.
func isolate(ociRuntime string, argv []string) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return fmt.Errorf("detach the mount namespace: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mount /proc of the PID namespace: %w", err)
	}
	state := "/run/runc"
	if ociRuntime == "crun" {
		state = "/run/crun"
	}
	if err := os.MkdirAll(state, 0o700); err != nil {
		return fmt.Errorf("make the state directory of %s: %w", ociRuntime, err)
	}
	if err := unix.Mount("tmpfs", state, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0700"); err != nil {
		return fmt.Errorf("mount the state directory of %s: %w", ociRuntime, err)
	}
	return fmt.Errorf("run %s: %w", argv[0], unix.Exec(argv[0], argv, os.Environ()))
}
