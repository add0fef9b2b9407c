package transfer

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	digest "github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/temper-images/temper/client/referrer"
	"github.com/temper-images/temper/client/registry"
)

// blobWorkers is how many blobs are under way at once.
const blobWorkers = 4

// Image is an image at its source.
type Image struct {
	Source Source
	Top    ocispecs.Descriptor
	// Name is its full name, with tag or digest, or empty.
	Name string
}

// Options say what is transferred, and how. The zero value takes all platforms and
// verifies digests only.
type Options struct {
	// Platform chooses one image of an index, "linux/arm64"; see Collect.
	Platform string
	// Verify is asked about the image at the source before anything is written, and
	// again about what was written. Nil demands nothing.
	Verify Verify
	// MoveTag lets a tag of the destination stand for another image from now on.
	MoveTag bool
	// Progress is told of each blob: what it is called, and how many of its bytes
	// are done. It may be nil, and is called by several goroutines at once.
	Progress func(blob string, done, total int64)
	// Notice is told in a line of what goes another way than usual. It may be nil.
	Notice func(string)
}

func (o *Options) progress(desc ocispecs.Descriptor, done int64) {
	if o.Progress != nil {
		o.Progress(shortName(desc.Digest), done, desc.Size)
	}
}

func (o *Options) notice(format string, args ...any) {
	if o.Notice != nil {
		o.Notice(fmt.Sprintf(format, args...))
	}
}

// shortName is what progress calls a blob.
func shortName(dgst digest.Digest) string {
	return fmt.Sprintf("%s:%.12s", dgst.Algorithm(), dgst.Encoded())
}

// Result says what was transferred.
type Result struct {
	// Image is the digest of the index or manifest that was asked for.
	Image digest.Digest `json:"image"`
	// Name is what it is called at its destination: a reference, or a file.
	Name string `json:"name"`
	// Manifests counts the image's manifests and indexes, Attached those that are
	// attached, Blobs the blobs.
	Manifests int `json:"manifests"`
	Attached  int `json:"attached"`
	Blobs     int `json:"blobs"`
	// Bytes is the size of all of them.
	Bytes int64 `json:"bytes"`
	// Pushed and Mounted count the blobs that were not at the destination.
	Pushed  int `json:"pushed"`
	Mounted int `json:"mounted"`
	// Foreign are layers that lie elsewhere, and that the source does not have.
	Foreign []digest.Digest `json:"foreign,omitempty"`
	// Gone are manifests that a list of the source names and that are not there.
	Gone []digest.Digest `json:"gone,omitempty"`
	// FellBack says that the registry wanted the image before what is attached to it.
	FellBack bool `json:"fellBack,omitempty"`
}

// gather collects an image's closure and has it verified.
func gather(ctx context.Context, img Image, o *Options) (*Closure, *Result, error) {
	c, err := Collect(ctx, img.Source, img.Top, o.Platform)
	if err != nil {
		return nil, nil, err
	}
	for _, dgst := range c.Gone {
		o.notice("%s is listed as attached, and is not there any more", dgst)
	}
	if o.Verify != nil {
		if err := o.Verify(ctx, img.Source, c.Top); err != nil {
			return nil, nil, fmt.Errorf("verify %s before anything is written: %w", c.Top.Digest, err)
		}
	}
	r := &Result{Image: c.Top.Digest, Gone: c.Gone}
	for _, m := range c.Manifests {
		if r.Bytes += m.Descriptor.Size; m.Attached {
			r.Attached++
		} else {
			r.Manifests++
		}
	}
	return c, r, nil
}

