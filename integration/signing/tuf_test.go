package signing

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/integration/sigstore"
)

// A private deployment that is known by its TUF repository alone.
func TestTUF(t *testing.T) {
	d := sigstore.Shared(t)
	repository, dir := t.TempDir(), t.TempDir()
	require.NoError(t, d.WriteTUF(repository, time.Now().Add(24*time.Hour)))
	mirror := httptest.NewServer(http.FileServer(http.Dir(repository)))
	t.Cleanup(mirror.Close)
	file, first := document(t, dir, "{}"), filepath.Join(repository, "1.root.json")
	tuf := []string{"--tuf-mirror", mirror.URL, "--tuf-root", first}
	verify := append([]string{"verify-blob", "--certificate-identity", person, "--certificate-oidc-issuer", d.Issuer}, append(tuf, file)...)
	must(t, dir, token(t, d, time.Hour), "temper", append(append([]string{"sign"}, tuf...), file)...)
	must(t, dir, nil, "temper", verify...)
	must(t, dir, nil, "cosign3", cosignKeyless(d, file)...)

	t.Run("target changed", func(t *testing.T) {
		names, err := filepath.Glob(filepath.Join(repository, "targets", "*.trusted_root.json"))
		require.NoError(t, err)
		good := read(t, names[0])
		require.NoError(t, os.WriteFile(names[0], []byte(good[:len(good)-1]+" "), 0o600))
		o := run(t, t.TempDir(), nil, "temper", append(verify[:len(verify)-1:len(verify)-1], filepath.Join(dir, file))...)
		require.Equal(t, 1, o.code)
		require.Contains(t, o.stderr, "TUF repository "+mirror.URL)
		require.NoError(t, os.WriteFile(names[0], []byte(good), 0o600))
	})
	t.Run("another root", func(t *testing.T) {
		other := t.TempDir()
		require.NoError(t, d.WriteTUF(other, time.Now().Add(time.Hour)))
		o := run(t, t.TempDir(), nil, "temper", "verify-blob", "--certificate-identity", person, "--certificate-oidc-issuer", d.Issuer,
			"--tuf-mirror", mirror.URL, "--tuf-root", filepath.Join(other, "1.root.json"), filepath.Join(dir, file))
		require.Equal(t, 1, o.code)
		require.Contains(t, o.stderr, "TUF repository "+mirror.URL)
	})
	t.Run("expired", func(t *testing.T) {
		old := t.TempDir()
		require.NoError(t, d.WriteTUF(old, time.Now().Add(-time.Hour)))
		mirror := httptest.NewServer(http.FileServer(http.Dir(old)))
		t.Cleanup(mirror.Close)
		o := run(t, t.TempDir(), nil, "temper", "verify-blob", "--certificate-identity", person, "--certificate-oidc-issuer", d.Issuer,
			"--tuf-mirror", mirror.URL, "--tuf-root", filepath.Join(old, "1.root.json"), filepath.Join(dir, file))
		require.Equal(t, 1, o.code)
		require.Contains(t, o.stderr, "expired")
		require.Contains(t, o.stderr, "--trusted-root")
	})
	t.Run("gone", func(t *testing.T) {
		mirror.Close()
		o := run(t, t.TempDir(), token(t, d, time.Hour), "temper", append(append([]string{"sign"}, tuf...), filepath.Join(dir, file))...)
		require.Equal(t, 1, o.code)
		require.Contains(t, o.stderr, "TUF repository "+mirror.URL)
		require.Contains(t, o.stderr, "connection refused")
	})
}
