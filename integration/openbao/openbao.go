// Package openbao starts OpenBao, a server of Vault's API, on loopback.
package openbao

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"

	"github.com/temper-images/temper/integration/tools"
)

// startLimit is how long the server may take until it answers.
const startLimit = time.Minute

// Token is the root token of every server.
const Token = "root-token-of-the-test-server"

// Server is a running server, unsealed, with a KV engine of version 2 at secret/.
type Server struct {
	// Addr is its address, "http://127.0.0.1:PORT".
	Addr string

	home string
	cmd  *exec.Cmd
	done chan struct{}
}

// Start runs a server that keeps everything in memory. ctx bounds the start only:
// call Stop to end it.
func Start(ctx context.Context) (*Server, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("start OpenBao: %w", err)
	}
	addr := l.Addr().String()
	_ = l.Close() // the server takes no listener, only a port
	home, err := os.MkdirTemp("", "temper-openbao-")
	if err != nil {
		return nil, fmt.Errorf("start OpenBao: %w", err)
	}
	cmd := exec.Command(tools.Path("bao"), "server", "-dev", "-dev-root-token-id="+Token, "-dev-listen-address="+addr, "-dev-no-store-token")
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + home}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	s := &Server{Addr: "http://" + addr, home: home, cmd: cmd, done: make(chan struct{})}
	started := make(chan error)
	go func() {
		// The parent-death signal follows the thread that started the process.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // Stop signals it, so its status says nothing
		}
		os.RemoveAll(home)
		close(s.done)
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start OpenBao: %w: build it with .ci/openbao", err)
	}
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	for {
		if _, err := s.Do(ctx, http.MethodGet, "sys/health", nil); err == nil {
			return s, nil
		}
		select {
		case <-s.done:
			return nil, fmt.Errorf("start OpenBao: it ended before it answered: %s", output.Bytes())
		case <-ctx.Done():
			return nil, errors.Join(fmt.Errorf("start OpenBao: it did not answer: %w", ctx.Err()), s.Stop())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// Do sends a request to the API as root and returns the answer's data.
func (s *Server) Do(ctx context.Context, method, path string, body any) (map[string]any, error) {
	var content io.Reader
	if body != nil {
		dt, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		content = bytes.NewReader(dt)
	}
	req, err := http.NewRequestWithContext(ctx, method, s.Addr+"/v1/"+path, content)
	if err != nil {
		return nil, err
	}
	req.Header.Set("X-Vault-Token", Token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	dt, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode >= 300 {
		return nil, fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, dt)
	}
	var answer struct {
		Data map[string]any `json:"data"`
		Auth map[string]any `json:"auth"`
	}
	if len(dt) > 0 {
		if err := json.Unmarshal(dt, &answer); err != nil {
			return nil, fmt.Errorf("%s %s: %w", method, path, err)
		}
	}
	if answer.Auth != nil {
		return answer.Auth, nil
	}
	return answer.Data, nil
}

// Stop ends the server; its content goes with it.
func (s *Server) Stop() error {
	if err := s.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop OpenBao: %w", err)
	}
	<-s.done
	return nil
}
