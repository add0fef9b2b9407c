// Package image reads what a build left: an OCI image layout with an image, or
// an index of platforms and attestations.
package image

import (
	"archive/tar"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"runtime"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

// Annotations of an attestation manifest's descriptor, as BuildKit writes them
// (BuildKit, docs/attestations/attestation-storage.md).
const (
	referenceType   = "vnd.docker.reference.type"
	referenceDigest = "vnd.docker.reference.digest"
	predicateType   = "in-toto.io/predicate-type"
)

// Image is an image for one platform with its attestations.
type Image struct {
	v1.Image
	// Platform is "os/arch[/variant]".
	Platform string
	// Statements are its in-toto statements by predicate type.
	Statements map[string]json.RawMessage
}

// Open reads the layout directory and returns its images by platform. Every
// digest and size in it is checked.
func Open(dir string) (map[string]*Image, error) {
	root, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		return nil, fmt.Errorf("open image layout %s: %w", dir, err)
	}
	images := map[string]*Image{}
	attached := map[string]map[string]json.RawMessage{}
	if err := walk(root, images, attached); err != nil {
		return nil, fmt.Errorf("read image layout %s: %w", dir, err)
	}
	if len(images) == 0 {
		return nil, fmt.Errorf("read image layout %s: no image in it", dir)
	}
	for _, img := range images {
		digest, err := img.Digest()
		if err != nil {
			return nil, fmt.Errorf("read image layout %s: %w", dir, err)
		}
		img.Statements = attached[digest.String()]
	}
	return images, nil
}

// OpenOne is Open for a layout with an image for this machine's platform.
func OpenOne(dir string) (*Image, error) {
	images, err := Open(dir)
	if err != nil {
		return nil, err
	}
	img, ok := images["linux/"+runtime.GOARCH]
	if !ok {
		return nil, fmt.Errorf("read image layout %s: no image for linux/%s", dir, runtime.GOARCH)
	}
	return img, nil
}

func walk(idx v1.ImageIndex, images map[string]*Image, attached map[string]map[string]json.RawMessage) error {
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
			if err := walk(child, images, attached); err != nil {
				return err
			}
		case desc.Annotations[referenceType] == "attestation-manifest":
			img, err := idx.Image(desc.Digest)
			if err != nil {
				return err
			}
			statements, err := readStatements(img)
			if err != nil {
				return fmt.Errorf("attestations %s: %w", desc.Digest, err)
			}
			attached[desc.Annotations[referenceDigest]] = statements
		case desc.MediaType.IsImage():
			img, err := idx.Image(desc.Digest)
			if err != nil {
				return err
			}
			if err := validate.Image(img); err != nil {
				return fmt.Errorf("image %s: %w", desc.Digest, err)
			}
			file, err := img.ConfigFile()
			if err != nil {
				return err
			}
			platform := path.Join(file.OS, file.Architecture, file.Variant)
			if images[platform] != nil {
				return fmt.Errorf("two images for %s", platform)
			}
			images[platform] = &Image{Image: img, Platform: platform}
		default:
			return fmt.Errorf("manifest %s has media type %s", desc.Digest, desc.MediaType)
		}
	}
	return nil
}

func readStatements(img v1.Image) (map[string]json.RawMessage, error) {
	m, err := img.Manifest()
	if err != nil {
		return nil, err
	}
	statements := map[string]json.RawMessage{}
	for _, desc := range m.Layers {
		layer, err := img.LayerByDigest(desc.Digest)
		if err != nil {
			return nil, err
		}
		rc, err := layer.Compressed()
		if err != nil {
			return nil, err
		}
		dt, err := io.ReadAll(rc)
		if err := errors.Join(err, rc.Close()); err != nil {
			return nil, err
		}
		statements[desc.Annotations[predicateType]] = dt
	}
	return statements, nil
}

// Predicate decodes the predicate of a statement into v.
func (i *Image) Predicate(kind string, v any) error {
	dt, ok := i.Statements[kind]
	if !ok {
		return fmt.Errorf("image has no attestation of type %s", kind)
	}
	var statement struct {
		Predicate json.RawMessage `json:"predicate"`
	}
	if err := json.Unmarshal(dt, &statement); err != nil {
		return fmt.Errorf("decode attestation %s: %w", kind, err)
	}
	if err := json.Unmarshal(statement.Predicate, v); err != nil {
		return fmt.Errorf("decode predicate %s: %w", kind, err)
	}
	return nil
}

// LayerDigests returns the layers' digests, bottom first.
func (i *Image) LayerDigests() ([]string, error) {
	m, err := i.Manifest()
	if err != nil {
		return nil, fmt.Errorf("read manifest: %w", err)
	}
	var digests []string
	for _, desc := range m.Layers {
		digests = append(digests, desc.Digest.String())
	}
	return digests, nil
}

// Entry is an entry of the root filesystem's topmost layer that has it.
type Entry struct {
	tar.Header
	// Content is a regular file's, if it is at most 1 MiB.
	Content []byte
}

// Files lists the root filesystem as its layers give it, by absolute path;
// whiteouts have been applied.
func (i *Image) Files() (map[string]Entry, error) {
	layers, err := i.Layers()
	if err != nil {
		return nil, fmt.Errorf("read layers: %w", err)
	}
	files := map[string]Entry{}
	for _, layer := range layers {
		rc, err := layer.Uncompressed()
		if err != nil {
			return nil, fmt.Errorf("read layer: %w", err)
		}
		err = addLayer(files, tar.NewReader(rc))
		if err := errors.Join(err, rc.Close()); err != nil {
			return nil, fmt.Errorf("read layer: %w", err)
		}
	}
	return files, nil
}

func addLayer(files map[string]Entry, r *tar.Reader) error {
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		name := path.Clean("/" + h.Name)
		dir, last := path.Split(name)
		if gone, ok := strings.CutPrefix(last, ".wh."); ok {
			removed := dir + gone
			if gone == ".wh..opq" {
				removed = path.Clean(dir)
			}
			for p := range files {
				if strings.HasPrefix(p, removed+"/") || p == removed && gone != ".wh..opq" {
					delete(files, p)
				}
			}
			continue
		}
		e := Entry{Header: *h}
		if h.Typeflag == tar.TypeReg && h.Size <= 1<<20 {
			if e.Content, err = io.ReadAll(r); err != nil {
				return err
			}
		}
		files[name] = e
	}
}

// Paths returns the sorted paths of files.
func Paths(files map[string]Entry) []string {
	paths := make([]string, 0, len(files))
	for p := range files {
		paths = append(paths, p)
	}
	slices.Sort(paths)
	return paths
}

// Bytes is the sum of the regular files' sizes.
func Bytes(files map[string]Entry) int64 {
	var sum int64
	for _, e := range files {
		if e.Typeflag == tar.TypeReg {
			sum += e.Size
		}
	}
	return sum
}
