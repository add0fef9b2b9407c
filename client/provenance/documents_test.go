package provenance

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	digest "github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/client/artifact"
	"github.com/temper-images/temper/hardening/spec"
)

func TestDocuments(t *testing.T) {
	dir := t.TempDir()
	about := image().Digest
	statement, err := Wrap("https://example.com/test/v1", []byte("{}"), image())
	require.NoError(t, err)
	write := func(name, content string) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600))
	}
	for _, name := range []string{
		"sbom-app-amd64.cdx.json", "sbom-app-amd64.spdx.json", "scan-app-amd64.json", "scan-app-amd64.sarif", "vuln-app-amd64.json",
		"vex-app-amd64.openvex.json", "hardening-app-amd64.json", "buildkit-app-amd64.provenance.json",
		// None of this image's documents.
		"sbom-app-amd64.cdx.json.sig", "sbom-app-amd64.cdx.json.sigstore.json", "attestation-app-amd64.json", "signature-app-amd64.json",
		"sbom-my-app-amd64.cdx.json", "sbom-app-arm64.cdx.json", "sbom-app-amd64x.json", "README.md", "scan-app-amd64.txt",
	} {
		write(name, name)
	}
	write("test-app-amd64.json", string(statement))
	require.NoError(t, os.Mkdir(filepath.Join(dir, "gate-app-amd64.json"), 0o755))
	require.NoError(t, os.Symlink("/etc/passwd", filepath.Join(dir, "inspect-app-amd64.json")))

	got, err := Documents(t.Context(), dir, "app", "amd64", about)
	require.NoError(t, err)
	want := []Byproduct{
		{Name: "buildkit-app-amd64.provenance.json", MediaType: artifact.TypeJSON, PredicateType: PredicateType},
		{Name: "hardening-app-amd64.json", MediaType: artifact.TypeJSON, PredicateType: spec.PredicateType},
		{Name: "sbom-app-amd64.cdx.json", MediaType: artifact.TypeCycloneDX, PredicateType: "https://cyclonedx.org/bom"},
		{Name: "sbom-app-amd64.spdx.json", MediaType: artifact.TypeSPDX, PredicateType: "https://spdx.dev/Document"},
		{Name: "scan-app-amd64.json", MediaType: artifact.TypeJSON},
		{Name: "scan-app-amd64.sarif", MediaType: artifact.TypeSARIF},
		{Name: "test-app-amd64.json", MediaType: artifact.TypeJSON, Digest: digest.FromBytes(statement)},
		{Name: "vex-app-amd64.openvex.json", MediaType: artifact.TypeJSON, PredicateType: "https://openvex.dev/ns"},
		{Name: "vuln-app-amd64.json", MediaType: artifact.TypeJSON, PredicateType: "https://cosign.sigstore.dev/attestation/vuln/v1"},
	}
	for i := range want {
		if want[i].Digest == "" {
			want[i].Digest = digest.FromString(want[i].Name)
		}
	}
	require.Equal(t, want, got)

	t.Run("about another image", func(t *testing.T) {
		_, err := Documents(t.Context(), dir, "app", "amd64", digest.FromString("other"))
		require.ErrorContains(t, err, "evidence test-app-amd64.json: it is a statement about another image")
	})
	t.Run("stopped", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := Documents(ctx, dir, "app", "amd64", about)
		require.ErrorIs(t, err, context.Canceled)
	})
	t.Run("no directory", func(t *testing.T) {
		_, err := Documents(t.Context(), filepath.Join(dir, "absent"), "app", "amd64", about)
		require.ErrorIs(t, err, os.ErrNotExist)
	})
}

func TestResolveType(t *testing.T) {
	for name, want := range map[string]string{
		"slsaprovenance1": PredicateType, "cyclonedx": "https://cyclonedx.org/bom", "https://example.com/x": "https://example.com/x",
	} {
		got, err := ResolveType(name)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	_, err := ResolveType("sbom")
	require.ErrorContains(t, err, "none of cyclonedx, link")
}
