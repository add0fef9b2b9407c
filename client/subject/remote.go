package subject

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	digest "github.com/opencontainers/go-digest"
)

func openRemote(ctx context.Context, spec string, o Options) (*Set, error) {
	var opts []name.Option
	if o.Insecure {
		opts = append(opts, name.Insecure)
	}
	ref, err := name.ParseReference(spec, opts...)
	if err != nil {
		return nil, fmt.Errorf("there is no such file or directory, and it is no registry reference: %w", err)
	}
	ro := []remote.Option{remote.WithContext(ctx)}
	if o.Keychain != nil {
		ro = append(ro, remote.WithAuthFromKeychain(o.Keychain))
	}
	desc, err := remote.Get(ref, ro...)
	if err != nil {
		return nil, remoteError(ctx, spec, err)
	}
	s := &Set{close: func() error { return nil }}
	w := remoteWalker{set: s, attached: map[digest.Digest][]attachment{}}
	switch {
	case desc.MediaType.IsIndex():
		idx, err := desc.ImageIndex()
		if err != nil {
			return nil, err
		}
		err = w.walk(idx, digest.Digest(desc.Digest.String()), 0)
		if err != nil {
			return nil, remoteError(ctx, spec, err)
		}
	case desc.MediaType.IsImage():
		img, err := desc.Image()
		if err != nil {
			return nil, err
		}
		out, err := newImage(img, digest.Digest(desc.Digest.String()), "")
		if err != nil {
			return nil, remoteError(ctx, spec, err)
		}
		s.Images = append(s.Images, out)
	default:
		return nil, fmt.Errorf("it has the media type %q, which is no image", desc.MediaType)
	}
	for _, img := range s.Images {
		img.name(spec, spec)
		img.attached = w.attached[img.Digest]
	}
	return s, nil
}

// remoteError tells a registry that says no from one that does not answer.
func remoteError(ctx context.Context, spec string, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	var t *transport.Error
	if errors.As(err, &t) {
		switch t.StatusCode {
		case http.StatusNotFound:
			return fmt.Errorf("there is no such file or directory, and the registry has no such image: %w", err)
		case http.StatusUnauthorized, http.StatusForbidden:
			return fmt.Errorf("the registry wants other credentials (docker login): %w", err)
		}
	}
	return &UnreachableError{Spec: spec, Err: err}
}

type remoteWalker struct {
	set      *Set
	attached map[digest.Digest][]attachment
}

func (w *remoteWalker) walk(idx v1.ImageIndex, dgst digest.Digest, depth int) error {
	if depth == maxDepth {
		return fmt.Errorf("indexes lie more than %d deep in each other", maxDepth)
	}
	m, err := idx.IndexManifest()
	if err != nil {
		return err
	}
	for _, desc := range m.Manifests {
		switch {
		case desc.MediaType.IsIndex():
			child, err := idx.ImageIndex(desc.Digest)
			if err != nil {
				return err
			}
			if err := w.walk(child, digest.Digest(desc.Digest.String()), depth+1); err != nil {
				return err
			}
		case isAttestation(desc.Annotations):
			img, err := idx.Image(desc.Digest)
			if err != nil {
				return err
			}
			about := digest.Digest(desc.Annotations[annotationReferenceDigest])
			w.attached[about] = append(w.attached[about], attachment{img})
		case desc.MediaType.IsImage():
			img, err := idx.Image(desc.Digest)
			if err != nil {
				return err
			}
			out, err := newImage(img, digest.Digest(desc.Digest.String()), dgst)
			if err != nil {
				return err
			}
			w.set.Images = append(w.set.Images, out)
		default:
			return fmt.Errorf("manifest %s has the media type %q, which is no image", desc.Digest, desc.MediaType)
		}
	}
	return nil
}
