// Package sbom tests catalogues and bills of materials against other people's
// tools: the command lines of Syft and Grype, validators, and docker buildx.
package sbom

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/integration/base"
	"github.com/temper-images/temper/integration/tools"
)

var scratch string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		var err error
		if scratch, err = os.MkdirTemp("", "temper-sbom-"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(scratch)
		return m.Run()
	}())
}

// bounded is a context that ends before the test program's own time limit.
func bounded(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// hardened is the layout of the nginx example, hardened.
var hardened = sync.OnceValues(func() (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	debian, err := base.Debian(ctx)
	if err != nil {
		return "", err
	}
	out := filepath.Join(scratch, "nginx.oci")
	cmd := exec.CommandContext(ctx, tools.Path("temper"), "build", "--builder", "ephemeral", "--progress", "plain",
		"--build-context", "debian:bookworm="+debian.Ref(), "--output", out, filepath.Join(tools.Root(), "examples", "nginx"))
	cmd.Env = append(os.Environ(), "SOURCE_DATE_EPOCH=1750000000")
	if log, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("temper build: %w\n%s", err, log)
	}
	return out, nil
})

// debian is the layout of a plain base.
func debian(t testing.TB) string {
	t.Helper()
	l, err := base.Debian(bounded(t))
	require.NoError(t, err)
	return l.Dir
}

// write puts an image into a new layout.
func write(t testing.TB, img v1.Image) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "image.oci")
	path, err := layout.Write(dir, empty.Index)
	require.NoError(t, err)
	require.NoError(t, path.AppendImage(img))
	return dir
}

// appended is an image with one more layer.
func appended(t testing.TB, img v1.Image, l v1.Layer) v1.Image {
	t.Helper()
	img, err := mutate.AppendLayers(img, l)
	require.NoError(t, err)
	return img
}

// command runs a program of bin and returns what it printed on standard output.
func command(t testing.TB, env []string, name string, args ...string) []byte {
	t.Helper()
	cmd := exec.CommandContext(bounded(t), tools.Path(name), args...)
	cmd.Env = append(os.Environ(), append([]string{
		"SYFT_CHECK_FOR_APP_UPDATE=false", "GRYPE_CHECK_FOR_APP_UPDATE=false", "XDG_CACHE_HOME=" + filepath.Join(scratch, "cache"),
	}, env...)...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	require.NoError(t, cmd.Run(), "%s %s\n%s", name, strings.Join(args, " "), &stderr)
	return stdout.Bytes()
}

// documents are what temper sbom writes of a layout, by file name.
func documents(t testing.TB, dir string, args ...string) map[string][]byte {
	t.Helper()
	out := filepath.Join(t.TempDir(), "documents")
	printed := command(t, nil, "temper", append([]string{"sbom", dir, "--progress", "none", "-o", out}, args...)...)
	found := map[string][]byte{}
	for line := range strings.Lines(string(printed)) {
		path := strings.TrimSpace(line)
		dt, err := os.ReadFile(path)
		require.NoError(t, err)
		found[filepath.Base(path)] = dt
	}
	require.NotEmpty(t, found)
	return found
}
