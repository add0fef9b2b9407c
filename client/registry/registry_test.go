package registry

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"cuelabs.dev/go/oci/ociregistry/ocimem"
	"cuelabs.dev/go/oci/ociregistry/ociserver"
	"github.com/google/go-containerregistry/pkg/name"
	digest "github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"
)

// quick is as persistent as the default and does not wait.
var quick = Retry{Attempts: 4, Base: time.Millisecond, Cap: 20 * time.Millisecond}

// server is a registry in memory behind what a test puts before it.
type server struct {
	*httptest.Server
	mu       sync.Mutex
	before   func(w http.ResponseWriter, r *http.Request, next http.Handler)
	requests []string
}

func newServer(t *testing.T, o *ociserver.Options) *server {
	t.Helper()
	next := ociserver.New(ocimem.NewWithConfig(&ocimem.Config{LaxChildReferences: true}), o)
	s := &server{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.requests = append(s.requests, r.Method+" "+r.URL.Path)
		before := s.before
		s.mu.Unlock()
		if before != nil {
			before(w, r, next)
			return
		}
		next.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

// put puts a handler before the registry, and forgets the requests so far.
func (s *server) put(before func(w http.ResponseWriter, r *http.Request, next http.Handler)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.before, s.requests = before, nil
}

func (s *server) count(prefix string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, r := range s.requests {
		if strings.HasPrefix(r, prefix) {
			n++
		}
	}
	return n
}

func (s *server) open(t *testing.T, repo string, o Options) *Repository {
	t.Helper()
	n, err := name.NewRepository(strings.TrimPrefix(s.URL, "http://") + "/" + repo)
	require.NoError(t, err)
	if o.Retry == (Retry{}) {
		o.Retry = quick
	}
	r, err := Open(t.Context(), n, o)
	require.NoError(t, err)
	r.chunk = chunk
	return r
}

// content is a blob for pushing.
func content(t *testing.T, size int) (ocispecs.Descriptor, []byte, Content) {
	t.Helper()
	dt := make([]byte, size)
	_, err := rand.Read(dt)
	require.NoError(t, err)
	return ocispecs.Descriptor{MediaType: "application/octet-stream", Digest: digest.FromBytes(dt), Size: int64(size)}, dt, of(dt)
}

func of(dt []byte) Content {
	return func(offset int64) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(dt[offset:])), nil }
}

// artifact pushes what a manifest without layers needs, and returns one.
func artifact(t *testing.T, r *Repository, subject *ocispecs.Descriptor, note string) (ocispecs.Descriptor, []byte) {
	t.Helper()
	empty := ocispecs.DescriptorEmptyJSON
	_, err := r.PushBlob(t.Context(), empty, of(empty.Data), BlobOptions{})
	require.NoError(t, err)
	dt, err := json.Marshal(ocispecs.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispecs.MediaTypeImageManifest, ArtifactType: "application/x.test",
		Config: empty, Layers: []ocispecs.Descriptor{empty}, Subject: subject, Annotations: map[string]string{"note": note},
	})
	require.NoError(t, err)
	return ocispecs.Descriptor{MediaType: ocispecs.MediaTypeImageManifest, Digest: digest.FromBytes(dt), Size: int64(len(dt))}, dt
}

func push(t *testing.T, r *Repository, ref string, desc ocispecs.Descriptor, dt []byte) {
	t.Helper()
	if ref == "" {
		ref = desc.Digest.String()
	}
	require.NoError(t, r.PutManifest(t.Context(), ref, desc.MediaType, dt))
}

func TestManifests(t *testing.T) {
	s := newServer(t, nil)
	r := s.open(t, "a/b", Options{})
	_, err := r.Head(t.Context(), "v1")
	require.ErrorIs(t, err, ErrNotFound)
	_, _, err = r.Manifest(t.Context(), "v1")
	require.ErrorIs(t, err, ErrNotFound)
	_, err = r.Tags(t.Context())
	require.ErrorIs(t, err, ErrNotFound)

	desc, dt := artifact(t, r, nil, "")
	push(t, r, "v1", desc, dt)
	for _, ref := range []string{"v1", desc.Digest.String()} {
		got, err := r.Head(t.Context(), ref)
		require.NoError(t, err)
		require.Equal(t, desc, got)
		got, data, err := r.Manifest(t.Context(), ref)
		require.NoError(t, err)
		require.Equal(t, desc, got)
		require.Equal(t, dt, data)
	}
	for _, ref := range []string{"", "a/b", "a:b", "sha256:00", strings.Repeat("x", 200), "../../x"} {
		_, _, err := r.Manifest(t.Context(), ref)
		require.Error(t, err, ref)
	}
	err = r.PutManifest(t.Context(), digest.FromString("other").String(), desc.MediaType, dt)
	require.ErrorContains(t, err, "its digest is")
	err = r.PutManifest(t.Context(), "big", desc.MediaType, make([]byte, MaxManifest+1))
	require.ErrorContains(t, err, "at most")
}

