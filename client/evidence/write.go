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

// Receipt says what became of documents that were to be stored.
type Receipt struct {
	Image Image
	// Entries are the documents, sorted by name, as the index names them.
	Entries []Entry
	// Sent counts the objects that were sent, and SentBytes their bytes; Present
	// counts those that were there.
	Sent, Present int
	SentBytes     int64
	// Record is the path of the index document that names the entries. It is
	// empty before Commit, and when the index named them already.
	Record string
}

// Put stores documents about an image, with their signatures and bundles, and has
// the index name them: Upload and Commit.
func (s *Store) Put(ctx context.Context, img Image, documents []artifact.Artifact) (*Receipt, error) {
	r, err := s.Upload(ctx, img, documents)
	if err != nil {
		return nil, err
	}
	return r, s.Commit(ctx, r)
}

// document is a document with what was made of it.
type document struct {
	artifact.Artifact
	signature, bundle, envelope *artifact.Artifact
}

// pair puts signatures, bundles and envelopes, which have the name of what they sign
// with one of the endings of package artifact behind it, to their documents.
func pair(img Image, list []artifact.Artifact) ([]document, error) {
	byName := map[string]artifact.Artifact{}
	for _, a := range list {
		if err := a.Validate(); err != nil {
			return nil, err
		}
		if _, twice := byName[a.Name]; twice {
			return nil, fmt.Errorf("document %s is given twice", a.Name)
		}
		if a.Platform != "" && a.Platform != img.Platform {
			return nil, fmt.Errorf("document %s is about %s, not %s", a.Name, a.Platform, img.Platform)
		}
		if len(a.Data) > MaxDocument {
			return nil, fmt.Errorf("document %s is larger than %d bytes", a.Name, MaxDocument)
		}
		byName[a.Name] = a
	}
	var docs []document
	for _, a := range list {
		if base, signs := signed(a.Name); signs {
			if _, ok := byName[base]; !ok {
				return nil, fmt.Errorf("%s signs %s, which is not given", a.Name, base)
			}
			continue
		}
		d := document{Artifact: a}
		if sig, ok := byName[a.Name+artifact.SignatureSuffix]; ok {
			d.signature = &sig
		}
		if bundle, ok := byName[a.Name+artifact.BundleSuffix]; ok {
			d.bundle = &bundle
		}
		if envelope, ok := byName[a.Name+artifact.EnvelopeSuffix]; ok {
			d.envelope = &envelope
		}
		docs = append(docs, d)
	}
	slices.SortFunc(docs, func(a, b document) int { return strings.Compare(a.Name, b.Name) })
	return docs, nil
}

// signed is the name of what a signature or bundle signs.
func signed(name string) (string, bool) {
	for _, suffix := range []string{artifact.SignatureSuffix, artifact.EnvelopeSuffix, artifact.BundleSuffix} {
		if base, ok := strings.CutSuffix(name, suffix); ok {
			return base, true
		}
	}
	return name, false
}

