package signing

import (
	"context"
	"encoding/json"
	"fmt"

	digest "github.com/opencontainers/go-digest"
	"github.com/sigstore/sigstore/pkg/signature/payload"
)

// maxPayload bounds a simple signing document, in bytes.
const maxPayload = 1 << 20

// VerifyImage checks the older form of an image's signature: a simple signing
// document, as ImagePayload makes it, and the bundle of its signature. The document
// has to be about that manifest. What it says that the image may be called is in
// Result.Reference: a copy of the image has another name, so that it is for the
// caller to look at. Errors are those of Verify.
func (v *Verifier) VerifyImage(ctx context.Context, document, bundleJSON []byte, manifest digest.Digest) (*Result, error) {
	if err := manifest.Validate(); err != nil {
		return nil, configurationErrorf("digest %q: %w", manifest, err)
	}
	if len(document) > maxPayload {
		return nil, fmt.Errorf("%w: the simple signing document is larger than %d bytes", ErrTampered, maxPayload)
	}
	if len(bundleJSON) == 0 {
		return nil, fmt.Errorf("%w: there is no bundle", ErrNotSigned)
	}
	result, err := v.Verify(ctx, document, nil, bundleJSON)
	if err != nil {
		return nil, err
	}
	var image payload.SimpleContainerImage
	if err := json.Unmarshal(document, &image); err != nil {
		return nil, fmt.Errorf("%w: what is signed is no simple signing document: %w", ErrNotSigned, err)
	}
	if image.Critical.Type != payload.CosignSignatureType {
		return nil, fmt.Errorf("%w: what is signed is of type %.80q, and not %q", ErrNotSigned, image.Critical.Type, payload.CosignSignatureType)
	}
	if named := image.Critical.Image.DockerManifestDigest; named != manifest.String() {
		return nil, fmt.Errorf("%w: the signature is of another image, %.100q", ErrTampered, named)
	}
	result.Reference = image.Critical.Identity.DockerReference
	return result, nil
}
