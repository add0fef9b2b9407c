package evidence

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/distribution/reference"
	digest "github.com/opencontainers/go-digest"
)

// Index is what the store has about one image.
type Index struct {
	// Image is the image, as it was described last.
	Image Image `json:"image"`
	// References are all names that it was stored under, sorted.
	References []string `json:"references"`
	// Documents are all documents, in the order of their storing. When several
	// have one name, the last is the current one.
	Documents []Entry `json:"documents"`
	// Records are the paths of the documents of the index.
	Records []string `json:"records"`
}

// Current are the current documents, sorted by name.
func (i *Index) Current() []Entry {
	byName := map[string]Entry{}
	for _, e := range i.Documents {
		byName[e.Name] = e
	}
	list := make([]Entry, 0, len(byName))
	for _, e := range byName {
		list = append(list, e)
	}
	slices.SortFunc(list, func(a, b Entry) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// readRecord is a document of the index as it was found. With err it cannot be
// trusted, and record is empty.
type readRecord struct {
	record
	path     string
	sequence int
	err      error
}

func recordsDir(d digest.Digest) string { return path.Join(indexDir, digestDir(d)) + "/" }

// records reads the index about an image, in order.
func (s *Store) records(ctx context.Context, d digest.Digest) ([]readRecord, error) {
	if err := checkDigest(d); err != nil {
		return nil, err
	}
	paths, err := s.objects.list(ctx, recordsDir(d))
	if err != nil {
		return nil, err
	}
	list := make([]readRecord, 0, len(paths))
	left := int64(maxIndex)
	for _, p := range paths {
		r := readRecord{path: p}
		data, sequence, err := s.numbered(ctx, p, strings.TrimPrefix(p, recordsDir(d)), min(maxRecord, left))
		left -= int64(len(data))
		var damaged *RecordError
		if err != nil && !errors.As(err, &damaged) {
			return nil, err
		}
		r.sequence, r.err = sequence, err
		if err == nil {
			parsed, err := parseRecord(data, d)
			if err != nil {
				r.err = &RecordError{p, err}
			} else {
				r.record = *parsed
			}
		}
		list = append(list, r)
	}
	slices.SortStableFunc(list, func(a, b readRecord) int {
		return cmp.Or(cmp.Compare(a.sequence, b.sequence), a.Image.Created.Compare(b.Image.Created), strings.Compare(a.path, b.path))
	})
	return list, nil
}

// numbered reads a document of the index and checks it against its name, which
// has a number and a part of its digest. Errors about the document itself are
// *RecordError.
func (s *Store) numbered(ctx context.Context, path, name string, limit int64) (data []byte, sequence int, err error) {
	sequence, sum, ok := parseRecordName(name)
	if !ok {
		return nil, 0, &RecordError{path, errors.New("its name has not the form of one")}
	}
	data, err = s.objects.read(ctx, path, limit)
	switch {
	case errors.Is(err, errTooBig), errors.Is(err, errAbsent):
		return nil, sequence, &RecordError{path, err}
	case err != nil:
		return nil, sequence, err
	case short(data) != sum:
		return nil, sequence, &RecordError{path, errors.New("it was changed: its content does not match its name")}
	}
	return data, sequence, nil
}

// Index reads what the store has about the image with a digest. Errors are
// *NotStoredError, *RecordError for an index that was tampered with, and *Error.
func (s *Store) Index(ctx context.Context, d digest.Digest) (*Index, error) {
	records, err := s.records(ctx, d)
	if err != nil {
		return nil, err
	}
	for _, r := range records {
		if r.err != nil {
			return nil, r.err
		}
	}
	if len(records) == 0 {
		return nil, &NotStoredError{s.URL(), string(d)}
	}
	return merge(records), nil
}

// merge puts the records together that can be trusted.
func merge(records []readRecord) *Index {
	i := &Index{References: []string{}}
	for _, r := range records {
		i.Records = append(i.Records, r.path)
		if r.err != nil {
			continue
		}
		i.Image = r.Image
		if r.Image.Reference != "" {
			i.References = append(i.References, r.Image.Reference)
		}
		for _, e := range r.Documents {
			// A document that is named again is the current one again.
			i.Documents = append(slices.DeleteFunc(i.Documents, e.same), e)
		}
	}
	slices.Sort(i.References)
	i.References = slices.Compact(i.References)
	return i
}

// readRef is what a name meant, as it was found.
type readRef struct {
	ref
	path, arch string
	sequence   int
	latest     bool
}

// refs reads what a name meant for each platform, in order.
func (s *Store) refs(ctx context.Context, dir, name string) ([]readRef, error) {
	paths, err := s.objects.list(ctx, dir+"/")
	if err != nil {
		return nil, err
	}
	var list []readRef
	for _, p := range paths {
		arch, file, ok := strings.Cut(strings.TrimPrefix(p, dir+"/"), "/")
		if !ok || strings.Contains(file, "/") {
			return nil, &RecordError{p, errors.New("its name has not the form of one")}
		}
		data, sequence, err := s.numbered(ctx, p, file, maxRef)
		if err != nil {
			return nil, err
		}
		parsed, err := parseRef(data, name)
		if err == nil && Arch(parsed.Image.Platform) != arch {
			err = fmt.Errorf("it is about %s", parsed.Image.Platform)
		}
		if err != nil {
			return nil, &RecordError{p, err}
		}
		list = append(list, readRef{ref: *parsed, path: p, arch: arch, sequence: sequence})
	}
	slices.SortFunc(list, func(a, b readRef) int {
		return cmp.Or(strings.Compare(a.arch, b.arch), cmp.Compare(a.sequence, b.sequence), a.Image.Created.Compare(b.Image.Created), strings.Compare(a.path, b.path))
	})
	for i := range list {
		list[i].latest = i == len(list)-1 || list[i+1].arch != list[i].arch
	}
	return list, nil
}

// Find returns the images that a name means: the digest of an image or of an image
// index, or a registry's reference by tag or digest. For a tag they are the images
// that were stored last under it, one for each platform; with all, those before
// them too, in the order of their storing. Errors are as for Index.
func (s *Store) Find(ctx context.Context, name string, all bool) ([]Image, error) {
	d, err := digest.Parse(name)
	if err == nil {
		return s.findDigest(ctx, d, all)
	}
	named, err := canonical(name)
	if err != nil {
		return nil, err
	}
	if digested, ok := named.(reference.Digested); ok {
		return s.findDigest(ctx, digested.Digest(), all)
	}
	dir, err := tagDir(named)
	if err != nil {
		return nil, err
	}
	return s.findRefs(ctx, dir, named.String(), all)
}

func (s *Store) findDigest(ctx context.Context, d digest.Digest, all bool) ([]Image, error) {
	records, err := s.records(ctx, d)
	if err != nil {
		return nil, err
	}
	if len(records) == 0 {
		return s.findRefs(ctx, indexRefDir(d), string(d), all)
	}
	img := Image{Digest: d}
	for _, r := range records {
		if r.err == nil {
			img = r.Image
		}
	}
	return []Image{img}, nil
}

func (s *Store) findRefs(ctx context.Context, dir, name string, all bool) ([]Image, error) {
	refs, err := s.refs(ctx, dir, name)
	if err != nil {
		return nil, err
	}
	var images []Image
	for _, r := range refs {
		if r.latest || all {
			images = append(images, r.Image)
		}
	}
	if len(images) == 0 {
		return nil, &NotStoredError{s.URL(), name}
	}
	return images, nil
}

// Get reads an object that the index names and checks its size and digest.
func (s *Store) Get(ctx context.Context, o Object) ([]byte, error) {
	damaged := func(format string, args ...any) error {
		return &Error{Reason: Damaged, Store: s.objects.store, Op: "read", Path: o.Path, Err: fmt.Errorf(format, args...),
			Advice: "the index names it otherwise: it was changed after it was stored"}
	}
	data, err := s.objects.read(ctx, o.Path, o.Size)
	switch {
	case errors.Is(err, errTooBig):
		return nil, damaged("it is larger than %d bytes", o.Size)
	case errors.Is(err, errAbsent):
		return nil, damaged("it is missing")
	case err != nil:
		return nil, err
	case int64(len(data)) != o.Size:
		return nil, damaged("it has %d bytes, not %d", len(data), o.Size)
	}
	if d := digest.FromBytes(data); d != o.Digest {
		return nil, damaged("it has digest %s, not %s", d, o.Digest)
	}
	return data, nil
}
