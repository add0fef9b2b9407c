package referrer

import (
	"context"
	"errors"

	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/temper-images/temper/client/signing"
)

// SignImage signs a manifest in both forms: the statement that Cosign 3 signs, and
// the simple signing document of older versions, which says that the manifest may
// be called reference (a repository without tag, as Cosign writes it, or with).
// Errors are those of signing.Signer.SignBlob.
func SignImage(ctx context.Context, s *signing.Signer, reference string, manifest ocispecs.Descriptor) (Signed, error) {
	return Signed{}, errors.ErrUnsupported
}

// Attest signs an in-toto statement about a manifest. Errors are those of
// signing.Signer.SignStatement.
func Attest(ctx context.Context, s *signing.Signer, statement []byte) (Signed, error) {
	return Signed{}, errors.ErrUnsupported
}
