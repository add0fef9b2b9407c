package publish

import (
	"errors"
	"fmt"
	"slices"

	"github.com/google/go-containerregistry/pkg/name"
)

// target is a repository and the tags that are written there, in that order.
type target struct {
	repo name.Repository
	tags []tagging
}

// tagging is a tag and what it is to name.
type tagging struct {
	tag      name.Tag
	manifest *Manifest
}

// refused is the tag that nobody gets: what it names changes under whoever uses it.
const refused = "latest"

// targets checks the request, and sorts the tags by repository: in each those of
// the platforms before the others.
func (r *Request) targets() ([]target, error) {
	switch {
	case r.Image == nil || len(r.Image.Manifests) == 0:
		return nil, &RequestError{errors.New("there is no image")}
	case len(r.Tags) == 0:
		return nil, &RequestError{errors.New("there is no tag: say what the image is to be called")}
	}
	if _, err := ParseOrder(string(r.Order)); err != nil {
		return nil, &RequestError{err}
	}
	for subject, list := range r.Attachments {
		if r.Image.Manifest(subject) == nil {
			return nil, &RequestError{fmt.Errorf("%d attestations are about %s, which is no manifest of the image", len(list), subject)}
		}
	}
	var list []target
	seen := map[string]*Manifest{}
	add := func(tag name.Tag, m *Manifest) error {
		switch before := seen[tag.String()]; {
		case before == m:
			return nil
		case before != nil:
			return &RequestError{fmt.Errorf("%s is to name both %s (%s) and %s (%s)", tag,
				before.Descriptor.Digest, before.Platform, m.Descriptor.Digest, m.Platform)}
		}
		seen[tag.String()] = m
		n := slices.IndexFunc(list, func(t target) bool { return t.repo.String() == tag.Repository.String() })
		if n < 0 {
			n, list = len(list), append(list, target{repo: tag.Repository})
		}
		list[n].tags = append(list[n].tags, tagging{tag, m})
		return nil
	}
	for _, tag := range r.Tags {
		if tag.TagStr() == refused {
			return nil, &RequestError{fmt.Errorf("%s: the tag %s says nothing of what it names, and is not written; name a version", tag, refused)}
		}
	}
	if r.ArchTags {
		for _, tag := range r.Tags {
			for _, m := range r.Image.Platforms() {
				of, err := name.NewTag(tag.Repository.String()+":"+tag.TagStr()+"-"+m.Arch(), weak(tag)...)
				if err != nil {
					return nil, &RequestError{fmt.Errorf("tag for %s: %w", m.Platform, err)}
				}
				if err := add(of, m); err != nil {
					return nil, err
				}
			}
		}
	}
	for _, tag := range r.Tags {
		if err := add(tag, r.Image.Manifest(r.Image.Top.Digest)); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// weak keeps a registry that is asked over HTTP one.
func weak(tag name.Tag) []name.Option {
	if tag.Scheme() == "http" {
		return []name.Option{name.Insecure}
	}
	return nil
}
