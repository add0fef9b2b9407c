package transfer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/containerd/platforms"
	digest "github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/temper-images/temper/client/referrer"
	"github.com/temper-images/temper/client/registry"
)

// readers is how many requests are under way at once while a closure is found.
const readers = 8

// Manifest is a manifest or index of a Closure.
type Manifest struct {
	Descriptor ocispecs.Descriptor
	Data       []byte
	// Attached says that it is not part of the image.
	Attached bool

	subject  digest.Digest
	children []digest.Digest
	blobs    []ocispecs.Descriptor
}

// Tag is a tag of Cosign's.
type Tag struct {
	Name string
	// Subject is what the manifest of the tag is about.
	Subject digest.Digest
	Digest  digest.Digest
}

// Closure is an image with everything attached to it. All lists are in an order
// that depends on nothing but their content.
type Closure struct {
	Top ocispecs.Descriptor
	// Manifests are by digest.
	Manifests map[digest.Digest]*Manifest
	// Referrers are what each manifest's list of referrers has, as such a list
	// describes them.
	Referrers map[digest.Digest][]ocispecs.Descriptor
	// Unlinked are the referrers without a subject of their own, or with another:
	// only a fallback index lists them.
	Unlinked map[digest.Digest][]ocispecs.Descriptor
	// Tags are Cosign's.
	Tags []Tag
	// Blobs are each there once.
	Blobs []ocispecs.Descriptor
	// Gone are the manifests that a fallback index lists and the source has not.
	Gone []digest.Digest
}

// Collect reads all manifests of the image top, an index or a manifest, and of what
// is attached to them. platform, when it is not empty, chooses one image of an
// index ("linux/arm64"), which is the closure's top then: the index is left out with
// what is attached to it. What the image lacks is an error that wraps
// registry.ErrNotFound.
func Collect(ctx context.Context, src Source, top ocispecs.Descriptor, platform string) (*Closure, error) {
	w := &walk{src: src, c: &Closure{
		Manifests: map[digest.Digest]*Manifest{}, Referrers: map[digest.Digest][]ocispecs.Descriptor{}, Unlinked: map[digest.Digest][]ocispecs.Descriptor{},
	}}
	if platform != "" {
		var err error
		if top, err = choose(ctx, src, top, platform); err != nil {
			return nil, err
		}
	}
	w.c.Top = top
	// A registry that has no referrers API lists what the fallback index does.
	if api, ok := src.(interface {
		HasReferrersAPI(context.Context) (bool, error)
	}); ok {
		has, err := api.HasReferrersAPI(ctx)
		if err != nil {
			return nil, err
		}
		w.fallback = has
	}
	if err := w.run(ctx, top); err != nil {
		return nil, err
	}
	if err := w.finish(); err != nil {
		return nil, err
	}
	w.c.Top = w.c.Manifests[top.Digest].Descriptor
	return w.c, nil
}

// walk is the search for a closure.
type walk struct {
	src Source
	// fallback says that the fallback index is to be read beside the API.
	fallback bool

	mu     sync.Mutex
	c      *Closure
	budget budget
	gone   map[digest.Digest]bool
}

// wanted is a manifest that is to be read.
type wanted struct {
	desc     ocispecs.Descriptor
	attached bool
	depth    int
	// listed says that a list of referrers names it, so that it may be gone.
	listed bool
}

// run reads level by level, so that what belongs to the image is known as such
// before it is met again as something attached.
func (w *walk) run(ctx context.Context, top ocispecs.Descriptor) error {
	w.gone = map[digest.Digest]bool{}
	image, attached := []wanted{{desc: top}}, []wanted(nil)
	for len(image)+len(attached) > 0 {
		level := image
		if image = nil; len(level) == 0 {
			level, attached = attached, nil
		}
		found, err := w.level(ctx, level)
		if err != nil {
			return err
		}
		for _, f := range found {
			if f.depth > maxDepth {
				return fmt.Errorf("indexes lie in each other, or attachments are on attachments, more than %d deep", maxDepth)
			}
			if f.attached {
				attached = append(attached, f)
			} else {
				image = append(image, f)
			}
		}
	}
	return nil
}

