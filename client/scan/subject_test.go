package scan

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/anchore/syft/syft/format/syftjson"
	"github.com/anchore/syft/syft/source"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	digest "github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/client/scan/scantest"
	"github.com/temper-images/temper/client/subject"
	"github.com/temper-images/temper/client/vex"
)

func statement(product string) string {
	return fmt.Sprintf(`{"@context": "https://openvex.dev/ns/v0.2.0", "@id": "https://example.com/v", "timestamp": "2026-05-01T00:00:00Z",
	"statements": [{"vulnerability": {"name": "CVE-2025-0001"}, "products": [{"@id": %q}], "status": "not_affected", "justification": "component_not_present"}]}`, product)
}

// What BuildKit attaches to an image applies to it, when it is asked for.
func TestAttachedVEX(t *testing.T) {
	img := must(mutate.ConfigFile(empty.Image, &v1.ConfigFile{OS: "linux", Architecture: "amd64", RootFS: v1.RootFS{Type: "layers"}}))
	about := must(img.Digest())
	attach := func(predicateType, text string) mutate.Addendum {
		return mutate.Addendum{
			Layer:       static.NewLayer([]byte(text), "application/vnd.in-toto+json"),
			Annotations: map[string]string{"in-toto.io/predicate-type": predicateType},
		}
	}
	build := func(list ...mutate.Addendum) *subject.Image {
		attestation := must(mutate.Append(empty.Image, list...))
		index := mutate.AppendManifests(empty.Index,
			mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "amd64"}}},
			mutate.IndexAddendum{Add: attestation, Descriptor: v1.Descriptor{
				Platform:    &v1.Platform{OS: "unknown", Architecture: "unknown"},
				Annotations: map[string]string{"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": about.String()},
			}})
		dir := filepath.Join(t.TempDir(), "app.oci")
		p := must(layout.Write(dir, empty.Index))
		require.NoError(t, p.AppendIndex(mutate.IndexMediaType(index, types.OCIImageIndex)))
		set, err := subject.Open(t.Context(), dir, subject.Options{})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, set.Close()) })
		return set.Images[0]
	}
	good := build(
		attach("https://spdx.dev/Document", `{}`),
		attach("https://openvex.dev/ns/v0.2.0", `{"_type": "https://in-toto.io/Statement/v0.1", "predicateType": "https://openvex.dev/ns/v0.2.0", "predicate": `+statement(about.String())+`}`))
	documents, err := AttachedVEX(t.Context(), good)
	require.NoError(t, err)
	require.Len(t, documents, 1)
	known, err := About(good)
	require.NoError(t, err)
	require.Equal(t, "app", known.Name)
	require.Equal(t, []digest.Digest{good.Digest, digest.Digest(must(img.ConfigName()).String()), good.Index}, known.Digests)

	r := scanned(t, scantest.Catalogue(), Options{VEX: documents, Image: known})
	require.Equal(t, []string{"CVE-2025-0001 libssl3"}, ids(r.Excused))
	require.Contains(t, r.Excused[0].Statement.Document, "attestation sha256:")

	_, err = AttachedVEX(t.Context(), build(attach("https://openvex.dev/ns", `{"predicateType": "https://openvex.dev/ns", "predicate": {"statements": 1}}`)))
	var bad *vex.DocumentError
	require.ErrorAs(t, err, &bad)
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// A statement about the image applies to its SBOM too, by what the SBOM records.
func TestRecordedImage(t *testing.T) {
	manifest := digest.FromString("manifest")
	s := scantest.Catalogue()
	s.Source.Metadata = source.ImageMetadata{
		UserInput: "registry.example.com/team/app:1", ManifestDigest: manifest.String(), Architecture: "amd64", OS: "linux",
		Tags: []string{"registry.example.com/team/app:1"}, RepoDigests: []string{"registry.example.com/team/app@" + digest.FromString("index").String()},
	}
	file := filepath.Join(t.TempDir(), "syft.json")
	f, err := os.Create(file)
	require.NoError(t, err)
	require.NoError(t, syftjson.NewFormatEncoder().Encode(f, *s))
	require.NoError(t, f.Close())
	for product, want := range map[string]int{
		manifest.String():                             1,
		"pkg:oci/app@" + manifest.String():            1,
		"registry.example.com/team/app:1":             1,
		digest.FromString("index").String():           1,
		"pkg:oci/app?repository_url=ghcr.io/team/app": 0,
		"registry.example.com/team/app:2":             0,
	} {
		d, err := vex.Read("v", []byte(statement(product)))
		require.NoError(t, err)
		r, err := File(t.Context(), file, db, Options{VEX: []*vex.Document{d}})
		require.NoError(t, err)
		require.Len(t, r.Excused, want, "%s", product)
	}
}
