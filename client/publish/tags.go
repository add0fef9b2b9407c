package publish

import (
	"context"
	"errors"
	"fmt"

	digest "github.com/opencontainers/go-digest"

	"github.com/temper-images/temper/client/registry"
)

// checkTags finds out what the tags name, and refuses those that name another
// image.
func (p *publication) checkTags(ctx context.Context) error {
	p.out.Tags = p.out.Tags[:0]
	for _, g := range p.t.tags {
		was, err := p.named(ctx, g.tag.TagStr())
		if err != nil {
			return err
		}
		if err := p.mayName(g, was); err != nil {
			return err
		}
		p.out.Tags = append(p.out.Tags, Tagged{Tag: g.tag.TagStr(), Digest: g.manifest.Descriptor.Digest, Was: was})
	}
	return nil
}

// named is what a tag names: empty when there is none.
func (p *publication) named(ctx context.Context, tag string) (digest.Digest, error) {
	d, err := p.repo.Head(ctx, tag)
	if errors.Is(err, registry.ErrNotFound) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("ask what %s:%s names: %w", p.out.Repository, tag, err)
	}
	return d.Digest, nil
}

func (p *publication) mayName(g tagging, has digest.Digest) error {
	if want := g.manifest.Descriptor.Digest; has != "" && has != want && !p.r.MoveTags {
		return &TagExistsError{Tag: g.tag, Has: has, Want: want}
	}
	return nil
}

// writeTags writes the tags that do not name the image yet.
func (p *publication) writeTags(ctx context.Context) error {
	for i, g := range p.t.tags {
		tag, d := g.tag.TagStr(), g.manifest.Descriptor
		if p.out.Tags[i].Was == d.Digest {
			continue
		}
		// Pushing took its time: another release may have been faster.
		has, err := p.named(ctx, tag)
		if err != nil {
			return err
		}
		if has == d.Digest {
			continue
		}
		if err := p.mayName(g, has); err != nil {
			return err
		}
		p.out.Tags[i].Was = has
		err = p.note("tag", tag+" "+d.Digest.String(), func() error {
			return p.repo.PutManifest(ctx, tag, d.MediaType, g.manifest.Data)
		})
		if err != nil {
			return p.tagRefused(ctx, g, err)
		}
	}
	return nil
}

// tagRefused finds out whether the registry lets no tag move.
func (p *publication) tagRefused(ctx context.Context, g tagging, err error) error {
	if registry.IsImmutableTag(err) {
		has, herr := p.named(ctx, g.tag.TagStr())
		switch want := g.manifest.Descriptor.Digest; {
		case herr == nil && has == want:
			return nil
		case herr == nil && has != "":
			return errors.Join(&TagExistsError{Tag: g.tag, Has: has, Want: want}, fmt.Errorf("the registry moves no tags: %w", err))
		}
	}
	return fmt.Errorf("write the tag %s: %w", g.tag, err)
}

// finish looks at the tags for a last time, and at what other releases may have
// done to the tags beside the manifests.
func (p *publication) finish(ctx context.Context) error {
	if err := p.each(ctx, p.subjects, p.stillThere); err != nil {
		return err
	}
	for _, g := range p.t.tags {
		has, err := p.named(ctx, g.tag.TagStr())
		if err != nil {
			return err
		}
		switch want := g.manifest.Descriptor.Digest; has {
		case want:
		case "":
			return fmt.Errorf("the tag %s was written, and is not there: run the release again", g.tag)
		default:
			return &TagExistsError{Tag: g.tag, Has: has, Want: want}
		}
	}
	return nil
}
