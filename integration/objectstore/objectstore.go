// Package objectstore starts real object stores on loopback: an S3 server
// (versitygw), a Google Cloud Storage server (fake-gcs-server) and an Azure Blob
// server (azurite), each with an empty bucket. .ci/stores builds them.
package objectstore

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"github.com/temper-images/temper/integration/tools"
)

// startLimit is how long a server may take until it answers.
const startLimit = time.Minute

// Kind is a kind of store.
type Kind string

// The kinds.
const (
	S3    Kind = "s3"
	GCS   Kind = "gcs"
	Azure Kind = "azure"
)

// Bucket is the name of the bucket, or container, that each server has.
const Bucket = "evidence"

// Server is a running store.
type Server struct {
	Kind Kind
	// Addr is where it listens, "127.0.0.1:PORT", for plain HTTP. It stays the
	// same when the server is started again.
	Addr string
	// Account and Secret open it: access key and secret key, or account and
	// account key. The Google Cloud Storage server asks for none.
	Account, Secret string

	dir  string
	cmd  *exec.Cmd
	done chan struct{}
}

// Start starts a server that keeps its content in dir, an absolute path. ctx bounds
// the start only: call Kill to end it.
func Start(ctx context.Context, kind Kind, dir string) (*Server, error) {
	secret := make([]byte, 30)
	_, _ = rand.Read(secret) // never fails
	s := &Server{Kind: kind, Account: "temper", Secret: base64.StdEncoding.EncodeToString(secret), dir: dir}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("start %s store: %w", kind, err)
	}
	s.Addr = l.Addr().String()
	if err := l.Close(); err != nil {
		return nil, fmt.Errorf("start %s store: %w", kind, err)
	}
	if err := s.Restart(ctx); err != nil {
		return nil, err
	}
	if err := s.makeBucket(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("make a bucket in the %s store: %w", kind, err), s.Kill())
	}
	return s, nil
}

func (s *Server) command() (*exec.Cmd, error) {
	host, port, err := net.SplitHostPort(s.Addr)
	if err != nil {
		return nil, err
	}
	data := filepath.Join(s.dir, "data")
	for _, dir := range []string{data, filepath.Join(s.dir, "iam")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, err
		}
	}
	switch s.Kind {
	case S3:
		cmd := exec.Command(tools.Path("versitygw"), "--port", s.Addr, "--iam-dir", filepath.Join(s.dir, "iam"), "posix", data)
		cmd.Env = append(os.Environ(), "ROOT_ACCESS_KEY="+s.Account, "ROOT_SECRET_KEY="+s.Secret)
		return cmd, nil
	case GCS:
		return exec.Command(tools.Path("fake-gcs-server"), "-scheme", "http", "-host", host, "-port", port, "-public-host", s.Addr,
			"-backend", "filesystem", "-filesystem-root", data), nil
	case Azure:
		cmd := exec.Command(filepath.Join(tools.Path("azurite"), "node_modules", ".bin", "azurite-blob"), "--blobHost", host, "--blobPort", port,
			"--location", data, "--skipApiVersionCheck", "--disableTelemetry", "--silent")
		cmd.Env = append(os.Environ(), "AZURITE_ACCOUNTS="+s.Account+":"+s.Secret)
		return cmd, nil
	}
	return nil, fmt.Errorf("unknown kind %q", s.Kind)
}

// Restart starts the server again on its address, with the content that it had.
func (s *Server) Restart(ctx context.Context) error {
	cmd, err := s.command()
	if err != nil {
		return fmt.Errorf("start %s store: %w", s.Kind, err)
	}
	log, err := os.OpenFile(filepath.Join(s.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("start %s store: %w", s.Kind, err)
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	s.cmd, s.done = cmd, make(chan struct{})
	started := make(chan error)
	go func() {
		// The parent-death signal follows the thread that started the process.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // Kill ends it, so its status says nothing
			close(s.done)
		}
	}()
	if err := <-started; err != nil {
		return fmt.Errorf("start %s store: %w: run .ci/stores", s.Kind, err)
	}
	return s.ready(ctx)
}

func (s *Server) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.Addr+"/", nil)
		if err != nil {
			return err
		}
		resp, err := http.DefaultClient.Do(req)
		if err == nil {
			return resp.Body.Close()
		}
		select {
		case <-s.done:
			log, _ := os.ReadFile(filepath.Join(s.dir, "log"))
			return fmt.Errorf("start %s store: it ended: %s", s.Kind, log)
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("start %s store: it does not answer: %w", s.Kind, err), s.Kill())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Kill ends the server at once, in the middle of whatever it does. Its content
// stays.
func (s *Server) Kill() error {
	if err := s.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("kill %s store: %w", s.Kind, err)
	}
	<-s.done
	return nil
}
