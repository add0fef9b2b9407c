package publish

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"sync"

	"github.com/google/go-containerregistry/pkg/name"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/temper-images/temper/client/referrer"
	"github.com/temper-images/temper/client/registry"
)

// shown is the size, in bytes, from which the display has a line for a blob.
const shown = 1 << 20

// counting guards what is counted in Published.
var counting sync.Mutex

func (p *publication) count(f func(*Published)) {
	counting.Lock()
	defer counting.Unlock()
	f(p.out)
}

// mounts are the repositories that may have the image's layers.
func (r *Request) mounts() []name.Repository {
	list := append([]name.Repository{}, r.From...)
	for _, m := range r.Image.Manifests {
		for _, base := range m.Bases {
			if ref, err := name.ParseReference(base); err == nil {
				list = append(list, ref.Context())
			}
		}
	}
	return list
}

// sources are those of mounts in the same registry.
func (p *publication) sources() []name.Repository {
	var list []name.Repository
	seen := map[string]bool{p.t.repo.String(): true}
	for _, from := range p.from {
		if from.RegistryStr() == p.t.repo.RegistryStr() && !seen[from.String()] {
			seen[from.String()] = true
			list = append(list, from)
		}
	}
	return list
}

// pushBlobs pushes the blobs of the manifests that the registry does not have: of
// the others it has the blobs.
func (p *publication) pushBlobs(ctx context.Context) error {
	var missing []*Manifest
	for _, s := range p.subjects {
		if !s.present {
			missing = append(missing, s.Manifest)
		}
	}
	from := p.sources()
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for _, b := range blobs(missing) {
		group.Go(func() error {
			return p.pushBlob(ctx, b, registry.BlobOptions{From: from}, func(offset int64) (io.ReadCloser, error) { return p.r.Image.open(ctx, b, offset) })
		})
	}
	return group.Wait()
}

// pushBlob pushes a blob once, however many manifests have it: all referrers share
// one, and a registry need not cope with the same blob twice at a time.
func (p *publication) pushBlob(ctx context.Context, b ocispecs.Descriptor, o registry.BlobOptions, open func(int64) (io.ReadCloser, error)) error {
	_, err, _ := p.flights.Do("blob "+b.Digest.String(), func() (any, error) {
		if _, there := p.there.Load(b.Digest); there {
			return nil, nil
		}
		if b.Size >= shown {
			o.Progress = func(sent, total int64) { p.step.Progress("pushing "+b.Digest.String(), sent, total) }
		}
		done, err := p.repo.PushBlob(ctx, b, open, o)
		if err != nil {
			return nil, fmt.Errorf("push the blob %s: %w", b.Digest, err)
		}
		p.there.Store(b.Digest, nil)
		p.count(func(out *Published) {
			switch done {
			case registry.Mounted:
				out.Blobs.Mounted++
			case registry.Present:
				out.Blobs.Present++
			default:
				out.Blobs.Pushed++
				out.Blobs.PushedBytes += b.Size
			}
		})
		return nil, nil
	})
	return err
}

// pushReferrer pushes a manifest that something is signed with: its blobs first.
func (p *publication) pushReferrer(ctx context.Context, m *referrer.Manifest) error {
	for round := 1; ; round++ {
		err := p.pushReferrerOnce(ctx, m)
		if round == refusals || !registry.IsAbsentSubject(err) {
			return err
		}
		// The same is said of a blob of the manifest's own, which a registry may not
		// know quite yet: all referrers share one, and docker-registry writes in place.
		if err := pause(ctx, round); err != nil {
			return err
		}
	}
}

// small is the size, in bytes, below which a blob that is signed is sent without a
// question whether it is there.
const small = 64 << 10

// refusals is how often a registry refuses a manifest for something absent until it
// is believed.
const refusals = 3

func (p *publication) pushReferrerOnce(ctx context.Context, m *referrer.Manifest) error {
	for _, b := range m.Blobs {
		// Nobody has a signature that was just made. Where this goes on with what was
		// killed, what is small is sent sooner than it is asked for.
		o := registry.BlobOptions{New: b.Descriptor.Size < small}
		err := p.pushBlob(ctx, b.Descriptor, o, func(offset int64) (io.ReadCloser, error) {
			return io.NopCloser(bytes.NewReader(b.Data[offset:])), nil
		})
		if err != nil {
			return err
		}
	}
	ref := m.Tag
	if ref == "" {
		ref = m.Descriptor.Digest.String()
	}
	err := p.note("referrer", ref+" "+m.Descriptor.Digest.String(), func() error {
		return p.repo.PutManifest(ctx, ref, m.Descriptor.MediaType, m.Data)
	})
	if err != nil {
		return fmt.Errorf("push what is signed about %s (%s): %w", m.Subject, ref, err)
	}
	return nil
}
