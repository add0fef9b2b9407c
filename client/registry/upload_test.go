package registry

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	digest "github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/require"
)

// Blobs of this size and smaller ones are sent whole; large is three chunks.
const (
	chunk = 64 << 10
	large = 2*chunk + chunk/3
)

func pull(t *testing.T, r *Repository, want []byte) {
	t.Helper()
	rc, err := r.Blob(t.Context(), descriptor(digest.FromBytes(want), len(want)))
	require.NoError(t, err)
	defer rc.Close()
	got, err := io.ReadAll(rc)
	require.NoError(t, err)
	require.True(t, bytes.Equal(want, got), "the content is another")
}

func TestPushAndPull(t *testing.T) {
	for _, size := range []int{0, 1, 1000, chunk, chunk + 1, large} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			s := newServer(t, nil)
			r := s.open(t, "a", Options{})
			desc, dt, open := content(t, size)
			var last, total int64
			o := BlobOptions{Progress: func(done, all int64) { last, total = done, all }}
			got, err := r.PushBlob(t.Context(), desc, open, o)
			require.NoError(t, err)
			require.Equal(t, Pushed, got)
			if size > 0 {
				require.Equal(t, []int64{int64(size), int64(size)}, []int64{last, total})
			}
			pull(t, r, dt)
			chunks := 0
			if size > chunk {
				chunks = (size + chunk - 1) / chunk
			}
			require.Equal(t, chunks, s.count("PATCH"))

			got, err = r.PushBlob(t.Context(), desc, open, o)
			require.NoError(t, err)
			require.Equal(t, Present, got)
			require.Equal(t, 1, s.count("POST"))
		})
	}
}

func TestMount(t *testing.T) {
	s := newServer(t, nil)
	from := s.open(t, "from", Options{})
	desc, dt, open := content(t, 5000)
	_, err := from.PushBlob(t.Context(), desc, open, BlobOptions{})
	require.NoError(t, err)

	elsewhere, err := name.NewRepository("registry.example.com/from")
	require.NoError(t, err)
	none := s.open(t, "none", Options{}).Name()
	to := s.open(t, "to", Options{})
	s.put(nil)
	got, err := to.PushBlob(t.Context(), desc, open, BlobOptions{From: []name.Repository{elsewhere, to.Name(), none, none, from.Name()}})
	require.NoError(t, err)
	require.Equal(t, Mounted, got)
	require.Equal(t, 2, s.count("POST"), s.requests)
	require.Zero(t, s.count("PUT"))
	pull(t, to, dt)

	other, dt, open := content(t, 100)
	got, err = to.PushBlob(t.Context(), other, open, BlobOptions{From: []name.Repository{none}})
	require.NoError(t, err)
	require.Equal(t, Pushed, got)
	pull(t, to, dt)
}

