// Package daemon starts a private buildkitd for tests and the demonstration.
package daemon

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/moby/buildkit/client"
)

const (
	// startLimit is how long buildkitd may take until it answers.
	startLimit = time.Minute
	// stopLimit is how long it may take to end by itself.
	stopLimit = 20 * time.Second
)

// Daemon is a running buildkitd with a state directory and a socket of its own.
type Daemon struct {
	// Addr is the address for clients, "unix:///…".
	Addr string

	cmd  *exec.Cmd
	log  *buffer
	done chan struct{}
}

// Options change how a daemon runs. The zero value is right for most.
type Options struct {
	// Binary is the path of buildkitd; empty means the one on PATH.
	Binary string
	// Config is the content of buildkitd.toml.
	Config string
	// Args are further flags.
	Args []string
}

// Start runs buildkitd with its state below dir and waits until it answers.
// Steps share the machine's network, so that they reach the package sources that
// the machine reaches. ctx bounds the start only: call Stop to end the daemon.
func Start(ctx context.Context, dir string, opt Options) (*Daemon, error) {
	if opt.Binary == "" {
		opt.Binary = "buildkitd"
	}
	conf := filepath.Join(dir, "buildkitd.toml")
	if err := os.WriteFile(conf, []byte(opt.Config), 0o600); err != nil {
		return nil, fmt.Errorf("start buildkitd: %w", err)
	}
	d := &Daemon{Addr: "unix://" + filepath.Join(dir, "buildkitd.sock"), log: &buffer{}, done: make(chan struct{})}
	args := append([]string{
		"--config", conf, "--root", filepath.Join(dir, "root"), "--addr", d.Addr,
		"--oci-worker=true", "--containerd-worker=false", "--oci-worker-net=host", "--oci-worker-gc=false",
	}, opt.Args...)
	d.cmd = exec.Command(opt.Binary, args...)
	d.cmd.Stdout, d.cmd.Stderr = d.log, d.log
	// A daemon must not outlive a test process that is killed.
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := d.start(); err != nil {
		return nil, fmt.Errorf("start %s: %w: run make build", opt.Binary, err)
	}
	if err := d.wait(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w\n%s", opt.Binary, err, d.Log()), d.Stop())
	}
	return d, nil
}

// Log is what the daemon has printed so far.
func (d *Daemon) Log() string { return d.log.String() }

// Stop ends the daemon and everything that it started.
func (d *Daemon) Stop() error {
	if err := d.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop buildkitd: %w", err)
	}
	select {
	case <-d.done:
		return nil
	case <-time.After(stopLimit):
	}
	if err := syscall.Kill(-d.cmd.Process.Pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("stop buildkitd: %w", err)
	}
	<-d.done
	return fmt.Errorf("stop buildkitd: it did not end within %s and was killed", stopLimit)
}

// wait asks the daemon for its workers until it answers.
func (d *Daemon) wait(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	c, err := client.New(ctx, d.Addr)
	if err != nil {
		return err
	}
	defer c.Close()
	for {
		_, err := c.ListWorkers(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-d.done:
			return errors.New("it ended")
		case <-ctx.Done():
			return fmt.Errorf("no answer: %w", err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// buffer is a bytes.Buffer that a process writes while others read.
type buffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
