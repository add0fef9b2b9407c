package referrer

import (
	"errors"
	"time"

	digest "github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// Manifests are the manifests that say what was signed about subject: for each
// Signed a referrer with its bundle, and the images under the tags .sig and .att,
// added to what is there. What is there already makes no manifest. The same
// arguments give the same bytes. Created, in whole seconds, is the time that the
// referrers carry.
func Manifests(subject ocispecs.Descriptor, signed []Signed, existing Existing, created time.Time, f Formats) ([]Manifest, error) {
	return nil, errors.ErrUnsupported
}

// SignatureTag is Cosign's tag for the signatures of a manifest.
func SignatureTag(subject digest.Digest) string { return FallbackTag(subject) + ".sig" }

// AttestationTag is Cosign's tag for the attestations of a manifest.
func AttestationTag(subject digest.Digest) string { return FallbackTag(subject) + ".att" }

// ErrNoOlderForm says that something signed cannot be told in the form of Cosign's
// tags.
var ErrNoOlderForm = errors.New("it has no form for Cosign's tags")

// OlderForm says why Manifests writes no older form of it: an error that wraps
// ErrNoOlderForm, or one about a bundle that cannot be read.
func (s Signed) OlderForm() error { return errors.ErrUnsupported }
