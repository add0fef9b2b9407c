package verify_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/client/verify"
)

// full has every field of a policy.
const full = `
signers:
  - key: release.pub
  - key: awskms:///alias/release
    tlog: on
    timestamp: true
  - identity: https://github.com/team/release/.github/workflows/temper.yml@refs/tags/v1
    issuer: https://token.actions.githubusercontent.com
  - identityPattern: https://github.com/team/.*
    issuerPattern: https://.*\.githubusercontent\.com
sigstore:
  trustedRoot: trusted_root.json
  tufMirror: https://tuf.example.com
  tufRoot: /etc/root.json
require: [signature, provenance, sbom, scan, gate, hardening, inspection, vex, test]
platforms: [linux/amd64, linux/arm64]
provenance:
  builders:
    - id: https://example.com/builder
      level: 3
  source: https://github.com/team/app
  ref: refs/tags/v*
  commit: 0123456789abcdef0123456789abcdef01234567
  workflow: .github/workflows/release.yml
  level: 2
sbom:
  formats: [cyclonedx, spdx]
scan:
  maxAge: 7d
gate:
  accept: pass
`

func TestParsePolicy(t *testing.T) {
	p, err := verify.ParsePolicy("policy.yaml", []byte(full))
	require.NoError(t, err)
	require.Equal(t, verify.Policy{
		Signers: []verify.Signer{
			{Key: "release.pub"}, {Key: "awskms:///alias/release", TLog: "on", Timestamp: true},
			{Identity: builderID, Issuer: "https://token.actions.githubusercontent.com"},
			{IdentityPattern: "https://github.com/team/.*", IssuerPattern: `https://.*\.githubusercontent\.com`},
		},
		Sigstore:  verify.Sigstore{TrustedRoot: "trusted_root.json", TUFMirror: "https://tuf.example.com", TUFRoot: "/etc/root.json"},
		Require:   verify.Kinds,
		Platforms: []string{"linux/amd64", "linux/arm64"},
		Provenance: verify.ProvenancePolicy{
			Builders: []verify.Builder{{ID: "https://example.com/builder", Level: 3}}, Source: source, Ref: "refs/tags/v*", Commit: commit,
			Workflow: workflow, Level: 2,
		},
		SBOM: verify.SBOMPolicy{Formats: []string{"cyclonedx", "spdx"}}, Scan: verify.ScanPolicy{MaxAge: "7d"}, Gate: verify.GatePolicy{Accept: "pass"},
	}, p)
	for _, empty := range []string{"", "# nothing\n", "---\n"} {
		p, err = verify.ParsePolicy("policy.yaml", []byte(empty))
		require.NoError(t, err, "%q", empty)
		require.Equal(t, verify.DefaultKinds, p.Required())
	}
}

