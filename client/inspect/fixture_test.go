package inspect_test

import (
	"archive/tar"
	"bytes"
	"crypto/md5"
	"crypto/sha1"
	"encoding/base64"
	"encoding/hex"
	"io"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	digest "github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/require"

	"github.com/anchore/syft/syft/sbom"

	"github.com/temper-images/temper/client/imagefs"
	"github.com/temper-images/temper/client/inspect"
	"github.com/temper-images/temper/client/subject"
)

// today is when the tests' exceptions are judged.
var today = time.Date(2026, 3, 14, 15, 0, 0, 0, time.UTC)

// entry is an entry of a layer.
type entry struct {
	name, text string
	mode       int64
	kind       byte
	link       string
	records    map[string]string
}

// fixture is an image in the making.
type fixture struct {
	config    v1.Config
	history   []string
	layers    [][]entry
	catalogue *sbom.SBOM
}

// plain is an image that no rule has anything against.
func plain(entries ...entry) fixture {
	passwd := entry{name: "etc/passwd", text: "root:x:0:0:root:/root:/sbin/nologin\napp:x:1000:1000::/:/sbin/nologin\n"}
	return fixture{
		config: v1.Config{User: "1000:1000", Entrypoint: []string{"/app/server"}, Env: []string{"PATH=/usr/bin:/bin"}},
		layers: [][]entry{append([]entry{passwd, {name: "app/server", text: "\x7fELF\x00", mode: 0o755}}, entries...)},
	}
}

func (f fixture) layer(entries ...entry) fixture {
	f.layers = append(f.layers, entries)
	return f
}

func (f fixture) image(t testing.TB) *subject.Image {
	t.Helper()
	img := empty.Image
	for _, entries := range f.layers {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		for _, e := range entries {
			h := &tar.Header{
				Name: e.name, Mode: e.mode, Typeflag: e.kind, Linkname: e.link, Size: int64(len(e.text)),
				PAXRecords: e.records, Format: tar.FormatPAX,
			}
			if h.Typeflag == 0 {
				h.Typeflag = tar.TypeReg
			}
			if h.Mode == 0 {
				h.Mode = 0o644
			}
			require.NoError(t, w.WriteHeader(h))
			_, err := io.WriteString(w, e.text)
			require.NoError(t, err)
		}
		require.NoError(t, w.Close())
		l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil })
		require.NoError(t, err)
		img, err = mutate.AppendLayers(img, l)
		require.NoError(t, err)
	}
	cfg, err := img.ConfigFile()
	require.NoError(t, err)
	cfg = cfg.DeepCopy()
	cfg.Config = f.config
	cfg.History = nil
	for _, h := range f.history {
		cfg.History = append(cfg.History, v1.History{CreatedBy: h, EmptyLayer: true})
	}
	img, err = mutate.ConfigFile(img, cfg)
	require.NoError(t, err)
	d, err := img.Digest()
	require.NoError(t, err)
	return &subject.Image{Name: "app", Reference: "registry.example.com/app:1", Platform: "linux/amd64", Digest: digest.Digest(d.String()), Image: img}
}

// inspect inspects the image.
func (f fixture) inspect(t testing.TB, p inspect.Policy) *inspect.Document {
	t.Helper()
	d, err := f.run(t, inspect.Options{Policy: p, Now: today})
	require.NoError(t, err)
	return d
}

func (f fixture) run(t testing.TB, o inspect.Options) (*inspect.Document, error) {
	t.Helper()
	img := f.image(t)
	fsys, err := imagefs.Open(t.Context(), img.Image, imagefs.Options{})
	require.NoError(t, err)
	defer func() { require.NoError(t, fsys.Close()) }()
	return inspect.Run(t.Context(), img, fsys, f.catalogue, o)
}

// brief is what a document found, without the words: "ACTION RULE SUBJECT [DETAIL]".
func brief(d *inspect.Document) []string {
	var out []string
	for _, f := range d.Findings {
		s := string(f.Action) + " " + f.Rule + " " + f.Subject.Name
		if f.Detail != "" {
			s += " " + f.Detail
		}
		out = append(out, s)
	}
	return out
}

func md5sum(text string) string {
	sum := md5.Sum([]byte(text))
	return hex.EncodeToString(sum[:])
}

// apkSum is a digest as apk's database has it.
func apkSum(text string) string {
	sum := sha1.Sum([]byte(text))
	return "Q1" + base64.StdEncoding.EncodeToString(sum[:])
}
