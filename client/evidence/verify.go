package evidence

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	digest "github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/temper-images/temper/client/artifact"
)

// VerifyOptions say what verification asks for.
type VerifyOptions struct {
	// Verifier checks signatures and bundles. Without one, digests only are
	// checked, which shows damage but not forgery.
	Verifier Verifier
	// AllowUnsigned lets documents pass that have neither a signature nor a
	// bundle, when there is a Verifier.
	AllowUnsigned bool
}

// Problem is what is wrong with one object.
type Problem struct {
	// Path is the object's place in the store.
	Path string `json:"path"`
	// Text says what is wrong.
	Text string `json:"problem"`
}

func (p Problem) String() string { return p.Path + ": " + p.Text }

// Verification is what was found.
type Verification struct {
	Image Image `json:"image"`
	// Objects counts what was read: documents, signatures, bundles and the
	// documents of the index. Signatures counts the signatures and bundles that
	// were checked with a key, Attested the documents that provenance names.
	Objects    int `json:"objects"`
	Signatures int `json:"signatures"`
	Attested   int `json:"attested"`
	// Problems are sorted by path. Any makes the evidence worthless.
	Problems []Problem `json:"problems"`
	// Notes are worth knowing, sorted by path.
	Notes []Problem `json:"notes"`
}

// Err is a *VerificationError when there are problems.
func (v *Verification) Err() error {
	if len(v.Problems) == 0 {
		return nil
	}
	return &VerificationError{v.Image.Digest, v.Problems}
}

// Verify reads everything back that the store has about an image, and compares it
// with the index, with its signatures, and with what attestations say about it.
// What is wrong is in the Verification; errors are of the store, and
// *NotStoredError.
func (s *Store) Verify(ctx context.Context, d digest.Digest, o VerifyOptions) (*Verification, error) {
	records, err := s.records(ctx, d)
	if err != nil {
		return nil, err
	}
	if len(records) == 0 {
		return nil, &NotStoredError{s.URL(), string(d)}
	}
	index := merge(records)
	v := &verifier{store: s, opts: o, index: index}
	v.result = Verification{Image: index.Image, Problems: []Problem{}, Notes: []Problem{}}
	v.result.Image.Digest = d
	v.records(records)
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(s.opts.Concurrency)
	for _, e := range index.Documents {
		g.Go(func() error { return v.document(gctx, e) })
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	v.attested()
	if err := v.leftovers(ctx); err != nil {
		return nil, err
	}
	for _, list := range []*[]Problem{&v.result.Problems, &v.result.Notes} {
		slices.SortFunc(*list, func(a, b Problem) int { return strings.Compare(a.String(), b.String()) })
		*list = slices.Compact(*list)
	}
	return &v.result, nil
}

type verifier struct {
	store *Store
	opts  VerifyOptions
	index *Index

	mu         sync.Mutex
	result     Verification
	statements []attestation
}

func (v *verifier) problem(path, format string, args ...any) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.result.Problems = append(v.result.Problems, Problem{path, fmt.Sprintf(format, args...)})
}

func (v *verifier) note(path, format string, args ...any) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.result.Notes = append(v.result.Notes, Problem{path, fmt.Sprintf(format, args...)})
}

// records looks for changed and for missing documents of the index: writers number
// them without gaps.
func (v *verifier) records(records []readRecord) {
	last := 0
	for _, r := range records {
		v.result.Objects++
		if r.err != nil {
			v.problem(r.path, "%v", errors.Unwrap(r.err))
		}
		if r.sequence > last+1 {
			v.problem(recordsDir(v.result.Image.Digest), "an index document with number %04d is missing", last+1)
		}
		last = max(last, r.sequence)
	}
}

