package imagediff

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/client/catalogue/cataloguetest"
	"github.com/temper-images/temper/client/examine"
	"github.com/temper-images/temper/client/examine/examinetest"
	"github.com/temper-images/temper/client/subject"
	"github.com/temper-images/temper/hardening/spec"
)

var update = flag.Bool("update", false, "rewrite golden files")

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		require.NoError(t, os.MkdirAll("testdata", 0o755))
		require.NoError(t, os.WriteFile(file, got, 0o644))
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, string(want), string(got), "go test ./client/imagediff -update rewrites %s", file)
}

func open(t *testing.T, img v1.Image, err error, r *spec.Report) *examine.Image {
	t.Helper()
	require.NoError(t, err)
	dir := filepath.Join(t.TempDir(), "app.oci")
	require.NoError(t, examinetest.Layout(dir, img, nil))
	set, err := subject.Open(t.Context(), dir, subject.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, set.Close()) })
	out, err := examine.Open(t.Context(), set.Images[0], examine.Options{Report: r, AllPackages: true})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, out.Close()) })
	return out
}

func text(t *testing.T, d *Diff, sections ...Section) []byte {
	t.Helper()
	var b bytes.Buffer
	require.NoError(t, d.WriteText(&b, sections...))
	require.NotContains(t, b.String(), "one\n")
	return b.Bytes()
}

func TestGolden(t *testing.T) {
	before, err := examinetest.Before()
	a := open(t, before, err, nil)
	after, err := examinetest.After()
	b := open(t, after, err, examinetest.Report(spec.LevelMinimal))
	d, err := Compare(t.Context(), "before.oci", a, "after.oci", b)
	require.NoError(t, err)
	require.False(t, d.Same)
	golden(t, "summary.txt", text(t, d))
	golden(t, "full.txt", text(t, d, Totals, Config, Packages, Executables, Reasons, Files))
	var document bytes.Buffer
	require.NoError(t, d.WriteJSON(&document))
	golden(t, "diff.json", document.Bytes())

	// The other way round, what one lacks the other has more.
	back, err := Compare(t.Context(), "after.oci", b, "before.oci", a)
	require.NoError(t, err)
	require.Len(t, back.Files, len(d.Files))
	require.Equal(t, "a", back.Reasons[0].In)
	golden(t, "back.txt", text(t, back))
}

func TestSame(t *testing.T) {
	img, err := examinetest.After()
	a := open(t, img, err, nil)
	b := open(t, img, err, nil)
	d, err := Compare(t.Context(), "a", a, "b", b)
	require.NoError(t, err)
	require.True(t, d.Same)
	require.Contains(t, string(text(t, d)), "it is the same image")

	// The same files in other layers.
	files := []cataloguetest.File{{Name: "a", Data: strings.Repeat("x", 300_000)}, {Name: "b", Hardlink: "a"}}
	one, err := cataloguetest.Of(files)
	a = open(t, one, err, nil)
	two, err := cataloguetest.Of([]cataloguetest.File{{Name: "c", Data: "x"}}, files, []cataloguetest.File{{Name: ".wh.c"}})
	b = open(t, two, err, nil)
	d, err = Compare(t.Context(), "a", a, "b", b)
	require.NoError(t, err)
	require.True(t, d.Same)
	require.Contains(t, string(text(t, d)), "the layers are not")
}

