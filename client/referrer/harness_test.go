package referrer

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"
	"testing"
	"time"

	digest "github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/client/registry"
	"github.com/temper-images/temper/client/signing"
)

var (
	subject = ocispecs.Descriptor{MediaType: ocispecs.MediaTypeImageManifest, Digest: digest.FromString("an image"), Size: 8}
	created = time.Date(2026, 11, 1, 12, 0, 0, 999, time.FixedZone("", 3600))
)

// archive is a Source: manifests by digest and tag, blobs, and a list of referrers,
// which may all be lies.
type archive struct {
	manifests map[string][]byte
	types     map[string]string
	blobs     map[digest.Digest][]byte
	listed    []ocispecs.Descriptor
	fail      map[string]error
}

func newArchive() *archive {
	return &archive{map[string][]byte{}, map[string]string{}, map[digest.Digest][]byte{}, nil, map[string]error{}}
}

func (a *archive) Manifest(_ context.Context, ref string) (ocispecs.Descriptor, []byte, error) {
	if err := a.fail[ref]; err != nil {
		return ocispecs.Descriptor{}, nil, err
	}
	data, ok := a.manifests[ref]
	if !ok {
		return ocispecs.Descriptor{}, nil, fmt.Errorf("manifest %s: %w", ref, registry.ErrNotFound)
	}
	return ocispecs.Descriptor{MediaType: a.types[ref], Digest: digest.FromBytes(data), Size: int64(len(data))}, data, nil
}

func (a *archive) Blob(_ context.Context, desc ocispecs.Descriptor) (io.ReadCloser, error) {
	if err := a.fail[desc.Digest.String()]; err != nil {
		return nil, err
	}
	data, ok := a.blobs[desc.Digest]
	if !ok {
		return nil, fmt.Errorf("blob %s: %w", desc.Digest, registry.ErrNotFound)
	}
	return io.NopCloser(bytes.NewReader(data)), nil
}

func (a *archive) Referrers(context.Context, digest.Digest) ([]ocispecs.Descriptor, error) {
	return a.listed, a.fail["referrers"]
}

// push keeps what Manifests made.
func (a *archive) push(manifests ...Manifest) {
	for _, m := range manifests {
		for _, b := range m.Blobs {
			a.blobs[b.Descriptor.Digest] = b.Data
		}
		ref := m.Tag
		if ref == "" {
			ref = m.Descriptor.Digest.String()
			a.listed = append(a.listed, m.Descriptor)
		}
		a.manifests[ref], a.types[ref] = m.Data, m.Descriptor.MediaType
	}
}

// put keeps a manifest that refers to the subject, made of what is given.
func (a *archive) put(t testing.TB, artifactType string, m ocispecs.Manifest) ocispecs.Descriptor {
	t.Helper()
	m.SchemaVersion, m.MediaType, m.ArtifactType = 2, ocispecs.MediaTypeImageManifest, artifactType
	data, err := json.Marshal(m)
	require.NoError(t, err)
	desc := ocispecs.Descriptor{MediaType: m.MediaType, Digest: digest.FromBytes(data), Size: int64(len(data)), ArtifactType: artifactType}
	a.push(Manifest{Descriptor: desc, Data: data})
	return desc
}

// layer keeps a blob and describes it.
func (a *archive) layer(mediaType string, data []byte) ocispecs.Descriptor {
	b := blob(mediaType, data)
	a.blobs[b.Descriptor.Digest] = data
	return b.Descriptor
}

// keyPair makes a signer with a key, and what verifies it.
func keyPair(t testing.TB) (*signing.Signer, *signing.Verifier) {
	t.Helper()
	pair, err := signing.Generate("ecdsa-p256", []byte("secret"))
	require.NoError(t, err)
	prefix := filepath.Join(t.TempDir(), "k")
	require.NoError(t, pair.Write(prefix))
	s, err := signing.Open(t.Context(), signing.Options{Key: prefix + ".key", Password: func(context.Context) ([]byte, error) { return []byte("secret"), nil }})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	v, err := s.Verifier()
	require.NoError(t, err)
	return s, v
}

const provenance = "https://slsa.dev/provenance/v1"

func statement(predicateType string) []byte {
	return []byte(fmt.Sprintf(`{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"app","digest":{"sha256":%q}}],"predicateType":%q,"predicate":{}}`,
		subject.Digest.Encoded(), predicateType))
}

// signed is an image's signature and an attestation.
func signed(t testing.TB, s *signing.Signer) []Signed {
	t.Helper()
	signature, err := SignImage(t.Context(), s, "registry.example.com/team/app", subject)
	require.NoError(t, err)
	attestation, err := Attest(t.Context(), s, statement(provenance))
	require.NoError(t, err)
	return []Signed{signature, attestation}
}
