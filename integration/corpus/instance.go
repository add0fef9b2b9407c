package corpus

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/integration/container"
	"github.com/temper-images/temper/integration/image"
)

// maxBody bounds how much of an answer is read, in bytes.
const maxBody = 8 << 20

// readyLimit is how long an application may take until it answers.
const readyLimit = 30 * time.Second

// Instance is the image of an application at one level, with a root filesystem
// and a network of its own, for one of the application's two functions. All
// containers of an instance share both. It is a require.TestingT: checks take the
// instance where a test passes its T, and the first that fails ends the function.
type Instance struct {
	// Image is the built image, Root the directory where its files lie.
	Image *image.Image
	Root  string
	// Dir is an empty directory for the function's own files, which every user
	// may enter.
	Dir string

	ctx     context.Context
	bundles string
	n       int
	network *container.Network
	service *container.Container
	failure strings.Builder
}

// Process says how a command runs in a container. The zero value is the image's
// own command as the image's own user.
type Process struct {
	// Args replace entrypoint and command.
	Args []string
	// Env are variables, "NAME=value", besides the image's own.
	Env []string
	// User replaces the image's user.
	User string
	// Stdin is what the command reads.
	Stdin string
	// Mounts are files and directories of this machine. Exec ignores them.
	Mounts []container.Mount
	// ReadOnly makes the root filesystem read-only. Exec ignores it.
	ReadOnly bool
}

// Errorf implements require.TestingT.
func (i *Instance) Errorf(format string, args ...any) {
	fmt.Fprintf(&i.failure, format, args...)
}

// FailNow implements require.TestingT: it ends the goroutine that calls it.
func (i *Instance) FailNow() { runtime.Goexit() }

// Until calls f until it says true; what says how long it may take.
func (i *Instance) Until(limit time.Duration, what string, f func() bool) {
	for end := time.Now().Add(limit); !f(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) || i.ctx.Err() != nil {
			require.FailNow(i, what+": not within "+limit.String())
		}
	}
}

// Helper is there for require, which looks for it.
func (i *Instance) Helper() {}

// Context ends when the time for the function does.
func (i *Instance) Context() context.Context { return i.ctx }

// Start runs the image's service, or another command that goes on, until the
// function ends or Stop is called. There is one at a time.
func (i *Instance) Start(p Process) {
	require.Nil(i, i.service, "a service runs already")
	c, err := container.Start(i.ctx, i.bundle(), i.Image, i.options(p))
	require.NoError(i, err)
	i.service = c
}

// Stop ends what Start started, with the image's stop signal, and returns what it
// printed.
func (i *Instance) Stop() string {
	c := i.service
	require.NotNil(i, c, "no service runs")
	i.service = nil
	require.NoError(i, c.Stop(), "%s", c.Output())
	return c.Output()
}

// Log is what the service has printed so far.
func (i *Instance) Log() string {
	require.NotNil(i, i.service, "no service runs")
	return i.service.Output()
}

// Service is the container of the running service.
func (i *Instance) Service() *container.Container { return i.service }

// Run runs a command in a container of its own until it ends. An exit status that
// is not zero is no failure.
func (i *Instance) Run(p Process) container.Result {
	r, err := container.Execute(i.ctx, i.bundle(), i.Image, i.options(p))
	require.NoError(i, err)
	return r
}

// Output runs a command like Run and returns its standard output; the command
// must succeed.
func (i *Instance) Output(args ...string) string {
	return i.succeeded(args, i.Run(Process{Args: args}))
}

// Exec runs a command in the service's container.
func (i *Instance) Exec(p Process) container.Result {
	require.NotNil(i, i.service, "no service runs")
	r, err := i.service.Exec(i.ctx, container.Process{Args: p.Args, Env: p.Env, User: p.User, Stdin: strings.NewReader(p.Stdin)})
	require.NoError(i, err)
	return r
}

// ExecOutput runs a command like Exec and returns its standard output; the
// command must succeed.
func (i *Instance) ExecOutput(args ...string) string {
	return i.succeeded(args, i.Exec(Process{Args: args}))
}

func (i *Instance) succeeded(args []string, r container.Result) string {
	require.Zero(i, r.Code, "%q: exit status %d\n%s%s", args, r.Code, r.Stdout, r.Stderr)
	return r.Stdout
}

// Dial connects to a numeric address inside the instance's network; it tries
// again while nothing listens there.
func (i *Instance) Dial(network, addr string) net.Conn {
	conn, err := i.DialContext(i.ctx, network, addr)
	require.NoError(i, err)
	return conn
}

