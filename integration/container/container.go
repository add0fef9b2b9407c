// Package container runs an image in a real container, under runc or crun: as
// the image's own user, with a root filesystem, processes and network of its own
// that has only a loopback device, and without new privileges.
package container

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// stopLimit is how long a container may take to end after its stop signal.
const stopLimit = 10 * time.Second

// Options change how a container runs.
type Options struct {
	// Runtime is the OCI runtime's command; empty means runc.
	Runtime string
	// Args replace entrypoint and command.
	Args []string
	// Env are variables, "NAME=value", besides the image's own.
	Env []string
	// User replaces the image's user, in the same form.
	User string
	// ReadOnly makes the root filesystem read-only.
	ReadOnly bool
	// Mounts are files and directories of this machine.
	Mounts []Mount
	// Network is the network to run in; nil means one of its own.
	Network *Network
	// Root is a directory that holds the image's files already, see Unpack. Empty
	// means that they are unpacked.
	Root string
	// Stdin is what the command reads; nil means nothing.
	Stdin io.Reader
}

// Mount shows a file or directory of this machine in a container.
type Mount struct {
	// Source is the path on this machine, Target the one in the container, where
	// an empty file or directory is made for it.
	Source, Target string
	// Writable lets the container write to it.
	Writable bool
}

// Container is a running container.
type Container struct {
	// Root is the directory of its root filesystem.
	Root string

	id      string
	dir     string
	runtime string
	stop    string
	process *specs.Process
	out     output
	cmd     *exec.Cmd
	pid     int
	done    chan struct{}
}

// Start unpacks the image below dir and starts its command. ctx bounds the start
// only: call Stop to end the container.
func Start(ctx context.Context, dir string, img v1.Image, opt Options) (*Container, error) {
	c, err := prepare(ctx, dir, img, opt)
	if err != nil {
		return nil, fmt.Errorf("start container: %w", err)
	}
	pidFile := filepath.Join(dir, "pid")
	c.cmd = exec.Command(c.runtime, c.state("run", "--bundle", dir, "--pid-file", pidFile, c.id)...)
	c.cmd.Stdin, c.cmd.Stdout, c.cmd.Stderr = opt.Stdin, &c.out, &c.out
	if err := c.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start container: %w: install Debian's package %s", err, c.runtime)
	}
	go func() {
		_ = c.cmd.Wait() // its status is read from ProcessState
		close(c.done)
	}()
	for c.pid == 0 {
		// The runtime writes the file whole, under another name first.
		if dt, err := os.ReadFile(pidFile); err == nil {
			if _, err := fmt.Sscan(string(dt), &c.pid); err != nil {
				return nil, errors.Join(fmt.Errorf("start container: read %s: %w", pidFile, err), c.Stop())
			}
			break
		}
		select {
		case <-c.done:
			return nil, errors.Join(fmt.Errorf("start container: it ended at once (%s)\n%s", c.cmd.ProcessState, c.out.String()), c.Stop())
		case <-ctx.Done():
			return nil, errors.Join(fmt.Errorf("start container: %w", ctx.Err()), c.Stop())
		case <-time.After(20 * time.Millisecond):
		}
	}
	return c, nil
}

// Run runs a container until it ends and returns what it printed. It is an error
// when its command fails; the output is in the error then.
func Run(ctx context.Context, dir string, img v1.Image, opt Options) (string, error) {
	r, err := Execute(ctx, dir, img, opt)
	if err == nil && r.Code != 0 {
		err = fmt.Errorf("run container: exit status %d\n%s%s", r.Code, r.Stdout, r.Stderr)
	}
	return r.Stdout + r.Stderr, err
}

// Execute runs a container until it ends. That its command fails is no error.
func Execute(ctx context.Context, dir string, img v1.Image, opt Options) (Result, error) {
	c, err := prepare(ctx, dir, img, opt)
	if err != nil {
		return Result{}, fmt.Errorf("run container: %w", err)
	}
	cmd := exec.CommandContext(ctx, c.runtime, c.state("run", "--bundle", dir, c.id)...)
	close(c.done)
	r, err := result(cmd, opt.Stdin)
	if err := errors.Join(err, c.remove()); err != nil {
		return Result{}, fmt.Errorf("run container: %w", err)
	}
	return r, nil
}

