package publish_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	digest "github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/client/publish"
)

func TestRead(t *testing.T) {
	dir, top := built(t)
	img, err := publish.Read(t.Context(), dir, top, false)
	require.NoError(t, err)
	defer img.Close()
	require.Equal(t, top.Digest, img.Top.Digest)
	require.Len(t, img.Manifests, 5)
	require.Equal(t, top.Digest, img.Manifests[4].Descriptor.Digest, "the index is last")
	var archs []string
	for _, m := range img.Platforms() {
		archs = append(archs, m.Arch())
		require.Len(t, m.Blobs, 3)
		require.Equal(t, []string{"docker.io/library/debian:bookworm"}, m.Bases)
	}
	require.Equal(t, []string{"amd64", "arm-v7"}, archs)
	require.True(t, img.Manifests[2].Attestation)
	require.Nil(t, img.Manifest(digest.FromString("x")))
}

// Without attestation manifests an index is another one, and the same each time;
// where one image is left, that is what remains.
func TestPlain(t *testing.T) {
	l := newLayout(t)
	amd, arm := l.image("amd64"), l.image("arm/v7")
	two := l.index(amd, arm, l.attestation(amd.Digest), l.attestation(arm.Digest))
	one := l.index(amd, l.attestation(amd.Digest))
	none := l.index(amd, arm)

	img, err := publish.Read(t.Context(), l.dir, two, true)
	require.NoError(t, err)
	defer img.Close()
	require.Equal(t, none.Digest, img.Top.Digest, "it is the index that lists only images")
	require.Len(t, img.Manifests, 3)
	var idx ocispecs.Index
	require.NoError(t, json.Unmarshal(img.Manifests[2].Data, &idx))
	require.Equal(t, []ocispecs.Descriptor{amd, arm}, idx.Manifests)

	img, err = publish.Read(t.Context(), l.dir, one, true)
	require.NoError(t, err)
	defer img.Close()
	require.Equal(t, amd.Digest, img.Top.Digest)
	require.Len(t, img.Manifests, 1)
	require.Equal(t, "linux/amd64", img.Platforms()[0].Platform)

	img, err = publish.Read(t.Context(), l.dir, none, true)
	require.NoError(t, err)
	defer img.Close()
	require.Equal(t, none.Digest, img.Top.Digest, "nothing is to leave out")

	// An index in an index is changed with it.
	nested := l.index(two, l.image("riscv64"))
	img, err = publish.Read(t.Context(), l.dir, nested, true)
	require.NoError(t, err)
	defer img.Close()
	require.Equal(t, l.index(none, l.image("riscv64")).Digest, img.Top.Digest)

	_, err = publish.Read(t.Context(), l.dir, l.index(l.attestation(amd.Digest)), true)
	require.ErrorContains(t, err, "lists no image")
}

// A single manifest is published under its tag, with and without platform tags.
func TestPublishPlain(t *testing.T) {
	l := newLayout(t)
	amd := l.image("amd64")
	top := l.index(amd, l.attestation(amd.Digest))
	img, err := publish.Read(t.Context(), l.dir, top, true)
	require.NoError(t, err)
	defer img.Close()
	f := withAPI(t)
	r := request(t, img, f.tag(t, "team/app:1.2"))
	result, err := publish.Run(t.Context(), r)
	require.NoError(t, err)
	require.Equal(t, amd.Digest, result.Image)
	whole(t, r, 0)
}

