package sbom

import (
	"fmt"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	digest "github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// Declared is what an image says of its own base and source, in annotations of its
// manifest or labels of its configuration (image-spec v1.1, annotations.md,
// "Pre-Defined Annotation Keys"). Nobody vouches for it. What it does not say is
// nil.
func Declared(img v1.Image) (base *Image, source *Source, err error) {
	m, err := img.Manifest()
	if err != nil {
		return nil, nil, fmt.Errorf("read manifest: %w", err)
	}
	cfg, err := img.ConfigFile()
	if err != nil {
		return nil, nil, fmt.Errorf("read configuration: %w", err)
	}
	say := func(key string) string {
		if v := m.Annotations[key]; v != "" {
			return v
		}
		return cfg.Config.Labels[key]
	}
	if name := say(ocispecs.AnnotationBaseImageName); name != "" {
		base = &Image{Reference: name}
		if d := digest.Digest(say(ocispecs.AnnotationBaseImageDigest)); d.Validate() == nil {
			base.Digest = d
		}
	}
	if repo := say(ocispecs.AnnotationSource); repo != "" {
		source = &Source{Repository: repo, Commit: say(ocispecs.AnnotationRevision)}
	}
	return base, source, nil
}
