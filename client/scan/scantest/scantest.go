// Package scantest has a catalogue and the vulnerabilities that are known in it,
// for tests of scans and of gates.
package scantest

import (
	"fmt"
	"slices"
	"time"

	"github.com/anchore/syft/syft/artifact"
	"github.com/anchore/syft/syft/file"
	"github.com/anchore/syft/syft/linux"
	"github.com/anchore/syft/syft/pkg"
	"github.com/anchore/syft/syft/sbom"
	"github.com/anchore/syft/syft/source"

	"github.com/temper-images/temper/client/vulndb/vulndbtest"
)

// Built is when the database of Records says it was built.
var Built = time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)

// Records are known of the packages in Catalogue. CVE-2025-0001 is critical, fixed
// and exploited; 0002 is high and fixed; 0003 is high and not fixed; 0004 is low
// and likely to be exploited; 0005 does not affect the version that is there; 0006
// is in a Go module; 0008 is in another release of Debian; 0009 is in the package
// apt, which hardening removes.
func Records() vulndbtest.Records {
	return vulndbtest.Records{
		Debian: []vulndbtest.Record{
			{ID: "CVE-2025-0001", Package: "openssl", Fixed: "3.0.16-1~deb12u1", FixDate: "2026-01-10", Severity: "Critical", EPSS: 0.9, KEV: "2026-01-12"},
			{ID: "CVE-2025-0002", Package: "zlib", Fixed: "1:1.2.13.dfsg-2", FixDate: "2026-05-01", Severity: "High", EPSS: 0.01},
			{ID: "CVE-2025-0003", Package: "zlib", Severity: "High", EPSS: 0.02},
			{ID: "CVE-2025-0004", Package: "openssl", Fixed: "3.0.16-1~deb12u1", Severity: "Low", EPSS: 0.6},
			{ID: "CVE-2025-0005", Package: "openssl", Fixed: "3.0.14-1", Severity: "Critical"},
			{ID: "CVE-2025-0008", Package: "zlib", Release: "11", Fixed: "1:9", Severity: "High"},
			{ID: "CVE-2025-0009", Package: "apt", Severity: "Medium"},
		},
		Go: []vulndbtest.GoRecord{{ID: "GO-2025-0006", Alias: "CVE-2025-0006", Module: "example.com/parser", Fixed: "1.4.0"}},
	}
}

// Catalogue is of an image of Debian 12 with libssl3, zlib1g, a Python that its
// package owns, and a Go program.
func Catalogue() *sbom.SBOM {
	deb := func(name, source, version string) pkg.Package {
		upstream := ""
		if source != name {
			upstream = "&upstream=" + source
		}
		return pkg.Package{
			Name: name, Version: version, Type: pkg.DebPkg,
			PURL:      fmt.Sprintf("pkg:deb/debian/%s@%s?arch=amd64&distro=debian-12%s", name, version, upstream),
			Locations: file.NewLocationSet(file.NewLocation("/var/lib/dpkg/status")),
			Metadata:  pkg.DpkgDBEntry{Package: name, Source: source, Version: version, Architecture: "amd64"},
		}
	}
	python := deb("python3.11-minimal", "python3.11", "3.11.2-6+deb12u3")
	view := pkg.Package{
		Name: "python", Version: "3.11.2", Type: pkg.BinaryPkg, PURL: "pkg:generic/python@3.11.2",
		Locations: file.NewLocationSet(file.NewLocation("/usr/bin/python3.11")), Metadata: pkg.BinarySignature{},
	}
	list := []pkg.Package{
		deb("libssl3", "openssl", "3.0.15-1~deb12u1"), deb("zlib1g", "zlib", "1:1.2.13.dfsg-1"), python, view,
		{
			Name: "example.com/parser", Version: "v1.3.9", Type: pkg.GoModulePkg, Language: pkg.Go, PURL: "pkg:golang/example.com/parser@v1.3.9",
			Locations: file.NewLocationSet(file.NewLocation("/usr/local/bin/app")),
			Metadata:  pkg.GolangBinaryBuildinfoEntry{GoCompiledVersion: "go1.26.8", MainModule: "example.com/app"},
		},
	}
	s := &sbom.SBOM{
		Artifacts: sbom.Artifacts{
			Packages:          pkg.NewCollection(),
			LinuxDistribution: &linux.Release{ID: "debian", VersionID: "12", VersionCodename: "bookworm", IDLike: []string{"debian"}, Name: "Debian GNU/Linux"},
		},
		Source: source.Description{
			ID: "0123", Name: "registry.example.com/team/app", Version: "1",
			Metadata: source.ImageMetadata{UserInput: "registry.example.com/team/app:1", Architecture: "amd64", OS: "linux", Tags: []string{}, RepoDigests: []string{}},
		},
		Descriptor: sbom.Descriptor{Name: "temper"},
	}
	for i := range list {
		list[i].SetID()
		s.Artifacts.Packages.Add(list[i])
	}
	s.Relationships = append(s.Relationships, artifact.Relationship{
		From: list[slices.IndexFunc(list, func(p pkg.Package) bool { return p.Name == python.Name })],
		To:   list[slices.IndexFunc(list, func(p pkg.Package) bool { return p.Name == view.Name })],
		Type: artifact.OwnershipByFileOverlapRelationship,
	})
	return s
}
