package base

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/v1/validate"
	"github.com/stretchr/testify/require"
)

func TestReleaseLines(t *testing.T) {
	text := `# a comment
deb http://mirror.test/debian bookworm main contrib
deb [signed-by=/a.gpg arch=amd64] http://mirror.test/security bookworm-security main
deb-src http://mirror.test/debian bookworm main
deb http://vendor.test/apt stable main
deb http://vendor.test/apt bookworm vendor
`
	want := []string{
		"deb http://mirror.test/debian bookworm main contrib",
		"deb [signed-by=/a.gpg arch=amd64] http://mirror.test/security bookworm-security main",
	}
	if diff := cmp.Diff(want, releaseLines(text, "bookworm")); diff != "" {
		t.Errorf("releaseLines (-want +got):\n%s", diff)
	}
}

func TestReleaseParagraphs(t *testing.T) {
	text := `Types: deb
# where from
URIs: http://mirror.test/debian
Suites: bookworm bookworm-updates
Components: main

Types: deb
URIs: http://vendor.test
Suites: stable
Components: main

Enabled: no
Types: deb
URIs: http://mirror.test/debian
Suites: bookworm-backports
Components: main
`
	want := []string{"Types: deb\nURIs: http://mirror.test/debian\nSuites: bookworm bookworm-updates\nComponents: main"}
	if diff := cmp.Diff(want, releaseParagraphs(text, "bookworm")); diff != "" {
		t.Errorf("releaseParagraphs (-want +got):\n%s", diff)
	}
}

// A fill that fails or is killed must leave nothing that a later run takes for
// a finished entry.
func TestCachedKeepsOnlyWhatIsComplete(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	ctx := t.Context()
	_, err := cached(ctx, "x", []string{"1"}, func(_ context.Context, dir string) error {
		require.NoError(t, os.WriteFile(filepath.Join(dir, "half"), nil, 0o600))
		return os.ErrInvalid
	})
	require.ErrorIs(t, err, os.ErrInvalid)

	fills := 0
	fill := func(_ context.Context, dir string) error {
		fills++
		require.NoFileExists(t, filepath.Join(dir, "half"))
		return os.WriteFile(filepath.Join(dir, "whole"), nil, 0o600)
	}
	first, err := cached(ctx, "x", []string{"1"}, fill)
	require.NoError(t, err)
	again, err := cached(ctx, "x", []string{"1"}, fill)
	require.NoError(t, err)
	other, err := cached(ctx, "x", []string{"2"}, fill)
	require.NoError(t, err)
	require.Equal(t, first, again)
	require.NotEqual(t, first, other)
	require.Equal(t, 2, fills)
	require.FileExists(t, filepath.Join(first, "whole"))
}

func TestBasesAreValidImages(t *testing.T) {
	for name, make := range map[string]func(context.Context) (Layout, error){
		"debian": Debian, "debian-slim": DebianSlim, "busybox": Busybox, "golang": Golang,
	} {
		t.Run(name, func(t *testing.T) {
			l, err := make(t.Context())
			require.NoError(t, err)
			img, err := l.Image()
			require.NoError(t, err)
			require.NoError(t, validate.Image(img))
			again, err := make(t.Context())
			require.NoError(t, err)
			require.Equal(t, l, again)
		})
	}
}
