package vex

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	digest "github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/client/finding"
)

var (
	dgst = digest.FromString("the image")
	img  = Image{
		Name: "app", References: []string{"registry.example.com:5000/team/app:1.2"}, Platform: "linux/arm/v7",
		Digests: []digest.Digest{dgst, digest.FromString("the index")},
	}
	found = &finding.Finding{
		ID: "CVE-2025-0001", Aliases: []string{"GHSA-aaaa-bbbb-cccc"},
		Package: finding.Package{
			Name: "libssl3", Version: "3.0.15-1~deb12u1", Type: "deb", Sources: []string{"openssl"},
			PURL: "pkg:deb/debian/libssl3@3.0.15-1~deb12u1?arch=armhf&distro=debian-12&upstream=openssl",
		},
	}
)

func document(product string) string {
	return `{"@context": "https://openvex.dev/ns/v0.2.0", "@id": "https://example.com/vex-1", "author": "Ada",
	"timestamp": "2026-01-02T03:04:05Z", "version": 1,
	"statements": [{"vulnerability": {"name": "CVE-2025-0001"}, "products": [` + product + `],
	"status": "not_affected", "justification": "component_not_present"}]}`
}

func mustRead(t *testing.T, name, text string) *Document {
	t.Helper()
	d, err := Read(name, []byte(text))
	require.NoError(t, err)
	return d
}

