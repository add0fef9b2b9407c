package transfer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	digest "github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/temper-images/temper/client/publish"
	"github.com/temper-images/temper/client/registry"
)

// Copy pushes an image with everything attached into a repository, under a tag or,
// when that is empty, under its digest only. Blobs come first, then what is attached,
// then the image, its tag last; a registry that refuses what is attached to something
// that it does not have gets the image's manifests before, by digest. What is there
// already is not pushed again, so that a copy that was broken off goes on. Before the
// tag is written everything is read back.
//
// Errors are *InputError, *publish.TagExistsError, *CheckError, those of package
// registry and of o.Verify.
func Copy(ctx context.Context, img Image, dst *registry.Repository, tag string, o Options) (*Result, error) {
	c, result, err := gather(ctx, img, &o)
	if err != nil {
		return nil, err
	}
	p := &push{c: c, src: img.Source, dst: dst, o: &o, result: result}
	result.Name = dst.Name().Name() + "@" + c.Top.Digest.String()
	if tag != "" {
		result.Name = dst.Name().Tag(tag).Name()
	}
	return result, p.run(ctx, tag)
}

// push is one image on its way.
type push struct {
	c      *Closure
	src    Source
	dst    *registry.Repository
	o      *Options
	mu     sync.Mutex
	result *Result
	// wrote counts how often a tag beside the image was written, and slowest is how
	// long that took at most.
	wrote   int
	slowest time.Duration
}

func (p *push) run(ctx context.Context, tag string) error {
	done, err := p.checkTag(ctx, tag)
	if err != nil {
		return err
	}
	if err := p.blobs(ctx); err != nil {
		return err
	}
	err = p.attach(ctx, false)
	var unlisted *unlistedError
	if err == nil {
		err = p.listedAll(ctx, true)
	}
	if registry.IsAbsentSubject(err) || errors.As(err, &unlisted) {
		p.o.notice("registry %s does not take, or does not list, what is attached to an image that is not there: it gets the image first, by digest", p.dst.Name().RegistryStr())
		p.result.FellBack = true
		if err = p.manifests(ctx, p.c.image()); err == nil {
			err = p.attach(ctx, true)
		}
	}
	if err != nil {
		return err
	}
	// What is signed is verified before there is an image that somebody may pull.
	if p.o.Verify != nil {
		if err := p.o.Verify(ctx, pending{p.dst, p.c}, p.c.Top); err != nil {
			return fmt.Errorf("verify %s as it arrived in %s: %w", p.c.Top.Digest, p.dst.Name(), err)
		}
	}
	if err := p.manifests(ctx, p.c.image()); err != nil {
		return err
	}
	if err := p.lists(ctx, false); err != nil {
		return err
	}
	if err := p.settle(ctx); err != nil {
		return err
	}
	if err := p.check(ctx); err != nil {
		return err
	}
	if tag == "" || done {
		return nil
	}
	return p.tag(ctx, tag)
}

// checkTag says whether the tag stands for the image already.
func (p *push) checkTag(ctx context.Context, tag string) (done bool, err error) {
	if tag == "" {
		return false, nil
	}
	there, err := p.dst.Head(ctx, tag)
	switch {
	case errors.Is(err, registry.ErrNotFound):
		return false, nil
	case err != nil:
		return false, err
	case there.Digest == p.c.Top.Digest:
		return true, nil
	case !p.o.MoveTag:
		return false, &publish.TagExistsError{Tag: p.dst.Name().Tag(tag), Has: there.Digest, Want: p.c.Top.Digest}
	}
	return false, nil
}

func (p *push) tag(ctx context.Context, tag string) error {
	// Somebody may have been faster.
	if done, err := p.checkTag(ctx, tag); done || err != nil {
		return err
	}
	top := p.c.Manifests[p.c.Top.Digest]
	if err := p.dst.PutManifest(ctx, tag, top.Descriptor.MediaType, top.Data); err != nil {
		return fmt.Errorf("write the tag %s: %w", p.result.Name, err)
	}
	there, err := p.dst.Head(ctx, tag)
	if err != nil {
		return fmt.Errorf("read the tag %s back: %w", p.result.Name, err)
	}
	if there.Digest != p.c.Top.Digest {
		return &CheckError{p.dst.Name(), fmt.Errorf("the tag %s was written, and is %s now and not %s: somebody else writes it too", tag, there.Digest, p.c.Top.Digest)}
	}
	return nil
}

