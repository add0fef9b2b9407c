package referrer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/temper-images/temper/client/signing"
)

// signStatement is the statement that is an image's signature, with the fields in
// Cosign's order.
type signStatement struct {
	Type          string        `json:"_type"`
	Subject       []signSubject `json:"subject"`
	PredicateType string        `json:"predicateType"`
	Predicate     struct{}      `json:"predicate"`
}

type signSubject struct {
	Digest      map[string]string `json:"digest"`
	Annotations struct{}          `json:"annotations"`
}

// SignImage signs a manifest in both forms: the statement that Cosign 3 signs, and
// the simple signing document of older versions, which says that the manifest may
// be called reference: a repository, as Cosign writes it, or one with a tag. Without
// a reference, and where the older form could not be told, only the statement is
// signed. Errors are those of signing.Signer.SignBlob.
func SignImage(ctx context.Context, s *signing.Signer, reference string, manifest ocispecs.Descriptor) (Signed, error) {
	if err := manifest.Digest.Validate(); err != nil {
		return Signed{}, fmt.Errorf("sign an image: digest %q: %w", manifest.Digest, err)
	}
	statement, err := json.Marshal(signStatement{
		Type:          "https://in-toto.io/Statement/v1",
		Subject:       []signSubject{{Digest: map[string]string{manifest.Digest.Algorithm().String(): manifest.Digest.Encoded()}}},
		PredicateType: SignPredicate,
	})
	if err != nil {
		return Signed{}, fmt.Errorf("sign image %s: %w", manifest.Digest, err)
	}
	signed := Signed{PredicateType: SignPredicate}
	if signed.Bundle, err = s.SignStatement(ctx, statement); err != nil {
		return Signed{}, fmt.Errorf("sign image %s: %w", manifest.Digest, err)
	}
	if reference == "" || !tellable(signed.Bundle) {
		return signed, nil
	}
	if signed.Payload, err = signing.ImagePayload(reference, manifest.Digest, nil); err != nil {
		return Signed{}, err
	}
	signature, err := s.SignBlob(ctx, signed.Payload)
	if err != nil {
		return Signed{}, fmt.Errorf("sign image %s: %w", manifest.Digest, err)
	}
	signed.PayloadBundle = signature.Bundle
	return signed, nil
}

// tellable says whether a signature with the proofs of this bundle has an older
// form. A signature in vain would be one more entry in a public log.
func tellable(bundle []byte) bool {
	b, err := parseBundle(bundle)
	if err != nil || b.GetVerificationMaterial().GetPublicKey() != nil {
		return true
	}
	entries := b.GetVerificationMaterial().GetTlogEntries()
	for _, e := range entries {
		if len(e.GetInclusionPromise().GetSignedEntryTimestamp()) > 0 {
			return true
		}
	}
	return len(entries) == 0
}

// Attest signs an in-toto statement about a manifest. Errors are those of
// signing.Signer.SignStatement.
func Attest(ctx context.Context, s *signing.Signer, statement []byte) (Signed, error) {
	var header struct {
		PredicateType string `json:"predicateType"`
	}
	if err := json.Unmarshal(statement, &header); err != nil {
		return Signed{}, fmt.Errorf("attest: %w", err)
	}
	if header.PredicateType == "" {
		return Signed{}, errors.New("attest: the statement has no predicate type")
	}
	bundle, err := s.SignStatement(ctx, statement)
	if err != nil {
		return Signed{}, fmt.Errorf("attest %s: %w", header.PredicateType, err)
	}
	return Signed{PredicateType: header.PredicateType, Bundle: bundle}, nil
}
