package sbom

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/spdx/tools-golang/convert"
	"github.com/spdx/tools-golang/spdx"
	"github.com/spdx/tools-golang/spdx/v2/common"
	"github.com/spdx/tools-golang/spdx/v3/v3_0"

	"github.com/anchore/syft/syft/format/common/spdxhelpers"
	"github.com/anchore/syft/syft/sbom"

	digest "github.com/opencontainers/go-digest"
)

// DefaultSPDX is the version of SPDX that scanners and Docker's tools read.
const DefaultSPDX = "2.3"

// spdxNamespace begins the namespaces of documents whose maker has no place for
// them (SPDX 2.3, section 6.5).
const spdxNamespace = "https://spdx.org/spdxdocs/temper/"

func spdxVersion(v string) (string, error) {
	switch v = cmp.Or(v, DefaultSPDX); v {
	case "2.3", "3.0":
		return v, nil
	}
	return "", fmt.Errorf("SPDX version %q cannot be written: it is one of 2.3, 3.0", v)
}

// SPDX writes a document in JSON (JSON-LD for 3.0), of the version of the
// specification, or of DefaultSPDX when it is empty.
func SPDX(s *sbom.SBOM, f Facts, version string) ([]byte, error) {
	v, err := spdxVersion(version)
	if err != nil {
		return nil, err
	}
	doc := spdxhelpers.ToFormatModel(*s)
	e := &spdxEnricher{doc: doc, facts: f, changes: newChanges(s, f)}
	e.document()
	e.image()
	e.packages(s)
	e.build()
	e.sort()
	var buf bytes.Buffer
	if v == "3.0" {
		err = encodeSPDX3(&buf, doc)
	} else {
		enc := json.NewEncoder(&buf)
		enc.SetEscapeHTML(false)
		err = enc.Encode(doc)
	}
	if err != nil {
		return nil, fmt.Errorf("write SPDX: %w", err)
	}
	return identify(f, buf.Bytes()), nil
}

// individuals guards what tools-golang has one of for all documents, and changes.
var individuals sync.Mutex

func encodeSPDX3(buf *bytes.Buffer, doc *spdx.Document) error {
	individuals.Lock()
	defer individuals.Unlock()
	out := &v3_0.Document{}
	if err := convert.Document(doc, out); err != nil {
		return err
	}
	info := out.CreationInfo
	// SPDX 3.0 wants an agent; tools are none, other than in 2.3.
	if len(info.GetCreatedBy()) == 0 {
		info.SetCreatedBy(v3_0.AgentList{&v3_0.SoftwareAgent{Name: "temper", CreationInfo: info}})
	}
	// The conversion gives annotations an incomplete one, and individuals that of
	// the document before.
	for _, e := range out.Elements {
		e.SetCreationInfo(info)
	}
	var raw bytes.Buffer
	if err := out.Write(&raw); err != nil {
		return err
	}
	return canonicalGraph(buf, raw.Bytes())
}

// spdxEnricher adds facts to a document of Syft.
type spdxEnricher struct {
	doc     *spdx.Document
	facts   Facts
	changes *changes
	root    *spdx.Package
}

var notInNamespace = regexp.MustCompile(`[^A-Za-z0-9._-]+`)

func (e *spdxEnricher) document() {
	// Syft's own reader looks for the word "image" in the path.
	name := notInNamespace.ReplaceAllString(e.doc.DocumentName, "-")
	e.doc.DocumentNamespace = spdxNamespace + "image/" + strings.Trim(name+"-", "-") + "-" + unidentified
	e.doc.CreationInfo.Created = e.facts.created()
	e.doc.CreationInfo.Creators = nil
	for _, t := range e.facts.tools() {
		e.doc.CreationInfo.Creators = append(e.doc.CreationInfo.Creators, spdx.Creator{CreatorType: "Tool", Creator: strings.Trim(t.name+"-"+t.version, "-")})
	}
	if e.facts.Supplier != "" {
		e.doc.CreationInfo.Creators = append(e.doc.CreationInfo.Creators, spdx.Creator{CreatorType: "Organization", Creator: e.facts.Supplier})
	}
}

// image adds to the package that the document describes.
func (e *spdxEnricher) image() {
	for _, r := range e.doc.Relationships {
		if r.Relationship != common.TypeRelationshipDescribe {
			continue
		}
		for _, p := range e.doc.Packages {
			if p.PackageSPDXIdentifier == r.RefB.ElementRefID {
				e.root = p
			}
		}
	}
	if e.root == nil {
		return
	}
	f := e.facts
	if purl := imagePURL(f.Subject.Reference, f.Subject.Name, f.Subject.Digest, f.Subject.Platform); purl != "" {
		e.root.PackageExternalReferences = []*spdx.PackageExternalReference{purlReference(purl)}
	}
	if f.Supplier != "" {
		e.root.PackageSupplier = &spdx.Supplier{SupplierType: "Organization", Supplier: f.Supplier}
	}
	if repo := f.Source.repository(); repo != "" {
		e.root.PackageSourceInfo = strings.TrimSuffix("built from "+repo+" "+commitComment(f.Source.Commit), " ")
	}
	if f.Base != nil && f.Base.Reference != "" {
		base := e.other("Base", Dependency{Name: f.Base.Reference, Version: string(f.Base.Digest), Digest: f.Base.Digest, PURL: imagePURL(f.Base.Reference, "", f.Base.Digest, f.Subject.Platform)})
		base.PrimaryPackagePurpose = "CONTAINER"
		e.relate(e.root.PackageSPDXIdentifier, common.TypeRelationshipDescendantOf, base.PackageSPDXIdentifier)
	}
	if r := f.Hardening; r != nil {
		e.annotate(e.root, fmt.Sprintf("temper hardening level=%s files=%d/%d bytes=%d/%d", r.Level, r.After.Files, r.Before.Files, r.After.Bytes, r.Before.Bytes))
		for _, purl := range e.changes.removed {
			e.annotate(e.root, "temper hardening removed "+purl)
		}
	}
}

