package signing

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// Ten documents and a statement, with the key's decryption.
func BenchmarkSignArtifacts(b *testing.B) {
	private, _ := keyFiles(b, "")
	for b.Loop() {
		s, err := Open(b.Context(), withPassword(private))
		require.NoError(b, err)
		_, err = s.SignArtifacts(b.Context(), documents())
		require.NoError(b, err)
		require.NoError(b, s.Close())
	}
}
