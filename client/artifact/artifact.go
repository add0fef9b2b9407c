// Package artifact describes one document of evidence about an image: what it is,
// what it is called, and its bytes. It has no behaviour of its own, so that those
// who make, sign, store and publish documents need not know each other.
package artifact

import (
	"fmt"
	"maps"
	"regexp"
	"slices"

	digest "github.com/opencontainers/go-digest"
)

// Kind says what a document is, and with that where it is kept.
type Kind string

// The kinds of documents.
const (
	SBOM        Kind = "sbom"
	Scan        Kind = "scan"
	VEX         Kind = "vex"
	Test        Kind = "test"
	Hardening   Kind = "hardening"
	Attestation Kind = "attestation"
)

// kinds are all kinds and the directories that hold them.
var kinds = map[Kind]string{
	SBOM: "sboms", Scan: "scans", VEX: "vex", Test: "tests", Hardening: "hardening", Attestation: "attestations",
}

// Dir is the directory of the kind in an evidence store.
func (k Kind) Dir() string { return kinds[k] }

// Kinds are all kinds, in the order of their names.
func Kinds() []Kind { return slices.Sorted(maps.Keys(kinds)) }

// The media types of documents that several packages name.
const (
	TypeCycloneDX = "application/vnd.cyclonedx+json"
	TypeSPDX      = "application/spdx+json"
	TypeSARIF     = "application/sarif+json"
	TypeJSON      = "application/json"
	// TypeInToto is an in-toto Statement that is not wrapped in an envelope.
	TypeInToto = "application/vnd.in-toto+json"
	// TypeBundle is a Sigstore bundle (protobuf-specs, sigstore_bundle.proto).
	TypeBundle = "application/vnd.dev.sigstore.bundle.v0.3+json"
	// TypeSignature is a detached signature in base64, as cosign sign-blob writes it.
	TypeSignature = "text/plain"
)

// The endings that signatures add to the name of what they sign.
const (
	SignatureSuffix = ".sig"
	BundleSuffix    = ".sigstore.json"
	// EnvelopeSuffix is of a bundle that holds the document itself, an in-toto
	// statement in a DSSE envelope.
	EnvelopeSuffix = ".dsse" + BundleSuffix
)

// Artifact is one document of evidence. Its bytes are not to be changed once it
// was made: digests, signatures and provenance name them.
type Artifact struct {
	Kind Kind
	// Name is a file name without a directory: "sbom-nginx-amd64.cdx.json".
	Name string
	// MediaType is the type of Data, as an object store and a registry state it.
	MediaType string
	// PredicateType is the in-toto predicate type under which Data is attested,
	// or empty for what is no predicate.
	PredicateType string
	// Platform is the platform of the image that the document is about,
	// "linux/amd64".
	Platform string
	Data     []byte
}

// Digest is the digest of the document's bytes.
func (a Artifact) Digest() digest.Digest { return digest.FromBytes(a.Data) }

var fileName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,199}$`)

// CheckName says what is wrong with the name of a document, for those who turn it
// into a path.
func CheckName(name string) error {
	if !fileName.MatchString(name) {
		return fmt.Errorf("name %q: it must be a file name of letters, digits, dots, dashes and underscores", name)
	}
	return nil
}

// Validate says what is wrong with the artifact, for those who turn its fields
// into paths.
func (a Artifact) Validate() error {
	if kinds[a.Kind] == "" {
		return fmt.Errorf("artifact %q: unknown kind %q", a.Name, a.Kind)
	}
	if err := CheckName(a.Name); err != nil {
		return fmt.Errorf("artifact %w", err)
	}
	if a.MediaType == "" {
		return fmt.Errorf("artifact %s has no media type", a.Name)
	}
	return nil
}
