package release

import (
	"context"
	"errors"
	"fmt"

	"github.com/temper-images/temper/client/artifact"
	"github.com/temper-images/temper/client/build"
	"github.com/temper-images/temper/client/evidence"
	"github.com/temper-images/temper/client/ocilayout"
	"github.com/temper-images/temper/client/publish"
	"github.com/temper-images/temper/client/subject"
)

// Publication says what became of Publish.
type Publication struct {
	// Published is nil and Plan is not, when that was asked for.
	Published *publish.Result
	Plan      *publish.Plan
	// Bare are the platforms of the images that the evidence store has nothing about:
	// they are published with their signature alone.
	Bare []string
}

// Publish publishes an image that exists in an OCI layout, "DIR", "DIR:TAG" or
// "DIR@DIGEST", under tags. What the evidence store has about it is attested beside it.
func Publish(ctx context.Context, layout string, tags []string, o Options) (_ *Publication, err error) {
	to, err := o.publication(&build.Request{Tags: tags})
	if err != nil {
		return nil, err
	}
	if to == nil {
		return nil, &build.InputError{Err: errors.New("say with -t where the image is to be published")}
	}
	if err := o.checkStore(ctx); err != nil {
		return nil, err
	}
	if err := checkKey(o.Settings.Sign.Key); err != nil {
		return nil, err
	}
	set, err := subject.Open(ctx, layout, subject.Options{})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, set.Close()) }()
	dir, ref, ok := ocilayout.ParseRef("oci-layout://" + layout)
	if !ok {
		return nil, &build.InputError{Err: fmt.Errorf("%s: an OCI layout is published", layout)}
	}
	if err := to.open(ctx, dir, ref); err != nil {
		return nil, &build.InputError{Err: err}
	}
	defer func() { err = errors.Join(err, to.image.Close()) }()
	out := &Publication{}
	e, err := o.stored(ctx, set, out)
	if err != nil {
		return nil, err
	}
	if to.dry {
		err := to.plan(e)
		out.Plan = to.planned
		return out, err
	}
	signer, err := o.openSigner(ctx)
	if err != nil {
		return nil, err
	}
	if signer != nil {
		defer func() { err = errors.Join(err, signer.Close()) }()
	}
	err = to.run(ctx, e, signer, nil)
	out.Published = to.published
	return out, err
}

// stored is the evidence that the store has about images.
func (o Options) stored(ctx context.Context, set *subject.Set, out *Publication) (_ *Evidence, err error) {
	store, err := o.openStore(ctx, nil)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	e := &Evidence{URL: store.URL()}
	for _, img := range set.Images {
		made := &ImageEvidence{Image: img}
		e.Images = append(e.Images, made)
		index, err := store.Index(ctx, img.Digest)
		var nothing *evidence.NotStoredError
		if errors.As(err, &nothing) {
			out.Bare = append(out.Bare, img.Platform)
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, d := range index.Current() {
			if d.PredicateType == "" && d.MediaType != artifact.TypeInToto {
				continue
			}
			data, err := store.Get(ctx, d.Object)
			if err != nil {
				return nil, err
			}
			made.Documents = append(made.Documents, artifact.Artifact{
				Kind: d.Kind, Name: d.Name, MediaType: d.MediaType, PredicateType: d.PredicateType, Platform: d.Platform, Data: data,
			})
		}
	}
	return e, nil
}
