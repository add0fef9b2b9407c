// Package finding describes a vulnerability that a scan found in a package of an
// image, and what VEX statements say of it. It has no behaviour beyond ordering, so
// that those who scan, judge and report need not know each other.
package finding

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Finding is one vulnerability in one package.
type Finding struct {
	// ID is the vulnerability, "CVE-2025-0001" or "GHSA-…", as the database that
	// knows of it names it.
	ID string `json:"id"`
	// Aliases are other names of it, sorted.
	Aliases  []string `json:"aliases,omitempty"`
	Severity Severity `json:"severity"`
	Package  Package  `json:"package"`
	Fix      Fix      `json:"fix"`
	// EPSS is the probability that it is exploited within 30 days (FIRST, Exploit
	// Prediction Scoring System); nil when it is not known.
	EPSS *EPSS `json:"epss,omitempty"`
	// Exploited is set when the vulnerability is in CISA's catalogue of known
	// exploited vulnerabilities.
	Exploited *Exploited `json:"exploited,omitempty"`
	// Risk is Grype's, from 0 to 100.
	Risk float64 `json:"risk"`
	// Source is the address of the record, and Description what it says.
	Source      string `json:"source,omitempty"`
	Description string `json:"description,omitempty"`
	// Statement is what a VEX document says of it; nil when none does.
	Statement *Statement `json:"statement,omitempty"`
}

// Names are ID and Aliases.
func (f *Finding) Names() []string { return append([]string{f.ID}, f.Aliases...) }

// Package is what the vulnerability is in.
type Package struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	// Type is Syft's: "deb", "go-module".
	Type string `json:"type"`
	// PURL is the package URL, or empty.
	PURL string `json:"purl,omitempty"`
	// Sources are the names of the source packages that it was built from, where
	// they differ from Name.
	Sources []string `json:"sources,omitempty"`
	// Locations are the paths that led to the package, sorted.
	Locations []string `json:"locations,omitempty"`
}

func (p Package) String() string { return p.Name + " " + p.Version }

// The values of Fix.State.
const (
	FixAvailable = "fixed"
	FixNone      = "not-fixed"
	FixRefused   = "wont-fix"
	FixUnknown   = "unknown"
)

// Fix is what its maintainers did about the vulnerability.
type Fix struct {
	State string `json:"state"`
	// Versions are without the vulnerability, the one to take first.
	Versions []string `json:"versions,omitempty"`
	// Since is the day on which the first of them was there; zero when that is
	// not known.
	Since time.Time `json:"since,omitzero"`
}

// EPSS is a score of the Exploit Prediction Scoring System.
type EPSS struct {
	// Probability and Percentile are from 0 to 1.
	Probability float64 `json:"probability"`
	Percentile  float64 `json:"percentile"`
	// Date is the day of the score, "2025-01-31".
	Date string `json:"date,omitempty"`
}

// Exploited says since when a vulnerability is known to be exploited.
type Exploited struct {
	// Added and Due are days, "2025-01-31", or empty.
	Added string `json:"added,omitempty"`
	Due   string `json:"due,omitempty"`
	// Ransomware says that ransomware uses it.
	Ransomware bool `json:"ransomware,omitempty"`
}

// Severity orders vulnerabilities.
type Severity int

// The severities.
const (
	Unknown Severity = iota
	Negligible
	Low
	Medium
	High
	Critical
)

var severities = [...]string{"UNKNOWN", "NEGLIGIBLE", "LOW", "MEDIUM", "HIGH", "CRITICAL"}

// Severities are all severities, the worst first.
func Severities() []Severity { return []Severity{Critical, High, Medium, Low, Negligible, Unknown} }

func (s Severity) String() string {
	if s < 0 || int(s) >= len(severities) {
		return severities[Unknown]
	}
	return severities[s]
}

// ParseSeverity reads a severity in any case.
func ParseSeverity(s string) (Severity, error) {
	if i := slices.Index(severities[:], strings.ToUpper(strings.TrimSpace(s))); i >= 0 {
		return Severity(i), nil
	}
	return Unknown, fmt.Errorf("severity %q is not one of %s", s, strings.Join(severities[:], ", "))
}

// MarshalText and UnmarshalText are the words of String and ParseSeverity.
func (s Severity) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads what MarshalText writes.
func (s *Severity) UnmarshalText(dt []byte) (err error) {
	*s, err = ParseSeverity(string(dt))
	return err
}

// The values of Statement.Status (OpenVEX v0.2.0, "Status Labels").
const (
	NotAffected        = "not_affected"
	Affected           = "affected"
	Fixed              = "fixed"
	UnderInvestigation = "under_investigation"
)

// Statement is what a VEX document says of a vulnerability in a product.
type Statement struct {
	// Document is the file, or the attestation, that it stands in, and Digest
	// that of its bytes.
	Document string `json:"document"`
	Digest   string `json:"digest"`
	// ID is the statement's own, or the document's with the statement's number
	// behind a "#", from 1.
	ID     string `json:"id"`
	Author string `json:"author,omitempty"`
	Status string `json:"status"`
	// Justification is a word of OpenVEX or CSAF, and Notes what is said in
	// addition.
	Justification string    `json:"justification,omitempty"`
	Notes         string    `json:"notes,omitempty"`
	Time          time.Time `json:"time,omitzero"`
	// Product is the identifier in the statement by which it applies.
	Product string `json:"product"`
}

// Excuses says that the statement takes the vulnerability away.
func (s *Statement) Excuses() bool {
	return s != nil && (s.Status == NotAffected || s.Status == Fixed)
}

// Compare orders findings as people want to read them: the highest risk first,
// then the severity; then by package and name, so that equal findings are in equal
// order.
func Compare(a, b *Finding) int {
	return cmp.Or(
		cmp.Compare(b.Risk, a.Risk),
		cmp.Compare(b.Severity, a.Severity),
		cmp.Compare(a.Package.Name, b.Package.Name),
		cmp.Compare(a.Package.Version, b.Package.Version),
		cmp.Compare(a.Package.Type, b.Package.Type),
		cmp.Compare(a.ID, b.ID),
		cmp.Compare(a.Source, b.Source),
		cmp.Compare(a.Package.PURL, b.Package.PURL),
		slices.Compare(a.Package.Locations, b.Package.Locations),
		slices.Compare(a.Fix.Versions, b.Fix.Versions),
	)
}
