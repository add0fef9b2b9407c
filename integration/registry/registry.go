// Package registry starts Debian's image registry, docker-registry, on loopback.
package registry

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/crypto/bcrypt"
)

// startLimit is how long the registry may take until it listens.
const startLimit = 30 * time.Second

// listening is the log line with the port that the kernel chose.
var listening = regexp.MustCompile(`listening on 127\.0\.0\.1:(\d+)`)

// Registry is a running registry.
type Registry struct {
	// Host is its address, "127.0.0.1:PORT", for plain HTTP.
	Host string

	cmd  *exec.Cmd
	done chan struct{}
}

// Start runs a registry that keeps its content in the directory storage, which
// may hold some already. ctx bounds the start only: call Stop to end it.
func Start(ctx context.Context, storage string) (*Registry, error) {
	return StartWithUsers(ctx, storage, nil)
}

// StartWithUsers runs a registry as Start does, which only users with these
// passwords may use. Without users everybody may.
func StartWithUsers(ctx context.Context, storage string, users map[string]string) (*Registry, error) {
	conf, err := os.MkdirTemp("", "temper-registry-")
	if err != nil {
		return nil, fmt.Errorf("start docker-registry: %w", err)
	}
	// The registry reads its configuration once, but a password file each time.
	remove := func() { os.RemoveAll(conf) }
	if len(users) == 0 {
		defer remove()
		remove = func() {}
	}
	file := filepath.Join(conf, "config.yml")
	yaml := fmt.Sprintf("version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: %q\nhttp:\n  addr: 127.0.0.1:0\n", storage)
	if len(users) > 0 {
		passwords := filepath.Join(conf, "htpasswd")
		if err := writePasswords(passwords, users); err != nil {
			return nil, fmt.Errorf("start docker-registry: %w", err)
		}
		yaml += fmt.Sprintf("auth:\n  htpasswd:\n    realm: test\n    path: %q\n", passwords)
	}
	if err := os.WriteFile(file, []byte(yaml), 0o600); err != nil {
		return nil, fmt.Errorf("start docker-registry: %w", err)
	}

	cmd := exec.Command("docker-registry", "serve", file)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		return nil, fmt.Errorf("start docker-registry: %w", err)
	}
	r := &Registry{cmd: cmd, done: make(chan struct{})}
	started, port := make(chan error), make(chan string, 1)
	go func() {
		// The parent-death signal follows the thread that started the process.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err != nil {
			remove()
			return
		}
		sc := bufio.NewScanner(stderr)
		for sc.Scan() {
			if m := listening.FindStringSubmatch(sc.Text()); m != nil {
				select {
				case port <- m[1]:
				default:
				}
			}
		}
		_, _ = io.Copy(io.Discard, stderr)
		_ = cmd.Wait() // Stop signals it, so its status says nothing
		remove()
		close(r.done)
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start docker-registry: %w: install Debian's package docker-registry", err)
	}
	select {
	case p := <-port:
		r.Host = "127.0.0.1:" + p
		return r, nil
	case <-r.done:
		return nil, errors.New("start docker-registry: it ended before it listened")
	case <-ctx.Done():
		return nil, errors.Join(fmt.Errorf("start docker-registry: %w", ctx.Err()), r.Stop())
	case <-time.After(startLimit):
		return nil, errors.Join(fmt.Errorf("start docker-registry: it did not listen within %s", startLimit), r.Stop())
	}
}

// writePasswords writes a password file as Apache's htpasswd does with bcrypt.
func writePasswords(file string, users map[string]string) error {
	var lines []byte
	for user, password := range users {
		hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
		if err != nil {
			return err
		}
		lines = fmt.Appendf(lines, "%s:%s\n", user, hash)
	}
	return os.WriteFile(file, lines, 0o600)
}

// Stop ends the registry; its storage stays.
func (r *Registry) Stop() error {
	if err := r.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop docker-registry: %w", err)
	}
	<-r.done
	return nil
}
