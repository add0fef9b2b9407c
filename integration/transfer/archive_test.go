package transfer

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/client/transfer"
	"github.com/temper-images/temper/client/vulndb/vulndbtest"
	"github.com/temper-images/temper/integration/registries"
	"github.com/temper-images/temper/integration/tools"
)

// skopeo, oras and crane read what is saved.
func TestOthersReadArchive(t *testing.T) {
	host := distribution(t)
	s := pushSigned(t, host, 1000, "cosign", "cosign3")
	must(t, s.dir, "temper", "save", "-q", s.ref, "-o", "app.oci.tar")
	must(t, s.dir, "temper", "save", "-q", s.ref, "-o", "app.oci", "--directory")

	for _, place := range []string{"oci-archive:app.oci.tar:", "oci:app.oci:"} {
		raw := must(t, s.dir, "skopeo", "inspect", "--raw", place+s.ref)
		var index ocispecs.Index
		decode(t, raw, &index)
		require.Len(t, index.Manifests, 2)
		to := host + "/skopeo/app:" + strings.SplitN(place, ":", 2)[0]
		must(t, s.dir, "skopeo", "--insecure-policy", "copy", "--all", "--preserve-digests", "--dest-tls-verify=false", place+s.ref, "docker://"+to)
		require.Contains(t, must(t, s.dir, "crane", "digest", "--insecure", to), s.dgst.String())
	}

	for _, place := range []string{"app.oci.tar", "app.oci"} {
		var tree struct {
			Referrers []struct {
				ArtifactType string `json:"artifactType"`
			} `json:"referrers"`
		}
		decode(t, must(t, s.dir, "oras", "discover", "--format", "json", "--oci-layout", place+"@"+s.dgst.String()), &tree)
		require.Len(t, tree.Referrers, 2, "the bundles of cosign 3")
		for _, r := range tree.Referrers {
			require.Contains(t, r.ArtifactType, "sigstore.bundle")
		}
	}
	to := registries.Plain(t, registries.Config{}).Host + "/oras/app"
	must(t, s.dir, "oras", "copy", "-r", "--from-oci-layout", "app.oci@"+s.dgst.String(), "--to-plain-http", to+":1.0")
	s.requireVerified(t, to+":1.0")

	must(t, s.dir, "crane", "push", "--insecure", "--index", "app.oci", host+"/crane/app:all")
	must(t, s.dir, "crane", "manifest", "--insecure", host+"/crane/app@"+s.dgst.String())

	// And temper itself, as an image.
	for _, place := range []string{"app.oci.tar", "app.oci"} {
		must(t, s.dir, "temper", "sbom", place, "-o", "sboms")
		require.FileExists(t, filepath.Join(s.dir, "sboms", "sbom-app-amd64.cdx.json"))
	}
}

// pushDatabase pushes a vulnerability database of today, as oras does.
func pushDatabase(t *testing.T, dir, ref string) {
	t.Helper()
	db, err := vulndbtest.Build(t.TempDir(), time.Now(), vulndbtest.Records{Debian: []vulndbtest.Record{
		{ID: "CVE-2026-0001", Package: "nginx", Fixed: "99", Severity: "High"},
	}})
	require.NoError(t, err)
	require.NoError(t, os.Rename(db.Archive, filepath.Join(dir, "db.tar.zst")))
	must(t, dir, "oras", "push", "--plain-http", ref, "db.tar.zst:application/zstd")
}

// What others wrote is loaded, with what they say is attached.
func TestOthersArchives(t *testing.T) {
	host := distribution(t)
	s := pushSigned(t, host, 1000, "cosign", "cosign3")
	api := registries.Plain(t, registries.Config{}).Host
	before := closure(t, s.ref, s.dgst)

	must(t, s.dir, "skopeo", "--insecure-policy", "copy", "--all", "--src-tls-verify=false", "docker://"+s.ref, "oci-archive:skopeo.tar:1.0")
	must(t, s.dir, "temper", "load", "-q", "skopeo.tar", api+"/skopeo/app")
	require.Len(t, closure(t, api+"/skopeo/app:1.0", s.dgst).Manifests, 3, "skopeo leaves behind what is attached")

	must(t, s.dir, "oras", "copy", "-r", "--from-plain-http", s.ref, "--to-oci-layout", "oras.oci:1.0")
	must(t, s.dir, "temper", "load", "-q", "oras.oci", api+"/oras/app")
	got := closure(t, api+"/oras/app:1.0", s.dgst)
	require.Len(t, got.Referrers[s.dgst], len(before.Referrers[s.dgst]))
	s.requireVerified(t, api+"/oras/app:1.0")
}

// The recipe for an air gap is carried out as it stands in docs/copy.md.
func TestDocumentedRecipe(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(tools.Root(), "docs", "copy.md"))
	require.NoError(t, err)
	outside, inside := distribution(t), registries.Plain(t, registries.Config{}).Host
	s := pushSigned(t, outside, 1000, "cosign", "cosign3")
	pushDatabase(t, s.dir, outside+"/security/grype-db:6")
	names := strings.NewReplacer("registry.example.com", outside, "registry.internal", inside, "mirror.example.com", inside+"/mirror", "sha256:…", s.dgst.String(), "app.oci ", "app.dir ")
	must(t, s.dir, "temper", "save", "-q", s.ref, "-o", "app.dir", "--directory")
	ran := 0
	for _, block := range regexp.MustCompile("(?s)```console\n(.*?)```").FindAllStringSubmatch(string(page), -1) {
		for line := range strings.SplitSeq(block[1], "\n") {
			line, is := strings.CutPrefix(line, "$ ")
			if !is {
				continue
			}
			line, _, _ = strings.Cut(line, " #")
			words := strings.Fields(names.Replace(line))
			if words[0] != "temper" && words[0] != "skopeo" && words[0] != "oras" {
				words = append(words, "--insecure")
			}
			must(t, s.dir, words[0], words[1:]...)
			ran++
		}
	}
	require.Greater(t, ran, 10)
	a, err := transfer.OpenArchive(t.Context(), filepath.Join(s.dir, "app.oci.tar"))
	require.NoError(t, err)
	require.NoError(t, a.Close())
}
