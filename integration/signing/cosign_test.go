package signing

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/integration/sigstore"
)

// The kinds of keys, and the digest that cosign has to be told for each.
var algorithms = map[string]string{
	"ecdsa-p256": "sha256", "ecdsa-p384": "sha384", "ecdsa-p521": "sha512", "ed25519": "sha256", "rsa-2048": "sha256", "rsa-4096": "sha256",
}

// What temper signs, both command lines of cosign verify, without a network.
func TestCosignVerifiesTemper(t *testing.T) {
	for algorithm, digest := range algorithms {
		t.Run(algorithm, func(t *testing.T) {
			dir := t.TempDir()
			file, trust := document(t, dir, "{}"), sigstore.EmptyRoot(t, dir)
			must(t, dir, nil, "temper", "key", "generate", "--algorithm", algorithm)
			must(t, dir, nil, "temper", "sign", "--key", "cosign.key", file)
			must(t, dir, nil, "temper", "verify-blob", "--key", "cosign.pub", file)
			detached := []string{"verify-blob", "--key", "cosign.pub", "--signature", file + ".sig", "--insecure-ignore-tlog", "--signature-digest-algorithm", digest, file}
			bundle := []string{"verify-blob", "--key", "cosign.pub", "--bundle", file + ".sigstore.json", "--new-bundle-format", "--trusted-root", trust,
				"--insecure-ignore-tlog", "--signature-digest-algorithm", digest, file}
			for _, judge := range []string{"cosign", "cosign3"} {
				must(t, dir, nil, judge, detached...)
				must(t, dir, nil, judge, bundle...)
			}
			document(t, dir, "{ }")
			for _, judge := range []string{"cosign", "cosign3"} {
				require.NotZero(t, run(t, dir, nil, judge, detached...).code)
				require.NotZero(t, run(t, dir, nil, judge, bundle...).code)
			}
			o := run(t, dir, nil, "temper", "verify-blob", "--key", "cosign.pub", file)
			require.Equal(t, 1, o.code)
			require.Contains(t, o.stderr, "changed after it was signed")
		})
	}
}

// What cosign signs with keys that it made, temper verifies; and temper signs with
// those keys.
func TestTemperVerifiesCosign(t *testing.T) {
	for judge, args := range map[string][]string{
		"cosign":  {"sign-blob", "--yes", "--tlog-upload=false", "--new-bundle-format"},
		"cosign3": {"sign-blob", "--yes", "--tlog-upload=false", "--use-signing-config=false"},
	} {
		t.Run(judge, func(t *testing.T) {
			dir := t.TempDir()
			file := document(t, dir, "{}")
			must(t, dir, nil, judge, "generate-key-pair")
			must(t, dir, nil, judge, append(slices.Clone(args), "--key", "cosign.key", "--bundle", file+".sigstore.json", file)...)
			o := must(t, dir, nil, "temper", "verify-blob", "--key", "cosign.pub", file)
			require.Contains(t, o.stdout, "sbom.json: signed by key sha256:")

			must(t, dir, nil, "temper", "sign", "--key", "cosign.key", file)
			must(t, dir, nil, judge, "verify-blob", "--key", "cosign.pub", "--signature", file+".sig", "--insecure-ignore-tlog", file)
			require.Equal(t, read(t, filepath.Join(dir, "cosign.pub")), must(t, dir, nil, "temper", "key", "public", "--key", "cosign.key").stdout)
		})
	}
	t.Run("detached", func(t *testing.T) {
		dir := t.TempDir()
		file := document(t, dir, "{}")
		must(t, dir, nil, "cosign", "generate-key-pair")
		must(t, dir, nil, "cosign", "sign-blob", "--yes", "--tlog-upload=false", "--key", "cosign.key", "--output-signature", file+".sig", file)
		must(t, dir, nil, "temper", "verify-blob", "--key", "cosign.pub", file)
	})
}

const statement = `{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"app","digest":{"sha256":"` +
	`ca3d163bab055381827226140568f3bef7eaac187cebd76878e0b63e9e442356"}}],"predicateType":"https://slsa.dev/provenance/v1","predicate":{"buildDefinition":{}}}`

// A statement's DSSE bundle is an attestation of its subject to both.
func TestCosignVerifiesStatement(t *testing.T) {
	dir := t.TempDir()
	trust := sigstore.EmptyRoot(t, dir)
	file := document(t, dir, statement)
	// The statement's subject.
	require.NoError(t, os.WriteFile(filepath.Join(dir, "blob"), []byte("{}\n"), 0o600))
	must(t, dir, nil, "temper", "key", "generate")
	o := must(t, dir, nil, "temper", "sign", "--key", "cosign.key", file)
	require.Equal(t, "sbom.json.sig\nsbom.json.sigstore.json\nsbom.json.dsse.sigstore.json\n", o.stdout)
	verify := func(judge, blob string) outcome {
		return run(t, dir, nil, judge, "verify-blob-attestation", "--key", "cosign.pub", "--bundle", file+".dsse.sigstore.json", "--new-bundle-format",
			"--trusted-root", trust, "--insecure-ignore-tlog", "--type", "slsaprovenance1", blob)
	}
	for _, judge := range []string{"cosign", "cosign3"} {
		o := verify(judge, "blob")
		require.Zero(t, o.code, o.stderr)
		require.NotZero(t, verify(judge, "cosign.pub").code, "another subject")
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(data)
}

// Nothing is left of a run that fails in its middle.
func TestNothingHalfWritten(t *testing.T) {
	dir := t.TempDir()
	document(t, dir, "{}")
	must(t, dir, nil, "temper", "key", "generate")
	o := run(t, dir, nil, "temper", "sign", "--key", "cosign.key", "sbom.json", "missing.json")
	require.Equal(t, 2, o.code, o.stderr)
	require.Contains(t, o.stderr, "missing.json")
	o = run(t, dir, map[string]string{"COSIGN_PASSWORD": "wrong"}, "temper", "sign", "--key", "cosign.key", "sbom.json")
	require.Equal(t, 1, o.code)
	require.Contains(t, o.stderr, "the password does not open it")
	o = run(t, dir, nil, "temper", "key", "generate")
	require.Equal(t, 1, o.code)
	require.Contains(t, o.stderr, "cosign.key is there already")
	names, err := filepath.Glob(filepath.Join(dir, "*"))
	require.NoError(t, err)
	require.Len(t, names, 3, strings.Join(names, " "))
	info, err := os.Stat(filepath.Join(dir, "cosign.key"))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode())
}
