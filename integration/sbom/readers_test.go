package sbom

import (
	"bytes"
	"encoding/json"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	intoto "github.com/in-toto/attestation/go/v1"
	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/client/sbom"
	"github.com/temper-images/temper/client/sbom/sbomtest"
	"github.com/temper-images/temper/client/subject"
	"github.com/temper-images/temper/client/vulndb/vulndbtest"
	"github.com/temper-images/temper/integration/tools"
)

// The documents of a real image, with its hardening report, follow their schemas;
// two processes write the same bytes.
func TestDocuments(t *testing.T) {
	nginx, err := hardened()
	require.NoError(t, err)
	judge := sbomtest.New(t)
	for dir, versions := range map[string][][2]string{
		nginx: {{"1.4", "2.3"}, {"1.5", "2.3"}, {"1.6", "2.3"}, {"1.7", "3.0"}}, debian(t): {{"1.6", "2.3"}},
	} {
		for _, v := range versions {
			args := []string{"--cyclonedx-version", v[0], "--spdx-version", v[1]}
			once, twice := documents(t, dir, args...), documents(t, dir, args...)
			require.Len(t, once, 2)
			for file, dt := range once {
				require.True(t, bytes.Equal(dt, twice[file]), "%s differs from one process to another", file)
				format, version := sbom.FormatCycloneDX, v[0]
				if strings.HasSuffix(file, ".spdx.json") {
					format, version = sbom.FormatSPDX, v[1]
				}
				require.NoError(t, judge.Judge(format, version, dt), "%s %s", file, version)
				if format == sbom.FormatCycloneDX {
					secondOpinion(t, version, dt)
				}
			}
		}
	}
}

// secondOpinion asks the validator of the CycloneDX project's JavaScript library.
func secondOpinion(t *testing.T, version string, dt []byte) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "bom.json")
	require.NoError(t, os.WriteFile(file, dt, 0o600))
	out, err := exec.CommandContext(bounded(t), "node", tools.Path("cyclonedx-library/validate.mjs"), version, file).CombinedOutput()
	require.NoError(t, err, "%s", out)
}

// The hardening report's removed packages are told, and those that are kept in
// part say how much.
func TestHardeningIsTold(t *testing.T) {
	nginx, err := hardened()
	require.NoError(t, err)
	for file, dt := range documents(t, nginx) {
		text := string(dt)
		require.Contains(t, text, "pkg:deb/debian/apt@", file)
		require.Contains(t, text, "Hardening kept ", file)
	}
}

// Grype finds in either document what it finds in the image.
func TestGrypeAgrees(t *testing.T) {
	var records vulndbtest.Records
	for _, source := range []string{"openssl", "zlib", "glibc", "perl", "systemd", "nginx", "ncurses"} {
		records.Debian = append(records.Debian,
			vulndbtest.Record{ID: "CVE-2026-1" + source, Package: source, Severity: "High"},
			vulndbtest.Record{ID: "CVE-2026-2" + source, Package: source, Severity: "Low", Fixed: "99:1"},
			vulndbtest.Record{ID: "CVE-2026-3" + source, Package: source, Severity: "Critical", Fixed: "0.0.1"})
	}
	records.Go = append(records.Go, vulndbtest.GoRecord{ID: "GO-2026-0001", Alias: "CVE-2026-0001", Module: "google.golang.org/grpc", Fixed: "9.9.9"})
	db, err := vulndbtest.Build(filepath.Join(t.TempDir(), "db"), time.Now(), records)
	require.NoError(t, err)
	env := []string{"GRYPE_DB_CACHE_DIR=" + t.TempDir(), "GRYPE_DB_AUTO_UPDATE=false", "GRYPE_DB_VALIDATE_AGE=false"}
	command(t, env, "grype", "db", "import", db.Archive)
	nginx, err := hardened()
	require.NoError(t, err)
	for dir, min := range map[string]int{nginx: 10, debian(t): 10, write(t, manyKinds(t)): 5} {
		want := findings(t, env, "oci-dir:"+dir)
		require.GreaterOrEqual(t, len(want), min)
		for _, version := range []string{"2.3", "3.0"} {
			for file, dt := range documents(t, dir, "--spdx-version", version) {
				path := filepath.Join(t.TempDir(), file)
				require.NoError(t, os.WriteFile(path, dt, 0o600))
				require.Equal(t, want, findings(t, env, "sbom:"+path), "%s %s", file, version)
			}
		}
	}
}

