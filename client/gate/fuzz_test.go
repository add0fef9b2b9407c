package gate

import (
	"testing"
	"time"

	"github.com/temper-images/temper/client/finding"
)

// No exception that a policy accepts makes judging fail.
func FuzzException(f *testing.F) {
	f.Add("CVE-2025-0001", "libssl*", "3.*", "2026-06-01")
	f.Add("", "pkg:deb/debian/libssl3@3.0", "", "2026-06-01")
	f.Fuzz(func(t *testing.T, id, pkg, version, expires string) {
		d, err := ParseDate(expires)
		if err != nil {
			return
		}
		p := Policy{Exceptions: []Exception{{Vulnerability: id, Package: pkg, Version: version, Reason: "r", Expires: d}}}
		if p.Check() != nil {
			return
		}
		in := Input{Findings: []*finding.Finding{found("CVE-2025-0001", finding.High)}}
		if _, err := Judge(p, in, time.Unix(0, 0)); err != nil {
			t.Fatal(err)
		}
	})
}
