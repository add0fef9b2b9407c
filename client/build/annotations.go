package build

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/containerd/platforms"
	"github.com/moby/buildkit/exporter/containerimage/exptypes"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

var annotationTarget = regexp.MustCompile(`^([a-z-]+)(?:\[([A-Za-z0-9_/.-]+)\])?$`)

var annotationTypes = []string{
	exptypes.AnnotationIndex, exptypes.AnnotationIndexDescriptor,
	exptypes.AnnotationManifest, exptypes.AnnotationManifestDescriptor,
}

// parseAnnotations reads "[TYPE[PLATFORM],…:]KEY=VALUE", as docker buildx build
// --annotation takes it, into options of an exporter.
func parseAnnotations(specs []string) (map[string]string, error) {
	out := map[string]string{}
	for _, spec := range specs {
		targets, value, ok := strings.Cut(spec, "=")
		if !ok {
			return nil, inputErrorf("--annotation %s: want KEY=VALUE", spec)
		}
		list, key, ok := strings.Cut(targets, ":")
		if !ok {
			out[exptypes.AnnotationKey{Key: targets}.String()] = value
			continue
		}
		for target := range strings.SplitSeq(list, ",") {
			ak, err := parseAnnotationTarget(target)
			if err != nil {
				return nil, inputErrorf("--annotation %s: %w", spec, err)
			}
			ak.Key = key
			out[ak.String()] = value
		}
	}
	return out, nil
}

func parseAnnotationTarget(target string) (exptypes.AnnotationKey, error) {
	m := annotationTarget.FindStringSubmatch(target)
	if m == nil || !slices.Contains(annotationTypes, m[1]) {
		return exptypes.AnnotationKey{}, fmt.Errorf("%q is not one of %s, with a platform in brackets where wanted", target, strings.Join(annotationTypes, ", "))
	}
	ak := exptypes.AnnotationKey{Type: m[1]}
	if m[2] != "" {
		p, err := platforms.Parse(m[2])
		if err != nil {
			return exptypes.AnnotationKey{}, fmt.Errorf("platform %q: %w", m[2], err)
		}
		ak.Platform = &ocispecs.Platform{OS: p.OS, Architecture: p.Architecture, Variant: p.Variant}
	}
	return ak, nil
}
