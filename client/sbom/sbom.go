// Package sbom writes bills of materials of an image, CycloneDX and SPDX, from one
// catalogue and from what Temper knows besides: the base image, the source, and
// what hardening and patching did. Equal inputs give equal bytes: identifiers come
// from digests and times from the epoch.
//
// Both documents name a package as it is found in the image, and no package that
// is not in it, since scanners take every package that they read for one that is
// there. What hardening removed stands in properties and annotations.
package sbom

import (
	"fmt"
	"net/url"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	digest "github.com/opencontainers/go-digest"

	"github.com/anchore/syft/syft/sbom"

	"github.com/temper-images/temper/client/artifact"
	"github.com/temper-images/temper/hardening/spec"
)

// The in-toto predicate types of the documents (in-toto Attestation Framework,
// predicates CycloneDX and SPDX; BuildKit and buildx know the second).
const (
	PredicateCycloneDX = "https://cyclonedx.org/bom"
	PredicateSPDX      = "https://spdx.dev/Document"
)

// The formats.
const (
	FormatCycloneDX = "cyclonedx"
	FormatSPDX      = "spdx"
)

// Formats are all formats.
func Formats() []string { return []string{FormatCycloneDX, FormatSPDX} }

// Facts are what is known about an image besides what its files say. Only
// Subject.Digest is required.
type Facts struct {
	Subject Subject
	// Base is the image that the runtime stage began with, or nil.
	Base *Image
	// Source is what the image was built from, or nil.
	Source *Source
	// Supplier is the organization that supplies the image, or empty.
	Supplier string
	// Hardening is the image's hardening report, or nil.
	Hardening *spec.Report
	// Patched are packages that were replaced by newer ones.
	Patched []Patch
	// BuildDependencies took part in the build, and are not in the image.
	BuildDependencies []Dependency
	// Epoch is the time that the documents state as their own.
	Epoch time.Time
	// Version is Temper's own version.
	Version string
}

// Subject is the image.
type Subject struct {
	// Name is short: "nginx".
	Name string
	// Reference is the registry's name for it, with a tag perhaps:
	// "registry.example.com/team/app:1". It may be empty.
	Reference string
	// Digest is the digest of the image manifest.
	Digest digest.Digest
	// Platform is "linux/amd64", "linux/arm/v7".
	Platform string
}

// Image is another image.
type Image struct {
	// Reference is its name: "debian:bookworm".
	Reference string
	// Digest is the digest of its manifest or index, or empty.
	Digest digest.Digest
}

// Source is a commit. User names and passwords in the address are left out of
// documents.
type Source struct {
	// Repository is an address: "https://git.example.com/team/app.git".
	Repository string
	// Commit is a full commit ID, or empty.
	Commit string
}

// Patch is a package that was replaced by a newer one.
type Patch struct {
	// Type is "deb", "apk" or "rpm", as in a package URL.
	Type, Name string
	// From is the version before, To the one that is in the image.
	From, To string
	// CVEs are what the newer one mends: "CVE-2026-1234".
	CVEs []string
}

// Dependency is something that took part in the build.
type Dependency struct {
	// Name is what it is called: "golang:1.26-bookworm", an address, a package.
	Name    string
	Version string
	// PURL is a package URL, or empty.
	PURL string
	// Digest is of its content, or empty.
	Digest digest.Digest
}

// Options say which documents are wanted. The zero value is all formats in their
// default versions.
type Options struct {
	// Formats are of Formats().
	Formats []string
	// CycloneDX is a version of the specification, DefaultCycloneDX when empty.
	CycloneDX string
	// SPDX is a version of the specification, DefaultSPDX when empty.
	SPDX string
}

// Validate says what is wrong with the options.
func (o Options) Validate() error {
	for _, f := range o.Formats {
		if !slices.Contains(Formats(), f) {
			return fmt.Errorf("SBOM format %q is unknown: it is one of %s", f, strings.Join(Formats(), ", "))
		}
	}
	if _, err := cycloneDXVersion(o.CycloneDX); err != nil {
		return err
	}
	_, err := spdxVersion(o.SPDX)
	return err
}

// Artifacts writes the documents of an image: "sbom-NAME-ARCH.cdx.json" and
// "sbom-NAME-ARCH.spdx.json".
func Artifacts(s *sbom.SBOM, f Facts, o Options) ([]artifact.Artifact, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	formats := o.Formats
	if len(formats) == 0 {
		formats = Formats()
	}
	var out []artifact.Artifact
	for _, format := range Formats() {
		if !slices.Contains(formats, format) {
			continue
		}
		a := artifact.Artifact{Kind: artifact.SBOM, Platform: f.Subject.Platform}
		stem := "sbom-" + f.Subject.Name + "-" + f.Subject.arch()
		var err error
		switch format {
		case FormatCycloneDX:
			a.Name, a.MediaType, a.PredicateType = stem+".cdx.json", artifact.TypeCycloneDX, PredicateCycloneDX
			a.Data, err = CycloneDX(s, f, o.CycloneDX)
		case FormatSPDX:
			a.Name, a.MediaType, a.PredicateType = stem+".spdx.json", artifact.TypeSPDX, PredicateSPDX
			a.Data, err = SPDX(s, f, o.SPDX)
		}
		if err != nil {
			return nil, err
		}
		if err := a.Validate(); err != nil {
			return nil, err
		}
		out = append(out, a)
	}
	return out, nil
}

// arch is the platform as it stands in file names, without Linux: "amd64",
// "arm-v7", "windows-amd64".
func (s Subject) arch() string {
	return strings.ReplaceAll(strings.TrimPrefix(s.Platform, "linux/"), "/", "-")
}

// repository is the source's address without a secret, or empty.
func (s *Source) repository() string {
	if s == nil {
		return ""
	}
	u, err := url.Parse(s.Repository)
	if err != nil {
		// "git@host:path" is no URL, and what stands before "@" is a user name.
		_, rest, found := strings.Cut(s.Repository, "@")
		if !found || strings.ContainsAny(rest, "@") {
			return ""
		}
		return rest
	}
	u.User, u.RawQuery, u.Fragment = nil, "", ""
	return u.String()
}

// created is the documents' time as both formats write it.
func (f Facts) created() string {
	t := f.Epoch
	if t.IsZero() {
		t = time.Unix(0, 0)
	}
	return t.UTC().Format(time.RFC3339)
}

// tool is a program that had a part in a document.
type tool struct{ name, version string }

// tools are Temper and the version of Syft that it is built with.
func (f Facts) tools() []tool {
	out := []tool{{"temper", f.Version}}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, dep := range info.Deps {
			if dep.Path == "github.com/anchore/syft" {
				out = append(out, tool{"syft", dep.Version})
			}
		}
	}
	return out
}
