package catalogue

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/anchore/syft/syft/file"
	"github.com/anchore/syft/syft/sbom"
	"github.com/anchore/syft/syft/source"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/client/catalogue/cataloguetest"
	"github.com/temper-images/temper/client/imagefs"
)

func open(t testing.TB, layers ...[]cataloguetest.File) (v1.Image, *imagefs.FS) {
	t.Helper()
	img, err := cataloguetest.Of(layers...)
	require.NoError(t, err)
	fsys, err := imagefs.Open(t.Context(), img, imagefs.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, fsys.Close()) })
	return img, fsys
}

func names(s *sbom.SBOM) []string {
	var out []string
	for _, p := range s.Artifacts.Packages.Sorted() {
		out = append(out, p.Name+" "+p.Version)
	}
	slices.Sort(out)
	return out
}

func TestImage(t *testing.T) {
	img, fsys := open(t, cataloguetest.Lower, cataloguetest.Upper)
	for _, parallel := range []int{0, 1, 7} {
		s, err := Image(t.Context(), img, fsys, Options{Reference: "registry.example.com/team/app:1", Version: "v9", Parallelism: parallel})
		require.NoError(t, err)
		require.Equal(t, cataloguetest.Packages, names(s))
		require.Equal(t, "debian", s.Artifacts.LinuxDistribution.ID)
		require.Equal(t, "12", s.Artifacts.LinuxDistribution.VersionID)
		require.Equal(t, "temper", s.Descriptor.Name)
		require.Equal(t, "v9", s.Descriptor.Version)

		manifest, err := img.Digest()
		require.NoError(t, err)
		name, err := img.ConfigName()
		require.NoError(t, err)
		m, ok := s.Source.Metadata.(source.ImageMetadata)
		require.True(t, ok)
		require.Equal(t, "registry.example.com/team/app", s.Source.Name)
		require.Equal(t, "1", s.Source.Version)
		require.Equal(t, manifest.Hex, s.Source.ID)
		require.Equal(t, manifest.String(), m.ManifestDigest)
		require.Equal(t, name.String(), m.ID)
		require.Nil(t, m.RawManifest)
		require.Nil(t, m.RawConfig)
		require.Equal(t, []string{"registry.example.com/team/app:1"}, m.Tags)
		require.Equal(t, "amd64", m.Architecture)
		require.Equal(t, "linux", m.OS)
		require.Len(t, m.Layers, 2)
		require.Equal(t, string(fsys.Layers()[0]), m.Layers[0].Digest)
		require.Equal(t, m.Layers[0].Size+m.Layers[1].Size, m.Size)

		// A file under its own path though the package lists another, with both
		// digests, and both names of a hard link.
		lib := file.NewCoordinates("/usr/lib/x86_64-linux-gnu/libz.so.1", string(fsys.Layers()[0]))
		require.Len(t, s.Artifacts.FileDigests[lib], 2)
		for _, name := range []string{"/usr/bin/as", "/usr/bin/x86_64-linux-gnu-as"} {
			require.NotEmpty(t, s.Artifacts.FileDigests[file.NewCoordinates(name, string(fsys.Layers()[0]))], name)
		}
	}
}

func TestImageOfAnother(t *testing.T) {
	img, _ := open(t, cataloguetest.Lower)
	_, fsys := open(t, cataloguetest.Upper)
	_, err := Image(t.Context(), img, fsys, Options{Reference: "app"})
	require.EqualError(t, err, "catalogue image app: the file system is of another image")
}

func TestNothing(t *testing.T) {
	for name, layers := range map[string][][]cataloguetest.File{"no layer": nil, "empty layer": {nil}, "a directory": {{{Name: "etc/"}}}} {
		img, fsys := open(t, layers...)
		s, err := Image(t.Context(), img, fsys, Options{})
		require.NoError(t, err, name)
		require.Empty(t, names(s), name)
	}
}

