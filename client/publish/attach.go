package publish

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	digest "github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/temper-images/temper/client/referrer"
	"github.com/temper-images/temper/client/registry"
)

const (
	// rounds is how often what is missing is pushed, until it can be read: another
	// release may have written the same tag, and registries may need a while to list
	// what they took.
	rounds = 9
	// unlistedRounds is that for a manifest that is not there yet, when there is
	// another way.
	unlistedRounds = 4
	// shortest is the pause after the first round. It doubles with each.
	shortest = 50 * time.Millisecond
)

// unlistedError says that a registry takes referrers of a manifest that it does not
// have, and does not list them.
type unlistedError struct{ err error }

func (e *unlistedError) Error() string { return e.err.Error() }
func (e *unlistedError) Unwrap() error { return e.err }

// complete pushes what is missing beside a manifest, until everything is read back
// with good signatures.
func (p *publication) complete(ctx context.Context, s *subject) error {
	for round := 1; ; round++ {
		missing := p.missing(s)
		if len(missing) == 0 {
			return p.demand(ctx, s)
		}
		err := &ReadBackError{Repository: p.out.Repository, Manifest: s.Descriptor.Digest, Err: fmt.Errorf("not there: %s", strings.Join(missing, ", "))}
		switch {
		case round > unlistedRounds && p.out.ReferrersAPI && !s.present && p.r.Order != OrderSignatureFirst && p.onlyBundles(s):
			return &unlistedError{err}
		case round > rounds:
			return err
		case round > 1:
			if err := pause(ctx, round-1); err != nil {
				return err
			}
		}
		if err := p.attach(ctx, s); err != nil {
			return err
		}
		if err := p.read(ctx, s); err != nil {
			return err
		}
	}
}

