// Package vex reads and writes statements on whether a vulnerability affects a
// product (Vulnerability Exploitability eXchange): OpenVEX v0.2.0, and v0.0.1 for
// reading, and CSAF 2.0 for reading.
//
// A statement names its product in one of many spellings: the image by its digest,
// by a package URL of type oci or docker, by its name in a registry; or the package
// in the image by its package URL. All of them apply here, whatever the scanner
// that found the vulnerability knows of the image.
package vex

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	digest "github.com/opencontainers/go-digest"

	"github.com/temper-images/temper/client/finding"
)

// PredicateType is the in-toto predicate type of OpenVEX documents; some tools put
// "/v0.2.0" behind it.
const PredicateType = "https://openvex.dev/ns"

// maxDocument bounds a document, in bytes.
const maxDocument = 32 << 20

// Document is a VEX document.
type Document struct {
	// Name is the file, or what else people know it by.
	Name string
	// Format is "openvex" or "csaf".
	Format string
	// ID and Author are the document's own.
	ID, Author string
	// Digest is the digest of the bytes that were read.
	Digest digest.Digest

	statements []statement
}

// statement is one statement, in the terms of OpenVEX.
type statement struct {
	id              string
	vulnerabilities []string
	products        []product
	status          string
	justification   string
	notes           string
	time            time.Time
}

// product is something that a statement is about, or a part of it.
type product struct {
	// names are identifiers of the product itself: package URLs, references,
	// digests. Any of them will do.
	names []string
	// parts are identifiers of components in it; each list has the names of one.
	parts [][]string
	// platform says that the product is only the ground that the parts stand on,
	// and is named in no way that tells one image from another.
	platform bool
}

// DocumentError says that a file is no VEX document that can be read.
type DocumentError struct {
	Name string
	Err  error
}

func (e *DocumentError) Error() string {
	return fmt.Sprintf("VEX document %s: %v", e.Name, e.Err)
}

func (e *DocumentError) Unwrap() error { return e.Err }

// ReadFile reads the document in a file.
func ReadFile(name string) (*Document, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, &DocumentError{Name: name, Err: err}
	}
	defer f.Close()
	dt, err := io.ReadAll(io.LimitReader(f, maxDocument+1))
	if err != nil {
		return nil, &DocumentError{Name: name, Err: err}
	}
	return Read(name, dt)
}

// Read reads a document: OpenVEX, CSAF, or an in-toto statement with an OpenVEX
// predicate, which is not checked for a signature. The errors are *DocumentError.
func Read(name string, dt []byte) (*Document, error) {
	d, err := read(dt)
	if err != nil {
		return nil, &DocumentError{Name: name, Err: err}
	}
	d.Name, d.Digest = name, digest.FromBytes(dt)
	return d, nil
}

func read(dt []byte) (*Document, error) {
	if len(dt) > maxDocument {
		return nil, fmt.Errorf("it is larger than %d bytes", maxDocument)
	}
	var kind struct {
		Context       json.RawMessage `json:"@context"`
		PredicateType string          `json:"predicateType"`
		Predicate     json.RawMessage `json:"predicate"`
		Document      *struct {
			CSAFVersion string `json:"csaf_version"`
		} `json:"document"`
	}
	if err := json.Unmarshal(bytes.TrimPrefix(dt, []byte("\uFEFF")), &kind); err != nil {
		return nil, fmt.Errorf("it is no JSON object: %w", err)
	}
	switch {
	case bytes.Contains(kind.Context, []byte(PredicateType)):
		return readOpenVEX(dt)
	case strings.HasPrefix(kind.PredicateType, PredicateType):
		return readOpenVEX(kind.Predicate)
	case kind.Document != nil && kind.Document.CSAFVersion != "":
		return readCSAF(dt)
	}
	return nil, errors.New("it is neither OpenVEX (no @context of " + PredicateType + ") nor CSAF (no document.csaf_version)")
}

// Len is the number of statements.
func (d *Document) Len() int { return len(d.statements) }

// caution orders statuses of the same time: what warns weighs more than what calms.
var caution = []string{finding.NotAffected, finding.Fixed, finding.UnderInvestigation, finding.Affected}

// Find returns what the documents say of a vulnerability in a package of an image.
// The newest statement counts; of two of the same time, the one that is more
// careful. It is nil when there is none.
func Find(documents []*Document, img Image, f *finding.Finding) *finding.Statement {
	var best *finding.Statement
	for _, d := range documents {
		for i := range d.statements {
			s := &d.statements[i]
			if !s.about(f) {
				continue
			}
			by, ok := s.appliesTo(img, f)
			if !ok {
				continue
			}
			if best == nil || newer(s, best) {
				best = d.record(i, by)
			}
		}
	}
	return best
}

func newer(s *statement, than *finding.Statement) bool {
	if c := s.time.Compare(than.Time); c != 0 {
		return c > 0
	}
	return slices.Index(caution, s.status) > slices.Index(caution, than.Status)
}

func (d *Document) record(i int, by string) *finding.Statement {
	s := &d.statements[i]
	id := s.id
	if id == "" {
		id = fmt.Sprintf("%s#%d", d.ID, i+1)
	}
	return &finding.Statement{
		Document: d.Name, Digest: d.Digest.String(), ID: id, Author: d.Author, Status: s.status,
		Justification: s.justification, Notes: s.notes, Time: s.time, Product: by,
	}
}

// about says that the statement is about the vulnerability, by any of its names.
// An identifier that is an address counts by its last element.
func (s *statement) about(f *finding.Finding) bool {
	for _, name := range f.Names() {
		for _, v := range s.vulnerabilities {
			if strings.EqualFold(name, v) || strings.EqualFold(name, v[strings.LastIndexByte(v, '/')+1:]) {
				return true
			}
		}
	}
	return false
}

// appliesTo says that the statement is about the package, the image, or the
// package in the image, and by which of its identifiers.
func (s *statement) appliesTo(img Image, f *finding.Finding) (string, bool) {
	for i := range s.products {
		p := &s.products[i]
		if by, ok := p.isImage(img); ok || p.platform {
			if len(p.parts) == 0 {
				if ok {
					return by, true
				}
				continue
			}
			for _, part := range p.parts {
				// Without the ground, only a version tells one release from another.
				if name, ok := isPackage(part, f.Package); ok && (!p.platform || strings.Contains(name, "@")) {
					return name, true
				}
			}
			continue
		}
		if by, ok := isPackage(p.names, f.Package); ok {
			return by, true
		}
	}
	return "", false
}

func (p *product) isImage(img Image) (string, bool) {
	for _, name := range p.names {
		if img.is(name) {
			return name, true
		}
	}
	return "", false
}
