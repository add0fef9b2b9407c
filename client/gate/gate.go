// Package gate decides whether an image may pass, by what a scan found in it. It
// says of each finding which rule decided, so that every pass and every refusal can
// be traced.
package gate

import (
	"fmt"
	"slices"
	"time"

	"github.com/temper-images/temper/client/finding"
)

// Mode says what a finding that counts leads to.
type Mode string

// The modes.
const (
	// ModeFail refuses the image.
	ModeFail Mode = "fail"
	// ModeWarn only reports.
	ModeWarn Mode = "warn"
	// ModeOff decides nothing. VEX statements and exceptions are not looked at.
	ModeOff Mode = "off"
)

// Policy is what counts. The zero value is the default: HIGH and CRITICAL with a
// fix, and everything that is known to be exploited.
type Policy struct {
	// Mode is ModeFail when it is empty.
	Mode Mode
	// Severities count; nil means finding.High and finding.Critical.
	Severities []finding.Severity
	// Unfixed counts also what has no fix yet.
	Unfixed bool
	// IgnoreExploited takes known exploited vulnerabilities as any other. Without
	// it they count whatever their severity and age, and also without a fix.
	IgnoreExploited bool
	// EPSS, from 0 to 1, is a probability of exploitation from which on a finding
	// counts whatever its severity. Zero means that it decides nothing.
	EPSS float64
	// Grace is for how long after a fix is there a finding does not count yet. A
	// fix of unknown date, and a finding without a fix, have no grace.
	Grace time.Duration
	// Exceptions let findings pass.
	Exceptions []Exception
}

// defaultSeverities count when a policy names none.
var defaultSeverities = []finding.Severity{finding.High, finding.Critical}

func (p *Policy) severities() []finding.Severity {
	if p.Severities == nil {
		return defaultSeverities
	}
	return p.Severities
}

// PolicyError says which part of a policy makes no sense.
type PolicyError struct {
	// Field is where, as in temper.yaml: "scan.exceptions[2].expires".
	Field string
	Err   error
}

func (e *PolicyError) Error() string { return fmt.Sprintf("%s: %v", e.Field, e.Err) }
func (e *PolicyError) Unwrap() error { return e.Err }

// Check says whether the policy makes sense. The errors are *PolicyError.
func (p *Policy) Check() error {
	switch p.Mode {
	case "", ModeFail, ModeWarn, ModeOff:
	default:
		return &PolicyError{"scan.gate", fmt.Errorf("%q is none of fail, warn and off", p.Mode)}
	}
	if p.EPSS < 0 || p.EPSS > 1 {
		return &PolicyError{"scan.epss", fmt.Errorf("%g is no probability from 0 to 1", p.EPSS)}
	}
	if p.Grace < 0 {
		return &PolicyError{"scan.grace", fmt.Errorf("%s is negative", p.Grace)}
	}
	for i := range p.Exceptions {
		if field, err := p.Exceptions[i].check(); err != nil {
			return &PolicyError{fmt.Sprintf("scan.exceptions[%d]%s", i, field), err}
		}
	}
	return nil
}

// The values of Decision.Verdict.
const (
	// Counts: it is a reason to refuse.
	Counts = "counts"
	// Excepted: it would count, and an exception lets it pass.
	Excepted = "excepted"
	// Excused: a VEX statement says that it does not affect the image.
	Excused = "excused"
	// Passes: no rule makes it count.
	Passes = "passes"
)

// The values of Decision.Rule.
const (
	RuleExploited = "exploited"
	RuleEPSS      = "epss"
	RuleSeverity  = "severity"
	RuleUnfixed   = "unfixed"
	RuleGrace     = "grace"
	RuleVEX       = "vex"
	RuleException = "exception"
	RuleUncovered = "uncovered"
)

// Uncovered is the vulnerability by which an exception names that nothing is known
// of the operating system's packages.
const Uncovered = "uncovered"

// Decision is what was decided of one finding, and by what.
type Decision struct {
	Finding *finding.Finding `json:"finding"`
	Verdict string           `json:"verdict"`
	// Rule is one of the Rule constants, and Reason says it in words.
	Rule   string `json:"rule"`
	Reason string `json:"reason"`
	// Exception is the one that let the finding pass, or the one that would have
	// and has expired.
	Exception *Exception `json:"exception,omitempty"`
}

// Subject is the image that is judged.
type Subject struct {
	Name string `json:"name"`
	// Digest is the digest of the image's manifest.
	Digest   string `json:"digest,omitempty"`
	Platform string `json:"platform,omitempty"`
}

