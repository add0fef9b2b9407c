package referrer

import (
	"errors"

	digest "github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// FallbackTag is the tag of the index that lists a manifest's referrers where a
// registry has no referrers API (distribution-spec v1.1, "Referrers Tag Schema").
func FallbackTag(subject digest.Digest) string {
	return subject.Algorithm().String() + "-" + subject.Encoded()
}

// MergeIndex adds referrers to the index under the fallback tag, which is nil where
// there is none. What is there stays as it is. Changed is false, and data are the
// existing bytes, when all were there.
func MergeIndex(existing []byte, add []ocispecs.Descriptor) (data []byte, changed bool, err error) {
	return nil, false, errors.ErrUnsupported
}
