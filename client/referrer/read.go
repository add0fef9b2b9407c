package referrer

import (
	"context"
	"errors"

	digest "github.com/opencontainers/go-digest"

	"github.com/temper-images/temper/client/signing"
)

// Read finds everything signed about a manifest, in all forms. That nothing is
// there is no error. An error of the source is returned as it is, wrapped: a
// listing that was refused is not an empty one.
func Read(ctx context.Context, src Source, subject digest.Digest) (*Found, error) {
	return nil, errors.ErrUnsupported
}

// Verify verifies that the entry is about subject and signed by whom the verifier
// accepts. Errors are those of signing.Verifier.VerifyStatement.
func (e *Entry) Verify(ctx context.Context, v *signing.Verifier, subject digest.Digest) (*signing.Result, error) {
	return nil, errors.ErrUnsupported
}
