package sbom

import (
	_ "embed"
	"strings"
	"sync"

	"github.com/CycloneDX/cyclonedx-go"
)

// licenceList are the identifiers that CycloneDX's schema has a closed list of
// (spdx.schema.json), as cyclonedx-go has it. The list grows, and validators have
// the one of their day.
//
//go:embed licences.txt
var licenceList string

var listedLicences = sync.OnceValue(func() map[string]bool {
	out := map[string]bool{}
	for id := range strings.FieldsSeq(licenceList) {
		out[id] = true
	}
	return out
})

// nameNewLicences writes identifiers that are not in everybody's list as names,
// which are free. Readers that know SPDX take them for the same.
func nameNewLicences(bom *cyclonedx.BOM) {
	for _, c := range *bom.Components {
		if c.Licenses == nil {
			continue
		}
		for _, choice := range *c.Licenses {
			if l := choice.License; l != nil && l.ID != "" && !listedLicences()[l.ID] {
				l.ID, l.Name = "", l.ID
			}
		}
	}
}
