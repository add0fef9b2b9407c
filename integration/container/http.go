package container

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// maxBody bounds how much of an answer is read, in bytes.
const maxBody = 1 << 20

// Get asks the container for a URL of its own network, such as
// "http://127.0.0.1:8080/", and tries again while nothing listens there, until
// ctx ends.
func (c *Container) Get(ctx context.Context, url string) (status int, body string, err error) {
	transport := &http.Transport{DialContext: c.dial, DisableKeepAlives: true}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: 10 * time.Second}
	for {
		status, body, err = get(ctx, client, url)
		if err == nil || !errors.Is(err, syscall.ECONNREFUSED) && !errors.Is(err, errGone) {
			return status, body, err
		}
		select {
		case <-c.done:
			return 0, "", fmt.Errorf("get %s: the container ended (%s)\n%s", url, c.cmd.ProcessState, c.out.String())
		case <-ctx.Done():
			return 0, "", fmt.Errorf("get %s: %w (%w)", url, ctx.Err(), err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func get(ctx context.Context, client *http.Client, url string) (int, string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, "", err
	}
	res, err := client.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	dt, err := io.ReadAll(io.LimitReader(res.Body, maxBody))
	if err != nil {
		return 0, "", fmt.Errorf("read the answer of %s: %w", url, err)
	}
	return res.StatusCode, string(dt), nil
}

// errGone says that the container's first process is no longer there.
var errGone = errors.New("the container has ended")

// dial connects inside the container's network namespace. The socket is made on
// a thread that has entered the namespace; the thread is given up afterwards,
// since the runtime ends a locked thread with its goroutine.
func (c *Container) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	type result struct {
		conn net.Conn
		err  error
	}
	done := make(chan result, 1)
	go func() {
		runtime.LockOSThread()
		conn, err := func() (net.Conn, error) {
			ns, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", c.pid))
			if errors.Is(err, os.ErrNotExist) {
				return nil, errGone
			}
			if err != nil {
				return nil, fmt.Errorf("enter the container's network: %w", err)
			}
			defer ns.Close()
			if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
				return nil, fmt.Errorf("enter the container's network: %w", err)
			}
			return (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, network, addr)
		}()
		done <- result{conn, err}
	}()
	r := <-done
	return r.conn, r.err
}
