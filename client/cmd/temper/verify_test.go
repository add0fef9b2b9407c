package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/client/registry"
	"github.com/temper-images/temper/client/verify"
)

// TestPolicyFlags sets every flag that is a field of the policy, without and above a
// file.
func TestPolicyFlags(t *testing.T) {
	t.Chdir(t.TempDir())
	require.NoError(t, os.WriteFile("policy.yaml", []byte(`
signers: [{key: /other.pub}, {identity: a, issuer: b}]
require: [vex]
platforms: [linux/s390x]
provenance: {builders: [{id: "https://b", level: 3}], source: "https://example.com/other", commit: "`+strings.Repeat("0", 40)+`"}
scan: {maxAge: 1d}
`), 0o600))
	parse := func(args ...string) (verify.Policy, error) {
		f := &policyFlags{}
		cmd := &cobra.Command{}
		f.add(cmd.Flags())
		require.NoError(t, cmd.ParseFlags(args))
		return f.policy()
	}
	all := []string{"--key", "k.pub", "--tlog", "on", "--timestamp", "--trusted-root", "r", "--tuf-mirror", "m", "--tuf-root", "tr",
		"--require", "sbom,scan", "--require", "gate", "--platform", "linux/amd64,linux/arm64", "--builder-id", "https://a", "--builder-id", "https://b",
		"--source", "https://github.com/team/app", "--ref", "refs/tags/v*", "--commit", strings.Repeat("a", 40), "--workflow", "w", "--slsa-level", "2",
		"--sbom-format", "spdx", "--max-scan-age", "7d", "--gate", "pass"}
	want := verify.Policy{
		Signers:   []verify.Signer{{Key: "k.pub", TLog: "on", Timestamp: true}},
		Sigstore:  verify.Sigstore{TrustedRoot: "r", TUFMirror: "m", TUFRoot: "tr"},
		Require:   []verify.Kind{verify.SBOM, verify.Scan, verify.Gate},
		Platforms: []string{"linux/amd64", "linux/arm64"},
		Provenance: verify.ProvenancePolicy{
			Builders: []verify.Builder{{ID: "https://a"}, {ID: "https://b"}}, Source: "https://github.com/team/app", Ref: "refs/tags/v*",
			Commit: strings.Repeat("a", 40), Workflow: "w", Level: 2,
		},
		SBOM: verify.SBOMPolicy{Formats: []string{"spdx"}}, Scan: verify.ScanPolicy{MaxAge: "7d"}, Gate: verify.GatePolicy{Accept: "pass"},
	}
	p, err := parse(all...)
	require.NoError(t, err)
	require.Equal(t, want, p)
	want.Provenance.Builders[1].Level = 3 // the file knows more of it
	p, err = parse(append(all, "--policy", "policy.yaml")...)
	require.NoError(t, err)
	require.Equal(t, want, p)

	p, err = parse("--policy", "policy.yaml", "--tlog", "on")
	require.NoError(t, err)
	require.Equal(t, []verify.Signer{{Key: "/other.pub", TLog: "on"}, {Identity: "a", Issuer: "b", TLog: "on"}}, p.Signers)
	require.Equal(t, []verify.Kind{verify.VEX}, p.Require)
	p, err = parse("--certificate-identity-regexp", "a", "--certificate-oidc-issuer-regexp", "b")
	require.NoError(t, err)
	require.Equal(t, []verify.Signer{{IdentityPattern: "a", IssuerPattern: "b"}}, p.Signers)
}

func TestVerifyUsage(t *testing.T) {
	observedLayout(t, "amd64")
	for _, args := range [][]string{
		{}, {"app.oci"}, {"app.oci", "--key", "k.pub", "--certificate-identity", "a", "--certificate-oidc-issuer", "b"}, {"app.oci", "--certificate-identity", "a"},
		{"app.oci", "--key", "k.pub", "--tlog", "perhaps"}, {"app.oci", "--key", "k.pub", "--require", "soup"}, {"app.oci", "--key", "k.pub", "--gate", "fail"},
		{"app.oci", "--key", "k.pub", "-o", "xml"}, {"app.oci", "--key", "k.pub", "--sign-key", "k.key"}, {"app.oci", "--policy", "none.yaml"},
	} {
		var out, errs strings.Builder
		code := run(t.Context(), append([]string{"verify", "--log-format", "none"}, args...), strings.NewReader(""), &out, &errs)
		require.Equal(t, exitUsage, code, "%v: %s", args, errs.String())
		require.Empty(t, out.String())
	}
}

// Each error of a verification has its exit code, however it is wrapped.
func TestVerifyExitCodes(t *testing.T) {
	status := func(code int) error {
		return &registry.StatusError{Method: "GET", URL: "https://r/v2/a/manifests/1", Status: code}
	}
	for name, tc := range map[string]struct {
		err  error
		code int
	}{
		"unsigned":     {&verify.FailedError{Report: &verify.Report{Reason: verify.Unsigned}}, exitUnsigned},
		"wrong signer": {&verify.FailedError{Report: &verify.Report{Reason: verify.WrongSigner}}, exitWrongSigner},
		"policy":       {&verify.FailedError{Report: &verify.Report{Reason: verify.NotMet}}, exitPolicy},
		"exchanged":    {&registry.DigestError{}, exitWrongSigner},
		"unreachable":  {&registry.UnreachableError{Registry: "r", Err: errors.New("connection refused")}, exitRegistry},
		"throttled":    {&registry.UnreachableError{Registry: "r", Err: status(429)}, exitRegistry},
		"denied":       {&registry.DeniedError{Registry: "r", Err: status(401)}, exitRegistry},
		"no registry":  {status(418), exitRegistry},
		"not found":    {&verify.NotFoundError{Ref: "1", Err: status(404)}, exitUsage},
		"policy file":  {&verify.PolicyError{Field: "require", Err: errors.New("x")}, exitUsage},
		"anything":     {errors.New("x"), exitFailed},
	} {
		require.Equal(t, tc.code, exitCode(t.Context(), fmt.Errorf("verify: %w", tc.err)), name)
		require.NotEmpty(t, tc.err.Error())
	}
}
