package scan

import (
	"slices"
	"strings"

	"github.com/anchore/grype/grype/distro"
	"github.com/anchore/grype/grype/pkg"
	"github.com/anchore/syft/syft/artifact"
	syftpkg "github.com/anchore/syft/syft/pkg"
	"github.com/anchore/syft/syft/sbom"
)

func providerConfig() pkg.ProviderConfig {
	return pkg.ProviderConfig{SynthesisConfig: pkg.SynthesisConfig{Distro: pkg.DistroConfig{FixChannels: distro.DefaultFixChannels()}}}
}

// packagesOf is pkg.Provide for a catalogue in memory, which Grype takes from
// files only.
func packagesOf(s *sbom.SBOM) ([]pkg.Package, pkg.Context) {
	about := pkg.Context{Source: &s.Source}
	if release := s.Artifacts.LinuxDistribution; release != nil {
		// The library writes to the list.
		own := *release
		own.IDLike = slices.Clone(release.IDLike)
		about.Distro = distro.FromRelease(&own, distro.DefaultFixChannels())
		about.DistroDetectionFailed = about.Distro == nil
	}
	list := pkg.FromCollection(s.Artifacts.Packages, s.Relationships, providerConfig().SynthesisConfig)
	if about.Distro != nil {
		for _, p := range list {
			if p.Distro == nil {
				p.Distro = about.Distro
			}
		}
	}
	return pkg.FromPtrs(slices.DeleteFunc(list, isOwned)), about
}

// isOwned says that a package is only another view of a package of the operating
// system, whose maintainers' records count (Grype v0.120.1, pkg/package.go,
// removePackagesByOverlap, which it does not export).
func isOwned(p *pkg.Package) bool {
	return slices.ContainsFunc(p.RelatedPackages[artifact.OwnershipByFileOverlapRelationship], func(owner *pkg.Package) bool {
		if owner == nil || owner.Distro == nil {
			return false
		}
		if !strings.HasPrefix(owner.Version, p.Version) && !strings.HasPrefix(p.Version, owner.Version) {
			return false
		}
		return isComprehensive(owner.Distro) && isOSPackage(owner) && !isOSPackage(p) || p.Type == syftpkg.BinaryPkg
	})
}

// comprehensive are the distributions whose records also list what is not fixed.
var comprehensive = []distro.Type{
	distro.ArchLinux, distro.Azure, distro.Debian, distro.Mariner, distro.RedHat, distro.SLES, distro.Ubuntu,
}

func isComprehensive(d *distro.Distro) bool {
	if d.Type == distro.AmazonLinux {
		return false
	}
	names := append([]string{d.Name()}, d.IDLike...)
	return slices.ContainsFunc(comprehensive, func(t distro.Type) bool {
		return slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(string(t), n) })
	})
}

func isOSPackage(p *pkg.Package) bool {
	switch p.Type {
	case syftpkg.DebPkg, syftpkg.RpmPkg, syftpkg.PortagePkg, syftpkg.AlpmPkg, syftpkg.ApkPkg:
		return true
	}
	return false
}
