package publish

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	digest "github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// Image is a small image in an OCI layout.
type Image struct {
	Layout string
	// Top is the index, or the only manifest.
	Top ocispecs.Descriptor
	// Platforms are the manifests that have a platform.
	Platforms []digest.Digest
	// All are the digests of all manifests, children first.
	All []digest.Digest
}

// NewImage writes an image into the directory dir: an index of a manifest for each
// architecture, and an attestation manifest as BuildKit adds one for the first, or,
// when plain, the manifest of the only architecture. Another content makes another
// image.
func NewImage(dir, content string, plain bool, arches ...string) (*Image, error) {
	path, err := layout.Write(dir, empty.Index)
	if err != nil {
		return nil, err
	}
	made := &Image{Layout: dir}
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	var first v1.Hash
	for i, arch := range arches {
		platform := &v1.Platform{OS: "linux", Architecture: arch}
		img, err := newManifest(&v1.ConfigFile{OS: platform.OS, Architecture: arch}, types.OCILayer, content+" for "+arch)
		if err != nil {
			return nil, err
		}
		hash, err := made.add(img)
		if err != nil {
			return nil, err
		}
		made.Platforms = append(made.Platforms, made.All[len(made.All)-1])
		if i == 0 {
			first = hash
		}
		if plain {
			made.Top = descriptor(types.OCIManifestSchema1, hash)
			return made, path.AppendImage(img)
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: platform}})
	}
	statement, err := newManifest(&v1.ConfigFile{OS: "unknown", Architecture: "unknown"}, "application/vnd.in-toto+json", fmt.Sprintf(
		`{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"_","digest":{"sha256":%q}}],"predicateType":"https://slsa.dev/provenance/v1","predicate":{}}`, first.Hex))
	if err != nil {
		return nil, err
	}
	if _, err := made.add(statement); err != nil {
		return nil, err
	}
	index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: statement, Descriptor: v1.Descriptor{
		Platform:    &v1.Platform{OS: "unknown", Architecture: "unknown"},
		Annotations: map[string]string{"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": first.String()},
	}})
	hash, err := index.Digest()
	if err != nil {
		return nil, err
	}
	made.All = append(made.All, digest.Digest(hash.String()))
	made.Top = descriptor(types.OCIImageIndex, hash)
	return made, path.AppendIndex(index)
}

// newManifest makes a manifest with one layer: a file system with one file, or, of
// another type, the content itself.
func newManifest(config *v1.ConfigFile, layerType types.MediaType, content string) (v1.Image, error) {
	config.RootFS.Type = "layers"
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	img, err := mutate.ConfigFile(img, config)
	if err != nil {
		return nil, err
	}
	if layerType != types.OCILayer {
		return mutate.AppendLayers(img, static.NewLayer([]byte(content), layerType))
	}
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	if err := w.WriteHeader(&tar.Header{Name: "content", Mode: 0o644, Size: int64(len(content))}); err != nil {
		return nil, err
	}
	if _, err := w.Write([]byte(content)); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(archive.Bytes())), nil },
		tarball.WithMediaType(types.OCILayer))
	if err != nil {
		return nil, err
	}
	return mutate.AppendLayers(img, layer)
}

func (i *Image) add(img v1.Image) (v1.Hash, error) {
	hash, err := img.Digest()
	if err == nil {
		i.All = append(i.All, digest.Digest(hash.String()))
	}
	return hash, err
}

func descriptor(mediaType types.MediaType, hash v1.Hash) ocispecs.Descriptor {
	return ocispecs.Descriptor{MediaType: string(mediaType), Digest: digest.Digest(hash.String())}
}

// PushUnsigned pushes the image by tag, and nothing else, as others do.
func (i *Image) PushUnsigned(ctx context.Context, tag string) error {
	ref, err := name.NewTag(tag)
	if err != nil {
		return err
	}
	from, err := layout.ImageIndexFromPath(i.Layout)
	if err != nil {
		return err
	}
	hash, err := v1.NewHash(i.Top.Digest.String())
	if err != nil {
		return err
	}
	if i.Top.MediaType == string(types.OCIImageIndex) {
		index, err := from.ImageIndex(hash)
		if err != nil {
			return err
		}
		return remote.WriteIndex(ref, index, remote.WithContext(ctx))
	}
	img, err := from.Image(hash)
	if err != nil {
		return err
	}
	return remote.Write(ref, img, remote.WithContext(ctx))
}
