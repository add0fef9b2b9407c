// Command demo shows what Temper does, from Debian packages alone: it builds the
// nginx example with a builder that temper starts for itself, shows what hardening
// removed, runs the image as its own user and fetches a page from it.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/temper-images/temper/integration/base"
	"github.com/temper-images/temper/integration/container"
	"github.com/temper-images/temper/integration/image"
	"github.com/temper-images/temper/integration/tools"
)

// page is what the demonstration fetches.
const page = "http://127.0.0.1:8080/"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	say("making a base image like debian:bookworm from Debian packages (cached for the next time)")
	debian, err := base.Debian(ctx)
	if err != nil {
		return err
	}

	out := tools.Path("demo.oci")
	say("building examples/nginx: an ordinary Dockerfile, with temper's own builder")
	temper := exec.CommandContext(ctx, tools.Path("temper"), "build", "--builder", "ephemeral", "--progress", "plain",
		"--build-context", "debian:bookworm="+debian.Ref(), "--output", out, filepath.Join(tools.Root(), "examples", "nginx"))
	temper.Stdout, temper.Stderr = os.Stdout, os.Stderr
	// An interrupt lets temper stop the builder that it started.
	temper.Cancel = func() error { return temper.Process.Signal(os.Interrupt) }
	temper.WaitDelay = time.Minute
	if err := temper.Run(); err != nil {
		return fmt.Errorf("temper build: %w", err)
	}

	img, err := image.OpenOne(out)
	if err != nil {
		return err
	}
	layers, err := img.LayerDigests()
	if err != nil {
		return err
	}
	file, err := img.ConfigFile()
	if err != nil {
		return err
	}
	say("the image in %s has %d layer and runs as %s", out, len(layers), file.Config.User)
	return serve(ctx, img)
}

// serve runs the image in a container and fetches a page from it.
func serve(ctx context.Context, img *image.Image) (err error) {
	dir, err := os.MkdirTemp("", "temper-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	say("starting it in a container under runc, with no privileges and a network of its own")
	c, err := container.Start(ctx, dir, img, container.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Stop()) }()
	limited, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	status, body, err := c.Get(limited, page)
	if err != nil {
		return err
	}
	uid, gid, err := c.IDs()
	if err != nil {
		return err
	}
	say("%s, served by a process of uid %d, gid %d, answers %d:", page, uid, gid, status)
	fmt.Println(strings.TrimSpace(body))
	if status != 200 || uid == 0 {
		return fmt.Errorf("expected 200 from a process that is not root, got %d from uid %d", status, uid)
	}
	return nil
}

func say(format string, args ...any) { fmt.Printf("==> "+format+"\n", args...) }
