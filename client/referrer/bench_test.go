package referrer

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
)

// An attestation as large as an SBOM of many packages: written, read and verified.
func BenchmarkLargeAttestation(b *testing.B) {
	s, v := keyPair(b)
	document := bytes.Replace(statement(provenance), []byte(`"predicate":{}`), append(append([]byte(`"predicate":{"files":["`), bytes.Repeat([]byte("usr/lib/x,"), 1<<20)...), `"]}`...), 1)
	one, err := Attest(b.Context(), s, document)
	require.NoError(b, err)
	var made []Manifest
	b.Run("write", func(b *testing.B) {
		b.SetBytes(int64(len(document)))
		for b.Loop() {
			made, err = Manifests(subject, []Signed{one}, Existing{}, created, Formats{})
			require.NoError(b, err)
		}
	})
	a := newArchive()
	a.push(made...)
	var found *Found
	b.Run("read", func(b *testing.B) {
		b.SetBytes(int64(len(document)))
		for b.Loop() {
			found, err = Read(b.Context(), a, subject.Digest)
			require.NoError(b, err)
		}
	})
	b.Run("verify", func(b *testing.B) {
		b.SetBytes(int64(len(document)))
		for b.Loop() {
			_, err := found.Entries[0].Verify(b.Context(), v, subject.Digest)
			require.NoError(b, err)
		}
	})
}
