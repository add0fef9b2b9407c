package subject

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/containerd/platforms"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	digest "github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/temper-images/temper/client/ocilayout"
)

// maxDepth bounds how deep indexes lie in indexes.
const maxDepth = 4

// annotationImageName is where containerd and BuildKit note a full image name.
const annotationImageName = "io.containerd.image.name"

func openLayout(dir, ref string) (*Set, error) {
	l, err := ocilayout.Open(dir)
	if err != nil {
		return nil, err
	}
	defer l.Close()
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	f := dirFiles{root}
	s, err := fromIndex(f, l, ref, dir)
	if err != nil {
		return nil, errors.Join(err, f.close())
	}
	return s, nil
}

// fromIndex finds the images of a layout. A layout with several top-level
// images for different platforms, without a name for each, is one subject.
func fromIndex(f files, l *ocilayout.Layout, ref, file string) (*Set, error) {
	s := &Set{close: f.close}
	tops := l.Index.Manifests
	if desc, err := l.Resolve(ref); err == nil {
		tops = []ocispecs.Descriptor{desc}
	} else if ref != "" || !samePicture(tops) {
		return nil, err
	}
	w := walker{files: f, attached: map[digest.Digest][]attachment{}, set: s}
	for _, desc := range tops {
		if err := w.walk(desc, "", 0); err != nil {
			return nil, err
		}
		for _, img := range s.Images {
			if img.Name == "" {
				recorded := desc.Annotations[annotationImageName]
				img.name(recorded, file)
			}
		}
	}
	for _, img := range s.Images {
		img.attached = w.attached[img.Digest]
	}
	return s, nil
}

// samePicture says that descriptors are of one image for several platforms.
func samePicture(list []ocispecs.Descriptor) bool {
	seen := map[string]bool{}
	for _, d := range list {
		if d.Platform == nil || d.Annotations[ocispecs.AnnotationRefName] != list[0].Annotations[ocispecs.AnnotationRefName] {
			return false
		}
		p := platforms.FormatAll(*d.Platform)
		if seen[p] {
			return false
		}
		seen[p] = true
	}
	return len(list) > 0
}

// walker collects the images and attestation manifests below a descriptor.
type walker struct {
	files    files
	set      *Set
	attached map[digest.Digest][]attachment
}

func (w *walker) walk(desc ocispecs.Descriptor, index digest.Digest, depth int) error {
	mt := types.MediaType(desc.MediaType)
	switch {
	case mt.IsIndex():
		if depth == maxDepth {
			return fmt.Errorf("indexes lie more than %d deep in each other", maxDepth)
		}
		dt, err := readBlob(w.files, desc.Digest, maxDocument)
		if err != nil {
			return err
		}
		var idx ocispecs.Index
		if err := json.Unmarshal(dt, &idx); err != nil {
			return fmt.Errorf("index %s: %w", desc.Digest, err)
		}
		for _, child := range idx.Manifests {
			if err := w.walk(child, desc.Digest, depth+1); err != nil {
				return err
			}
		}
		return nil
	case isAttestation(desc.Annotations):
		img, err := newLayoutImage(w.files, desc)
		if err != nil {
			return fmt.Errorf("attestation manifest: %w", err)
		}
		about := digest.Digest(desc.Annotations[annotationReferenceDigest])
		w.attached[about] = append(w.attached[about], attachment{img})
		return nil
	case mt.IsImage():
		img, err := newLayoutImage(w.files, desc)
		if err != nil {
			return err
		}
		out, err := newImage(img, desc.Digest, index)
		if err != nil {
			return err
		}
		w.set.Images = append(w.set.Images, out)
		return nil
	}
	return fmt.Errorf("manifest %s has the media type %q, which is no image", desc.Digest, desc.MediaType)
}

// newImage reads from the configuration what an Image states.
func newImage(img v1.Image, dgst, index digest.Digest) (*Image, error) {
	m, err := img.Manifest()
	if err != nil {
		return nil, fmt.Errorf("manifest %s: %w", dgst, err)
	}
	// A registry's blob is read up to the size that the manifest states, and without
	// end when that is negative.
	if m.Config.Size < 0 || m.Config.Size > maxDocument {
		return nil, fmt.Errorf("configuration of image %s: its size of %d bytes is not between 0 and %d", dgst, m.Config.Size, maxDocument)
	}
	cfg, err := img.ConfigFile()
	if err != nil {
		return nil, fmt.Errorf("configuration of image %s: %w", dgst, err)
	}
	p := ocispecs.Platform{OS: cfg.OS, Architecture: cfg.Architecture, Variant: cfg.Variant}
	if p.OS == "" || p.Architecture == "" {
		return nil, fmt.Errorf("manifest %s is no image: its configuration names no platform", dgst)
	}
	name := platforms.FormatAll(platforms.Normalize(p))
	if notInNames.MatchString(strings.ReplaceAll(name, "/", "-")) {
		return nil, fmt.Errorf("image %s: its platform %q is none", dgst, name)
	}
	return &Image{Platform: name, Digest: dgst, Index: index, Created: cfg.Created.Time, Image: img}, nil
}

// openArchive opens an archive: an OCI layout in a tar, or what docker save wrote
// before it wrote layouts. Compressed archives cannot be read at random places.
func openArchive(file string) (_ *Set, err error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	t, err := newTarFiles(f)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("is no image archive (an uncompressed tar with an OCI layout or a Docker image): %w", err), f.Close())
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, t.close())
		}
	}()
	if _, ok := t.members[ocispecs.ImageIndexFile]; !ok {
		return openDocker(file, t)
	}
	dt, err := readFile(t, ocispecs.ImageIndexFile, maxDocument)
	if err != nil {
		return nil, err
	}
	l := &ocilayout.Layout{Dir: file}
	if err := json.Unmarshal(dt, &l.Index); err != nil {
		return nil, fmt.Errorf("%s: %w", ocispecs.ImageIndexFile, err)
	}
	return fromIndex(t, l, "", file)
}

func openDocker(file string, t *tarFiles) (*Set, error) {
	if _, ok := t.members["manifest.json"]; !ok {
		return nil, errors.New("is no image archive: it has neither index.json nor manifest.json")
	}
	m, err := tarball.LoadManifest(func() (io.ReadCloser, error) {
		return os.Open(file)
	})
	if err != nil {
		return nil, err
	}
	if len(m) != 1 {
		return nil, fmt.Errorf("has %d images; save one image", len(m))
	}
	img, err := tarball.ImageFromPath(file, nil)
	if err != nil {
		return nil, err
	}
	h, err := img.Digest()
	if err != nil {
		return nil, err
	}
	out, err := newImage(img, digest.Digest(h.String()), "")
	if err != nil {
		return nil, err
	}
	tags := slices.DeleteFunc(m[0].RepoTags, func(tag string) bool {
		_, err := name.NewTag(tag)
		return err != nil
	})
	tag := ""
	if len(tags) > 0 {
		tag = tags[0]
	}
	out.name(tag, file)
	return &Set{Images: []*Image{out}, close: t.close}, nil
}
