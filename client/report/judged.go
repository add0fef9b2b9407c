package report

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/temper-images/temper/client/finding"
	"github.com/temper-images/temper/client/gate"
)

// severity counts the findings of one severity.
type severity struct {
	Severity                                 finding.Severity
	Name, Class                              string
	Total, Counts, Excepted, Excused, Passes int
	// Bar is the length of its bar, of 100.
	Bar float64
}

// judged is a finding and what the gate decided.
type judged struct {
	*finding.Finding
	Severity           string
	SeverityClass      string
	Verdict, Class     string
	Fixed, Likelihood  string
	Reason             string
	Statement, Expires string
}

// verdicts orders decisions, what matters most first.
var verdicts = map[string]struct {
	order       int
	word, class string
}{
	gate.Counts: {0, "counts", bad}, gate.Excepted: {1, "excepted", doubt}, gate.Excused: {3, "not affected", good}, gate.Passes: {2, "passes", neutral},
}

// findings counts and lists what the scan found.
func (v *view) findings() {
	var decisions []gate.Decision
	switch {
	case v.Gate != nil && v.Gate.Mode != gate.ModeOff:
		decisions = slices.Clone(v.Gate.Decisions)
	default:
		for _, f := range v.Image.Findings {
			decisions = append(decisions, gate.Decision{Finding: f})
		}
	}
	if v.Gate == nil && !v.Scanned {
		return
	}
	by := map[finding.Severity]*severity{}
	for _, s := range finding.Severities() {
		row := severity{Severity: s, Name: title(s.String()), Class: strings.ToLower(s.String())}
		v.Severities = append(v.Severities, row)
	}
	for i := range v.Severities {
		by[v.Severities[i].Severity] = &v.Severities[i]
	}
	most := 0
	for _, d := range decisions {
		s := by[d.Finding.Severity]
		if s == nil {
			s = by[finding.Unknown]
		}
		s.Total++
		switch d.Verdict {
		case gate.Counts:
			s.Counts++
		case gate.Excepted:
			s.Excepted++
		case gate.Excused:
			s.Excused++
		default:
			s.Passes++
		}
		most = max(most, s.Total)
	}
	for i := range v.Severities {
		v.Severities[i].Bar = float64(v.Severities[i].Total) / float64(max(most, 1)) * 100
	}
	slices.SortStableFunc(decisions, func(a, b gate.Decision) int {
		return cmp.Or(
			cmp.Compare(verdicts[a.Verdict].order, verdicts[b.Verdict].order), cmp.Compare(b.Finding.Severity, a.Finding.Severity),
			cmp.Compare(b.Finding.Risk, a.Finding.Risk), cmp.Compare(a.Finding.ID, b.Finding.ID),
			cmp.Compare(a.Finding.Package.Name, b.Finding.Package.Name),
		)
	})
	for _, d := range decisions {
		if d.Verdict == gate.Excused && len(v.Excused) < maxStatement {
			v.Excused = append(v.Excused, judge(d))
		}
		if len(v.Judged) == maxFindings {
			v.MoreJudged++
			continue
		}
		v.Judged = append(v.Judged, judge(d))
	}
}

func judge(d gate.Decision) judged {
	f := d.Finding
	j := judged{
		Finding: f, Severity: title(f.Severity.String()), SeverityClass: strings.ToLower(f.Severity.String()), Reason: d.Reason,
		Verdict: "not judged", Class: neutral,
	}
	if w, ok := verdicts[d.Verdict]; ok {
		j.Verdict, j.Class = w.word, w.class
	}
	switch {
	case len(f.Fix.Versions) > 0:
		j.Fixed = f.Fix.Versions[0]
	case f.Fix.State == finding.FixRefused:
		j.Fixed = "will not be"
	default:
		j.Fixed = "no fix"
	}
	if f.EPSS != nil {
		j.Likelihood = strconv.FormatFloat(f.EPSS.Probability*100, 'f', 1, 64) + " %"
	}
	if s := f.Statement; s != nil {
		j.Statement = s.Document
	}
	if e := d.Exception; e != nil {
		j.Expires = e.Expires.String()
	}
	return j
}

// lost are the vulnerabilities that went with removed packages.
type lost struct {
	Vulnerabilities, Packages int
	Statements                []Statement
	More                      int
	File                      string
}

// lost counts what the VEX documents of the release say of removed packages.
func (v *view) lost() {
	names, products := map[string]bool{}, map[string]bool{}
	for _, doc := range v.VEX {
		for _, s := range doc.Statements {
			if s.Status != finding.NotAffected || s.Justification != "component_not_present" {
				continue
			}
			v.Lost.File = doc.File
			names[s.Vulnerability] = true
			for _, p := range s.Products {
				products[p] = true
			}
			if len(v.Lost.Statements) == maxStatement {
				v.Lost.More++
				continue
			}
			v.Lost.Statements = append(v.Lost.Statements, s)
		}
	}
	v.Lost.Vulnerabilities, v.Lost.Packages = len(names), len(products)
}

// Policy is the vulnerability gate's policy in sentences.
func (v *view) Policy() []string {
	if v.Gate == nil {
		return nil
	}
	p := v.Gate.Policy
	var words []string
	for _, s := range p.Severities {
		words = append(words, strings.ToLower(s.String()))
	}
	fixed := ", with or without a fix"
	if p.OnlyFixed {
		fixed = " when there is a fix"
	}
	out := []string{"Mode: " + string(v.Gate.Mode) + "."}
	if len(words) > 0 {
		out = append(out, "Counts: severity "+strings.Join(words, " or ")+fixed+".")
	}
	if p.Exploited {
		out = append(out, "What is known to be exploited (CISA KEV) counts always.")
	}
	if p.EPSS > 0 {
		out = append(out, fmt.Sprintf("A probability of exploitation (EPSS) from %g %% on counts whatever the severity.", p.EPSS*100))
	}
	if p.GraceDays > 0 {
		out = append(out, fmt.Sprintf("A fix may be known for %g days before it counts.", p.GraceDays))
	}
	return out
}
