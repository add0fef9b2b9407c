package referrer

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	digest "github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

const (
	// BundleMediaType is the media type of a Sigstore bundle v0.3, and the artifact
	// type of a referrer that has one.
	BundleMediaType = "application/vnd.dev.sigstore.bundle.v0.3+json"
	// bundlePrefix begins the media types of all versions of bundles.
	bundlePrefix = "application/vnd.dev.sigstore.bundle"

	annotationContent   = "dev.sigstore.bundle.content"
	annotationPredicate = "dev.sigstore.bundle.predicateType"
	contentEnvelope     = "dsse-envelope"

	// maxBundle bounds a bundle and an envelope, in bytes.
	maxBundle = 64 << 20
)

// Manifests are the manifests that say what was signed about subject: for each
// Signed a referrer with its bundle, and the images under the tags .sig and .att,
// added to what is there. What is there already makes no manifest. The same
// arguments give the same bytes. Created is the time that the referrers carry, in
// whole seconds.
//
// What has no form for Cosign's tags is left out of them: Signed.OlderForm says
// which, and why.
func Manifests(subject ocispecs.Descriptor, signed []Signed, existing Existing, created time.Time, f Formats) ([]Manifest, error) {
	if err := subject.Digest.Validate(); err != nil {
		return nil, fmt.Errorf("attach signatures: digest %q: %w", subject.Digest, err)
	}
	if f == (Formats{}) {
		f = Formats{Bundle: true, Cosign: true}
	}
	var made []Manifest
	if f.Bundle {
		there := slices.Clone(existing.Bundles)
		for _, s := range signed {
			sum := digest.FromBytes(s.Bundle)
			if slices.Contains(there, sum) {
				continue
			}
			there = append(there, sum)
			m, err := bundleReferrer(subject, s, created)
			if err != nil {
				return nil, fmt.Errorf("attach %s to %s: %w", s.PredicateType, subject.Digest, err)
			}
			made = append(made, m)
		}
	}
	if !f.Cosign {
		return made, nil
	}
	var signatures, attestations []layer
	for _, s := range signed {
		l, err := s.older()
		switch {
		case errors.Is(err, ErrNoOlderForm):
		case err != nil:
			return nil, fmt.Errorf("attach %s to %s: %w", s.PredicateType, subject.Digest, err)
		case s.PredicateType == SignPredicate:
			signatures = append(signatures, l)
		default:
			attestations = append(attestations, l)
		}
	}
	for _, t := range []struct {
		tag    string
		there  TagImage
		layers []layer
	}{
		{SignatureTag(subject.Digest), existing.Signatures, signatures},
		{AttestationTag(subject.Digest), existing.Attestations, attestations},
	} {
		m, err := t.there.add(t.layers)
		if err != nil {
			return nil, fmt.Errorf("add to the tag %s: %w", t.tag, err)
		}
		if m != nil {
			m.Tag, m.Subject = t.tag, subject.Digest
			made = append(made, *m)
		}
	}
	return made, nil
}

// SignatureTag is Cosign's tag for the signatures of a manifest.
func SignatureTag(subject digest.Digest) string { return FallbackTag(subject) + ".sig" }

// AttestationTag is Cosign's tag for the attestations of a manifest.
func AttestationTag(subject digest.Digest) string { return FallbackTag(subject) + ".att" }

// bundleReferrer makes the manifest that Cosign's WriteAttestationNewBundleFormat
// makes, byte for byte: go-containerregistry's type has Cosign's order of fields.
func bundleReferrer(subject ocispecs.Descriptor, s Signed, created time.Time) (Manifest, error) {
	if len(s.Bundle) > maxBundle {
		return Manifest{}, fmt.Errorf("the bundle has %d bytes, and at most %d are read", len(s.Bundle), maxBundle)
	}
	if _, err := parseBundle(s.Bundle); err != nil {
		return Manifest{}, err
	}
	empty := blob(ocispecs.MediaTypeEmptyJSON, []byte("{}"))
	layer := blob(BundleMediaType, s.Bundle)
	config := hashed(empty.Descriptor)
	config.ArtifactType = BundleMediaType
	of := hashed(ocispecs.Descriptor{MediaType: subject.MediaType, Digest: subject.Digest, Size: subject.Size})
	annotations := map[string]string{
		ocispecs.AnnotationCreated: created.UTC().Format(time.RFC3339),
		annotationContent:          contentEnvelope,
		annotationPredicate:        s.PredicateType,
	}
	data, err := json.Marshal(v1.Manifest{
		SchemaVersion: 2,
		MediaType:     types.OCIManifestSchema1,
		Config:        config,
		Layers:        []v1.Descriptor{hashed(layer.Descriptor)},
		Annotations:   annotations,
		Subject:       &of,
		ArtifactType:  BundleMediaType,
	})
	if err != nil {
		return Manifest{}, err
	}
	desc := ocispecs.Descriptor{
		MediaType: ocispecs.MediaTypeImageManifest, Digest: digest.FromBytes(data), Size: int64(len(data)),
		ArtifactType: BundleMediaType, Annotations: annotations,
	}
	return Manifest{Descriptor: desc, Data: data, Blobs: []Blob{empty, layer}, Subject: subject.Digest}, nil
}

func blob(mediaType string, data []byte) Blob {
	return Blob{ocispecs.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}, data}
}

// hashed is a descriptor in go-containerregistry's type. Its digest is valid.
func hashed(d ocispecs.Descriptor) v1.Descriptor {
	return v1.Descriptor{MediaType: types.MediaType(d.MediaType), Size: d.Size, Digest: v1.Hash{Algorithm: d.Digest.Algorithm().String(), Hex: d.Digest.Encoded()}}
}
