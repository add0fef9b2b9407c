package sbom

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/stretchr/testify/require"

	"github.com/anchore/syft/syft/format/syftjson"

	"github.com/temper-images/temper/client/catalogue"
	"github.com/temper-images/temper/client/catalogue/cataloguetest"
	"github.com/temper-images/temper/client/imagefs"
	"github.com/temper-images/temper/client/subject"
	"github.com/temper-images/temper/integration/base"
	"github.com/temper-images/temper/integration/tools"
)

// A catalogue has exactly what the command line of Syft finds in the same layout:
// packages with everything that is said of them, files with their digests, and
// relations. What describes the run itself differs: the tool's name and settings,
// and what the image was called. Files that the command line lists only to say that
// no package was found for them are left out: they have no digest, and SPDX would
// state one of zeros.
func TestSameAsSyft(t *testing.T) {
	nginx, err := hardened()
	require.NoError(t, err)
	busybox, err := base.Busybox(bounded(t))
	require.NoError(t, err)
	for name, dir := range map[string]string{
		"debian": debian(t), "busybox": busybox.Dir, "hardened nginx": nginx, "many kinds": write(t, manyKinds(t)),
	} {
		t.Run(name, func(t *testing.T) {
			var want document
			require.NoError(t, json.Unmarshal(command(t, nil, "syft", "scan", "oci-dir:"+dir, "--quiet", "--output", "json"), &want))
			want.Files = withoutLabels(want.Files)
			got := ours(t, dir)
			require.NotEmpty(t, got.Artifacts)
			require.Empty(t, cmp.Diff(want.Artifacts, got.Artifacts), "packages")
			require.Empty(t, cmp.Diff(want.Files, got.Files), "files")
			require.Empty(t, cmp.Diff(want.ArtifactRelationships, got.ArtifactRelationships), "relations")
			require.Empty(t, cmp.Diff(want.Distro, got.Distro), "distribution")
			// The configuration holds the image's variables, which may be secret.
			for _, key := range []string{"config", "manifest"} {
				require.NotEmpty(t, want.Source.Metadata[key])
				require.Nil(t, got.Source.Metadata[key])
			}
			for _, said := range []map[string]any{want.Source.Metadata, got.Source.Metadata} {
				for _, key := range []string{"userInput", "config", "manifest"} {
					delete(said, key)
				}
			}
			require.Empty(t, cmp.Diff(want.Source.Metadata, got.Source.Metadata), "image")
		})
	}
}

// document is Syft's own JSON as far as it is about the image.
type document struct {
	Artifacts, Files, ArtifactRelationships []any
	Distro                                  any
	Source                                  struct{ Metadata map[string]any }
}

// withoutLabels leaves out what Syft says of files for which there is no package.
func withoutLabels(files []any) []any {
	return slices.DeleteFunc(files, func(v any) bool {
		f := v.(map[string]any)
		said, ok := f["unknowns"].([]any)
		if !ok {
			return false
		}
		said = slices.DeleteFunc(said, func(v any) bool { return strings.HasPrefix(v.(string), "unknowns-labeler: ") })
		if len(said) > 0 {
			f["unknowns"] = said
			return false
		}
		delete(f, "unknowns")
		return f["metadata"] == nil
	})
}

func ours(t *testing.T, dir string) document {
	t.Helper()
	set, err := subject.Open(t.Context(), dir, subject.Options{})
	require.NoError(t, err)
	defer set.Close()
	img := set.Images[0].Image
	fsys, err := imagefs.Open(t.Context(), img, imagefs.Options{})
	require.NoError(t, err)
	defer fsys.Close()
	s, err := catalogue.Image(t.Context(), img, fsys, catalogue.Options{Reference: "image"})
	require.NoError(t, err)
	encoder, err := syftjson.NewFormatEncoderWithConfig(syftjson.DefaultEncoderConfig())
	require.NoError(t, err)
	var buf bytes.Buffer
	require.NoError(t, encoder.Encode(&buf, *s))
	var out document
	require.NoError(t, json.Unmarshal(buf.Bytes(), &out))
	return out
}

// manyKinds is an image with packages of many kinds: what the test image has, a Go
// program, archives of Java, gems, links of all sorts, and files that are replaced
// and removed by an upper layer.
func manyKinds(t *testing.T) v1.Image {
	t.Helper()
	img, err := cataloguetest.Of(cataloguetest.Lower, cataloguetest.Upper, []cataloguetest.File{
		{Name: "srv/old/package.json", Data: `{"name": "old", "version": "1.0.0"}`},
		{Name: "srv/kept/package.json", Data: `{"name": "replaced", "version": "1.0.0"}`},
		{Name: "opt/here", Symlink: "app/node_modules"}, {Name: "opt/round", Symlink: "../opt"}, {Name: "opt/lost", Symlink: "none"},
		{Name: "usr/lib/ruby/gems/3.1.0/specifications/rack-3.0.8.gemspec", Data: "Gem::Specification.new do |s|\n  s.name = \"rack\".freeze\n  s.version = \"3.0.8\"\n  s.licenses = [\"MIT\".freeze]\n  s.homepage = \"https://github.com/rack/rack\".freeze\nend\n"},
		{Name: "usr/local/lib/lua/inspect.rockspec", Data: "package = \"inspect\"\nversion = \"3.1.1-0\"\n"},
		{Name: "lib/apk/db/installed", Data: "C:Q1abc=\nP:musl\nV:1.2.4-r2\nA:x86_64\nL:MIT\nT:the musl c library\nF:lib\nR:libc.musl-x86_64.so.1\n\n"},
	}, []cataloguetest.File{
		{Name: "srv/.wh.old"},
		{Name: "srv/kept/package.json", Data: `{"name": "kept", "version": "2.0.0"}`},
		{Name: "srv/again/package.json", Hardlink: "srv/kept/package.json"},
	})
	require.NoError(t, err)
	program, err := os.ReadFile(tools.Path("buildctl"))
	require.NoError(t, err)
	img = appended(t, img, archive(t, map[string][]byte{"usr/bin/buildctl": program, "srv/app/app.jar": jar(t)}))
	return img
}

func jar(t *testing.T) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := zip.NewWriter(&buf)
	for _, f := range [][2]string{
		{"META-INF/MANIFEST.MF", "Manifest-Version: 1.0\nImplementation-Title: app\nImplementation-Version: 4.5.6\n"},
		{"META-INF/maven/com.example/app/pom.properties", "groupId=com.example\nartifactId=app\nversion=4.5.6\n"},
		{"META-INF/maven/com.example/dep/pom.properties", "groupId=com.example\nartifactId=dep\nversion=0.1.0\n"},
	} {
		out, err := w.Create(f[0])
		require.NoError(t, err)
		_, err = out.Write([]byte(f[1]))
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return buf.Bytes()
}

// archive is a layer with executable files.
func archive(t *testing.T, files map[string][]byte) v1.Layer {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for name, dt := range files {
		require.NoError(t, w.WriteHeader(&tar.Header{Name: filepath.ToSlash(name), Mode: 0o755, Size: int64(len(dt)), Typeflag: tar.TypeReg}))
		_, err := w.Write(dt)
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return static.NewLayer(buf.Bytes(), types.OCIUncompressedLayer)
}
