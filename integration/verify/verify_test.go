package verify

import (
	"encoding/json"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	digest "github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/integration/sigstore"

	"github.com/temper-images/temper/client/verify"
	"github.com/temper-images/temper/integration/fault"
	"github.com/temper-images/temper/integration/publish"
)

// policy is a file that demands what the images of the tests have.
const policy = `
signers:
  - key: other.pub
  - key: release.pub
require: [signature, provenance, sbom, scan]
platforms: [linux/amd64, linux/arm64]
provenance:
  builders:
    - id: ` + builder + `
  source: https://github.com/team/app
  ref: refs/tags/v*
  workflow: .github/workflows/release.yml
  level: 2
`

func TestWithKey(t *testing.T) {
	s := newSite(t)
	ref, img := s.publish(t, "team/app", evidence)
	o := verified(t, s.dir, passed, "--key", "release.pub", ref)
	require.Contains(t, o.stdout, s.host+"/team/app@"+img.Top.Digest.String())
	require.Contains(t, o.stdout, "PASSED: signature, provenance, sbom, scan required, SLSA build level 2")
	require.NotContains(t, o.stdout, "FAIL")

	require.NoError(t, os.WriteFile(filepath.Join(s.dir, "policy.yaml"), []byte(policy), 0o600))
	elsewhere := t.TempDir()
	verified(t, elsewhere, passed, "--policy", filepath.Join(s.dir, "policy.yaml"), ref)
	byDigest := s.host + "/team/app@" + img.Top.Digest.String()
	o = verified(t, s.dir, passed, "--policy", "policy.yaml", "--output", "json", "--quiet=false", byDigest)
	var r verify.Report
	require.NoError(t, json.Unmarshal([]byte(o.stdout), &r))
	require.True(t, r.Passed)
	require.Len(t, r.Subjects, 3)
	require.Equal(t, 2, r.Level)

	o = verified(t, s.dir, wrongSigner, "--key", "other.pub", ref)
	require.Contains(t, o.stdout, "signed by somebody else")
	o = verified(t, s.dir, wrongSigner, "--key", "other.pub", "--quiet", ref)
	require.Empty(t, o.stdout)
	require.Contains(t, o.stderr, "signed by somebody else")
	for _, expectation := range [][]string{
		{"--require", "hardening"}, {"--builder-id", "https://example.com/b"}, {"--source", "https://github.com/team/b"}, {"--ref", "refs/heads/main"},
		{"--commit", strings.Repeat("0", 40)}, {"--workflow", "b.yml"}, {"--slsa-level", "3"}, {"--sbom-format", "spdx"}, {"--max-scan-age", "1h"}, {"--gate", "pass"},
	} {
		o = verified(t, s.dir, notMet, append(expectation, "--policy", "policy.yaml", ref)...)
		require.Contains(t, o.stdout, "FAILED: the policy is not met", "%v", expectation)
	}
	verified(t, s.dir, passed, "--key", "release.pub", "--platform", "linux/arm64", "--require", "sbom", "--require", "scan", ref)
	verified(t, s.dir, wrongSigner, "--key", "release.pub", "--tlog", "on", "--trusted-root", sigstore.EmptyRoot(t, s.dir), ref)

	for _, wrong := range [][]string{
		{ref}, {"--key", "release.pub", s.host + "/team/app:none"}, {"--key", "release.pub", "--platform", "linux/riscv64", ref},
		{"--key", "release.pub", "--require", "soup", ref}, {"--policy", "none.yaml", ref}, {"--key", "release.pub", "--output", "xml", ref},
		{"--key", "release.pub", "--sign-key", "release.key", ref}, {"--key", "release.pub", "UPPER:1"}, {"--key", "release.pub"},
	} {
		o = verified(t, s.dir, usage, wrong...)
		require.Empty(t, o.stdout)
	}

	plain, _ := s.publish(t, "team/plain", nil)
	o = verified(t, s.dir, notMet, "--key", "release.pub", plain)
	require.Contains(t, o.stdout, "there is none")
	verified(t, s.dir, passed, "--key", "release.pub", "--require", "signature", plain)
}

