package signing

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// writeLayout writes an OCI layout with one image without layers, and returns the
// manifest's digest.
func writeLayout(t *testing.T, dir string) string {
	t.Helper()
	blob := func(content string) (digest string, size int) {
		sum := sha256.Sum256([]byte(content))
		name := hex.EncodeToString(sum[:])
		require.NoError(t, os.WriteFile(filepath.Join(dir, "blobs", "sha256", name), []byte(content), 0o600))
		return "sha256:" + name, len(content)
	}
	config, size := blob(`{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}`)
	manifest, length := blob(fmt.Sprintf(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",`+
		`"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":%q,"size":%d},"layers":[]}`, config, size))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "oci-layout"), []byte(`{"imageLayoutVersion":"1.0.0"}`), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "index.json"), []byte(fmt.Sprintf(`{"schemaVersion":2,"manifests":[`+
		`{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":%q,"size":%d,"platform":{"os":"linux","architecture":"amd64"}}]}`, manifest, length)), 0o600))
	return manifest
}
