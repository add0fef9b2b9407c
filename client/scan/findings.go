package scan

import (
	"slices"
	"strings"
	"time"

	"github.com/anchore/grype/grype/presenter/models"

	"github.com/temper-images/temper/client/finding"
)

// newFinding takes a match of Grype's document apart.
func newFinding(m models.Match) *finding.Finding {
	v := m.Vulnerability
	f := &finding.Finding{
		ID: v.ID, Risk: v.Risk, Source: v.DataSource, Description: v.Description, Fix: newFix(m),
		Package: finding.Package{Name: m.Artifact.Name, Version: m.Artifact.Version, Type: string(m.Artifact.Type), PURL: m.Artifact.PURL},
	}
	// An unheard-of word is an unknown severity.
	f.Severity, _ = finding.ParseSeverity(v.Severity)
	decorate(f, v.VulnerabilityMetadata)
	unrated := f.Severity == finding.Unknown
	for _, r := range m.RelatedVulnerabilities {
		// Not every database rates; its names in others count then.
		if s, err := finding.ParseSeverity(r.Severity); err == nil && unrated {
			f.Severity = max(f.Severity, s)
		}
		decorate(f, r)
		if r.ID != v.ID {
			f.Aliases = append(f.Aliases, r.ID)
		}
		if f.Description == "" {
			f.Description = r.Description
		}
	}
	f.Aliases = sortedSet(f.Aliases)
	for _, u := range m.Artifact.Upstreams {
		if u.Name != f.Package.Name {
			f.Package.Sources = append(f.Package.Sources, u.Name)
		}
	}
	f.Package.Sources = sortedSet(f.Package.Sources)
	for _, l := range m.Artifact.Locations {
		f.Package.Locations = append(f.Package.Locations, l.RealPath)
	}
	f.Package.Locations = sortedSet(f.Package.Locations)
	return f
}

// decorate adds what is known of exploits.
func decorate(f *finding.Finding, v models.VulnerabilityMetadata) {
	for _, e := range v.EPSS {
		if f.EPSS == nil || e.EPSS > f.EPSS.Probability {
			f.EPSS = &finding.EPSS{Probability: e.EPSS, Percentile: e.Percentile, Date: e.Date}
		}
	}
	for _, k := range v.KnownExploited {
		if f.Exploited == nil {
			f.Exploited = &finding.Exploited{Added: k.DateAdded, Due: k.DueDate}
		}
		if strings.EqualFold(k.KnownRansomwareCampaignUse, "known") {
			f.Exploited.Ransomware = true
		}
	}
}

func newFix(m models.Match) finding.Fix {
	fix := finding.Fix{State: m.Vulnerability.Fix.State}
	if fix.State == "" {
		fix.State = finding.FixUnknown
	}
	// What Grype advises to take comes first.
	for _, d := range m.MatchDetails {
		if d.Fix != nil {
			fix.Versions = append(fix.Versions, d.Fix.SuggestedVersion)
		}
	}
	seen := map[string]bool{}
	fix.Versions = slices.DeleteFunc(append(fix.Versions, m.Vulnerability.Fix.Versions...), func(s string) bool {
		drop := s == "" || seen[s]
		seen[s] = true
		return drop
	})
	for _, a := range m.Vulnerability.Fix.Available {
		day, err := time.Parse(time.DateOnly, a.Date)
		if err == nil && (fix.Since.IsZero() || day.Before(fix.Since)) {
			fix.Since = day
		}
	}
	return fix
}

func sortedSet(list []string) []string {
	slices.Sort(list)
	return slices.Compact(list)
}
