package recompress

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/containerd/errdefs"
	digest "github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/client/ocilayout"
)

// builder sends an image as BuildKit does: the layers first, the manifests last.
type builder struct {
	t    testing.TB
	sent []sent
}

type sent struct {
	desc ocispecs.Descriptor
	data []byte
}

func (b *builder) blob(mediaType string, data []byte) ocispecs.Descriptor {
	d := ocispecs.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
	b.sent = append(b.sent, sent{d, data})
	return d
}

func (b *builder) json(mediaType string, v any) ocispecs.Descriptor {
	dt, err := json.MarshalIndent(v, "", "  ")
	require.NoError(b.t, err)
	return b.blob(mediaType, dt)
}

func layer(t testing.TB, files map[string]string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for name, data := range files {
		require.NoError(t, w.WriteHeader(&tar.Header{Name: name, Size: int64(len(data)), Mode: 0o644, Typeflag: tar.TypeReg}))
		_, err := w.Write([]byte(data))
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return b.Bytes()
}

type config struct {
	Architecture string `json:"architecture"`
	OS           string `json:"os"`
	RootFS       struct {
		DiffIDs []digest.Digest `json:"diff_ids"`
	} `json:"rootfs"`
}

// image is one platform's, with layers that are not compressed.
func (b *builder) image(arch string, layers ...[]byte) ocispecs.Descriptor {
	m := ocispecs.Manifest{MediaType: ocispecs.MediaTypeImageManifest}
	m.SchemaVersion = 2
	c := config{Architecture: arch, OS: "linux"}
	for _, l := range layers {
		c.RootFS.DiffIDs = append(c.RootFS.DiffIDs, digest.FromBytes(l))
		m.Layers = append(m.Layers, b.blob(ocispecs.MediaTypeImageLayer, l))
	}
	m.Config = b.json(ocispecs.MediaTypeImageConfig, c)
	d := b.json(ocispecs.MediaTypeImageManifest, m)
	d.Platform = &ocispecs.Platform{OS: "linux", Architecture: arch}
	return d
}

// attestation is what BuildKit attaches to an image.
func (b *builder) attestation(image ocispecs.Descriptor, about ...digest.Digest) ocispecs.Descriptor {
	m := ocispecs.Manifest{MediaType: ocispecs.MediaTypeImageManifest, Subject: &image, ArtifactType: "application/vnd.docker.attestation.manifest.v1+json"}
	m.SchemaVersion = 2
	c := config{Architecture: "unknown", OS: "unknown"}
	for _, d := range about {
		statement := fmt.Sprintf(`{"_type":"https://in-toto.io/Statement/v0.1","subject":[{"name":"pkg:docker/app","digest":{"sha256":%q}}],`+
			`"predicate":{"comment":"layerID: %s","diffID":%q}}`, image.Digest.Encoded(), d, d)
		desc := b.blob(typeInToto, []byte(statement))
		desc.Annotations = map[string]string{"in-toto.io/predicate-type": "https://example.com/x"}
		m.Layers = append(m.Layers, desc)
		c.RootFS.DiffIDs = append(c.RootFS.DiffIDs, desc.Digest)
	}
	m.Config = b.json(ocispecs.MediaTypeImageConfig, c)
	d := b.json(ocispecs.MediaTypeImageManifest, m)
	d.Platform = &ocispecs.Platform{OS: "unknown", Architecture: "unknown"}
	d.Annotations = map[string]string{annotationReferenceType: attestationManifest, annotationReferenceDigest: string(image.Digest)}
	return d
}

func (b *builder) index(list ...ocispecs.Descriptor) ocispecs.Descriptor {
	idx := ocispecs.Index{MediaType: ocispecs.MediaTypeImageIndex, Manifests: list}
	idx.SchemaVersion = 2
	return b.json(ocispecs.MediaTypeImageIndex, idx)
}

// send writes all blobs, or those that a store does not have. It says how many layers.
func (b *builder) send(store content.Store) (layers int) {
	for _, s := range b.sent {
		ref := remotes.MakeRefKey(b.t.Context(), s.desc)
		if strings.HasPrefix(ref, layerRef) {
			if w, err := content.OpenWriter(b.t.Context(), store, content.WithRef(ref), content.WithDescriptor(s.desc)); err == nil {
				layers++
				require.NoError(b.t, w.Close())
			}
		}
		require.NoError(b.t, content.WriteBlob(b.t.Context(), store, ref, bytes.NewReader(s.data), s.desc))
	}
	return layers
}

func begin(t testing.TB, dir string, o Options) *Layout {
	t.Helper()
	l, err := New(dir, o)
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func gunzip(t testing.TB, dt []byte) []byte {
	t.Helper()
	r, err := gzip.NewReader(bytes.NewReader(dt))
	require.NoError(t, err)
	out, err := io.ReadAll(r)
	require.NoError(t, err)
	return out
}

func read(t testing.TB, dir string, d digest.Digest) []byte {
	t.Helper()
	dt, err := os.ReadFile(filepath.Join(dir, blobPath(d)))
	require.NoError(t, err)
	require.Equal(t, d, digest.FromBytes(dt))
	return dt
}

func decode[T any](t testing.TB, dir string, d ocispecs.Descriptor) (v T) {
	t.Helper()
	dt := read(t, dir, d.Digest)
	require.Equal(t, d.Size, int64(len(dt)))
	require.NoError(t, json.Unmarshal(dt, &v))
	return v
}

func blobs(t testing.TB, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(dir, blobsDir))
	require.NoError(t, err)
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

// shared is in both images of the fixture; each has one more.
func fixture(t testing.TB) (*builder, ocispecs.Descriptor, [][]byte) {
	b := &builder{t: t}
	layers := [][]byte{
		layer(t, map[string]string{"lib": string(sample(2*blockSize + 5))}),
		layer(t, map[string]string{"amd64": "x"}), layer(t, map[string]string{"{arm64": "y"}),
	}
	amd, arm := b.image("amd64", layers[0], layers[1]), b.image("arm64", layers[0], layers[2])
	same := b.image("riscv64", layers[0])
	d := digest.FromBytes(layers[0])
	// An attestation may come before what it is about.
	return b, b.index(b.attestation(amd, d, digest.FromBytes(layers[1])), amd, arm, b.attestation(arm, d), same), layers
}

func TestFinish(t *testing.T) {
	b, top, layers := fixture(t)
	dir := t.TempDir()
	l := begin(t, dir, Options{})
	require.Equal(t, 3, b.send(l.Store()))
	out, err := l.Finish(t.Context(), top, []string{"registry.example.com/team/app:1"})
	require.NoError(t, err)
	require.NotEqual(t, top.Digest, out.Digest)

	found, err := ocilayout.Open(dir)
	require.NoError(t, err)
	defer found.Close()
	desc, err := found.Resolve("registry.example.com/team/app:1")
	require.NoError(t, err)
	require.Equal(t, out.Digest, desc.Digest)
	idx := decode[ocispecs.Index](t, dir, desc)
	require.Len(t, idx.Manifests, 5)
	images := map[string]ocispecs.Descriptor{}
	reachable := map[digest.Digest]bool{desc.Digest: true}
	for i, arch := range []string{"", "amd64", "arm64", "", "riscv64"} {
		d := idx.Manifests[i]
		reachable[d.Digest] = true
		if arch == "" {
			continue
		}
		require.Equal(t, arch, d.Platform.Architecture)
		images[arch] = d
		m := decode[ocispecs.Manifest](t, dir, d)
		c := decode[config](t, dir, m.Config)
		reachable[m.Config.Digest] = true
		require.Len(t, m.Layers, len(c.RootFS.DiffIDs))
		for i, l := range m.Layers {
			reachable[l.Digest] = true
			require.Equal(t, ocispecs.MediaTypeImageLayerGzip, l.MediaType)
			require.Equal(t, c.RootFS.DiffIDs[i], digest.FromBytes(gunzip(t, read(t, dir, l.Digest))))
		}
	}
	first := decode[ocispecs.Manifest](t, dir, images["amd64"]).Layers[0]
	for i, arch := range map[int]string{0: "amd64", 3: "arm64"} {
		d := idx.Manifests[i]
		require.Equal(t, string(images[arch].Digest), d.Annotations[annotationReferenceDigest])
		require.Equal(t, attestationManifest, d.Annotations[annotationReferenceType])
		m := decode[ocispecs.Manifest](t, dir, d)
		require.Equal(t, images[arch].Digest, m.Subject.Digest)
		require.Equal(t, images[arch].Size, m.Subject.Size)
		require.Equal(t, "application/vnd.docker.attestation.manifest.v1+json", m.ArtifactType)
		c := decode[config](t, dir, m.Config)
		reachable[m.Config.Digest] = true
		for i, l := range m.Layers {
			reachable[l.Digest] = true
			require.Equal(t, c.RootFS.DiffIDs[i], l.Digest)
			require.Equal(t, "https://example.com/x", l.Annotations["in-toto.io/predicate-type"])
			statement := string(read(t, dir, l.Digest))
			require.Contains(t, statement, `{"sha256":"`+images[arch].Digest.Encoded()+`"}`)
			if i == 0 {
				require.Contains(t, statement, "layerID: "+string(first.Digest))
				require.Contains(t, statement, `"diffID":"`+string(digest.FromBytes(layers[0]))+`"`)
			}
		}
	}
	// Nothing else is there, and the layers can be read as they came.
	require.Len(t, blobs(t, dir), len(reachable))
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 3)
	for _, dt := range layers {
		got, err := io.ReadAll(l.Uncompressed(digest.FromBytes(dt)))
		require.NoError(t, err)
		require.True(t, bytes.Equal(dt, got))
	}
	require.Nil(t, l.Uncompressed(top.Digest))
	require.NoError(t, l.Close())
	require.Nil(t, l.Uncompressed(digest.FromBytes(layers[0])))
}

// One image without an index, which Docker's media types name.
func TestDocker(t *testing.T) {
	b := &builder{t: t}
	dt := layer(t, map[string]string{"a": "b"})
	m := ocispecs.Manifest{MediaType: typeDockerManifest, Layers: []ocispecs.Descriptor{b.blob("application/vnd.docker.image.rootfs.diff.tar", dt)}}
	m.Config = b.json("application/vnd.docker.container.image.v1+json", config{OS: "linux"})
	top := b.json(typeDockerManifest, m)
	dir := t.TempDir()
	l := begin(t, dir, Options{})
	b.send(l.Store())
	out, err := l.Finish(t.Context(), top, nil)
	require.NoError(t, err)
	require.Equal(t, "application/vnd.docker.image.rootfs.diff.tar.gzip", decode[ocispecs.Manifest](t, dir, out).Layers[0].MediaType)
	found, err := ocilayout.Open(dir)
	require.NoError(t, err)
	defer found.Close()
	require.Equal(t, "latest", found.Index.Manifests[0].Annotations[ocispecs.AnnotationRefName])
}

// What is compressed already stays as it is, to the byte.
func TestCompressedAlready(t *testing.T) {
	b := &builder{t: t}
	gz := deflate(t, layer(t, map[string]string{"a": "b"}), 1, 100)
	zst := []byte{0x28, 0xb5, 0x2f, 0xfd, 1, 2, 3}
	m := ocispecs.Manifest{MediaType: ocispecs.MediaTypeImageManifest, Layers: []ocispecs.Descriptor{
		b.blob(ocispecs.MediaTypeImageLayerGzip, gz), b.blob(ocispecs.MediaTypeImageLayerZstd, zst),
	}}
	m.Config = b.json(ocispecs.MediaTypeImageConfig, config{OS: "linux"})
	image := b.json(ocispecs.MediaTypeImageManifest, m)
	top := b.index(image, b.attestation(image, digest.FromBytes(gz)))
	dir := t.TempDir()
	l := begin(t, dir, Options{})
	b.send(l.Store())
	out, err := l.Finish(t.Context(), top, nil)
	require.NoError(t, err)
	require.Equal(t, top.Digest, out.Digest)
	require.Len(t, blobs(t, dir), len(b.sent))
}

// The result depends on nothing but the image.
func TestDeterministic(t *testing.T) {
	var want digest.Digest
	for _, procs := range []int{1, 2, 3} {
		before := runtime.GOMAXPROCS(procs)
		for range 3 {
			b, top, _ := fixture(t)
			l := begin(t, t.TempDir(), Options{})
			b.send(l.Store())
			out, err := l.Finish(t.Context(), top, nil)
			require.NoError(t, err)
			if want == "" {
				want = out.Digest
			}
			require.Equal(t, want, out.Digest)
		}
		runtime.GOMAXPROCS(before)
	}
	require.Equal(t, goldenImage, want.Encoded())
}

const goldenImage = "b37d7dada5e19b4e59ea775d095933b00e33669303182994e7e9ce6609042b3f"

// A layer that an earlier layout has is neither sent nor compressed again.
func TestKnown(t *testing.T) {
	known := &Known{Dir: filepath.Join(t.TempDir(), "layers")}
	old := t.TempDir()
	write := func(dir string, o Options) (ocispecs.Descriptor, Stats, int) {
		b, top, _ := fixture(t)
		var stats Stats
		o.Known = known
		o.Step = func(ctx context.Context, work func(context.Context) (Stats, error)) (err error) {
			stats, err = work(ctx)
			return err
		}
		l := begin(t, dir, o)
		n := b.send(l.Store())
		out, err := l.Finish(t.Context(), top, nil)
		require.NoError(t, err)
		return out, stats, n
	}
	want, stats, n := write(old, Options{})
	require.Equal(t, 3, n)
	require.Equal(t, 3, stats.Layers)
	require.Zero(t, stats.Known)
	require.Less(t, stats.After, stats.Before)
	again := t.TempDir()
	got, stats, n := write(again, Options{Old: old})
	require.Equal(t, want.Digest, got.Digest)
	require.Zero(t, n)
	require.Equal(t, 3, stats.Known)
	require.Equal(t, blobs(t, old), blobs(t, again))

	// Whatever happened to the old layout or to what is remembered: it is compressed again.
	list := blobs(t, old)
	for name, spoil := range map[string]func(dir string){
		"gone": func(dir string) { require.NoError(t, os.RemoveAll(dir)) },
		"content": func(dir string) {
			for _, name := range list {
				f, err := os.OpenFile(filepath.Join(dir, blobsDir, name), os.O_RDWR, 0)
				require.NoError(t, err)
				_, err = f.WriteAt([]byte("xx"), 0)
				require.NoError(t, errors.Join(err, f.Close()))
			}
		},
		"links": func(dir string) {
			for _, name := range list {
				path := filepath.Join(dir, blobsDir, name)
				require.NoError(t, os.Remove(path))
				require.NoError(t, os.Symlink(filepath.Join(old, blobsDir, name), path))
			}
		},
		"records": func(string) {
			entries, err := os.ReadDir(known.Dir)
			require.NoError(t, err)
			for _, e := range entries {
				require.NoError(t, os.WriteFile(filepath.Join(known.Dir, e.Name()), []byte(`{"compressor":"another","digest":"sha256:1","size":-1}`), 0o600))
			}
		},
	} {
		dir := filepath.Join(t.TempDir(), "old")
		require.NoError(t, os.CopyFS(dir, os.DirFS(old)))
		spoil(dir)
		got, stats, n = write(t.TempDir(), Options{Old: dir})
		require.Equal(t, want.Digest, got.Digest, name)
		require.Equal(t, 3, n, name)
		require.Zero(t, stats.Known, name)
	}
	// A directory that cannot be written remembers nothing, and nothing else.
	require.NoError(t, os.RemoveAll(known.Dir))
	require.NoError(t, os.WriteFile(known.Dir, nil, 0o600))
	got, _, _ = write(t.TempDir(), Options{Old: old})
	require.Equal(t, want.Digest, got.Digest)
}

func TestPrune(t *testing.T) {
	none := filepath.Join(t.TempDir(), "none")
	require.NoError(t, (&Known{Dir: none, ReadOnly: true}).put(digest.FromString("x"), packedBlob{digest.FromString("x"), 1}))
	require.NoDirExists(t, none)
	k := &Known{Dir: t.TempDir()}
	for i := range maxKnown + 20 {
		require.NoError(t, k.put(digest.FromString(fmt.Sprint(i)), packedBlob{digest.FromString("x"), 1}))
	}
	entries, err := os.ReadDir(k.Dir)
	require.NoError(t, err)
	require.Len(t, entries, maxKnown)
	require.NotNil(t, k.get(digest.FromString(fmt.Sprint(maxKnown+19))))
}

// A builder is not believed.
func TestHostile(t *testing.T) {
	dt := layer(t, map[string]string{"a": "b"})
	manifest := func(b *builder, change func(*ocispecs.Manifest)) ocispecs.Descriptor {
		m := ocispecs.Manifest{MediaType: ocispecs.MediaTypeImageManifest, Layers: []ocispecs.Descriptor{b.blob(ocispecs.MediaTypeImageLayer, dt)}}
		m.Config = b.json(ocispecs.MediaTypeImageConfig, config{OS: "linux"})
		change(&m)
		return b.json(ocispecs.MediaTypeImageManifest, m)
	}
	for want, send := range map[string]func(b *builder) ocispecs.Descriptor{
		"the builder did not send blob": func(b *builder) ocispecs.Descriptor {
			return manifest(b, func(m *ocispecs.Manifest) { m.Layers[0].Digest = digest.FromString("none") })
		},
		"and its descriptor says 3": func(b *builder) ocispecs.Descriptor {
			return manifest(b, func(m *ocispecs.Manifest) { m.Layers[0].Size = 3 })
		},
		"and its descriptor says -1": func(b *builder) ocispecs.Descriptor {
			return manifest(b, func(m *ocispecs.Manifest) { m.Config.Size = -1 })
		},
		`layer 0: digest "../../x"`: func(b *builder) ocispecs.Descriptor {
			return manifest(b, func(m *ocispecs.Manifest) { m.Layers[0].Digest = "../../x" })
		},
		"unexpected end of JSON": func(b *builder) ocispecs.Descriptor { return b.blob(ocispecs.MediaTypeImageManifest, []byte("{")) },
		"layers: json: cannot": func(b *builder) ocispecs.Descriptor {
			return b.blob(ocispecs.MediaTypeImageManifest, []byte(`{"layers":1}`))
		},
		"at most 4194304 are read": func(b *builder) ocispecs.Descriptor {
			return b.blob(ocispecs.MediaTypeImageIndex, append([]byte("{"), make([]byte, maxManifest)...))
		},
		"indexes lie more than 4 deep": func(b *builder) ocispecs.Descriptor {
			top := b.index()
			for range 5 {
				top = b.index(top)
			}
			return top
		},
		"digest \"\"": func(b *builder) ocispecs.Descriptor {
			return b.blob(ocispecs.MediaTypeImageIndex, []byte(`{"manifests":[{}]}`))
		},
		"digest \"": func(b *builder) ocispecs.Descriptor {
			return b.blob(ocispecs.MediaTypeImageIndex, []byte(`{"manifests":[null]}`))
		},
	} {
		b := &builder{t: t}
		top := send(b)
		dir := t.TempDir()
		l := begin(t, dir, Options{})
		b.send(l.Store())
		_, err := l.Finish(t.Context(), top, nil)
		require.ErrorContains(t, err, want)
		require.NoFileExists(t, filepath.Join(dir, ocispecs.ImageIndexFile))
	}
}

func TestStore(t *testing.T) {
	dir := t.TempDir()
	l := begin(t, dir, Options{})
	store := l.Store()
	data := layer(t, map[string]string{"a": string(sample(100))})
	desc := ocispecs.Descriptor{MediaType: ocispecs.MediaTypeImageLayer, Digest: digest.FromBytes(data), Size: int64(len(data))}
	open := func(ref string, d ocispecs.Descriptor) (content.Writer, error) {
		return store.Writer(t.Context(), content.WithRef(ref), content.WithDescriptor(d))
	}
	_, err := open("", desc)
	require.ErrorIs(t, err, errdefs.ErrInvalidArgument)
	_, err = open("layer-x", ocispecs.Descriptor{Digest: "sha512:" + digest.Digest(strings.Repeat("0", 128))})
	require.ErrorIs(t, err, errdefs.ErrInvalidArgument)
	_, err = open("layer-x", ocispecs.Descriptor{Digest: "../x"})
	require.ErrorIs(t, err, errdefs.ErrInvalidArgument)

	w, err := open("layer-x", desc)
	require.NoError(t, err)
	_, err = open("layer-x", desc)
	require.ErrorIs(t, err, errdefs.ErrUnavailable)
	_, err = w.Write(append(bytes.Clone(data), 1))
	require.ErrorIs(t, err, errdefs.ErrFailedPrecondition)
	_, err = w.Write([]byte("something else"))
	require.NoError(t, err)
	require.Error(t, w.Commit(t.Context(), 0, desc.Digest))
	require.Empty(t, blobs(t, dir), "nothing is left of what was not committed")

	// One that broke off is begun anew.
	w, err = open("layer-x", desc)
	require.NoError(t, err)
	_, err = w.Write([]byte("something else"))
	require.NoError(t, err)
	require.NoError(t, w.Truncate(0))
	_, err = w.Write(data)
	require.NoError(t, err)
	require.NoError(t, w.Commit(t.Context(), desc.Size, desc.Digest))
	require.Error(t, w.Commit(t.Context(), desc.Size, desc.Digest))
	require.NoError(t, w.Close())
	require.Len(t, blobs(t, dir), 1)
	_, err = open("layer-y", desc)
	require.ErrorIs(t, err, errdefs.ErrAlreadyExists)
	info, err := store.Info(t.Context(), desc.Digest)
	require.NoError(t, err)
	require.Equal(t, desc.Size, info.Size)
	got, err := content.ReadBlob(t.Context(), store, desc)
	require.NoError(t, err)
	require.True(t, bytes.Equal(data, got))
	_, err = store.Info(t.Context(), digest.FromString("x"))
	require.ErrorIs(t, err, errdefs.ErrNotFound)
}

func TestCancelled(t *testing.T) {
	b, top, _ := fixture(t)
	dir := t.TempDir()
	l := begin(t, dir, Options{})
	b.send(l.Store())
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("enough")
	cancel(stop)
	_, err := l.Finish(ctx, top, nil)
	require.ErrorIs(t, err, stop)
	require.NoFileExists(t, filepath.Join(dir, ocispecs.ImageIndexFile))
}

// A builder may go on writing when the build was given up.
func TestClosed(t *testing.T) {
	dir := t.TempDir()
	l := begin(t, dir, Options{})
	data := layer(t, map[string]string{"a": "b"})
	desc := ocispecs.Descriptor{Digest: digest.FromBytes(data), Size: int64(len(data))}
	var open []content.Writer
	for _, ref := range []string{"layer-x", "config-x"} {
		w, err := l.Store().Writer(t.Context(), content.WithRef(ref), content.WithDescriptor(desc))
		require.NoError(t, err)
		_, err = w.Write(data)
		require.NoError(t, err)
		open = append(open, w)
	}
	require.NoError(t, l.Close())
	for _, w := range open {
		require.Error(t, w.Commit(t.Context(), desc.Size, desc.Digest))
		require.NoError(t, w.Close())
	}
	_, err := l.Store().Info(t.Context(), desc.Digest)
	require.ErrorIs(t, err, errdefs.ErrNotFound)
}
