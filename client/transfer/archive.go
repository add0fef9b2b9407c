package transfer

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"regexp"
	"slices"
	"strings"

	digest "github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/temper-images/temper/client/referrer"
	"github.com/temper-images/temper/client/registry"
)

// annotationImageName is where containerd and BuildKit note a full image name.
const annotationImageName = "io.containerd.image.name"

// attachedName is what the fallback index and Cosign's images are named.
var attachedName = regexp.MustCompile(`^[a-z0-9+._-]+-[0-9a-f]{32,128}(\.[a-z]+)?$`)

// ArchiveError says that a file is not the archive of an image, or is damaged.
type ArchiveError struct {
	// Path is the file.
	Path string
	Err  error
}

func (e *ArchiveError) Error() string { return fmt.Sprintf("image archive %s: %v", e.Path, e.Err) }
func (e *ArchiveError) Unwrap() error { return e.Err }

// Archive is an OCI image layout in a tar or a directory, open for reading. It can
// be used by several goroutines at once. Manifests are checked against their
// digests when they are read, blobs by whoever reads them and by Check.
type Archive struct {
	// Path is the file or directory.
	Path string

	files     files
	index     []ocispecs.Descriptor
	names     map[string]ocispecs.Descriptor
	types     map[digest.Digest]string
	referrers map[digest.Digest][]ocispecs.Descriptor
	// attached are manifests that have a subject, and parts those that an index lists.
	attached, parts map[digest.Digest]bool
}

var _ Source = (*Archive)(nil)

// OpenArchive opens the layout at path: a tar as Save writes it, or a directory.
// What other programs wrote is read too. Errors are *ArchiveError, or of the
// context. The archive is to be closed.
func OpenArchive(ctx context.Context, path string) (*Archive, error) {
	f, err := openFiles(path)
	if err != nil {
		return nil, &ArchiveError{path, err}
	}
	a, err := newArchive(ctx, f, path)
	if err != nil {
		err = errors.Join(err, f.close())
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, &ArchiveError{path, err}
	}
	return a, nil
}

func newArchive(ctx context.Context, f files, path string) (*Archive, error) {
	a := &Archive{Path: path, files: f, names: map[string]ocispecs.Descriptor{}, types: map[digest.Digest]string{},
		referrers: map[digest.Digest][]ocispecs.Descriptor{}, attached: map[digest.Digest]bool{}, parts: map[digest.Digest]bool{}}
	data, err := readFile(f, ocispecs.ImageLayoutFile, maxManifest)
	if err != nil {
		return nil, fmt.Errorf("it is no OCI image layout: %w", err)
	}
	var layout ocispecs.ImageLayout
	if err := json.Unmarshal(data, &layout); err != nil || !strings.HasPrefix(layout.Version, "1.") {
		return nil, fmt.Errorf("it is no OCI image layout of version 1: %s says version %.20q", ocispecs.ImageLayoutFile, layout.Version)
	}
	if data, err = readFile(f, ocispecs.ImageIndexFile, maxIndex); err != nil {
		return nil, fmt.Errorf("it is no OCI image layout: %w", err)
	}
	var index ocispecs.Index
	if err := json.Unmarshal(data, &index); err != nil {
		return nil, fmt.Errorf("%s: %w", ocispecs.ImageIndexFile, err)
	}
	if len(index.Manifests) > maxManifests {
		return nil, fmt.Errorf("%s lists more than %d manifests", ocispecs.ImageIndexFile, maxManifests)
	}
	a.index = index.Manifests
	return a, a.survey(ctx)
}

