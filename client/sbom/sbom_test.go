package sbom

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/anchore/syft/syft/format"
	syftsbom "github.com/anchore/syft/syft/sbom"
	intoto "github.com/in-toto/attestation/go/v1"
	digest "github.com/opencontainers/go-digest"
	spdxjson "github.com/spdx/tools-golang/json"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/temper-images/temper/client/artifact"
	"github.com/temper-images/temper/client/catalogue"
	"github.com/temper-images/temper/client/catalogue/cataloguetest"
	"github.com/temper-images/temper/client/imagefs"
	"github.com/temper-images/temper/hardening/spec"
)

var update = flag.Bool("update", false, "rewrite golden files")

// catalogued is a new catalogue of the test image.
func catalogued(t testing.TB) *syftsbom.SBOM {
	t.Helper()
	img, err := cataloguetest.Image()
	require.NoError(t, err)
	fsys, err := imagefs.Open(t.Context(), img, imagefs.Options{})
	require.NoError(t, err)
	defer fsys.Close()
	s, err := catalogue.Image(t.Context(), img, fsys, catalogue.Options{Reference: "registry.example.com/team/app:1", Version: "v9"})
	require.NoError(t, err)
	return s
}

// known are facts of every kind.
func known(t testing.TB) Facts {
	t.Helper()
	img, err := cataloguetest.Image()
	require.NoError(t, err)
	base, source, err := Declared(img)
	require.NoError(t, err)
	h, err := img.Digest()
	require.NoError(t, err)
	return Facts{
		Subject: Subject{Name: "app", Reference: "registry.example.com/team/app:1", Digest: digest.Digest(h.String()), Platform: "linux/amd64"},
		Base:    base, Source: source, Supplier: "Example Ltd", Epoch: cataloguetest.Epoch, Version: "v9",
		Hardening: &spec.Report{
			Level: "exclusive", Family: "debian",
			Before: spec.Totals{Files: 100, Bytes: 9000, Packages: 5}, After: spec.Totals{Files: 10, Bytes: 500, Packages: 3},
			Packages: []spec.Package{
				{Type: "deb", Name: "apt", Version: "2.6.1", Arch: "amd64", State: spec.PackageRemoved, FilesBefore: 50},
				{Type: "deb", Name: "adduser", Version: "3.134", Arch: "all", State: spec.PackageRemoved, FilesBefore: 8},
				{Type: "deb", Name: "binutils", Version: "2.40-2", Arch: "amd64", State: spec.PackagePartial, FilesBefore: 30, FilesAfter: 2},
				{Type: "deb", Name: "libssl3", Version: "3.0.15-1~deb12u1", Arch: "amd64", State: spec.PackageKept, FilesBefore: 6, FilesAfter: 6},
			},
		},
		Patched: []Patch{{Type: "deb", Name: "libssl3", From: "3.0.13-1~deb12u1", To: "3.0.15-1~deb12u1", CVEs: []string{"CVE-2024-6119", "CVE-2024-5535"}}},
		BuildDependencies: []Dependency{
			{Name: "golang:1.26-bookworm", PURL: "pkg:oci/golang@sha256%3Aee?repository_url=docker.io/library/golang", Digest: digest.FromString("golang")},
			{Name: "apt", Version: "2.6.1", PURL: "pkg:deb/debian/apt@2.6.1?arch=amd64&distro=debian-12"},
			{Name: "https://example.com/source.tar.gz", Digest: digest.FromString("source")},
			{Name: "apt", Version: "2.6.1", PURL: "pkg:deb/debian/apt@2.6.1?arch=amd64&distro=debian-12"},
		},
	}
}

// pretty makes differences readable.
func pretty(t testing.TB, dt []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	require.NoError(t, json.Indent(&out, dt, "", " "))
	return out.Bytes()
}

// documents are the documents that golden files exist of.
var documents = []struct {
	format, version string
}{
	{FormatCycloneDX, "1.4"}, {FormatCycloneDX, "1.5"}, {FormatCycloneDX, "1.6"}, {FormatCycloneDX, "1.7"}, {FormatSPDX, "2.3"}, {FormatSPDX, "3.0"},
}

func write(t testing.TB, s *syftsbom.SBOM, f Facts, format, version string) []byte {
	t.Helper()
	make := CycloneDX
	if format == FormatSPDX {
		make = SPDX
	}
	dt, err := make(s, f, version)
	require.NoError(t, err)
	return dt
}

func TestGolden(t *testing.T) {
	s, f := catalogued(t), known(t)
	for _, d := range documents {
		if d.version == "1.4" || d.version == "1.7" {
			continue // they say the same as their neighbours
		}
		got := pretty(t, write(t, s, f, d.format, d.version))
		file := filepath.Join("testdata", d.format+"-"+d.version+".golden.json")
		if *update {
			require.NoError(t, os.WriteFile(file, got, 0o644))
		}
		want, err := os.ReadFile(file)
		require.NoError(t, err)
		require.Equal(t, string(want), string(got), d)
	}
}

