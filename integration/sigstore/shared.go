package sigstore

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

var shared struct {
	once       sync.Once
	dir        string
	deployment *Deployment
	err        error
}

// Shared is the deployment that all tests of a package share. The package's TestMain
// calls Main, which ends it.
func Shared(t testing.TB) *Deployment {
	t.Helper()
	shared.once.Do(func() {
		if shared.dir, shared.err = os.MkdirTemp("", "temper-sigstore-"); shared.err == nil { //nolint:usetesting // it outlives the first test
			shared.deployment, shared.err = Start(context.Background(), shared.dir)
		}
	})
	require.NoError(t, shared.err)
	return shared.deployment
}

// Main runs the tests of a package, ends what they shared, and exits.
func Main(m *testing.M) {
	code := m.Run()
	if shared.deployment != nil {
		_ = shared.deployment.Stop() // they die with this process
	}
	_ = os.RemoveAll(shared.dir)
	os.Exit(code)
}

// EmptyRoot writes a trusted root that trusts nobody into dir. cosign wants one to
// verify a bundle, also with a key.
func EmptyRoot(t testing.TB, dir string) string {
	t.Helper()
	path := filepath.Join(dir, "empty-root.json")
	require.NoError(t, os.WriteFile(path, []byte(`{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1"}`), 0o600))
	return path
}
