// Package ocilayout reads OCI image layouts (image-spec v1.1, image-layout.md)
// without writing to them, so that a layout may be someone else's or lie on a
// read-only file system.
package ocilayout

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"regexp"
	"strings"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/errdefs"
	digest "github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// maxDocument bounds every JSON document that is read from a layout, in bytes.
const maxDocument = 4 << 20

// annotationImageName is where containerd and BuildKit note a full image name.
const annotationImageName = "io.containerd.image.name"

// ErrNotLayout says that a directory is no OCI image layout.
var ErrNotLayout = errors.New("not an OCI image layout")

// Layout is an OCI image layout directory.
type Layout struct {
	// Dir is the directory.
	Dir string
	// Index is the content of index.json.
	Index ocispecs.Index

	root *os.Root
}

// Open reads the layout in dir. The error wraps ErrNotLayout when dir is a
// directory without a layout. The layout is to be closed.
func Open(dir string) (*Layout, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open OCI layout: %w", err)
	}
	l := &Layout{Dir: dir, root: root}
	if err := l.load(); err != nil {
		return nil, errors.Join(fmt.Errorf("open OCI layout %s: %w", dir, err), root.Close())
	}
	return l, nil
}

func (l *Layout) load() error {
	var marker ocispecs.ImageLayout
	if err := l.decode(ocispecs.ImageLayoutFile, &marker); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%w: it has no file %s", ErrNotLayout, ocispecs.ImageLayoutFile)
		}
		return err
	}
	if !strings.HasPrefix(marker.Version, "1.") {
		return fmt.Errorf("%w of version 1: %s says version %q", ErrNotLayout, ocispecs.ImageLayoutFile, marker.Version)
	}
	if err := l.decode(ocispecs.ImageIndexFile, &l.Index); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%w: it has no file %s", ErrNotLayout, ocispecs.ImageIndexFile)
		}
		return err
	}
	return nil
}

func (l *Layout) decode(name string, v any) error {
	f, err := l.root.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	dt, err := io.ReadAll(io.LimitReader(f, maxDocument+1))
	if err != nil {
		return err
	}
	if len(dt) > maxDocument {
		return fmt.Errorf("%s is larger than %d bytes", name, maxDocument)
	}
	if err := json.Unmarshal(dt, v); err != nil {
		return fmt.Errorf("%w: %s: %w", ErrNotLayout, name, err)
	}
	return nil
}

// Close releases the directory.
func (l *Layout) Close() error { return l.root.Close() }

// attachedName is what an index calls the lists and the images of what is attached to
// others: referrers tags (distribution-spec v1.1) and Cosign's.
var attachedName = regexp.MustCompile(`^sha256-[0-9a-f]{64}(\.(sig|att|sbom))?$`)

// isAttached says that an entry is attached to another: a signature, an attestation.
func isAttached(desc ocispecs.Descriptor) bool {
	return desc.ArtifactType != "" || attachedName.MatchString(desc.Annotations[ocispecs.AnnotationRefName])
}

// Resolve finds the manifest or index that ref names: a digest, a tag, a full
// image name, or, when ref is empty, the only one that there is, beside what is
// attached to it, or the one that is tagged latest.
func (l *Layout) Resolve(ref string) (ocispecs.Descriptor, error) {
	distinct := map[digest.Digest]struct{}{}
	var images []ocispecs.Descriptor
	for _, m := range l.Index.Manifests {
		if err := m.Digest.Validate(); err != nil {
			return ocispecs.Descriptor{}, fmt.Errorf("OCI layout %s: manifest digest %q: %w", l.Dir, m.Digest, err)
		}
		tag, name := m.Annotations[ocispecs.AnnotationRefName], m.Annotations[annotationImageName]
		if ref != "" && (ref == string(m.Digest) || ref == tag || ref == name) {
			return m, nil
		}
		if _, twice := distinct[m.Digest]; !twice && !isAttached(m) {
			images = append(images, m)
		}
		distinct[m.Digest] = struct{}{}
	}
	if ref != "" {
		return ocispecs.Descriptor{}, fmt.Errorf("OCI layout %s has no image %q: it has %s", l.Dir, ref, l.names())
	}
	if len(distinct) == 1 {
		return l.Index.Manifests[0], nil
	}
	if len(images) == 1 {
		return images[0], nil
	}
	for _, m := range l.Index.Manifests {
		if m.Annotations[ocispecs.AnnotationRefName] == "latest" {
			return m, nil
		}
	}
	return ocispecs.Descriptor{}, fmt.Errorf("OCI layout %s has %d images: name one, by :TAG or @DIGEST, of %s", l.Dir, len(distinct), l.names())
}

