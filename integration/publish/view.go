package publish

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"

	digest "github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// The names that Cosign and Sigstore use.
const (
	signPredicate   = "https://sigstore.dev/cosign/sign/v1"
	bundleType      = "application/vnd.dev.sigstore.bundle"
	payloadType     = "application/vnd.dev.cosign.simplesigning.v1+json"
	signatureOfType = "dev.cosignproject.cosign/signature"
)

// beside matches the tags of what stands beside an image: signatures, attestations,
// and the list of referrers where the registry keeps none.
var beside = regexp.MustCompile(`^sha256-[0-9a-f]{64}(\.sig|\.att)?$`)

// view is what can be read of a repository, now or at some time.
type view interface {
	// manifest is nil for one that is not there.
	manifest(ref string) []byte
	blob(d digest.Digest) []byte
	referrers(subject digest.Digest) []ocispecs.Descriptor
}

// Found are the signatures of a key that can be read of a manifest.
type Found struct {
	// Bundles are bundles that sign the image, and Payloads signatures under the tag
	// that ends in ".sig".
	Bundles, Payloads int
	// Attestations are the predicates of the other bundles, and Attached those of the
	// envelopes under the tag that ends in ".att".
	Attestations, Attached []string
}

// complete says that every form is there.
func (f Found) complete() bool { return f.Bundles > 0 && f.Payloads > 0 }

// tagOf is the tag under which something stands beside a manifest.
func tagOf(subject digest.Digest, suffix string) string {
	return strings.ReplaceAll(subject.String(), ":", "-") + suffix
}

// find reads and verifies all signatures of a manifest. Signatures that do not
// verify do not count.
func (k Key) find(v view, subject digest.Digest) Found {
	var f Found
	seen := map[digest.Digest]bool{}
	for _, desc := range v.referrers(subject) {
		if !strings.HasPrefix(desc.ArtifactType, bundleType) || seen[desc.Digest] {
			continue
		}
		seen[desc.Digest] = true
		var m ocispecs.Manifest
		if json.Unmarshal(v.manifest(desc.Digest.String()), &m) != nil || m.Subject == nil || m.Subject.Digest != subject || len(m.Layers) != 1 {
			continue
		}
		predicate, err := k.Bundle(v.blob(m.Layers[0].Digest), subject)
		switch {
		case err != nil:
		case predicate == signPredicate:
			f.Bundles++
		default:
			f.Attestations = append(f.Attestations, predicate)
		}
	}
	var sig, att ocispecs.Manifest
	if json.Unmarshal(v.manifest(tagOf(subject, ".sig")), &sig) == nil {
		for _, layer := range sig.Layers {
			if layer.MediaType == payloadType && k.Payload(v.blob(layer.Digest), layer.Annotations[signatureOfType], subject) == nil {
				f.Payloads++
			}
		}
	}
	if json.Unmarshal(v.manifest(tagOf(subject, ".att")), &att) == nil {
		for _, layer := range att.Layers {
			// An envelope is a bundle's without what is around it.
			bundle := fmt.Appendf(nil, `{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","dsseEnvelope":%s}`, v.blob(layer.Digest))
			if predicate, err := k.Bundle(bundle, subject); err == nil {
				f.Attached = append(f.Attached, predicate)
			}
		}
	}
	return f
}
