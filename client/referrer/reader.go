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
	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	"golang.org/x/sync/errgroup"

	"github.com/temper-images/temper/client/registry"
	"github.com/temper-images/temper/client/signing"
)

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
	var b *protobundle.Bundle
	if bad == nil {
		b, bad = parseBundle(data)
	}
	var e Entry
	if bad == nil {
		e, bad = newEntry(b, nil)
	}
	e.Bundle = data
	return at.holds(e, bad), nil
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
	parts := make([]part, len(layers))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for i, l := range layers {
		group.Go(func() (err error) { parts[i], err = r.layer(ctx, Place{older(l), desc, l}); return err })
	}
	if err := group.Wait(); err != nil {
		return part{}, err
	}
	var all part
	for _, p := range parts {
		all.entries = append(all.entries, p.entries...)
		all.broken = append(all.broken, p.broken...)
	}
	return all, nil
}

func (r *reader) layer(ctx context.Context, at Place) (part, error) {
	limit := int64(maxBundle)
	switch at.Form {
	case FormSignature:
		limit = maxPayload
	case "":
		return part{broken: []Broken{{at, fmt.Errorf("a layer of the type %.100q is no signature", at.Blob.MediaType)}}}, nil
	}
	data, bad, err := r.blob(ctx, at.Blob, limit)
	if err != nil {
		return part{}, err
	}
	var e Entry
	if bad == nil {
		e, bad = layer{at.Blob.MediaType, data, at.Blob.Annotations}.read()
	}
	return at.holds(e, bad), nil
}

// holds is the part that a place has: an entry, or something that is none.
func (p Place) holds(e Entry, bad error) part {
	if bad != nil {
		return part{broken: []Broken{{p, bad}}}
	}
	e.Places = []Place{p}
	return part{entries: []Entry{e}}
}

// read is the entry that a layer makes. Its bundle is to be marshalled, which is only
// done for what is not there as a bundle.
func (l layer) read() (Entry, error) {
	b, err := l.bundle()
	if err != nil {
		return Entry{}, err
	}
	var payload []byte
	if l.mediaType != envelopeMediaType {
		payload = l.data
	}
	e, err := newEntry(b, payload)
	e.restored = b
	return e, err
}

// newEntry reads what a bundle signs. Payload is the simple signing document, if it
// signs one.
func newEntry(b *protobundle.Bundle, payload []byte) (Entry, error) {
	if payload != nil {
		return Entry{PredicateType: SignPredicate, Payload: payload, key: key(b.GetMessageSignature().GetSignature(), payload)}, nil
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
	return Entry{PredicateType: statement.PredicateType, key: key(envelope.GetSignatures()[0].GetSig(), envelope.GetPayload())}, nil
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
