package provenance

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	slsa "github.com/in-toto/attestation/go/predicates/provenance/v1"
	intoto "github.com/in-toto/attestation/go/v1"
	digest "github.com/opencontainers/go-digest"
	"google.golang.org/protobuf/encoding/protojson"
)

// maxDocument is the largest statement or provenance that is read, in bytes.
const maxDocument = 40 << 20

// Statement is an in-toto statement that was read. Its meaning is checked; who
// signed it is not.
type Statement struct {
	Subjects      []*intoto.ResourceDescriptor
	PredicateType string
	// Provenance is set for PredicateType SLSA Provenance v1.
	Provenance *slsa.Provenance
}

// InvalidError says which rule a statement breaks.
type InvalidError struct{ Err error }

func (e *InvalidError) Error() string { return fmt.Sprintf("provenance: %v", e.Err) }
func (e *InvalidError) Unwrap() error { return e.Err }

// MismatchError says that something is not what a statement names.
type MismatchError struct {
	Name string
	// Want is what the statement says, Got what there is.
	Want, Got digest.Digest
}

func (e *MismatchError) Error() string {
	return fmt.Sprintf("%s: its digest is %s, the provenance names %s: it was changed after it was attested, or belongs to something else", e.Name, e.Got, e.Want)
}

// Validate checks a statement of provenance as Temper writes it: an in-toto
// Statement v1 with SLSA Provenance v1 and nothing that these do not have
// (slsa.dev/spec/v1.1/provenance). Errors are an *InvalidError.
func Validate(data []byte) error {
	_, err := read(data, false)
	return err
}

// Read reads a statement by anybody: fields that are not known are passed over,
// and a predicate other than SLSA Provenance v1 is not looked into. Errors are an
// *InvalidError.
func Read(data []byte) (*Statement, error) { return read(data, true) }

func read(data []byte, lenient bool) (*Statement, error) {
	s, err := parse(data, lenient)
	if err != nil {
		return nil, &InvalidError{Err: err}
	}
	return s, nil
}

func parse(data []byte, lenient bool) (*Statement, error) {
	if len(data) > maxDocument {
		return nil, fmt.Errorf("the statement has %d bytes, more than %d", len(data), maxDocument)
	}
	var raw struct {
		Predicate json.RawMessage `json:"predicate"`
	}
	st := &intoto.Statement{}
	if err := (protojson.UnmarshalOptions{DiscardUnknown: lenient}).Unmarshal(data, st); err != nil {
		return nil, fmt.Errorf("it is not an in-toto statement: %w", err)
	}
	if err := json.Unmarshal(data, &raw); err != nil {
		return nil, fmt.Errorf("it is not an in-toto statement: %w", err)
	}
	if st.Type != intoto.StatementTypeUri && (!lenient || st.Type != "https://in-toto.io/Statement/v0.1") {
		return nil, fmt.Errorf("_type is %q, not %q", st.Type, intoto.StatementTypeUri)
	}
	if err := st.Validate(); err != nil {
		return nil, fmt.Errorf("statement: %w", err)
	}
	for _, s := range st.Subject {
		if err := checkDigests(s.Digest); err != nil {
			return nil, fmt.Errorf("subject %q: %w", s.Name, err)
		}
		if !hasStrong(s.Digest) {
			return nil, fmt.Errorf("subject %q has no SHA-2 digest", s.Name)
		}
	}
	out := &Statement{Subjects: st.Subject, PredicateType: st.PredicateType}
	if st.PredicateType != PredicateType {
		if !lenient {
			return nil, fmt.Errorf("predicateType is %q, not %q", st.PredicateType, PredicateType)
		}
		return out, nil
	}
	p := &slsa.Provenance{}
	if err := (protojson.UnmarshalOptions{DiscardUnknown: lenient}).Unmarshal(raw.Predicate, p); err != nil {
		return nil, fmt.Errorf("predicate: it is not SLSA provenance: %w", err)
	}
	if err := checkProvenance(p); err != nil {
		return nil, fmt.Errorf("predicate: %w", err)
	}
	out.Provenance = p
	return out, nil
}

