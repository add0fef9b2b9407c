package transfer

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	digest "github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/temper-images/temper/client/publish"
	"github.com/temper-images/temper/client/referrer"
	"github.com/temper-images/temper/client/registry"
)

// A registry has no way to change what a tag stands for only if nobody else did. So
// what was written is read again, and written again when somebody was in between.
const (
	maxWrites = 10
	meanPause = 200 * time.Millisecond
)

// attach pushes what is attached, and has it listed.
func (p *push) attach(ctx context.Context, subjectsFirst bool) error {
	if err := p.manifests(ctx, p.c.attached(subjectsFirst)); err != nil {
		return err
	}
	return p.lists(ctx, !subjectsFirst)
}

// lists has what is attached found: by Cosign's tags and, where that is needed, by
// the fallback index. What is found already costs a request each. With early what is
// part of the image is left out: an index that lists what is not there is refused.
func (p *push) lists(ctx context.Context, early bool) error {
	api, err := p.dst.HasReferrersAPI(ctx)
	if err != nil {
		return err
	}
	indexes := p.c.Referrers
	if api {
		indexes = p.c.Unlinked
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(readers)
	for _, subject := range slices.Sorted(maps.Keys(indexes)) {
		list := p.expected(indexes[subject], early)
		if len(list) == 0 {
			continue
		}
		group.Go(func() error {
			return p.update(ctx, referrer.FallbackTag(subject), func(_ ocispecs.Descriptor, there []byte) (string, []byte, error) {
				data, changed, err := referrer.MergeIndex(there, list)
				if err != nil || !changed {
					return "", nil, err
				}
				return ocispecs.MediaTypeImageIndex, data, nil
			})
		})
	}
	for _, tag := range p.c.Tags {
		group.Go(func() error {
			return p.update(ctx, tag.Name, func(there ocispecs.Descriptor, data []byte) (string, []byte, error) {
				return p.tagImage(ctx, tag, there, data)
			})
		})
	}
	return group.Wait()
}

// expected are those of a list that are there: early, not what is part of the image.
func (p *push) expected(list []ocispecs.Descriptor, early bool) []ocispecs.Descriptor {
	if !early {
		return list
	}
	return slices.DeleteFunc(slices.Clone(list), func(d ocispecs.Descriptor) bool { return !p.c.Manifests[d.Digest].Attached })
}

// update changes what a tag stands for. change is told what is there, nil for
// nothing, and returns what should be, nil when it is right as it is.
func (p *push) update(ctx context.Context, tag string, change func(there ocispecs.Descriptor, data []byte) (mediaType string, want []byte, err error)) error {
	for n := 0; ; n++ {
		// What was just written is read at once.
		if n > 1 {
			if err := pause(ctx, meanPause); err != nil {
				return err
			}
		}
		there, data, err := p.dst.Manifest(ctx, tag)
		if errors.Is(err, registry.ErrNotFound) {
			there, data, err = ocispecs.Descriptor{}, nil, nil
		}
		if err != nil {
			return err
		}
		mediaType, want, err := change(there, data)
		if err != nil {
			return fmt.Errorf("add to the tag %s: %w", tag, err)
		}
		if want == nil {
			return nil
		}
		if n == maxWrites {
			return &CheckError{p.dst.Name(), fmt.Errorf("the tag %s was written %d times, and somebody else wrote it each time", tag, n)}
		}
		began := time.Now()
		err = p.dst.PutManifest(ctx, tag, mediaType, want)
		p.mu.Lock()
		p.wrote, p.slowest = p.wrote+1, max(p.slowest, time.Since(began))
		p.mu.Unlock()
		if registry.IsImmutableTag(err) {
			return fmt.Errorf("write the tag %s: %w. The registry lets no tag change, and what is attached is added to this one: except tags that begin with sha256- from that rule", tag, err)
		}
		if err != nil {
			return fmt.Errorf("write the tag %s: %w", tag, err)
		}
	}
}

// settle looks again, some time after the last write, whether what was written is
// still there: somebody who read the tag before that may have written it after, and
// cannot know what was lost.
func (p *push) settle(ctx context.Context) error {
	for range maxWrites {
		p.mu.Lock()
		wrote, slowest := p.wrote, p.slowest
		p.mu.Unlock()
		if wrote > 0 {
			if err := pause(ctx, max(meanPause, 3*slowest)); err != nil {
				return err
			}
		}
		if err := p.lists(ctx, false); err != nil || p.wrote == wrote {
			return err
		}
	}
	return &CheckError{p.dst.Name(), errors.New("somebody else writes the lists of what is attached all the time")}
}

// pause waits for a while that differs from that of others who wait.
func pause(ctx context.Context, mean time.Duration) error {
	t := time.NewTimer(time.Duration(float64(mean) * (0.5 + rand.Float64()))) //nolint:gosec // nobody gains by guessing it
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// tagImage is what a tag of Cosign's has to stand for: what it does at the source,
// together with what there is.
func (p *push) tagImage(ctx context.Context, tag Tag, there ocispecs.Descriptor, data []byte) (string, []byte, error) {
	ours := p.c.Manifests[tag.Digest]
	switch {
	case data == nil:
		return ours.Descriptor.MediaType, ours.Data, nil
	case there.Digest == tag.Digest:
		return "", nil, nil
	case strings.HasSuffix(tag.Name, ".sbom"):
		// Cosign knows one document there.
		if !p.o.MoveTag {
			return "", nil, &publish.TagExistsError{Tag: p.dst.Name().Tag(tag.Name), Has: there.Digest, Want: tag.Digest}
		}
		return ours.Descriptor.MediaType, ours.Data, nil
	}
	theirs, err := readTagImage(ctx, p.dst, there.Digest, data)
	if err != nil {
		return "", nil, err
	}
	add, err := readTagImage(ctx, p.src, tag.Digest, ours.Data)
	if err != nil {
		return "", nil, err
	}
	merged, err := theirs.Merge(add)
	if err != nil || merged == nil {
		return "", nil, err
	}
	// The layers are there, theirs and ours.
	for _, b := range merged.Blobs {
		open := func(offset int64) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Data[offset:])), nil }
		if _, err := p.dst.PushBlob(ctx, b.Descriptor, open, registry.BlobOptions{}); err != nil {
			return "", nil, err
		}
	}
	return merged.Descriptor.MediaType, merged.Data, nil
}