// level reads manifests side by side and returns what they lead to.
func (w *walk) level(ctx context.Context, level []wanted) ([]wanted, error) {
	slices.SortStableFunc(level, func(a, b wanted) int { return byDigest(a.desc, b.desc) })
	level = slices.CompactFunc(level, func(a, b wanted) bool { return a.desc.Digest == b.desc.Digest })
	found := make([][]wanted, len(level))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(readers)
	for i, item := range level {
		if _, seen := w.c.Manifests[item.desc.Digest]; seen {
			continue
		}
		group.Go(func() (err error) {
			found[i], err = w.visit(ctx, item)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return slices.Concat(found...), nil
}

// visit reads a manifest and the lists of what is attached to it.
func (w *walk) visit(ctx context.Context, item wanted) ([]wanted, error) {
	desc, data, err := w.src.Manifest(ctx, item.desc.Digest.String())
	if errors.Is(err, registry.ErrNotFound) && item.listed {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.gone[item.desc.Digest] = true
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read manifest %s: %w", item.desc.Digest, err)
	}
	doc, err := parse(desc.MediaType, data)
	if err != nil {
		return nil, fmt.Errorf("manifest %s: %w", item.desc.Digest, err)
	}
	m := &Manifest{Descriptor: doc.descriptor(item.desc.Digest, int64(len(data))), Data: data, Attached: item.attached, blobs: doc.blobs()}
	if doc.Subject != nil {
		m.subject = doc.Subject.Digest
	}
	var found []wanted
	for _, child := range doc.Manifests {
		m.children = append(m.children, child.Digest)
		found = append(found, wanted{desc: child, attached: item.attached, depth: item.depth + 1})
	}
	w.mu.Lock()
	w.c.Manifests[item.desc.Digest] = m
	err = w.budget.manifest(len(data))
	w.mu.Unlock()
	if err != nil {
		return nil, err
	}
	attached, err := w.attachments(ctx, item.desc.Digest)
	for _, desc := range attached {
		found = append(found, wanted{desc: desc, attached: true, depth: item.depth + 1, listed: true})
	}
	return found, err
}

// attachments are what is attached to a manifest in any way.
func (w *walk) attachments(ctx context.Context, subject digest.Digest) ([]ocispecs.Descriptor, error) {
	list, err := w.list(ctx, subject)
	if err != nil {
		return nil, err
	}
	var tags []Tag
	attached := slices.Clone(list)
	for _, tag := range cosignTags(subject) {
		desc, _, err := w.src.Manifest(ctx, tag)
		if errors.Is(err, registry.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read what is attached to %s as %s: %w", subject, tag, err)
		}
		tags = append(tags, Tag{Name: tag, Subject: subject, Digest: desc.Digest})
		attached = append(attached, plain(desc))
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(list) > 0 {
		w.c.Referrers[subject] = list
	}
	w.c.Tags = append(w.c.Tags, tags...)
	return attached, nil
}

// list is what the referrers API and, with fallback, the fallback index list.
func (w *walk) list(ctx context.Context, subject digest.Digest) ([]ocispecs.Descriptor, error) {
	list, err := w.src.Referrers(ctx, subject)
	if err != nil {
		return nil, fmt.Errorf("list what is attached to %s: %w", subject, err)
	}
	if w.fallback {
		more, err := w.fallbackIndex(ctx, subject)
		if err != nil {
			return nil, err
		}
		list = append(list, more...)
	}
	slices.SortStableFunc(list, byDigest)
	list = slices.CompactFunc(list, func(a, b ocispecs.Descriptor) bool { return a.Digest == b.Digest })
	for _, desc := range list {
		if err := desc.Digest.Validate(); err != nil {
			return nil, fmt.Errorf("list of what is attached to %s: digest %.100q: %w", subject, desc.Digest, err)
		}
	}
	return list, nil
}

func (w *walk) fallbackIndex(ctx context.Context, subject digest.Digest) ([]ocispecs.Descriptor, error) {
	tag := referrer.FallbackTag(subject)
	desc, data, err := w.src.Manifest(ctx, tag)
	if errors.Is(err, registry.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read what is attached to %s as %s: %w", subject, tag, err)
	}
	doc, err := parse(desc.MediaType, data)
	if err != nil {
		return nil, fmt.Errorf("read what is attached to %s as %s: %w", subject, tag, err)
	}
	return doc.Manifests, nil
}

// finish sorts what was found, and describes each referrer by what it says itself.
func (w *walk) finish() error {
	c := w.c
	c.Gone = slices.Sorted(maps.Keys(w.gone))
	slices.SortFunc(c.Tags, func(a, b Tag) int { return strings.Compare(a.Name, b.Name) })
	for subject, list := range c.Referrers {
		list = slices.DeleteFunc(list, func(d ocispecs.Descriptor) bool { return c.Manifests[d.Digest] == nil })
		for i, desc := range list {
			if m := c.Manifests[desc.Digest]; m.subject == subject {
				list[i] = m.Descriptor
			} else {
				list[i].MediaType, list[i].Size = m.Descriptor.MediaType, m.Descriptor.Size
				c.Unlinked[subject] = append(c.Unlinked[subject], list[i])
			}
		}
		if c.Referrers[subject] = list; len(list) == 0 {
			delete(c.Referrers, subject)
		}
	}
	blobs := map[digest.Digest]ocispecs.Descriptor{}
	for _, dgst := range slices.Sorted(maps.Keys(c.Manifests)) {
		for _, desc := range c.Manifests[dgst].blobs {
			if other, twice := blobs[desc.Digest]; twice && other.Size != desc.Size {
				return fmt.Errorf("manifest %s says that blob %s has %d bytes, and another manifest that it has %d", dgst, desc.Digest, desc.Size, other.Size)
			} else if !twice || isForeign(other) {
				blobs[desc.Digest] = desc
			}
		}
	}
	if len(blobs) > maxBlobs {
		return fmt.Errorf("there are more than %d blobs in the image and attached to it", maxBlobs)
	}
	c.Blobs = slices.SortedFunc(maps.Values(blobs), byDigest)
	return nil
}

// image are the image's manifests, in steps: what an index lists before it, and what
// has a subject after that.
func (c *Closure) image() [][]*Manifest {
	return c.steps(func(m *Manifest) bool { return !m.Attached }, func(m *Manifest) []digest.Digest {
		return append(slices.Clone(m.children), m.subject)
	})
}

// attached are the other manifests, in steps. With subjectsFirst each comes after
// what it is attached to, else before.
func (c *Closure) attached(subjectsFirst bool) [][]*Manifest {
	on := map[digest.Digest][]digest.Digest{}
	for subject, list := range c.Referrers {
		for _, desc := range list {
			on[subject] = append(on[subject], desc.Digest)
		}
	}
	for _, tag := range c.Tags {
		on[tag.Subject] = append(on[tag.Subject], tag.Digest)
	}
	return c.steps(func(m *Manifest) bool { return m.Attached }, func(m *Manifest) []digest.Digest {
		if subjectsFirst {
			return append(slices.Clone(m.children), m.subject)
		}
		return append(slices.Clone(m.children), on[m.Descriptor.Digest]...)
	})
}

// steps sorts manifests so that each is in a later step than those that it needs.
func (c *Closure) steps(of func(*Manifest) bool, needs func(*Manifest) []digest.Digest) [][]*Manifest {
	var out [][]*Manifest
	step := map[digest.Digest]int{}
	var visit func(dgst digest.Digest) int
	visit = func(dgst digest.Digest) int {
		m := c.Manifests[dgst]
		if m == nil || !of(m) {
			return -1
		}
		if n, seen := step[dgst]; seen {
			return n
		}
		// An index can list what it is attached to, which makes a circle here.
		step[dgst] = -1
		n := 0
		for _, need := range needs(m) {
			n = max(n, visit(need)+1)
		}
		step[dgst] = n
		for len(out) <= n {
			out = append(out, nil)
		}
		out[n] = append(out[n], m)
		return n
	}
	for _, dgst := range slices.Sorted(maps.Keys(c.Manifests)) {
		visit(dgst)
	}
	return out
}

// choose finds the image of a platform.
func choose(ctx context.Context, src Source, top ocispecs.Descriptor, platform string) (ocispecs.Descriptor, error) {
	want, err := platforms.Parse(platform)
	if err != nil {
		return top, inputErrorf("platform %q: %w", platform, err)
	}
	name := platforms.FormatAll(platforms.Normalize(want))
	desc, data, err := src.Manifest(ctx, top.Digest.String())
	if err != nil {
		return top, err
	}
	doc, err := parse(desc.MediaType, data)
	if err != nil {
		return top, fmt.Errorf("manifest %s: %w", top.Digest, err)
	}
	var have []string
	if !isIndex(doc.MediaType) {
		is, err := configured(ctx, src, doc)
		if err != nil {
			return top, err
		}
		if is == name {
			return top, nil
		}
		have = append(have, is)
	}
	for _, child := range doc.Manifests {
		if child.Platform == nil || child.Platform.OS == "unknown" {
			continue
		}
		is := platforms.FormatAll(platforms.Normalize(*child.Platform))
		if is == name {
			return plain(child), nil
		}
		have = append(have, is)
	}
	return top, inputErrorf("there is no image for %s: there is %s", name, strings.Join(have, ", "))
}

// configured is the platform that an image's configuration states.
func configured(ctx context.Context, src Source, doc *document) (string, error) {
	if doc.Config == nil || doc.Config.Size > maxManifest {
		return "unknown", nil
	}
	rc, err := src.Blob(ctx, *doc.Config)
	if err != nil {
		return "", fmt.Errorf("read the configuration %s: %w", doc.Config.Digest, err)
	}
	defer rc.Close()
	data, err := io.ReadAll(io.LimitReader(rc, doc.Config.Size))
	if err != nil {
		return "", fmt.Errorf("read the configuration %s: %w", doc.Config.Digest, err)
	}
	var p ocispecs.Platform
	if err := json.Unmarshal(data, &p); err != nil || p.OS == "" {
		return "unknown", nil
	}
	return platforms.FormatAll(platforms.Normalize(p)), nil
}
