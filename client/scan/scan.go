// Package scan finds known vulnerabilities in a catalogue, with Grype as a library,
// matching as its command line does by default. The catalogue was made before; it
// is only read, so that other documents can be made of it at the same time.
package scan

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/anchore/clio"
	"github.com/anchore/grype/grype"
	"github.com/anchore/grype/grype/match"
	"github.com/anchore/grype/grype/pkg"
	"github.com/anchore/grype/grype/presenter/models"
	"github.com/anchore/grype/grype/vulnerability"
	"github.com/anchore/syft/syft/sbom"

	"github.com/temper-images/temper/client/finding"
	"github.com/temper-images/temper/client/vex"
	"github.com/temper-images/temper/client/vulndb"
)

// Options say what is known beside the catalogue. The zero value is usable.
type Options struct {
	// VEX are documents whose statements are applied to what is found.
	VEX []*vex.Document
	// Image is what those statements know the image by.
	Image vex.Image
	// Time is when the documents say that the scan took place. It is to come from
	// the image, so that equal images give equal documents. A time before the
	// database was built becomes that time.
	Time time.Time
}

// Result is what a scan found.
type Result struct {
	// Findings are what was found and not excused, in the order of
	// finding.Compare.
	Findings []*finding.Finding
	// Excused are what a VEX statement says does not affect the image.
	Excused []*finding.Finding
	// Packages counts what was looked at.
	Packages int
	// Distribution is "debian 12", or empty when there is none.
	Distribution string
	// Uncovered says why the database cannot know about the operating system's
	// packages; it is empty when it can. Nothing found means nothing then.
	Uncovered string
	// Warnings are for people to read.
	Warnings []string
	// Database is what was searched.
	Database Database

	document models.Document
	sbom     *sbom.SBOM
	time     time.Time
}

// Database names the database that a scan searched.
type Database struct {
	Built  time.Time `json:"built"`
	Schema string    `json:"schema"`
	// Archive is the digest of the archive that it was in.
	Archive string `json:"archive"`
}

// Match scans a catalogue.
func Match(ctx context.Context, s *sbom.SBOM, db *vulndb.Database, o Options) (*Result, error) {
	packages, about := packagesOf(s)
	return find(ctx, s, packages, about, db, o)
}

// File scans the SBOM in a file: Syft's JSON, CycloneDX or SPDX. Of an SBOM that
// another tool wrote, package URLs tell what there is to match. What the SBOM records
// of its image is added to Options.Image.
func File(ctx context.Context, name string, db *vulndb.Database, o Options) (*Result, error) {
	packages, about, s, err := pkg.Provide("sbom:"+name, providerConfig())
	if err != nil {
		return nil, &InputError{Name: name, Err: err}
	}
	o.Image = recorded(o.Image, s.Source)
	return find(ctx, s, packages, about, db, o)
}

// InputError says that a file is no SBOM that can be read.
type InputError struct {
	Name string
	Err  error
}

func (e *InputError) Error() string { return fmt.Sprintf("SBOM %s: %v", e.Name, e.Err) }
func (e *InputError) Unwrap() error { return e.Err }

func find(ctx context.Context, s *sbom.SBOM, packages []pkg.Package, about pkg.Context, db *vulndb.Database, o Options) (*Result, error) {
	if o.Time.Before(db.Built) {
		o.Time = db.Built
	}
	r := &Result{
		Packages: len(packages), sbom: s, time: o.Time.UTC(),
		Database: Database{Built: db.Built, Schema: db.Schema, Archive: db.Archive},
	}
	if err := r.coverage(db, packages, about); err != nil {
		return nil, err
	}
	m := grype.VulnerabilityMatcher{
		VulnerabilityProvider: db, IgnoreRules: slices.Clone(kernelHeaders), Matchers: matchers(),
		Alerts: grype.AlertsConfig{EnableEOLDistroWarnings: true},
	}
	matches, ignored, err := m.FindMatchesContext(ctx, packages, about)
	if err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, fmt.Errorf("match packages with the vulnerability database: %w", err)
	}
	if n := len(m.EOLDistroPackages()); n > 0 {
		r.Warnings = append(r.Warnings, fmt.Sprintf("%s gets no security updates any more, so the database may not know what is in its %d packages", r.Distribution, n))
	}
	if err := r.describe(packages, about, *matches, ignored, db, o); err != nil {
		return nil, err
	}
	return r, nil
}