// findings are what Grype finds, as "vulnerability package version fix".
func findings(t *testing.T, env []string, subject string) []string {
	t.Helper()
	var found struct {
		Matches []struct {
			Vulnerability struct {
				ID, Severity string
				Fix          struct{ Versions []string }
			}
			Artifact struct{ Name, Version, Type string }
		}
	}
	require.NoError(t, json.Unmarshal(command(t, env, "grype", subject, "--quiet", "--output", "json"), &found))
	var out []string
	for _, m := range found.Matches {
		out = append(out, strings.Join(append([]string{m.Vulnerability.ID, m.Vulnerability.Severity, m.Artifact.Type, m.Artifact.Name, m.Artifact.Version}, m.Vulnerability.Fix.Versions...), " "))
	}
	slices.Sort(out)
	return out
}

// docker buildx shows the SPDX document that is attached to an image as BuildKit
// attaches one.
func TestBuildxReadsSPDX(t *testing.T) {
	nginx, err := hardened()
	require.NoError(t, err)
	set, err := subject.Open(t.Context(), nginx, subject.Options{})
	require.NoError(t, err)
	defer set.Close()
	img := set.Images[0]
	document := documents(t, nginx, "--format", "spdx")["sbom-nginx-amd64.spdx.json"]
	require.NotEmpty(t, document)

	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	defer server.Close()
	ref, err := name.NewTag(strings.TrimPrefix(server.URL, "http://")+"/app:1", name.Insecure)
	require.NoError(t, err)
	require.NoError(t, remote.WriteIndex(ref, attach(t, img, document), remote.WithContext(bounded(t))))

	var want, got any
	require.NoError(t, json.Unmarshal(document, &want))
	out := command(t, []string{"BUILDX_CONFIG=" + t.TempDir(), "DOCKER_CONFIG=" + t.TempDir()}, "buildx", "imagetools", "inspect", ref.String(), "--format", "{{json .SBOM.SPDX}}")
	require.NoError(t, json.Unmarshal(out, &got))
	require.Equal(t, want, got)
}

// attach makes an index of an image and an attestation manifest (BuildKit,
// docs/attestations/attestation-storage.md).
func attach(t *testing.T, img *subject.Image, document []byte) v1.ImageIndex {
	t.Helper()
	statement, err := json.Marshal(map[string]any{
		"_type": intoto.StatementTypeUri, "predicateType": sbom.PredicateSPDX, "predicate": json.RawMessage(document),
		"subject": []any{map[string]any{"name": "pkg:oci/app", "digest": map[string]string{"sha256": img.Digest.Encoded()}}},
	})
	require.NoError(t, err)
	attestation := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	attestation, err = mutate.Append(attestation, mutate.Addendum{
		Layer:       static.NewLayer(statement, "application/vnd.in-toto+json"),
		Annotations: map[string]string{"in-toto.io/predicate-type": sbom.PredicateSPDX},
	})
	require.NoError(t, err)
	return mutate.AppendManifests(mutate.IndexMediaType(empty.Index, types.OCIImageIndex),
		mutate.IndexAddendum{Add: img.Image, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "amd64"}}},
		mutate.IndexAddendum{Add: attestation, Descriptor: v1.Descriptor{
			Platform: &v1.Platform{OS: "unknown", Architecture: "unknown"},
			Annotations: map[string]string{
				"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": img.Digest.String(),
			},
		}})
}