// Each way in which files can differ.
func TestFiles(t *testing.T) {
	left := []cataloguetest.File{
		{Name: "content", Data: strings.Repeat("x", 200_000) + "a"}, {Name: "size", Data: "1"}, {Name: "mode", Data: "m"}, {Name: "link", Symlink: "mode"},
		{Name: "type", Data: "t"}, {Name: "gone", Data: "g"}, {Name: "same", Data: "s"}, {Name: "dir/", Data: ""}, {Name: "dir.txt", Data: "x"}, {Name: "evil\x1b[2J", Data: "x"},
	}
	right := []cataloguetest.File{
		{Name: "content", Data: strings.Repeat("x", 200_000) + "b"}, {Name: "size", Data: "12"}, {Name: "mode", Data: "m", Mode: 0o755}, {Name: "link", Symlink: "same"},
		{Name: "type/", Data: ""}, {Name: "new", Data: "n"}, {Name: "same", Data: "s"}, {Name: "dir/", Data: ""}, {Name: "dir.txt", Data: "x"},
	}
	one, err := cataloguetest.Of(left)
	a := open(t, one, err, nil)
	two, err := cataloguetest.Of(right)
	b := open(t, two, err, nil)
	d, err := Compare(t.Context(), "a", a, "b", b)
	require.NoError(t, err)
	got := map[string][]string{}
	for _, f := range d.Files {
		got[f.Path] = append([]string{string(f.Change)}, f.What...)
	}
	require.Equal(t, map[string][]string{
		"/content": {"changed", "content"}, "/size": {"changed", "content"}, "/mode": {"changed", "mode"}, "/link": {"changed", "link"},
		"/type": {"changed", "type", "mode"}, "/gone": {"removed"}, "/new": {"added"}, "/evil\x1b[2J": {"removed"},
	}, got)
	require.NotContains(t, string(text(t, d, Files)), "\x1b")

	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("enough")
	cancel(stop)
	_, err = Compare(ctx, "a", a, "b", b)
	require.ErrorIs(t, err, stop)
}

func TestSettings(t *testing.T) {
	a := &v1.ConfigFile{OS: "linux", Architecture: "amd64", Config: v1.Config{
		User: "0", Env: []string{"A=1", "B=2", "DB_PASSWORD=x", "EMPTY="}, Entrypoint: []string{"/a b", "c"}, Labels: map[string]string{"l": "1"},
		ExposedPorts: map[string]struct{}{"80/tcp": {}}, Healthcheck: &v1.HealthConfig{Test: []string{"CMD", "x"}, Retries: 3},
	}}
	b := &v1.ConfigFile{OS: "linux", Architecture: "arm64", Config: v1.Config{
		Env: []string{"A=1", "B=3", "DB_PASSWORD=y", "EMPTY="}, Entrypoint: []string{"/a", "b c"}, Volumes: map[string]struct{}{"/data": {}},
	}}
	require.Equal(t, []Setting{
		{Name: "Entrypoint", Change: Changed, Before: `["/a b","c"]`, After: `["/a","b c"]`},
		{Name: "Env B", Change: Changed, Before: "2", After: "3"},
		{Name: "Env DB_PASSWORD", Change: Changed, Withheld: true},
		{Name: "Healthcheck", Change: Removed, Before: `["CMD","x"]`},
		{Name: "Healthcheck Retries", Change: Removed, Before: "3"},
		{Name: "Label l", Change: Removed, Before: "1"},
		{Name: "Platform", Change: Changed, Before: "linux/amd64", After: "linux/arm64"},
		{Name: "Port 80/tcp", Change: Removed, Before: "exposed"},
		{Name: "User", Change: Removed, Before: "0"},
		{Name: "Volume /data", Change: Added, After: "declared"},
	}, settings(a, b))
	require.Empty(t, settings(a, a))
}

func TestPackages(t *testing.T) {
	a := &examine.Image{Packages: []examine.Package{
		{Type: "deb", Name: "apt", Version: "2"}, {Type: "deb", Name: "libc6", Version: "1", Arch: "amd64"},
		{Type: "python", Name: "six", Version: "1"}, {Type: "python", Name: "six", Version: "1"}, {Type: "python", Name: "six", Version: "2"},
	}}
	b := &examine.Image{Report: &spec.Report{Packages: []spec.Package{{Type: "deb", Name: "apt", State: spec.PackageRemoved, Why: "it is a package manager"}}},
		Packages: []examine.Package{
			{Type: "deb", Name: "libc6", Version: "1.1", Arch: "amd64"}, {Type: "npm", Name: "six", Version: "1"}, {Type: "python", Name: "six", Version: "1"},
		}}
	require.Equal(t, []Package{
		{Type: "deb", Name: "apt", Change: Removed, Before: []string{"2"}, Why: "it is a package manager"},
		{Type: "deb", Name: "libc6", Arch: "amd64", Change: Changed, Before: []string{"1"}, After: []string{"1.1"}},
		{Type: "npm", Name: "six", Change: Added, After: []string{"1"}},
		{Type: "python", Name: "six", Change: Changed, Before: []string{"1", "2"}, After: []string{"1"}},
	}, packages(a, b))
	require.Empty(t, packages(a, a))
}