// survey reads all manifests, to know what is attached to what. One that an image's
// index lists and that is not there matters only to whoever wants it.
func (a *Archive) survey(ctx context.Context) error {
	var budget budget
	seen := map[digest.Digest]bool{}
	queue := slices.Clone(a.index)
	for _, desc := range a.index {
		for _, name := range []string{desc.Annotations[ocispecs.AnnotationRefName], desc.Annotations[annotationImageName]} {
			if other, twice := a.names[name]; twice && other.Digest != desc.Digest {
				return fmt.Errorf("%s gives the name %.200q twice", ocispecs.ImageIndexFile, name)
			}
			if name != "" {
				a.names[name] = plain(desc)
			}
		}
	}
	for len(queue) > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		desc := queue[0]
		queue = queue[1:]
		if seen[desc.Digest] {
			continue
		}
		seen[desc.Digest] = true
		data, err := a.read(desc.Digest)
		if errors.Is(err, registry.ErrNotFound) && !slices.ContainsFunc(a.index, func(d ocispecs.Descriptor) bool { return d.Digest == desc.Digest }) {
			continue
		}
		if err != nil {
			return err
		}
		if err := budget.manifest(len(data)); err != nil {
			return err
		}
		doc, err := parse(desc.MediaType, data)
		if err != nil {
			return fmt.Errorf("manifest %s: %w", desc.Digest, err)
		}
		a.types[desc.Digest] = doc.MediaType
		if doc.Subject != nil {
			a.attached[desc.Digest] = true
			a.referrers[doc.Subject.Digest] = append(a.referrers[doc.Subject.Digest], doc.descriptor(desc.Digest, int64(len(data))))
		}
		for _, child := range doc.Manifests {
			a.parts[child.Digest] = true
		}
		queue = append(queue, doc.Manifests...)
	}
	for _, list := range a.referrers {
		slices.SortFunc(list, byDigest)
	}
	return nil
}

func byDigest(a, b ocispecs.Descriptor) int { return cmp.Compare(a.Digest, b.Digest) }

// plain is a descriptor without what a list adds to it.
func plain(desc ocispecs.Descriptor) ocispecs.Descriptor {
	return ocispecs.Descriptor{MediaType: desc.MediaType, Digest: desc.Digest, Size: desc.Size}
}

// Close closes the files.
func (a *Archive) Close() error { return a.files.close() }

// Resolve finds the image that ref names, by a name in the index or by its digest,
// with the name that it has, or "". An empty ref stands for the only image; what is
// attached to others does not count. Errors are *InputError.
func (a *Archive) Resolve(ref string) (desc ocispecs.Descriptor, name string, err error) {
	images := map[digest.Digest]ocispecs.Descriptor{}
	for _, d := range a.index {
		called := d.Annotations[ocispecs.AnnotationRefName]
		if full := d.Annotations[annotationImageName]; full != "" {
			called = full
		}
		if ref != "" && (ref == d.Annotations[ocispecs.AnnotationRefName] || ref == called || ref == d.Digest.String()) {
			return plain(d), called, nil
		}
		if a.attached[d.Digest] || attachedName.MatchString(called) || called == "" && a.parts[d.Digest] {
			continue
		}
		images[d.Digest], name = plain(d), called
	}
	if ref == "" && len(images) == 1 {
		for _, d := range images {
			return d, name, nil
		}
	}
	if ref != "" {
		return desc, "", inputErrorf("image archive %s has no image %q: it has %s", a.Path, ref, a.has(images))
	}
	return desc, "", inputErrorf("image archive %s has not one image but %d: name one of %s", a.Path, len(images), a.has(images))
}

// has names images for people.
func (a *Archive) has(images map[digest.Digest]ocispecs.Descriptor) string {
	var names []string
	for _, d := range a.index {
		if _, is := images[d.Digest]; is {
			names = append(names, fmt.Sprintf("%.200s", cmp.Or(d.Annotations[ocispecs.AnnotationRefName], d.Digest.String())))
		}
	}
	slices.Sort(names)
	if names = slices.Compact(names); len(names) > 20 {
		names = append(names[:20], "…")
	}
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

// read reads a manifest's bytes and checks its digest.
func (a *Archive) read(dgst digest.Digest) ([]byte, error) {
	name, err := blobPath(dgst)
	if err != nil {
		return nil, err
	}
	data, err := readFile(a.files, name, maxManifest)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, a.missing("manifest", dgst)
	}
	if err != nil {
		return nil, fmt.Errorf("manifest %s: %w", dgst, err)
	}
	if dgst.Algorithm().FromBytes(data) != dgst {
		return nil, fmt.Errorf("manifest %s has other content than its digest says: the archive is damaged", dgst)
	}
	return data, nil
}