func TestTagsComeInPages(t *testing.T) {
	s := newServer(t, &ociserver.Options{MaxListPageSize: 1000})
	r := s.open(t, "a", Options{})
	desc, dt := artifact(t, r, nil, "")
	var want []string
	for i := range 7 {
		tag := fmt.Sprintf("v%d", i)
		push(t, r, tag, desc, dt)
		want = append(want, tag)
	}
	// The registry gives three at a time, whatever is asked for.
	s.put(func(w http.ResponseWriter, req *http.Request, next http.Handler) {
		q := req.URL.Query()
		require.Equal(t, "/v2/a/tags/list", req.URL.Path)
		q.Set("n", "3")
		req.URL.RawQuery = q.Encode()
		next.ServeHTTP(w, req)
	})
	got, err := r.Tags(t.Context())
	require.NoError(t, err)
	require.Equal(t, want, got)
	require.Equal(t, 3, s.count("GET"))
}

func TestHostileManifests(t *testing.T) {
	image := `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{},"layers":[]}`
	for name, c := range map[string]struct {
		body, contentType, digest, ref, want string
	}{
		"another than asked for":   {image, ocispecs.MediaTypeImageManifest, "", digest.FromString("other").String(), "damaged or exchanged"},
		"another than said":        {image, ocispecs.MediaTypeImageManifest, digest.FromString("other").String(), "v1", "damaged or exchanged"},
		"too large":                {`"` + strings.Repeat("x", MaxManifest) + `"`, ocispecs.MediaTypeImageManifest, "", "v1", "larger than"},
		"a page":                   {"<html>log in</html>", "text/html", "", "v1", "no manifest"},
		"an array":                 {"[]", ocispecs.MediaTypeImageManifest, "", "v1", "no manifest"},
		"an image and an index":    {`{"manifests":[],"layers":[]}`, ocispecs.MediaTypeImageIndex, "", "v1", "something of both"},
		"of no type":               {`{}`, "", "", "v1", "no media type"},
		"of a type with no end":    {`{"mediaType":"` + strings.Repeat("a", 300) + `"}`, "", "", "v1", "no media type"},
		"fine":                     {image, ocispecs.MediaTypeImageManifest, "", "v1", ""},
		"fine, in a general type":  {image, "application/json", "", "v1", ""},
		"fine, with a digest":      {image, ocispecs.MediaTypeImageManifest, digest.FromString(image).String(), "v1", ""},
		"fine, with another alg":   {image, ocispecs.MediaTypeImageManifest, digest.SHA512.FromString(image).String(), "v1", ""},
		"fine, with a false alg":   {image, ocispecs.MediaTypeImageManifest, "md5:00", "v1", ""},
		"wrong with another alg":   {image, ocispecs.MediaTypeImageManifest, digest.SHA512.FromString("x").String(), "v1", "damaged or exchanged"},
		"sha512 where it is known": {image, ocispecs.MediaTypeImageManifest, "", digest.SHA512.FromString(image).String(), ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t, nil)
			s.put(func(w http.ResponseWriter, req *http.Request, next http.Handler) {
				if req.URL.Path == "/v2/" {
					return
				}
				w.Header().Set("Content-Type", c.contentType)
				if c.digest != "" {
					w.Header().Set(dockerContentDigest, c.digest)
				}
				_, _ = io.WriteString(w, c.body)
			})
			desc, dt, err := s.open(t, "a", Options{}).Manifest(t.Context(), c.ref)
			if c.want != "" {
				require.ErrorContains(t, err, c.want)
				require.Nil(t, dt)
				return
			}
			require.NoError(t, err)
			require.Equal(t, ocispecs.MediaTypeImageManifest, desc.MediaType)
			require.Equal(t, c.body, string(dt))
		})
	}
}

// What a registry has done while its answer was lost, or was an error, is found out.
func TestAnswersOfPushesAreLost(t *testing.T) {
	for name, lose := range map[string]func(w http.ResponseWriter, r *http.Request, next http.Handler){
		"cut": func(_ http.ResponseWriter, r *http.Request, next http.Handler) {
			next.ServeHTTP(httptest.NewRecorder(), r)
			panic(http.ErrAbortHandler)
		},
		"500 after having accepted": func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			next.ServeHTTP(httptest.NewRecorder(), r)
			w.WriteHeader(http.StatusInternalServerError)
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t, nil)
			r := s.open(t, "a", Options{})
			desc, dt := artifact(t, r, nil, "")
			s.put(func(w http.ResponseWriter, req *http.Request, next http.Handler) {
				if req.Method == http.MethodPut {
					lose(w, req, next)
					return
				}
				next.ServeHTTP(w, req)
			})
			push(t, r, "v1", desc, dt)
			require.Equal(t, 1, s.count("PUT"), "it was pushed once")

			small, _, open := content(t, 1000)
			got, err := r.PushBlob(t.Context(), small, open, BlobOptions{})
			require.NoError(t, err)
			require.Equal(t, Pushed, got)
			require.Equal(t, 2, s.count("PUT"), "it was sent once")
		})
	}
}