// The same image gives the same bytes, also when it is catalogued anew, and a
// document's UUID changes with what it says.
func TestDeterministic(t *testing.T) {
	f := known(t)
	first := map[string][]byte{}
	for range 20 {
		s := catalogued(t)
		for _, d := range documents {
			dt := write(t, s, f, d.format, d.version)
			key := d.format + d.version
			if first[key] == nil {
				first[key] = dt
			}
			require.True(t, bytes.Equal(first[key], dt), "%v differs from the first one", d)
			require.NotContains(t, string(dt), unidentified)
		}
	}
	f.Version = "v10"
	s := catalogued(t)
	var before, after struct{ SerialNumber string }
	require.NoError(t, json.Unmarshal(first["cyclonedx1.6"], &before))
	require.NoError(t, json.Unmarshal(write(t, s, f, FormatCycloneDX, "1.6"), &after))
	require.NotEqual(t, before.SerialNumber, after.SerialNumber)
}

// What is written does not depend on the order in which facts are told.
func TestOrderOfFacts(t *testing.T) {
	s, f := catalogued(t), known(t)
	other := known(t)
	slices.Reverse(other.BuildDependencies)
	slices.Reverse(other.Hardening.Packages)
	slices.Reverse(other.Patched[0].CVEs)
	for _, d := range documents {
		require.Equal(t, string(write(t, s, f, d.format, d.version)), string(write(t, s, other, d.format, d.version)), d)
	}
}

// Syft and with it Grype read back the packages that are in the image, with all
// that they match by, and none besides.
func TestReadBack(t *testing.T) {
	s, f := catalogued(t), known(t)
	type match struct{ name, version, kind, purl, cpes string }
	matches := func(s *syftsbom.SBOM) []match {
		var out []match
		for _, p := range s.Artifacts.Packages.Sorted() {
			var cpes []string
			for _, c := range p.CPEs {
				cpes = append(cpes, c.Attributes.BindToFmtString())
			}
			slices.Sort(cpes)
			out = append(out, match{p.Name, p.Version, string(p.Type), p.PURL, strings.Join(cpes, " ")})
		}
		return out
	}
	want := matches(s)
	require.Len(t, want, len(cataloguetest.Packages))
	for _, d := range documents {
		read, _, _, err := format.Decode(bytes.NewReader(write(t, s, f, d.format, d.version)))
		require.NoError(t, err, d)
		var got []match
		for _, m := range matches(read) {
			if strings.HasPrefix(m.purl, "pkg:oci/") || m.name == "https://example.com/source.tar.gz" {
				require.Equal(t, FormatSPDX, d.format)
				require.Empty(t, m.cpes)
				continue // the base image and the sources, in which nothing is matched
			}
			got = append(got, m)
		}
		require.Equal(t, want, got, d)
		require.Equal(t, "debian", read.Artifacts.LinuxDistribution.ID, d)
		require.Equal(t, "12", read.Artifacts.LinuxDistribution.VersionID, d)
	}
}

// A scanner must not take what was removed for what is there.
func TestRemovedIsNoPackage(t *testing.T) {
	s, f := catalogued(t), known(t)
	for _, d := range documents {
		dt := write(t, s, f, d.format, d.version)
		require.Contains(t, string(dt), "pkg:deb/debian/apt@2.6.1?arch=amd64&distro=debian-12", d)
		read, _, _, err := format.Decode(bytes.NewReader(dt))
		require.NoError(t, err, d)
		require.Empty(t, read.Artifacts.Packages.PackagesByName("apt"), d)
		require.Empty(t, read.Artifacts.Packages.PackagesByName("adduser"), d)
	}
}

func TestNoFacts(t *testing.T) {
	s := catalogued(t)
	for _, d := range documents {
		dt := write(t, s, Facts{Subject: Subject{Name: "app", Digest: digest.FromString("app")}}, d.format, d.version)
		require.Contains(t, string(dt), "1970-01-01T00:00:00Z", d)
	}
}

func TestNoSecrets(t *testing.T) {
	s, f := catalogued(t), known(t)
	for repository, want := range map[string]string{
		"https://user:hunter2@git.example.com/team/app.git?token=hunter2#hunter2": "https://git.example.com/team/app.git",
		"ssh://hunter2@git.example.com/team/app.git":                              "ssh://git.example.com/team/app.git",
		"hunter2@git.example.com:team/app.git":                                    "git.example.com:team/app.git",
		"https://user:hunter2%zz@git.example.com/app":                             "",
	} {
		f.Source = &Source{Repository: repository, Commit: strings.Repeat("ab", 20)}
		for _, d := range documents {
			dt := string(write(t, s, f, d.format, d.version))
			require.NotContains(t, dt, "hunter2", repository)
			require.Contains(t, dt, want)
		}
	}
}