// Input is what is judged.
type Input struct {
	Subject Subject
	// Findings and Excused are the scan's.
	Findings, Excused []*finding.Finding
	// Distribution and Uncovered are the scan's: what the operating system is, and
	// why nothing is known of its packages, or empty. Nothing found says nothing
	// then, so it counts, unless an exception for the vulnerability "uncovered"
	// lets it pass.
	Distribution, Uncovered string
	// Database names the vulnerability database that was searched.
	Database Database
}

// Database is the vulnerability database behind a result.
type Database struct {
	Built   time.Time `json:"built"`
	Schema  string    `json:"schema,omitempty"`
	Archive string    `json:"archive,omitempty"`
}

// Judge applies a policy. Now is the day on which exceptions are still good or not,
// and from which grace is counted. An error is a *PolicyError; a refusal is no
// error here, see Result.Err.
func Judge(p Policy, in Input, now time.Time) (*Result, error) {
	if err := p.Check(); err != nil {
		return nil, err
	}
	r := newResult(p, in, now)
	if r.Mode == ModeOff {
		return r, nil
	}
	used := make([]bool, len(p.Exceptions))
	if in.Uncovered != "" {
		d := Decision{Verdict: Counts, Rule: RuleUncovered, Reason: in.Uncovered}
		f := &finding.Finding{ID: Uncovered, Package: finding.Package{Name: in.Distribution}}
		r.add(p.except(d, f, used, now))
	}
	for _, f := range in.Findings {
		r.add(p.except(p.rule(f, now), f, used, now))
	}
	for _, f := range in.Excused {
		// An exception for what a statement excuses is not superfluous by that.
		p.match(f, used, now)
		r.add(Decision{Finding: f, Verdict: Excused, Rule: RuleVEX, Reason: excuse(f.Statement)})
	}
	for i := range p.Exceptions {
		if !used[i] {
			r.Warnings = append(r.Warnings, fmt.Sprintf("the exception for %s matches nothing that was found: remove it", p.Exceptions[i].what()))
		}
	}
	return r, nil
}

func excuse(s *finding.Statement) string {
	reason := fmt.Sprintf("%s says %s", s.Document, s.Status)
	if s.Justification != "" {
		reason += " (" + s.Justification + ")"
	}
	return reason
}

// except applies the exceptions to what the rules decided.
func (p *Policy) except(d Decision, f *finding.Finding, used []bool, now time.Time) Decision {
	d.Finding = f
	good, expired := p.match(f, used, now)
	if d.Verdict != Counts {
		return d
	}
	switch {
	case good != nil:
		d.Verdict, d.Rule, d.Exception = Excepted, RuleException, good
		d.Reason = fmt.Sprintf("until %s: %s", good.Expires, good.Reason)
	case expired != nil:
		d.Exception = expired
		d.Reason += fmt.Sprintf("; the exception for it expired on %s", expired.Expires)
	}
	return d
}

// rule says whether a finding counts, before exceptions.
func (p *Policy) rule(f *finding.Finding, now time.Time) Decision {
	if f.Exploited != nil && !p.IgnoreExploited {
		reason := "it is known to be exploited"
		if f.Exploited.Added != "" {
			reason += " since " + f.Exploited.Added
		}
		return Decision{Verdict: Counts, Rule: RuleExploited, Reason: reason}
	}
	counts := Decision{Verdict: Counts, Rule: RuleSeverity, Reason: "its severity is " + f.Severity.String()}
	switch {
	case p.EPSS > 0 && f.EPSS != nil && f.EPSS.Probability >= p.EPSS:
		counts.Rule = RuleEPSS
		counts.Reason = fmt.Sprintf("its probability of exploitation is %.1f%%", f.EPSS.Probability*100)
	case !slices.Contains(p.severities(), f.Severity):
		return Decision{Verdict: Passes, Rule: RuleSeverity, Reason: counts.Reason}
	}
	fixed := len(f.Fix.Versions) > 0
	if !fixed && !p.Unfixed {
		return Decision{Verdict: Passes, Rule: RuleUnfixed, Reason: "there is no fix"}
	}
	if age := now.Sub(f.Fix.Since); p.Grace > 0 && fixed && !f.Fix.Since.IsZero() && age < p.Grace {
		return Decision{
			Verdict: Passes, Rule: RuleGrace,
			Reason: fmt.Sprintf("its fix is of %s, and counts from %s on", f.Fix.Since.Format(time.DateOnly), f.Fix.Since.Add(p.Grace).Format(time.DateOnly)),
		}
	}
	return counts
}
