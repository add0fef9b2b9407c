package evidence

import (
	"fmt"
	"path"
	"strings"

	"github.com/temper-images/temper/client/artifact"
)

// conventions say what a document is by how its file name begins and ends. The
// first that fits holds.
var conventions = []struct {
	prefix, suffix string
	kind           artifact.Kind
	mediaType      string
}{
	{"", ".cdx.json", artifact.SBOM, artifact.TypeCycloneDX},
	{"", ".spdx.json", artifact.SBOM, artifact.TypeSPDX},
	{"", ".openvex.json", artifact.VEX, artifact.TypeJSON},
	{"", ".sarif", artifact.Scan, artifact.TypeSARIF},
	{"", ".provenance.json", artifact.Attestation, artifact.TypeInToto},
	{"", ".intoto.json", artifact.Attestation, artifact.TypeInToto},
	{"attestation-", ".json", artifact.Attestation, artifact.TypeInToto},
	{"sbom-", "", artifact.SBOM, ""},
	{"scan-", "", artifact.Scan, ""},
	{"vuln-", "", artifact.Scan, ""},
	{"gate-", "", artifact.Scan, ""},
	{"inspect-", "", artifact.Scan, ""},
	{"vex-", "", artifact.VEX, ""},
	{"hardening-", "", artifact.Hardening, ""},
	{"test-", "", artifact.Test, ""},
	{"tests-", "", artifact.Test, ""},
	{"junit-", "", artifact.Test, ""},
}

// extensions are the media types of other documents. The system's table is not
// asked: it differs between machines.
var extensions = map[string]string{
	".json": artifact.TypeJSON, ".xml": "application/xml", ".html": "text/html", ".txt": "text/plain",
	".log": "text/plain", ".md": "text/markdown", ".pdf": "application/pdf",
}

// ofFile says what a document is by its name alone.
func ofFile(name string) (artifact.Kind, string) {
	mediaType := "application/octet-stream"
	if known, ok := extensions[path.Ext(name)]; ok {
		mediaType = known
	}
	for _, c := range conventions {
		if strings.HasPrefix(name, c.prefix) && strings.HasSuffix(name, c.suffix) {
			if c.mediaType != "" {
				mediaType = c.mediaType
			}
			return c.kind, mediaType
		}
	}
	return "", mediaType
}

// FromFile makes a document of a file's name and content: of the given kind or,
// when that is empty, of the kind that its name tells. Signatures and bundles are
// of the kind of what they sign.
func FromFile(name string, data []byte, kind artifact.Kind, platform string) (artifact.Artifact, error) {
	base, isSigned := signed(name)
	if !isSigned {
		base = name
	}
	byName, mediaType := ofFile(base)
	switch {
	case strings.HasSuffix(name, artifact.SignatureSuffix):
		mediaType = artifact.TypeSignature
	case strings.HasSuffix(name, artifact.BundleSuffix):
		mediaType = artifact.TypeBundle
	}
	if kind == "" {
		kind = byName
	}
	a := artifact.Artifact{Kind: kind, Name: name, MediaType: mediaType, Platform: platform, Data: data}
	if kind == "" {
		return a, fmt.Errorf("%s: its name does not tell what it is: give --kind (%s), or a name like sbom-NAME-ARCH.cdx.json", name, kindNames())
	}
	if st, err := parseStatement(data); err == nil && !isSigned {
		a.PredicateType = st.PredicateType
	}
	return a, a.Validate()
}

func kindNames() string {
	names := make([]string, 0, 6)
	for _, k := range artifact.Kinds() {
		names = append(names, string(k))
	}
	return strings.Join(names, ", ")
}