// Save writes an image with everything attached into a new OCI image layout at path:
// a tar that takes the place of what was there, or with directory a directory, which
// may hold blobs of an earlier attempt. The same image gives the same bytes. The
// index lists the image first, under its name; then each attached manifest as an
// entry of its own; Cosign's by the name of their tag.
func Save(ctx context.Context, img Image, path string, directory bool, o Options) (*Result, error) {
	c, result, err := gather(ctx, img, &o)
	if err != nil {
		return nil, err
	}
	result.Name = path
	entries, err := layoutEntries(c, img.Name)
	if err != nil {
		return nil, err
	}
	for _, desc := range c.Blobs {
		if isForeign(desc) {
			there, err := has(ctx, img.Source, desc)
			if err != nil {
				return nil, err
			}
			if !there {
				result.Foreign = append(result.Foreign, desc.Digest)
				continue
			}
		}
		result.Blobs++
		result.Bytes += desc.Size
		name, err := blobPath(desc.Digest)
		if err != nil {
			return nil, err
		}
		entries = append(entries, entry{name: name, size: desc.Size, desc: &desc})
	}
	out, err := newLayout(path, directory, entries)
	if err != nil {
		return nil, fmt.Errorf("save %s: %w", path, err)
	}
	defer out.abort()
	if err := fill(ctx, img.Source, out, entries, &o); err != nil {
		return nil, fmt.Errorf("save %s: %w", path, err)
	}
	if err := out.commit(func(written string) error { return reread(ctx, written, c, &o) }); err != nil {
		return nil, fmt.Errorf("save %s: %w", path, err)
	}
	return result, nil
}

// reread opens what was written as who gets it does: all of the closure has to be
// found in it, and what is signed has to verify.
func reread(ctx context.Context, path string, c *Closure, o *Options) error {
	a, err := OpenArchive(ctx, path)
	if err != nil {
		return err
	}
	defer a.Close()
	got, err := Collect(ctx, a, c.Top, "")
	if err != nil {
		return fmt.Errorf("read what was written: %w", err)
	}
	for _, dgst := range slices.Sorted(maps.Keys(c.Manifests)) {
		if got.Manifests[dgst] == nil {
			return fmt.Errorf("read what was written: manifest %s is not found as attached", dgst)
		}
	}
	if o.Verify == nil {
		return nil
	}
	if err := o.Verify(ctx, a, c.Top); err != nil {
		return fmt.Errorf("verify what was written: %w", err)
	}
	return nil
}

// has says whether a source has a blob.
func has(ctx context.Context, src Source, desc ocispecs.Descriptor) (bool, error) {
	rc, err := src.Blob(ctx, desc)
	if errors.Is(err, registry.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, rc.Close()
}

// entry is a file of a layout. It has its content, or is a blob to be read.
type entry struct {
	name string
	size int64
	data []byte
	desc *ocispecs.Descriptor
}

// layoutEntries are the files of a layout without the blobs that are no manifests.
// The two that make it a layout come first.
func layoutEntries(c *Closure, name string) ([]entry, error) {
	top := c.Top
	if top.Annotations = nil; name != "" {
		top.Annotations = map[string]string{ocispecs.AnnotationRefName: name, annotationImageName: name}
	}
	index := ocispecs.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispecs.MediaTypeImageIndex, Manifests: []ocispecs.Descriptor{plainBut(top)}}
	manifests := map[digest.Digest][]byte{}
	for dgst, m := range c.Manifests {
		manifests[dgst] = m.Data
	}
	listed := map[digest.Digest]bool{}
	for _, subject := range slices.Sorted(maps.Keys(c.Referrers)) {
		for _, desc := range c.Referrers[subject] {
			// What has no subject would look like an image. The list that has it is there.
			if !listed[desc.Digest] && c.Manifests[desc.Digest].subject == subject {
				listed[desc.Digest] = true
				index.Manifests = append(index.Manifests, unnamed(desc))
			}
		}
	}
	for _, tag := range c.Tags {
		desc := plain(c.Manifests[tag.Digest].Descriptor)
		desc.Annotations = map[string]string{ocispecs.AnnotationRefName: tag.Name}
		index.Manifests = append(index.Manifests, desc)
	}
	for _, subject := range slices.Sorted(maps.Keys(c.Unlinked)) {
		data, _, err := referrer.MergeIndex(nil, c.Unlinked[subject])
		if err != nil {
			return nil, fmt.Errorf("list what is attached to %s: %w", subject, err)
		}
		desc := ocispecs.Descriptor{MediaType: ocispecs.MediaTypeImageIndex, Digest: digest.FromBytes(data), Size: int64(len(data))}
		manifests[desc.Digest] = data
		desc.Annotations = map[string]string{ocispecs.AnnotationRefName: referrer.FallbackTag(subject)}
		index.Manifests = append(index.Manifests, desc)
	}
	data, err := json.Marshal(index)
	if err != nil {
		return nil, err
	}
	if len(data) > maxIndex {
		return nil, fmt.Errorf("so much is attached that %s would have %d bytes, which is more than %d", ocispecs.ImageIndexFile, len(data), maxIndex)
	}
	marker, err := json.Marshal(ocispecs.ImageLayout{Version: ocispecs.ImageLayoutVersion})
	if err != nil {
		return nil, err
	}
	entries := []entry{{name: ocispecs.ImageLayoutFile, data: marker}, {name: ocispecs.ImageIndexFile, data: data}}
	for _, dgst := range slices.Sorted(maps.Keys(manifests)) {
		name, err := blobPath(dgst)
		if err != nil {
			return nil, err
		}
		entries = append(entries, entry{name: name, data: manifests[dgst]})
	}
	for i := range entries {
		entries[i].size = int64(len(entries[i].data))
	}
	return entries, nil
}

