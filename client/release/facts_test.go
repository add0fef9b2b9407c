package release

import (
	"os"
	"path/filepath"
	"testing"

	digest "github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/client/artifact"
	"github.com/temper-images/temper/client/build"
	"github.com/temper-images/temper/client/provenance"
	"github.com/temper-images/temper/client/settings"
	"github.com/temper-images/temper/client/subject"
)

func TestBaseName(t *testing.T) {
	for name, tc := range map[string]struct{ dockerfile, want string }{
		"one stage":          {"FROM debian:bookworm\n", "debian:bookworm"},
		"the last stage":     {"FROM golang:1.26 AS build\nFROM debian:bookworm\n", "debian:bookworm"},
		"through stages":     {"FROM debian:bookworm AS base\nFROM base AS more\nFROM more\n", "debian:bookworm"},
		"in another case":    {"FROM debian:bookworm AS Base\nFROM base\n", "debian:bookworm"},
		"no Dockerfile":      {"", ""},
		"not a Dockerfile":   {"FROM\n", ""},
		"only an argument":   {"ARG X=1\n", ""},
		"a name of its own":  {"FROM a AS a\n", "a"},
		"scratch at the end": {"FROM debian AS x\nFROM scratch\n", "scratch"},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, tc.want, (&origin{dockerfile: document{text: []byte(tc.dockerfile)}}).baseName())
		})
	}
	require.Empty(t, (*origin)(nil).baseName())
}

func TestDependencies(t *testing.T) {
	hex := digest.FromString("x").Encoded()
	b := &provenance.Build{Dependencies: []provenance.Resource{
		{Kind: provenance.KindImage, Name: "docker.io/library/golang:1.26", Digest: map[string]string{"sha256": hex}},
		{Kind: provenance.KindImage, Name: "docker.io/library/debian:bookworm", Digest: map[string]string{"sha256": hex}},
		{Kind: provenance.KindHTTP, URI: "https://example.com/x.tar", Digest: map[string]string{"sha256": hex}},
	}}
	base, rest := dependencies(b, "debian:bookworm")
	require.Equal(t, "docker.io/library/debian:bookworm", base.Reference)
	require.Equal(t, digest.Digest("sha256:"+hex), base.Digest)
	require.Len(t, rest, 2)
	require.Equal(t, "https://example.com/x.tar", rest[1].Name)

	base, rest = dependencies(b, "bookworm")
	require.Nil(t, base, "a part of a name is not the image")
	require.Len(t, rest, 3)
	base, rest = dependencies(b, "")
	require.Nil(t, base, "which of two is not known")
	require.Len(t, rest, 3)

	b.Dependencies = b.Dependencies[1:]
	base, _ = dependencies(b, "")
	require.NotNil(t, base, "the only image is the base")
}

func TestLayoutOf(t *testing.T) {
	for output, want := range map[string]string{
		"app.oci": "app.oci", "type=oci,tar=false,dest=x": "x",
		"-": "", "type=oci,dest=x.tar": "", "type=image,name=x": "", "type=local,dest=x": "", "type=nonsense": "",
	} {
		dir, err := layoutOf(&build.Request{Outputs: []string{output}})
		require.Equal(t, want, dir, output)
		if want == "" {
			var input *build.InputError
			require.ErrorAs(t, err, &input, output)
		} else {
			require.NoError(t, err, output)
		}
	}
	r := &build.Request{Context: t.TempDir()}
	dir, err := layoutOf(r)
	require.NoError(t, err)
	require.Equal(t, []string{dir}, r.Outputs)
	require.Equal(t, filepath.Base(r.Context)+".oci", dir)
}

func TestReadDockerfile(t *testing.T) {
	dir, elsewhere := t.TempDir(), t.TempDir()
	for _, d := range []string{dir, elsewhere} {
		require.NoError(t, os.WriteFile(filepath.Join(d, "Dockerfile"), []byte("FROM scratch\n"), 0o600))
	}
	s := &settings.Settings{Dir: dir}
	require.Equal(t, "Dockerfile", readDockerfile(&build.Request{}, s).path)
	require.Equal(t, "Dockerfile", readDockerfile(&build.Request{Dockerfile: filepath.Join(elsewhere, "Dockerfile")}, s).path,
		"where a file lies on this machine is left out")
	require.Empty(t, readDockerfile(&build.Request{Dockerfile: "-"}, s).path)
	require.Empty(t, readDockerfile(&build.Request{Dockerfile: filepath.Join(dir, "nowhere")}, s).path)
	require.Empty(t, readDockerfile(&build.Request{}, &settings.Settings{}).path, "a context that only the builder sees")
}

// TestWriteRefused: the documents take the place of those of an earlier run, all at
// once, and a name that is a path is not written.
func TestWriteRefused(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "app.refused")
	e := func(names ...string) *Evidence {
		img := &ImageEvidence{Image: &subject.Image{Name: "app"}}
		for _, n := range names {
			img.Documents = append(img.Documents, artifact.Artifact{Kind: artifact.Scan, Name: n, MediaType: artifact.TypeJSON, Data: []byte(n)})
		}
		return &Evidence{Images: []*ImageEvidence{img}}
	}
	require.NoError(t, e("a.json", "b.json").write(dir))
	require.NoError(t, e("c.json").write(dir))
	list, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, list, 1)
	require.Error(t, e("../d.json").write(dir))
	list, err = os.ReadDir(filepath.Dir(dir))
	require.NoError(t, err)
	require.Len(t, list, 1, "nothing is left beside it")
	require.FileExists(t, filepath.Join(dir, "c.json"))
}
