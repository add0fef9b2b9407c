package gate

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/temper-images/temper/client/artifact"
	"github.com/temper-images/temper/client/finding"
)

// PredicateType is the in-toto predicate type of a Result.
const PredicateType = "https://github.com/temper-images/temper/gate/v1"

// Result is what was decided, for people and as a document.
type Result struct {
	// Passed says that the image may pass: nothing counts, or the mode is not fail.
	Passed bool `json:"passed"`
	Mode   Mode `json:"mode"`
	// Judged is the day against which exceptions and grace were held.
	Judged   Date     `json:"judged"`
	Subject  Subject  `json:"subject"`
	Database Database `json:"database"`
	Policy   Applied  `json:"policy"`
	Counts   Totals   `json:"counts"`
	// Warnings name exceptions that match nothing.
	Warnings []string `json:"warnings,omitempty"`
	// Decisions are in the order of the scan's findings.
	Decisions []Decision `json:"decisions"`
}

// Applied is the policy in full, with its defaults.
type Applied struct {
	Severities []finding.Severity `json:"severities"`
	OnlyFixed  bool               `json:"onlyFixed"`
	Exploited  bool               `json:"exploited"`
	EPSS       float64            `json:"epss,omitempty"`
	GraceDays  float64            `json:"graceDays,omitempty"`
	Exceptions []Exception        `json:"exceptions,omitempty"`
}

// Totals counts decisions by their verdict.
type Totals struct {
	Counts   int `json:"counts"`
	Excepted int `json:"excepted"`
	Excused  int `json:"excused"`
	Passes   int `json:"passes"`
}

func newResult(p Policy, in Input, now time.Time) *Result {
	r := &Result{
		Passed: true, Mode: p.Mode, Judged: DateOf(now), Subject: in.Subject, Database: in.Database,
		Policy: Applied{
			Severities: slices.Clone(p.severities()), OnlyFixed: !p.Unfixed, Exploited: !p.IgnoreExploited, EPSS: p.EPSS,
			GraceDays: p.Grace.Hours() / 24, Exceptions: p.Exceptions,
		},
		Decisions: []Decision{},
	}
	if r.Mode == "" {
		r.Mode = ModeFail
	}
	return r
}

func (r *Result) add(d Decision) {
	r.Decisions = append(r.Decisions, d)
	switch d.Verdict {
	case Counts:
		r.Counts.Counts++
		r.Passed = r.Mode != ModeFail
	case Excepted:
		r.Counts.Excepted++
	case Excused:
		r.Counts.Excused++
	default:
		r.Counts.Passes++
	}
}

// refused are the decisions that count.
func (r *Result) refused() []Decision {
	return slices.DeleteFunc(slices.Clone(r.Decisions), func(d Decision) bool { return d.Verdict != Counts })
}

// Artifact is the result as a document of evidence. Name and arch become part of
// its name.
func (r *Result) Artifact(name, arch string) (artifact.Artifact, error) {
	dt, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return artifact.Artifact{}, fmt.Errorf("encode what the gate decided: %w", err)
	}
	return artifact.Artifact{
		Kind: artifact.Scan, Name: fmt.Sprintf("gate-%s-%s.json", name, arch), MediaType: artifact.TypeJSON,
		PredicateType: PredicateType, Platform: r.Subject.Platform, Data: append(dt, '\n'),
	}, nil
}

// Err is a *RefusedError when the image may not pass.
func (r *Result) Err() error {
	if r.Passed {
		return nil
	}
	return &RefusedError{Subject: r.Subject, Refused: r.refused()}
}

// RefusedError says which findings keep an image from passing.
type RefusedError struct {
	Subject Subject
	// Refused are the decisions that count.
	Refused []Decision
}

// maxLines bounds how many findings a message names.
const maxLines = 20

func (e *RefusedError) Error() string {
	var b strings.Builder
	noun, verb := "vulnerabilities", "keep"
	if len(e.Refused) == 1 {
		noun, verb = "vulnerability", "keeps"
	}
	fmt.Fprintf(&b, "%d %s %s %s from passing the gate:\n", len(e.Refused), noun, verb, e.subject())
	for i, d := range e.Refused {
		if i == maxLines {
			fmt.Fprintf(&b, "  and %d more, which the gate's document lists\n", len(e.Refused)-i)
			break
		}
		b.WriteString("  " + d.line() + "\n")
	}
	b.WriteString("ways out: update the package to the fixed version; state in a VEX document (--vex, scan.vex) that the image is not affected; " +
		"or except it in scan.exceptions of temper.yaml, with a reason and a day on which the exception expires")
	return b.String()
}

func (e *RefusedError) subject() string {
	if e.Subject.Platform == "" {
		return e.Subject.Name
	}
	return fmt.Sprintf("%s (%s)", e.Subject.Name, e.Subject.Platform)
}

// line says in one line what counts and why.
func (d Decision) line() string {
	f := d.Finding
	if d.Rule == RuleUncovered {
		return finding.Plain(d.Reason)
	}
	fix := "there is no fix"
	if len(f.Fix.Versions) > 0 {
		fix = "fixed in " + f.Fix.Versions[0]
	}
	names := f.ID
	if len(f.Aliases) > 0 {
		names += " (" + strings.Join(f.Aliases, ", ") + ")"
	}
	return finding.Plain(fmt.Sprintf("%s in %s %s, %s: %s", names, f.Package.Name, f.Package.Version, fix, d.Reason))
}

// Verdict is "pass", "warn" or "fail".
func (r *Result) Verdict() string {
	switch {
	case !r.Passed:
		return "fail"
	case r.Counts.Counts > 0:
		return "warn"
	}
	return "pass"
}

// Summary writes in a few lines what was decided, for people who let the image pass.
func (r *Result) Summary() string {
	var b strings.Builder
	switch {
	case r.Mode == ModeOff:
		return "the gate is off\n"
	case r.Counts.Counts == 0:
		fmt.Fprintf(&b, "the gate passes: nothing counts among %d", len(r.Decisions))
	case r.Passed:
		fmt.Fprintf(&b, "the gate warns: %d of %d would keep the image from passing", r.Counts.Counts, len(r.Decisions))
	default:
		fmt.Fprintf(&b, "the gate refuses: %d of %d count", r.Counts.Counts, len(r.Decisions))
	}
	fmt.Fprintf(&b, " (%d excused by VEX, %d excepted)\n", r.Counts.Excused, r.Counts.Excepted)
	for _, d := range r.Decisions {
		if d.Verdict == Excepted || d.Verdict == Counts && r.Passed {
			fmt.Fprintf(&b, "  %s: %s\n", d.Verdict, d.line())
		}
	}
	for _, w := range r.Warnings {
		fmt.Fprintf(&b, "  warning: %s\n", finding.Plain(w))
	}
	return b.String()
}
