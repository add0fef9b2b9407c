// Package evidence tests the evidence store on real object stores, and with
// everything going wrong that can.
package evidence

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	digest "github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/client/artifact"
	"github.com/temper-images/temper/client/evidence"
	"github.com/temper-images/temper/integration/fault"
	"github.com/temper-images/temper/integration/objectstore"
)

// folder is the store kind without a server.
const folder objectstore.Kind = "folder"

var kinds = []objectstore.Kind{objectstore.S3, objectstore.GCS, objectstore.Azure, folder}

// servers are the running stores.
var servers = map[objectstore.Kind]*objectstore.Server{}

func TestMain(m *testing.M) {
	if os.Getenv(storeURL) != "" {
		os.Exit(storeAndExit())
	}
	os.Exit(runAll(m))
}

func runAll(m *testing.M) int {
	dir, err := os.MkdirTemp("", "temper-stores-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	for _, k := range kinds[:3] {
		sub := filepath.Join(dir, string(k))
		if err := os.Mkdir(sub, 0o755); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		s, err := objectstore.Start(ctx, k, sub)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer s.Kill()
		servers[k] = s
	}
	return m.Run()
}

// place is a store of its own for one test.
type place struct {
	kind objectstore.Kind
	url  string
	// proxy stands before the server; it is nil for a folder.
	proxy *fault.Proxy
}

// newPlace makes a store of a kind that is empty, behind a proxy, and sets the
// environment that it is opened with.
func newPlace(t *testing.T, kind objectstore.Kind) place {
	t.Helper()
	if kind == folder {
		return place{kind: kind, url: filepath.Join(t.TempDir(), "evidence")}
	}
	return behindProxy(t, servers[kind])
}

func behindProxy(t *testing.T, s *objectstore.Server) place {
	t.Helper()
	host := ""
	if s.Kind == objectstore.GCS {
		host = s.Addr
	}
	p, err := fault.Start(s.Addr, host)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Close()) })
	for name, value := range s.Env(p.Addr) {
		t.Setenv(name, value)
	}
	sub := strings.NewReplacer("/", "-", " ", "-", "#", "-").Replace(t.Name())
	return place{kind: s.Kind, url: strings.Replace(s.URL(p.Addr), "team/app", "team/"+sub, 1), proxy: p}
}

func (p place) open(t *testing.T, o evidence.Options) *evidence.Store {
	t.Helper()
	s, err := evidence.Open(t.Context(), p.url, o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func image(name string) evidence.Image {
	return evidence.Image{
		Digest: digest.FromString(name), Reference: "registry.example.com:5000/team/" + name + ":1", Platform: "linux/amd64",
		Index: digest.FromString(name + " index"), Created: time.Unix(1700000000, 0).UTC(),
	}
}

// documents are count documents of size bytes each, always the same, with a
// signature each.
func documents(count, size int) []artifact.Artifact {
	var list []artifact.Artifact
	rnd := rand.NewChaCha8([32]byte{1})
	for i := range count {
		data := make([]byte, size)
		_, _ = rnd.Read(data) // never fails
		kind := artifact.Kinds()[i%len(artifact.Kinds())]
		if kind == artifact.Attestation {
			kind = artifact.SBOM
		}
		name := fmt.Sprintf("document-%02d-app-amd64.json", i)
		list = append(list,
			artifact.Artifact{Kind: kind, Name: name, MediaType: artifact.TypeJSON, Data: data},
			artifact.Artifact{Kind: kind, Name: name + artifact.SignatureSuffix, MediaType: artifact.TypeSignature, Data: []byte(digest.FromBytes(data))})
	}
	return list
}

// byDigest verifies the signatures of documents.
type byDigest struct{}

func (byDigest) Verify(_ context.Context, data, sig, _ []byte) error {
	if string(sig) != string(digest.FromBytes(data)) {
		return errors.New("it signs something else")
	}
	return nil
}

func (byDigest) VerifyEnvelope(_ context.Context, statement, bundle []byte) error {
	if string(statement) != string(bundle) {
		return errors.New("it holds something else")
	}
	return nil
}

// requireComplete has everything read back: all that is stored is named by the
// index and right.
func requireComplete(t *testing.T, s *evidence.Store, img evidence.Image, count int) {
	t.Helper()
	v, err := s.Verify(t.Context(), img.Digest, evidence.VerifyOptions{Verifier: byDigest{}})
	require.NoError(t, err)
	require.NoError(t, v.Err())
	require.Empty(t, v.Notes)
	require.Equal(t, count, v.Signatures)
	index, err := s.Index(t.Context(), img.Digest)
	require.NoError(t, err)
	require.Len(t, index.Documents, count)
	require.Len(t, index.Records, 1)
	found, err := s.Find(t.Context(), img.Reference, false)
	require.NoError(t, err)
	require.Equal(t, []evidence.Image{img}, found)
}

// requireNothing checks that nothing counts as stored.
func requireNothing(t *testing.T, s *evidence.Store, img evidence.Image) {
	t.Helper()
	var nothing *evidence.NotStoredError
	for _, name := range []string{string(img.Digest), string(img.Index), img.Reference} {
		_, err := s.Find(t.Context(), name, false)
		require.ErrorAs(t, err, &nothing)
	}
	_, err := s.Verify(t.Context(), img.Digest, evidence.VerifyOptions{})
	require.ErrorAs(t, err, &nothing)
}

func requireReason(t *testing.T, err error, reason evidence.Reason) *evidence.Error {
	t.Helper()
	var e *evidence.Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, reason, e.Reason, "%v", err)
	return e
}
