package container

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// errGone says that the container's first process is no longer there.
var errGone = errors.New("the container has ended")

// Network is a network of its own that has only a loopback device, which
// containers and this process can share: peers of a container run here.
type Network struct{ ns *os.File }

// NewNetwork makes a network. Close it when no container runs in it.
func NewNetwork() (*Network, error) {
	ns, err := onThread(func() (*os.File, error) {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return nil, err
		}
		if err := loopbackUp(); err != nil {
			return nil, fmt.Errorf("start its loopback device: %w", err)
		}
		return os.Open("/proc/thread-self/ns/net")
	})
	if err != nil {
		return nil, fmt.Errorf("make a network: %w", err)
	}
	return &Network{ns: ns}, nil
}

// loopbackUp starts the loopback device of the thread's network (netdevice(7)).
func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	req, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	req.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, req)
}

// path names the network for a runtime; it is valid while this process lives.
func (n *Network) path() string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), n.ns.Fd()) }

// Close gives the network up. It lives on while sockets or processes use it.
func (n *Network) Close() error { return n.ns.Close() }

// Dial connects inside the network. addr must be numeric.
func (n *Network) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	return dial(ctx, n.ns, network, addr)
}

// Listen listens inside the network. addr must be numeric.
func (n *Network) Listen(ctx context.Context, network, addr string) (net.Listener, error) {
	return onThread(func() (net.Listener, error) {
		if err := enter(n.ns); err != nil {
			return nil, err
		}
		return (&net.ListenConfig{}).Listen(ctx, network, addr)
	})
}

// Dial connects inside the container's network; addr must be numeric.
func (c *Container) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	ns, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", c.pid))
	if errors.Is(err, os.ErrNotExist) {
		return nil, errGone
	}
	if err != nil {
		return nil, fmt.Errorf("enter the container's network: %w", err)
	}
	defer ns.Close()
	return dial(ctx, ns, network, addr)
}

func dial(ctx context.Context, ns *os.File, network, addr string) (net.Conn, error) {
	return onThread(func() (net.Conn, error) {
		if err := enter(ns); err != nil {
			return nil, err
		}
		return (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, network, addr)
	})
}

func enter(ns *os.File) error {
	if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter the container's network: %w", err)
	}
	return nil
}

// onThread calls f on a thread whose namespaces f may change: the thread is given
// up afterwards, since the runtime ends a locked thread with its goroutine.
func onThread[T any](f func() (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	go func() {
		runtime.LockOSThread()
		value, err := f()
		done <- result{value, err}
	}()
	r := <-done
	return r.value, r.err
}
