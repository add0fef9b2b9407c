package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	digest "github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// Referrers lists the manifests whose subject is the given one, which need not be
// there. They come from the referrers API or, where the registry has none or lists none
// there, from the index under the fallback tag (distribution-spec, "Listing Referrers").
// An empty list means that the registry said so: a list that could not be read is an error.
func (r *Repository) Referrers(ctx context.Context, subject digest.Digest) ([]ocispecs.Descriptor, error) {
	if err := subject.Validate(); err != nil {
		return nil, fmt.Errorf("referrers of %q: %w", plain(subject.String(), 200), err)
	}
	api, err := r.HasReferrersAPI(ctx)
	if err != nil {
		return nil, fmt.Errorf("referrers of %s: %w", subject, err)
	}
	list := collected{seen: map[digest.Digest]bool{}}
	if api {
		if err = r.listReferrers(ctx, subject, list.add); errors.Is(err, ErrNotFound) {
			err = nil // the API is there, and what it has never heard of has no referrers
		}
	}
	if err == nil && len(list.descs) == 0 {
		// A registry may have got the API after the index was written.
		err = r.fallbackReferrers(ctx, subject, list.add)
	}
	if err != nil {
		return nil, fmt.Errorf("referrers of %s: %w", subject, err)
	}
	return list.descs, nil
}

// collected are the descriptors of a list, each once.
type collected struct {
	descs []ocispecs.Descriptor
	seen  map[digest.Digest]bool
}

func (c *collected) add(idx []ocispecs.Descriptor) error {
	for _, d := range idx {
		if err := d.Digest.Validate(); err != nil || d.Size < 0 {
			return fmt.Errorf("the list names a manifest with the digest %q and the size %d", plain(d.Digest.String(), 200), d.Size)
		}
		if c.seen[d.Digest] {
			continue
		}
		if len(c.descs) == maxReferrers {
			return fmt.Errorf("the list has more than %d manifests", maxReferrers)
		}
		c.seen[d.Digest] = true
		c.descs = append(c.descs, d)
	}
	return nil
}

// errNoIndex says that an answer is no list of referrers, though it was a success.
var errNoIndex = errors.New("the answer is no image index")

// parseReferrers reads an image index. contentType is the answer's.
func parseReferrers(data []byte, contentType string) ([]ocispecs.Descriptor, error) {
	var idx struct {
		MediaType string                `json:"mediaType"`
		Manifests []ocispecs.Descriptor `json:"manifests"`
	}
	if err := json.Unmarshal(data, &idx); err != nil {
		return nil, errNoIndex
	}
	if contentType != ocispecs.MediaTypeImageIndex && idx.MediaType != ocispecs.MediaTypeImageIndex {
		return nil, errNoIndex
	}
	return idx.Manifests, nil
}

func (r *Repository) listReferrers(ctx context.Context, subject digest.Digest, add func([]ocispecs.Descriptor) error) error {
	return r.pages(ctx, r.url("referrers", subject.String()), ocispecs.MediaTypeImageIndex, func(header http.Header, dt []byte) error {
		descs, err := parseReferrers(dt, mediaTypeOf(header))
		if err != nil {
			return err
		}
		return add(descs)
	})
}

func (r *Repository) fallbackReferrers(ctx context.Context, subject digest.Digest, add func([]ocispecs.Descriptor) error) error {
	desc, dt, err := r.Manifest(ctx, fallbackTag(subject))
	switch {
	case errors.Is(err, ErrNotFound):
		return nil
	case err != nil:
		return err
	}
	descs, err := parseReferrers(dt, desc.MediaType)
	if err != nil {
		return fmt.Errorf("tag %s of %s: it is %s, and no image index", fallbackTag(subject), r.name, plain(desc.MediaType, 100))
	}
	return add(descs)
}

// fallbackTag is the tag under which referrers are listed (distribution-spec,
// "Unavailable Referrers API"): the algorithm cut to 32 characters, the rest to 64.
func fallbackTag(d digest.Digest) string {
	alg, hex := d.Algorithm().String(), d.Encoded()
	return alg[:min(len(alg), 32)] + "-" + hex[:min(len(hex), 64)]
}

// nobody is the digest of something that is in no registry.
var nobody = digest.FromString("There is no such manifest: temper asks for its referrers.")

// HasReferrersAPI tells whether the registry has the referrers API, which is asked once
// for referrers of a manifest that does not exist: a registry that has the API answers
// with an empty index, while what it says when a manifest is pushed (OCI-Subject) is no
// sign (ECR). A throttled, denied or failed answer is an error, and asked for again.
// While the repository does not exist some registries do not tell: then the answer is
// no, and the next call asks again.
func (r *Repository) HasReferrersAPI(ctx context.Context) (bool, error) {
	r.probing.Lock()
	defer r.probing.Unlock()
	if r.referrers != nil {
		return *r.referrers, nil
	}
	err := r.listReferrers(ctx, nobody, func([]ocispecs.Descriptor) error { return nil })
	has := err == nil
	var s *StatusError
	switch {
	case has, errors.Is(err, errNoIndex):
	case isNoRepository(err):
		return false, nil
	case errors.As(err, &s) && s.Status != http.StatusUnauthorized && s.Status != http.StatusForbidden && !temporary(s.Status):
	default:
		return false, fmt.Errorf("ask whether there is a referrers API: %w", err)
	}
	r.referrers = &has
	if !has {
		r.o.Notice(fmt.Sprintf("registry %s has no referrers API: lists of referrers are kept under tags", r.name.RegistryStr()))
	}
	return has, nil
}
