package integration

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/integration/base"
	"github.com/temper-images/temper/integration/daemon"
	"github.com/temper-images/temper/integration/door"
	"github.com/temper-images/temper/integration/image"
	"github.com/temper-images/temper/integration/tools"
)

// epoch is the SOURCE_DATE_EPOCH of the builds that are compared.
const epoch = 1_750_000_000

// shared is the builder that all tests use, so that the examples' packages are
// installed once.
var shared *daemon.Daemon

// scratch holds what outlives a single test.
var scratch string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		var err error
		// A short path: sockets have at most 108 characters.
		if scratch, err = os.MkdirTemp("", "temper-"); err == nil {
			defer os.RemoveAll(scratch)
			shared, err = daemon.Start(context.Background(), scratch, daemon.Options{Binary: tools.Path("buildkitd")})
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		code := m.Run()
		if err := shared.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return code
	}())
}

// example returns the directory of an example.
func example(name string) string { return filepath.Join(tools.Root(), "examples", name) }

// bases are the named contexts that stand in for a registry's images.
var bases = sync.OnceValues(func() (map[string]string, error) {
	contexts := map[string]string{}
	for name, make := range map[string]func(context.Context) (base.Layout, error){
		"debian:bookworm": base.Debian, "debian:bookworm-slim": base.DebianSlim, "busybox": base.Busybox, "golang:1.26-bookworm": base.Golang,
	} {
		l, err := make(context.Background())
		if err != nil {
			return nil, err
		}
		contexts[name] = l.Ref()
	}
	return contexts, nil
})

// contexts are the bases of those names.
func contexts(t testing.TB, names ...string) map[string]string {
	t.Helper()
	all, err := bases()
	require.NoError(t, err)
	chosen := map[string]string{}
	for _, name := range names {
		require.Contains(t, all, name)
		chosen[name] = all[name]
		load(t, name, all[name])
	}
	return chosen
}

// loaded are the bases that the shared builder has in full.
var loaded sync.Map

// load gives the shared builder a whole base. A build that fails or ends early
// while BuildKit copies a layout's blob leaves a part of it, and BuildKit cannot
// go on from there: later builds say "unsupported offset".
func load(t testing.TB, name, ref string) {
	t.Helper()
	if _, done := loaded.LoadOrStore(name, true); done {
		return
	}
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte("FROM "+name+"\nRUN true\n"), 0o644))
	_, err := temper().Build(bounded(t), door.Build{
		Context: dir, Contexts: map[string]string{name: ref}, Args: map[string]string{"TEMPER_HARDEN_LEVEL": "off"},
	})
	require.NoError(t, err)
}

// frontendLayout is the frontend image that make frontend leaves.
func frontendLayout(t testing.TB) door.Layout {
	t.Helper()
	img, err := image.OpenOne(tools.Path("frontend"))
	require.NoError(t, err, "run make frontend")
	digest, err := img.Digest()
	require.NoError(t, err)
	return door.Layout{Dir: tools.Path("frontend"), Digest: digest.String()}
}

// temper is the door that most tests use.
func temper() door.Door { return door.Temper{Binary: tools.Path("temper"), Addr: shared.Addr} }

// doors are all the ways to build that this machine has.
func doors(t testing.TB) []door.Door {
	t.Helper()
	frontend := frontendLayout(t)
	buildx, err := door.NewBuildx(t.Context(), t.TempDir(), shared.Addr, frontend, tools.Path("buildx"))
	require.NoError(t, err)
	all := []door.Door{
		temper(),
		buildx,
		door.Buildctl{Binary: tools.Path("buildctl"), Addr: shared.Addr, Frontend: frontend},
	}
	if docker, err := exec.LookPath("docker"); err == nil {
		plugin, err := buildx.AsDockerPlugin(docker, tools.Path("buildx"))
		require.NoError(t, err)
		all = append(all, plugin)
	}
	return all
}

// bounded is a context that ends before the test program's own time limit.
func bounded(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// build builds through a door into a new layout and opens it.
func build(t testing.TB, d door.Door, b door.Build) *image.Image {
	t.Helper()
	img, _ := buildLog(t, d, b)
	return img
}

// buildLog is build that also returns what the door printed.
func buildLog(t testing.TB, d door.Door, b door.Build) (*image.Image, string) {
	t.Helper()
	if b.Output == "" {
		b.Output = filepath.Join(t.TempDir(), "image")
	}
	log, err := d.Build(bounded(t), b)
	require.NoError(t, err)
	img, err := image.OpenOne(b.Output)
	require.NoError(t, err)
	return img, log
}

// contextDir makes a build context of files.
func contextDir(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		file := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
		require.NoError(t, os.WriteFile(file, []byte(content), 0o644))
	}
	return dir
}

// fails builds and returns what the door printed; the build must fail by itself
// and, through temper, leave no output: buildx and buildctl make the directory
// before they build.
func fails(t testing.TB, d door.Door, b door.Build) string {
	t.Helper()
	b.Output = filepath.Join(t.TempDir(), "image")
	log, err := d.Build(bounded(t), b)
	require.Error(t, err)
	var exit *exec.ExitError
	require.True(t, errors.As(err, &exit), "%v", err)
	require.NotEqual(t, -1, exit.ExitCode(), "the command was killed")
	require.NotContains(t, log, "panic:")
	require.NotContains(t, log, "goroutine ")
	if d.Name() == "temper" {
		_, err = os.Lstat(b.Output)
		require.ErrorIs(t, err, os.ErrNotExist, "a failed build left output")
	}
	return log
}
