package sbom

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/CycloneDX/cyclonedx-go"
	digest "github.com/opencontainers/go-digest"

	"github.com/anchore/syft/syft/format/common/cyclonedxhelpers"
	"github.com/anchore/syft/syft/sbom"

	"github.com/temper-images/temper/hardening/spec"
)

// DefaultCycloneDX is the version of CycloneDX that validators and readers widely
// take.
const DefaultCycloneDX = "1.6"

// cycloneDXVersions are what can be written. Earlier ones have no place for what
// Temper adds.
var cycloneDXVersions = map[string]cyclonedx.SpecVersion{
	"1.4": cyclonedx.SpecVersion1_4, "1.5": cyclonedx.SpecVersion1_5, "1.6": cyclonedx.SpecVersion1_6, "1.7": cyclonedx.SpecVersion1_7,
}

func cycloneDXVersion(v string) (cyclonedx.SpecVersion, error) {
	out, ok := cycloneDXVersions[cmp.Or(v, DefaultCycloneDX)]
	if !ok {
		return 0, fmt.Errorf("CycloneDX version %q cannot be written: it is one of 1.4, 1.5, 1.6, 1.7", v)
	}
	return out, nil
}

// The names of properties that say what hardening did (CycloneDX, "properties").
const (
	propertyLevel        = "temper:hardening:level"
	propertyBytesBefore  = "temper:hardening:bytesBefore"
	propertyBytesAfter   = "temper:hardening:bytesAfter"
	propertyFilesBefore  = "temper:hardening:filesBefore"
	propertyFilesAfter   = "temper:hardening:filesAfter"
	propertyRemoved      = "temper:hardening:removedPackage"
	propertyFilesKept    = "temper:hardening:filesKept" // a fraction between 0 and 1
	propertyPatchedFrom  = "temper:patch:from"
	lifecycleAfterBuild  = "post-build"
	buildFormulaIdentity = "temper:build"
)

// CycloneDX writes a document in JSON, of the version of the specification, or of
// DefaultCycloneDX when it is empty.
func CycloneDX(s *sbom.SBOM, f Facts, version string) ([]byte, error) {
	v, err := cycloneDXVersion(version)
	if err != nil {
		return nil, err
	}
	bom := cyclonedxhelpers.ToFormatModel(*s)
	bom.SerialNumber = "urn:uuid:" + unidentified
	bom.Metadata.Timestamp = f.created()
	bom.Metadata.Lifecycles = &[]cyclonedx.Lifecycle{{Phase: lifecycleAfterBuild}}
	bom.Metadata.Tools = cycloneDXTools(f)
	c := newChanges(s, f)
	describeImage(bom.Metadata, s, f, c)
	describePackages(bom, s, c)
	describeBuild(bom, f)
	nameNewLicences(bom)
	var buf bytes.Buffer
	if err := cyclonedx.NewBOMEncoder(&buf, cyclonedx.BOMFileFormatJSON).SetEscapeHTML(false).EncodeVersion(bom, v); err != nil {
		return nil, fmt.Errorf("write CycloneDX: %w", err)
	}
	return identify(f, buf.Bytes()), nil
}

// cycloneDXTools are written in the older form where the version has no other.
func cycloneDXTools(f Facts) *cyclonedx.ToolsChoice {
	var tools []cyclonedx.Component
	for _, t := range f.tools() {
		tools = append(tools, cyclonedx.Component{Type: cyclonedx.ComponentTypeApplication, Name: t.name, Version: t.version})
	}
	return &cyclonedx.ToolsChoice{Components: &tools}
}

func hashes(d digest.Digest) *[]cyclonedx.Hash {
	if d.Validate() != nil || d.Algorithm() != digest.SHA256 {
		return nil
	}
	return &[]cyclonedx.Hash{{Algorithm: cyclonedx.HashAlgoSHA256, Value: d.Encoded()}}
}

// describeImage adds to the component that the document is about.
func describeImage(m *cyclonedx.Metadata, s *sbom.SBOM, f Facts, c *changes) {
	if m.Component == nil {
		m.Component = &cyclonedx.Component{Type: cyclonedx.ComponentTypeContainer, Name: s.Source.Name, Version: s.Source.Version}
	}
	img := m.Component
	img.Hashes = hashes(f.Subject.Digest)
	img.PackageURL = imagePURL(f.Subject.Reference, f.Subject.Name, f.Subject.Digest, f.Subject.Platform)
	if f.Supplier != "" {
		m.Supplier = &cyclonedx.OrganizationalEntity{Name: f.Supplier}
		img.Supplier = m.Supplier
	}
	pedigree := cyclonedx.Pedigree{}
	if f.Base != nil && f.Base.Reference != "" {
		pedigree.Ancestors = &[]cyclonedx.Component{{
			Type: cyclonedx.ComponentTypeContainer, Name: f.Base.Reference, Version: string(f.Base.Digest),
			Hashes: hashes(f.Base.Digest), PackageURL: imagePURL(f.Base.Reference, "", f.Base.Digest, f.Subject.Platform),
		}}
	}
	if repo := f.Source.repository(); repo != "" {
		img.ExternalReferences = &[]cyclonedx.ExternalReference{{Type: cyclonedx.ERTypeVCS, URL: repo, Comment: commitComment(f.Source.Commit)}}
		if f.Source.Commit != "" {
			pedigree.Commits = &[]cyclonedx.Commit{{UID: f.Source.Commit, URL: repo}}
		}
	}
	if pedigree != (cyclonedx.Pedigree{}) {
		img.Pedigree = &pedigree
	}
	if properties := hardeningProperties(f.Hardening, c); len(properties) > 0 {
		img.Properties = &properties
	}
}

