// Package registry starts distribution's image registry on loopback: Debian's
// docker-registry, or the newer one that .ci/registries builds.
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
	return StartWith(ctx, Config{Storage: storage, Users: users})
}

// Config says which registry to run and how.
type Config struct {
	// Program is the registry's; "" is Debian's docker-registry.
	Program string
	// Storage is the directory of the content, which may hold some already.
	Storage string
	// Users are the passwords of those who may use the registry.
	Users map[string]string
	// Tokens has users present tokens that others sign instead; nil is nobody.
	Tokens *Tokens
}

// Tokens is what a registry needs to know to take tokens.
type Tokens struct {
	// Realm is the URL that hands them out; Service names the registry to it.
	Realm, Service string
	// Issuer signs them with a key of the key set JWKS, JSON (RFC 7517).
	Issuer string
	JWKS   []byte
}

// StartWith runs a registry as Start does.
func StartWith(ctx context.Context, c Config) (*Registry, error) {
	if c.Program == "" {
		c.Program = "docker-registry"
	}
	program := filepath.Base(c.Program)
	conf, err := os.MkdirTemp("", "temper-registry-")
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", program, err)
	}
	// The registry reads its configuration once, but a password file each time.
	remove := func() { os.RemoveAll(conf) }
	if len(c.Users) == 0 {
		defer remove()
		remove = func() {}
	}
	file := filepath.Join(conf, "config.yml")
	yaml := fmt.Sprintf("version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: %q\nhttp:\n  addr: 127.0.0.1:0\n", c.Storage)
	switch {
	case len(c.Users) > 0:
		passwords := filepath.Join(conf, "htpasswd")
		if err := writePasswords(passwords, c.Users); err != nil {
			return nil, fmt.Errorf("start %s: %w", program, err)
		}
		yaml += fmt.Sprintf("auth:\n  htpasswd:\n    realm: test\n    path: %q\n", passwords)
	case c.Tokens != nil:
		keys := filepath.Join(conf, "jwks.json")
		if err := os.WriteFile(keys, c.Tokens.JWKS, 0o600); err != nil {
			return nil, fmt.Errorf("start %s: %w", program, err)
		}
		yaml += fmt.Sprintf("auth:\n  token:\n    realm: %q\n    service: %q\n    issuer: %q\n    jwks: %q\n", c.Tokens.Realm, c.Tokens.Service, c.Tokens.Issuer, keys)
	}
	if err := os.WriteFile(file, []byte(yaml), 0o600); err != nil {
		return nil, fmt.Errorf("start %s: %w", program, err)
	}

	cmd := exec.Command(c.Program, "serve", file)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", program, err)
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
		return nil, fmt.Errorf("start %s: %w: install Debian's package docker-registry, or run .ci/registries", program, err)
	}
	select {
	case p := <-port:
		r.Host = "127.0.0.1:" + p
		return r, nil
	case <-r.done:
		return nil, fmt.Errorf("start %s: it ended before it listened", program)
	case <-ctx.Done():
		return nil, errors.Join(fmt.Errorf("start %s: %w", program, ctx.Err()), r.Stop())
	case <-time.After(startLimit):
		return nil, errors.Join(fmt.Errorf("start %s: it did not listen within %s", program, startLimit), r.Stop())
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
		return fmt.Errorf("stop %s: %w", filepath.Base(r.cmd.Path), err)
	}
	<-r.done
	return nil
}
