package integration

import (
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/validate"
	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/integration/tools"
)

// An archive for docker load must hold an image, not an index: the hardening
// report is not attached to it, and is printed all the same.
func TestDockerArchive(t *testing.T) {
	dir := contextDir(t, map[string]string{"Dockerfile": "FROM scratch\nCOPY Dockerfile /app/\n"})
	archive := filepath.Join(t.TempDir(), "app.tar")
	cmd := exec.CommandContext(bounded(t), tools.Path("temper"), "--builder", shared.Addr, "build",
		"--tag", "example.com/app:1", "--output", "type=docker,dest="+archive, dir)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Contains(t, string(out), "hardened at level exclusive, runs as 65532:65532")

	img, err := tarball.ImageFromPath(archive, nil)
	require.NoError(t, err)
	require.NoError(t, validate.Image(img))
	layers, err := img.Layers()
	require.NoError(t, err)
	require.Len(t, layers, 1)
	file, err := img.ConfigFile()
	require.NoError(t, err)
	require.Equal(t, "65532:65532", file.Config.User)
}
