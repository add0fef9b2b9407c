package frontend

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/temper-images/temper/client/ocilayout"
)

// program builds a small static program to stand for the frontend.
func program(t *testing.T, dir, name string) string {
	t.Helper()
	src := filepath.Join(t.TempDir(), "main.go")
	require.NoError(t, os.WriteFile(src, []byte("package main\n\nfunc main() {}\n"), 0o644))
	path := filepath.Join(dir, name)
	cmd := exec.Command("go", "build", "-o", path, src)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	return path
}

func TestLocate(t *testing.T) {
	t.Setenv(Env, "")
	dir, cache := t.TempDir(), t.TempDir()
	o := Options{Dirs: []string{filepath.Join(dir, "none"), dir}, CacheDir: cache}
	_, err := Locate(t.Context(), o)
	var me *MissingError
	require.ErrorAs(t, err, &me)
	require.Contains(t, me.Looked, filepath.Join(dir, binaryName))
	require.Contains(t, me.Looked, filepath.Join(dir, layoutName))
	require.ErrorContains(t, err, "make build")

	bin := program(t, dir, binaryName)
	f, err := Locate(t.Context(), o)
	require.NoError(t, err)
	require.Equal(t, localRef, f.Ref)
	require.Equal(t, "binary "+bin, f.Origin)

	again, err := Locate(t.Context(), o)
	require.NoError(t, err)
	require.Equal(t, f, again)
	entries, err := os.ReadDir(cache)
	require.NoError(t, err)
	require.Len(t, entries, 1, "one layout for one content")

	// A broken layout in the cache is made anew.
	require.NoError(t, os.RemoveAll(filepath.Join(f.Layout, "blobs")))
	again, err = Locate(t.Context(), o)
	require.NoError(t, err)
	require.Equal(t, f.Digest, again.Digest)

	// A layout beside the program goes first.
	layout := filepath.Join(dir, layoutDirName)
	require.NoError(t, os.CopyFS(layout, os.DirFS(f.Layout)))
	beside, err := Locate(t.Context(), o)
	require.NoError(t, err)
	require.Equal(t, "OCI layout "+layout, beside.Origin)
	require.Equal(t, f.Digest, beside.Digest)

	for _, spec := range []string{layout, "oci-layout://" + layout, "oci-layout://" + layout + "@" + f.Digest.String(), bin} {
		t.Setenv(Env, spec)
		named, err := Locate(t.Context(), Options{CacheDir: cache})
		require.NoError(t, err, spec)
		require.Equal(t, f.Digest, named.Digest)
		require.Contains(t, named.Origin, Env)
	}
}

func TestLocateReference(t *testing.T) {
	for spec, want := range map[string]string{
		"example.com/temper/frontend":   "example.com/temper/frontend:latest",
		"example.com/temper/frontend:1": "example.com/temper/frontend:1",
		"temper/frontend:1":             "docker.io/temper/frontend:1",
		Stock:                           Stock,
	} {
		f, err := Locate(t.Context(), Options{Spec: spec})
		require.NoError(t, err)
		require.Equal(t, want, f.Ref)
		require.Empty(t, f.Layout)
	}
}

func TestLocateRefuses(t *testing.T) {
	dir := t.TempDir()
	script := filepath.Join(dir, "script")
	require.NoError(t, os.WriteFile(script, []byte("#!/bin/sh\n"), 0o755))
	for _, tc := range []struct{ spec, says string }{
		{dir, "not an OCI image layout"},
		{"oci-layout://" + dir, "not an OCI image layout"},
		{"oci-layout://" + dir + "/none", "no such file"},
		{script, "is not a Linux program"},
		{"UPPER CASE", "neither a file nor an image reference"},
	} {
		_, err := Locate(t.Context(), Options{Spec: tc.spec, CacheDir: t.TempDir()})
		var ie *InvalidError
		require.ErrorAs(t, err, &ie, tc.spec)
		require.ErrorContains(t, err, tc.says)
	}
	_, err := Locate(t.Context(), Options{Spec: dir + "/none"})
	var me *MissingError
	require.ErrorAs(t, err, &me)
}

func TestLayoutOfSomethingElse(t *testing.T) {
	cache := t.TempDir()
	f, err := Locate(t.Context(), Options{Spec: program(t, t.TempDir(), "x"), CacheDir: cache})
	require.NoError(t, err)
	l, err := ocilayout.Open(f.Layout)
	require.NoError(t, err)
	defer l.Close()
	desc, err := l.Resolve("")
	require.NoError(t, err)
	img, err := imageConfig(l, desc)
	require.NoError(t, err)
	require.NotEmpty(t, img.Config.Labels[capsLabel])

	// Without its labels it is an image, but no frontend.
	other := filepath.Join(t.TempDir(), "other")
	for name, dt := range map[string]string{
		"oci-layout": `{"imageLayoutVersion":"1.0.0"}`,
		"index.json": `{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:` +
			"8e2f2f2a5d0d7a5f8b3b7a1b6f4c9c0d1e2f3a4b5c6d7e8f9a0b1c2d3e4f5a6b" + `","size":2}]}`,
	} {
		require.NoError(t, os.MkdirAll(other, 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(other, name), []byte(dt), 0o644))
	}
	_, err = Locate(t.Context(), Options{Spec: other})
	require.ErrorContains(t, err, "no blob")
}
