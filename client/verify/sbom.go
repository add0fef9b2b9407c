package verify

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/package-url/packageurl-go"

	"github.com/temper-images/temper/client/provenance"
)

// The predicate types of bills of materials.
var (
	predicateCycloneDX = provenance.Types["cyclonedx"]
	predicateSPDX      = provenance.Types["spdx"]
)

// sboms judges the bills of materials: those of each format that is asked for, or
// any.
func (x *examination) sboms() (string, error) {
	found := map[string]string{}
	var wrong error
	for _, s := range x.said[SBOM] {
		read, format := readCycloneDX, FormatCycloneDX
		if !strings.HasPrefix(s.predicateType, predicateCycloneDX) {
			read, format = readSPDX, FormatSPDX
		}
		b, err := read(s.predicate)
		if err == nil {
			err = b.check(x)
		}
		if err != nil {
			wrong = fmt.Errorf("%s: %w", format, err)
			continue
		}
		found[format] = fmt.Sprintf("%s %s with %s", b.name, b.version, count(b.packages, "package"))
	}
	var out []string
	for _, format := range []string{FormatCycloneDX, FormatSPDX} {
		if found[format] != "" {
			out = append(out, found[format])
		} else if slices.Contains(x.Policy.SBOM.Formats, format) {
			if wrong != nil {
				return "", wrong
			}
			return "", fmt.Errorf("there is none in the format %s", format)
		}
	}
	if len(out) == 0 {
		return "", wrong
	}
	return strings.Join(out, ", "), nil
}

// bom is what is read of a bill of materials.
type bom struct {
	name, version string
	packages      int
	// images are the digests by which it names the image that it is about.
	images []string
}

// check refuses a bill of materials that says to be about another image.
func (b *bom) check(x *examination) error {
	if len(b.images) == 0 || slices.ContainsFunc(b.images, x.about) {
		return nil
	}
	return fmt.Errorf("it is the bill of materials of another image, %s", b.images[0])
}

// imageOf is the digest in the package URL of an image (purl-spec,
// types/oci-definition), or empty.
func imageOf(purl string) string {
	if !strings.HasPrefix(purl, "pkg:oci/") {
		return ""
	}
	p, err := packageurl.FromString(purl)
	if err != nil {
		return ""
	}
	alg, hex, _ := strings.Cut(p.Version, ":")
	return digestOf(alg, hex)
}

func (b *bom) names(d string) {
	if d != "" && !slices.Contains(b.images, d) {
		b.images = append(b.images, d)
	}
}

// readCycloneDX reads what CycloneDX says of its subject (ECMA-424, metadata.component).
func readCycloneDX(dt []byte) (*bom, error) {
	var doc struct {
		Format   string `json:"bomFormat"`
		Version  string `json:"specVersion"`
		Metadata struct {
			Component struct {
				Type   string `json:"type"`
				PURL   string `json:"purl"`
				Hashes []struct {
					Algorithm string `json:"alg"`
					Content   string `json:"content"`
				} `json:"hashes"`
			} `json:"component"`
		} `json:"metadata"`
		Components []struct{} `json:"components"`
	}
	if err := json.Unmarshal(dt, &doc); err != nil {
		return nil, fmt.Errorf("it cannot be read: %w", err)
	}
	if doc.Format != "CycloneDX" {
		return nil, errors.New("it is no CycloneDX document")
	}
	b := &bom{name: "CycloneDX", version: doc.Version, packages: len(doc.Components)}
	c := doc.Metadata.Component
	b.names(imageOf(c.PURL))
	if c.Type == "container" {
		for _, h := range c.Hashes {
			b.names(digestOf(h.Algorithm, h.Content))
		}
	}
	return b, nil
}

// readSPDX reads what SPDX 2 and 3 say of their subject.
func readSPDX(dt []byte) (*bom, error) {
	var doc struct {
		Version   string   `json:"spdxVersion"`
		Describes []string `json:"documentDescribes"`
		Packages  []struct {
			ID       string `json:"SPDXID"`
			External []struct {
				Locator string `json:"referenceLocator"`
			} `json:"externalRefs"`
		} `json:"packages"`
		Relationships []struct {
			Element string `json:"spdxElementId"`
			Type    string `json:"relationshipType"`
			Related string `json:"relatedSpdxElement"`
		} `json:"relationships"`
		Graph []spdxElement `json:"@graph"`
	}
	if err := json.Unmarshal(dt, &doc); err != nil {
		return nil, fmt.Errorf("it cannot be read: %w", err)
	}
	if len(doc.Graph) > 0 {
		return readGraph(doc.Graph)
	}
	if !strings.HasPrefix(doc.Version, "SPDX-") {
		return nil, errors.New("it is no SPDX document")
	}
	b := &bom{name: "SPDX", version: strings.TrimPrefix(doc.Version, "SPDX-"), packages: len(doc.Packages)}
	roots := doc.Describes
	for _, r := range doc.Relationships {
		if r.Element == "SPDXRef-DOCUMENT" && r.Type == "DESCRIBES" {
			roots = append(roots, r.Related)
		}
	}
	for _, p := range doc.Packages {
		if !slices.Contains(roots, p.ID) {
			continue
		}
		b.packages--
		for _, e := range p.External {
			b.names(imageOf(e.Locator))
		}
	}
	return b, nil
}

// spdxElement is an element of SPDX 3 (SPDX 3.0.1, "Serialization").
type spdxElement struct {
	Type    string `json:"type"`
	ID      string `json:"spdxId"`
	Version string `json:"specVersion"`
	// PURL is of a package, Roots of a document.
	PURL  string   `json:"software_packageUrl"`
	Roots []string `json:"rootElement"`
}

func readGraph(graph []spdxElement) (*bom, error) {
	b := &bom{name: "SPDX"}
	var roots []string
	for _, e := range graph {
		switch e.Type {
		case "CreationInfo":
			b.version = e.Version
		case "SpdxDocument", "software_Sbom":
			roots = append(roots, e.Roots...)
		case "software_Package":
			b.packages++
		}
	}
	if b.version == "" {
		return nil, errors.New("it is no SPDX document")
	}
	for _, e := range graph {
		if e.Type == "software_Package" && slices.Contains(roots, e.ID) {
			b.packages--
			b.names(imageOf(e.PURL))
		}
	}
	return b, nil
}
