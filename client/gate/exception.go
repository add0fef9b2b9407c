package gate

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/bmatcuk/doublestar/v4"
	"github.com/package-url/packageurl-go"

	openvex "github.com/openvex/go-vex/pkg/vex"

	"github.com/temper-images/temper/client/finding"
)

// Exception lets findings pass for a while. All that it names must hold; it must
// name a vulnerability or a package.
type Exception struct {
	// Vulnerability is any name of it, "CVE-2025-0001".
	Vulnerability string `json:"vulnerability,omitempty"`
	// Package is the name of the package or of its source package, a package URL,
	// or a glob on the name ("libssl*").
	Package string `json:"package,omitempty"`
	// Version is a glob on the installed version, "3.0.*"; empty means any.
	Version string `json:"version,omitempty"`
	// Reason is for whoever reads the record.
	Reason string `json:"reason"`
	// Expires is the last day on which the exception is good, in UTC.
	Expires Date `json:"expires"`
}

// Date is a day, in UTC.
type Date struct{ midnight time.Time }

// DateOf is the day of t.
func DateOf(t time.Time) Date {
	y, m, d := t.UTC().Date()
	return Date{time.Date(y, m, d, 0, 0, 0, 0, time.UTC)}
}

// ParseDate reads "2026-01-31".
func ParseDate(s string) (Date, error) {
	t, err := time.Parse(time.DateOnly, s)
	if err != nil {
		return Date{}, fmt.Errorf("%q is no date such as 2026-01-31", s)
	}
	return Date{t}, nil
}

// IsZero says that no day is set.
func (d Date) IsZero() bool { return d.midnight.IsZero() }

func (d Date) String() string { return d.midnight.Format(time.DateOnly) }

// MarshalText writes "2026-01-31".
func (d Date) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads what MarshalText writes.
func (d *Date) UnmarshalText(dt []byte) (err error) {
	*d, err = ParseDate(string(dt))
	return err
}

// over says that the day is past.
func (d Date) over(now time.Time) bool { return DateOf(now).midnight.After(d.midnight) }

// what names the exception in messages.
func (e *Exception) what() string {
	parts := slices.DeleteFunc([]string{e.Vulnerability, e.Package, e.Version}, func(s string) bool { return s == "" })
	return strings.Join(parts, " ")
}

func (e *Exception) check() (field string, err error) {
	switch {
	case e.Vulnerability == "" && e.Package == "":
		return "", errors.New("it names neither a vulnerability nor a package, so it would let everything pass")
	case strings.Trim(e.Package, "*?") == "" && e.Package != "" && e.Vulnerability == "":
		return ".package", fmt.Errorf("%q would let everything pass", e.Package)
	case strings.TrimSpace(e.Reason) == "":
		return ".reason", fmt.Errorf("the exception for %s needs a reason", e.what())
	case e.Expires.IsZero():
		return ".expires", fmt.Errorf("the exception for %s needs a day on which it expires", e.what())
	case !doublestar.ValidatePattern(e.Version):
		return ".version", fmt.Errorf("%q is no valid pattern", e.Version)
	case strings.HasPrefix(e.Package, "pkg:"):
		if _, err := packageurl.FromString(e.Package); err != nil {
			return ".package", err
		}
	case !doublestar.ValidatePattern(e.Package):
		return ".package", fmt.Errorf("%q is no valid pattern", e.Package)
	}
	return "", nil
}

func (e *Exception) matches(f *finding.Finding) bool {
	if e.Vulnerability != "" && !slices.ContainsFunc(f.Names(), func(n string) bool { return strings.EqualFold(n, e.Vulnerability) }) {
		return false
	}
	if e.Version != "" && !glob(e.Version, f.Package.Version) {
		return false
	}
	switch {
	case e.Package == "":
		return true
	case strings.HasPrefix(e.Package, "pkg:"):
		return openvex.PurlMatches(e.Package, f.Package.PURL)
	}
	return slices.ContainsFunc(append([]string{f.Package.Name}, f.Package.Sources...), func(n string) bool { return glob(e.Package, n) })
}

// glob matches names, in which a slash is a letter as any other.
func glob(pattern, name string) bool {
	slash := strings.NewReplacer("/", "\x00").Replace
	ok, err := doublestar.Match(slash(pattern), slash(name))
	return err == nil && ok
}

// match finds the exception for a finding: one that is still good, else one that
// has expired. It marks all that apply as used.
func (p *Policy) match(f *finding.Finding, used []bool, now time.Time) (good, expired *Exception) {
	for i := range p.Exceptions {
		e := &p.Exceptions[i]
		if !e.matches(f) {
			continue
		}
		used[i] = true
		switch {
		case e.Expires.over(now):
			if expired == nil || e.Expires.midnight.After(expired.Expires.midnight) {
				expired = e
			}
		case good == nil:
			good = e
		}
	}
	return good, expired
}
