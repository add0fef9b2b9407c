package verify

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	digest "github.com/opencontainers/go-digest"

	"github.com/temper-images/temper/client/finding"
	"github.com/temper-images/temper/client/gate"
	"github.com/temper-images/temper/client/inspect"
	"github.com/temper-images/temper/client/provenance"
	"github.com/temper-images/temper/client/referrer"
	"github.com/temper-images/temper/client/registry"
	"github.com/temper-images/temper/client/signing"
	"github.com/temper-images/temper/client/vex"
	"github.com/temper-images/temper/hardening/spec"
)

// PredicateTestResult is the predicate type of test results
// (in-toto/attestation, spec/predicates/test-result.md).
const PredicateTestResult = "https://in-toto.io/attestation/test-result/v0.1"

// predicates are the types of predicates and what they say. A type with a further
// path behind it, as "https://openvex.dev/ns/v0.2.0", is one too.
var predicates = []struct {
	prefix string
	kind   Kind
}{
	{referrer.SignPredicate, Signature},
	{"https://slsa.dev/provenance", Provenance},
	{predicateCycloneDX, SBOM},
	{predicateSPDX, SBOM},
	{provenance.Types["vuln"], Scan},
	{gate.PredicateType, Gate},
	{spec.PredicateType, Hardening},
	{inspect.PredicateType, Inspection},
	{vex.PredicateType, VEX},
	{PredicateTestResult, Test},
}

func kindOf(predicateType string) Kind {
	for _, p := range predicates {
		if predicateType == p.prefix || strings.HasPrefix(predicateType, p.prefix+"/") {
			return p.kind
		}
	}
	return ""
}

// said is something that was said of a subject by one whose signatures count.
type said struct {
	entry  *referrer.Entry
	signer string
	// predicateType, predicate and statement are of a statement, and empty of an
	// image's signature in the older form.
	predicateType        string
	predicate, statement []byte
}

// examination is the work on one subject.
type examination struct {
	*Options
	target
	// said are by kind; others are by kind what nobody whose signatures count said,
	// and why not. Their kinds are what they claim to be.
	said   map[Kind][]said
	others map[Kind][]error
	broken []referrer.Broken
	out    Subject
}

// subject verifies what stands beside one manifest.
func (o *Options) subject(ctx context.Context, src referrer.Source, t target) (Subject, []Attestation, error) {
	x := &examination{
		Options: o, target: t, said: map[Kind][]said{}, others: map[Kind][]error{},
		out: Subject{Digest: t.desc.Digest, MediaType: t.desc.MediaType, Platform: t.platform},
	}
	if t.absent {
		x.out.Checks = []Check{{Kind: Signature, Verdict: Fail, Reason: NotMet, Detail: "the index lists the image, and the registry does not have it"}}
		return x.out, nil, nil
	}
	found, err := referrer.Read(ctx, src, t.desc.Digest)
	if err != nil {
		return x.out, nil, err
	}
	x.broken = found.Broken
	counted := []Attestation{}
	for i := range found.Entries {
		e := &found.Entries[i]
		s, err := x.verify(ctx, e)
		if ctx.Err() != nil {
			return x.out, nil, context.Cause(ctx)
		}
		if err != nil {
			kind := kindOf(e.PredicateType)
			x.others[kind] = append(x.others[kind], err)
			continue
		}
		kind := kindOf(s.predicateType)
		x.said[kind] = append(x.said[kind], *s)
		if a, ok := s.attestation(t.desc.Digest); ok {
			counted = append(counted, a)
		}
	}
	x.judge()
	return x.out, counted, nil
}

// verify verifies an entry with any of the signers. The error is the one that says
// most.
func (x *examination) verify(ctx context.Context, e *referrer.Entry) (*said, error) {
	var worst error
	for _, v := range x.Signers {
		result, err := e.Verify(ctx, v, x.desc.Digest)
		if err == nil {
			return readSaid(e, result, x.desc.Digest)
		}
		if worst == nil || rank(err) > rank(worst) {
			worst = err
		}
	}
	if about := elsewhere(e, x.desc.Digest); about != "" && errors.Is(worst, signing.ErrTampered) {
		return nil, fmt.Errorf("%w: it is about another image, %s", signing.ErrTampered, about)
	}
	return nil, worst
}