// Links that lead nowhere or in circles are left out.
func TestOddLinks(t *testing.T) {
	odd := []cataloguetest.File{
		{Name: "a", Symlink: "b"}, {Name: "b", Symlink: "a"}, {Name: "gone", Symlink: "/none"}, {Name: "self", Symlink: "."},
		{Name: "package.json", Symlink: "package.json"}, {Name: "up", Symlink: "../../../../etc"},
	}
	img, fsys := open(t, cataloguetest.Lower, append(slices.Clone(cataloguetest.Upper), odd...))
	s, err := Image(t.Context(), img, fsys, Options{})
	require.NoError(t, err)
	require.Equal(t, cataloguetest.Packages, names(s))
}

func TestCancelled(t *testing.T) {
	img, fsys := open(t, cataloguetest.Lower)
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("enough")
	cancel(stop)
	_, err := Image(ctx, img, fsys, Options{})
	require.ErrorIs(t, err, stop)
}

func TestExclude(t *testing.T) {
	img, fsys := open(t, cataloguetest.Lower, cataloguetest.Upper)
	s, err := Image(t.Context(), img, fsys, Options{Exclude: []string{"/opt"}})
	require.NoError(t, err)
	require.NotContains(t, names(s), "left-pad 1.3.0")
	require.Contains(t, names(s), "requests 2.31.0")
}

func TestOnly(t *testing.T) {
	img, fsys := open(t, cataloguetest.Lower, cataloguetest.Upper)
	s, err := Image(t.Context(), img, fsys, Options{Only: []string{"os"}})
	require.NoError(t, err)
	require.Equal(t, []string{"binutils 2.40-2", "libssl3 3.0.15-1~deb12u1", "zlib1g 1:1.2.13.dfsg-1"}, names(s))
	require.Empty(t, s.Artifacts.FileDigests)
	s, err = Image(t.Context(), img, fsys, Options{Only: []string{"*"}})
	require.NoError(t, err)
	require.Equal(t, cataloguetest.Packages, names(s))
	require.Empty(t, s.Artifacts.FileDigests)
}

func TestDirectory(t *testing.T) {
	dir := t.TempDir()
	outside := filepath.Join(t.TempDir(), "requirements.txt")
	require.NoError(t, os.WriteFile(outside, []byte("flask==3.0.0\n"), 0o600))
	for name, data := range map[string]string{
		"go.mod":                   "module example.com/app\n\ngo 1.26\n\nrequire example.com/parser v1.2.3\n",
		"web/package-lock.json":    `{"name": "web", "version": "1.0.0", "lockfileVersion": 3, "packages": {"node_modules/left-pad": {"version": "1.3.0"}}}`,
		"tools/requirements.txt":   "requests==2.31.0\n",
		"skipped/requirements.txt": "django==1.0\n",
	} {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(data), 0o644))
	}
	require.NoError(t, os.Mkdir(filepath.Join(dir, "linked"), 0o755))
	require.NoError(t, os.Symlink(outside, filepath.Join(dir, "linked", "requirements.txt")))
	s, err := Directory(t.Context(), dir, Options{Reference: "app", Exclude: []string{"./skipped/**"}})
	require.NoError(t, err)
	found := names(s)
	for _, want := range []string{"example.com/parser v1.2.3", "left-pad 1.3.0", "requests 2.31.0"} {
		require.Contains(t, found, want)
	}
	require.NotContains(t, found, "django 1.0")
	require.NotContains(t, found, "flask 3.0.0", "a link leads out of the context")
	require.Equal(t, "app", s.Source.Name)

	_, err = Directory(t.Context(), filepath.Join(dir, "none"), Options{})
	require.ErrorIs(t, err, fs.ErrNotExist)
	_, err = Directory(t.Context(), filepath.Join(dir, "go.mod"), Options{})
	require.ErrorContains(t, err, "not a directory")
}