// describe makes Grype's document, without a clock and in a full order, and the
// findings out of it.
func (r *Result) describe(packages []pkg.Package, about pkg.Context, matches match.Matches, ignored []match.IgnoredMatch, db *vulndb.Database, o Options) error {
	info, err := databaseInfo(db)
	if err != nil {
		return err
	}
	var config any
	if names := documentNames(o.VEX); len(names) > 0 {
		config = struct {
			Documents []string `json:"vex-documents"`
		}{names}
	}
	r.document, err = models.NewDocument(identification(), packages, about, matches, ignored, db, config, info, models.SortByRisk, false, nil)
	if err != nil {
		return fmt.Errorf("describe what was found: %w", err)
	}
	r.document.Descriptor.Timestamp = r.time.Format(time.RFC3339)
	r.document.Matches = inOrder(r.document.Matches)
	kept := make([]models.Match, 0, len(r.document.Matches))
	for _, m := range r.document.Matches {
		f := newFinding(m)
		f.Statement = vex.Find(o.VEX, o.Image, f)
		if !f.Statement.Excuses() {
			kept = append(kept, m)
			r.Findings = append(r.Findings, f)
			continue
		}
		r.Excused = append(r.Excused, f)
		r.document.IgnoredMatches = append(r.document.IgnoredMatches, models.IgnoredMatch{
			Match: m, AppliedIgnoreRules: []models.IgnoreRule{ignoreRule(f)},
		})
	}
	r.document.Matches = kept
	return nil
}

func documentNames(documents []*vex.Document) []string {
	var names []string
	for _, d := range documents {
		names = append(names, d.Name)
	}
	return names
}

// inOrder sorts as finding.Compare does: Grype's own order leaves equal packages
// in different places as they come.
func inOrder(list []models.Match) []models.Match {
	type pair struct {
		match   models.Match
		finding *finding.Finding
	}
	pairs := make([]pair, len(list))
	for i, m := range list {
		pairs[i] = pair{m, newFinding(m)}
	}
	slices.SortStableFunc(pairs, func(a, b pair) int { return finding.Compare(a.finding, b.finding) })
	out := make([]models.Match, len(list))
	for i := range pairs {
		out[i] = pairs[i].match
	}
	return out
}

// ignoreRule records in Grype's document which statement took a match away.
func ignoreRule(f *finding.Finding) models.IgnoreRule {
	s := f.Statement
	return models.IgnoreRule{
		Namespace: "vex", Vulnerability: f.ID, VexStatus: s.Status, VexJustification: s.Justification,
		Reason: fmt.Sprintf("statement %s of %s (%s), by its product %s", s.ID, s.Document, s.Digest, s.Product),
	}
}

// grypeVersion is the version of the library.
const grypeVersion = "v0.120.1"

func identification() clio.Identification {
	return clio.Identification{Name: "grype", Version: grypeVersion[1:]}
}

// databaseInfo is what Grype's document says of the database. Neither a path of
// this machine nor a mirror's address is in it.
func databaseInfo(db *vulndb.Database) (any, error) {
	var providers map[string]vulnerability.DataProvenance
	if p, ok := db.Provider.(vulnerability.StoreMetadataProvider); ok {
		var err error
		if providers, err = p.DataProvenance(); err != nil {
			return nil, fmt.Errorf("ask the vulnerability database for its sources: %w", err)
		}
	}
	return struct {
		Status    vulnerability.ProviderStatus            `json:"status"`
		Providers map[string]vulnerability.DataProvenance `json:"providers"`
	}{
		Status:    vulnerability.ProviderStatus{SchemaVersion: "v" + db.Schema, From: db.Archive, Built: db.Built},
		Providers: providers,
	}, nil
}

// coverage finds out whether the database can know the operating system's packages.
func (r *Result) coverage(db *vulndb.Database, packages []pkg.Package, about pkg.Context) error {
	n := 0
	for i := range packages {
		if isOSPackage(&packages[i]) {
			n++
		}
	}
	d := about.Distro
	if d != nil {
		r.Distribution = d.String()
	}
	if n == 0 {
		return nil
	}
	if release := r.sbom.Artifacts.LinuxDistribution; d == nil && release != nil {
		r.Uncovered = fmt.Sprintf("no vulnerability database knows the distribution %q, so nothing is known of its %d packages", strings.TrimSpace(release.ID+" "+release.VersionID), n)
	} else if d == nil {
		r.Uncovered = fmt.Sprintf("the distribution of %d packages is not known, so nothing is known of their vulnerabilities: the image has no os-release that names one", n)
	} else {
		covered, err := db.Covers(d.ID(), d.Version, d.Codename)
		if err != nil {
			return err
		}
		if !covered {
			r.Uncovered = fmt.Sprintf("the vulnerability database has no records of %s, so nothing is known of its %d packages", r.Distribution, n)
		}
	}
	if r.Uncovered != "" {
		r.Warnings = append(r.Warnings, r.Uncovered)
	}
	return nil
}