// Every way in which people name an image or a package in it.
func TestProducts(t *testing.T) {
	hex := dgst.Encoded()
	hub := Image{Name: "nginx", References: []string{"nginx:1.27"}, Platform: "linux/amd64", Digests: []digest.Digest{dgst}}
	local := Image{Name: "nginx", Platform: "linux/amd64", Digests: []digest.Digest{dgst}}
	openssl := `"subcomponents": [{"@id": "pkg:deb/debian/libssl3"}]`
	tests := []struct {
		name    string
		img     Image
		product string
		want    bool
	}{
		{"package", img, `{"@id": "pkg:deb/debian/libssl3@3.0.15-1~deb12u1"}`, true},
		{"package of any version", img, `{"@id": "pkg:deb/debian/libssl3"}`, true},
		{"package with qualifiers", img, `{"@id": "pkg:deb/debian/libssl3@3.0.15-1~deb12u1?arch=armhf&distro=debian-12"}`, true},
		{"package by identifier", img, `{"@id": "https://example.com/libssl3", "identifiers": {"purl": "pkg:deb/debian/libssl3"}}`, true},
		{"source package", img, `{"@id": "pkg:deb/debian/openssl@3.0.15-1~deb12u1"}`, true},
		{"source package, as Debian writes it", img, `{"@id": "pkg:deb/debian/openssl?arch=source"}`, true},
		{"other version", img, `{"@id": "pkg:deb/debian/libssl3@3.0.16-1"}`, false},
		{"other architecture", img, `{"@id": "pkg:deb/debian/libssl3?arch=amd64"}`, false},
		{"other package", img, `{"@id": "pkg:deb/debian/zlib1g"}`, false},
		{"image by digest", img, `{"@id": "sha256:` + hex + `"}`, true},
		{"image by bare digest", img, `{"@id": "` + hex + `"}`, true},
		{"image by hash", img, `{"@id": "https://example.com/app", "hashes": {"sha-256": "` + hex + `"}}`, true},
		{"image by hash of another kind", img, `{"@id": "https://example.com/app", "hashes": {"sha-512": "` + hex + `"}}`, false},
		{"index by digest", img, `{"@id": "` + digest.FromString("the index").String() + `"}`, true},
		{"other digest", img, `{"@id": "` + digest.FromString("other").String() + `"}`, false},
		{"oci", img, `{"@id": "pkg:oci/app"}`, true},
		{"oci with digest", img, `{"@id": "pkg:oci/app@sha256:` + hex + `"}`, true},
		{"oci with escaped digest", img, `{"@id": "pkg:oci/app@sha256%3A` + hex + `"}`, true},
		{"oci with doubled algorithm", img, `{"@id": "pkg:oci/app@sha256:sha256:` + hex + `"}`, true},
		{"oci with digest, elsewhere", img, `{"@id": "pkg:oci/copy@sha256:` + hex + `?repository_url=mirror.example.com/copy"}`, true},
		{"oci with digest, other architecture", img, `{"@id": "pkg:oci/app@sha256:` + hex + `?arch=amd64"}`, false},
		{"oci with other digest", img, `{"@id": "pkg:oci/app@` + digest.FromString("other").String() + `"}`, false},
		{"oci with tag", img, `{"@id": "pkg:oci/app?tag=1.2"}`, true},
		{"oci with tag as version", img, `{"@id": "pkg:oci/app@1.2"}`, true},
		{"oci with other tag", img, `{"@id": "pkg:oci/app?tag=1.3"}`, false},
		{"oci with repository", img, `{"@id": "pkg:oci/app?repository_url=registry.example.com:5000/team/app"}`, true},
		{"oci with repository, escaped", img, `{"@id": "pkg:oci/app?repository_url=registry.example.com%3A5000%2Fteam%2Fapp"}`, true},
		{"oci with repository above it", img, `{"@id": "pkg:oci/app?repository_url=registry.example.com:5000/team"}`, true},
		{"oci with other repository", img, `{"@id": "pkg:oci/app?repository_url=registry.example.com/team/app"}`, false},
		{"oci with architecture", img, `{"@id": "pkg:oci/app?arch=arm/v7&os=linux"}`, true},
		{"oci with other architecture", img, `{"@id": "pkg:oci/app?arch=amd64"}`, false},
		{"oci with what nobody can check", img, `{"@id": "pkg:oci/app?flavour=mild"}`, false},
		{"oci of other name", img, `{"@id": "pkg:oci/application"}`, false},
		{"reference", img, `{"@id": "registry.example.com:5000/team/app:1.2"}`, true},
		{"reference without tag", img, `{"@id": "registry.example.com:5000/team/app"}`, true},
		{"reference with digest", img, `{"@id": "registry.example.com:5000/team/app@sha256:` + hex + `"}`, true},
		{"reference with scheme", img, `{"@id": "docker://registry.example.com:5000/team/app:1.2"}`, true},
		{"reference with other tag", img, `{"@id": "registry.example.com:5000/team/app:1.3"}`, false},
		{"reference elsewhere", img, `{"@id": "registry.example.com/team/app:1.2"}`, false},
		{"name", img, `{"@id": "app"}`, true},
		{"generic", img, `{"@id": "pkg:generic/app@1.2"}`, true},
		{"generic without version", img, `{"@id": "pkg:generic/app"}`, false},
		{"text of v0.0.1", img, `"pkg:oci/app?tag=1.2"`, true},
		{"hub", hub, `{"@id": "docker.io/library/nginx:1.27"}`, true},
		{"hub, other spelling", hub, `{"@id": "index.docker.io/library/nginx"}`, true},
		{"hub, short", hub, `{"@id": "nginx:1.27"}`, true},
		{"hub as oci", hub, `{"@id": "pkg:oci/nginx?repository_url=docker.io/library/nginx"}`, true},
		{"hub as oci, above it", hub, `{"@id": "pkg:oci/nginx?repository_url=docker.io%2Flibrary"}`, true},
		{"hub as docker", hub, `{"@id": "pkg:docker/nginx@1.27"}`, true},
		{"hub as docker with namespace", hub, `{"@id": "pkg:docker/library/nginx@1.27"}`, true},
		{"hub as docker of other namespace", hub, `{"@id": "pkg:docker/bitnami/nginx@1.27"}`, false},
		{"local", local, `{"@id": "pkg:oci/nginx"}`, true},
		{"local by digest", local, `{"@id": "pkg:oci/nginx@sha256:` + hex + `"}`, true},
		{"local by short name", local, `{"@id": "nginx"}`, true},
		{"local with repository", local, `{"@id": "pkg:oci/nginx?repository_url=docker.io/library/nginx"}`, false},
		{"image and package", img, `{"@id": "pkg:oci/app", ` + openssl + `}`, true},
		{"other image and package", img, `{"@id": "pkg:oci/other", ` + openssl + `}`, false},
		{"image and other package", img, `{"@id": "pkg:oci/app", "subcomponents": [{"@id": "pkg:deb/debian/zlib1g"}]}`, false},
		{"image and nameless parts", img, `{"@id": "pkg:oci/app", "subcomponents": [{}]}`, false},
		{"nothing", img, `{}`, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := Find([]*Document{mustRead(t, "vex.json", document(tt.product))}, tt.img, found)
			require.Equal(t, tt.want, got != nil, "%+v", got)
			if got != nil {
				require.True(t, got.Excuses())
				require.Equal(t, "vex.json", got.Document)
				require.Equal(t, "https://example.com/vex-1#1", got.ID)
				require.Equal(t, "Ada", got.Author)
				require.NotEmpty(t, got.Product)
			}
		})
	}
}