// plainBut is a descriptor without all but its annotations.
func plainBut(desc ocispecs.Descriptor) ocispecs.Descriptor {
	out := plain(desc)
	out.Annotations = desc.Annotations
	return out
}

// unnamed is a descriptor without a name: what is attached does not say what it is
// called.
func unnamed(desc ocispecs.Descriptor) ocispecs.Descriptor {
	desc.Annotations = maps.Clone(desc.Annotations)
	delete(desc.Annotations, ocispecs.AnnotationRefName)
	delete(desc.Annotations, annotationImageName)
	return desc
}

// fill writes the entries of a layout, several at once.
func fill(ctx context.Context, src Source, out layoutWriter, entries []entry, o *Options) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(blobWorkers)
	for _, e := range entries {
		if ctx.Err() != nil {
			break
		}
		group.Go(func() error {
			if e.desc == nil {
				return out.write(e, func(w io.Writer) error {
					_, err := io.Copy(w, bytes.NewReader(e.data))
					return err
				})
			}
			return out.write(e, func(w io.Writer) error {
				rc, err := src.Blob(ctx, *e.desc)
				if err != nil {
					return fmt.Errorf("read blob %s: %w", e.desc.Digest, err)
				}
				defer rc.Close()
				return copyBlob(ctx, w, rc, *e.desc, func(done int64) { o.progress(*e.desc, done) })
			})
		})
	}
	return group.Wait()
}

// copyBlob copies a blob and checks its size and digest.
func copyBlob(ctx context.Context, w io.Writer, r io.Reader, desc ocispecs.Descriptor, progress func(int64)) error {
	if !desc.Digest.Algorithm().Available() {
		return fmt.Errorf("blob %s has a digest that nobody here can check", desc.Digest)
	}
	verifier := desc.Digest.Verifier()
	counted := &counter{ctx: ctx, progress: progress}
	n, err := io.Copy(io.MultiWriter(w, verifier, counted), io.LimitReader(r, desc.Size+1))
	switch {
	case err != nil:
		return fmt.Errorf("read blob %s: %w", desc.Digest, err)
	case n != desc.Size:
		return fmt.Errorf("blob %s has another size than the %d bytes that a manifest says: %w", desc.Digest, desc.Size, errDamaged)
	case !verifier.Verified():
		return fmt.Errorf("blob %s has other content than its digest says: %w", desc.Digest, errDamaged)
	}
	progress(n)
	return nil
}

var errDamaged = errors.New("it is damaged")

// counter tells of progress, and ends a copy when its context ends.
type counter struct {
	ctx      context.Context
	done     int64
	progress func(int64)
}

func (c *counter) Write(p []byte) (int, error) {
	if c.ctx.Err() != nil {
		return 0, context.Cause(c.ctx)
	}
	c.done += int64(len(p))
	c.progress(c.done)
	return len(p), nil
}
