package scan

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/anchore/packageurl-go"
	"github.com/anchore/syft/syft/linux"
	syftpkg "github.com/anchore/syft/syft/pkg"
	"github.com/anchore/syft/syft/sbom"

	"github.com/temper-images/temper/client/vex"
	"github.com/temper-images/temper/client/vulndb"
	"github.com/temper-images/temper/hardening/spec"
)

// removable are the types of packages that hardening removes, as Syft knows them.
var removable = map[string]syftpkg.Type{"deb": syftpkg.DebPkg, "apk": syftpkg.ApkPkg, "rpm": syftpkg.RpmPkg}

// Removed finds out which vulnerabilities went with the packages that hardening
// removed, for the image's VEX document. S is the catalogue of the hardened image,
// which knows its distribution. A package whose record has another name than its
// source package is matched by its own name only.
func Removed(ctx context.Context, s *sbom.SBOM, report *spec.Report, db *vulndb.Database) ([]vex.Removed, error) {
	release := s.Artifacts.LinuxDistribution
	if report == nil || release == nil {
		return nil, nil
	}
	gone := sbom.SBOM{Artifacts: sbom.Artifacts{Packages: syftpkg.NewCollection(), LinuxDistribution: release}}
	why := map[string]string{}
	for _, p := range report.Packages {
		t, ok := removable[p.Type]
		if p.State != spec.PackageRemoved || !ok {
			continue
		}
		purl := packageURL(p, release)
		why[purl] = p.Why
		sp := syftpkg.Package{Name: p.Name, Version: p.Version, Type: t, PURL: purl}
		sp.SetID()
		gone.Artifacts.Packages.Add(sp)
	}
	if len(why) == 0 {
		return nil, nil
	}
	r, err := Match(ctx, &gone, db, Options{})
	if err != nil {
		return nil, fmt.Errorf("find the vulnerabilities of removed packages: %w", err)
	}
	by := map[string][]string{}
	for _, f := range r.Findings {
		by[f.Package.PURL] = append(by[f.Package.PURL], f.ID)
	}
	var out []vex.Removed
	for purl, ids := range by {
		out = append(out, vex.Removed{PURL: purl, Why: why[purl], Vulnerabilities: sortedSet(ids)})
	}
	slices.SortFunc(out, func(a, b vex.Removed) int { return strings.Compare(a.PURL, b.PURL) })
	return out, nil
}

func packageURL(p spec.Package, release *linux.Release) string {
	q := map[string]string{"distro": release.ID + "-" + release.VersionID}
	if p.Arch != "" {
		q["arch"] = p.Arch
	}
	return packageurl.NewPackageURL(p.Type, release.ID, p.Name, p.Version, packageurl.QualifiersFromMap(q), "").String()
}