// readTagImage reads the configuration of an image under a tag of Cosign's.
func readTagImage(ctx context.Context, src Source, dgst digest.Digest, manifest []byte) (referrer.TagImage, error) {
	t := referrer.TagImage{Digest: dgst, Manifest: manifest}
	var doc document
	if err := json.Unmarshal(manifest, &doc); err != nil || doc.Config == nil {
		return t, errors.New("what is there is no image of signatures, and is not replaced")
	}
	if doc.Config.Size > maxManifest {
		return t, fmt.Errorf("its configuration has %d bytes", doc.Config.Size)
	}
	rc, err := src.Blob(ctx, *doc.Config)
	if err != nil {
		return t, fmt.Errorf("read its configuration: %w", err)
	}
	defer rc.Close()
	var config bytes.Buffer
	err = copyBlob(ctx, &config, rc, *doc.Config, func(int64) {})
	t.Config = config.Bytes()
	return t, err
}

// tagged checks that a tag of Cosign's has what it has at the source.
func (p *push) tagged(ctx context.Context, tag Tag) error {
	there, data, err := p.dst.Manifest(ctx, tag.Name)
	if err != nil {
		return p.missing(err, "the tag %s is not there", tag.Name)
	}
	if there.Digest == tag.Digest {
		return nil
	}
	var have, want document
	if err := json.Unmarshal(data, &have); err != nil {
		return &CheckError{p.dst.Name(), fmt.Errorf("the tag %s stands for no manifest: %w", tag.Name, err)}
	}
	if err := json.Unmarshal(p.c.Manifests[tag.Digest].Data, &want); err != nil {
		return err
	}
	for _, layer := range want.Layers {
		if !slices.ContainsFunc(have.Layers, func(d ocispecs.Descriptor) bool {
			return d.Digest == layer.Digest && maps.Equal(d.Annotations, layer.Annotations)
		}) {
			return &CheckError{p.dst.Name(), fmt.Errorf("the tag %s was written, and does not have %s now: somebody else writes it too", tag.Name, layer.Digest)}
		}
	}
	return nil
}

// pending is the destination as it will be when the image's manifests are there too.
// What is signed can be verified before.
type pending struct {
	Source
	c *Closure
}

// Manifest reads a manifest of the image, or what is there.
func (s pending) Manifest(ctx context.Context, ref string) (ocispecs.Descriptor, []byte, error) {
	if m := s.c.Manifests[digest.Digest(ref)]; m != nil && !m.Attached {
		return plain(m.Descriptor), m.Data, nil
	}
	return s.Source.Manifest(ctx, ref)
}
