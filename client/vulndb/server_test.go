package vulndb

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anchore/grype/grype/db/v6/distribution"
	"github.com/klauspost/compress/zstd"
	digest "github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/client/vulndb/vulndbtest"
)

var (
	built = time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)
	now   = built.Add(36 * time.Hour)
)

// database builds one database for all tests.
var database = sync.OnceValues(func() (*vulndbtest.Database, error) {
	return vulndbtest.Build(filepath.Join(scratch, "db"), built, vulndbtest.Records{Debian: []vulndbtest.Record{
		{ID: "CVE-2025-0001", Package: "nginx", Fixed: "1.22.1-9+deb12u1", Severity: "High", EPSS: 0.25, KEV: "2025-02-01"},
	}})
})

var newer = sync.OnceValues(func() (*vulndbtest.Database, error) {
	return vulndbtest.Build(filepath.Join(scratch, "newer"), built.Add(24*time.Hour), vulndbtest.Records{Debian: []vulndbtest.Record{
		{ID: "CVE-2025-0002", Package: "nginx", Fixed: "1.22.1-9+deb12u2", Severity: "Low"},
	}})
})

var scratch string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		var err error
		if scratch, err = os.MkdirTemp("", "vulndb-test-"); err != nil {
			panic(err)
		}
		defer os.RemoveAll(scratch)
		return m.Run()
	}())
}

func get(t *testing.T, build func() (*vulndbtest.Database, error)) *vulndbtest.Database {
	t.Helper()
	d, err := build()
	require.NoError(t, err)
	return d
}

// server publishes a database as Grype's server does, with the faults of real ones.
type server struct {
	*httptest.Server
	latest, archive []byte
	name            string
	// noRanges ignores Range; chunk, when set, breaks an answer off after so many bytes.
	noRanges bool
	chunk    int
	// unavailable is how many requests are answered with 503.
	unavailable atomic.Int32
	requests    atomic.Int32
	sent        atomic.Int64
}

func serve(t *testing.T, d *vulndbtest.Database) *server {
	t.Helper()
	s := &server{name: filepath.Base(d.Archive)}
	var err error
	s.latest, err = os.ReadFile(filepath.Join(d.Dir, distribution.LatestFileName))
	require.NoError(t, err)
	s.archive, err = os.ReadFile(d.Archive)
	require.NoError(t, err)
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.requests.Add(1)
	if s.unavailable.Add(-1) >= 0 {
		http.Error(w, "come back later", http.StatusServiceUnavailable)
		return
	}
	switch r.URL.Path {
	case "/v6/latest.json":
		_, _ = w.Write(s.latest)
	case "/v6/" + s.name:
		s.serveArchive(w, r)
	default:
		http.NotFound(w, r)
	}
}

func (s *server) serveArchive(w http.ResponseWriter, r *http.Request) {
	body := s.archive
	if s.noRanges {
		r.Header.Del("Range")
	}
	if s.chunk == 0 {
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(body))
		s.sent.Add(int64(len(body)))
		return
	}
	offset := 0
	if h := r.Header.Get("Range"); h != "" {
		_, err := fmt.Sscanf(h, "bytes=%d-", &offset)
		if err != nil {
			panic(err)
		}
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", offset, len(body)-1, len(body)))
	}
	w.Header().Set("Content-Length", fmt.Sprint(len(body)-offset))
	if offset > 0 {
		w.WriteHeader(http.StatusPartialContent)
	}
	n := min(s.chunk, len(body)-offset)
	_, _ = w.Write(body[offset : offset+n])
	s.sent.Add(int64(n))
	if offset+n < len(body) {
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
}

// replace makes the server publish other bytes as the archive.
func (s *server) replace(t *testing.T, archive []byte) {
	t.Helper()
	var doc map[string]any
	require.NoError(t, json.Unmarshal(s.latest, &doc))
	doc["checksum"] = digest.FromBytes(archive).String()
	var err error
	s.latest, err = json.Marshal(doc)
	require.NoError(t, err)
	s.archive = archive
}

func options(t *testing.T, source string) Options {
	t.Helper()
	return Options{Dir: filepath.Join(t.TempDir(), "cache"), Source: source, firstDelay: time.Millisecond}
}

type member struct {
	name, content string
	kind          byte
	size          int64
}

// archive packs members; size, when set, is what the header says.
func archive(t *testing.T, members ...member) []byte {
	t.Helper()
	var b bytes.Buffer
	z, err := zstd.NewWriter(&b)
	require.NoError(t, err)
	w := tar.NewWriter(z)
	for _, m := range members {
		h := &tar.Header{Name: m.name, Typeflag: tar.TypeReg, Size: int64(len(m.content)), Mode: 0o644}
		if m.kind != 0 {
			h.Typeflag, h.Size, h.Linkname = m.kind, 0, "/etc/passwd"
		}
		if m.size > 0 {
			h.Size = m.size
		}
		require.NoError(t, w.WriteHeader(h))
		if h.Typeflag == tar.TypeReg {
			_, err = w.Write([]byte(m.content))
			require.NoError(t, err)
		}
	}
	_ = w.Close()
	require.NoError(t, z.Close())
	return b.Bytes()
}

func zeros(n int) string { return strings.Repeat("\x00", n) }
