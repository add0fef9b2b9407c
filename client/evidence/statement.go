package evidence

import (
	"errors"
	"fmt"
	"path"
	"strings"

	digest "github.com/opencontainers/go-digest"
)

// errNoStatement says that a document is no in-toto statement.
var errNoStatement = errors.New("it is no in-toto statement")

// Types of in-toto statements and predicates.
const (
	statementTypes = "https://in-toto.io/Statement/"
	slsaProvenance = "https://slsa.dev/provenance/v1"
)

// attestation is a statement with its place.
type attestation struct {
	entry     Entry
	statement statement
}

// statement is what is read of an in-toto Statement (v0.1 and v1): all that can be
// compared with the store. The predicate is read as far as it is SLSA provenance
// v1; other predicates have other fields of these names.
type statement struct {
	Type          string     `json:"_type"`
	PredicateType string     `json:"predicateType"`
	Subject       []resource `json:"subject"`
	Predicate     predicate  `json:"predicate"`
}

type predicate struct {
	RunDetails struct {
		Byproducts []resource `json:"byproducts"`
	} `json:"runDetails"`
}

// resource is an in-toto ResourceDescriptor.
type resource struct {
	Name             string            `json:"name"`
	URI              string            `json:"uri"`
	DownloadLocation string            `json:"downloadLocation"`
	Digest           map[string]string `json:"digest"`
}

func parseStatement(data []byte) (*statement, error) {
	// The type comes first: a predicate of a type that is not ours may have any
	// form.
	var head struct {
		Type          string     `json:"_type"`
		PredicateType string     `json:"predicateType"`
		Subject       []resource `json:"subject"`
	}
	if err := decode(data, &head); err != nil || !strings.HasPrefix(head.Type, statementTypes) {
		return nil, errNoStatement
	}
	st := &statement{Type: head.Type, PredicateType: head.PredicateType, Subject: head.Subject}
	if st.PredicateType != slsaProvenance {
		return st, nil
	}
	var body struct {
		Predicate predicate `json:"predicate"`
	}
	if err := decode(data, &body); err != nil {
		return nil, fmt.Errorf("its SLSA provenance cannot be read: %w", err)
	}
	st.Predicate = body.Predicate
	return st, nil
}

// isAbout says whether one of the digests is among the subjects.
func (s *statement) isAbout(digests ...digest.Digest) bool {
	for _, sub := range s.Subject {
		for _, d := range digests {
			if d != "" && sub.Digest[d.Algorithm().String()] == d.Encoded() {
				return true
			}
		}
	}
	return false
}

func (s *statement) byproducts() []resource { return s.Predicate.RunDetails.Byproducts }

// fileName is the name that the resource has as a document, or empty.
func (r resource) fileName() string {
	for _, s := range []string{r.Name, r.DownloadLocation, r.URI} {
		if s != "" {
			return path.Base(s)
		}
	}
	return ""
}

func (r resource) label() string {
	if r.Name != "" {
		return r.Name
	}
	return r.URI
}
