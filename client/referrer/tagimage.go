package referrer

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	digest "github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

const (
	// maxLayers bounds the layers of an image under a tag: Cosign reads no more.
	maxLayers = 1000
	// maxConfig bounds the configuration of such an image, in bytes.
	maxConfig = 1 << 20
)

// layer is a signature or an attestation as a layer of an image under a tag.
type layer struct {
	mediaType   string
	data        []byte
	annotations map[string]string
}

// add makes the image with these layers after those that are there. It returns nil
// when all are there.
func (t TagImage) add(layers []layer) (*Manifest, error) {
	var descs []v1.Descriptor
	known := map[v1.Hash]Blob{}
	for _, l := range layers {
		b := blob(l.mediaType, l.data)
		desc := hashed(b.Descriptor)
		known[desc.Digest] = b
		desc.Annotations = l.annotations
		descs = append(descs, desc)
	}
	return t.addLayers(descs, known)
}

// Merge makes the image with the layers of both, those that are there first. It
// returns nil when all are there. The layers' blobs are not among the manifest's:
// they are where the two images are.
func (t TagImage) Merge(other TagImage) (*Manifest, error) {
	from, _, err := other.parse()
	if err != nil {
		return nil, fmt.Errorf("what is to be added: %w", err)
	}
	return t.addLayers(from.Layers, nil)
}

// addLayers is add with those blobs of the layers that are to be pushed.
func (t TagImage) addLayers(layers []v1.Descriptor, known map[v1.Hash]Blob) (*Manifest, error) {
	manifest, config, err := t.parse()
	if err != nil {
		return nil, err
	}
	before := len(manifest.Layers)
	var blobs []Blob
	for _, desc := range layers {
		if slices.ContainsFunc(manifest.Layers, func(d v1.Descriptor) bool { return sameSignature(d, desc) }) {
			continue
		}
		if b, ok := known[desc.Digest]; ok {
			blobs = append(blobs, b)
		}
		manifest.Layers = append(manifest.Layers, desc)
		if config != nil {
			// As Cosign does: a signature counts as a layer of an image's file system.
			config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, desc.Digest)
			config.History = append(config.History, v1.History{})
		}
	}
	if len(manifest.Layers) == before {
		return nil, nil
	}
	if len(manifest.Layers) > maxLayers {
		return nil, fmt.Errorf("it would have %d signatures, and Cosign reads at most %d", len(manifest.Layers), maxLayers)
	}
	configData := t.Config
	if config != nil {
		if configData, err = json.Marshal(config); err != nil {
			return nil, err
		}
	}
	c := blob(string(manifest.Config.MediaType), configData)
	manifest.Config.Digest, manifest.Config.Size = hashed(c.Descriptor).Digest, c.Descriptor.Size
	data, err := json.Marshal(manifest)
	if err != nil {
		return nil, err
	}
	if len(data) > maxManifest {
		return nil, fmt.Errorf("its manifest would have %d bytes, and registries take none above %d", len(data), maxManifest)
	}
	return &Manifest{
		Descriptor: ocispecs.Descriptor{MediaType: string(manifest.MediaType), Digest: digest.FromBytes(data), Size: int64(len(data))},
		Data:       data,
		Blobs:      append([]Blob{c}, blobs...),
	}, nil
}

// parse reads what is there. Config is nil when it is no image's configuration,
// which then stays as it is.
func (t TagImage) parse() (*v1.Manifest, *v1.ConfigFile, error) {
	if t.Manifest == nil {
		return &v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1, Config: v1.Descriptor{MediaType: types.OCIConfigJSON}},
			&v1.ConfigFile{RootFS: v1.RootFS{Type: "layers", DiffIDs: []v1.Hash{}}}, nil
	}
	wrong := func(err error) error {
		return fmt.Errorf("it holds something else than signatures, which is not replaced: %w", err)
	}
	var m v1.Manifest
	if err := json.Unmarshal(t.Manifest, &m); err != nil {
		return nil, nil, wrong(err)
	}
	if m.SchemaVersion != 2 || m.MediaType != "" && !m.MediaType.IsImage() {
		return nil, nil, wrong(fmt.Errorf("schema version %d, media type %.100q", m.SchemaVersion, m.MediaType))
	}
	if m.MediaType == "" {
		m.MediaType = types.OCIManifestSchema1
	}
	if m.Config.Digest.String() != digest.FromBytes(t.Config).String() {
		return nil, nil, errors.New("the configuration that is there is another one than its manifest names")
	}
	if !m.Config.MediaType.IsConfig() {
		return &m, nil, nil
	}
	var c v1.ConfigFile
	if err := json.Unmarshal(t.Config, &c); err != nil {
		return nil, nil, wrong(fmt.Errorf("its configuration: %w", err))
	}
	return &m, &c, nil
}

// sameSignature says whether two layers are the same signature of the same bytes.
// Proofs that differ, as a certificate or an entry of a log, make another signature
// of it for a verifier.
func sameSignature(a, b v1.Descriptor) bool {
	return a.Digest == b.Digest && a.MediaType == b.MediaType && maps.Equal(a.Annotations, b.Annotations)
}
