package signing

import (
	"encoding/json"
	"fmt"

	digest "github.com/opencontainers/go-digest"
	"github.com/sigstore/sigstore/pkg/signature/payload"
)

// PayloadMediaType is the media type of what ImagePayload returns, as the layer of
// a Cosign signature image states it.
const PayloadMediaType = "application/vnd.dev.cosign.simplesigning.v1+json"

// ImagePayload is what is signed in an image's stead: the simple signing document
// (containers/image, containers-signature.5, section "JSON data format") that
// says that the manifest of that digest may be called reference. Its signature by
// SignBlob is the one that Cosign puts into the annotation
// dev.cosignproject.cosign/signature of a layer with these bytes. Annotations are
// claims about the image, for verifiers to ask for.
func ImagePayload(reference string, manifest digest.Digest, annotations map[string]string) ([]byte, error) {
	if err := manifest.Validate(); err != nil {
		return nil, fmt.Errorf("sign an image: digest %q: %w", manifest, err)
	}
	document := payload.SimpleContainerImage{Critical: payload.Critical{
		Identity: payload.Identity{DockerReference: reference},
		Image:    payload.Image{DockerManifestDigest: manifest.String()},
		Type:     payload.CosignSignatureType,
	}}
	if len(annotations) > 0 {
		document.Optional = make(map[string]any, len(annotations))
		for k, v := range annotations {
			document.Optional[k] = v
		}
	}
	return json.Marshal(document)
}
