package vex

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/anchore/packageurl-go"
	digest "github.com/opencontainers/go-digest"
	openvex "github.com/openvex/go-vex/pkg/vex"

	"github.com/temper-images/temper/client/artifact"
)

// Patched is a package whose vulnerabilities an update took away.
type Patched struct {
	// PURL is the package URL with the version that is in the image now.
	PURL string
	// From is the version that was there before.
	From string
	// Vulnerabilities are those that From has and the new version has not.
	Vulnerabilities []string
}

// Removed is a package that hardening took out of the image.
type Removed struct {
	// PURL is the package URL with the version that was there before.
	PURL string
	// Why is what made it go, or empty.
	Why string
	// Vulnerabilities are those that it has.
	Vulnerabilities []string
}

// Report is what Write turns into a document.
type Report struct {
	// Name and Reference are the image's, as in Image; Reference may be empty.
	Name, Reference string
	// Digest is the digest of the image's manifest.
	Digest digest.Digest
	// Platform is "linux/amd64".
	Platform string
	// Time is the document's, and that of its statements. It is to come from the
	// image, not from a clock.
	Time time.Time
	// Author is who vouches for the statements. Empty means "temper".
	Author  string
	Patched []Patched
	Removed []Removed
}

// idPrefix begins the identifier of a document. The rest is the digest of what it
// says.
const idPrefix = "https://github.com/temper-images/temper/vex/sha256-"

// Write makes an OpenVEX v0.2.0 document: "fixed" for what was patched, and
// "not_affected" with "component_not_present" for what was removed. Equal reports
// give equal bytes. A vulnerability without a package is left out, so the document
// may have no statements.
func Write(r Report) ([]byte, error) {
	if err := r.Digest.Validate(); err != nil {
		return nil, fmt.Errorf("write VEX document: the image's digest %q: %w", r.Digest, err)
	}
	if r.Name == "" {
		return nil, errors.New("write VEX document: the image has no name")
	}
	t := r.Time.UTC()
	doc := openvex.VEX{Metadata: openvex.Metadata{
		Context: openvex.ContextLocator(), Author: cmp.Or(r.Author, "temper"), Timestamp: &t, Version: 1, Tooling: "temper",
	}, Statements: []openvex.Statement{}}
	img, err := r.component()
	if err != nil {
		return nil, err
	}
	add := func(vulnerability, purl string, s openvex.Statement) {
		s.Vulnerability = openvex.Vulnerability{Name: openvex.VulnerabilityID(vulnerability)}
		s.Products = []openvex.Product{{Component: img, Subcomponents: []openvex.Subcomponent{{Component: openvex.Component{
			ID: purl, Identifiers: map[openvex.IdentifierType]string{openvex.PURL: purl},
		}}}}}
		doc.Statements = append(doc.Statements, s)
	}
	for _, p := range r.Patched {
		for _, v := range p.Vulnerabilities {
			add(v, p.PURL, openvex.Statement{Status: openvex.StatusFixed, StatusNotes: "updated from " + p.From})
		}
	}
	for _, p := range r.Removed {
		impact := "hardening removed the package from the image"
		if p.Why != "" {
			impact += ": " + p.Why
		}
		for _, v := range p.Vulnerabilities {
			add(v, p.PURL, openvex.Statement{Status: openvex.StatusNotAffected, Justification: openvex.ComponentNotPresent, ImpactStatement: impact})
		}
	}
	slices.SortFunc(doc.Statements, compareStatements)
	doc.Statements = slices.CompactFunc(doc.Statements, func(a, b openvex.Statement) bool { return compareStatements(a, b) == 0 })
	for i := range doc.Statements {
		if err := doc.Statements[i].Validate(); err != nil {
			return nil, fmt.Errorf("write VEX document: %w", err)
		}
	}
	// The library's own identifier depends on the order of maps.
	dt, err := json.Marshal(&doc)
	if err != nil {
		return nil, fmt.Errorf("encode VEX document: %w", err)
	}
	doc.ID = idPrefix + digest.FromBytes(dt).Encoded()
	var b bytes.Buffer
	if err := doc.ToJSON(&b); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// Artifact is the document of a report as a document of evidence. Arch becomes part
// of its name.
func Artifact(r Report, arch string) (artifact.Artifact, error) {
	dt, err := Write(r)
	if err != nil {
		return artifact.Artifact{}, err
	}
	return artifact.Artifact{
		Kind: artifact.VEX, Name: fmt.Sprintf("vex-%s-%s.openvex.json", r.Name, arch), MediaType: artifact.TypeJSON,
		PredicateType: PredicateType, Platform: r.Platform, Data: dt,
	}, nil
}

func compareStatements(a, b openvex.Statement) int {
	return cmp.Or(
		cmp.Compare(a.Vulnerability.Name, b.Vulnerability.Name),
		cmp.Compare(a.Products[0].Subcomponents[0].ID, b.Products[0].Subcomponents[0].ID),
		cmp.Compare(a.Status, b.Status),
	)
}

// component names the image as the specification's examples do: a package URL of
// type oci, and the digest.
func (r *Report) component() (openvex.Component, error) {
	q := map[string]string{}
	base := r.Name
	if r.Reference != "" {
		repo, _, _, ok := splitReference(r.Reference)
		if !ok {
			return openvex.Component{}, fmt.Errorf("write VEX document: %q is no registry reference", r.Reference)
		}
		base, q["repository_url"] = path.Base(repo), repo
	}
	if _, arch, ok := strings.Cut(r.Platform, "/"); ok {
		q["arch"] = arch
	}
	purl := packageurl.NewPackageURL("oci", "", strings.ToLower(base), string(r.Digest), packageurl.QualifiersFromMap(q), "").String()
	return openvex.Component{
		ID:          purl,
		Identifiers: map[openvex.IdentifierType]string{openvex.PURL: purl},
		Hashes:      map[openvex.Algorithm]openvex.Hash{openvex.SHA256: openvex.Hash(r.Digest.Encoded())},
	}, nil
}