// What goes wrong with the second of three chunks.
func TestChunksGoOn(t *testing.T) {
	type handler = func(w http.ResponseWriter, r *http.Request, next http.Handler)
	for name, c := range map[string]struct {
		bad     handler
		state   handler // of the upload, nil is the registry's
		uploads int     // how many are begun
	}{
		"cut before it arrived": {bad: func(http.ResponseWriter, *http.Request, http.Handler) { panic(http.ErrAbortHandler) }, uploads: 1},
		"cut in the middle": {bad: func(_ http.ResponseWriter, r *http.Request, next http.Handler) {
			r.Body = io.NopCloser(io.LimitReader(r.Body, chunk/3))
			r.ContentLength = -1
			r.Header.Del("Content-Range")
			r.Header.Set("Content-Range", fmt.Sprintf("%d-%d", chunk, chunk+chunk/3-1))
			next.ServeHTTP(httptest.NewRecorder(), r)
			panic(http.ErrAbortHandler)
		}, uploads: 1},
		"answer lost": {bad: func(_ http.ResponseWriter, r *http.Request, next http.Handler) {
			next.ServeHTTP(httptest.NewRecorder(), r)
			panic(http.ErrAbortHandler)
		}, uploads: 1},
		"500 after having accepted": {bad: func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			next.ServeHTTP(httptest.NewRecorder(), r)
			w.WriteHeader(http.StatusInternalServerError)
		}, uploads: 1},
		"throttled": {bad: func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
			w.Header().Set("Retry-After", "0")
			w.WriteHeader(http.StatusTooManyRequests)
		}, uploads: 1},
		"the upload is forgotten": {
			bad:     func(http.ResponseWriter, *http.Request, http.Handler) { panic(http.ErrAbortHandler) },
			state:   func(w http.ResponseWriter, _ *http.Request, _ http.Handler) { w.WriteHeader(http.StatusNotFound) },
			uploads: 2,
		},
		"the state says nothing": {
			bad:     func(http.ResponseWriter, *http.Request, http.Handler) { panic(http.ErrAbortHandler) },
			state:   func(w http.ResponseWriter, _ *http.Request, _ http.Handler) { w.WriteHeader(http.StatusNoContent) },
			uploads: 2,
		},
		"the state is beyond the end": {
			bad: func(http.ResponseWriter, *http.Request, http.Handler) { panic(http.ErrAbortHandler) },
			state: func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
				w.Header().Set("Range", "0-999999999999")
				w.WriteHeader(http.StatusNoContent)
			},
			uploads: 2,
		},
		"it is damaged on its way": {bad: func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			dt, _ := io.ReadAll(r.Body)
			dt[len(dt)/2] ^= 1
			r.Body = io.NopCloser(bytes.NewReader(dt))
			next.ServeHTTP(w, r)
		}, uploads: 2},
		"refused at first": {bad: func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
			w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
		}, uploads: 1},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t, nil)
			r := s.open(t, "a", Options{})
			desc, dt, open := content(t, large)
			var patches atomic.Int64
			s.put(func(w http.ResponseWriter, req *http.Request, next http.Handler) {
				switch {
				case req.Method == http.MethodPatch && patches.Add(1) == 2:
					c.bad(w, req, next)
				case req.Method == http.MethodGet && req.URL.Path != "/v2/" && c.state != nil:
					c.state(w, req, next)
				default:
					next.ServeHTTP(w, req)
				}
			})
			got, err := r.PushBlob(t.Context(), desc, open, BlobOptions{})
			require.NoError(t, err)
			require.Equal(t, Pushed, got)
			require.Equal(t, c.uploads, s.count("POST"))
			s.put(nil)
			pull(t, r, dt)
		})
	}
}