// prepare makes the bundle (OCI runtime-spec, bundle.md).
func prepare(ctx context.Context, dir string, img v1.Image, opt Options) (*Container, error) {
	if opt.Runtime == "" {
		opt.Runtime = "runc"
	}
	c := &Container{
		Root: filepath.Join(dir, "rootfs"), id: "temper-" + strings.ToLower(rand.Text()[:12]),
		dir: dir, runtime: opt.Runtime, stop: "TERM", done: make(chan struct{}),
	}
	if opt.Root != "" {
		c.Root = opt.Root
	} else {
		if err := os.MkdirAll(c.Root, 0o755); err != nil {
			return nil, err
		}
		if err := Unpack(ctx, img, c.Root); err != nil {
			return nil, err
		}
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	file, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	if file.Config.StopSignal != "" {
		c.stop = strings.TrimPrefix(file.Config.StopSignal, "SIG")
	}
	for name, content := range map[string]string{
		"hosts": "127.0.0.1 localhost\n127.0.0.1 temper\n", "resolv.conf": "", "hostname": "temper\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			return nil, err
		}
	}
	s, err := spec(c.Root, dir, file.Config, opt)
	if err != nil {
		return nil, err
	}
	c.process = s.Process
	dt, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	return c, os.WriteFile(filepath.Join(dir, "config.json"), dt, 0o600)
}

// state puts the runtime's own state below the container's directory.
func (c *Container) state(args ...string) []string {
	return append([]string{"--root", filepath.Join(c.dir, "state")}, args...)
}

// Output is what the container has printed.
func (c *Container) Output() string { return c.out.String() }

// Ended is closed when the container's first process has ended.
func (c *Container) Ended() <-chan struct{} { return c.done }

// IDs returns the user and group ID under which the container's first process
// runs, as the kernel has them.
func (c *Container) IDs() (uid, gid uint32, err error) {
	dt, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.pid))
	if err != nil {
		return 0, 0, fmt.Errorf("read the container's user: %w", err)
	}
	for line := range strings.Lines(string(dt)) {
		// Each line has the real, effective, saved and file system ID.
		if rest, ok := strings.CutPrefix(line, "Uid:"); ok {
			_, err = fmt.Sscan(rest, &uid)
		} else if rest, ok := strings.CutPrefix(line, "Gid:"); ok {
			_, err = fmt.Sscan(rest, &gid)
		}
		if err != nil {
			return 0, 0, fmt.Errorf("read the container's user: %q: %w", line, err)
		}
	}
	return uid, gid, nil
}

// Stop sends the image's stop signal, waits, kills what does not end, and removes
// all traces of the container but its directory. It is an error when the
// container had to be killed.
func (c *Container) Stop() error {
	var errs []error
	if err := c.kill(c.stop); err == nil {
		select {
		case <-c.done:
		case <-time.After(stopLimit):
			errs = append(errs, fmt.Errorf("stop container: it did not end within %s of SIG%s", stopLimit, c.stop))
		}
	}
	return errors.Join(append(errs, c.remove())...)
}

// Signal sends a signal, such as "HUP", to the container's first process.
func (c *Container) Signal(name string) error {
	if err := c.kill(name); err != nil {
		return fmt.Errorf("send SIG%s to the container: %w", name, err)
	}
	return nil
}

func (c *Container) kill(signal string) error {
	return exec.Command(c.runtime, c.state("kill", c.id, signal)...).Run()
}

func (c *Container) remove() error {
	out, err := exec.Command(c.runtime, c.state("delete", "--force", c.id)...).CombinedOutput()
	if err != nil && !strings.Contains(string(out), "does not exist") {
		return fmt.Errorf("remove container: %w: %s", err, out)
	}
	<-c.done
	return nil
}
