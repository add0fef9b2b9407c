package integration

import (
	"archive/tar"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/hardening/spec"
	"github.com/temper-images/temper/integration/daemon"
	"github.com/temper-images/temper/integration/door"
	"github.com/temper-images/temper/integration/image"
	"github.com/temper-images/temper/integration/tools"
)

// The same input gives the same image manifest on builders that share nothing. On
// the native snapshotter, which copies the whole tree for each step and has the
// clock's time on every directory that it made, the directories' times are all that
// differs: the runtime stage already has them so.
func TestHardeningIsDeterministic(t *testing.T) {
	dir := contextDir(t, map[string]string{
		"app.sh": "#!/bin/sh\nexec ls -l /srv | sort\n",
		"Dockerfile": `FROM debian:bookworm-slim
RUN mkdir -p /srv/a/b /srv/empty && echo one >/srv/one && ln /srv/one /srv/a/again && ln -s ../one /srv/a/link && \
    chmod 2755 /srv/a && chown 7:8 /srv/one && mkfifo /srv/fifo && rm /etc/issue && chmod u+s /usr/bin/tail && useradd --system app
COPY --chmod=755 app.sh /usr/local/bin/
CMD ["app.sh"]
`,
	})
	b := door.Build{Context: dir, Contexts: contexts(t, "debian:bookworm-slim"), Epoch: epoch}
	for _, level := range []spec.Level{spec.LevelExclusive, spec.LevelMinimal} {
		t.Run(string(level), func(t *testing.T) {
			b.Args = map[string]string{"TEMPER_HARDEN_LEVEL": string(level)}
			first := build(t, temper(), b)
			want, err := first.Digest()
			require.NoError(t, err)
			for _, snapshotter := range []string{"overlayfs", "native"} {
				got := build(t, door.Temper{Binary: tools.Path("temper"), Addr: snapshotting(t, snapshotter)}, b)
				digest, err := got.Digest()
				require.NoError(t, err)
				if digest != want {
					sameButForTimes(t, snapshotter, first, got)
				}
			}
		})
	}
}

// snapshotting starts a builder with an empty cache and that snapshotter.
func snapshotting(t *testing.T, snapshotter string) string {
	t.Helper()
	dir, err := os.MkdirTemp(scratch, "s") //nolint:usetesting // its socket must have a short path
	require.NoError(t, err)
	d, err := daemon.Start(t.Context(), dir, daemon.Options{Binary: tools.Path("buildkitd"), Args: []string{"--oci-worker-snapshotter=" + snapshotter}})
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, d.Stop())
		require.NoError(t, os.RemoveAll(dir))
	})
	return d.Addr
}

// sameButForTimes fails when two images differ in more than the times of
// directories, which only the native snapshotter may lose.
func sameButForTimes(t *testing.T, snapshotter string, first, second *image.Image) {
	t.Helper()
	want, err := first.Files()
	require.NoError(t, err)
	got, err := second.Files()
	require.NoError(t, err)
	require.Equal(t, image.Paths(want), image.Paths(got))
	for name, w := range want {
		g := got[name]
		if snapshotter == "native" && w.Typeflag == tar.TypeDir {
			g.ModTime = w.ModTime
		}
		require.Equal(t, w, g, name)
	}
	require.Equal(t, "native", snapshotter, "the entries are equal and the images are not")
}