// Upload stores documents about an image, in parallel, so that each is found right
// when it is read back. No index names them before Commit: what a run left that
// was broken off does not count as stored, and is not sent again by the next one.
func (s *Store) Upload(ctx context.Context, img Image, documents []artifact.Artifact) (*Receipt, error) {
	img.Created = img.Created.UTC().Truncate(1e9)
	if err := img.validate(); err != nil {
		return nil, err
	}
	docs, err := pair(img, documents)
	if err != nil {
		return nil, err
	}
	r := &Receipt{Image: img, Entries: make([]Entry, len(docs))}
	u := &upload{store: s, receipt: r}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(s.opts.Concurrency)
	for i, d := range docs {
		g.Go(func() (err error) {
			r.Entries[i], err = u.document(ctx, d)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return r, nil
}

type upload struct {
	store *Store

	mu      sync.Mutex
	receipt *Receipt
}

// document stores one document, and then what signs it beside it.
func (u *upload) document(ctx context.Context, d document) (Entry, error) {
	e := Entry{Kind: d.Kind, Name: d.Name, MediaType: d.MediaType, PredicateType: d.PredicateType, Platform: u.receipt.Image.Platform}
	var err error
	if e.Object, _, err = u.place(ctx, documentPath(u.receipt.Image, d.Kind, d.Name), d.Artifact, nil); err != nil {
		return e, err
	}
	verify := func(signature, bundle []byte) error {
		if u.store.opts.Verifier == nil {
			return errors.New("there is nothing to verify it with")
		}
		return u.store.opts.Verifier.Verify(ctx, d.Data, signature, bundle)
	}
	// An earlier run's bundle is good only together with its signature: keyless
	// signing has a key of its own for each run.
	var bundle []byte
	if d.bundle != nil {
		var o Object
		o, bundle, err = u.place(ctx, e.Path+artifact.BundleSuffix, *d.bundle, func(other []byte) error {
			var signature []byte
			if d.signature != nil {
				signature = d.signature.Data
				if earlier, err := u.store.objects.read(ctx, e.Path+artifact.SignatureSuffix, otherSize); err == nil {
					signature = earlier
				}
			}
			return verify(signature, other)
		})
		if err != nil {
			return e, err
		}
		e.Bundle = &o
	}
	if d.signature != nil {
		o, _, err := u.place(ctx, e.Path+artifact.SignatureSuffix, *d.signature, func(other []byte) error { return verify(other, bundle) })
		if err != nil {
			return e, err
		}
		e.Signature = &o
	}
	if d.envelope != nil {
		o, _, err := u.place(ctx, e.Path+artifact.EnvelopeSuffix, *d.envelope, func(other []byte) error {
			if u.store.opts.Verifier == nil {
				return errors.New("there is nothing to verify it with")
			}
			return u.store.opts.Verifier.VerifyEnvelope(ctx, d.Data, other)
		})
		if err != nil {
			return e, err
		}
		e.Envelope = &o
	}
	return e, nil
}

// place stores an artifact at a path, or beside it when the path holds other
// content. Content that is as good, as valid says, stays in its place. It returns
// the content that was stored.
func (u *upload) place(ctx context.Context, path string, a artifact.Artifact, valid func([]byte) error) (Object, []byte, error) {
	o := u.store.objects
	state, other, err := o.put(ctx, path, a.MediaType, a.Data)
	if err == nil && state == differs && other != nil && valid != nil && valid(other) == nil {
		o.progress(Event{State: Present, Path: path, Size: int64(len(other))})
		state, a.Data = Present, other
	}
	if err == nil && state == differs && !u.store.opts.Immutable {
		path = besidePath(path, a.Data)
		state, other, err = o.put(ctx, path, a.MediaType, a.Data)
	}
	if err == nil && state == differs {
		conflict := &Error{Reason: Conflict, Store: o.store, Op: "write", Path: path, Advice: "nothing was overwritten"}
		if other != nil {
			conflict.Err = fmt.Errorf("it has digest %s, not %s", digest.FromBytes(other), a.Digest())
		}
		err = conflict
	}
	if err != nil {
		return Object{}, nil, err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if state == Sent {
		u.receipt.Sent++
		u.receipt.SentBytes += int64(len(a.Data))
	} else {
		u.receipt.Present++
	}
	return Object{Path: path, Size: int64(len(a.Data)), Digest: a.Digest()}, a.Data, nil
}

// Commit has the index of the image name what Upload stored, and the image's
// reference and image index lead to it. With that it counts as stored. The entries
// of several receipts about one image may be put together before.
func (s *Store) Commit(ctx context.Context, r *Receipt) error {
	if len(r.Entries) == 0 {
		return errors.New("there are no documents to name in the index")
	}
	records, err := s.records(ctx, r.Image.Digest)
	if err != nil {
		return err
	}
	if !isCurrent(records, r) {
		entries := slices.Clone(r.Entries)
		slices.SortFunc(entries, func(a, b Entry) int { return strings.Compare(a.Name, b.Name) })
		data, err := encode(record{SchemaVersion: 1, MediaType: TypeRecord, Image: r.Image, Documents: entries})
		if err != nil {
			return err
		}
		if _, err := parseRecord(data, r.Image.Digest); err != nil {
			return fmt.Errorf("index document about %s: %w", r.Image.Digest, err)
		}
		next := 1
		if len(records) > 0 {
			next = records[len(records)-1].sequence + 1
		}
		if r.Record, err = s.append(ctx, recordsDir(r.Image.Digest), TypeRecord, next, data); err != nil {
			return err
		}
	}
	return s.refer(ctx, r.Image)
}

// append writes a document of the index. Two writers may take the same number at
// once: their documents have different names unless they say the same.
func (s *Store) append(ctx context.Context, dir, mediaType string, sequence int, data []byte) (string, error) {
	path := dir + formatRecordName(sequence, data)
	state, _, err := s.objects.put(ctx, path, mediaType, data)
	if err != nil {
		return "", err
	}
	if state == differs {
		return "", &Error{Reason: Conflict, Store: s.objects.store, Op: "write", Path: path, Advice: "it was changed after it was written; see who writes there"}
	}
	return path, nil
}

// isCurrent says that the index names exactly these entries already, as the
// current ones, for the same image by the same reference.
func isCurrent(records []readRecord, r *Receipt) bool {
	current := map[string]Entry{}
	known := false
	for _, rec := range records {
		if rec.err != nil {
			continue
		}
		known = known || rec.Image == r.Image
		for _, e := range rec.Documents {
			current[e.Name] = e
		}
	}
	for _, e := range r.Entries {
		if c, ok := current[e.Name]; !ok || !c.same(e) {
			return false
		}
	}
	return known
}

// refer makes the image's reference and its image index lead to its digest.
func (s *Store) refer(ctx context.Context, img Image) error {
	if img.Reference != "" {
		named, err := canonical(img.Reference)
		if err != nil {
			return err
		}
		// A reference by digest needs no help.
		if dir, err := tagDir(named); err == nil {
			if err := s.addRef(ctx, dir, named.String(), img); err != nil {
				return err
			}
		}
	}
	if img.Index != "" {
		return s.addRef(ctx, indexRefDir(img.Index), string(img.Index), img)
	}
	return nil
}

func (s *Store) addRef(ctx context.Context, dir, name string, img Image) error {
	refs, err := s.refs(ctx, dir, name)
	if err != nil {
		return err
	}
	next := 1
	for _, r := range refs {
		if r.arch != Arch(img.Platform) {
			continue
		}
		if next = r.sequence + 1; r.latest && r.Image == img {
			return nil
		}
	}
	data, err := encode(ref{SchemaVersion: 1, MediaType: TypeRef, Name: name, Image: img})
	if err != nil {
		return err
	}
	_, err = s.append(ctx, dir+"/"+Arch(img.Platform)+"/", TypeRef, next, data)
	return err
}