// checkProvenance checks what SLSA asks for beyond the form.
func checkProvenance(p *slsa.Provenance) error {
	if err := p.Validate(); err != nil {
		return err
	}
	def, run := p.GetBuildDefinition(), p.GetRunDetails()
	if err := checkURI("buildType", def.GetBuildType()); err != nil {
		return err
	}
	if err := checkURI("builder.id", run.GetBuilder().GetId()); err != nil {
		return err
	}
	for _, l := range []struct {
		where string
		list  []*intoto.ResourceDescriptor
	}{
		{"resolvedDependencies", def.GetResolvedDependencies()},
		{"builderDependencies", run.GetBuilder().GetBuilderDependencies()},
		{"byproducts", run.GetByproducts()},
	} {
		for i, rd := range l.list {
			if rd.GetUri() == "" && len(rd.GetDigest()) == 0 && len(rd.GetContent()) == 0 {
				return fmt.Errorf("%s[%d] has no URI, no digest and no content", l.where, i)
			}
			if err := checkDigests(rd.GetDigest()); err != nil {
				return fmt.Errorf("%s[%d]: %w", l.where, i, err)
			}
		}
	}
	for i, rd := range run.GetByproducts() {
		if !hasStrong(rd.GetDigest()) {
			return fmt.Errorf("byproducts[%d] (%s) has no SHA-2 digest", i, rd.GetName())
		}
	}
	started, finished := run.GetMetadata().GetStartedOn(), run.GetMetadata().GetFinishedOn()
	if started != nil && finished != nil && finished.AsTime().Before(started.AsTime()) {
		return fmt.Errorf("finishedOn %s is before startedOn %s", finished.AsTime(), started.AsTime())
	}
	return nil
}

// checkURI checks a TypeURI (in-toto attestation framework v1, field types).
func checkURI(field, value string) error {
	u, err := url.Parse(value)
	if err != nil || u.Scheme == "" || u.Host == "" && u.Opaque == "" {
		return fmt.Errorf("%s %.200q is not a URI", field, value)
	}
	return nil
}

func hasStrong(set map[string]string) bool {
	return slices.ContainsFunc([]string{"sha256", "sha384", "sha512"}, func(alg string) bool { return set[alg] != "" })
}

// IsAbout says whether the statement is about the image with that digest.
func (s *Statement) IsAbout(d digest.Digest) bool {
	alg, hex, _ := strings.Cut(string(d), ":")
	return hex != "" && slices.ContainsFunc(s.Subjects, func(rd *intoto.ResourceDescriptor) bool { return rd.GetDigest()[alg] == hex })
}

// Byproducts are the names and digests of the documents of evidence that the
// provenance names, in its order.
func (s *Statement) Byproducts() []Byproduct {
	var out []Byproduct
	for _, rd := range s.Provenance.GetRunDetails().GetByproducts() {
		b := Byproduct{
			Name: rd.GetName(), MediaType: rd.GetMediaType(), Location: rd.GetDownloadLocation(),
			PredicateType: rd.GetAnnotations().GetFields()["predicateType"].GetStringValue(),
		}
		for _, alg := range []digest.Algorithm{digest.SHA256, digest.SHA384, digest.SHA512} {
			if hex := rd.GetDigest()[string(alg)]; hex != "" {
				b.Digest = digest.NewDigestFromEncoded(alg, hex)
				break
			}
		}
		out = append(out, b)
	}
	return out
}

// ErrNotNamed says that a statement names no such document.
var ErrNotNamed = errors.New("the provenance does not name it")

// CheckByproduct checks that data is the document that the provenance names so. It
// gives a *MismatchError, or an error that wraps ErrNotNamed.
func (s *Statement) CheckByproduct(name string, data []byte) error {
	for _, b := range s.Byproducts() {
		if b.Name != name {
			continue
		}
		if got := b.Digest.Algorithm().FromBytes(data); got != b.Digest {
			return &MismatchError{Name: name, Want: b.Digest, Got: got}
		}
		return nil
	}
	return fmt.Errorf("%s: %w", name, ErrNotNamed)
}