// read reads an object back. It returns nil when that showed a problem.
func (v *verifier) read(ctx context.Context, o *Object) ([]byte, error) {
	if o == nil {
		return nil, nil
	}
	data, err := v.store.Get(ctx, *o)
	var e *Error
	if errors.As(err, &e) && e.Reason == Damaged {
		v.problem(o.Path, "%v", e.Err)
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.result.Objects++
	return data, nil
}

func (v *verifier) document(ctx context.Context, e Entry) error {
	data, err := v.read(ctx, &e.Object)
	if err != nil {
		return err
	}
	signature, err := v.read(ctx, e.Signature)
	if err != nil {
		return err
	}
	bundle, err := v.read(ctx, e.Bundle)
	if err != nil || data == nil {
		return err
	}
	if err := v.signatures(ctx, e, data, signature, bundle); err != nil {
		return err
	}
	if err := v.envelope(ctx, e, data); err != nil {
		return err
	}
	if e.Kind != artifact.Attestation {
		return nil
	}
	st, err := parseStatement(data)
	switch {
	case errors.Is(err, errNoStatement) && e.MediaType != artifact.TypeInToto:
		v.note(e.Path, "it is no in-toto statement, so that it was not compared with anything")
		return nil
	case err != nil:
		v.problem(e.Path, "%v", err)
		return nil
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.statements = append(v.statements, attestation{e, *st})
	return nil
}

func (v *verifier) signatures(ctx context.Context, e Entry, data, signature, bundle []byte) error {
	if v.opts.Verifier == nil {
		return nil
	}
	if e.Signature == nil && e.Bundle == nil && e.Envelope == nil && !v.opts.AllowUnsigned {
		v.problem(e.Path, "it is not signed")
	}
	if signature == nil && bundle == nil {
		return nil // read has said why
	}
	err := v.opts.Verifier.Verify(ctx, data, signature, bundle)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		wrong := e.Signature
		// With both it is the signature that is wrong when the bundle alone is right.
		if bundle != nil && (signature == nil || v.opts.Verifier.Verify(ctx, data, nil, bundle) != nil) {
			wrong = e.Bundle
		}
		v.problem(wrong.Path, "it does not verify %s: %v", e.Name, err)
		return nil
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, s := range [][]byte{signature, bundle} {
		if s != nil {
			v.result.Signatures++
		}
	}
	return nil
}

// envelope checks the bundle that holds a statement itself.
func (v *verifier) envelope(ctx context.Context, e Entry, data []byte) error {
	bundle, err := v.read(ctx, e.Envelope)
	if err != nil || bundle == nil || v.opts.Verifier == nil {
		return err
	}
	err = v.opts.Verifier.VerifyEnvelope(ctx, data, bundle)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		v.problem(e.Envelope.Path, "it does not verify %s: %v", e.Name, err)
		return nil
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.result.Signatures++
	return nil
}

// attested compares attestations with the image and with the other documents.
func (v *verifier) attested() {
	stored := map[string]bool{}
	byName := map[string]Entry{}
	for _, e := range v.index.Documents {
		byName[e.Name] = e
		for _, o := range e.objects() {
			stored[o.Digest.Encoded()] = true
		}
	}
	named := map[string]bool{}
	provenance := false
	for _, a := range v.statements {
		if !a.statement.isAbout(v.result.Image.Digest, v.index.Image.Index) {
			v.problem(a.entry.Path, "it is about another image: none of its subjects has digest %s", v.result.Image.Digest)
		}
		provenance = provenance || len(a.statement.byproducts()) > 0
		for _, b := range a.statement.byproducts() {
			sum := b.Digest["sha256"]
			switch e, ok := byName[b.fileName()]; {
			case sum == "":
				v.problem(a.entry.Path, "its byproduct %q has no sha256 digest", b.label())
			case stored[sum]:
				named[sum] = true
			case ok:
				v.problem(e.Path, "%s says that its digest is sha256:%s, but it is %s", a.entry.Name, sum, e.Digest)
			default:
				v.problem(a.entry.Path, "its byproduct %q with digest sha256:%s is not stored", b.label(), sum)
			}
		}
	}
	v.result.Attested = len(named)
	if !provenance {
		return
	}
	for _, e := range v.index.Documents {
		if e.Kind != artifact.Attestation && !named[e.Digest.Encoded()] {
			v.note(e.Path, "no provenance names it: it was made after the build, or elsewhere")
		}
	}
}

// leftovers looks for objects about the image that no index names.
func (v *verifier) leftovers(ctx context.Context) error {
	indexed := map[string]bool{}
	for _, e := range v.index.Documents {
		for _, o := range e.objects() {
			indexed[o.Path] = true
		}
	}
	for _, kind := range artifact.Kinds() {
		dir := strings.TrimSuffix(documentPath(v.result.Image, kind, "x"), "x")
		paths, err := v.store.objects.list(ctx, dir)
		if err != nil {
			return err
		}
		for _, p := range paths {
			if !indexed[p] {
				v.note(p, "no index names it: a run was broken off, or somebody put it there")
			}
		}
	}
	return nil
}
