package integration

import (
	"archive/tar"
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/hardening/spec"
	"github.com/temper-images/temper/integration/container"
	"github.com/temper-images/temper/integration/door"
	"github.com/temper-images/temper/integration/image"
)

// run starts the image as its own user, with no privileges.
func run(t *testing.T, img *image.Image) (context.Context, *container.Container) {
	t.Helper()
	ctx, cancel := context.WithTimeout(bounded(t), 2*time.Minute)
	t.Cleanup(cancel)
	c, err := container.Start(ctx, t.TempDir(), img, container.Options{})
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, c.Stop())
		if t.Failed() {
			t.Log(c.Output())
		}
	})
	return ctx, c
}

// requireHardened checks what every hardened image is.
func requireHardened(t *testing.T, img *image.Image) map[string]image.Entry {
	t.Helper()
	layers, err := img.LayerDigests()
	require.NoError(t, err)
	require.Len(t, layers, 1, "layers")
	files, err := img.Files()
	require.NoError(t, err)
	for _, dir := range []string{"/usr/bin/", "/bin/", "/usr/sbin/", "/sbin/"} {
		for _, program := range []string{"apt", "apt-get", "apt-cache", "apt-key", "dpkg", "dpkg-deb", "dpkg-query"} {
			require.NotContains(t, files, dir+program)
		}
	}
	for path, e := range files {
		if e.Typeflag == tar.TypeReg {
			require.Zero(t, e.Mode&0o6000, "%s is set-uid or set-gid", path)
		}
	}
	var report spec.Report
	require.NoError(t, img.Predicate(spec.PredicateType, &report))
	require.NotEmpty(t, report.Checks)
	for _, check := range report.Checks {
		require.True(t, check.Passed, "%s: %v", check.Statement, check.Violations)
	}
	return files
}

func TestNginx(t *testing.T) {
	from := contexts(t, "debian:bookworm")
	img := build(t, temper(), door.Build{Context: example("nginx"), Contexts: from})
	plain := build(t, temper(), door.Build{Context: example("nginx"), Contexts: from, Args: map[string]string{"TEMPER_HARDEN_LEVEL": "off"}})

	t.Run("is hardened", func(t *testing.T) {
		files := requireHardened(t, img)
		before, err := plain.Files()
		require.NoError(t, err)
		require.Contains(t, before, "/usr/bin/apt-get")
		t.Logf("runtime stage %d bytes in %d files, hardened %d bytes in %d files", image.Bytes(before), len(before), image.Bytes(files), len(files))
		require.LessOrEqual(t, float64(image.Bytes(files)), 0.6*float64(image.Bytes(before)))
		var report spec.Report
		require.NoError(t, img.Predicate(spec.PredicateType, &report))
		for _, change := range report.Changed {
			if change.What == "created" {
				before[change.Path] = image.Entry{}
			}
		}
		for path := range files {
			if _, ok := before[path]; !ok && path != "/" {
				t.Errorf("%s was not in the runtime stage", path)
			}
		}
	})
	t.Run("keeps the configuration", func(t *testing.T) {
		was, err := plain.ConfigFile()
		require.NoError(t, err)
		is, err := img.ConfigFile()
		require.NoError(t, err)
		require.Equal(t, "65532:65532", is.Config.User)
		want := *was.Config.DeepCopy()
		want.User = is.Config.User
		require.Equal(t, want, is.Config)
	})
	t.Run("serves the page", func(t *testing.T) {
		ctx, c := run(t, img)
		status, body, err := c.Get(ctx, "http://127.0.0.1:8080/")
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, status)
		require.Contains(t, body, "Served from a hardened image")
		uid, gid, err := c.IDs()
		require.NoError(t, err)
		require.EqualValues(t, 65532, uid)
		require.EqualValues(t, 65532, gid)
	})
	t.Run("scanners see the truth", func(t *testing.T) {
		requireSyftAgrees(t, plain, img)
	})
}

func TestPython(t *testing.T) {
	img := build(t, temper(), door.Build{Context: example("python"), Contexts: contexts(t, "debian:bookworm-slim")})
	files := requireHardened(t, img)
	for _, shell := range []string{"/usr/bin/sh", "/usr/bin/dash", "/usr/bin/bash"} {
		require.NotContains(t, files, shell)
	}
	ctx, c := run(t, img)
	status, body, err := c.Get(ctx, "http://127.0.0.1:8000/?name=%3Cyou%3E")
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, status, body)
	require.Contains(t, body, "Hello, &lt;you&gt;")
	status, body, err = c.Get(ctx, "http://127.0.0.1:8000/visits?zone=Asia/Tokyo")
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, status, body)
	var visits []struct{ Name, At string }
	require.NoError(t, json.Unmarshal([]byte(body), &visits))
	require.Len(t, visits, 1)
	require.Equal(t, "<you>", visits[0].Name)
	require.True(t, strings.HasSuffix(visits[0].At, "+09:00"), visits[0].At)
}

func TestGo(t *testing.T) {
	img := build(t, temper(), door.Build{Context: example("go"), Contexts: contexts(t, "debian:bookworm-slim", "golang:1.26-bookworm")})
	files := requireHardened(t, img)
	require.NotContains(t, files, "/usr/local/go/bin/go")
	require.Contains(t, files, "/etc/ssl/certs/ca-certificates.crt")
	ctx, c := run(t, img)
	status, body, err := c.Get(ctx, "http://127.0.0.1:8080/?zone=Europe/Vienna")
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, status, body)
	uid, _, err := c.IDs()
	require.NoError(t, err)
	require.EqualValues(t, 1000, uid, "the Dockerfile's own user")
}

// A build that names a stage before the last one gets that stage, untouched.
func TestOtherStagesStayAsTheyAre(t *testing.T) {
	dir := contextDir(t, map[string]string{
		"Dockerfile": "FROM busybox AS build\nRUN mkdir -p /usr/share/doc/x && echo x >/usr/share/doc/x/README\nFROM build\nCMD [\"true\"]\n",
	})
	for _, d := range doors(t) {
		img := build(t, d, door.Build{Context: dir, Target: "build", Contexts: contexts(t, "busybox")})
		layers, err := img.LayerDigests()
		require.NoError(t, err)
		require.Len(t, layers, 2, d.Name())
		files, err := img.Files()
		require.NoError(t, err)
		require.Contains(t, files, "/usr/share/doc/x/README")
		require.NotContains(t, img.Statements, spec.PredicateType)
		file, err := img.ConfigFile()
		require.NoError(t, err)
		require.Empty(t, file.Config.User)
	}
}
