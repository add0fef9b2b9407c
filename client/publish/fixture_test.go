package publish_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"cuelabs.dev/go/oci/ociregistry/ocimem"
	"cuelabs.dev/go/oci/ociregistry/ociserver"
	"github.com/google/go-containerregistry/pkg/name"
	ggcr "github.com/google/go-containerregistry/pkg/registry"
	digest "github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/client/publish"
	"github.com/temper-images/temper/client/referrer"
	"github.com/temper-images/temper/client/registry"
	"github.com/temper-images/temper/client/signing"
)

// layout is an OCI layout in a directory.
type layout struct {
	t   *testing.T
	dir string
}

func newLayout(t *testing.T) layout {
	t.Helper()
	l := layout{t, t.TempDir()}
	require.NoError(t, os.MkdirAll(filepath.Join(l.dir, "blobs", "sha256"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(l.dir, "oci-layout"), []byte(`{"imageLayoutVersion":"1.0.0"}`), 0o644))
	return l
}

func (l layout) blob(mediaType string, data []byte) ocispecs.Descriptor {
	d := digest.FromBytes(data)
	require.NoError(l.t, os.WriteFile(filepath.Join(l.dir, "blobs", "sha256", d.Encoded()), data, 0o644))
	return ocispecs.Descriptor{MediaType: mediaType, Digest: d, Size: int64(len(data))}
}

func (l layout) json(mediaType string, v any) ocispecs.Descriptor {
	data, err := json.Marshal(v)
	require.NoError(l.t, err)
	return l.blob(mediaType, data)
}

// image is a manifest for a platform: "arm/v7".
func (l layout) image(platform string) ocispecs.Descriptor {
	arch, variant, _ := strings.Cut(platform, "/")
	p := ocispecs.Platform{OS: "linux", Architecture: arch, Variant: variant}
	d := l.json(ocispecs.MediaTypeImageManifest, ocispecs.Manifest{
		MediaType: ocispecs.MediaTypeImageManifest,
		Config:    l.json(ocispecs.MediaTypeImageConfig, ocispecs.Image{Platform: p}),
		Layers: []ocispecs.Descriptor{
			l.blob(ocispecs.MediaTypeImageLayer, []byte("base")),
			l.blob(ocispecs.MediaTypeImageLayer, bytes.Repeat([]byte(platform), 1000)),
		},
		Annotations: map[string]string{ocispecs.AnnotationBaseImageName: "docker.io/library/debian:bookworm"},
	})
	d.Platform = &p
	return d
}

// attestation is a manifest like BuildKit's about another.
func (l layout) attestation(about digest.Digest) ocispecs.Descriptor {
	d := l.json(ocispecs.MediaTypeImageManifest, ocispecs.Manifest{
		MediaType: ocispecs.MediaTypeImageManifest,
		Config:    l.json(ocispecs.MediaTypeImageConfig, ocispecs.Image{Platform: ocispecs.Platform{OS: "unknown", Architecture: "unknown"}}),
		Layers:    []ocispecs.Descriptor{l.blob("application/vnd.in-toto+json", []byte(`{"about":"`+about.String()+`"}`))},
	})
	d.Platform = &ocispecs.Platform{OS: "unknown", Architecture: "unknown"}
	d.Annotations = map[string]string{"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": about.String()}
	return d
}

func (l layout) index(list ...ocispecs.Descriptor) ocispecs.Descriptor {
	top := l.json(ocispecs.MediaTypeImageIndex, ocispecs.Index{MediaType: ocispecs.MediaTypeImageIndex, Manifests: list})
	l.top(top)
	return top
}

func (l layout) top(d ocispecs.Descriptor) {
	var idx ocispecs.Index
	idx.SchemaVersion = 2
	idx.Manifests = []ocispecs.Descriptor{d}
	data, err := json.Marshal(idx)
	require.NoError(l.t, err)
	require.NoError(l.t, os.WriteFile(filepath.Join(l.dir, "index.json"), data, 0o644))
}

// built is an index for two platforms, each with an attestation manifest.
func built(t *testing.T) (string, ocispecs.Descriptor) {
	t.Helper()
	l := newLayout(t)
	amd, arm := l.image("amd64"), l.image("arm/v7")
	return l.dir, l.index(amd, arm, l.attestation(amd.Digest), l.attestation(arm.Digest))
}

func read(t *testing.T, plain bool) *publish.Image {
	t.Helper()
	dir, top := built(t)
	img, err := publish.Read(t.Context(), dir, top, plain)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, img.Close()) })
	return img
}

// key signs.
type key struct {
	signer   *signing.Signer
	verifier *signing.Verifier
}

