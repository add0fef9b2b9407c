package verify

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"time"

	"github.com/anchore/packageurl-go"
	"github.com/distribution/reference"
	digest "github.com/opencontainers/go-digest"
)

// PredicateVSA is the predicate type of a summary
// (slsa.dev/spec/v1.1/verification_summary).
const PredicateVSA = "https://slsa.dev/verification_summary/v1"

// The identifiers in a summary; docs/verify.md says what they stand for.
const (
	// VerifierID is Temper as a verifier that nobody gave a name.
	VerifierID = "https://github.com/temper-images/temper/blob/main/docs/verify.md#verifier"
	// PolicyURI is a policy that has no address.
	PolicyURI = "https://github.com/temper-images/temper/blob/main/docs/verify.md#policy"
)

// slsaVersion is the version of SLSA whose levels are told.
const slsaVersion = "1.1"

// SummaryOptions say in whose name a summary is written.
type SummaryOptions struct {
	// VerifierID is the URI of who verified. Empty means VerifierID.
	VerifierID string
	// Version is Temper's.
	Version string
	// PolicyURI is the address of the policy. Empty means PolicyURI.
	PolicyURI string
}

// resource is a ResourceDescriptor (in-toto/attestation, spec/v1).
type resource struct {
	Name   string            `json:"name,omitempty"`
	URI    string            `json:"uri,omitempty"`
	Digest map[string]string `json:"digest,omitempty"`
}

// summary is the predicate.
type summary struct {
	Verifier struct {
		ID      string            `json:"id"`
		Version map[string]string `json:"version,omitempty"`
	} `json:"verifier"`
	TimeVerified       string     `json:"timeVerified"`
	ResourceURI        string     `json:"resourceUri"`
	Policy             resource   `json:"policy"`
	InputAttestations  []resource `json:"inputAttestations,omitempty"`
	VerificationResult string     `json:"verificationResult"`
	VerifiedLevels     []string   `json:"verifiedLevels"`
	SLSAVersion        string     `json:"slsaVersion"`
}

// Summary is the report as a SLSA Verification Summary Attestation, an in-toto
// statement about everything that was verified, with a final newline. An image that
// was refused has one, too, which says FAILED. Equal reports give equal bytes.
func (r *Report) Summary(o SummaryOptions) ([]byte, error) {
	if err := r.Digest.Validate(); err != nil || len(r.Subjects) == 0 {
		return nil, fmt.Errorf("verification summary: nothing was verified: digest %q", r.Digest)
	}
	p := summary{
		TimeVerified: r.Time.UTC().Truncate(time.Second).Format(time.RFC3339), ResourceURI: r.packageURL(r.Digest),
		Policy:             resource{URI: o.PolicyURI, Digest: digestSet(r.Policy)},
		VerificationResult: "PASSED", VerifiedLevels: []string{r.level()}, SLSAVersion: slsaVersion,
	}
	if p.Policy.URI == "" {
		p.Policy.URI = PolicyURI
	}
	if !r.Passed {
		p.VerificationResult, p.VerifiedLevels = "FAILED", []string{"FAILED"}
	}
	p.Verifier.ID = o.VerifierID
	if p.Verifier.ID == "" {
		p.Verifier.ID = VerifierID
	}
	if o.Version != "" {
		p.Verifier.Version = map[string]string{"temper": o.Version}
	}
	for _, a := range r.Attestations {
		// The digest is of the bundle or envelope, and the manifest is where to find it.
		p.InputAttestations = append(p.InputAttestations, resource{URI: r.packageURL(a.Manifest), Digest: digestSet(a.Digest)})
	}
	var subjects []resource
	for _, s := range r.Subjects {
		subjects = append(subjects, resource{Name: r.Image, Digest: digestSet(s.Digest)})
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	err := e.Encode(struct {
		Type          string     `json:"_type"`
		Subject       []resource `json:"subject"`
		PredicateType string     `json:"predicateType"`
		Predicate     summary    `json:"predicate"`
	}{"https://in-toto.io/Statement/v1", subjects, PredicateVSA, p})
	if err != nil {
		return nil, fmt.Errorf("encode the verification summary: %w", err)
	}
	return b.Bytes(), nil
}

// level is the level that was verified, in SLSA's words. Where provenance was not
// looked for, nothing is known of it.
func (r *Report) level() string {
	if !slices.Contains(r.Required, Provenance) && r.Level == 0 {
		return "SLSA_BUILD_LEVEL_UNEVALUATED"
	}
	return fmt.Sprintf("SLSA_BUILD_LEVEL_%d", r.Level)
}

// packageURL is that of a manifest beside the image (purl-spec,
// types/oci-definition).
func (r *Report) packageURL(d digest.Digest) string {
	named, err := reference.ParseNormalizedNamed(r.Image)
	if err != nil {
		// It has no place in a registry, or the caller gave it a name of its own.
		return packageurl.NewPackageURL("oci", "", "image", d.String(), nil, "").String()
	}
	q := packageurl.Qualifiers{{Key: "repository_url", Value: reference.TrimNamed(named).Name()}}
	return packageurl.NewPackageURL("oci", "", path.Base(reference.Path(named)), d.String(), q, "").String()
}

// digestSet is a digest as in-toto writes it.
func digestSet(d digest.Digest) map[string]string {
	if d.Validate() != nil {
		return nil
	}
	return map[string]string{d.Algorithm().String(): d.Encoded()}
}
