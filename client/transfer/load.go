package transfer

import (
	"context"
	"errors"
	"fmt"
	"io"

	"golang.org/x/sync/errgroup"

	"github.com/temper-images/temper/client/registry"
)

// Check reads all of an image and of what is attached to it, so that nothing of a
// damaged archive is pushed. Layers that lie elsewhere may be absent. Errors are
// *InputError, *ArchiveError, or of the context.
func (a *Archive) Check(ctx context.Context, img Image, o Options) error {
	c, err := Collect(ctx, a, img.Top, o.Platform)
	if err != nil {
		return a.whole(ctx, err)
	}
	if len(c.Gone) > 0 {
		return &ArchiveError{a.Path, fmt.Errorf("it lists %s as attached, and has it not", c.Gone[0])}
	}
	group, both := errgroup.WithContext(ctx)
	group.SetLimit(blobWorkers)
	for _, desc := range c.Blobs {
		if both.Err() != nil {
			break
		}
		group.Go(func() error {
			rc, err := a.Blob(both, desc)
			if isForeign(desc) && errors.Is(err, registry.ErrNotFound) {
				return nil
			}
			if err != nil {
				return err
			}
			defer rc.Close()
			return copyBlob(both, io.Discard, rc, desc, func(done int64) { o.progress(desc, done) })
		})
	}
	return a.whole(ctx, group.Wait())
}

// whole says of errors that they are about the archive.
func (a *Archive) whole(ctx context.Context, err error) error {
	var input *InputError
	var damaged *ArchiveError
	if err == nil || ctx.Err() != nil || errors.As(err, &input) || errors.As(err, &damaged) {
		return err
	}
	return &ArchiveError{a.Path, err}
}

// Load pushes the image ref of the archive at path, with everything attached, as Copy
// does; an empty ref stands for the only image. tag is told its name in the archive,
// which may be empty, and says which tag it gets. All of it is checked before anything
// is pushed. Errors are *ArchiveError and those of Copy.
func Load(ctx context.Context, path, ref string, dst *registry.Repository, tag func(name string) string, o Options) (*Result, error) {
	a, err := OpenArchive(ctx, path)
	if err != nil {
		return nil, err
	}
	defer a.Close()
	img := Image{Source: a}
	if img.Top, img.Name, err = a.Resolve(ref); err != nil {
		return nil, err
	}
	quiet := o
	if o.Progress != nil {
		quiet.Progress = func(blob string, done, total int64) { o.Progress("checking "+blob, done, total) }
	}
	if err := a.Check(ctx, img, quiet); err != nil {
		return nil, err
	}
	return Copy(ctx, img, dst, tag(img.Name), o)
}
