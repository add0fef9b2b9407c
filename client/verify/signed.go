package verify

import (
	"context"
	"errors"

	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/temper-images/temper/client/referrer"
	"github.com/temper-images/temper/client/signing"
)

// Signed verifies that one manifest or index is itself signed by one of the signers,
// and asks nothing of the images that an index lists: it names them by their digests.
// name is the image's for the error. Errors are *FailedError, those of the source, or
// of the context.
func Signed(ctx context.Context, src referrer.Source, manifest ocispecs.Descriptor, name string, signers []*signing.Verifier) error {
	if len(signers) == 0 {
		return &PolicyError{Field: "signers", Err: errors.New("say whose signatures are accepted: a key, or an identity and its issuer")}
	}
	o := Options{Policy: Policy{Require: []Kind{Signature}}, Signers: signers, Image: name}
	s, _, err := o.subject(ctx, src, target{desc: manifest, top: manifest.Digest})
	if err != nil {
		return err
	}
	r := &Report{Image: name, Digest: manifest.Digest, Required: o.Policy.Required(), Subjects: []Subject{s}}
	r.conclude()
	return r.Err()
}
