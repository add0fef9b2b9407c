package publish

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/platforms"
	digest "github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/temper-images/temper/client/ocilayout"
)

const (
	// maxManifest bounds a manifest, in bytes: registries take no larger ones.
	maxManifest = 4 << 20
	// maxManifests bounds how many manifests an image has.
	maxManifests = 1000
	// maxBlobs bounds how many blobs one manifest has.
	maxBlobs = 10000
	// maxDepth bounds how deep indexes lie in indexes.
	maxDepth = 4
)

// Media types of Docker's, beside those of the specification.
const (
	dockerIndex    = "application/vnd.docker.distribution.manifest.list.v2+json"
	dockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
)

// Annotations of BuildKit's attestation manifests in an index (BuildKit,
// docs/attestations/attestation-storage.md).
const (
	annotationReferenceType = "vnd.docker.reference.type"
	attestationManifest     = "attestation-manifest"
)

// Image is an image in an OCI layout: manifests and blobs, each once. It is to be
// closed.
type Image struct {
	// Top is what tags name: an index, or a manifest.
	Top ocispecs.Descriptor
	// Manifests are Top and all below it, children before the index that lists them.
	Manifests []Manifest

	layout *ocilayout.Layout
	store  content.Store
}

// Manifest is one manifest or index of an image.
type Manifest struct {
	Descriptor ocispecs.Descriptor
	// Data are its bytes.
	Data []byte
	// Blobs are the configuration and the layers of what is no index.
	Blobs []ocispecs.Descriptor
	// Platform is that of an image, "linux/arm/v7", and empty for others.
	Platform string
	// Attestation says that it is an attestation manifest of BuildKit's.
	Attestation bool
	// Bases are the names of images that it was built on, as its annotations have
	// them.
	Bases []string
}

// IsIndex says whether it lists other manifests.
func (m *Manifest) IsIndex() bool { return isIndex(m.Descriptor.MediaType) }

// Arch is the platform as tags have it: "amd64", "arm-v7", "windows-amd64".
func (m *Manifest) Arch() string {
	return strings.ReplaceAll(strings.TrimPrefix(m.Platform, "linux/"), "/", "-")
}

func isIndex(mediaType string) bool {
	return mediaType == ocispecs.MediaTypeImageIndex || mediaType == dockerIndex
}

func isManifest(mediaType string) bool {
	return mediaType == ocispecs.MediaTypeImageManifest || mediaType == dockerManifest
}

// Read reads the image top out of the layout in dir. The digests of manifests are
// checked; those of blobs are when they are pushed. When plain is true, an index is
// without BuildKit's attestation manifests; and where one image is left in it, that
// image stands in its place: for consumers that take no index, or no attestation
// manifests in one.
func Read(ctx context.Context, dir string, top ocispecs.Descriptor, plain bool) (*Image, error) {
	l, err := ocilayout.Open(dir)
	if err != nil {
		return nil, err
	}
	img := &Image{layout: l, store: l.Store()}
	r := reader{img: img, seen: map[digest.Digest]bool{}}
	if img.Top, err = r.walk(ctx, top, plain, 0); err != nil {
		return nil, errors.Join(fmt.Errorf("read the image %s in %s: %w", top.Digest, dir, err), l.Close())
	}
	return img, nil
}

// Close releases the layout.
func (i *Image) Close() error { return i.layout.Close() }

// Manifest finds a manifest by digest. It is nil when there is none.
func (i *Image) Manifest(d digest.Digest) *Manifest {
	n := slices.IndexFunc(i.Manifests, func(m Manifest) bool { return m.Descriptor.Digest == d })
	if n < 0 {
		return nil
	}
	return &i.Manifests[n]
}

// Platforms are the images of single platforms, sorted by platform.
func (i *Image) Platforms() []*Manifest {
	var list []*Manifest
	for n := range i.Manifests {
		if m := &i.Manifests[n]; m.Platform != "" {
			list = append(list, m)
		}
	}
	slices.SortStableFunc(list, func(a, b *Manifest) int { return strings.Compare(a.Platform, b.Platform) })
	return list
}