// packages adds what became of packages that are in the image. The first packages
// are those of the catalogue, in its order.
func (e *spdxEnricher) packages(s *sbom.SBOM) {
	for i, p := range s.Artifacts.Packages.Sorted() {
		partial, patch := e.changes.find(p)
		out := e.doc.Packages[i]
		if partial != nil {
			e.annotate(out, "temper hardening kept="+kept(*partial)+": "+partialNote(*partial))
		}
		if patch != nil {
			text := "temper patched from " + patch.From
			if len(patch.CVEs) > 0 {
				text += ", mending " + strings.Join(patch.CVEs, ", ")
			}
			e.annotate(out, text)
			for _, id := range patch.CVEs {
				if at := advisory(id); at != "" {
					out.PackageExternalReferences = append(out.PackageExternalReferences, &spdx.PackageExternalReference{
						Category: common.CategorySecurity, RefType: common.TypeSecurityFix, Locator: at,
					})
				}
			}
		}
	}
}

// build adds what took part in the build. A package URL stays out where a scanner
// would take it for a package of the image.
func (e *spdxEnricher) build() {
	if e.root == nil {
		return
	}
	for _, d := range sorted(e.facts.BuildDependencies) {
		if d.PURL != "" && !strings.HasPrefix(d.PURL, "pkg:oci/") && !strings.HasPrefix(d.PURL, "pkg:docker/") && !strings.HasPrefix(d.PURL, "pkg:generic/") {
			e.annotate(e.root, "temper build dependency "+d.PURL)
			continue
		}
		p := e.other("Build", d)
		e.relate(p.PackageSPDXIdentifier, common.TypeRelationshipBuildDependencyOf, e.root.PackageSPDXIdentifier)
	}
}

// other adds a package that is not in the image.
func (e *spdxEnricher) other(kind string, d Dependency) *spdx.Package {
	none := "NOASSERTION"
	id := kind + "-" + digest.FromString(strings.Join([]string{d.Name, d.Version, d.PURL, string(d.Digest)}, "\n")).Encoded()[:16]
	p := &spdx.Package{
		PackageName: d.Name, PackageVersion: d.Version, PackageSPDXIdentifier: common.ElementID(id),
		PackageDownloadLocation: none, PackageLicenseConcluded: none, PackageLicenseDeclared: none, PackageCopyrightText: none,
		PackageSupplier: &spdx.Supplier{Supplier: none}, IsFilesAnalyzedTagPresent: true,
	}
	if d.Digest.Validate() == nil && d.Digest.Algorithm() == digest.SHA256 {
		p.PackageChecksums = []spdx.Checksum{{Algorithm: spdx.SHA256, Value: d.Digest.Encoded()}}
	}
	if d.PURL != "" {
		p.PackageExternalReferences = []*spdx.PackageExternalReference{purlReference(d.PURL)}
	}
	e.doc.Packages = append(e.doc.Packages, p)
	return p
}

func purlReference(purl string) *spdx.PackageExternalReference {
	return &spdx.PackageExternalReference{Category: common.CategoryPackageManager, RefType: common.TypePackageManagerPURL, Locator: purl}
}

func (e *spdxEnricher) annotate(p *spdx.Package, text string) {
	p.Annotations = append(p.Annotations, spdx.Annotation{
		Annotator:      common.Annotator{AnnotatorType: "Tool", Annotator: strings.Trim("temper-"+e.facts.Version, "-")},
		AnnotationDate: e.facts.created(), AnnotationType: "OTHER", AnnotationComment: text,
	})
}

func (e *spdxEnricher) relate(from common.ElementID, kind string, to common.ElementID) {
	e.doc.Relationships = append(e.doc.Relationships, &spdx.Relationship{
		RefA: spdx.DocElementID{ElementRefID: from}, Relationship: kind, RefB: spdx.DocElementID{ElementRefID: to},
	})
}

// sort puts in order what has none of its own.
func (e *spdxEnricher) sort() {
	slices.SortStableFunc(e.doc.Packages, func(a, b *spdx.Package) int {
		return cmp.Compare(a.PackageSPDXIdentifier, b.PackageSPDXIdentifier)
	})
	slices.SortStableFunc(e.doc.OtherLicenses, func(a, b *spdx.OtherLicense) int {
		return cmp.Compare(a.LicenseIdentifier, b.LicenseIdentifier)
	})
	slices.SortStableFunc(e.doc.Relationships, func(a, b *spdx.Relationship) int {
		return cmp.Or(
			cmp.Compare(a.RefA.ElementRefID, b.RefA.ElementRefID), cmp.Compare(a.Relationship, b.Relationship),
			cmp.Compare(a.RefB.ElementRefID, b.RefB.ElementRefID), cmp.Compare(a.RelationshipComment, b.RelationshipComment))
	})
}
