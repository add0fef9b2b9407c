package ocilayout

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	digest "github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"
)

func write(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, dt := range files {
		path := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(dt), 0o644))
	}
	return dir
}

const (
	version = `{"imageLayoutVersion":"1.0.0"}`
	shaA    = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	shaB    = "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
	two     = `{"manifests":[
		{"digest":"` + shaA + `","annotations":{"org.opencontainers.image.ref.name":"1","io.containerd.image.name":"example.com/a:1"}},
		{"digest":"` + shaB + `","annotations":{"org.opencontainers.image.ref.name":"2"}}]}`
)

func TestOpenRefuses(t *testing.T) {
	for name, tc := range map[string]struct {
		files map[string]string
		says  string
	}{
		"empty directory": {nil, "no file oci-layout"},
		"no index":        {map[string]string{"oci-layout": version}, "no file index.json"},
		"other version":   {map[string]string{"oci-layout": `{"imageLayoutVersion":"2.0"}`}, `version "2.0"`},
		"not JSON":        {map[string]string{"oci-layout": version, "index.json": "{"}, "index.json"},
		"huge":            {map[string]string{"oci-layout": version + strings.Repeat(" ", maxDocument)}, "larger than"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Open(write(t, tc.files))
			require.ErrorContains(t, err, tc.says)
			if name != "huge" {
				require.ErrorIs(t, err, ErrNotLayout)
			}
		})
	}
}

func TestResolve(t *testing.T) {
	one := `{"manifests":[{"digest":"` + shaA + `"},{"digest":"` + shaA + `"}]}`
	latest := strings.Replace(two, `"2"`, `"latest"`, 1)
	for _, tc := range []struct {
		name, index, ref string
		want             digest.Digest
		fails            string
	}{
		{name: "only one", index: one, want: shaA},
		{name: "tag", index: two, ref: "2", want: shaB},
		{name: "name", index: two, ref: "example.com/a:1", want: shaA},
		{name: "digest", index: two, ref: shaB, want: shaB},
		{name: "latest", index: latest, want: shaB},
		{name: "ambiguous", index: two, fails: "has 2 images"},
		{name: "with a referrer", index: `{"manifests":[{"digest":"` + shaA + `"},{"digest":"` + shaB + `","artifactType":"a/b"}]}`, want: shaA},
		{name: "with a signature", want: shaB, index: `{"manifests":[{"digest":"` + shaA + `","annotations":{"org.opencontainers.image.ref.name":"sha256-` +
			strings.Repeat("b", 64) + `.sig"}},{"digest":"` + shaB + `"}]}`},
		{name: "only an artifact", index: `{"manifests":[{"digest":"` + shaA + `","artifactType":"a/b"}]}`, want: shaA},
		{name: "unknown", index: two, ref: "3", fails: `no image "3": it has 1, 2`},
		{name: "empty", index: `{}`, fails: "none at all"},
		{name: "escaping digest", index: `{"manifests":[{"digest":"sha256:../../../etc/passwd"}]}`, fails: "invalid"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l, err := Open(write(t, map[string]string{"oci-layout": version, "index.json": tc.index}))
			require.NoError(t, err)
			defer l.Close()
			desc, err := l.Resolve(tc.ref)
			if tc.fails != "" {
				require.ErrorContains(t, err, tc.fails)
				return
			}
			require.NoError(t, err)
			require.Equal(t, tc.want, desc.Digest)
		})
	}
}

func TestStoreOnlyReads(t *testing.T) {
	blob := `{"a":1}`
	dgst := digest.FromString(blob)
	dir := write(t, map[string]string{
		"oci-layout": version, "index.json": "{}", "blobs/sha256/" + dgst.Encoded(): blob,
	})
	require.NoError(t, os.Symlink("/etc/passwd", filepath.Join(dir, "blobs/sha256", digest.Digest(shaA).Encoded())))
	l, err := Open(dir)
	require.NoError(t, err)
	defer l.Close()
	info, err := l.Store().Info(t.Context(), dgst)
	require.NoError(t, err)
	require.EqualValues(t, len(blob), info.Size)
	r, err := l.Store().ReaderAt(t.Context(), ocispecs.Descriptor{Digest: dgst})
	require.NoError(t, err)
	dt := make([]byte, r.Size())
	_, err = r.ReadAt(dt, 0)
	require.NoError(t, err)
	require.NoError(t, r.Close())
	require.Equal(t, blob, string(dt))

	_, err = l.Store().Info(t.Context(), shaB)
	require.ErrorIs(t, err, errdefs.ErrNotFound)
	_, err = l.Store().Info(t.Context(), shaA)
	require.Error(t, err, "a symlink out of the layout is not followed")
	_, err = l.Store().Writer(t.Context())
	require.ErrorIs(t, err, errdefs.ErrNotImplemented)

	names, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, names, 3, "nothing was made in the layout")
}

func TestParseRef(t *testing.T) {
	for in, want := range map[string][2]string{
		"oci-layout://dir":                   {"dir", ""},
		"oci-layout:///a/dir:1":              {"/a/dir", "1"},
		"oci-layout:///a:b/dir":              {"/a:b/dir", ""},
		"oci-layout://dir@" + shaA:           {"dir", shaA},
		"oci-layout:///a:b/dir:tag@" + shaA:  {"/a:b/dir", shaA},
		"oci-layout://example/dir:sub/image": {"example/dir:sub/image", ""},
	} {
		dir, ref, ok := ParseRef(in)
		require.True(t, ok)
		require.Equal(t, want, [2]string{dir, ref}, in)
	}
	_, _, ok := ParseRef("docker-image://alpine")
	require.False(t, ok)
}

func FuzzLayout(f *testing.F) {
	f.Add(version, two, "1")
	f.Add(version, `{"manifests":[{"digest":"sha256:../x"}]}`, "")
	f.Fuzz(func(t *testing.T, marker, index, ref string) {
		dir := t.TempDir()
		for name, dt := range map[string]string{"oci-layout": marker, "index.json": index} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(dt), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		l, err := Open(dir)
		if err != nil {
			return
		}
		defer l.Close()
		desc, err := l.Resolve(ref)
		if err != nil {
			return
		}
		if _, err := l.Store().Info(t.Context(), desc.Digest); err == nil {
			t.Fatalf("found a blob in a layout without blobs: %s", desc.Digest)
		}
	})
}
