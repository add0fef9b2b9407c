package publish

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	digest "github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/temper-images/temper/client/journal"
	"github.com/temper-images/temper/client/referrer"
	"github.com/temper-images/temper/client/signing"
)

// item is one thing that is to stand beside a manifest: its signature, or an
// attestation.
type item struct {
	// statement is what an attestation says. It is nil for the signature.
	statement []byte
	// signed is what is pushed. It is empty as long as nobody signed.
	signed referrer.Signed
	// bundle and older say in which forms it was read, with a good signature.
	bundle, older bool
	// noOlder says that there is no older form of it.
	noOlder bool
}

func (i *item) predicate() string {
	if i.statement == nil {
		return referrer.SignPredicate
	}
	return i.signed.PredicateType
}

// needs says in which forms it is missing.
func (i *item) needs(f referrer.Formats) referrer.Formats {
	return referrer.Formats{Bundle: f.Bundle && !i.bundle, Cosign: f.Cosign && !i.older && !i.noOlder}
}

// expect lists what is to stand beside a manifest. What is given as signed has to be
// so: nobody pushes what nobody could verify.
func (p *publication) expect(ctx context.Context, s *subject) error {
	d := s.Descriptor.Digest
	s.items = []*item{{}}
	list := p.r.Attachments[d]
	results := make([]*signing.Result, len(list))
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for n, given := range list {
		group.Go(func() (err error) {
			if results[n], err = p.verify(gctx, given.Bundle, d); err != nil {
				return &RequestError{fmt.Errorf("attestation %s about %s: %w", given.PredicateType, d, err)}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for n, given := range list {
		statement := results[n].Statement
		same := func(i *item) bool { return i.statement != nil && bytes.Equal(i.statement, statement) }
		if !slices.ContainsFunc(s.items, same) {
			s.items = append(s.items, &item{statement: statement, signed: given})
		}
	}
	return nil
}

// verify verifies a bundle around a statement about subject. A signature that was good
// is good for the same bytes: to look into megabytes of JSON takes longer than to read
// them back, and a statement may be about several manifests.
func (p *publication) verify(ctx context.Context, bundle []byte, subject digest.Digest) (*signing.Result, error) {
	key := digest.FromBytes(bundle)
	var first *signing.Result
	good, err, _ := p.flights.Do("verify "+key.String(), func() (any, error) {
		if good, ok := p.verified.Load(key); ok {
			return good, nil
		}
		var err error
		if first, err = p.r.Verifier.VerifyStatement(ctx, bundle, subject); err != nil {
			return nil, err
		}
		good := &verified{Result: first, about: subjectsOf(first.Statement)}
		p.verified.Store(key, good)
		return good, nil
	})
	if first != nil {
		return first, err
	}
	if v, ok := good.(*verified); err == nil && ok && v.about[subject] {
		return v.Result, nil
	}
	// It was another manifest that it is not about.
	return p.r.Verifier.VerifyStatement(ctx, bundle, subject)
}

// verified is a bundle that was verified, and what its statement is about.
type verified struct {
	*signing.Result
	about map[digest.Digest]bool
}

// subjectsOf are the subjects of an in-toto statement.
func subjectsOf(statement []byte) map[digest.Digest]bool {
	var s struct {
		Subject []struct {
			Digest map[string]string `json:"digest"`
		} `json:"subject"`
	}
	about := map[digest.Digest]bool{}
	if json.Unmarshal(statement, &s) != nil {
		return about
	}
	for _, of := range s.Subject {
		for algorithm, encoded := range of.Digest {
			about[digest.NewDigestFromEncoded(digest.Algorithm(algorithm), encoded)] = true
		}
	}
	return about
}

// verifyEntry verifies what stands beside a manifest.
func (p *publication) verifyEntry(ctx context.Context, e *referrer.Entry, subject digest.Digest) (*signing.Result, error) {
	if e.Payload != nil {
		return e.Verify(ctx, p.r.Verifier, subject)
	}
	return p.verify(ctx, e.Bundle, subject)
}

// read reads what stands beside a manifest, as anybody would, and finds in it what
// is to be there.
func (p *publication) read(ctx context.Context, s *subject) error {
	d := s.Descriptor.Digest
	index := ""
	if p.formats.Bundle && !p.out.ReferrersAPI {
		named, err := p.named(ctx, referrer.FallbackTag(d))
		if err != nil {
			return err
		}
		index = named.String()
	}
	found, err := referrer.Read(ctx, p.repo, d)
	if err != nil {
		return err
	}
	results := make([]*signing.Result, len(found.Entries))
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for n := range found.Entries {
		group.Go(func() (err error) {
			if results[n], err = p.verifyEntry(gctx, &found.Entries[n], d); err != nil && ctx.Err() != nil {
				return err
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	seen := make([]item, len(s.items))
	for n, result := range results {
		e := &found.Entries[n]
		if result == nil {
			continue // signed by somebody else, or not at all
		}
		for k, i := range s.items {
			if i.predicate() == e.PredicateType && (i.statement == nil || bytes.Equal(i.statement, result.Statement)) {
				seen[k].see(e)
			}
		}
	}
	// Only what was read as a whole counts.
	s.found, s.tagged = found, false
	s.tags = map[string]string{
		referrer.FallbackTag(d):    index,
		referrer.SignatureTag(d):   found.Existing.Signatures.Digest.String(),
		referrer.AttestationTag(d): found.Existing.Attestations.Digest.String(),
	}
	for k, i := range s.items {
		i.bundle, i.older = seen[k].bundle, seen[k].older
		i.noOlder = i.noOlder || seen[k].noOlder
		if i.statement != nil && i.bundle {
			// The older form is the same envelope.
			i.signed.Bundle = seen[k].signed.Bundle
		}
	}
	return nil
}

// see notes in which forms an item was found.
func (i *item) see(e *referrer.Entry) {
	for _, place := range e.Places {
		if place.Form != referrer.FormBundle {
			i.older = true
			continue
		}
		i.bundle, i.signed.Bundle = true, e.Bundle
		// Both forms tell of the same proofs.
		i.noOlder = errors.Is(referrer.Signed{Bundle: e.Bundle}.OlderForm(), referrer.ErrNoOlderForm)
	}
}

// sign gets what is missing signed: what an earlier run signed and did not push
// comes out of the journal.
func (p *publication) sign(ctx context.Context, s *subject) error {
	var kept []journal.File
	for _, i := range s.items {
		if i.needs(p.formats) == (referrer.Formats{}) {
			p.count(func(out *Published) { out.Reused++ })
			continue
		}
		p.count(func(out *Published) { out.Signed++ })
		file, err := p.signItem(ctx, s, i)
		if err != nil {
			return err
		}
		if file != nil {
			kept = append(kept, *file)
		}
		if err := i.signed.OlderForm(); errors.Is(err, referrer.ErrNoOlderForm) {
			if i.noOlder = true; p.formats.Cosign {
				p.say("%s about %s has no form for Cosign's tags: %v", i.predicate(), s.Descriptor.Digest, err)
			}
		} else if err != nil {
			return fmt.Errorf("%s about %s: %w", i.predicate(), s.Descriptor.Digest, err)
		}
	}
	// Nothing is pushed before the journal has it: the next run then pushes the same.
	if p.r.Journal == nil {
		return nil
	}
	return p.r.Journal.PutAll(kept...)
}

// signItem returns what the journal is to keep.
func (p *publication) signItem(ctx context.Context, s *subject, i *item) (*journal.File, error) {
	d := s.Descriptor.Digest
	name := "signed " + p.out.Repository + " " + d.String()
	if i.statement != nil {
		name = "attested " + d.String() + " " + i.predicate() + " " + digest.FromBytes(i.statement).String()
	}
	if p.journalled(ctx, name, s, i) {
		return nil, nil
	}
	if i.statement == nil {
		made, err := p.r.Sign(ctx, p.out.Repository, s.descriptor())
		if err != nil {
			return nil, fmt.Errorf("sign %s@%s: %w", p.out.Repository, d, err)
		}
		i.signed = made
		if err := p.good(ctx, s, i, made); err != nil {
			return nil, fmt.Errorf("sign %s@%s: what was signed is not what the verifier accepts: %w", p.out.Repository, d, err)
		}
	}
	data, err := json.Marshal(i.signed)
	if err != nil {
		return nil, err
	}
	return &journal.File{Name: name, Data: data}, nil
}

// journalled takes from the journal what an earlier run signed, if it is good.
func (p *publication) journalled(ctx context.Context, name string, s *subject, i *item) bool {
	if p.r.Journal == nil {
		return false
	}
	data, err := p.r.Journal.Get(name)
	if err != nil {
		return false
	}
	var kept referrer.Signed
	if err := json.Unmarshal(data, &kept); err != nil || p.good(ctx, s, i, kept) != nil {
		return false
	}
	i.signed = kept
	return true
}

// good says whether something signed is the item, with a signature that the verifier
// accepts in both forms.
func (p *publication) good(ctx context.Context, s *subject, i *item, signed referrer.Signed) error {
	if signed.PredicateType != i.predicate() {
		return fmt.Errorf("it is %q, and not %q", signed.PredicateType, i.predicate())
	}
	result, err := p.verify(ctx, signed.Bundle, s.Descriptor.Digest)
	if err != nil {
		return err
	}
	if i.statement != nil && !bytes.Equal(i.statement, result.Statement) {
		return errors.New("it is another statement")
	}
	if len(signed.Payload) > 0 {
		_, err = p.r.Verifier.Verify(ctx, signed.Payload, nil, signed.PayloadBundle)
	}
	return err
}
