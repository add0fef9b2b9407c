// Package referrer knows the forms in which signatures and attestations stand
// beside an image in a registry, and writes and reads them: a Sigstore bundle as a
// referrer (OCI image-spec v1.1, "Manifests with a subject"; Cosign's
// BUNDLE_SPEC.md), Cosign's tags sha256-HEX.sig and sha256-HEX.att, and the index
// that stands in for the referrers API (distribution-spec v1.1, "Referrers Tag
// Schema"). It talks to no registry: it makes bytes to push, and reads from a
// Source.
package referrer

import (
	"context"
	"crypto/sha256"
	"io"

	digest "github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
)

// SignPredicate is the predicate type of the statement that is an image's
// signature, as Cosign 3 makes it. The statement has no predicate.
const SignPredicate = "https://sigstore.dev/cosign/sign/v1"

// Signed is one thing signed about a manifest: the signature of an image, or an
// attestation. It marshals to JSON and back, so that it can be kept until it is
// pushed.
type Signed struct {
	// PredicateType is SignPredicate for an image's signature, else that of the
	// attestation.
	PredicateType string `json:"predicateType"`
	// Bundle is a Sigstore bundle v0.3 in JSON with a DSSE envelope around the
	// in-toto statement.
	Bundle []byte `json:"bundle"`
	// Payload is the simple signing document of an image's signature, and
	// PayloadBundle the Sigstore bundle of its signature. Without them an image's
	// signature has no older form. Attestations need none: their older form is the
	// same envelope.
	Payload       []byte `json:"payload,omitempty"`
	PayloadBundle []byte `json:"payloadBundle,omitempty"`
}

// Manifest is one to push: its blobs first.
type Manifest struct {
	// Descriptor is as an index of referrers lists it, with artifact type and
	// annotations.
	Descriptor ocispecs.Descriptor
	Data       []byte
	Blobs      []Blob
	// Tag is what the manifest is pushed as. It is empty for a referrer, which is
	// pushed by its digest.
	Tag string
	// Subject is the manifest that is signed.
	Subject digest.Digest
}

// Blob is one of a manifest.
type Blob struct {
	Descriptor ocispecs.Descriptor
	Data       []byte
}

// Formats are the forms that are written. The zero value stands for all.
type Formats struct {
	// Bundle is the referrer with a Sigstore bundle.
	Bundle bool
	// Cosign are the tags .sig and .att.
	Cosign bool
}

// Existing is what is there already under the tags of a subject, for Manifests to
// add to. The zero value stands for nothing. Found has it.
type Existing struct {
	// Signatures and Attestations are the images under .sig and .att.
	Signatures, Attestations TagImage
	// Bundles are the digests of the bundles that are attached as referrers.
	Bundles []digest.Digest
}

// TagImage is an image of Cosign's, or nothing.
type TagImage struct {
	// Digest is the manifest's, for a tag that is not to be replaced unseen.
	Digest digest.Digest
	// Manifest and Config are the documents' bytes.
	Manifest, Config []byte
}

// Source is where signatures are read: a repository of a registry, or an archive.
// That something is not there is an error that wraps registry.ErrNotFound.
type Source interface {
	// Manifest gets a manifest by tag or digest.
	Manifest(ctx context.Context, ref string) (ocispecs.Descriptor, []byte, error)
	// Blob opens a blob. Its digest is checked by whoever reads it.
	Blob(ctx context.Context, desc ocispecs.Descriptor) (io.ReadCloser, error)
	// Referrers lists the manifests whose subject is this one. An absent list is
	// empty, and any other failure an error.
	Referrers(ctx context.Context, subject digest.Digest) ([]ocispecs.Descriptor, error)
}

// Form is how something signed stands beside an image.
type Form string

// The forms.
const (
	// FormBundle is a referrer with a Sigstore bundle.
	FormBundle Form = "bundle"
	// FormSignature is a layer of the image under sha256-HEX.sig.
	FormSignature Form = "sig"
	// FormAttestation is a layer of the image under sha256-HEX.att.
	FormAttestation Form = "att"
)

// Place is where an entry was found.
type Place struct {
	Form Form
	// Manifest is the referrer, or the image under the tag.
	Manifest ocispecs.Descriptor
	// Blob is the layer.
	Blob ocispecs.Descriptor
}

// Entry is one thing that somebody signed about a manifest. Nothing of it is
// verified: Verify does so.
type Entry struct {
	// PredicateType is SignPredicate for an image's signature in any form.
	PredicateType string
	// Bundle is a Sigstore bundle: the one that is there, or for the older forms one
	// that says the same as their annotations.
	Bundle []byte
	// Payload is the simple signing document that Bundle signs, of an image's
	// signature in the older form. Else Bundle has an envelope around a statement.
	Payload []byte
	// Places are where it is, the bundle first. An attestation in both forms is one
	// entry with two places.
	Places []Place

	// key tells signatures apart.
	key [sha256.Size]byte
	// restored is what Bundle is to say, until it is known that nothing else does.
	restored *protobundle.Bundle
}

// Found is what stands beside one manifest.
type Found struct {
	Subject digest.Digest
	// Entries are in the order of the predicate types, and bundles before the older
	// forms.
	Entries []Entry
	// Other are referrers of other kinds.
	Other []ocispecs.Descriptor
	// Broken says what could not be read, and why: a referrer that says that it is a
	// bundle and is none, a layer with annotations that make no sense. They are no
	// signatures.
	Broken []Broken
	// Existing is what Manifests adds to.
	Existing Existing
}

// Broken is something beside a manifest that is not what it says it is.
type Broken struct {
	Place Place
	Err   error
}
