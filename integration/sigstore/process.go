package sigstore

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"github.com/temper-images/temper/integration/tools"
)

// startLimit is how long a server may take until it answers.
const startLimit = time.Minute

// process is a server that was started.
type process struct {
	cmd  *exec.Cmd
	done chan struct{}
	log  string
}

// start runs bin/NAME and waits until url answers.
func start(ctx context.Context, dir, name string, args []string, url string) (*process, error) {
	p := &process{cmd: exec.Command(tools.Path(name), args...), done: make(chan struct{}), log: filepath.Join(dir, name+".log")}
	log, err := os.Create(p.log)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	defer log.Close()
	p.cmd.Dir = dir
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	go func() {
		// The parent-death signal follows the thread that started the process.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := p.cmd.Start()
		started <- err
		if err == nil {
			_ = p.cmd.Wait() // it is killed, so its status says nothing
			close(p.done)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w: run .ci/sigstore", name, err)
	}
	if err := p.ready(ctx, url); err != nil {
		text, _ := os.ReadFile(p.log)
		return nil, errors.Join(fmt.Errorf("start %s: %w: %s", name, err, text), p.stop())
	}
	return p, nil
}

func (p *process) ready(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	for {
		if req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil); err != nil {
			return err
		} else if resp, err := http.DefaultClient.Do(req); err == nil {
			resp.Body.Close()
			if resp.StatusCode < http.StatusInternalServerError {
				return nil
			}
		}
		select {
		case <-p.done:
			return errors.New("it ended")
		case <-ctx.Done():
			return fmt.Errorf("it does not answer at %s", url)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func (p *process) stop() error {
	if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-p.done
	return nil
}

// ports are free ports of loopback.
func ports(n int) ([]string, error) {
	var found []string
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close()
		found = append(found, strconv.Itoa(l.Addr().(*net.TCPAddr).Port))
	}
	return found, nil
}
