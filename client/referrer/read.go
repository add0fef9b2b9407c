package referrer

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync/atomic"

	digest "github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/temper-images/temper/client/registry"
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

// part is what one referrer or tag has.
type part struct {
	entries []Entry
	other   []ocispecs.Descriptor
	broken  []Broken
	image   TagImage
}

type reader struct {
	src     Source
	subject digest.Digest
	total   atomic.Int64
}

// manifest reads a manifest. Without an error of the source, what is wrong with it
// is in bad.
func (r *reader) manifest(ctx context.Context, ref string) (desc ocispecs.Descriptor, data []byte, m ocispecs.Manifest, bad, err error) {
	desc, data, err = r.src.Manifest(ctx, ref)
	if err != nil {
		return desc, nil, m, nil, err
	}
	if err := r.spend(int64(len(data))); err != nil {
		return desc, nil, m, nil, err
	}
	if len(data) > maxManifest {
		return desc, nil, m, fmt.Errorf("its manifest has more than %d bytes", maxManifest), nil
	}
	if err := json.Unmarshal(data, &m); err != nil {
		return desc, nil, m, fmt.Errorf("its manifest: %w", err), nil
	}
	desc.ArtifactType, desc.Annotations = m.ArtifactType, m.Annotations
	if desc.ArtifactType == "" {
		desc.ArtifactType = m.Config.MediaType
	}
	return desc, data, m, nil, nil
}

func (r *reader) spend(n int64) error {
	if r.total.Add(n) > maxTotal {
		return fmt.Errorf("there are more than %d MiB of signatures and attestations", maxTotal>>20)
	}
	return nil
}

// referrer reads a manifest that is listed as referring to the subject.
func (r *reader) referrer(ctx context.Context, listed ocispecs.Descriptor) (part, error) {
	broken := func(desc ocispecs.Descriptor, err error) (part, error) {
		form := FormBundle
		if !strings.HasPrefix(desc.ArtifactType, bundlePrefix) {
			form = ""
		}
		return part{broken: []Broken{{Place{Form: form, Manifest: desc}, err}}}, nil
	}
	if err := listed.Digest.Validate(); err != nil {
		return broken(listed, fmt.Errorf("digest %.100q: %w", listed.Digest, err))
	}
	desc, data, m, bad, err := r.manifest(ctx, listed.Digest.String())
	switch {
	case errors.Is(err, registry.ErrNotFound):
		return broken(listed, fmt.Errorf("it is listed and not there: %w", err))
	case err != nil:
		return part{}, err
	case bad != nil:
		return broken(listed, bad)
	case listed.Digest.Algorithm().FromBytes(data) != listed.Digest:
		return broken(listed, errors.New("its manifest has another digest"))
	case m.Subject == nil || m.Subject.Digest != r.subject:
		return broken(desc, errors.New("its manifest refers to something else"))
	}
	if len(m.Layers) == 1 && strings.HasPrefix(m.Layers[0].MediaType, bundlePrefix) {
		return r.bundle(ctx, Place{FormBundle, desc, m.Layers[0]})
	}
	if len(m.Layers) > 0 && !slices.ContainsFunc(m.Layers, func(l ocispecs.Descriptor) bool { return older(l) == "" }) {
		return r.layers(ctx, desc, m.Layers)
	}
	if strings.HasPrefix(desc.ArtifactType, bundlePrefix) {
		return broken(desc, fmt.Errorf("it has %d layers, and not one that is a bundle", len(m.Layers)))
	}
	return part{other: []ocispecs.Descriptor{desc}}, nil
}

// older is the form of a layer of Cosign's, or none.
func older(l ocispecs.Descriptor) Form {
	switch l.MediaType {
	case signing.PayloadMediaType:
		return FormSignature
	case envelopeMediaType:
		return FormAttestation
	}
	return ""
}

// bundle reads a bundle that is a referrer's layer.
func (r *reader) bundle(ctx context.Context, at Place) (part, error) {
	data, bad, err := r.blob(ctx, at.Blob, maxBundle)
	if err != nil {
		return part{}, err
	}
	var e Entry
	if bad == nil {
		e, bad = newEntry(data, nil)
	}
	if bad != nil {
		return part{broken: []Broken{{at, bad}}}, nil
	}
	e.Places = []Place{at}
	return part{entries: []Entry{e}}, nil
}

