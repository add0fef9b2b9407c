package release

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	digest "github.com/opencontainers/go-digest"

	"github.com/temper-images/temper/client/catalogue"
	"github.com/temper-images/temper/client/imagefs"
	"github.com/temper-images/temper/client/provenance"
	"github.com/temper-images/temper/client/sbom"
	"github.com/temper-images/temper/client/subject"
)

// slsaPrefix begins the predicate types of SLSA provenance.
const slsaPrefix = "https://slsa.dev/provenance/"

// account is what the builder says of the build of an image, or nil. For an image
// that somebody else built it is what is attached to it.
func (src *origin) account(ctx context.Context, img *subject.Image) (*provenance.Build, error) {
	if src == nil {
		list, err := img.Statements(ctx)
		if err != nil {
			return nil, err
		}
		for _, s := range list {
			if strings.HasPrefix(s.PredicateType, slsaPrefix) {
				return provenance.ReadBuild(s.Data)
			}
		}
		return nil, nil
	}
	all := src.result.Provenance
	dt, ok := all[img.Platform]
	if !ok {
		dt, ok = all[""]
	}
	if !ok {
		return nil, nil
	}
	return provenance.ReadBuild(dt)
}

// facts are what the SBOMs say besides the catalogue.
func (x *examination) facts(ctx context.Context) (sbom.Facts, error) {
	f := sbom.Facts{
		Subject:   sbom.Subject{Name: x.img.Name, Reference: x.img.Reference, Digest: x.img.Digest, Platform: x.img.Platform},
		Hardening: x.report, Epoch: x.img.Created, Version: x.Version,
	}
	if x.src != nil {
		if c := x.src.ci.Source(); c != nil {
			f.Source = &sbom.Source{Repository: c.Repository, Commit: c.Commit}
		}
	}
	if x.out.buildkit != nil {
		f.Base, f.BuildDependencies = dependencies(x.out.buildkit, x.src.baseName())
	}
	extra, err := x.buildPackages(ctx)
	f.BuildDependencies = append(f.BuildDependencies, extra...)
	return f, err
}

// dependencies tells the base of the runtime stage from what else the build fetched.
func dependencies(b *provenance.Build, baseName string) (base *sbom.Image, rest []sbom.Dependency) {
	images := 0
	for _, d := range b.Dependencies {
		if d.Kind == provenance.KindImage {
			images++
		}
	}
	for _, d := range b.Dependencies {
		var dgst digest.Digest
		if hex := d.Digest["sha256"]; hex != "" {
			dgst = digest.NewDigestFromEncoded(digest.SHA256, hex)
		}
		isBase := d.Kind == provenance.KindImage && base == nil && (images == 1 || baseName != "" && sameImage(d.Name, baseName))
		if isBase {
			base = &sbom.Image{Reference: d.Name, Digest: dgst}
			continue
		}
		dep := sbom.Dependency{Name: d.Name, Digest: dgst}
		if strings.HasPrefix(d.URI, "pkg:") {
			dep.PURL = d.URI
		}
		if dep.Name == "" {
			dep.Name = d.URI
		}
		rest = append(rest, dep)
	}
	return base, rest
}

// sameImage compares the full name of an image with the one in a Dockerfile.
func sameImage(full, short string) bool {
	full, _, _ = strings.Cut(full, "@")
	return full == short || strings.HasSuffix(full, "/"+short)
}

// baseName is the image that the runtime stage of a local Dockerfile begins with, as
// the Dockerfile says it, or empty when it cannot be told.
func (src *origin) baseName() string {
	if src == nil || len(src.dockerfile.text) == 0 {
		return ""
	}
	ast, err := parser.Parse(strings.NewReader(string(src.dockerfile.text)))
	if err != nil {
		return ""
	}
	stages, _, err := instructions.Parse(ast.AST, nil)
	if err != nil || len(stages) == 0 {
		return ""
	}
	current := len(stages) - 1
	for range stages {
		base := stages[current].BaseName
		next, ok := instructions.HasStage(stages[:current], base)
		if !ok {
			return base
		}
		current = next
	}
	return ""
}

// buildPackages are the packages of the builder stages and of the build context that
// the settings ask for.
func (x *examination) buildPackages(ctx context.Context) ([]sbom.Dependency, error) {
	var out []sbom.Dependency
	if x.src == nil {
		return nil, nil
	}
	for _, stage := range x.src.stages {
		list, err := x.stagePackages(ctx, stage)
		if err != nil {
			return nil, fmt.Errorf("catalogue stage %s: %w", stage.name, err)
		}
		out = append(out, list...)
	}
	if x.Settings.SBOM.Context && x.Settings.Dir != "" {
		c, err := catalogue.Directory(ctx, x.Settings.Dir, catalogue.Options{Version: x.Version})
		if err != nil {
			return nil, err
		}
		for p := range c.Artifacts.Packages.Enumerate() {
			out = append(out, sbom.Dependency{Name: p.Name, Version: p.Version, PURL: p.PURL})
		}
	}
	return out, nil
}

func (x *examination) stagePackages(ctx context.Context, s stageLayout) (out []sbom.Dependency, err error) {
	set, err := subject.Open(ctx, s.dir, subject.Options{Platforms: []string{x.img.Platform}})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, set.Close()) }()
	fsys, err := imagefs.Open(ctx, set.Images[0].Image, imagefs.Options{})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, fsys.Close()) }()
	c, err := catalogue.Image(ctx, set.Images[0].Image, fsys, catalogue.Options{Reference: s.name, Version: x.Version})
	if err != nil {
		return nil, err
	}
	for p := range c.Artifacts.Packages.Enumerate() {
		out = append(out, sbom.Dependency{Name: p.Name, Version: p.Version, PURL: p.PURL})
	}
	return out, nil
}