var keys = sync.OnceValues(func() (key, error) {
	dir, err := os.MkdirTemp("", "temper-publish-test-")
	if err != nil {
		return key{}, err
	}
	defer os.RemoveAll(dir)
	return newKey(context.Background(), dir)
})

func newKey(ctx context.Context, dir string) (k key, err error) {
	pair, err := signing.Generate("", []byte("secret"))
	if err != nil {
		return k, err
	}
	if err := pair.Write(filepath.Join(dir, "test")); err != nil {
		return k, err
	}
	k.signer, err = signing.Open(ctx, signing.Options{
		Key:      filepath.Join(dir, "test.key"),
		Password: func(context.Context) ([]byte, error) { return []byte("secret"), nil },
	})
	if err != nil {
		return k, err
	}
	k.verifier, err = k.signer.Verifier()
	return k, err
}

// shared is a key that several tests sign with.
func shared(t *testing.T) key {
	t.Helper()
	k, err := keys()
	require.NoError(t, err)
	return k
}

func (k key) attest(t *testing.T, subject digest.Digest, predicateType, text string) referrer.Signed {
	t.Helper()
	statement, err := json.Marshal(map[string]any{
		"_type": "https://in-toto.io/Statement/v1", "predicateType": predicateType,
		"subject":   []any{map[string]any{"name": "image", "digest": map[string]string{"sha256": subject.Encoded()}}},
		"predicate": map[string]string{"text": text},
	})
	require.NoError(t, err)
	signed, err := referrer.Attest(t.Context(), k.signer, statement)
	require.NoError(t, err)
	return signed
}

const (
	predicateSBOM = "https://cyclonedx.org/bom"
	predicateVEX  = "https://openvex.dev/ns"
)

// exchange is one request and its answer.
type exchange struct {
	method, path string
	status       int
	body         string
}

// fake is a registry in this process. before may answer in its stead: with a status
// other than 0.
type fake struct {
	*httptest.Server
	inner http.Handler

	mu     sync.Mutex
	log    []exchange
	before func(*http.Request) int
	after  func(*http.Request, int) int
}

func newFake(t *testing.T, h http.Handler) *fake {
	t.Helper()
	f := &fake{inner: h}
	f.Server = httptest.NewServer(http.HandlerFunc(f.serve))
	t.Cleanup(f.Close)
	return f
}

// withAPI is a registry with the referrers API, and without is one that has none.
func withAPI(t *testing.T) *fake {
	t.Helper()
	return newFake(t, ociserver.New(ocimem.New(), nil))
}

func without(t *testing.T) *fake {
	t.Helper()
	return newFake(t, ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0))))
}

func (f *fake) serve(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return
	}
	req.Body = io.NopCloser(bytes.NewReader(body))
	f.mu.Lock()
	before, after := f.before, f.after
	f.mu.Unlock()
	status := 0
	if before != nil {
		status = before(req)
	}
	if status == 0 {
		answer := httptest.NewRecorder()
		f.inner.ServeHTTP(answer, req)
		status = answer.Code
		if after != nil {
			if other := after(req, status); other != 0 {
				status = other
				answer = httptest.NewRecorder()
			}
		}
		f.note(exchange{req.Method, req.URL.Path, status, string(body)})
		if status == dropped {
			panic(http.ErrAbortHandler)
		}
		for k, v := range answer.Header() {
			w.Header()[k] = v
		}
		w.WriteHeader(status)
		_, _ = w.Write(answer.Body.Bytes())
		return
	}
	f.note(exchange{req.Method, req.URL.Path, status, string(body)})
	if status == dropped {
		panic(http.ErrAbortHandler)
	}
	if status == unknownSubject {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusNotFound)
		_, _ = io.WriteString(w, `{"errors":[{"code":"MANIFEST_BLOB_UNKNOWN","message":"blob unknown to registry"}]}`)
		return
	}
	if status == emptyIndex {
		w.Header().Set("Content-Type", ocispecs.MediaTypeImageIndex)
		_, _ = io.WriteString(w, `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`)
		return
	}
	w.WriteHeader(status)
}

// subjectOf is the subject of the manifest that a request pushes.
func subjectOf(req *http.Request) string {
	body, err := io.ReadAll(req.Body)
	req.Body = io.NopCloser(bytes.NewReader(body))
	if err != nil {
		return ""
	}
	var m struct {
		Subject struct {
			Digest string `json:"digest"`
		} `json:"subject"`
	}
	if json.Unmarshal(body, &m) != nil {
		return ""
	}
	return m.Subject.Digest
}

