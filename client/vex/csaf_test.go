package vex

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/client/finding"
)

// csafText is a document whose tree has the image, the package, the package in the
// image, and the package on a release that is known by its CPE only.
func csafText(status, product string) string {
	return fmt.Sprintf(`{
	"document": {"category": "csaf_vex", "csaf_version": "2.0", "publisher": {"name": "Example"}, "title": "t",
	"tracking": {"id": "EX-2026-1", "current_release_date": "2026-02-03T04:05:06.000Z"}},
	"product_tree": {
		"branches": [{"category": "vendor", "name": "Example", "branches": [
			{"category": "product_version", "name": "app", "product": {"product_id": "IMAGE", "name": "app", "product_identification_helper": {"purl": "pkg:oci/app?tag=1.2"}}},
			{"category": "product_version", "name": "release", "product": {"product_id": "RELEASE", "name": "Example Linux", "product_identification_helper": {"cpe": "cpe:/o:example:linux:12"}}}]}],
		"full_product_names": [
			{"product_id": "PACKAGE", "name": "libssl3", "product_identification_helper": {"purl": "pkg:deb/debian/libssl3@3.0.15-1~deb12u1"}},
			{"product_id": "ANY", "name": "libssl3", "product_identification_helper": {"purl": "pkg:deb/debian/libssl3"}},
			{"product_id": "HASH", "name": "app", "product_identification_helper": {"hashes": [{"filename": "app", "file_hashes": [{"algorithm": "sha256", "value": "%s"}]}]}},
			{"product_id": "OTHER", "name": "other", "product_identification_helper": {"purl": "pkg:oci/other"}}],
		"product_groups": [{"group_id": "G", "product_ids": ["IMAGE", "PACKAGE"]}],
		"relationships": [
			{"category": "default_component_of", "full_product_name": {"product_id": "IMAGE:PACKAGE", "name": "x"}, "product_reference": "PACKAGE", "relates_to_product_reference": "IMAGE"},
			{"category": "default_component_of", "full_product_name": {"product_id": "OTHER:PACKAGE", "name": "x"}, "product_reference": "PACKAGE", "relates_to_product_reference": "OTHER"},
			{"category": "default_component_of", "full_product_name": {"product_id": "RELEASE:PACKAGE", "name": "x"}, "product_reference": "PACKAGE", "relates_to_product_reference": "RELEASE"},
			{"category": "default_component_of", "full_product_name": {"product_id": "RELEASE:ANY", "name": "x"}, "product_reference": "ANY", "relates_to_product_reference": "RELEASE"}]},
	"vulnerabilities": [{"cve": "CVE-2025-0001",
		"flags": [{"label": "vulnerable_code_not_present", "group_ids": ["G"]}],
		"threats": [{"category": "impact", "details": "not built in", "product_ids": ["IMAGE"]}],
		"product_status": {%q: [%q]}}]}`, dgst.Encoded(), status, product)
}

func TestCSAF(t *testing.T) {
	for _, tt := range []struct{ csaf, product, want string }{
		{"known_not_affected", "IMAGE", finding.NotAffected},
		{"fixed", "PACKAGE", finding.Fixed},
		{"first_fixed", "HASH", finding.Fixed},
		{"known_affected", "IMAGE:PACKAGE", finding.Affected},
		{"last_affected", "RELEASE:PACKAGE", finding.Affected},
		{"under_investigation", "ANY", finding.UnderInvestigation},
		{"known_not_affected", "OTHER", ""},
		{"known_not_affected", "OTHER:PACKAGE", ""},
		{"known_not_affected", "RELEASE", ""},
		{"known_not_affected", "RELEASE:ANY", ""},
		{"known_not_affected", "UNHEARD-OF", ""},
		{"recommended", "IMAGE", ""},
	} {
		t.Run(tt.csaf+" "+tt.product, func(t *testing.T) {
			s := Find([]*Document{mustRead(t, "csaf.json", csafText(tt.csaf, tt.product))}, img, found)
			if tt.want == "" {
				require.Nil(t, s)
				return
			}
			require.Equal(t, tt.want, s.Status)
			require.Equal(t, "EX-2026-1#1", s.ID)
			require.Equal(t, "Example", s.Author)
			require.Equal(t, 2026, s.Time.Year())
			if tt.product == "IMAGE" {
				require.Equal(t, "vulnerable_code_not_present", s.Justification)
				require.Equal(t, "not built in", s.Notes)
			}
		})
	}
}