func TestTemporaryFailures(t *testing.T) {
	for _, status := range []int{408, 429, 500, 502, 503, 504, 524} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			s := newServer(t, nil)
			var told []string
			var mu sync.Mutex
			r := s.open(t, "a", Options{Notice: func(line string) {
				mu.Lock()
				defer mu.Unlock()
				told = append(told, line)
			}})
			var bad sync.Map // each request fails once
			s.put(func(w http.ResponseWriter, req *http.Request, next http.Handler) {
				kind, _, _ := strings.Cut(req.URL.Path, "/uploads/") // the rest is another each time
				if _, again := bad.LoadOrStore(req.Method+kind, true); !again {
					w.WriteHeader(status)
					return
				}
				next.ServeHTTP(w, req)
			})
			desc, dt := artifact(t, r, nil, "")
			push(t, r, "v1", desc, dt)
			_, _, err := r.Manifest(t.Context(), "v1")
			require.NoError(t, err)
			_, err = r.Referrers(t.Context(), desc.Digest)
			require.NoError(t, err)
			mu.Lock()
			defer mu.Unlock()
			require.NotEmpty(t, told)
			require.Contains(t, told[0], "trying again in")
		})
	}
}

func TestLastingFailures(t *testing.T) {
	for status, check := range map[int]func(t *testing.T, err error){
		401: denied, 403: denied, 429: unreachable, 500: unreachable, 503: unreachable,
	} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			s := newServer(t, nil)
			r := s.open(t, "a", Options{})
			desc, dt := artifact(t, r, nil, "")
			push(t, r, "v1", desc, dt)
			s.put(func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
				w.Header().Set("Content-Type", "application/json")
				w.WriteHeader(status)
				_, _ = io.WriteString(w, `{"errors":[{"code":"SOME_CODE","message":"some\u001b[31m words"}]}`)
			})
			for _, f := range []func(ctx context.Context) error{
				func(ctx context.Context) error { _, err := r.Head(ctx, "v1"); return err },
				func(ctx context.Context) error { _, _, err := r.Manifest(ctx, "v1"); return err },
				func(ctx context.Context) error { _, err := r.Referrers(ctx, desc.Digest); return err },
				func(ctx context.Context) error { _, err := r.HasReferrersAPI(ctx); return err },
				func(ctx context.Context) error { _, err := r.Tags(ctx); return err },
				func(ctx context.Context) error { _, err := r.HasBlob(ctx, desc.Digest); return err },
				func(ctx context.Context) error { return r.PutManifest(ctx, "v2", desc.MediaType, dt) },
				func(ctx context.Context) error {
					_, err := r.PushBlob(ctx, desc, of(dt), BlobOptions{})
					return err
				},
				func(ctx context.Context) error { _, err := r.Blob(ctx, desc); return err },
			} {
				err := f(t.Context())
				check(t, err)
				require.NotErrorIs(t, err, ErrNotFound)
				require.NotContains(t, err.Error(), "\x1b")
			}
			s.put(nil)
			_, err := r.Referrers(t.Context(), desc.Digest)
			require.NoError(t, err, "what failed is asked for again")
		})
	}
}

func denied(t *testing.T, err error) {
	t.Helper()
	var d *DeniedError
	require.ErrorAs(t, err, &d)
	require.Equal(t, "a", d.Repository)
}

func unreachable(t *testing.T, err error) {
	t.Helper()
	var u *UnreachableError
	require.ErrorAs(t, err, &u)
}

func TestNobodyListens(t *testing.T) {
	s := newServer(t, nil)
	r := s.open(t, "a", Options{})
	s.Close()
	_, err := r.Head(t.Context(), "v1")
	unreachable(t, err)
	_, err = r.Referrers(t.Context(), nobody)
	unreachable(t, err)
	require.ErrorContains(t, err, "connection refused")
}

func TestCancelled(t *testing.T) {
	s := newServer(t, nil)
	r := s.open(t, "a", Options{Retry: Retry{Attempts: 100, Base: time.Hour, Cap: time.Hour}})
	ctx, cancel := context.WithCancel(t.Context())
	s.put(func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		cancel()
		w.WriteHeader(http.StatusServiceUnavailable)
	})
	_, err := r.Head(ctx, "v1")
	require.ErrorIs(t, err, context.Canceled)
	var u *UnreachableError
	require.NotErrorAs(t, err, &u)
}

func descriptor(d digest.Digest, size int) ocispecs.Descriptor {
	return ocispecs.Descriptor{MediaType: "application/octet-stream", Digest: d, Size: int64(size)}
}
