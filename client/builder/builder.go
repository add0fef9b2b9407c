// Package builder finds a BuildKit and connects to it.
//
// The order is: the address that was named; a buildkitd whose socket lies where
// buildkitd puts it; the BuildKit inside the Docker engine; a buildkitd of our
// own. Whatever is chosen has answered.
package builder

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	bkclient "github.com/moby/buildkit/client"
	"github.com/temper-images/temper/client/daemon"
	"github.com/temper-images/temper/client/engine"
)

// Ephemeral as Options.Address asks for a buildkitd of our own.
const Ephemeral = "ephemeral"

// Kind says what sort of BuildKit a builder is.
type Kind string

// The kinds, in the order in which they are tried.
const (
	KindNamed     Kind = "named"
	KindSocket    Kind = "buildkitd socket"
	KindDocker    Kind = "Docker engine"
	KindEphemeral Kind = "own buildkitd"
)

// Times that bound how long an answer may take. A named builder may be behind
// ssh or kubectl; the others are sockets of this machine.
const (
	namedTimeout = 10 * time.Second
	localTimeout = 3 * time.Second
)

// Options say where to look. The zero value looks everywhere.
type Options struct {
	// Address is the only place to look at when it is not empty: a URL as
	// buildctl takes it (unix, tcp, docker-container, kube-pod,
	// podman-container, nerdctl-container, ssh), or Ephemeral.
	Address string
	// TLS is for tcp addresses.
	TLS TLS
	// Sockets are the unix sockets at which a buildkitd may listen. Nil means
	// DefaultSockets.
	Sockets []string
	// DockerHost is the address of the Docker engine. Empty means DOCKER_HOST,
	// or the usual socket if it exists.
	DockerHost string
	// Daemon is for a buildkitd of our own.
	Daemon daemon.Config
}

// DefaultSockets are the sockets of a buildkitd that runs as root and of one
// that runs rootless.
func DefaultSockets() []string {
	sockets := []string{"/run/buildkit/buildkitd.sock"}
	if dir := os.Getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(dir) {
		sockets = append(sockets, filepath.Join(dir, "buildkit", "buildkitd.sock"))
	}
	return sockets
}

// Builder is a connection to a BuildKit that answers.
type Builder struct {
	*bkclient.Client
	Kind    Kind
	Address string
	// Version is what the BuildKit calls its version.
	Version string
	// Engine is set for KindDocker.
	Engine *engine.Engine

	lease *daemon.Lease
}

// String describes the builder in a few words.
func (b *Builder) String() string {
	s := fmt.Sprintf("%s at %s", b.Kind, b.Address)
	// A BuildKit that was built by go build does not know its version.
	if b.Version != "" && !strings.Contains(b.Version, "unknown") {
		s += " (BuildKit " + b.Version + ")"
	}
	return s
}

// Close ends the connection, and the daemon when it is our own and nobody else
// uses it; then it waits until the daemon has stopped or ctx is done.
func (b *Builder) Close(ctx context.Context) error {
	errs := []error{b.Client.Close()}
	if b.Engine != nil {
		errs = append(errs, b.Engine.Close())
	}
	if b.lease != nil {
		errs = append(errs, b.lease.Release(ctx))
	}
	return errors.Join(errs...)
}

// Log returns the last lines of our own daemon's log, or nothing.
func (b *Builder) Log() string {
	if b.lease == nil {
		return ""
	}
	return b.lease.LogTail()
}

// UnreachableError says that the builder that was named does not answer.
type UnreachableError struct {
	Address string
	Err     error
}

func (e *UnreachableError) Error() string {
	return fmt.Sprintf("builder %s does not answer: %v; start it, name another with --builder or BUILDKIT_HOST, or use --builder=%s", e.Address, e.Err, Ephemeral)
}

func (e *UnreachableError) Unwrap() error { return e.Err }

// NotFoundError says that no BuildKit was found, and why each place was no good.
type NotFoundError struct {
	Tried []Candidate
}

func (e *NotFoundError) Error() string {
	var b strings.Builder
	b.WriteString("no BuildKit found:")
	for _, c := range e.Tried {
		fmt.Fprintf(&b, "\n- %s at %s: %v", c.Kind, c.Address, c.Err)
	}
	b.WriteString("\nname one with --builder or BUILDKIT_HOST, or see what temper doctor says")
	return b.String()
}

