package container

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"sync"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// Result is how a command ended.
type Result struct {
	Stdout, Stderr string
	// Code is its exit status.
	Code int
}

// Process is a further command in a running container. It has the rights of the
// container's first process, and its environment.
type Process struct {
	Args []string
	// Env are variables, "NAME=value", besides the container's own.
	Env []string
	// User replaces the container's user; in the same form as an image's.
	User string
	// Dir is the working directory; empty means the image's.
	Dir string
	// Stdin is what the command reads; nil means nothing.
	Stdin io.Reader
}

// Exec runs a command in the container until it ends. That the command fails is
// no error.
func (c *Container) Exec(ctx context.Context, p Process) (Result, error) {
	proc := *c.process
	proc.Args, proc.Env, proc.Cwd = p.Args, append(slices.Clone(proc.Env), p.Env...), cmp.Or(p.Dir, proc.Cwd)
	if p.User != "" {
		who, err := lookupUser(c.Root, p.User)
		if err != nil {
			return Result{}, fmt.Errorf("run %q in the container: user %q: %w", p.Args, p.User, err)
		}
		proc.User = specs.User{UID: uint32(who.Uid), GID: uint32(who.Gid)}
		proc.Capabilities = rights(who.Uid)
	}
	dt, err := json.Marshal(proc)
	if err != nil {
		return Result{}, fmt.Errorf("run %q in the container: %w", p.Args, err)
	}
	file, err := os.CreateTemp(c.dir, "process-")
	if err != nil {
		return Result{}, fmt.Errorf("run %q in the container: %w", p.Args, err)
	}
	defer os.Remove(file.Name())
	_, err = file.Write(dt)
	if err := errors.Join(err, file.Close()); err != nil {
		return Result{}, fmt.Errorf("run %q in the container: %w", p.Args, err)
	}
	r, err := result(exec.CommandContext(ctx, c.runtime, c.state("exec", "--process", file.Name(), c.id)...), p.Stdin)
	if err != nil {
		return Result{}, fmt.Errorf("run %q in the container: %w", p.Args, err)
	}
	return r, nil
}

// result runs a command to its end.
func result(cmd *exec.Cmd, stdin io.Reader) (Result, error) {
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, &stdout, &stderr
	err := cmd.Run()
	r := Result{Stdout: stdout.String(), Stderr: stderr.String()}
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Exited() {
		r.Code, err = exit.ExitCode(), nil
	}
	if err != nil {
		return Result{}, fmt.Errorf("%w\n%s%s", err, r.Stdout, r.Stderr)
	}
	return r, nil
}

// output is a bytes.Buffer that a process writes while others read.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}