func (a *Archive) missing(what string, dgst digest.Digest) error {
	return fmt.Errorf("the archive has no %s %s: it is not whole: %w", what, dgst, registry.ErrNotFound)
}

// Manifest reads a manifest by its digest, or by a name in the index.
func (a *Archive) Manifest(ctx context.Context, ref string) (ocispecs.Descriptor, []byte, error) {
	if err := ctx.Err(); err != nil {
		return ocispecs.Descriptor{}, nil, context.Cause(ctx)
	}
	dgst := digest.Digest(ref)
	if dgst.Validate() != nil {
		named, ok := a.names[ref]
		if !ok {
			return ocispecs.Descriptor{}, nil, fmt.Errorf("image archive %s has no image %.200q: %w", a.Path, ref, registry.ErrNotFound)
		}
		dgst = named.Digest
	}
	data, err := a.read(dgst)
	if err != nil {
		return ocispecs.Descriptor{}, nil, &ArchiveError{a.Path, err}
	}
	return ocispecs.Descriptor{MediaType: a.types[dgst], Digest: dgst, Size: int64(len(data))}, data, nil
}

// Blob opens a blob.
func (a *Archive) Blob(ctx context.Context, desc ocispecs.Descriptor) (io.ReadCloser, error) {
	return a.blobFrom(ctx, desc, 0)
}

func (a *Archive) blobFrom(ctx context.Context, desc ocispecs.Descriptor, offset int64) (io.ReadCloser, error) {
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	name, err := blobPath(desc.Digest)
	if err != nil {
		return nil, &ArchiveError{a.Path, err}
	}
	rc, size, err := a.files.open(name, offset)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &ArchiveError{a.Path, a.missing("blob", desc.Digest)}
	}
	if err != nil {
		return nil, &ArchiveError{a.Path, fmt.Errorf("blob %s: %w", desc.Digest, err)}
	}
	if size != desc.Size {
		return nil, &ArchiveError{a.Path, errors.Join(fmt.Errorf("blob %s has %d bytes and not %d, as a manifest says: the archive is damaged", desc.Digest, size, desc.Size), rc.Close())}
	}
	return rc, nil
}

// Referrers lists what is attached to a manifest: the manifests that name it as
// their subject, and what the index under its fallback tag lists.
func (a *Archive) Referrers(ctx context.Context, subject digest.Digest) ([]ocispecs.Descriptor, error) {
	list := map[digest.Digest]ocispecs.Descriptor{}
	if _, ok := a.names[referrer.FallbackTag(subject)]; ok {
		_, data, err := a.Manifest(ctx, referrer.FallbackTag(subject))
		if err != nil {
			return nil, err
		}
		doc, err := parse(ocispecs.MediaTypeImageIndex, data)
		if err != nil {
			return nil, &ArchiveError{a.Path, fmt.Errorf("list of what is attached to %s: %w", subject, err)}
		}
		for _, desc := range doc.Manifests {
			list[desc.Digest] = desc
		}
	}
	for _, desc := range a.referrers[subject] {
		list[desc.Digest] = desc
	}
	return slices.SortedFunc(maps.Values(list), byDigest), nil
}

// budget bounds what is read of a source.
type budget struct{ manifests, bytes int }

func (b *budget) manifest(size int) error {
	b.manifests++
	b.bytes += size
	switch {
	case b.manifests > maxManifests:
		return fmt.Errorf("there are more than %d manifests in the image and attached to it", maxManifests)
	case b.bytes > maxBytes:
		return fmt.Errorf("the manifests of the image and attached to it have more than %d bytes", maxBytes)
	}
	return nil
}