// Answers that are no statuses: a connection that is cut, a registry that refuses an
// absent subject, and one that has no referrers.
const (
	dropped        = -1
	unknownSubject = -2
	emptyIndex     = -3
)

func (f *fake) note(e exchange) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.log = append(f.log, e)
}

// set has every request go through before, and every answer through after.
func (f *fake) set(before func(*http.Request) int, after func(*http.Request, int) int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.before, f.after, f.log = before, after, nil
}

// exchanges are those since set was called.
func (f *fake) exchanges() []exchange {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]exchange(nil), f.log...)
}

// writes are the manifests that were put, by the last part of their paths.
func (f *fake) writes() []string {
	var list []string
	for _, e := range f.exchanges() {
		if e.method == http.MethodPut && strings.Contains(e.path, "/manifests/") && e.status == http.StatusCreated {
			list = append(list, filepath.Base(e.path))
		}
	}
	return list
}

func (f *fake) tag(t *testing.T, s string) name.Tag {
	t.Helper()
	tag, err := name.NewTag(strings.TrimPrefix(f.URL, "http://") + "/" + s)
	require.NoError(t, err)
	return tag
}

var quick = registry.Retry{Attempts: 4, Base: time.Millisecond, Cap: 20 * time.Millisecond}

// request publishes the image of read with one attestation for each platform.
func request(t *testing.T, img *publish.Image, tags ...name.Tag) *publish.Request {
	t.Helper()
	return requestBy(t, shared(t), img, tags...)
}

func requestBy(t *testing.T, k key, img *publish.Image, tags ...name.Tag) *publish.Request {
	t.Helper()
	r := &publish.Request{
		Image: img, Tags: tags, ArchTags: true, Verifier: k.verifier,
		Sign: func(ctx context.Context, reference string, d ocispecs.Descriptor) (referrer.Signed, error) {
			return referrer.SignImage(ctx, k.signer, reference, d)
		},
		Attachments: map[digest.Digest][]referrer.Signed{},
		Created:     time.Unix(1700000000, 0).UTC(),
		Registry:    registry.Options{Retry: quick},
	}
	for _, m := range img.Platforms() {
		d := m.Descriptor.Digest
		r.Attachments[d] = []referrer.Signed{k.attest(t, d, predicateSBOM, "bom of "+m.Platform), k.attest(t, d, predicateVEX, "vex of "+m.Platform)}
	}
	return r
}

// stranger reads what stands beside a manifest, and counts what the key signed: in
// each form, by predicate type.
func stranger(t *testing.T, k key, tag name.Tag, d digest.Digest) map[string]int {
	t.Helper()
	repo, err := registry.Open(t.Context(), tag.Repository, registry.Options{Retry: quick})
	require.NoError(t, err)
	found, err := referrer.Read(t.Context(), repo, d)
	require.NoError(t, err)
	require.Empty(t, found.Broken)
	count := map[string]int{}
	for _, e := range found.Entries {
		if _, err := e.Verify(t.Context(), k.verifier, d); err != nil {
			count["stranger"]++
			continue
		}
		for _, place := range e.Places {
			count[string(place.Form)+" "+e.PredicateType]++
		}
	}
	return count
}

// whole demands that an image is there with exactly one signature and one of each
// attestation in each form, under all its tags.
func whole(t *testing.T, r *publish.Request, strangers int) {
	t.Helper()
	for _, tag := range r.Tags {
		repo, err := registry.Open(t.Context(), tag.Repository, registry.Options{Retry: quick})
		require.NoError(t, err)
		top, err := repo.Head(t.Context(), tag.TagStr())
		require.NoError(t, err)
		require.Equal(t, r.Image.Top.Digest, top.Digest)
		for _, m := range r.Image.Platforms() {
			got, err := repo.Head(t.Context(), tag.TagStr()+"-"+m.Arch())
			require.NoError(t, err)
			require.Equal(t, m.Descriptor.Digest, got.Digest)
		}
		for _, m := range r.Image.Manifests {
			d := m.Descriptor.Digest
			_, data, err := repo.Manifest(t.Context(), d.String())
			require.NoError(t, err)
			require.Equal(t, m.Data, data)
			want := map[string]int{"bundle " + referrer.SignPredicate: 1, "sig " + referrer.SignPredicate: 1}
			for _, a := range r.Attachments[d] {
				want["bundle "+a.PredicateType] = 1
				want["att "+a.PredicateType] = 1
			}
			got := stranger(t, key{verifier: r.Verifier}, tag, d)
			if strangers == 0 {
				require.Zero(t, got["stranger"])
			}
			delete(got, "stranger")
			require.Equal(t, want, got, "what stands beside %s", d)
		}
	}
}