// blobs are those of manifests, each once.
func blobs(manifests []*Manifest) []ocispecs.Descriptor {
	var list []ocispecs.Descriptor
	seen := map[digest.Digest]bool{}
	for _, m := range manifests {
		for _, b := range m.Blobs {
			if !seen[b.Digest] {
				seen[b.Digest] = true
				list = append(list, b)
			}
		}
	}
	return list
}

// all are all manifests.
func (i *Image) all() []*Manifest {
	list := make([]*Manifest, len(i.Manifests))
	for n := range i.Manifests {
		list[n] = &i.Manifests[n]
	}
	return list
}

// open opens a blob at an offset.
func (i *Image) open(ctx context.Context, desc ocispecs.Descriptor, offset int64) (io.ReadCloser, error) {
	ra, err := i.store.ReaderAt(ctx, desc)
	if err != nil {
		return nil, err
	}
	if ra.Size() != desc.Size {
		return nil, errors.Join(fmt.Errorf("blob %s of the layout has %d bytes, and its manifest says %d", desc.Digest, ra.Size(), desc.Size), ra.Close())
	}
	return struct {
		io.Reader
		io.Closer
	}{io.NewSectionReader(ra, offset, ra.Size()-offset), ra}, nil
}

// reader collects manifests and blobs.
type reader struct {
	img  *Image
	seen map[digest.Digest]bool
}

// walk reads what desc names, and returns the descriptor of what stands for it.
func (r *reader) walk(ctx context.Context, desc ocispecs.Descriptor, plain bool, depth int) (ocispecs.Descriptor, error) {
	if !isIndex(desc.MediaType) && !isManifest(desc.MediaType) {
		return desc, fmt.Errorf("manifest %s has the media type %q, which is no image", desc.Digest, desc.MediaType)
	}
	if depth > maxDepth {
		return desc, fmt.Errorf("indexes lie more than %d deep in each other", maxDepth)
	}
	data, err := r.read(ctx, desc)
	if err != nil {
		return desc, err
	}
	m := Manifest{Descriptor: ocispecs.Descriptor{
		MediaType: desc.MediaType, Digest: desc.Digest, Size: int64(len(data)), Platform: desc.Platform, Annotations: desc.Annotations,
	}, Data: data}
	if isManifest(desc.MediaType) {
		err = r.image(&m)
	} else {
		var only *ocispecs.Descriptor
		if only, err = r.index(ctx, &m, plain, depth); only != nil {
			return *only, err
		}
	}
	if err != nil || r.seen[m.Descriptor.Digest] {
		return m.Descriptor, err
	}
	if len(r.img.Manifests) == maxManifests {
		return m.Descriptor, fmt.Errorf("there are more than %d manifests", maxManifests)
	}
	r.seen[m.Descriptor.Digest] = true
	r.img.Manifests = append(r.img.Manifests, m)
	return m.Descriptor, nil
}

// index reads the children of an index. With plain it may be another index after
// it, or the only image that is left.
func (r *reader) index(ctx context.Context, m *Manifest, plain bool, depth int) (*ocispecs.Descriptor, error) {
	var idx ocispecs.Index
	if err := json.Unmarshal(m.Data, &idx); err != nil {
		return nil, fmt.Errorf("index %s: %w", m.Descriptor.Digest, err)
	}
	m.Bases = bases(idx.Annotations)
	list := idx.Manifests
	if plain {
		list = slices.DeleteFunc(slices.Clone(list), isAttestation)
		if len(list) == 1 {
			d, err := r.walk(ctx, list[0], plain, depth+1)
			return &d, err
		}
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("index %s lists no image", m.Descriptor.Digest)
	}
	changed := len(list) != len(idx.Manifests)
	for n, child := range list {
		d, err := r.walk(ctx, child, plain, depth+1)
		if err != nil {
			return nil, err
		}
		if d.Digest != child.Digest {
			d.Platform, d.Annotations = child.Platform, child.Annotations
			list[n], changed = d, true
		}
	}
	if !changed {
		return nil, nil
	}
	idx.Manifests = list
	var err error
	if m.Data, err = json.Marshal(idx); err != nil {
		return nil, fmt.Errorf("index %s without attestation manifests: %w", m.Descriptor.Digest, err)
	}
	m.Descriptor.Digest, m.Descriptor.Size = digest.FromBytes(m.Data), int64(len(m.Data))
	return nil, nil
}