// The first example of the specification, with its version that is a string
// (OPENVEX-SPEC.md, "Minimal Document"; anchore/grype#3212).
func TestMinimalDocument(t *testing.T) {
	d := mustRead(t, "minimal.json", `{
	"@context": "https://openvex.dev/ns/v0.2.0", "@id": "https://openvex.dev/docs/example/vex-9fb3463de1b57",
	"author": "Wolfi J Inkinson", "role": "Document Creator", "timestamp": "2023-01-08T18:02:03.647787998-06:00", "version": "1",
	"statements": [{"vulnerability": {"name": "CVE-2025-0001"},
	"products": [{"@id": "pkg:deb/debian/libssl3@3.0.15-1~deb12u1?arch=armhf"}], "status": "fixed"}]}`)
	s := Find([]*Document{d}, Image{}, found)
	require.Equal(t, finding.Fixed, s.Status)
	require.Equal(t, time.Date(2023, 1, 9, 0, 2, 3, 647787998, time.UTC), s.Time)
}

func TestVulnerabilityNames(t *testing.T) {
	for name, want := range map[string]bool{
		`{"name": "CVE-2025-0001"}`:                                  true,
		`{"name": "cve-2025-0001"}`:                                  true,
		`{"name": "GHSA-aaaa-bbbb-cccc"}`:                            true,
		`{"name": "X", "aliases": ["CVE-2025-0001"]}`:                true,
		`{"@id": "https://nvd.nist.gov/vuln/detail/CVE-2025-0001"}`:  true,
		`"CVE-2025-0001"`:                                            true,
		`{"name": "CVE-2025-00011"}`:                                 false,
		`{"@id": "https://nvd.nist.gov/vuln/detail/CVE-2025-0001x"}`: false,
		`{}`: false,
	} {
		t.Run(name, func(t *testing.T) {
			d := mustRead(t, "v", fmt.Sprintf(`{"@context": "https://openvex.dev/ns", "statements": [
			{"vulnerability": %s, "products": ["pkg:oci/app"], "status": "not_affected"}]}`, name))
			require.Equal(t, want, Find([]*Document{d}, img, found) != nil)
		})
	}
}

// What was said last counts; of what was said at the same time, what warns.
func TestHistory(t *testing.T) {
	statement := func(status, at string) string {
		return fmt.Sprintf(`{"vulnerability": "CVE-2025-0001", "products": ["pkg:oci/app"], "status": %q, "timestamp": %q}`, status, at)
	}
	doc := func(name string, statements string) *Document {
		return mustRead(t, name, `{"@context": "https://openvex.dev/ns", "@id": "`+name+`", "timestamp": "2026-01-01T00:00:00Z", "statements": [`+statements+`]}`)
	}
	calm := doc("calm", statement("not_affected", "2026-01-05T00:00:00Z"))
	for name, tt := range map[string]struct {
		docs []*Document
		want string
	}{
		"later warning":  {[]*Document{calm, doc("b", statement("affected", "2026-01-06T00:00:00Z"))}, "affected"},
		"other order":    {[]*Document{doc("b", statement("affected", "2026-01-06T00:00:00Z")), calm}, "affected"},
		"earlier":        {[]*Document{doc("b", statement("affected", "2026-01-04T00:00:00Z")), calm}, "not_affected"},
		"at once":        {[]*Document{calm, doc("b", statement("under_investigation", "2026-01-05T00:00:00Z"))}, "under_investigation"},
		"at once, other": {[]*Document{doc("b", statement("affected", "2026-01-05T00:00:00Z")), calm}, "affected"},
		"in one":         {[]*Document{doc("b", statement("affected", "2026-01-02T00:00:00Z")+","+statement("fixed", "2026-01-03T00:00:00Z"))}, "fixed"},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, tt.want, Find(tt.docs, img, found).Status)
		})
	}
}

func TestInToto(t *testing.T) {
	d := mustRead(t, "attested", `{"_type": "https://in-toto.io/Statement/v1", "subject": [], "predicateType": "https://openvex.dev/ns/v0.2.0", "predicate": `+document(`{"@id": "pkg:oci/app"}`)+`}`)
	require.NotNil(t, Find([]*Document{d}, img, found))
}

func TestRefused(t *testing.T) {
	for text, want := range map[string]string{
		``:   "no JSON object",
		`[]`: "no JSON object",
		`{}`: "neither OpenVEX",
		`{"@context": "https://openvex.dev/ns", "statements": [{"status": "fine"}]}`:              `the status "fine"`,
		`{"@context": "https://openvex.dev/ns", "statements": 3}`:                                 "decode OpenVEX",
		`{"document": {"csaf_version": "2.0"}, "vulnerabilities": 3}`:                             "decode CSAF",
		`{"predicateType": "https://openvex.dev/ns/v0.2.0", "predicate": {"statements": "none"}}`: "decode OpenVEX",
	} {
		_, err := Read("x.json", []byte(text))
		var bad *DocumentError
		require.ErrorAs(t, err, &bad)
		require.ErrorContains(t, err, "VEX document x.json")
		require.ErrorContains(t, err, want)
	}
	_, err := ReadFile(filepath.Join(t.TempDir(), "none.json"))
	require.ErrorIs(t, err, os.ErrNotExist)
}