// rank orders errors of a verification by how near it came.
func rank(err error) int {
	for i, is := range []error{signing.ErrNotSigned, signing.ErrWrongSigner, signing.ErrTampered, signing.ErrNotInLog} {
		if errors.Is(err, is) {
			return i + 1
		}
	}
	return 0
}

// telling orders errors about several things by how much they say.
func telling(err error) int {
	for i, is := range []error{signing.ErrNotInLog, signing.ErrWrongSigner} {
		if errors.Is(err, is) {
			return i
		}
	}
	return 2
}

// readSaid reads a statement whose signature was verified.
func readSaid(e *referrer.Entry, result *signing.Result, subject digest.Digest) (*said, error) {
	s := &said{entry: e, signer: result.Signer, predicateType: e.PredicateType}
	if len(result.Statement) == 0 {
		if len(e.Payload) == 0 {
			return nil, fmt.Errorf("%w: it signs neither a statement nor an image", signing.ErrNotSigned)
		}
		// The signature of an image in the older form is none of a statement,
		// whatever it calls itself.
		s.predicateType = referrer.SignPredicate
		return s, nil
	}
	st, err := parseStatement(result.Statement)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", signing.ErrNotSigned, err)
	}
	if !st.isAbout(subject) {
		return nil, fmt.Errorf("%w: it is a statement about another image", signing.ErrTampered)
	}
	// What the signed statement calls itself counts, not what its place in the
	// registry does.
	s.predicateType, s.predicate, s.statement = st.PredicateType, st.Predicate, result.Statement
	return s, nil
}

// attestation names what was counted, in the place where it was found first.
func (s *said) attestation(subject digest.Digest) (Attestation, bool) {
	if len(s.entry.Places) == 0 {
		return Attestation{}, false
	}
	at := s.entry.Places[0]
	return Attestation{
		PredicateType: s.predicateType, Subject: subject, Digest: at.Blob.Digest, Manifest: at.Manifest.Digest, Signer: s.signer,
	}, true
}

// statement is an in-toto statement, as far as it is needed here.
type statement struct {
	Type    string `json:"_type"`
	Subject []struct {
		Digest map[string]string `json:"digest"`
	} `json:"subject"`
	PredicateType string          `json:"predicateType"`
	Predicate     json.RawMessage `json:"predicate"`
}

// parseStatement reads an in-toto statement, of version 0.1 or 1
// (in-toto/attestation, spec/v1/statement.md).
func parseStatement(dt []byte) (*statement, error) {
	var s statement
	if err := json.Unmarshal(dt, &s); err != nil {
		return nil, fmt.Errorf("it is no in-toto statement: %w", err)
	}
	switch s.Type {
	case "https://in-toto.io/Statement/v1", "https://in-toto.io/Statement/v0.1":
	default:
		return nil, fmt.Errorf("it is no in-toto statement: its type is %.80q", s.Type)
	}
	if s.PredicateType == "" || len(s.Subject) == 0 {
		return nil, errors.New("it is no in-toto statement: it has no subject or no type of a predicate")
	}
	return &s, nil
}

func (s *statement) isAbout(d digest.Digest) bool {
	for _, subject := range s.Subject {
		if subject.Digest[d.Algorithm().String()] == d.Encoded() {
			return true
		}
	}
	return false
}

// elsewhere is the digest of the other image that an entry's statement is about, or
// empty. Nothing of it is verified.
func elsewhere(e *referrer.Entry, subject digest.Digest) string {
	var b struct {
		Envelope struct {
			Payload []byte `json:"payload"`
		} `json:"dsseEnvelope"`
	}
	payload := e.Payload
	if len(payload) > 0 {
		var simple struct {
			Critical struct {
				Image struct {
					Digest string `json:"docker-manifest-digest"`
				} `json:"image"`
			} `json:"critical"`
		}
		if json.Unmarshal(payload, &simple) != nil || simple.Critical.Image.Digest == subject.String() {
			return ""
		}
		return simple.Critical.Image.Digest
	}
	if json.Unmarshal(e.Bundle, &b) != nil {
		return ""
	}
	st, err := parseStatement(b.Envelope.Payload)
	if err != nil || st.isAbout(subject) {
		return ""
	}
	return subject.Algorithm().String() + ":" + st.Subject[0].Digest[subject.Algorithm().String()]
}