// Candidate is a place where a BuildKit was looked for.
type Candidate struct {
	Kind    Kind
	Address string
	// Version is set when a BuildKit answered.
	Version string
	// Err says why it cannot be used; nil means that it can.
	Err error

	timeout time.Duration
	connect func(context.Context) (*Builder, error)
}

// Find connects to the first BuildKit that answers. The error is an
// *UnreachableError or a *NotFoundError, or says that ctx is done.
func Find(ctx context.Context, opts Options) (*Builder, error) {
	cs := opts.candidates()
	for i := range cs {
		c := &cs[i]
		b, err := c.try(ctx)
		if err == nil {
			return b, nil
		}
		if ctx.Err() != nil {
			return nil, fmt.Errorf("look for a BuildKit: %w", context.Cause(ctx))
		}
		if c.Err = err; c.Kind == KindNamed {
			return nil, &UnreachableError{Address: c.Address, Err: err}
		}
	}
	return nil, &NotFoundError{Tried: cs}
}

// Probe looks at every place without starting anything. For our own buildkitd it
// tells whether it could be started.
func Probe(ctx context.Context, opts Options) []Candidate {
	cs := opts.candidates()
	for i := range cs {
		c := &cs[i]
		if c.Kind == KindEphemeral {
			c.Err = opts.Daemon.Check()
			continue
		}
		b, err := c.try(ctx)
		if c.Err = err; err != nil {
			continue
		}
		c.Version = b.Version
		c.Err = b.Close(ctx)
	}
	return cs
}

func (o Options) candidates() []Candidate {
	own := Candidate{
		Kind: KindEphemeral, Address: o.Daemon.Describe(),
		connect: func(ctx context.Context) (*Builder, error) { return startOwn(ctx, o.Daemon) },
	}
	switch o.Address {
	case "":
	case Ephemeral:
		return []Candidate{own}
	default:
		return []Candidate{{
			Kind: KindNamed, Address: o.Address, timeout: namedTimeout,
			connect: func(ctx context.Context) (*Builder, error) { return dialNamed(ctx, o.Address, o.TLS) },
		}}
	}
	sockets := o.Sockets
	if sockets == nil {
		sockets = DefaultSockets()
	}
	var cs []Candidate
	for _, path := range sockets {
		cs = append(cs, Candidate{
			Kind: KindSocket, Address: "unix://" + path, timeout: localTimeout,
			connect: func(ctx context.Context) (*Builder, error) { return dialSocket(ctx, path) },
		})
	}
	docker := Candidate{
		Kind: KindDocker, Address: o.dockerHost(), timeout: localTimeout,
		connect: func(ctx context.Context) (*Builder, error) { return dialDocker(ctx, o.dockerHost()) },
	}
	return append(cs, docker, own)
}

// try connects and asks for the version. The timeout covers the first answer
// only: the connection outlives it.
func (c *Candidate) try(ctx context.Context) (*Builder, error) {
	b, err := within(ctx, c.timeout, c.connect)
	if err != nil {
		return nil, err
	}
	b.Kind, b.Address = c.Kind, c.Address
	version, err := within(ctx, c.timeout, func(ctx context.Context) (string, error) {
		info, err := b.Info(ctx)
		if err != nil {
			return "", err
		}
		return info.BuildkitVersion.Version, nil
	})
	if err == nil {
		b.Version = version
		err = b.usable(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, b.Close(ctx))
	}
	return b, nil
}

// within runs fn and gives up on it after d; zero means never. fn gets ctx
// itself, because connections may keep the context that they were dialled with.
func within[T any](ctx context.Context, d time.Duration, fn func(context.Context) (T, error)) (T, error) {
	if d == 0 {
		return fn(ctx)
	}
	type result struct {
		v   T
		err error
	}
	ch := make(chan result, 1)
	go func() {
		v, err := fn(ctx)
		ch <- result{v, err}
	}()
	var none T
	select {
	case r := <-ch:
		return r.v, r.err
	case <-ctx.Done():
		return none, context.Cause(ctx)
	case <-time.After(d):
		return none, fmt.Errorf("no answer within %s", d)
	}
}