func commitComment(commit string) string {
	if commit == "" {
		return ""
	}
	return "commit " + commit
}

func hardeningProperties(r *spec.Report, c *changes) []cyclonedx.Property {
	if r == nil {
		return nil
	}
	out := []cyclonedx.Property{
		{Name: propertyLevel, Value: string(r.Level)},
		{Name: propertyBytesBefore, Value: strconv.FormatInt(r.Before.Bytes, 10)},
		{Name: propertyBytesAfter, Value: strconv.FormatInt(r.After.Bytes, 10)},
		{Name: propertyFilesBefore, Value: strconv.Itoa(r.Before.Files)},
		{Name: propertyFilesAfter, Value: strconv.Itoa(r.After.Files)},
	}
	for _, purl := range c.removed {
		out = append(out, cyclonedx.Property{Name: propertyRemoved, Value: purl})
	}
	return out
}

// describePackages adds what became of packages that are in the image. The first
// components are the packages, in the order of the catalogue.
func describePackages(bom *cyclonedx.BOM, s *sbom.SBOM, c *changes) {
	for i, p := range s.Artifacts.Packages.Sorted() {
		partial, patch := c.find(p)
		if partial == nil && patch == nil {
			continue
		}
		component := &(*bom.Components)[i]
		var properties []cyclonedx.Property
		pedigree := &cyclonedx.Pedigree{}
		if partial != nil {
			properties = append(properties,
				cyclonedx.Property{Name: propertyFilesBefore, Value: strconv.Itoa(partial.FilesBefore)},
				cyclonedx.Property{Name: propertyFilesAfter, Value: strconv.Itoa(partial.FilesAfter)},
				cyclonedx.Property{Name: propertyFilesKept, Value: kept(*partial)})
			pedigree.Notes = partialNote(*partial)
		}
		if patch != nil {
			properties = append(properties, cyclonedx.Property{Name: propertyPatchedFrom, Value: patch.From})
			pedigree.Ancestors = &[]cyclonedx.Component{{Type: component.Type, Name: p.Name, Version: patch.From}}
			pedigree.Patches = patches(*patch)
		}
		if component.Properties != nil {
			properties = append(slices.Clone(*component.Properties), properties...)
		}
		component.Properties = &properties
		component.Pedigree = pedigree
	}
}

func patches(p Patch) *[]cyclonedx.Patch {
	var resolves []cyclonedx.Issue
	for _, id := range p.CVEs {
		issue := cyclonedx.Issue{Type: cyclonedx.IssueTypeSecurity, ID: id, Name: id}
		if at := advisory(id); at != "" {
			issue.References = &[]string{at}
		}
		resolves = append(resolves, issue)
	}
	out := cyclonedx.Patch{Type: cyclonedx.PatchTypeBackport}
	if len(resolves) > 0 {
		out.Resolves = &resolves
	}
	return &[]cyclonedx.Patch{out}
}

// advisory is where a vulnerability is described, or empty.
func advisory(id string) string {
	switch {
	case strings.HasPrefix(id, "CVE-"):
		return "https://www.cve.org/CVERecord?id=" + id
	case strings.HasPrefix(id, "GHSA-"):
		return "https://github.com/advisories/" + id
	}
	return ""
}

// kept is the fraction of a package's files that is still there.
func kept(p spec.Package) string {
	if p.FilesBefore <= 0 {
		return "0"
	}
	return strconv.FormatFloat(float64(p.FilesAfter)/float64(p.FilesBefore), 'f', 3, 64)
}

func partialNote(p spec.Package) string {
	return fmt.Sprintf("Hardening kept %d of its %d files.", p.FilesAfter, p.FilesBefore)
}

// describeBuild adds what took part in the build, apart from the components, which
// are what is in the image.
func describeBuild(bom *cyclonedx.BOM, f Facts) {
	var components []cyclonedx.Component
	for _, d := range sorted(f.BuildDependencies) {
		c := cyclonedx.Component{
			Type: cyclonedx.ComponentTypeFile, Name: d.Name, Version: d.Version, PackageURL: d.PURL, Hashes: hashes(d.Digest),
		}
		switch {
		case strings.HasPrefix(d.PURL, "pkg:oci/"), strings.HasPrefix(d.PURL, "pkg:docker/"):
			c.Type = cyclonedx.ComponentTypeContainer
		case d.PURL != "":
			c.Type = cyclonedx.ComponentTypeLibrary
		}
		components = append(components, c)
	}
	if len(components) > 0 {
		bom.Formulation = &[]cyclonedx.Formula{{BOMRef: buildFormulaIdentity, Components: &components}}
	}
}
