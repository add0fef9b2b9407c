package signing

import (
	"bytes"
	"fmt"

	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/sign"
	"github.com/sigstore/sigstore-go/pkg/verify"
)

// check verifies a finished bundle as those who get it will, as far as something
// is known to verify it with: a log or an authority that answers nonsense is found
// before the bundle is handed out. That the key verifies its signature was seen
// when it signed.
func (s *Signer) check(content sign.Content, made *protobundle.Bundle) error {
	if s.trusted == nil {
		return nil
	}
	v := &Verifier{tlog: len(s.services.logs) > 0, timestamp: len(s.services.timestamps) > 0}
	trusted := s.trusted
	if s.certificates == nil {
		v.key = s.key.public
		trusted = withKey{trusted, s.key.algorithms}
	}
	b, err := bundle.NewBundle(made)
	if err != nil {
		return fmt.Errorf("check the new signature: %w", err)
	}
	verifier, err := verify.NewVerifier(trusted, v.demands(trusted)...)
	if err != nil {
		return fmt.Errorf("check the new signature: %w", err)
	}
	document := verify.WithoutArtifactUnsafe()
	if made.GetMessageSignature() != nil {
		document = verify.WithArtifact(bytes.NewReader(content.PreAuthEncoding()))
	}
	if _, err := verifier.Verify(b, verify.NewPolicy(document, verify.WithoutIdentitiesUnsafe())); err != nil {
		return &ServiceError{Service: "Sigstore deployment", Err: fmt.Errorf("the trusted root does not verify what its servers made: %w", err)}
	}
	return nil
}