func TestArtifacts(t *testing.T) {
	s, f := catalogued(t), known(t)
	f.Subject.Platform = "linux/arm/v7"
	list, err := Artifacts(s, f, Options{})
	require.NoError(t, err)
	require.Len(t, list, 2)
	require.Equal(t, "sbom-app-arm-v7.cdx.json", list[0].Name)
	require.Equal(t, artifact.TypeCycloneDX, list[0].MediaType)
	require.Equal(t, PredicateCycloneDX, list[0].PredicateType)
	require.Equal(t, "sbom-app-arm-v7.spdx.json", list[1].Name)
	require.Equal(t, artifact.TypeSPDX, list[1].MediaType)
	require.Equal(t, "linux/arm/v7", list[1].Platform)
	require.Contains(t, string(list[0].Data), `"specVersion":"1.6"`)
	require.Contains(t, string(list[1].Data), `"spdxVersion":"SPDX-2.3"`)

	list, err = Artifacts(s, f, Options{Formats: []string{FormatSPDX}, SPDX: "3.0"})
	require.NoError(t, err)
	require.Len(t, list, 1)
	require.Contains(t, string(list[0].Data), `"specVersion":"3.0.1"`)

	for _, o := range []Options{{Formats: []string{"swid"}}, {CycloneDX: "1.3"}, {SPDX: "2.2"}} {
		_, err := Artifacts(s, f, o)
		require.Error(t, err)
		require.Equal(t, o.Validate(), err)
	}
	f.Subject.Name = "../app"
	_, err = Artifacts(s, f, Options{})
	require.ErrorContains(t, err, "it must be a file name")
}

func TestDeclared(t *testing.T) {
	f := known(t)
	require.Equal(t, &Image{Reference: "docker.io/library/debian:bookworm", Digest: digest.Digest("sha256:" + strings.Repeat("cd", 32))}, f.Base)
	require.Equal(t, &Source{Repository: "https://git.example.com/team/app", Commit: strings.Repeat("ab", 20)}, f.Source)
}

// As an attestation the document reads as BuildKit and buildx read it: an in-toto
// statement of the SPDX predicate, whose predicate tools-golang takes.
func TestSPDXAttestation(t *testing.T) {
	dt := write(t, catalogued(t), known(t), FormatSPDX, "")
	statement, err := json.Marshal(map[string]any{
		"_type": intoto.StatementTypeUri, "predicateType": PredicateSPDX, "predicate": json.RawMessage(dt),
		"subject": []any{map[string]any{"name": "app", "digest": map[string]string{"sha256": strings.Repeat("a", 64)}}},
	})
	require.NoError(t, err)
	var st intoto.Statement
	require.NoError(t, protojson.Unmarshal(statement, &st))
	require.NoError(t, st.Validate())
	doc, err := spdxjson.Read(bytes.NewReader(dt))
	require.NoError(t, err)
	require.Equal(t, "SPDX-2.3", doc.SPDXVersion)
	created, err := time.Parse(time.RFC3339, doc.CreationInfo.Created)
	require.NoError(t, err)
	require.True(t, created.Equal(cataloguetest.Epoch))
}

// Every element of SPDX 3.0 is there once, and none is counted.
func TestSPDX3Elements(t *testing.T) {
	var g graph
	require.NoError(t, json.Unmarshal(write(t, catalogued(t), known(t), FormatSPDX, "3.0"), &g))
	seen := map[string]bool{}
	for _, e := range g.Graph {
		id := identifier(e)
		require.NotEmpty(t, id)
		require.False(t, seen[id], id)
		seen[id] = true
	}
	for _, e := range g.Graph {
		for _, to := range append(list(e["to"]), list(e["element"])...) {
			require.True(t, seen[to.(string)] || strings.HasPrefix(to.(string), "https://"), "%s leads to %s, which is not there", identifier(e), to)
		}
	}
}

func list(v any) []any {
	l, _ := v.([]any)
	return l
}

func FuzzGraph(f *testing.F) {
	f.Add([]byte(`{"@context":"c","@graph":[{"type":"Tool","spdxId":"SPDXRef:Tool-1","name":"a","x":["SPDXRef:Tool-2",1]},{"type":"Tool","spdxId":"SPDXRef:Tool-2","name":"b"}]}`))
	f.Add([]byte(`{"@graph":[{"spdxId":"SPDXRef:A-1","x":"SPDXRef:A-1"}]}`))
	f.Fuzz(func(t *testing.T, dt []byte) {
		var once, twice bytes.Buffer
		if canonicalGraph(&once, dt) != nil {
			return
		}
		if err := canonicalGraph(&twice, once.Bytes()); err != nil {
			t.Fatal(err)
		}
	})
}
