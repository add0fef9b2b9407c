package verify_test

import (
	"encoding/json"
	"flag"
	"os"
	"strings"
	"testing"

	vsa "github.com/in-toto/attestation/go/predicates/vsa/v1"
	intoto "github.com/in-toto/attestation/go/v1"
	digest "github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/temper-images/temper/client/verify"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// aReport is of an index with an image in it.
func aReport(t *testing.T) *verify.Report {
	t.Helper()
	p := policy()
	d, err := p.Digest()
	require.NoError(t, err)
	index, image := digest.FromString("index"), digest.FromString("image")
	return &verify.Report{
		Image: "registry.example.com/team/app", Digest: index, Time: now, Passed: true, Level: 2, Policy: d, Required: p.Required(),
		Subjects: []verify.Subject{
			{Digest: index, Platform: "index", Checks: []verify.Check{
				{Kind: verify.Signature, Verdict: verify.Pass, Detail: "by key sha256:abc (bundle, tag .sig)", Signers: []string{"key sha256:abc"}},
			}},
			{Digest: image, Platform: "linux/amd64", Level: 2, Checks: []verify.Check{
				{Kind: verify.Signature, Verdict: verify.Pass, Detail: "by key sha256:abc (bundle, tag .sig)", Signers: []string{"key sha256:abc"}},
				{Kind: verify.Gate, Verdict: verify.Warn, Detail: "the gate warned on 2026-05-10: 1 vulnerability counts"},
			}},
		},
		Attestations: []verify.Attestation{
			{PredicateType: "https://sigstore.dev/cosign/sign/v1", Subject: index, Digest: digest.FromString("a"), Manifest: digest.FromString("b"), Signer: "key sha256:abc"},
			{PredicateType: "https://slsa.dev/provenance/v1", Subject: image, Digest: digest.FromString("c"), Manifest: digest.FromString("d"), Signer: "key sha256:abc"},
		},
	}
}

// predicateOf reads a summary as in-toto's own types do, strictly.
func predicateOf(t *testing.T, statement []byte) (*intoto.Statement, *vsa.VerificationSummary) {
	t.Helper()
	st := &intoto.Statement{}
	require.NoError(t, protojson.Unmarshal(statement, st))
	require.NoError(t, st.Validate())
	require.Equal(t, verify.PredicateVSA, st.PredicateType)
	// The types are of SLSA 1.0, which had no version of the verifier.
	delete(st.Predicate.Fields["verifier"].GetStructValue().Fields, "version")
	dt, err := protojson.Marshal(st.Predicate)
	require.NoError(t, err)
	p := &vsa.VerificationSummary{}
	require.NoError(t, protojson.Unmarshal(dt, p))
	return st, p
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := "testdata/" + name
	if *update {
		require.NoError(t, os.MkdirAll("testdata", 0o755))
		require.NoError(t, os.WriteFile(path, got, 0o644))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, string(want), string(got))
}

func TestSummary(t *testing.T) {
	r := aReport(t)
	out, err := r.Summary(verify.SummaryOptions{Version: "v1.2.3"})
	require.NoError(t, err)
	golden(t, "summary.json", out)
	st, p := predicateOf(t, out)
	require.Len(t, st.Subject, 2)
	require.Equal(t, r.Digest.Encoded(), st.Subject[0].Digest["sha256"])
	require.Equal(t, verify.VerifierID, p.Verifier.Id)
	require.Equal(t, now, p.TimeVerified.AsTime())
	require.Equal(t, "PASSED", p.VerificationResult)
	require.Equal(t, []string{"SLSA_BUILD_LEVEL_2"}, p.VerifiedLevels)
	require.Len(t, p.InputAttestations, 2)
	require.Equal(t, r.Policy.Encoded(), p.Policy.Digest["sha256"])
	require.Contains(t, p.ResourceUri, "pkg:oci/app@sha256")

	out, err = r.Summary(verify.SummaryOptions{VerifierID: "https://example.com/gate", PolicyURI: "https://example.com/policy.yaml"})
	require.NoError(t, err)
	_, p = predicateOf(t, out)
	require.Equal(t, "https://example.com/gate", p.Verifier.Id)
	require.Equal(t, "https://example.com/policy.yaml", p.Policy.Uri)

	r.Required, r.Level = []verify.Kind{verify.Signature}, 0
	r.Image = ""
	out, err = r.Summary(verify.SummaryOptions{})
	require.NoError(t, err)
	_, p = predicateOf(t, out)
	require.Equal(t, []string{"SLSA_BUILD_LEVEL_UNEVALUATED"}, p.VerifiedLevels)

	r.Passed, r.Reason = false, verify.Unsigned
	out, err = r.Summary(verify.SummaryOptions{})
	require.NoError(t, err)
	_, p = predicateOf(t, out)
	require.Equal(t, "FAILED", p.VerificationResult)
	require.Equal(t, []string{"FAILED"}, p.VerifiedLevels)

	_, err = (&verify.Report{}).Summary(verify.SummaryOptions{})
	require.Error(t, err)
}

func TestTableAndJSON(t *testing.T) {
	r := aReport(t)
	var b strings.Builder
	require.NoError(t, r.WriteTable(&b))
	golden(t, "table.txt", []byte(b.String()))
	dt, err := r.Marshal()
	require.NoError(t, err)
	golden(t, "report.json", dt)
	var back verify.Report
	require.NoError(t, json.Unmarshal(dt, &back))
	require.Equal(t, *r, back)

	r.Passed, r.Reason = false, verify.WrongSigner
	r.Subjects[1].Checks[0] = verify.Check{Kind: verify.Signature, Verdict: verify.Fail, Reason: verify.WrongSigner, Detail: "signed by \x1b[31msomebody"}
	b.Reset()
	require.NoError(t, r.WriteTable(&b))
	require.NotContains(t, b.String(), "\x1b")
	require.Contains(t, b.String(), "FAIL")
	require.Contains(t, b.String(), "FAILED: signed by nobody whose signatures count, or changed")
}

// Every signature is a check of its own, and the worst reason is the report's.
func TestTooManyToTell(t *testing.T) {
	r := aReport(t)
	r.Passed, r.Reason = false, verify.NotMet
	for range 30 {
		r.Subjects[1].Checks = append(r.Subjects[1].Checks, verify.Check{Kind: verify.SBOM, Verdict: verify.Fail, Reason: verify.NotMet, Detail: "there is none"})
	}
	require.ErrorContains(t, r.Err(), "and 10 more")
}
