package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/client/evidence"
)

// call runs temper in this process.
func call(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(t.Context(), args, strings.NewReader(""), &out, &errs)
	return code, out.String(), errs.String()
}

// ok runs temper, which has to succeed.
func ok(t *testing.T, args ...string) string {
	t.Helper()
	code, stdout, stderr := call(t, args...)
	require.Equal(t, exitOK, code, stderr)
	return stdout
}

// testIndex is an image for each architecture.
func testIndex(t *testing.T, archs ...string) v1.ImageIndex {
	t.Helper()
	idx := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, arch := range archs {
		img, err := random.Image(512, 1)
		require.NoError(t, err)
		cfg, err := img.ConfigFile()
		require.NoError(t, err)
		img, err = mutate.ConfigFile(mutate.MediaType(img, types.OCIManifestSchema1), &v1.ConfigFile{OS: "linux", Architecture: arch, RootFS: cfg.RootFS})
		require.NoError(t, err)
		idx = mutate.AppendManifests(idx, mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: arch}}})
	}
	return idx
}

// signedDocuments makes a directory with a layout app.oci, a key, and signed
// documents about each architecture, and goes there.
func signedDocuments(t *testing.T, archs ...string) v1.ImageIndex {
	t.Helper()
	t.Chdir(t.TempDir())
	t.Setenv(passwordEnv, "")
	idx := testIndex(t, archs...)
	p, err := layout.Write("app.oci", empty.Index)
	require.NoError(t, err)
	require.NoError(t, p.AppendIndex(idx, layout.WithAnnotations(map[string]string{"io.containerd.image.name": "registry.example.com/team/app:1"})))
	ok(t, "key", "generate")
	for _, arch := range archs {
		statement := `{"_type":"https://in-toto.io/Statement/v1","predicateType":"https://example.com/x","subject":[{"digest":{"sha256":"` + digestOf(t, idx, arch) + `"}}],"predicate":{}}`
		for name, text := range map[string]string{"attestation-app-" + arch + ".json": statement, "sbom-app-" + arch + ".cdx.json": `{"sbom":1}`, "scan-app-" + arch + ".json": `{"scan":1}`} {
			require.NoError(t, os.WriteFile(name, []byte(text), 0o644))
			ok(t, "sign", "--key", "cosign.key", name)
		}
	}
	return idx
}

// digestOf is the digest of one architecture's image, without the algorithm.
func digestOf(t *testing.T, idx v1.ImageIndex, arch string) string {
	t.Helper()
	m, err := idx.IndexManifest()
	require.NoError(t, err)
	for _, d := range m.Manifests {
		if d.Platform.Architecture == arch {
			return d.Digest.Hex
		}
	}
	t.Fatalf("no image for %s", arch)
	return ""
}