// pause lets other releases write that write the same tag. It varies, so that two
// of them do not meet again.
func pause(ctx context.Context, round int) error {
	d := shortest << (round - 1)
	t := time.NewTimer(d/2 + rand.N(d)) //nolint:gosec // nobody gains by guessing it
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// missing names what was not read, or not with a good signature.
func (p *publication) missing(s *subject) []string {
	var list []string
	for _, i := range s.items {
		needs := i.needs(p.formats)
		if needs.Bundle {
			list = append(list, i.predicate()+" as a referrer")
		}
		if needs.Cosign {
			list = append(list, i.predicate()+" under Cosign's tag")
		}
	}
	return list
}

// onlyBundles says that everything but referrers was read.
func (p *publication) onlyBundles(s *subject) bool {
	for _, i := range s.items {
		if i.needs(p.formats).Cosign {
			return false
		}
	}
	return true
}

// demand asks the caller whether what was read is enough.
func (p *publication) demand(ctx context.Context, s *subject) error {
	if p.r.Verify == nil {
		return nil
	}
	if err := p.r.Verify(ctx, s.descriptor(), s.found); err != nil {
		return &ReadBackError{Repository: p.out.Repository, Manifest: s.Descriptor.Digest, Err: err}
	}
	return nil
}

// attach pushes what is missing in each form.
func (p *publication) attach(ctx context.Context, s *subject) error {
	s.wrote = true
	if err := p.attachTagged(ctx, s); err != nil {
		return err
	}
	manifests, err := p.manifests(s, referrer.Formats{Bundle: true})
	if err != nil || len(manifests) == 0 {
		return err
	}
	list := make([]ocispecs.Descriptor, 0, len(manifests))
	pushed := make([]bool, len(manifests))
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for n := range manifests {
		m := &manifests[n]
		list = append(list, m.Descriptor)
		if s.pushed[m.Descriptor.Digest] {
			continue
		}
		group.Go(func() error {
			err := p.pushReferrer(gctx, m)
			pushed[n] = err == nil
			return err
		})
	}
	err = group.Wait()
	for n := range manifests {
		if !pushed[n] {
			continue
		}
		if s.pushed == nil {
			s.pushed = map[digest.Digest]bool{}
		}
		s.pushed[manifests[n].Descriptor.Digest] = true
	}
	if err != nil {
		return err
	}
	if p.out.ReferrersAPI {
		return nil
	}
	return p.mergeIndex(ctx, s, list)
}

// manifests are those to push for what is missing in one form.
func (p *publication) manifests(s *subject, f referrer.Formats) ([]referrer.Manifest, error) {
	var list []referrer.Signed
	for _, i := range s.items {
		if needs := i.needs(p.formats); needs.Bundle && f.Bundle || needs.Cosign && f.Cosign {
			list = append(list, i.signed)
		}
	}
	if len(list) == 0 {
		return nil, nil
	}
	made, err := referrer.Manifests(s.descriptor(), list, s.found.Existing, p.r.Created, f)
	if err != nil {
		return nil, fmt.Errorf("manifests of what is signed about %s: %w", s.Descriptor.Digest, err)
	}
	return made, nil
}

// attachTagged adds what is missing to the images under Cosign's tags. What others
// have there stays.
func (p *publication) attachTagged(ctx context.Context, s *subject) error {
	if s.tagged {
		return nil
	}
	for range rounds {
		manifests, err := p.manifests(s, referrer.Formats{Cosign: true})
		if err != nil {
			return err
		}
		changed, err := p.replace(ctx, s, manifests)
		if err != nil {
			return err
		}
		if !changed {
			s.tagged = true
			return nil
		}
		if err := p.read(ctx, s); err != nil {
			return err
		}
	}
	return fmt.Errorf("write the signatures of %s@%s: the tag is written by others all the time; run the release again", p.out.Repository, s.Descriptor.Digest)
}

// replace writes tags that are as they were read. Changed says that one is not.
func (p *publication) replace(ctx context.Context, s *subject, manifests []referrer.Manifest) (changed bool, err error) {
	for n := range manifests {
		m := &manifests[n]
		s.wrote = true
		now, err := p.named(ctx, m.Tag)
		if err != nil {
			return false, err
		}
		switch now.String() {
		case m.Descriptor.Digest.String():
			continue // the answer was lost
		case s.tags[m.Tag]:
		default:
			return true, nil
		}
		if err := p.pushReferrer(ctx, m); err != nil {
			return false, p.immutable(m.Tag, err)
		}
		s.tags[m.Tag] = m.Descriptor.Digest.String()
	}
	return false, nil
}

// mergeIndex adds referrers to the index that stands in for the referrers API. It
// is written once for all of them.
func (p *publication) mergeIndex(ctx context.Context, s *subject, add []ocispecs.Descriptor) error {
	tag := referrer.FallbackTag(s.Descriptor.Digest)
	_, existing, err := p.repo.Manifest(ctx, tag)
	if err != nil && !errors.Is(err, registry.ErrNotFound) {
		return fmt.Errorf("read the index of referrers %s:%s: %w", p.out.Repository, tag, err)
	}
	data, changed, err := referrer.MergeIndex(existing, add)
	if err != nil {
		return fmt.Errorf("index of referrers %s:%s: %w", p.out.Repository, tag, err)
	}
	if !changed {
		return nil
	}
	err = p.note("index", tag+" "+digest.FromBytes(data).String(), func() error {
		return p.repo.PutManifest(ctx, tag, ocispecs.MediaTypeImageIndex, data)
	})
	if err != nil {
		return p.immutable(tag, fmt.Errorf("write the index of referrers %s:%s: %w", p.out.Repository, tag, err))
	}
	return nil
}

// immutable says what to do when a registry moves no tags, not even these.
func (p *publication) immutable(tag string, err error) error {
	if !registry.IsImmutableTag(err) {
		return err
	}
	return fmt.Errorf("%w. The registry lets no tag change, and signatures are added to the tag %s: except tags that begin with sha256- from that rule, or leave out Cosign's tags (push.formats: bundle)", err, tag)
}

// stillThere looks whether tags beside a manifest were written since they were read,
// and if so pushes again what got lost.
func (p *publication) stillThere(ctx context.Context, s *subject) error {
	if !s.wrote {
		return nil
	}
	for range rounds {
		changed := false
		for _, tag := range p.beside(s) {
			now, err := p.named(ctx, tag)
			if err != nil {
				return err
			}
			changed = changed || now.String() != s.tags[tag]
		}
		if !changed {
			return nil
		}
		if err := p.read(ctx, s); err != nil {
			return err
		}
		if err := p.complete(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// beside are the tags beside a manifest that this release writes.
func (p *publication) beside(s *subject) []string {
	d := s.Descriptor.Digest
	var list []string
	if p.formats.Cosign {
		list = append(list, referrer.SignatureTag(d), referrer.AttestationTag(d))
	}
	if p.formats.Bundle && !p.out.ReferrersAPI {
		list = append(list, referrer.FallbackTag(d))
	}
	return list
}
