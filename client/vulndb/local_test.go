package vulndb

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	digest "github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/require"
)

func get2(t *testing.T, s *server) digest.Digest {
	t.Helper()
	return digest.FromBytes(s.archive)
}

func TestFileSources(t *testing.T) {
	db := get(t, database)
	raw := must(os.ReadFile(db.File))
	dir := t.TempDir()
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	plain := plainTar(t, raw)
	_, err := z.Write(plain)
	require.NoError(t, err)
	require.NoError(t, z.Close())
	for file, dt := range map[string][]byte{
		"db.tar.gz": zipped.Bytes(), "db.tar": plain, "vulnerability.db": raw, "db.tar.zst": must(os.ReadFile(db.Archive)),
	} {
		t.Run(file, func(t *testing.T) {
			path := filepath.Join(dir, file)
			require.NoError(t, os.WriteFile(path, dt, 0o644))
			o := options(t, path)
			o.Offline = true
			d := mustOpen(t, o, now)
			require.Equal(t, digest.FromBytes(dt).String(), d.Archive)
			o.Source = "file://" + path
			mustOpen(t, o, now)
		})
	}
}

func plainTar(t *testing.T, raw []byte) []byte {
	t.Helper()
	z := archive(t, member{name: "vulnerability.db", content: string(raw)})
	return unzstd(t, z)
}

// A file that is replaced is noticed at once, whatever the interval.
func TestReplacedFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db.tar.zst")
	require.NoError(t, os.WriteFile(path, must(os.ReadFile(get(t, database).Archive)), 0o644))
	o := options(t, path)
	require.Equal(t, built, mustOpen(t, o, now).Built)
	require.NoError(t, os.WriteFile(path, must(os.ReadFile(get(t, newer).Archive)), 0o644))
	require.Equal(t, get(t, newer).Built, mustOpen(t, o, now).Built)
	require.NoError(t, os.Remove(path))
	_, err := Open(t.Context(), o, now)
	var missing *MissingError
	require.ErrorAs(t, err, &missing, "a file that somebody named must be there")
}

// Two sources share a directory without replacing each other's database.
func TestSourcesAreApart(t *testing.T) {
	a := options(t, get(t, database).Archive)
	b := a
	b.Source = get(t, newer).Archive
	require.Equal(t, built, mustOpen(t, a, now).Built)
	require.Equal(t, get(t, newer).Built, mustOpen(t, b, now).Built)
	require.Equal(t, built, mustOpen(t, a, now).Built)
}

func TestImport(t *testing.T) {
	o := options(t, "")
	o.Offline = true
	st, err := Import(t.Context(), o, get(t, newer).Archive, now)
	require.NoError(t, err)
	require.False(t, st.Stale)
	require.Equal(t, get(t, newer).Built, mustOpen(t, o, now).Built)
	// An older one on purpose.
	_, err = Import(t.Context(), o, get(t, database).Archive, now)
	require.NoError(t, err)
	require.Equal(t, built, mustOpen(t, o, now).Built)
	st, err = Read(t.Context(), o, built.AddDate(0, 0, 6))
	require.NoError(t, err)
	require.True(t, st.Stale)
	_, err = Import(t.Context(), o, t.TempDir(), now)
	require.ErrorContains(t, err, "is not a regular file")
	_, err = Import(t.Context(), o, filepath.Join(t.TempDir(), "none"), now)
	require.ErrorContains(t, err, "no such file")
	require.Equal(t, built, mustOpen(t, o, now).Built, "a failed import changes nothing")
}

// artifact is what "oras push" makes of the archive.
func artifact(t *testing.T, layers ...[]byte) v1.Image {
	t.Helper()
	img := mutate.MediaType(empty.Image, "application/vnd.oci.image.manifest.v1+json")
	for _, dt := range layers {
		var err error
		img, err = mutate.AppendLayers(img, static.NewLayer(dt, "application/vnd.oci.image.layer.v1.tar"))
		require.NoError(t, err)
	}
	return img
}

func TestOCILayout(t *testing.T) {
	dt := must(os.ReadFile(get(t, database).Archive))
	dir := t.TempDir()
	p := must(layout.Write(dir, empty.Index))
	require.NoError(t, p.AppendImage(artifact(t, dt), layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": "6"})))
	for _, spec := range []string{"oci-layout://" + dir, "oci-layout://" + dir + ":6"} {
		o := options(t, spec)
		o.Offline = true
		require.Equal(t, built, mustOpen(t, o, now).Built)
	}
	_, err := Open(t.Context(), options(t, "oci-layout://"+dir+":7"), now)
	require.ErrorContains(t, err, `no image "7"`)

	blob := filepath.Join(dir, "blobs", "sha256", digest.FromBytes(dt).Encoded())
	dt[len(dt)/3] ^= 1
	require.NoError(t, os.WriteFile(blob, dt, 0o644))
	_, err = Open(t.Context(), options(t, "oci-layout://"+dir), now)
	var invalid *InvalidError
	require.ErrorAs(t, err, &invalid)

	two := t.TempDir()
	p = must(layout.Write(two, empty.Index))
	require.NoError(t, p.AppendImage(artifact(t, []byte("a"), []byte("b"))))
	_, err = Open(t.Context(), options(t, "oci-layout://"+two), now)
	require.ErrorContains(t, err, "has 2 layers")
}

func TestRegistry(t *testing.T) {
	dt := must(os.ReadFile(get(t, database).Archive))
	srv := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	defer srv.Close()
	host := strings.TrimPrefix(srv.URL, "http://")
	push := func(tag string, img v1.Image) string {
		ref := must(name.NewTag(fmt.Sprintf("%s/security/grype-db:%s", host, tag)))
		require.NoError(t, remote.Write(ref, img))
		return "oci://" + ref.String()
	}
	spec := push("6", artifact(t, dt))
	o := options(t, spec)
	require.Equal(t, built, mustOpen(t, o, now).Built)
	_, err := Open(t.Context(), options(t, push("two", artifact(t, []byte("a"), []byte("b")))), now)
	require.ErrorContains(t, err, "has 2 layers")
	_, err = Open(t.Context(), options(t, spec+"x"), now)
	var missing *MissingError
	require.ErrorAs(t, err, &missing)
	// What was fetched does without the registry.
	srv.Close()
	o.Offline = true
	mustOpen(t, o, now)
}