// image reads what a manifest consists of.
func (r *reader) image(m *Manifest) error {
	var manifest ocispecs.Manifest
	if err := json.Unmarshal(m.Data, &manifest); err != nil {
		return fmt.Errorf("manifest %s: %w", m.Descriptor.Digest, err)
	}
	if len(manifest.Layers) >= maxBlobs {
		return fmt.Errorf("manifest %s has more than %d layers", m.Descriptor.Digest, maxBlobs)
	}
	for _, b := range append([]ocispecs.Descriptor{manifest.Config}, manifest.Layers...) {
		if err := b.Digest.Validate(); err != nil || b.Size < 0 {
			return fmt.Errorf("manifest %s has a blob %q of %d bytes, which is none", m.Descriptor.Digest, b.Digest, b.Size)
		}
		m.Blobs = append(m.Blobs, b)
	}
	m.Bases = bases(manifest.Annotations)
	if m.Attestation = isAttestation(m.Descriptor); m.Attestation {
		return nil
	}
	var err error
	if m.Platform, err = r.platform(m, manifest.Config); err != nil {
		return fmt.Errorf("manifest %s: %w", m.Descriptor.Digest, err)
	}
	return nil
}

// platform is what the configuration of an image says. What has a configuration of
// another kind has none.
func (r *reader) platform(m *Manifest, config ocispecs.Descriptor) (string, error) {
	if config.MediaType != ocispecs.MediaTypeImageConfig && config.MediaType != "application/vnd.docker.container.image.v1+json" {
		return "", nil
	}
	var p ocispecs.Image
	if err := r.img.layout.ReadJSON(config, &p); err != nil {
		return "", err
	}
	if p.OS == "" || p.Architecture == "" {
		return "", errors.New("its configuration names no platform")
	}
	m.Descriptor.Platform = cmpPlatform(m.Descriptor.Platform, p.Platform)
	return platforms.FormatAll(platforms.Normalize(ocispecs.Platform{OS: p.OS, Architecture: p.Architecture, Variant: p.Variant})), nil
}

// cmpPlatform prefers what the index says.
func cmpPlatform(listed *ocispecs.Platform, configured ocispecs.Platform) *ocispecs.Platform {
	if listed != nil {
		return listed
	}
	return &configured
}

// read reads a manifest and checks its digest.
func (r *reader) read(ctx context.Context, desc ocispecs.Descriptor) ([]byte, error) {
	ra, err := r.img.store.ReaderAt(ctx, desc)
	if err != nil {
		return nil, err
	}
	defer ra.Close()
	if ra.Size() > maxManifest {
		return nil, fmt.Errorf("manifest %s is larger than %d bytes", desc.Digest, maxManifest)
	}
	data, err := io.ReadAll(io.NewSectionReader(ra, 0, ra.Size()))
	if err != nil {
		return nil, err
	}
	if desc.Digest.Algorithm().FromBytes(data) != desc.Digest {
		return nil, fmt.Errorf("manifest %s has other content than its name says", desc.Digest)
	}
	return data, nil
}

func isAttestation(d ocispecs.Descriptor) bool {
	return d.Annotations[annotationReferenceType] == attestationManifest
}

func bases(annotations map[string]string) []string {
	if base := annotations[ocispecs.AnnotationBaseImageName]; base != "" {
		return []string{base}
	}
	return nil
}