// Only the end of an upload is repeated when only the end fails.
func TestEndFails(t *testing.T) {
	s := newServer(t, nil)
	r := s.open(t, "a", Options{})
	desc, dt, open := content(t, large)
	var puts atomic.Int64
	s.put(func(w http.ResponseWriter, req *http.Request, next http.Handler) {
		if req.Method == http.MethodPut && puts.Add(1) < 3 {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		next.ServeHTTP(w, req)
	})
	_, err := r.PushBlob(t.Context(), desc, open, BlobOptions{})
	require.NoError(t, err)
	require.Equal(t, 3, s.count("PATCH"))
	require.Equal(t, 3, s.count("PUT"))
	pull(t, r, dt)
}

// A registry that always forgets is given up.
func TestForgetfulRegistry(t *testing.T) {
	for _, state := range []int{http.StatusNoContent, http.StatusNotFound} {
		s := newServer(t, nil)
		r := s.open(t, "a", Options{})
		desc, _, open := content(t, large)
		s.put(func(w http.ResponseWriter, req *http.Request, next http.Handler) {
			switch {
			case req.Method == http.MethodPatch && !strings.HasPrefix(req.Header.Get("Content-Range"), "0-"):
				panic(http.ErrAbortHandler)
			case req.Method == http.MethodPatch:
				w.Header().Set("Location", req.URL.Path)
				w.WriteHeader(http.StatusAccepted)
			case req.Method == http.MethodGet && req.URL.Path != "/v2/":
				w.Header().Set("Range", "0-0")
				w.WriteHeader(state)
			default:
				next.ServeHTTP(w, req)
			}
		})
		_, err := r.PushBlob(t.Context(), desc, open, BlobOptions{})
		require.Error(t, err)
		require.Less(t, s.count("PATCH"), 20)
	}
}

func TestChunksRefused(t *testing.T) {
	s := newServer(t, nil)
	r := s.open(t, "a", Options{})
	s.put(func(w http.ResponseWriter, req *http.Request, next http.Handler) {
		if req.Header.Get("Content-Range") != "" {
			w.WriteHeader(http.StatusRequestEntityTooLarge)
			return
		}
		next.ServeHTTP(w, req)
	})
	for range 2 {
		desc, dt, open := content(t, large)
		_, err := r.PushBlob(t.Context(), desc, open, BlobOptions{})
		require.NoError(t, err)
		pull(t, r, dt)
	}
	require.Equal(t, 3, s.count("PATCH"), "the second is sent as a stream at once")
}

func TestContentThatChanged(t *testing.T) {
	s := newServer(t, nil)
	r := s.open(t, "a", Options{})
	for _, size := range []int{1000, large} {
		desc, dt, _ := content(t, size)
		broken := errors.New("the disk is broken")
		for name, c := range map[string]struct {
			open Content
			want string
		}{
			"other":      {of(make([]byte, size)), "was changed since"},
			"shorter":    {of(dt[:size-1]), "was changed since"},
			"unreadable": {func(int64) (io.ReadCloser, error) { return nil, broken }, "the disk is broken"},
			"breaking":   {func(int64) (io.ReadCloser, error) { return io.NopCloser(failing{broken}), nil }, "the disk is broken"},
		} {
			t.Run(fmt.Sprint(size, name), func(t *testing.T) {
				_, err := r.PushBlob(t.Context(), desc, c.open, BlobOptions{})
				require.ErrorContains(t, err, c.want)
				there, err := r.HasBlob(t.Context(), desc.Digest)
				require.NoError(t, err)
				require.False(t, there)
			})
		}
		// What is behind the end is nobody's business.
		_, err := r.PushBlob(t.Context(), desc, of(append(bytes.Clone(dt), 1)), BlobOptions{})
		require.NoError(t, err)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func TestPushFromFile(t *testing.T) {
	s := newServer(t, nil)
	r := s.open(t, "a", Options{})
	desc, dt, _ := content(t, large)
	file := filepath.Join(t.TempDir(), "blob")
	require.NoError(t, os.WriteFile(file, dt, 0o600))
	var opened atomic.Int64
	open := func(offset int64) (io.ReadCloser, error) {
		f, err := os.Open(file)
		if err != nil {
			return nil, err
		}
		opened.Add(1)
		_, err = f.Seek(offset, io.SeekStart)
		return closing{f, &opened}, err
	}
	_, err := r.PushBlob(t.Context(), desc, open, BlobOptions{})
	require.NoError(t, err)
	pull(t, r, dt)
	require.Eventually(t, func() bool { return opened.Load() == 0 }, 10e9, 1e6, "every reader is closed")
}

type closing struct {
	*os.File
	open *atomic.Int64
}

func (c closing) Close() error {
	c.open.Add(-1)
	return c.File.Close()
}

// A download goes on where it was cut, with registries that know ranges and others.
func TestPullGoesOn(t *testing.T) {
	for _, ranges := range []bool{true, false} {
		t.Run(fmt.Sprint(ranges), func(t *testing.T) {
			s := newServer(t, nil)
			r := s.open(t, "a", Options{})
			desc, dt, open := content(t, 300_000)
			_, err := r.PushBlob(t.Context(), desc, open, BlobOptions{})
			require.NoError(t, err)
			var n atomic.Int64
			s.put(func(w http.ResponseWriter, req *http.Request, next http.Handler) {
				if !ranges {
					req.Header.Del("Range")
				}
				if n.Add(1) > 2 {
					next.ServeHTTP(w, req)
					return
				}
				rec := httptest.NewRecorder()
				next.ServeHTTP(rec, req)
				for k, v := range rec.Header() {
					w.Header()[k] = v
				}
				w.WriteHeader(rec.Code)
				_, _ = w.Write(rec.Body.Bytes()[:100_000*n.Load()])
				panic(http.ErrAbortHandler)
			})
			pull(t, r, dt)
			require.LessOrEqual(t, s.count("GET"), 4)
		})
	}
}

func TestHostileBlobs(t *testing.T) {
	dt := []byte("content")
	desc := descriptor(digest.FromBytes(dt), len(dt))
	for name, c := range map[string]struct {
		body string
		want string
	}{
		"other":   {"CONTENT", "damaged or exchanged"},
		"longer":  {"content and more", "not 7"},
		"shorter": {"cont", "not 7"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, sized := range []bool{true, false} {
				s := newServer(t, nil)
				s.put(func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
					if !sized {
						w.(http.Flusher).Flush()
					}
					_, _ = io.WriteString(w, c.body)
				})
				rc, err := s.open(t, "a", Options{}).Blob(t.Context(), desc)
				if err == nil {
					_, err = io.ReadAll(rc)
					require.NoError(t, rc.Close())
				}
				require.Error(t, err)
				if sized {
					require.ErrorContains(t, err, c.want)
				}
			}
		})
	}
}