func TestStoreAndReadBack(t *testing.T) {
	idx := signedDocuments(t, "amd64", "arm64")
	dgst, err := idx.Digest()
	require.NoError(t, err)
	out := ok(t, "store", "app.oci", "sbom-app-amd64.cdx.json", "scan-app-amd64.json", "sbom-app-arm64.cdx.json", "scan-app-arm64.json", "attestation-app-arm64.json")
	require.Regexp(t, `(?m)^temper-evidence/sboms/arm64/sha256-[0-9a-f]{64}/sbom-app-arm64\.cdx\.json$`, out)

	for _, ref := range []string{"app.oci", dgst.String(), "registry.example.com/team/app:1"} {
		list := ok(t, "evidence", "list", ref)
		require.Equal(t, 5, strings.Count(list, "signature, bundle"), list)
		require.Equal(t, 1, strings.Count(list, "signature, bundle, envelope"), list)
		require.Equal(t, 2, strings.Count(list, "registry.example.com/team/app:1"), list)
	}
	var indexes []evidence.Index
	require.NoError(t, json.Unmarshal([]byte(ok(t, "evidence", "list", "app.oci", "--platform", "linux/arm64", "--json")), &indexes))
	require.Len(t, indexes, 1)
	require.Equal(t, "linux/arm64", indexes[0].Image.Platform)
	require.Len(t, indexes[0].Documents, 3)

	ok(t, "evidence", "get", "registry.example.com/team/app:1", "-o", "back")
	for _, suffix := range []string{"", ".sig", ".sigstore.json", ".dsse.sigstore.json"} {
		want, err := os.ReadFile("attestation-app-arm64.json" + suffix)
		require.NoError(t, err)
		got, err := os.ReadFile(filepath.Join("back", "attestation-app-arm64.json"+suffix))
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	ok(t, "verify-blob", "--key", "cosign.pub", "back/scan-app-arm64.json")
	require.Equal(t, `{"scan":1}`, ok(t, "evidence", "get", "app.oci", "--name", "scan-app-amd64.json", "-o", "-"))

	verified := ok(t, "evidence", "verify", "registry.example.com/team/app:1", "--key", "cosign.pub")
	require.Contains(t, verified, "4 signatures and bundles are good")
	require.Contains(t, verified, "7 signatures and bundles are good")
	require.Contains(t, ok(t, "evidence", "verify", "app.oci"), "signatures were not checked")

	// Existing files are not overwritten.
	require.NoError(t, os.WriteFile("back/scan-app-arm64.json", []byte("mine"), 0o644))
	code, _, stderr := call(t, "evidence", "get", "app.oci", "-o", "back")
	require.Equal(t, exitFailed, code)
	require.Contains(t, stderr, "back/scan-app-arm64.json exists with other content")
}

func TestVerifyTamperedEvidence(t *testing.T) {
	signedDocuments(t, "amd64")
	out := ok(t, "store", "app.oci", "sbom-app-amd64.cdx.json", "scan-app-amd64.json")
	path := strings.Split(out, "\n")[0]
	require.NoError(t, os.WriteFile(path, []byte(`{"sbom":2}`), 0o644))
	code, _, stderr := call(t, "evidence", "verify", "app.oci", "--key", "cosign.pub")
	require.Equal(t, exitFailed, code)
	require.Contains(t, stderr, strings.TrimPrefix(path, "temper-evidence/")+": it has digest sha256:")

	// A key of somebody else verifies nothing.
	require.NoError(t, os.WriteFile(path, []byte(`{"sbom":1}`), 0o644))
	ok(t, "evidence", "verify", "app.oci", "--key", "cosign.pub")
	require.NoError(t, os.Mkdir("other", 0o755))
	require.NoError(t, os.Rename("app.oci", "other/app.oci"))
	require.NoError(t, os.Rename("temper-evidence", "other/temper-evidence"))
	t.Chdir("other")
	ok(t, "key", "generate")
	code, stdout, _ := call(t, "evidence", "verify", "app.oci", "--key", "cosign.pub", "--json")
	require.Equal(t, exitFailed, code)
	var results []evidence.Verification
	require.NoError(t, json.Unmarshal([]byte(stdout), &results))
	require.Len(t, results[0].Problems, 2)
}

// The registry says which image a name means when it is asked to.
func TestEvidenceOfAnImageInARegistry(t *testing.T) {
	idx := signedDocuments(t, "amd64")
	server := httptest.NewServer(registry.New())
	defer server.Close()
	ref, err := name.ParseReference(strings.TrimPrefix(server.URL, "http://") + "/app:prod")
	require.NoError(t, err)
	require.NoError(t, remote.WriteIndex(ref, idx))
	ok(t, "store", "app.oci", "scan-app-amd64.json")
	code, _, stderr := call(t, "evidence", "list", ref.Name())
	require.Equal(t, exitFailed, code)
	require.Contains(t, stderr, "has nothing about "+ref.Name()+": give the image's digest or layout, or --ask-registry")
	require.Contains(t, ok(t, "evidence", "list", ref.Name(), "--ask-registry"), "scan-app-amd64.json")
	ok(t, "store", ref.Name(), "scan-app-amd64.json")
	require.Contains(t, ok(t, "evidence", "list", ref.Name()), "scan-app-amd64.json")
}

func TestStoreRefuses(t *testing.T) {
	signedDocuments(t, "amd64", "arm64")
	t.Setenv("PLANTED", "s3cr3t-value-of-a-key")
	require.NoError(t, os.WriteFile("notes.txt", []byte("x"), 0o644))
	for name, tt := range map[string]struct {
		args []string
		want string
	}{
		"no kind":          {[]string{"app.oci", "--platform", "linux/amd64", "notes.txt"}, "its name does not tell what it is: give --kind"},
		"bad kind":         {[]string{"app.oci", "--kind", "x", "notes.txt"}, "--kind x: it is one of"},
		"no platform":      {[]string{"app.oci", "--kind", "test", "notes.txt"}, "does not tell which platform"},
		"no file":          {[]string{"app.oci", "--platform", "linux/amd64", "missing.cdx.json"}, "no such file"},
		"a directory":      {[]string{"app.oci", "--platform", "linux/amd64", "--kind", "test", "app.oci"}, "is not a regular file"},
		"bad store":        {[]string{"app.oci", "scan-app-amd64.json", "--evidence", "https://x"}, "for MinIO and others"},
		"secret in URL":    {[]string{"app.oci", "scan-app-amd64.json", "--evidence", "s3://user:s3cr3t-value-of-a-key@b"}, "it has credentials in it"},
		"plain secret":     {[]string{"app.oci", "scan-app-amd64.json", "--evidence-secret", "s3cr3t-value-of-a-key"}, "it must be a secret reference"},
		"broken reference": {[]string{"app.oci", "scan-app-amd64.json", "--evidence-secret", "ref+nothing://x"}, "--evidence-secret"},
	} {
		t.Run(name, func(t *testing.T) {
			code, _, stderr := call(t, append([]string{"store"}, tt.args...)...)
			require.Equal(t, exitUsage, code, stderr)
			require.Contains(t, stderr, tt.want)
			require.NotContains(t, stderr, "s3cr3t")
			require.NoDirExists(t, "temper-evidence")
		})
	}
}

// A secret that a reference leads to is used, and shown by nobody.
func TestStoreSecretIsNotShown(t *testing.T) {
	signedDocuments(t, "amd64")
	const secret = "s3cr3t-value-of-a-key"
	t.Setenv("PLANTED", secret)
	used := false
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		used = used || strings.Contains(r.Header.Get("Authorization"), "Credential="+secret+"/")
		w.WriteHeader(http.StatusForbidden)
		_, _ = io.WriteString(w, "<Error><Code>InvalidAccessKeyId</Code><Message>nobody knows "+secret+"</Message></Error>")
	}))
	defer server.Close()
	code, stdout, stderr := call(t, "store", "app.oci", "scan-app-amd64.json", "--evidence", "s3://b?endpoint="+server.URL,
		"--evidence-account", "ref+env://PLANTED", "--evidence-secret", "ref+env://PLANTED", "--progress", "plain", "--log-format", "json")
	require.Equal(t, exitFailed, code)
	require.True(t, used)
	require.Contains(t, stderr, "access denied: InvalidAccessKeyId: nobody knows")
	require.NotContains(t, stdout+stderr, secret)
}
