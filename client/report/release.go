// Package report writes one HTML page about a release, out of its documents of
// evidence: for somebody who has to decide whether to trust it, and has a minute.
//
// The page needs nothing but itself: no script, no picture, no font, no network.
// It says what the documents say, and how to check that they are the right ones;
// it checks no signature itself. All text is hostile, and so are all documents.
package report

import (
	"time"

	"github.com/CycloneDX/cyclonedx-go"
	digest "github.com/opencontainers/go-digest"

	"github.com/temper-images/temper/client/artifact"
	"github.com/temper-images/temper/client/finding"
	"github.com/temper-images/temper/client/gate"
	"github.com/temper-images/temper/client/inspect"
	"github.com/temper-images/temper/client/provenance"
	"github.com/temper-images/temper/hardening/spec"
)

// Release is what the documents say of the images that were released together, one
// for each platform.
type Release struct {
	// Images are sorted by name and platform.
	Images []*Image
}

// Image is what the documents say of one platform's image. What no document says
// is nil or empty.
type Image struct {
	// Name and Arch are those of file names: "nginx", "amd64".
	Name, Arch string
	Reference  string
	Platform   string
	Digest     digest.Digest
	// Created is the time that the SBOM bears.
	Created time.Time

	Hardening  *spec.Report
	SBOM       *cyclonedx.BOM
	Gate       *gate.Result
	Inspection *inspect.Document
	// Findings are the scan's, for when there is no gate that judged them.
	Findings []*finding.Finding
	// Scanned says that Findings are there, even if there are none.
	Scanned    bool
	Provenance *provenance.Statement
	VEX        []VEX
	Tests      []Test
	// Documents are all documents, sorted by name.
	Documents []*Document
	// Problems say what does not fit together, for the top of the page.
	Problems []string
}

// Document is one document of evidence.
type Document struct {
	Name      string
	Kind      artifact.Kind
	MediaType string
	Digest    digest.Digest
	// Size is in bytes.
	Size int64
	// Signature says that there is a detached signature, and Bundle what is in the
	// Sigstore bundle; nil when there is none.
	Signature bool
	Bundle    *Bundle
	// Problem says why it could not be read, or is empty.
	Problem string
}

// Bundle is what a Sigstore bundle says of itself. Nothing of it was checked.
type Bundle struct {
	// Hint names the public key, when there is no certificate.
	Hint string
	// Identity is whom the certificate names, and Issuer who vouched for that.
	Identity, Issuer string
	// Logged says that there is an entry of a transparency log, and Timestamped that
	// an authority stated the time.
	Logged, Timestamped bool
}

// VEX is a document with statements on vulnerabilities.
type VEX struct {
	// File is the document's name.
	File       string
	Author     string
	Statements []Statement
}

// Statement is a statement of a VEX document (OpenVEX v0.2.0, "Statement").
type Statement struct {
	Vulnerability, Status, Justification, Impact string
	// Products are package URLs: the parts of the image that it is about, or the
	// image.
	Products []string
}

// Test is the result of a test run (in-toto Attestation Framework, predicate
// "test-result" v0.1).
type Test struct {
	File string
	// Result is "PASSED", "WARNED" or "FAILED".
	Result                 string
	URL                    string
	Passed, Warned, Failed []string
}
