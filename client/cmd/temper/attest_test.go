package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
	digest "github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/client/provenance"
)

// observedLayout writes app.oci into a new current directory, with an image for
// each architecture, and returns their digests.
func observedLayout(t *testing.T, archs ...string) map[string]digest.Digest {
	t.Helper()
	t.Chdir(t.TempDir())
	idx, digests := mutate.IndexMediaType(empty.Index, types.OCIImageIndex), map[string]digest.Digest{}
	for _, arch := range archs {
		img, err := mutate.ConfigFile(mutate.MediaType(empty.Image, types.OCIManifestSchema1), &v1.ConfigFile{
			OS: "linux", Architecture: arch, RootFS: v1.RootFS{Type: "layers"},
			Config: v1.Config{Labels: map[string]string{"org.opencontainers.image.source": "https://user:hunter2@git.example.com/team/app"}},
		})
		require.NoError(t, err)
		d, err := img.Digest()
		require.NoError(t, err)
		digests[arch] = digest.Digest(d.String())
		idx = mutate.AppendManifests(idx, mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: arch}}})
	}
	path, err := layout.Write("app.oci", empty.Index)
	require.NoError(t, err)
	require.NoError(t, path.AppendIndex(idx))
	return digests
}

// attest runs temper attest in this process.
func attest(t *testing.T, stdin string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs strings.Builder
	code = run(t.Context(), append([]string{"attest", "--log-format", "none"}, args...), strings.NewReader(stdin), &out, &errs)
	return code, out.String(), errs.String()
}

func statementIn(t *testing.T, path string) *provenance.Statement {
	t.Helper()
	dt, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NotContains(t, string(dt), "hunter2")
	st, err := provenance.Read(dt)
	require.NoError(t, err)
	return st
}

func TestAttest(t *testing.T) {
	digests := observedLayout(t, "amd64", "arm64")
	require.NoError(t, os.Mkdir("evidence", 0o755))
	for _, name := range []string{"sbom-app-amd64.cdx.json", "sbom-app-arm64.cdx.json", "scan-app-amd64.json"} {
		require.NoError(t, os.WriteFile(filepath.Join("evidence", name), []byte("{}"), 0o600))
	}
	code, stdout, stderr := attest(t, "", "app.oci", "--dir", "evidence", "-o", "evidence")
	require.Equal(t, exitOK, code, stderr)
	require.Equal(t, "evidence/attestation-app-amd64.json\nevidence/attestation-app-arm64.json\n", stdout)
	for arch, n := range map[string]int{"amd64": 2, "arm64": 1} {
		st := statementIn(t, filepath.Join("evidence", "attestation-app-"+arch+".json"))
		require.True(t, st.IsAbout(digests[arch]))
		require.Len(t, st.Byproducts(), n)
		require.NoError(t, st.CheckByproduct("sbom-app-"+arch+".cdx.json", []byte("{}")))
		require.Equal(t, provenance.BuildTypeObserved, st.Provenance.BuildDefinition.BuildType)
		require.Equal(t, provenance.BuilderUnknown, st.Provenance.RunDetails.Builder.Id)
	}
	first, err := os.ReadFile("evidence/attestation-app-amd64.json")
	require.NoError(t, err)
	code, stdout, stderr = attest(t, "", "app.oci", "--dir", "evidence", "--platform", "linux/amd64", "-o", "-")
	require.Equal(t, exitOK, code, stderr)
	require.Equal(t, string(first), stdout, "the attestation is no evidence for itself")
}

func TestAttestPredicate(t *testing.T) {
	digests := observedLayout(t, "amd64")
	require.NoError(t, os.WriteFile("tests.json", []byte(`{"passed": 3}`), 0o600))
	code, stdout, stderr := attest(t, "", "app.oci", "--predicate", "tests.json", "--type", "https://example.com/tests/v1", "-o", "out.json")
	require.Equal(t, exitOK, code, stderr)
	require.Equal(t, "out.json\n", stdout)
	st := statementIn(t, "out.json")
	require.Equal(t, "https://example.com/tests/v1", st.PredicateType)
	require.True(t, st.IsAbout(digests["amd64"]))

	code, stdout, stderr = attest(t, `{"bomFormat":"CycloneDX"}`, "app.oci", "--predicate", "-", "--type", "cyclonedx", "-o", "-")
	require.Equal(t, exitOK, code, stderr)
	require.Contains(t, stdout, `"predicateType": "https://cyclonedx.org/bom"`)
}

func TestAttestRefuses(t *testing.T) {
	observedLayout(t, "amd64", "arm64")
	require.NoError(t, os.Mkdir("empty", 0o755))
	require.NoError(t, os.WriteFile("list.json", []byte("[]"), 0o600))
	require.NoError(t, os.WriteFile("slsa.json", []byte(`{"buildDefinition":{}}`), 0o600))
	require.NoError(t, os.WriteFile("statement.json", []byte(`{"_type":"https://in-toto.io/Statement/v1"}`), 0o600))
	for name, tc := range map[string]struct {
		args []string
		want string
	}{
		"no image":            {[]string{"absent.oci/"}, "absent.oci"},
		"a type alone":        {[]string{"app.oci", "--type", "vuln"}, "name its file with --predicate"},
		"a predicate alone":   {[]string{"app.oci", "--predicate", "list.json"}, "--predicate needs its --type"},
		"an unknown type":     {[]string{"app.oci", "--predicate", "list.json", "--type", "sbom"}, "none of cyclonedx"},
		"no such predicate":   {[]string{"app.oci", "--predicate", "absent.json", "--type", "vuln"}, "no such file"},
		"no object":           {[]string{"app.oci", "--predicate", "list.json", "--type", "vuln"}, "not a JSON object"},
		"no provenance":       {[]string{"app.oci", "--predicate", "slsa.json", "--type", "slsaprovenance1"}, "buildDefinition required"},
		"a statement":         {[]string{"app.oci", "--predicate", "statement.json", "--type", "vuln"}, "it is a statement already"},
		"two sources":         {[]string{"app.oci", "--predicate", "list.json", "--type", "vuln", "--dir", "empty"}, "give one of them"},
		"no such directory":   {[]string{"app.oci", "--dir", "absent"}, "no such file"},
		"an empty directory":  {[]string{"app.oci", "--dir", "empty"}, "there is no document about app"},
		"two into one":        {[]string{"app.oci", "-o", "out.json"}, "takes one statement and there are 2"},
		"no such platform":    {[]string{"app.oci", "--platform", "linux/s390x"}, "there is no image for linux/s390x"},
		"two onto the output": {[]string{"app.oci", "-o", "-"}, "takes one statement and there are 2"},
	} {
		t.Run(name, func(t *testing.T) {
			code, stdout, stderr := attest(t, "", tc.args...)
			require.Equal(t, exitUsage, code, stderr)
			require.Empty(t, stdout)
			require.Contains(t, stderr, tc.want)
		})
	}
	left, err := filepath.Glob("*attestation*")
	require.NoError(t, err)
	require.Empty(t, left)
	require.NoFileExists(t, "out.json")
}