func TestReadHostile(t *testing.T) {
	l := newLayout(t)
	l.top(l.image("amd64"))
	deep := l.image("amd64")
	for range 6 {
		deep = l.index(deep)
	}
	manifest := func(m ocispecs.Manifest) ocispecs.Descriptor {
		return l.json(ocispecs.MediaTypeImageManifest, m)
	}
	config := l.json(ocispecs.MediaTypeImageConfig, ocispecs.Image{})
	swapped := l.image("amd64")
	require.NoError(t, os.WriteFile(filepath.Join(l.dir, "blobs", "sha256", swapped.Digest.Encoded()), []byte("{}"), 0o644))
	l.image("amd64")
	other := l.image("arm64")
	require.NoError(t, os.WriteFile(filepath.Join(l.dir, "blobs", "sha256", other.Digest.Encoded()), []byte("{}"), 0o644))
	for name, c := range map[string]struct {
		top  ocispecs.Descriptor
		want string
	}{
		"other content": {other, "other content than its name says"},
		"deep":          {deep, "more than 4 deep"},
		"media type":    {l.blob("text/plain", []byte("x")), `media type "text/plain"`},
		"absent":        {ocispecs.Descriptor{MediaType: ocispecs.MediaTypeImageIndex, Digest: digest.FromString("nowhere")}, "has no blob"},
		"no digest":     {ocispecs.Descriptor{MediaType: ocispecs.MediaTypeImageIndex, Digest: "../../etc/passwd"}, "invalid"},
		"no JSON":       {l.blob(ocispecs.MediaTypeImageIndex, []byte("{")), "unexpected end"},
		"no JSON image": {l.blob(ocispecs.MediaTypeImageManifest, []byte("[]")), "cannot unmarshal"},
		"empty":         {l.blob(ocispecs.MediaTypeImageIndex, []byte("{}")), "lists no image"},
		"large":         {l.blob(ocispecs.MediaTypeImageIndex, []byte(`"`+strings.Repeat("x", 5<<20)+`"`)), "larger than"},
		"no platform":   {manifest(ocispecs.Manifest{Config: config}), "names no platform"},
		"no blob":       {manifest(ocispecs.Manifest{Config: ocispecs.Descriptor{Digest: "sha256:../x", Size: 1}}), "which is none"},
		"negative":      {manifest(ocispecs.Manifest{Config: ocispecs.Descriptor{Digest: config.Digest, Size: -1}}), "which is none"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := publish.Read(t.Context(), l.dir, c.top, false)
			require.ErrorContains(t, err, c.want)
		})
	}
	_, err := publish.Read(t.Context(), t.TempDir(), swapped, false)
	require.ErrorContains(t, err, "not an OCI image layout")
}

// A blob that is not what the manifest says is not published.
func TestDamagedBlob(t *testing.T) {
	for name, content := range map[string]string{"shorter": "bas", "other": "BASE"} {
		t.Run(name, func(t *testing.T) {
			dir, top := built(t)
			img, err := publish.Read(t.Context(), dir, top, false)
			require.NoError(t, err)
			defer img.Close()
			require.NoError(t, os.WriteFile(filepath.Join(dir, "blobs", "sha256", digest.FromString("base").Encoded()), []byte(content), 0o644))
			f := withAPI(t)
			r := request(t, img, f.tag(t, "team/app:1.2"))
			_, err = publish.Run(t.Context(), r)
			require.ErrorContains(t, err, "push the blob "+digest.FromString("base").String())
			require.Empty(t, f.writes())
		})
	}
}

// Whatever a layout has: reading it ends, and what is read is small and whole.
func FuzzRead(f *testing.F) {
	f.Add([]byte(`{"schemaVersion":2,"manifests":[]}`), true, true)
	f.Add([]byte(`{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","size":0,"annotations":{"vnd.docker.reference.type":"attestation-manifest"}}]}`), true, true)
	f.Add([]byte(`{"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2},"layers":[]}`), false, false)
	f.Add([]byte(`{"config":{"digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2},"layers":[{}]}`), false, true)
	f.Add([]byte(`{"manifests":[{}]}`), true, true)
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, data []byte, index, plain bool) {
		l := layout{t, dir}
		require.NoError(t, os.MkdirAll(filepath.Join(dir, "blobs", "sha256"), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(dir, "oci-layout"), []byte(`{"imageLayoutVersion":"1.0.0"}`), 0o644))
		l.blob("", nil)
		l.blob("", []byte("{}"))
		top := l.blob(ocispecs.MediaTypeImageManifest, data)
		if index {
			top.MediaType = ocispecs.MediaTypeImageIndex
		}
		l.top(top)
		img, err := publish.Read(t.Context(), l.dir, top, plain)
		if err != nil {
			return
		}
		defer img.Close()
		for _, m := range img.Manifests {
			require.Equal(t, m.Descriptor.Digest, digest.FromBytes(m.Data))
			require.Equal(t, m.Descriptor.Size, int64(len(m.Data)))
		}
		require.NotNil(t, img.Manifest(img.Top.Digest))
	})
}