// An image that nobody signed, an attestation manifest of an index included, is told
// from one that cannot be asked about.
func TestUnsignedAndUnreachable(t *testing.T) {
	s := newSite(t)
	ref, img := s.publish(t, "team/app", evidence)
	must(t, s.dir, nil, "crane", "copy", ref, s.host+"/team/copy:1")
	verified(t, s.dir, unsigned, "--key", "release.pub", s.host+"/team/copy:1")

	proxy, err := fault.Start(s.host, "")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, proxy.Close()) })
	through := strings.Replace(ref, s.host, proxy.Addr, 1)
	verified(t, s.dir, passed, "--key", "release.pub", through)
	throttled := fault.Reply(http.StatusTooManyRequests, http.Header{"Retry-After": {"1"}}, `{"errors":[{"code":"TOOMANYREQUESTS","message":"slow down"}]}`)
	for name, part := range map[string]string{
		"everything": "/v2/", "the referrers": "/referrers/", "the index of referrers": "/manifests/sha256-", "bundles": "/blobs/",
	} {
		proxy.Set(func(r *http.Request) fault.Fault {
			if strings.Contains(r.URL.Path, part) {
				return throttled
			}
			return nil
		})
		o := verified(t, s.dir, unreachable, "--key", "release.pub", "--require", "signature", through)
		require.Contains(t, o.stderr, "throttling", name)
		require.NotContains(t, o.stdout+o.stderr, "not signed", name)
	}
	proxy.Set(func(*http.Request) fault.Fault { return fault.HangUp(0) })
	verified(t, s.dir, unreachable, "--key", "release.pub", through)
	// A manifest that is exchanged on its way is one that was changed.
	proxy.Set(func(r *http.Request) fault.Fault {
		if strings.HasSuffix(r.URL.Path, "/manifests/"+img.Platforms[0].String()) {
			return fault.Reply(http.StatusOK, http.Header{"Content-Type": {"application/vnd.oci.image.manifest.v1+json"}}, `{"schemaVersion":2,"config":{},"layers":[]}`)
		}
		return nil
	})
	verified(t, s.dir, wrongSigner, "--key", "release.pub", through)

	o := verified(t, s.dir, unreachable, "--key", "release.pub", dockerRegistry(t, map[string]string{"ada": "secret"})+"/team/app:1")
	require.Contains(t, o.stderr, "denies access")
}

// The identity that signed keyless, in a log of each version.
func TestKeyless(t *testing.T) {
	d := sigstore.Shared(t)
	for version, l := range logs(t, d) {
		t.Run(version, func(t *testing.T) {
			s := newSite(t)
			ref, _ := s.publish(t, "team/app", evidence, keyless(t, d, l))
			by := func(identity, issuer string) []string {
				return []string{"--certificate-identity", identity, "--certificate-oidc-issuer", issuer, "--trusted-root", l.trustedRoot, ref}
			}
			o := verified(t, s.dir, passed, by(person, d.Issuer)...)
			require.Contains(t, o.stdout, "by "+person+" ("+d.Issuer+")")
			o = verified(t, s.dir, wrongSigner, by("else@example.com", d.Issuer)...)
			require.Contains(t, o.stdout, "signed by somebody else: the certificate is "+person+"'s")
			verified(t, s.dir, wrongSigner, by(person, "https://accounts.example.com")...)
			verified(t, s.dir, wrongSigner, "--key", "release.pub", ref)
			verified(t, s.dir, passed, "--certificate-identity-regexp", ".*@example.com", "--certificate-oidc-issuer-regexp", "http://127.0.0.1:.*", "--timestamp",
				"--trusted-root", l.trustedRoot, ref)
			file := "signers:\n  - identity: " + person + "\n    issuer: " + d.Issuer + "\nsigstore:\n  trustedRoot: root.json\n"
			root, err := os.ReadFile(l.trustedRoot)
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(filepath.Join(s.dir, "root.json"), root, 0o600))
			require.NoError(t, os.WriteFile(filepath.Join(s.dir, "policy.yaml"), []byte(file), 0o600))
			verified(t, t.TempDir(), passed, "--policy", filepath.Join(s.dir, "policy.yaml"), ref)

			// The same root without the log: nothing proves that the certificate was good.
			verified(t, s.dir, wrongSigner, "--certificate-identity", person, "--certificate-oidc-issuer", d.Issuer, "--trusted-root", sigstore.EmptyRoot(t, s.dir), ref)
		})
	}
}

