package referrer

import (
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"

	digest "github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/temper-images/temper/client/signing"
)

const (
	// maxPayload bounds a simple signing document, in bytes.
	maxPayload = 1 << 20
	// maxTotal bounds all that is read about one manifest, in bytes.
	maxTotal = 512 << 20
	// maxSigned bounds how many referrers may be signatures.
	maxSigned = 1000
	// parallel is how many manifests are read side by side.
	parallel = 8
)

// Read finds everything signed about a manifest, in all forms. That nothing is
// there is no error. An error of the source is returned wrapped: a listing that was
// refused is not an empty one. What is there and makes no sense is in Found.Broken.
func Read(ctx context.Context, src Source, subject digest.Digest) (*Found, error) {
	found, err := read(ctx, src, subject)
	if err != nil {
		return nil, fmt.Errorf("read what is signed about %s: %w", subject, err)
	}
	return found, nil
}

func read(ctx context.Context, src Source, subject digest.Digest) (*Found, error) {
	if err := subject.Validate(); err != nil {
		return nil, err
	}
	listed, err := src.Referrers(ctx, subject)
	if err != nil {
		return nil, err
	}
	if len(listed) > maxReferrers {
		return nil, fmt.Errorf("more than %d manifests refer to it", maxReferrers)
	}
	found := &Found{Subject: subject}
	var candidates []ocispecs.Descriptor
	seen := map[digest.Digest]bool{}
	for _, desc := range listed {
		switch {
		case seen[desc.Digest]:
		case candidate(desc):
			candidates = append(candidates, desc)
		default:
			found.Other = append(found.Other, desc)
		}
		seen[desc.Digest] = true
	}
	if len(candidates) > maxSigned {
		return nil, fmt.Errorf("more than %d signatures and attestations refer to it", maxSigned)
	}

	r := &reader{src: src, subject: subject}
	parts := make([]part, len(candidates)+2)
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for i, desc := range candidates {
		group.Go(func() (err error) { parts[i], err = r.referrer(ctx, desc); return err })
	}
	for i, tag := range []string{SignatureTag(subject), AttestationTag(subject)} {
		group.Go(func() (err error) { parts[len(candidates)+i], err = r.tag(ctx, tag); return err })
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	found.Existing.Signatures, found.Existing.Attestations = parts[len(candidates)].image, parts[len(candidates)+1].image
	for _, p := range parts {
		found.Broken = append(found.Broken, p.broken...)
		found.Other = append(found.Other, p.other...)
		for _, e := range p.entries {
			if e.Places[0].Form == FormBundle {
				found.Existing.Bundles = append(found.Existing.Bundles, e.Places[0].Blob.Digest)
			}
			found.Entries = append(found.Entries, e)
		}
	}
	found.Entries = merge(found.Entries)
	for i := range found.Entries {
		e := &found.Entries[i]
		if e.restored == nil {
			continue
		}
		if e.Bundle, err = marshal(e.restored); err != nil {
			return nil, err
		}
		e.restored = nil
	}
	return found, nil
}

// candidate says whether a referrer may be something signed. Some clients list a
// referrer with its configuration's type, or with none.
func candidate(desc ocispecs.Descriptor) bool {
	if desc.MediaType != ocispecs.MediaTypeImageManifest {
		return false
	}
	switch desc.ArtifactType {
	case "", ocispecs.MediaTypeEmptyJSON, ocispecs.MediaTypeImageConfig,
		// What Cosign writes when it is told to use referrers in the older forms.
		"application/vnd.dev.cosign.artifact.sig.v1+json", "application/vnd.dev.cosign.artifact.att.v1+json", signing.PayloadType:
		return true
	}
	return strings.HasPrefix(desc.ArtifactType, bundlePrefix)
}

// merge puts entries in order, and those with the same signature together.
func merge(entries []Entry) []Entry {
	rank := map[Form]int{FormBundle: 0, FormSignature: 1, FormAttestation: 2}
	slices.SortStableFunc(entries, func(a, b Entry) int {
		if c := strings.Compare(a.PredicateType, b.PredicateType); c != 0 {
			return c
		}
		return rank[a.Places[0].Form] - rank[b.Places[0].Form]
	})
	var merged []Entry
	at := map[[sha256.Size]byte]int{}
	for _, e := range entries {
		if i, there := at[e.key]; there {
			merged[i].Places = append(merged[i].Places, e.Places...)
			continue
		}
		at[e.key] = len(merged)
		merged = append(merged, e)
	}
	return merged
}

// Verify verifies that the entry is about subject and signed by whom the verifier
// accepts. Errors are those of signing.Verifier.VerifyStatement.
func (e *Entry) Verify(ctx context.Context, v *signing.Verifier, subject digest.Digest) (*signing.Result, error) {
	if e.Payload != nil {
		return v.VerifyImage(ctx, e.Payload, e.Bundle, subject)
	}
	return v.VerifyStatement(ctx, e.Bundle, subject)
}

// Signed is the entry as Manifests takes it, for an attestation that is to be written
// in another form too.
func (e *Entry) Signed() Signed {
	if e.Payload != nil {
		return Signed{PredicateType: e.PredicateType, Payload: e.Payload, PayloadBundle: e.Bundle}
	}
	return Signed{PredicateType: e.PredicateType, Bundle: e.Bundle}
}