// blobs pushes the blobs, several at once.
func (p *push) blobs(ctx context.Context) error {
	var from []name.Repository
	if src, ok := p.src.(*registry.Repository); ok && src.Name().RegistryStr() == p.dst.Name().RegistryStr() {
		from = append(from, src.Name())
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(blobWorkers)
	for _, desc := range p.c.Blobs {
		if ctx.Err() != nil {
			break
		}
		group.Go(func() error { return p.blob(ctx, desc, from) })
	}
	return group.Wait()
}

func (p *push) blob(ctx context.Context, desc ocispecs.Descriptor, from []name.Repository) error {
	o := registry.BlobOptions{From: from, Progress: func(done, _ int64) { p.o.progress(desc, done) }}
	how, err := p.dst.PushBlob(ctx, desc, func(offset int64) (io.ReadCloser, error) { return openBlob(ctx, p.src, desc, offset) }, o)
	p.mu.Lock()
	defer p.mu.Unlock()
	if isForeign(desc) && errors.Is(err, registry.ErrNotFound) {
		p.result.Foreign = append(p.result.Foreign, desc.Digest)
		slices.Sort(p.result.Foreign)
		return nil
	}
	if err != nil {
		return fmt.Errorf("copy blob %s: %w", desc.Digest, err)
	}
	p.result.Blobs++
	p.result.Bytes += desc.Size
	switch how {
	case registry.Pushed:
		p.result.Pushed++
	case registry.Mounted:
		p.result.Mounted++
	}
	return nil
}

// openBlob opens a blob from an offset on.
func openBlob(ctx context.Context, src Source, desc ocispecs.Descriptor, offset int64) (io.ReadCloser, error) {
	if a, ok := src.(interface {
		blobFrom(context.Context, ocispecs.Descriptor, int64) (io.ReadCloser, error)
	}); ok {
		return a.blobFrom(ctx, desc, offset)
	}
	rc, err := src.Blob(ctx, desc)
	if err != nil {
		return nil, err
	}
	if _, err := io.CopyN(io.Discard, rc, offset); err != nil {
		return nil, errors.Join(err, rc.Close())
	}
	return rc, nil
}

// manifests pushes manifests by digest, a step after the other.
func (p *push) manifests(ctx context.Context, steps [][]*Manifest) error {
	for _, step := range steps {
		group, ctx := errgroup.WithContext(ctx)
		group.SetLimit(readers)
		for _, m := range step {
			group.Go(func() error { return p.manifest(ctx, m) })
		}
		if err := group.Wait(); err != nil {
			return err
		}
	}
	return nil
}

func (p *push) manifest(ctx context.Context, m *Manifest) error {
	ref := m.Descriptor.Digest.String()
	_, err := p.dst.Head(ctx, ref)
	if err == nil {
		return nil
	}
	if !errors.Is(err, registry.ErrNotFound) {
		return err
	}
	if err := p.dst.PutManifest(ctx, ref, m.Descriptor.MediaType, m.Data); err != nil {
		return fmt.Errorf("push manifest %s: %w", m.Descriptor.Digest, err)
	}
	return nil
}

// CheckError says that what was pushed is not what the registry has. No tag was
// written.
type CheckError struct {
	Repository name.Repository
	Err        error
}

func (e *CheckError) Error() string {
	return fmt.Sprintf("check the copy in %s: %v; run the command again", e.Repository, e.Err)
}
func (e *CheckError) Unwrap() error { return e.Err }

// check reads back that everything is there and is listed.
func (p *push) check(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(readers)
	for dgst, m := range p.c.Manifests {
		group.Go(func() error {
			desc, _, err := p.dst.Manifest(ctx, dgst.String())
			if err != nil {
				return p.missing(err, "manifest %s is not there", dgst)
			}
			if desc.MediaType != m.Descriptor.MediaType {
				return &CheckError{p.dst.Name(), fmt.Errorf("manifest %s has the media type %.100q and not %s", dgst, desc.MediaType, m.Descriptor.MediaType)}
			}
			return nil
		})
	}
	for _, desc := range p.c.Blobs {
		if slices.Contains(p.result.Foreign, desc.Digest) {
			continue
		}
		group.Go(func() error {
			there, err := p.dst.HasBlob(ctx, desc.Digest)
			if err != nil {
				return err
			}
			if !there {
				return p.missing(registry.ErrNotFound, "blob %s is not there", desc.Digest)
			}
			return nil
		})
	}
	group.Go(func() error { return p.listedAll(ctx, false) })
	for _, tag := range p.c.Tags {
		group.Go(func() error { return p.tagged(ctx, tag) })
	}
	return group.Wait()
}

// missing makes a *CheckError of what is not found; other errors stay.
func (p *push) missing(err error, format string, args ...any) error {
	var wrong *registry.DigestError
	if errors.Is(err, registry.ErrNotFound) || errors.As(err, &wrong) {
		return &CheckError{p.dst.Name(), fmt.Errorf(format+": %w", append(args, err)...)}
	}
	return err
}

// How often a registry is asked for a list until it has what was pushed: some need
// a while, and some list nothing for a manifest that they do not have.
const (
	listedRounds   = 8
	unlistedRounds = 4
)

// unlistedError says that a registry took something that is attached to a manifest
// and does not list it.
type unlistedError struct{ err error }

func (e *unlistedError) Error() string { return e.err.Error() }
func (e *unlistedError) Unwrap() error { return e.err }

// listedAll checks that what is attached is found by who has the digest that it is
// attached to.
func (p *push) listedAll(ctx context.Context, early bool) error {
	rounds := listedRounds
	if early {
		rounds = unlistedRounds
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(readers)
	for subject, want := range p.c.Referrers {
		want = p.expected(want, early)
		group.Go(func() error {
			for round := 1; ; round++ {
				lacking, err := p.unlisted(ctx, subject, want)
				if err != nil || lacking == "" {
					return err
				}
				if round == rounds {
					return &unlistedError{&CheckError{p.dst.Name(), fmt.Errorf("%s was pushed, and is not listed as attached to %s", lacking, subject)}}
				}
				if err := pause(ctx, meanPause); err != nil {
					return err
				}
			}
		})
	}
	return group.Wait()
}

// unlisted is the first that the list of a manifest lacks.
func (p *push) unlisted(ctx context.Context, subject digest.Digest, want []ocispecs.Descriptor) (digest.Digest, error) {
	w := &walk{src: p.dst, fallback: len(p.c.Unlinked[subject]) > 0}
	list, err := w.list(ctx, subject)
	if err != nil {
		return "", err
	}
	for _, desc := range want {
		if !slices.ContainsFunc(list, func(d ocispecs.Descriptor) bool { return d.Digest == desc.Digest }) {
			return desc.Digest, nil
		}
	}
	return "", nil
}
