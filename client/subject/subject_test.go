package subject

import (
	"archive/tar"
	"bytes"
	"io"
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
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	digest "github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/hardening/spec"
)

// platformImage is an OCI image with one layer.
func platformImage(t testing.TB, arch string) v1.Image {
	t.Helper()
	img, err := random.Image(512, 1)
	require.NoError(t, err)
	img, err = mutate.ConfigFile(mutate.MediaType(img, types.OCIManifestSchema1), &v1.ConfigFile{
		OS: "linux", Architecture: arch, RootFS: rootFS(t, img), Created: v1.Time{},
	})
	require.NoError(t, err)
	return img
}

func rootFS(t testing.TB, img v1.Image) v1.RootFS {
	cfg, err := img.ConfigFile()
	require.NoError(t, err)
	return cfg.RootFS
}

// attested is an index of an image for each architecture, each with a hardening report.
func attested(t testing.TB, archs ...string) v1.ImageIndex {
	t.Helper()
	idx := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, arch := range archs {
		img := platformImage(t, arch)
		dgst, err := img.Digest()
		require.NoError(t, err)
		att, err := mutate.Append(mutate.MediaType(empty.Image, types.OCIManifestSchema1), mutate.Addendum{
			Layer:       static.NewLayer([]byte(`{"predicateType":"`+spec.PredicateType+`","predicate":{"level":"exclusive","family":"`+arch+`"}}`), "application/vnd.in-toto+json"),
			Annotations: map[string]string{annotationPredicateType: spec.PredicateType},
		})
		require.NoError(t, err)
		idx = mutate.AppendManifests(idx,
			mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: arch}}},
			mutate.IndexAddendum{Add: att, Descriptor: v1.Descriptor{
				Platform: &v1.Platform{OS: "unknown", Architecture: "unknown"},
				Annotations: map[string]string{
					annotationReferenceType: attestationManifest, annotationReferenceDigest: dgst.String(),
				},
			}})
	}
	return idx
}

func writeLayout(t testing.TB, dir string, idx v1.ImageIndex, annotations map[string]string) {
	t.Helper()
	p, err := layout.Write(dir, empty.Index)
	require.NoError(t, err)
	require.NoError(t, p.AppendIndex(idx, layout.WithAnnotations(annotations)))
}

// archive writes a directory as an uncompressed tar.
func archive(t testing.TB, dir, file string) {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	require.NoError(t, w.AddFS(os.DirFS(dir)))
	require.NoError(t, w.Close())
	require.NoError(t, os.WriteFile(file, buf.Bytes(), 0o644))
}

// check reads everything that a subject offers.
func check(t testing.TB, s *Set, archs ...string) {
	t.Helper()
	require.Len(t, s.Images, len(archs))
	for i, arch := range archs {
		img := s.Images[i]
		require.Equal(t, arch, img.Arch())
		require.Equal(t, "linux/"+arch, img.Platform)
		m, err := img.Image.RawManifest()
		require.NoError(t, err)
		require.Equal(t, digest.FromBytes(m), img.Digest)
		layers, err := img.Image.Layers()
		require.NoError(t, err)
		rc, err := layers[0].Uncompressed()
		require.NoError(t, err)
		n, err := io.Copy(io.Discard, rc)
		require.NoError(t, err)
		require.Positive(t, n)
		require.NoError(t, rc.Close())
		report, err := img.Report(t.Context())
		require.NoError(t, err)
		require.Equal(t, arch, report.Family)
	}
	require.NoError(t, s.Close())
}

func TestOpen(t *testing.T) {
	dir := t.TempDir()
	idx := attested(t, "amd64", "arm64")
	writeLayout(t, filepath.Join(dir, "nginx.oci"), idx, nil)
	named := map[string]string{annotationImageName: "registry.example.com/team/app:1", "org.opencontainers.image.ref.name": "1"}
	writeLayout(t, filepath.Join(dir, "named.oci"), idx, named)
	archive(t, filepath.Join(dir, "nginx.oci"), filepath.Join(dir, "nginx.tar"))
	t.Chdir(dir)

	srv := httptest.NewServer(registry.New())
	defer srv.Close()
	ref := strings.TrimPrefix(srv.URL, "http://") + "/team/web:2"
	parsed, err := name.ParseReference(ref)
	require.NoError(t, err)
	require.NoError(t, remote.WriteIndex(parsed, idx))
	top, err := idx.Digest()
	require.NoError(t, err)

	for _, tc := range []struct{ spec, name, reference string }{
		{"nginx.oci", "nginx", ""},
		{"./nginx.oci", "nginx", ""},
		{"oci-layout://nginx.oci@" + top.String(), "nginx", ""},
		{"nginx.oci@" + top.String(), "nginx", ""},
		{"nginx.tar", "nginx", ""},
		{"named.oci", "app", "registry.example.com/team/app:1"},
		{"named.oci:1", "app", "registry.example.com/team/app:1"},
		{ref, "web", ref},
	} {
		t.Run(tc.spec, func(t *testing.T) {
			s, err := Open(t.Context(), tc.spec, Options{})
			require.NoError(t, err)
			require.Equal(t, tc.name, s.Images[0].Name)
			require.Equal(t, tc.reference, s.Images[0].Reference)
			require.Equal(t, top.String(), string(s.Images[0].Index))
			check(t, s, "amd64", "arm64")

			s, err = Open(t.Context(), tc.spec, Options{Platforms: []string{"linux/arm64"}})
			require.NoError(t, err)
			check(t, s, "arm64")
		})
	}
}