// judge makes the checks.
func (x *examination) judge() {
	required := x.Policy.Required()
	for _, k := range Kinds {
		must := slices.Contains(required, k)
		if x.platform == platformIndex && k != Signature {
			continue
		}
		if len(x.said[k]) == 0 {
			if must {
				x.out.Checks = append(x.out.Checks, x.lacking(k))
			}
			continue
		}
		c := x.check(k)
		if !must && c.Verdict == Fail {
			c.Verdict, c.Reason = Warn, ""
			c.Detail += " (not required)"
		}
		if n := len(x.others[k]); n > 0 {
			c.Detail += fmt.Sprintf("; %d more by others not counted", n)
		}
		c.Detail = clip(c.Detail)
		x.out.Checks = append(x.out.Checks, c)
	}
}

// lacking is the check of something that nobody said whose signatures count.
func (x *examination) lacking(k Kind) Check {
	c := Check{Kind: k, Verdict: Fail, Reason: NotMet, Detail: "there is none"}
	if k == Signature {
		c.Reason, c.Detail = Unsigned, "the image is not signed"
	}
	// The worst explanation is the right one: somebody put something there.
	errs := slices.DeleteFunc(slices.Clone(x.others[k]), func(err error) bool { return errors.Is(err, signing.ErrNotSigned) })
	for _, b := range x.broken {
		// What was deleted is not there; what is there and broken was changed.
		if claims(b) == k && !errors.Is(b.Err, registry.ErrNotFound) {
			errs = append(errs, fmt.Errorf("%w: %w", signing.ErrTampered, b.Err))
		}
	}
	if len(errs) == 0 {
		return c
	}
	// What names its signer says more than what only does not fit.
	first := slices.MinFunc(errs, func(a, b error) int { return cmp.Compare(telling(a), telling(b)) })
	// Without the proofs that a signer is asked for, nobody knows whose it is.
	c.Reason = WrongSigner
	c.Detail = first.Error()
	if n := len(errs); n > 1 {
		c.Detail = fmt.Sprintf("%d are there and none counts: %s", n, c.Detail)
	}
	c.Detail = clip(c.Detail)
	return c
}

// claims is the kind that something broken pretends to be.
func claims(b referrer.Broken) Kind {
	switch b.Place.Form {
	case referrer.FormSignature:
		return Signature
	case referrer.FormBundle:
		return kindOf(cmp.Or(b.Place.Manifest.Annotations["dev.sigstore.bundle.predicateType"], referrer.SignPredicate))
	}
	return kindOf(b.Place.Blob.Annotations["predicateType"])
}

// check judges what was said of one kind.
func (x *examination) check(k Kind) Check {
	c := Check{Kind: k, Verdict: Pass}
	for _, s := range x.said[k] {
		if !slices.Contains(c.Signers, s.signer) {
			c.Signers = append(c.Signers, s.signer)
		}
	}
	slices.Sort(c.Signers)
	var err error
	switch k {
	case Signature:
		c.Detail = "by " + strings.Join(c.Signers, ", ") + " (" + strings.Join(x.forms(k), ", ") + ")"
	case Provenance:
		c.Detail, err = x.provenance()
	case SBOM:
		c.Detail, err = x.sboms()
	case Scan:
		c.Detail, err = x.scans()
	case Gate:
		c.Verdict, c.Detail, err = x.gate()
	case Hardening:
		c.Detail, err = x.hardening()
	case Inspection:
		c.Verdict, c.Detail, err = x.inspection()
	case VEX:
		c.Detail, err = x.vex()
	case Test:
		c.Verdict, c.Detail, err = x.tests()
	}
	if err != nil {
		c.Verdict, c.Reason, c.Detail = Fail, NotMet, err.Error()
	}
	return c
}

// forms are how the image's signatures stand in the registry.
func (x *examination) forms(k Kind) []string {
	names := map[referrer.Form]string{referrer.FormBundle: "bundle", referrer.FormSignature: "tag .sig", referrer.FormAttestation: "tag .att"}
	var out []string
	for _, s := range x.said[k] {
		for _, p := range s.entry.Places {
			if n := names[p.Form]; n != "" && !slices.Contains(out, n) {
				out = append(out, n)
			}
		}
	}
	slices.Sort(out)
	return out
}

// maxDetail bounds a line of detail, in bytes.
const maxDetail = 400

// clip makes a text of somebody else's fit for one line.
func clip(s string) string {
	s = finding.Plain(strings.Join(strings.Fields(s), " "))
	if len(s) <= maxDetail {
		return s
	}
	return string(bytes.ToValidUTF8([]byte(s[:maxDetail]), nil)) + "…"
}
