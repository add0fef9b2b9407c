package sbom

import (
	"path"
	"slices"
	"strings"

	"github.com/distribution/reference"
	digest "github.com/opencontainers/go-digest"

	"github.com/anchore/packageurl-go"
	"github.com/anchore/syft/syft/pkg"
	"github.com/anchore/syft/syft/sbom"

	"github.com/temper-images/temper/hardening/spec"
)

// imagePURL is the package URL of an image (purl-spec, types/oci-definition) with
// a reference, or with a name only. Without a digest there is none.
func imagePURL(ref, name string, dgst digest.Digest, platform string) string {
	if dgst == "" || ref == "" && name == "" {
		return ""
	}
	q := packageurl.Qualifiers{}
	if _, arch, ok := strings.Cut(platform, "/"); ok {
		q = append(q, packageurl.Qualifier{Key: "arch", Value: strings.ReplaceAll(arch, "/", "")})
	}
	if named, err := reference.ParseNormalizedNamed(ref); err == nil {
		name = path.Base(reference.Path(named))
		q = append(q, packageurl.Qualifier{Key: "repository_url", Value: reference.TrimNamed(named).Name()})
		if tagged, ok := named.(reference.Tagged); ok {
			q = append(q, packageurl.Qualifier{Key: "tag", Value: tagged.Tag()})
		}
	}
	if name == "" {
		name = ref
	}
	return packageurl.NewPackageURL("oci", "", strings.ToLower(name), string(dgst), q, "").String()
}

// packagePURL is the package URL of a package in a hardening report.
func packagePURL(s *sbom.SBOM, p spec.Package) string {
	q := packageurl.Qualifiers{}
	if p.Arch != "" {
		q = append(q, packageurl.Qualifier{Key: "arch", Value: p.Arch})
	}
	namespace := ""
	if d := s.Artifacts.LinuxDistribution; d != nil {
		namespace = d.ID
		if d.VersionID != "" {
			q = append(q, packageurl.Qualifier{Key: "distro", Value: d.ID + "-" + d.VersionID})
		}
	}
	return packageurl.NewPackageURL(p.Type, namespace, p.Name, p.Version, q, "").String()
}

// changes are what hardening and patching did to the packages of a catalogue.
type changes struct {
	// removed are the package URLs of what is gone, sorted.
	removed []string
	partial map[artifactKey]spec.Package
	patched map[artifactKey]Patch
}

// artifactKey finds a package of a catalogue.
type artifactKey struct {
	kind, name, version string
}

func (c *changes) find(p pkg.Package) (partial *spec.Package, patch *Patch) {
	key := artifactKey{string(p.Type), p.Name, p.Version}
	if v, ok := c.partial[key]; ok {
		partial = &v
	}
	if v, ok := c.patched[key]; ok {
		patch = &v
	}
	return partial, patch
}

func newChanges(s *sbom.SBOM, f Facts) *changes {
	c := &changes{partial: map[artifactKey]spec.Package{}, patched: map[artifactKey]Patch{}}
	if f.Hardening != nil {
		for _, p := range f.Hardening.Packages {
			switch p.State {
			case spec.PackageRemoved:
				c.removed = append(c.removed, packagePURL(s, p))
			case spec.PackagePartial:
				c.partial[artifactKey{p.Type, p.Name, p.Version}] = p
			}
		}
	}
	slices.Sort(c.removed)
	for _, p := range f.Patched {
		p.CVEs = slices.Sorted(slices.Values(p.CVEs))
		c.patched[artifactKey{p.Type, p.Name, p.To}] = p
	}
	return c
}

// sorted are the build dependencies in an order of their own.
func sorted(list []Dependency) []Dependency {
	list = slices.Clone(list)
	slices.SortFunc(list, func(a, b Dependency) int {
		for _, d := range [][2]string{{a.Name, b.Name}, {a.Version, b.Version}, {a.PURL, b.PURL}} {
			if c := strings.Compare(d[0], d[1]); c != 0 {
				return c
			}
		}
		return strings.Compare(string(a.Digest), string(b.Digest))
	})
	return slices.Compact(list)
}
