package daemon

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/integration/tools"
)

func TestStartAndStop(t *testing.T) {
	dir := t.TempDir()
	d, err := Start(t.Context(), dir, Options{Binary: tools.Path("buildkitd")})
	require.NoError(t, err)
	require.Contains(t, d.Log(), "running server")
	require.NoError(t, d.Stop())
	require.NoError(t, os.RemoveAll(dir), "nothing may stay mounted")
}

func TestStartSaysWhyItFailed(t *testing.T) {
	_, err := Start(t.Context(), t.TempDir(), Options{Binary: tools.Path("buildkitd"), Config: "not toml"})
	require.ErrorContains(t, err, "toml")
}
