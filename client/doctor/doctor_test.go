package doctor

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/docker/cli/cli/config"
	"github.com/stretchr/testify/require"
	"github.com/temper-images/temper/client/builder"
	"github.com/temper-images/temper/client/daemon"
	"github.com/temper-images/temper/client/frontend"
)

// bare is a machine on which nothing is installed.
func bare(t *testing.T) (builder.Options, frontend.Options) {
	t.Helper()
	t.Setenv("PATH", t.TempDir())
	old := config.Dir()
	config.SetDir(t.TempDir())
	t.Cleanup(func() { config.SetDir(old) })
	t.Setenv(frontend.Env, "")
	dir := t.TempDir()
	return builder.Options{
			Sockets: []string{filepath.Join(dir, "b.sock")}, DockerHost: "unix://" + filepath.Join(dir, "d.sock"),
			Daemon: daemon.Config{StateDir: filepath.Join(dir, "state", "temper"), BinDirs: []string{dir}},
		},
		frontend.Options{Dirs: []string{dir}}
}

func TestBareMachine(t *testing.T) {
	bo, fo := bare(t)
	d := Examine(t.Context(), bo, fo)
	require.False(t, d.Healthy)
	require.Empty(t, d.Builder)
	var b strings.Builder
	require.NoError(t, d.Write(&b))
	for _, part := range []string{"no such socket", "missing  buildkitd", "fix: put buildkitd", "missing  Temper frontend", "free for", "overlayfs", "config.json", "does not work here yet"} {
		require.Contains(t, b.String(), part)
	}
	require.NoDirExists(t, bo.Daemon.StateDir, "nothing was made")

	var js strings.Builder
	require.NoError(t, d.WriteJSON(&js))
	var back Diagnosis
	require.NoError(t, json.Unmarshal([]byte(js.String()), &back))
	require.Equal(t, *d, back)
}

func TestHealthyMachine(t *testing.T) {
	bo, fo := bare(t)
	for _, name := range []string{"buildkitd", "runc", "rootlesskit", "newuidmap", "newgidmap"} {
		require.NoError(t, os.WriteFile(filepath.Join(bo.Daemon.BinDirs[0], name), []byte("#!/bin/sh\n"), 0o755))
	}
	require.NoError(t, os.WriteFile(filepath.Join(config.Dir(), config.ConfigFileName), []byte(`{"credsStore":"x","auths":{"example.com":{}}}`), 0o600))
	fo.Spec = frontend.Stock
	d := Examine(t.Context(), bo, fo)
	require.True(t, d.Healthy)
	require.Contains(t, d.Builder, bo.Daemon.StateDir)
	var b strings.Builder
	require.NoError(t, d.Write(&b))
	require.Contains(t, b.String(), "this one would be used")
	require.Contains(t, b.String(), "credential store x")
}

func TestNamedBuilderIsDown(t *testing.T) {
	bo, fo := bare(t)
	bo.Address = "unix:///nowhere/buildkitd.sock"
	fo.Spec = frontend.Stock
	d := Examine(t.Context(), bo, fo)
	require.False(t, d.Healthy)
	require.Equal(t, Note, d.Findings[0].Status)
	require.Contains(t, d.Findings[0].Fix, "BUILDKIT_HOST")
}