func TestOpenDockerArchive(t *testing.T) {
	file := filepath.Join(t.TempDir(), "x.tar")
	img := platformImage(t, "amd64")
	tag, err := name.NewTag("example.com/team/app:3")
	require.NoError(t, err)
	require.NoError(t, tarball.WriteToFile(file, tag, img))
	s, err := Open(t.Context(), file, Options{})
	require.NoError(t, err)
	defer s.Close()
	require.Len(t, s.Images, 1)
	require.Equal(t, "app", s.Images[0].Name)
	require.Equal(t, "linux/amd64", s.Images[0].Platform)
	report, err := s.Images[0].Report(t.Context())
	require.NoError(t, err)
	require.Nil(t, report)
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	writeLayout(t, "good.oci", attested(t, "amd64"), nil)
	require.NoError(t, os.WriteFile("text", []byte("no archive"), 0o644))
	archive(t, "good.oci", "good.tar")
	whole, err := os.ReadFile("good.tar")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile("cut.tar", whole[:len(whole)/2], 0o644))
	require.NoError(t, os.Mkdir("empty", 0o755))

	// A manifest that is another than its name says.
	writeLayout(t, "forged.oci", attested(t, "amd64"), nil)
	s, err := Open(t.Context(), "forged.oci", Options{})
	require.NoError(t, err)
	blob := filepath.Join("forged.oci", "blobs", "sha256", s.Images[0].Digest.Encoded())
	require.NoError(t, s.Close())
	dt, err := os.ReadFile(blob)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(blob, append(dt, ' '), 0o644))

	srv := httptest.NewServer(registry.New())
	host := strings.TrimPrefix(srv.URL, "http://")
	defer srv.Close()

	for _, tc := range []struct {
		spec      string
		platforms []string
		says      string
	}{
		{spec: "", says: "the name is empty"},
		{spec: "./nowhere", says: "no such file"},
		{spec: "text", says: "no image archive"},
		{spec: "cut.tar", says: "no image archive"},
		{spec: "empty", says: "not an OCI image layout"},
		{spec: "good.oci:absent", says: "has no image"},
		{spec: "forged.oci", says: "other content than its name says"},
		{spec: "good.oci", platforms: []string{"linux/s390x"}, says: "there is no image for linux/s390x: it has linux/amd64"},
		{spec: "good.oci", platforms: []string{"a/b/c/d"}, says: "platform"},
		{spec: host + "/no/such:1", says: "the registry has no such image"},
		{spec: "UPPER/case", says: "no registry reference"},
	} {
		t.Run(tc.spec, func(t *testing.T) {
			_, err := Open(t.Context(), tc.spec, Options{Platforms: tc.platforms})
			var input *InputError
			require.ErrorAs(t, err, &input)
			require.ErrorContains(t, err, tc.says)
		})
	}
	srv.Close()
	_, err = Open(t.Context(), host+"/no/such:1", Options{})
	var unreachable *UnreachableError
	require.ErrorAs(t, err, &unreachable)
}

// stated is an image whose manifest states another size of its configuration.
type stated struct {
	v1.Image
	size int64
}

func (s stated) Manifest() (*v1.Manifest, error) {
	m, err := s.Image.Manifest()
	if err != nil {
		return nil, err
	}
	m = m.DeepCopy()
	m.Config.Size = s.size
	return m, nil
}

func (s stated) ConfigFile() (*v1.ConfigFile, error) { panic("it is read all the same") }

// TestConfigurationIsBounded: a manifest does not decide how much is read into memory.
func TestConfigurationIsBounded(t *testing.T) {
	for _, size := range []int64{-1, maxDocument + 1, 1 << 40} {
		_, err := newImage(stated{platformImage(t, "amd64"), size}, "sha256:x", "")
		require.ErrorContains(t, err, "its size of")
	}
}

func FuzzOpenArchive(f *testing.F) {
	dir := f.TempDir()
	writeLayout(f, filepath.Join(dir, "x.oci"), attested(f, "amd64"), nil)
	archive(f, filepath.Join(dir, "x.oci"), filepath.Join(dir, "x.tar"))
	dt, err := os.ReadFile(filepath.Join(dir, "x.tar"))
	require.NoError(f, err)
	f.Add(dt)
	f.Fuzz(func(t *testing.T, dt []byte) {
		file := filepath.Join(t.TempDir(), "x.tar")
		require.NoError(t, os.WriteFile(file, dt, 0o600))
		s, err := Open(t.Context(), file, Options{})
		if err != nil {
			return
		}
		for _, img := range s.Images {
			_, _ = img.Report(t.Context())
		}
		require.NoError(t, s.Close())
	})
}
