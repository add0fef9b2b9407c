package signing

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// Ten documents signed by one temper, and by ten runs of cosign: what a release
// needs. Both write a signature and a bundle of each.
func BenchmarkTenDocuments(b *testing.B) {
	dir := b.TempDir()
	var files []string
	for i := range 10 {
		name := fmt.Sprintf("document-%d.json", i)
		require.NoError(b, os.WriteFile(filepath.Join(dir, name), make([]byte, 1<<20), 0o600))
		files = append(files, name)
	}
	must(b, dir, nil, "temper", "key", "generate")
	b.Run("temper", func(b *testing.B) {
		for b.Loop() {
			must(b, dir, nil, "temper", append([]string{"sign", "--key", "cosign.key"}, files...)...)
		}
	})
	b.Run("cosign", func(b *testing.B) {
		for b.Loop() {
			for _, f := range files {
				must(b, dir, nil, "cosign", "sign-blob", "--yes", "--tlog-upload=false", "--key", "cosign.key", "--new-bundle-format",
					"--bundle", f+".sigstore.json", "--output-signature", f+".sig", f)
			}
		}
	})
}
