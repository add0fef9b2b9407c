package transfer

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	digest "github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/temper-images/temper/client/referrer"
)

// The media types of Docker's manifests (image manifest version 2, schema 2).
const (
	dockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
	dockerList     = "application/vnd.docker.distribution.manifest.list.v2+json"
)

// artifactManifest is what OCI's image-spec v1.1 had for artifacts until its second
// release candidate. Registries still hold some.
const artifactManifest = "application/vnd.oci.artifact.manifest.v1+json"

// document is a manifest or an index, as far as other things are named in it.
type document struct {
	MediaType    string                `json:"mediaType"`
	ArtifactType string                `json:"artifactType"`
	Config       *ocispecs.Descriptor  `json:"config"`
	Layers       []ocispecs.Descriptor `json:"layers"`
	Blobs        []ocispecs.Descriptor `json:"blobs"`
	Manifests    []ocispecs.Descriptor `json:"manifests"`
	Subject      *ocispecs.Descriptor  `json:"subject"`
	Annotations  map[string]string     `json:"annotations"`
}

func isIndex(mediaType string) bool {
	return mediaType == ocispecs.MediaTypeImageIndex || mediaType == dockerList
}

// parse reads a manifest or index of a media type; the one that the document itself
// states counts before it.
func parse(mediaType string, data []byte) (*document, error) {
	d := &document{}
	if err := json.Unmarshal(data, d); err != nil {
		return nil, fmt.Errorf("it is no JSON document of a manifest: %w", err)
	}
	if d.MediaType == "" {
		d.MediaType = mediaType
	}
	wrong := ""
	switch d.MediaType {
	case ocispecs.MediaTypeImageManifest, dockerManifest:
		// What is a manifest to one and an index to another means two things
		// (CVE-2021-41190).
		if len(d.Manifests) > 0 || len(d.Blobs) > 0 {
			wrong = "lists other manifests"
		} else if d.Config == nil {
			wrong = "has no configuration"
		}
	case ocispecs.MediaTypeImageIndex, dockerList:
		if d.Config != nil || len(d.Layers) > 0 || len(d.Blobs) > 0 {
			wrong = "has layers"
		}
	case artifactManifest:
		if d.Config != nil || len(d.Layers) > 0 || len(d.Manifests) > 0 {
			wrong = "has layers"
		}
	case "":
		return nil, errors.New("it does not say which media type it has")
	default:
		return nil, fmt.Errorf("it has the media type %.100q, which is no manifest or index that can be copied", d.MediaType)
	}
	if wrong != "" {
		return nil, fmt.Errorf("it says that it is %s, and %s", d.MediaType, wrong)
	}
	for _, desc := range append(d.all(), d.subject()...) {
		if err := desc.Digest.Validate(); err != nil {
			return nil, fmt.Errorf("it names the digest %.100q: %w", desc.Digest, err)
		}
		if desc.Size < 0 {
			return nil, fmt.Errorf("it says that %s has %d bytes", desc.Digest, desc.Size)
		}
	}
	return d, nil
}

// blobs are what is not a manifest.
func (d *document) blobs() []ocispecs.Descriptor {
	var out []ocispecs.Descriptor
	if d.Config != nil {
		out = append(out, *d.Config)
	}
	return append(append(out, d.Layers...), d.Blobs...)
}

func (d *document) all() []ocispecs.Descriptor { return append(d.blobs(), d.Manifests...) }

func (d *document) subject() []ocispecs.Descriptor {
	if d.Subject == nil {
		return nil
	}
	return []ocispecs.Descriptor{*d.Subject}
}

// descriptor describes the document as a list of referrers does (distribution-spec
// v1.1, "Listing Referrers").
func (d *document) descriptor(dgst digest.Digest, size int64) ocispecs.Descriptor {
	out := ocispecs.Descriptor{MediaType: d.MediaType, Digest: dgst, Size: size}
	if d.Subject == nil {
		return out
	}
	out.ArtifactType, out.Annotations = d.ArtifactType, d.Annotations
	if out.ArtifactType == "" && d.Config != nil {
		out.ArtifactType = d.Config.MediaType
	}
	return out
}

// isForeign says that a layer lies elsewhere, and that registries need not have it.
func isForeign(desc ocispecs.Descriptor) bool {
	return len(desc.URLs) > 0 || strings.Contains(desc.MediaType, ".nondistributable.") || strings.Contains(desc.MediaType, ".foreign.")
}

// suffixes are what Cosign's tags end with.
var suffixes = []string{".sig", ".att", ".sbom"}

// cosignTags are the tags under which Cosign keeps what is attached to a manifest.
func cosignTags(subject digest.Digest) []string {
	var tags []string
	for _, suffix := range suffixes {
		tags = append(tags, referrer.FallbackTag(subject)+suffix)
	}
	return tags
}