// DialContext is Dial for the dialers of clients.
func (i *Instance) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, readyLimit)
	defer cancel()
	for {
		conn, err := i.network.Dial(ctx, network, addr)
		if err == nil {
			return conn, nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("%w%s", err, i.log())
		case <-i.ended():
			return nil, fmt.Errorf("the service ended: %w%s", err, i.log())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// ended is closed when the service has ended; nil when there is none.
func (i *Instance) ended() <-chan struct{} {
	if i.service == nil {
		return nil
	}
	return i.service.Ended()
}

func (i *Instance) log() string {
	if i.service == nil {
		return ""
	}
	return "\n" + i.service.Output()
}

// Listen listens at a numeric address inside the instance's network: what an
// application talks to can run in this process.
func (i *Instance) Listen(network, addr string) net.Listener {
	l, err := i.network.Listen(i.ctx, network, addr)
	require.NoError(i, err)
	return l
}

// Client is an HTTP client inside the instance's network. It follows no redirect,
// and every request has a connection of its own.
func (i *Instance) Client() *http.Client {
	return &http.Client{
		Transport:     &http.Transport{DialContext: i.DialContext, DisableKeepAlives: true, DisableCompression: true},
		Timeout:       readyLimit,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// Get asks for a URL with a numeric host and returns the status and the body.
func (i *Instance) Get(url string) (status int, body string) {
	res, body := i.Do(http.MethodGet, url, nil, "")
	return res.StatusCode, body
}

// Do makes an HTTP request. header may be nil.
func (i *Instance) Do(method, url string, header http.Header, body string) (*http.Response, string) {
	req, err := http.NewRequestWithContext(i.ctx, method, url, strings.NewReader(body))
	require.NoError(i, err)
	for name, values := range header {
		req.Header[name] = values
	}
	if host := header.Get("Host"); host != "" {
		req.Host = host
	}
	res, err := i.Client().Do(req)
	require.NoError(i, err, "%s", i.log())
	defer res.Body.Close()
	dt, err := io.ReadAll(io.LimitReader(res.Body, maxBody))
	require.NoError(i, err)
	return res, string(dt)
}

// File writes a file below Dir that every user may read, and returns its path.
func (i *Instance) File(name, content string) string {
	path := filepath.Join(i.Dir, name)
	require.NoError(i, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(i, os.WriteFile(path, []byte(content), 0o644))
	return path
}

// Shared makes a directory below Dir that every user may write to, to be mounted.
func (i *Instance) Shared(name string) string {
	path := filepath.Join(i.Dir, name)
	require.NoError(i, os.MkdirAll(path, 0o755))
	require.NoError(i, os.Chmod(path, 0o777))
	return path
}

// ReadOnly is the mount of a path of this machine that containers cannot change.
func ReadOnly(source, target string) container.Mount {
	return container.Mount{Source: source, Target: target}
}

// Writable is the mount of a path of this machine that containers may change.
func Writable(source, target string) container.Mount {
	return container.Mount{Source: source, Target: target, Writable: true}
}

// bundle is a new directory for a container's own files.
func (i *Instance) bundle() string {
	i.n++
	return filepath.Join(i.bundles, fmt.Sprint(i.n))
}

func (i *Instance) options(p Process) container.Options {
	return container.Options{
		Args: p.Args, Env: p.Env, User: p.User, Stdin: strings.NewReader(p.Stdin), Mounts: p.Mounts, ReadOnly: p.ReadOnly,
		Root: i.Root, Network: i.network,
	}
}

// newInstance unpacks an image below dir.
func newInstance(ctx context.Context, dir string, img *image.Image) (*Instance, error) {
	i := &Instance{Image: img, Root: filepath.Join(dir, "rootfs"), Dir: filepath.Join(dir, "files"), ctx: ctx, bundles: filepath.Join(dir, "bundles")}
	for _, d := range []string{i.Root, i.Dir, i.bundles} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return nil, err
		}
	}
	if err := container.Unpack(ctx, img, i.Root); err != nil {
		return nil, err
	}
	var err error
	i.network, err = container.NewNetwork()
	return i, err
}

// call calls a function of an application and ends what it left running.
func (i *Instance) call(f func(*Instance)) (err error) {
	done := make(chan any)
	go func() {
		// FailNow ends the goroutine; then there is nothing to recover.
		defer func() { done <- recover() }()
		f(i)
	}()
	if v := <-done; v != nil {
		i.Errorf("panic: %v", v)
	}
	if i.failure.Len() > 0 {
		err = errors.New(strings.TrimSpace(i.failure.String()))
	}
	if i.service != nil {
		stopped := i.service.Stop()
		if err == nil {
			return stopped
		}
		err = fmt.Errorf("%w\nthe service printed:\n%s", err, i.service.Output())
	}
	return err
}
