package scan

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/anchore/syft/syft/source"
	"github.com/google/go-containerregistry/pkg/name"
	digest "github.com/opencontainers/go-digest"

	"github.com/temper-images/temper/client/subject"
	"github.com/temper-images/temper/client/vex"
)

// About is what VEX statements know an image by.
func About(img *subject.Image) (vex.Image, error) {
	config, err := img.Image.ConfigName()
	if err != nil {
		return vex.Image{}, fmt.Errorf("configuration of %s: %w", img.Name, err)
	}
	out := vex.Image{Name: img.Name, Platform: img.Platform, Digests: []digest.Digest{img.Digest, digest.Digest(config.String())}}
	if img.Index != "" {
		out.Digests = append(out.Digests, img.Index)
	}
	if img.Reference != "" {
		out.References = []string{img.Reference}
	}
	return out, nil
}

// recorded adds to what is known of the image what its SBOM records of it.
func recorded(img vex.Image, src source.Description) vex.Image {
	m, ok := src.Metadata.(source.ImageMetadata)
	if !ok {
		return img
	}
	for _, d := range []string{m.ManifestDigest, m.ID} {
		if d := digest.Digest(d); d.Validate() == nil {
			img.Digests = append(slices.Clone(img.Digests), d)
		}
	}
	refs := slices.Concat(img.References, m.Tags, m.RepoDigests)
	if ref, err := name.ParseReference(m.UserInput); err == nil && strings.ContainsAny(m.UserInput, "/:") {
		refs = append(refs, ref.String())
	}
	for _, ref := range m.RepoDigests {
		if _, d, ok := strings.Cut(ref, "@"); ok && digest.Digest(d).Validate() == nil {
			img.Digests = append(slices.Clone(img.Digests), digest.Digest(d))
		}
	}
	img.References = sortedSet(refs)
	if img.Platform == "" && m.OS != "" {
		img.Platform = strings.TrimSuffix(m.OS+"/"+m.Architecture+"/"+m.Variant, "/")
	}
	return img
}

// AttachedVEX are the OpenVEX documents that are attached to an image. Nobody
// vouches for them: who made the image could have made them, so they are to be
// asked for.
func AttachedVEX(ctx context.Context, img *subject.Image) ([]*vex.Document, error) {
	list, err := img.Statements(ctx)
	if err != nil {
		return nil, fmt.Errorf("attestations of %s: %w", img.Name, err)
	}
	var out []*vex.Document
	for _, s := range list {
		if !strings.HasPrefix(s.PredicateType, vex.PredicateType) {
			continue
		}
		d, err := vex.Read("attestation "+digest.FromBytes(s.Data).String(), s.Data)
		if err != nil {
			return nil, err
		}
		out = append(out, d)
	}
	return out, nil
}