// Whatever is wrong is told with its place.
func TestParsePolicyRefuses(t *testing.T) {
	for text, says := range map[string]string{
		"sbom: {}\nrequires: [sbom]\n":                                  `p.yaml:2:1: unknown field "requires"`,
		"provenance:\n  builder: x\n":                                   `p.yaml:2:3: unknown field "builder"`,
		"require: [sbom, soup]\n":                                       `p.yaml:1:17: require[1]: "soup" is none of signature,`,
		"require:\n  - sbom\nscan:\n  maxAge: 7 days\n":                 `p.yaml:4:11: scan.maxAge: "7 days" is no age`,
		"scan:\n  maxAge: -1d\n":                                        `is no age`,
		"scan:\n  maxAge: 40000d\n":                                     `is no age`,
		"signers:\n  - key: a\n  - {}\n":                                `p.yaml:3:5: signers[1]: name a key, or an identity and its issuer`,
		"signers:\n  - key: a\n    issuer: b\n":                         `not both`,
		"signers:\n  - identity: a\n":                                   `an identity without its issuer`,
		"signers:\n  - issuer: a\n":                                     `an issuer alone`,
		"signers:\n  - {identity: a, identityPattern: b, issuer: c}\n":  `signers[0].identityPattern`,
		"signers:\n  - {identity: a, issuer: c, issuerPattern: d}\n":    `signers[0].issuerPattern`,
		"signers:\n  - {identityPattern: '(', issuer: c}\n":             `p.yaml:2:23: signers[0].identityPattern`,
		"signers:\n  - {key: a, tlog: perhaps}\n":                       `p.yaml:2:20: signers[0].tlog`,
		"platforms: [linux/amd64/v8/9/9]\n":                             `platforms[0]`,
		"sbom:\n  formats: [xml]\n":                                     `sbom.formats[0]: "xml" is none of cyclonedx, spdx`,
		"gate:\n  accept: fail\n":                                       `gate.accept: "fail" is none of warn, pass`,
		"provenance:\n  level: 4\n":                                     `p.yaml:2:10: provenance.level: 4 is no level`,
		"provenance:\n  level: high\n":                                  `p.yaml:2:10: `,
		"provenance:\n  commit: 0123abc\n":                              `provenance.commit: "0123abc" is no commit in full`,
		"provenance:\n  ref: '['\n":                                     `provenance.ref`,
		"provenance:\n  source: app\n":                                  `provenance.source`,
		"provenance:\n  builders: [{level: 1}]\n":                       `provenance.builders[0]: it has no id`,
		"provenance:\n  builders: [{id: a, level: -1}]\n":               `provenance.builders[0].level`,
		"require: sbom\n":                                               `p.yaml:1:10: `,
		"a: &x [1]\n":                                                   `anchors, aliases`,
		"<<: {}\n":                                                      `anchors, aliases`,
		"require: !!str x\n":                                            `anchors, aliases`,
		"sbom: {}\n---\nscan: {}\n":                                     `a second document begins here`,
		"sbom: {}\nsbom: {}\n":                                          `p.yaml:2:1: `,
		"require: [\n":                                                  `p.yaml:`,
		"\xff":                                                          `not UTF-8`,
		"require: " + strings.Repeat("[", 20) + strings.Repeat("]", 20): `nested too deeply`,
		strings.Repeat(" ", 50) + "a: b":                                `indented too deeply`,
		"require:\n" + strings.Repeat("- a\n", 2000):                    `too many entries`,
		"# " + strings.Repeat("x", 64<<10):                              `more than 65536 bytes`,
	} {
		_, err := verify.ParsePolicy("p.yaml", []byte(text))
		var wrong *verify.PolicyError
		require.ErrorAs(t, err, &wrong, "%.60q", text)
		require.ErrorContains(t, err, says, "%.60q", text)
		require.Equal(t, "p.yaml", wrong.File)
		require.NotContains(t, err.Error(), "\n")
	}
}

// Paths in a policy file are relative to it.
func TestReadPolicy(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "policy.yaml")
	require.NoError(t, os.WriteFile(path, []byte(full), 0o600))
	p, err := verify.ReadPolicy(path)
	require.NoError(t, err)
	require.Equal(t, filepath.Join(dir, "release.pub"), p.Signers[0].Key)
	require.Equal(t, "awskms:///alias/release", p.Signers[1].Key)
	require.Equal(t, filepath.Join(dir, "trusted_root.json"), p.Sigstore.TrustedRoot)
	require.Equal(t, "/etc/root.json", p.Sigstore.TUFRoot)

	var wrong *verify.PolicyError
	_, err = verify.ReadPolicy(filepath.Join(dir, "none.yaml"))
	require.ErrorAs(t, err, &wrong)
	_, err = verify.ReadPolicy(dir)
	require.ErrorAs(t, err, &wrong)
	_, err = (&verify.Policy{}).Verifiers(t.Context(), nil)
	require.ErrorAs(t, err, &wrong)
	_, err = p.Verifiers(t.Context(), nil)
	require.Error(t, err, "there is no such key")
}

// An expectation about a kind requires it, and the same demands have one digest.
func TestRequired(t *testing.T) {
	p := verify.Policy{Require: []verify.Kind{verify.SBOM, verify.Signature}}
	require.Equal(t, []verify.Kind{verify.Signature, verify.SBOM}, p.Required())
	first, err := p.Digest()
	require.NoError(t, err)
	again, err := (&verify.Policy{Require: []verify.Kind{verify.Signature, verify.SBOM, verify.SBOM}}).Digest()
	require.NoError(t, err)
	require.Equal(t, first, again)
	p.Provenance.Source, p.Scan.MaxAge, p.Gate.Accept = source, "1d", verify.AcceptWarn
	require.Equal(t, []verify.Kind{verify.Signature, verify.Provenance, verify.SBOM, verify.Scan, verify.Gate}, p.Required())
	other, err := p.Digest()
	require.NoError(t, err)
	require.NotEqual(t, first, other)
}

func TestAge(t *testing.T) {
	for text, want := range map[verify.Age]time.Duration{"": 0, "0d": 0, "7d": 7 * 24 * time.Hour, "36h": 36 * time.Hour, "1h30m": 90 * time.Minute} {
		d, err := text.Duration()
		require.NoError(t, err)
		require.Equal(t, want, d)
	}
	for _, text := range []verify.Age{"7", "d", "-1h", "1e9h", "99999999999999999999d", "week"} {
		_, err := text.Duration()
		require.Error(t, err, text)
	}
}