// tag reads the image under a tag of Cosign's.
func (r *reader) tag(ctx context.Context, tag string) (part, error) {
	desc, data, m, bad, err := r.manifest(ctx, tag)
	if errors.Is(err, registry.ErrNotFound) {
		return part{}, nil
	}
	if err != nil {
		return part{}, err
	}
	image := TagImage{Digest: desc.Digest, Manifest: data}
	if bad == nil && len(m.Layers) > maxLayers {
		bad = fmt.Errorf("it has more than %d layers", maxLayers)
	}
	if bad == nil {
		if image.Config, bad, err = r.blob(ctx, m.Config, maxConfig); err != nil {
			return part{}, err
		}
	}
	if bad != nil {
		return part{image: image, broken: []Broken{{Place{Manifest: desc}, fmt.Errorf("the tag %s: %w", tag, bad)}}}, nil
	}
	p, err := r.layers(ctx, desc, m.Layers)
	p.image = image
	return p, err
}

// layers reads signatures and attestations that are layers of one manifest.
func (r *reader) layers(ctx context.Context, desc ocispecs.Descriptor, layers []ocispecs.Descriptor) (part, error) {
	var p part
	for _, l := range layers {
		at := Place{older(l), desc, l}
		limit := int64(maxBundle)
		switch at.Form {
		case "":
			p.broken = append(p.broken, Broken{at, fmt.Errorf("a layer of the type %.100q is no signature", l.MediaType)})
			continue
		case FormSignature:
			limit = maxPayload
		}
		data, bad, err := r.blob(ctx, l, limit)
		if err != nil {
			return part{}, err
		}
		var e Entry
		if bad == nil {
			e, bad = layer{l.MediaType, data, l.Annotations}.read()
		}
		if bad != nil {
			p.broken = append(p.broken, Broken{at, bad})
			continue
		}
		e.Places = []Place{at}
		p.entries = append(p.entries, e)
	}
	return p, nil
}

func (l layer) read() (Entry, error) {
	bundle, err := l.bundle()
	if err != nil {
		return Entry{}, err
	}
	if l.mediaType == envelopeMediaType {
		return newEntry(bundle, nil)
	}
	return newEntry(bundle, l.data)
}

// newEntry reads what a bundle signs. Payload is the simple signing document, if it
// signs one.
func newEntry(bundle, payload []byte) (Entry, error) {
	b, err := parseBundle(bundle)
	if err != nil {
		return Entry{}, err
	}
	if payload != nil {
		return Entry{PredicateType: SignPredicate, Bundle: bundle, Payload: payload, key: key(b.GetMessageSignature().GetSignature(), payload)}, nil
	}
	envelope := b.GetDsseEnvelope()
	if envelope.GetPayloadType() != signing.PayloadType || len(envelope.GetSignatures()) != 1 {
		return Entry{}, errors.New("its bundle signs no in-toto statement")
	}
	var statement struct {
		PredicateType string `json:"predicateType"`
	}
	if err := json.Unmarshal(envelope.GetPayload(), &statement); err != nil {
		return Entry{}, fmt.Errorf("its statement: %w", err)
	}
	if statement.PredicateType == "" {
		return Entry{}, errors.New("its statement has no predicate type")
	}
	return Entry{PredicateType: statement.PredicateType, Bundle: bundle, key: key(envelope.GetSignatures()[0].GetSig(), envelope.GetPayload())}, nil
}

// key tells signatures apart.
func key(signature, signed []byte) [sha256.Size]byte {
	h := sha256.New()
	fmt.Fprintf(h, "%d:", len(signature))
	h.Write(signature)
	h.Write(signed)
	return [sha256.Size]byte(h.Sum(nil))
}

// blob reads a blob of at most limit bytes. Without an error of the source, what is
// wrong with it is in bad.
func (r *reader) blob(ctx context.Context, desc ocispecs.Descriptor, limit int64) (data []byte, bad, err error) {
	if err := desc.Digest.Validate(); err != nil {
		return nil, fmt.Errorf("digest %.100q: %w", desc.Digest, err), nil
	}
	if desc.Size < 0 || desc.Size > limit {
		return nil, fmt.Errorf("%s has %d bytes, and at most %d are read", desc.Digest, desc.Size, limit), nil
	}
	if err := r.spend(desc.Size); err != nil {
		return nil, nil, err
	}
	rc, err := r.src.Blob(ctx, desc)
	if errors.Is(err, registry.ErrNotFound) {
		return nil, err, nil
	}
	if err != nil {
		return nil, nil, err
	}
	defer rc.Close()
	if data, err = io.ReadAll(io.LimitReader(rc, desc.Size+1)); err != nil {
		return nil, nil, err
	}
	if int64(len(data)) != desc.Size || desc.Digest.Algorithm().FromBytes(data) != desc.Digest {
		return nil, fmt.Errorf("%s has other bytes than its digest says", desc.Digest), nil
	}
	return data, nil, nil
}