func (l *Layout) names() string {
	var names []string
	for _, m := range l.Index.Manifests {
		if tag := m.Annotations[ocispecs.AnnotationRefName]; tag != "" {
			names = append(names, tag)
		} else {
			names = append(names, string(m.Digest))
		}
	}
	if len(names) == 0 {
		return "none at all"
	}
	return strings.Join(names, ", ")
}

// ReadJSON decodes the blob of desc into v. Blobs above 4 MiB are refused.
func (l *Layout) ReadJSON(desc ocispecs.Descriptor, v any) error {
	f, _, err := l.blob(desc.Digest)
	if err != nil {
		return err
	}
	defer f.Close()
	dt, err := io.ReadAll(io.LimitReader(f, maxDocument+1))
	if err != nil {
		return err
	}
	if len(dt) > maxDocument {
		return fmt.Errorf("blob %s is larger than %d bytes", desc.Digest, maxDocument)
	}
	if desc.Digest.Algorithm().FromBytes(dt) != desc.Digest {
		return fmt.Errorf("blob %s of OCI layout %s has other content than its name says", desc.Digest, l.Dir)
	}
	return json.Unmarshal(dt, v)
}

func (l *Layout) blob(dgst digest.Digest) (*os.File, int64, error) {
	if err := dgst.Validate(); err != nil {
		return nil, 0, fmt.Errorf("OCI layout %s: digest %q: %w", l.Dir, dgst, err)
	}
	f, err := l.root.Open(ocispecs.ImageBlobsDir + "/" + dgst.Algorithm().String() + "/" + dgst.Encoded())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, fmt.Errorf("OCI layout %s has no blob %s: %w", l.Dir, dgst, errdefs.ErrNotFound)
	}
	if err != nil {
		return nil, 0, fmt.Errorf("OCI layout %s: %w", l.Dir, err)
	}
	fi, err := f.Stat()
	if err == nil && !fi.Mode().IsRegular() {
		err = errors.New("is not a regular file")
	}
	if err != nil {
		return nil, 0, errors.Join(fmt.Errorf("OCI layout %s: blob %s: %w", l.Dir, dgst, err), f.Close())
	}
	return f, fi.Size(), nil
}

// Store is the layout as BuildKit's session takes it. Everything that would
// write answers errdefs.ErrNotImplemented.
func (l *Layout) Store() content.Store { return store{l} }

type store struct{ l *Layout }

func (s store) Info(_ context.Context, dgst digest.Digest) (content.Info, error) {
	f, size, err := s.l.blob(dgst)
	if err != nil {
		return content.Info{}, err
	}
	return content.Info{Digest: dgst, Size: size}, f.Close()
}

func (s store) ReaderAt(_ context.Context, desc ocispecs.Descriptor) (content.ReaderAt, error) {
	f, size, err := s.l.blob(desc.Digest)
	if err != nil {
		return nil, err
	}
	return readerAt{f, size}, nil
}

type readerAt struct {
	*os.File
	size int64
}

func (r readerAt) Size() int64 { return r.size }

func (s store) readOnly() error {
	return fmt.Errorf("OCI layout %s is open for reading only: %w", s.l.Dir, errdefs.ErrNotImplemented)
}

func (s store) Update(context.Context, content.Info, ...string) (content.Info, error) {
	return content.Info{}, s.readOnly()
}

func (s store) Walk(context.Context, content.WalkFunc, ...string) error { return s.readOnly() }

func (s store) Delete(context.Context, digest.Digest) error { return s.readOnly() }

func (s store) Status(context.Context, string) (content.Status, error) {
	return content.Status{}, s.readOnly()
}

func (s store) ListStatuses(context.Context, ...string) ([]content.Status, error) {
	return nil, s.readOnly()
}

func (s store) Abort(context.Context, string) error { return s.readOnly() }

func (s store) Writer(context.Context, ...content.WriterOpt) (content.Writer, error) {
	return nil, s.readOnly()
}

// scheme begins a reference to a layout.
const scheme = "oci-layout://"

// ParseRef splits "oci-layout://DIR[:TAG][@DIGEST]" into its directory and what
// Resolve takes. It says false when s does not begin with "oci-layout://".
func ParseRef(s string) (dir, ref string, ok bool) {
	rest, ok := strings.CutPrefix(s, scheme)
	if !ok {
		return "", "", false
	}
	if dir, dgst, found := strings.Cut(rest, "@"); found {
		if i := strings.LastIndexByte(dir, ':'); i > strings.LastIndexByte(dir, '/') {
			dir = dir[:i]
		}
		return dir, dgst, true
	}
	if i := strings.LastIndexByte(rest, ':'); i > strings.LastIndexByte(rest, '/') {
		return rest[:i], rest[i+1:], true
	}
	return rest, "", true
}
