package integration

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/integration/door"
	"github.com/temper-images/temper/integration/tools"
)

func TestZZFrontend(t *testing.T) {
	c := contexts(t, "golang:1.26-bookworm")
	c["golang:1.26.8-bookworm"] = c["golang:1.26-bookworm"]
	img, log := buildLog(t, temper(), door.Build{Context: tools.Root(), Dockerfile: tools.Root() + "/Dockerfile.frontend", Contexts: c, Args: map[string]string{"TEMPER_HARDEN_LEVEL": "off"}})
	files, err := img.Files()
	require.NoError(t, err)
	require.Contains(t, files, "/temper-frontend")
	cfg, _ := img.ConfigFile()
	t.Log(len(files), cfg.Config.Labels, log[len(log)-800:])
}
