package container

import (
	"context"
	"os"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/integration/base"
)

// busybox is the image busybox with another configuration.
func busybox(t *testing.T, change func(*v1.Config)) v1.Image {
	t.Helper()
	l, err := base.Busybox(t.Context())
	require.NoError(t, err)
	img, err := l.Image()
	require.NoError(t, err)
	file, err := img.ConfigFile()
	require.NoError(t, err)
	cfg := file.Config.DeepCopy()
	change(cfg)
	img, err = mutate.Config(img, *cfg)
	require.NoError(t, err)
	return img
}

func TestRunAsTheImagesUser(t *testing.T) {
	for _, tt := range []struct{ user, want string }{
		{"", "uid=0(root) gid=0(root) groups=10(wheel)\n"},
		{"nobody", "uid=65534(nobody) gid=65534(nobody)\n"},
		{"65532:65532", "uid=65532 gid=65532\n"},
	} {
		out, err := Run(t.Context(), t.TempDir(), busybox(t, func(c *v1.Config) {
			c.User, c.Cmd = tt.user, []string{"id"}
		}), Options{})
		require.NoError(t, err)
		require.Equal(t, tt.want, out)
	}
}

func TestRunFailure(t *testing.T) {
	_, err := Run(t.Context(), t.TempDir(), busybox(t, func(c *v1.Config) {
		c.Cmd = []string{"sh", "-c", "echo words; exit 3"}
	}), Options{})
	require.ErrorContains(t, err, "exit status 3")
	require.ErrorContains(t, err, "words")
}

func TestGetFromInside(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c, err := Start(ctx, dir, busybox(t, func(c *v1.Config) {
		c.User, c.StopSignal = "65532", "SIGKILL"
		c.Cmd = []string{"sh", "-c", "echo hello >/tmp/index.html && exec httpd -f -p 127.0.0.1:8080 -h /tmp"}
	}), Options{})
	require.NoError(t, err)
	status, body, err := c.Get(ctx, "http://127.0.0.1:8080/index.html")
	require.NoError(t, err)
	require.Equal(t, 200, status)
	require.Equal(t, "hello\n", body)
	uid, _, err := c.IDs()
	require.NoError(t, err)
	require.EqualValues(t, 65532, uid)
	require.NoError(t, c.Stop())
	require.NoError(t, os.RemoveAll(dir), "nothing may stay mounted")
}

func TestGetFromAContainerThatEnds(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c, err := Start(ctx, t.TempDir(), busybox(t, func(c *v1.Config) {
		c.Cmd = []string{"sh", "-c", "sleep 0.5; echo last words; exit 1"}
	}), Options{})
	require.NoError(t, err)
	_, _, err = c.Get(ctx, "http://127.0.0.1:8080/")
	require.ErrorContains(t, err, "last words")
	require.NoError(t, c.Stop())
}
