package verify

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	digest "github.com/opencontainers/go-digest"
)

// Verdict is what became of a check.
type Verdict string

// The verdicts.
const (
	// Pass: it is there and in order.
	Pass Verdict = "pass"
	// Warn: it is not in order, or accepted with a remark, and the image may pass.
	Warn Verdict = "warn"
	// Fail: the policy is not met.
	Fail Verdict = "fail"
)

// Reason says why an image does not pass. Each has an exit code of its own.
type Reason string

// The reasons, the worst first.
const (
	// WrongSigner: what is signed was signed by nobody whose signatures count, lacks
	// the proofs of log or time that are demanded of them, or was changed after it was
	// signed.
	WrongSigner Reason = "wrong-signer"
	// Unsigned: there is no signature of the image.
	Unsigned Reason = "unsigned"
	// NotMet: the image is signed, and lacks something that the policy asks for.
	NotMet Reason = "policy"
)

// Check is one thing that was looked at.
type Check struct {
	Kind    Kind    `json:"kind"`
	Verdict Verdict `json:"verdict"`
	// Reason is set when the verdict is Fail.
	Reason Reason `json:"reason,omitempty"`
	// Detail says what was found, in one line.
	Detail string `json:"detail"`
	// Signers are those whose signatures count here, in words.
	Signers []string `json:"signers,omitempty"`
}

// Subject is a manifest that was verified, and what was found.
type Subject struct {
	Digest    digest.Digest `json:"digest"`
	MediaType string        `json:"mediaType,omitempty"`
	// Platform is "linux/amd64" as the index says it, "index" of the index itself, and
	// empty when nobody says it.
	Platform string  `json:"platform,omitempty"`
	Checks   []Check `json:"checks"`
	// Level is the level of SLSA's Build track that was verified, 0 to 3. Of an index
	// it is not set.
	Level int `json:"slsaBuildLevel"`
}

// Attestation is a statement or signature that was verified and counted.
type Attestation struct {
	PredicateType string        `json:"predicateType"`
	Subject       digest.Digest `json:"subject"`
	// Digest is of the blob that holds it, Manifest that of the manifest that lists
	// the blob.
	Digest   digest.Digest `json:"digest"`
	Manifest digest.Digest `json:"manifest"`
	Signer   string        `json:"signer"`
}

// Report is what was verified and found.
type Report struct {
	// Image is the image's name without tag and digest, or as the caller calls it.
	Image string `json:"image,omitempty"`
	// Digest is the top manifest's: of an index, or of the only image.
	Digest digest.Digest `json:"digest"`
	// Time is when it was verified, by the caller's clock.
	Time time.Time `json:"time"`
	// Passed says that the policy is met, and Reason why not.
	Passed bool   `json:"passed"`
	Reason Reason `json:"reason,omitempty"`
	// Level is the lowest of the images' levels of SLSA's Build track.
	Level int `json:"slsaBuildLevel"`
	// Policy is the digest of the policy, and Required what it requires.
	Policy   digest.Digest `json:"policy"`
	Required []Kind        `json:"required"`
	// Subjects are the index, if there is one, and the images in the order in which
	// it lists them.
	Subjects     []Subject     `json:"subjects"`
	Attestations []Attestation `json:"attestations"`
}

// conclude draws the conclusion from the subjects' checks.
func (r *Report) conclude() {
	reasons := map[Reason]bool{}
	signature := map[Reason]bool{}
	for _, s := range r.Subjects {
		for _, c := range s.Checks {
			if c.Verdict != Fail {
				continue
			}
			reasons[c.Reason] = true
			if c.Kind == Signature {
				signature[c.Reason] = true
			}
		}
	}
	// Of an image without a signature nothing else is worth telling; somebody else's
	// signature, or a changed one, is.
	for _, reason := range []Reason{WrongSigner, Unsigned} {
		if signature[reason] && r.Reason == "" {
			r.Reason = reason
		}
	}
	for _, reason := range []Reason{WrongSigner, Unsigned, NotMet} {
		if reasons[reason] && r.Reason == "" {
			r.Reason = reason
		}
	}
	r.Passed = r.Reason == ""
	r.Level = -1
	for _, s := range r.Subjects {
		if s.Platform != platformIndex && (r.Level < 0 || s.Level < r.Level) {
			r.Level = s.Level
		}
	}
	r.Level = max(r.Level, 0)
}

// Err is a *FailedError when the policy is not met.
func (r *Report) Err() error {
	if r.Passed {
		return nil
	}
	return &FailedError{Report: r}
}

// FailedError says that an image does not meet the policy.
type FailedError struct {
	Report *Report
}

// maxTold bounds how many checks the message of a FailedError names.
const maxTold = 20

// Reason is the report's.
func (e *FailedError) Reason() Reason { return e.Report.Reason }

func (e *FailedError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s", e.Report.name(), map[Reason]string{
		WrongSigner: "is signed by nobody whose signatures count, or was changed", Unsigned: "is not signed", NotMet: "does not meet the policy",
	}[e.Report.Reason])
	n := 0
	for _, s := range e.Report.Subjects {
		for _, c := range s.Checks {
			if c.Verdict != Fail {
				continue
			}
			if n++; n <= maxTold {
				fmt.Fprintf(&b, "\n  %s %s: %s", s.label(), c.Kind, c.Detail)
			}
		}
	}
	if n > maxTold {
		fmt.Fprintf(&b, "\n  and %d more", n-maxTold)
	}
	return b.String()
}

// name is the image's, with its digest.
func (r *Report) name() string {
	if r.Image == "" {
		return r.Digest.String()
	}
	return r.Image + "@" + r.Digest.String()
}

// label is what a table calls the subject.
func (s *Subject) label() string {
	if s.Platform != "" {
		return s.Platform
	}
	return "image"
}

// Marshal encodes the report with a final newline.
func (r *Report) Marshal() ([]byte, error) {
	dt, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode the report: %w", err)
	}
	return append(dt, '\n'), nil
}