// Cosign's signatures and attestations are verified like ours.
func TestCosignSigned(t *testing.T) {
	s := newSite(t)
	trust := sigstore.EmptyRoot(t, s.dir)
	must(t, s.dir, nil, "cosign", "generate-key-pair")
	require.NoError(t, os.WriteFile(filepath.Join(s.dir, "empty-config.json"), []byte(`{"mediaType":"application/vnd.dev.sigstore.signingconfig.v0.2+json"}`), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(s.dir, "bom.json"), []byte(evidence["https://cyclonedx.org/bom"]), 0o600))
	ref, img := s.publish(t, "team/app", nil)
	for name, c := range map[string]struct {
		judge string
		flags []string
	}{
		"cosign 2 tags":   {"cosign", []string{"--tlog-upload=false"}},
		"cosign 3 bundle": {"cosign3", []string{"--signing-config", "empty-config.json", "--trusted-root", trust}},
	} {
		t.Run(name, func(t *testing.T) {
			repository := s.host + "/team/" + strings.ReplaceAll(name, " ", "-")
			must(t, s.dir, nil, "crane", "copy", ref, repository+":1")
			for _, d := range append(slices.Clone(img.Platforms), img.Top.Digest) {
				at := repository + "@" + d.String()
				common := append([]string{"--yes", "--allow-http-registry", "--key", "cosign.key"}, c.flags...)
				must(t, s.dir, nil, c.judge, append(append([]string{"sign"}, common...), at)...)
				must(t, s.dir, nil, c.judge, append(append([]string{"attest", "--type", "cyclonedx", "--predicate", "bom.json"}, common...), at)...)
			}
			verified(t, s.dir, passed, "--key", "cosign.pub", "--require", "signature,sbom", repository+":1")
			verified(t, s.dir, wrongSigner, "--key", "other.pub", "--require", "signature,sbom", repository+":1")
			verified(t, s.dir, notMet, "--key", "cosign.pub", repository+":1")
		})
	}
}

// An image in a file is verified as in the registry.
func TestSaved(t *testing.T) {
	s := newSite(t)
	ref, img := s.publish(t, "team/app", evidence)
	must(t, s.dir, nil, "temper", "save", ref, "-o", "app.oci.tar")
	o := verified(t, s.dir, passed, "--key", "release.pub", "app.oci.tar")
	require.Contains(t, o.stdout, img.Top.Digest.String())
	verified(t, s.dir, wrongSigner, "--key", "other.pub", "app.oci.tar")
	verified(t, s.dir, unsigned, "--key", "release.pub", img.Layout)
	verified(t, s.dir, usage, "--key", "release.pub", "release.pub")
}

// A summary is signed as cosign verifies statements.
func TestSummary(t *testing.T) {
	s := newSite(t)
	ref, img := s.publish(t, "team/app", evidence)
	trust := sigstore.EmptyRoot(t, s.dir)
	for code, extra := range map[int][]string{passed: nil, notMet: {"--require", "hardening"}} {
		args := append([]string{"--key", "release.pub", "--output", "vsa", "--sign-key", "other.key", "--verifier-id", "https://example.com/gate"}, extra...)
		o := verified(t, s.dir, code, append(args, ref)...)
		require.NoError(t, os.WriteFile(filepath.Join(s.dir, "vsa.sigstore.json"), []byte(o.stdout), 0o600))
		for _, judge := range []string{"cosign", "cosign3"} {
			for _, d := range append(slices.Clone(img.Platforms), img.Top.Digest) {
				must(t, s.dir, nil, judge, "verify-blob-attestation", "--key", "other.pub", "--bundle", "vsa.sigstore.json", "--new-bundle-format", "--insecure-ignore-tlog",
					"--trusted-root", trust, "--type", verify.PredicateVSA, "--digest", d.Encoded(), "--digestAlg", "sha256")
			}
			o := run(t, s.dir, nil, judge, "verify-blob-attestation", "--key", "other.pub", "--bundle", "vsa.sigstore.json", "--new-bundle-format", "--insecure-ignore-tlog",
				"--trusted-root", trust, "--type", verify.PredicateVSA, "--digest", digest.FromString("x").Encoded(), "--digestAlg", "sha256")
			require.NotZero(t, o.code)
		}
	}
	o := verified(t, s.dir, unsigned, "--key", "release.pub", "--output", "vsa", img.Layout)
	require.Contains(t, o.stdout, `"verificationResult": "FAILED"`)
	require.Contains(t, o.stderr, "is not signed")
}

// A scan's age is that of what it knew.
func TestScanAge(t *testing.T) {
	s := newSite(t)
	fresh := maps.Clone(evidence)
	const scan = "https://cosign.sigstore.dev/attestation/vuln/v1"
	fresh[scan] = strings.Replace(fresh[scan], "20260504030201", time.Now().UTC().Add(-50*time.Hour).Format("20060102150405"), 1)
	ref, _ := s.publish(t, "team/app", fresh, func(*publish.Release) {})
	verified(t, s.dir, passed, "--key", "release.pub", "--max-scan-age", "3d", ref)
	o := verified(t, s.dir, notMet, "--key", "release.pub", "--max-scan-age", "48h", ref)
	require.Contains(t, o.stdout, "it is 2 days old, and may be 48h old")
}
