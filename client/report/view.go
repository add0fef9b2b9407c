package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/temper-images/temper/client/finding"
	"github.com/temper-images/temper/client/gate"
	"github.com/temper-images/temper/client/inspect"
	"github.com/temper-images/temper/hardening/spec"
)

// How many rows the page shows of what can be long. The rest is counted, and the
// document with all of it is named.
const (
	maxFindings  = 150
	maxGroups    = 60
	maxPaths     = 12
	maxRemoved   = 300
	maxInspected = 100
	maxMaterials = 100
	maxLicences  = 12
	maxRows      = 500
	maxStatement = 60
)

// view is an image as the page shows it.
type view struct {
	*Image
	// ID is the prefix of the anchors.
	ID    string
	Title string
	// Several says that other images are on the page too.
	Several  bool
	Verdicts []verdict
	Facts    []fact

	Totals    []totals
	Map       []box
	Groups    []spec.Group
	MoreGroup group
	Gone      []spec.Package
	MoreGone  int

	Severities []severity
	Judged     []judged
	MoreJudged int
	Excused    []judged
	Lost       lost

	Inspected     []inspect.Finding
	MoreInspected int

	Graph   *dependencies
	Build   *build
	Signed  int
	Verify  []command
	Options Options
}

// verdict is a decision in one word.
type verdict struct{ Name, Word, Class, Text, Href string }

// fact is a number with a name.
type fact struct{ Name, Value, Note string }

// group counts what is not listed.
type group struct {
	Number int
	Files  int
	Bytes  int64
}

// totals is a row of the comparison.
type totals struct{ Name, Before, After, Change string }

// The classes of verdicts.
const (
	good    = "good"
	doubt   = "doubt"
	bad     = "bad"
	neutral = "neutral"
)

func newView(img *Image, id string, o Options) *view {
	v := &view{Image: img, ID: id, Title: img.title(), Options: o}
	v.hardening()
	v.findings()
	v.lost()
	if d := img.Inspection; d != nil {
		v.Inspected = d.Findings[:min(len(d.Findings), maxInspected)]
		v.MoreInspected = len(d.Findings) - len(v.Inspected) + d.More
	}
	v.Graph = dependenciesOf(img.SBOM)
	v.Build = newBuild(img.Provenance)
	for _, d := range img.Documents {
		if d.Signature || d.Bundle != nil {
			v.Signed++
		}
	}
	v.Verify = v.commands()
	v.verdicts()
	v.facts()
	return v
}

func (v *view) verdicts() {
	there := map[string]bool{
		"gates": true, "provenance": true, "documents": true, "verify": true, "tests": true, "size": v.Hardening != nil,
		"findings": len(v.Severities) > 0, "checks": v.Hardening != nil && len(v.Hardening.Checks) > 0,
	}
	add := func(name, word, class, text, section string) {
		href := ""
		if there[section] {
			href = "#" + v.ID + "-" + section
		}
		v.Verdicts = append(v.Verdicts, verdict{name, word, class, text, href})
	}
	switch g := v.Gate; {
	case g == nil && v.Scanned:
		add("Vulnerabilities", "not judged", neutral, fmt.Sprintf("%d found by the scan, and no gate was asked", len(v.Findings)), "findings")
	case g == nil:
		add("Vulnerabilities", "not scanned", doubt, "there is no scan among the documents", "findings")
	case g.Mode == gate.ModeOff:
		add("Vulnerabilities", "gate off", doubt, "the policy asks nothing", "gates")
	case !g.Passed:
		add("Vulnerabilities", "refused", bad, fmt.Sprintf("%s that the policy does not allow", plural(g.Counts.Counts, "vulnerability", "vulnerabilities")), "gates")
	case g.Counts.Counts > 0:
		add("Vulnerabilities", "warning", doubt, fmt.Sprintf("%s would count, and the policy only warns", plural(g.Counts.Counts, "vulnerability", "vulnerabilities")), "gates")
	default:
		add("Vulnerabilities", "passed", good, fmt.Sprintf("none of %d found counts by the policy", len(g.Decisions)), "gates")
	}
	switch d := v.Inspection; {
	case d == nil:
		add("Image itself", "not inspected", doubt, "there is no inspection among the documents", "gates")
	case d.Outcome == inspect.Refused:
		add("Image itself", "refused", bad, plural(d.Failures(), "finding", "findings")+" in configuration, files or licences", "gates")
	case d.Outcome == inspect.Warned:
		add("Image itself", "warning", doubt, plural(d.Warnings(), "warning", "warnings")+" about configuration, files or licences", "gates")
	default:
		add("Image itself", "passed", good, "nothing against configuration, files and licences", "gates")
	}
	if r := v.Hardening; r != nil {
		broken := 0
		for _, c := range r.Checks {
			if !c.Passed {
				broken++
			}
		}
		switch {
		case r.Level == spec.LevelOff:
			add("Hardening", "off", doubt, "nothing was removed", "size")
		case broken > 0:
			add("Hardening", "broken", bad, plural(broken, "promise", "promises")+" broken", "checks")
		case len(r.Checks) == 0:
			add("Hardening", "not checked", doubt, "level "+string(r.Level), "size")
		default:
			add("Hardening", "checked", good, fmt.Sprintf("level %s, %d promises kept", r.Level, len(r.Checks)), "checks")
		}
	} else {
		add("Hardening", "unknown", neutral, "there is no hardening report among the documents", "size")
	}
	v.testVerdict(add)
	switch total := len(v.Documents); {
	case v.Signed == 0:
		add("Signatures", "none", doubt, fmt.Sprintf("none of %s is signed", plural(total, "document", "documents")), "documents")
	case v.Signed < total:
		add("Signatures", "some", doubt, fmt.Sprintf("%d of %d documents are signed", v.Signed, total), "documents")
	default:
		add("Signatures", "present", neutral, fmt.Sprintf("all %d documents; check them with the commands below", total), "verify")
	}
	if v.Build == nil {
		add("Provenance", "none", doubt, "nothing says how the image was built", "provenance")
	} else {
		add("Provenance", "stated", neutral, v.Build.Builder, "provenance")
	}
}

// Headline is what there is to know when there is time for one sentence.
func (v *view) Headline() verdict {
	var refused, warned []string
	for _, d := range v.Verdicts {
		name := strings.ToLower(d.Name)
		switch d.Class {
		case bad:
			refused = append(refused, d.Text)
		case doubt:
			warned = append(warned, name)
		}
	}
	switch {
	case len(v.Problems) > 0:
		return verdict{Class: bad, Text: "These documents cannot be relied on: see below."}
	case len(refused) > 0:
		return verdict{Class: bad, Text: "Refused: " + strings.Join(refused, "; ") + "."}
	case len(warned) > 0:
		return verdict{Class: doubt, Text: "Nothing was refused. Look at: " + strings.Join(warned, ", ") + "."}
	}
	return verdict{Class: good, Text: "All that was asked has passed. What this page cannot tell, the commands under “Verify” do."}
}

func (v *view) testVerdict(add func(name, word, class, text, section string)) {
	if len(v.Tests) == 0 {
		return
	}
	passed, failed, word, class := 0, 0, "passed", good
	for _, t := range v.Tests {
		passed += len(t.Passed)
		failed += len(t.Failed)
		switch t.Result {
		case "PASSED":
		case "WARNED":
			if class == good {
				word, class = "warning", doubt
			}
		case "FAILED":
			word, class = "failed", bad
		default:
			if class == good {
				word, class = "unclear", doubt
			}
		}
	}
	add("Tests", word, class, fmt.Sprintf("%d passed, %d failed", passed, failed), "tests")
}

func (v *view) facts() {
	add := func(name, value, note string) { v.Facts = append(v.Facts, fact{name, value, note}) }
	if r := v.Hardening; r != nil {
		add("Size", size(r.After.Bytes), "was "+size(r.Before.Bytes)+" ("+change(r.Before.Bytes, r.After.Bytes)+")")
		add("Packages", count(r.After.Packages), "was "+count(r.Before.Packages)+" ("+change(int64(r.Before.Packages), int64(r.After.Packages))+")")
		add("Runs as", cmp.Or(r.User.Config, "root"), "")
	} else if v.SBOM != nil {
		add("Packages", count(len(newNetwork(v.SBOM).refs)), "")
	}
	for _, s := range v.Severities {
		if s.Severity == finding.Critical || s.Severity == finding.High {
			add(title(s.Severity.String()), count(s.Total), fmt.Sprintf("%s by the policy", plural(s.Counts, "counts", "count")))
		}
	}
}

// hardening compares before and after, and lists what went.
func (v *view) hardening() {
	r := v.Hardening
	if r == nil {
		return
	}
	b, a := r.Before, r.After
	for _, t := range []struct {
		name          string
		before, after int64
		bytes         bool
	}{
		{"Size of the files", b.Bytes, a.Bytes, true},
		{"Files", int64(b.Files), int64(a.Files), false},
		{"Packages", int64(b.Packages), int64(a.Packages), false},
		{"Programs", int64(b.Executables), int64(a.Executables), false},
		{"Libraries", int64(b.Libraries), int64(a.Libraries), false},
		{"Set-uid files", int64(b.SetUID), int64(a.SetUID), false},
	} {
		write := func(n int64) string { return count(int(n)) }
		if t.bytes {
			write = size
		}
		v.Totals = append(v.Totals, totals{t.name, write(t.before), write(t.after), change(t.before, t.after)})
	}
	v.Groups = slices.Clone(r.Removed)
	slices.SortStableFunc(v.Groups, func(a, b spec.Group) int { return cmp.Compare(b.Bytes, a.Bytes) })
	parts := []part{{Name: "in the image", Class: "kept", Bytes: a.Bytes}}
	var rest group
	for i, g := range v.Groups {
		if i < maxGroups {
			parts = append(parts, part{Name: g.Name, Class: class(g.Class), Bytes: g.Bytes})
			continue
		}
		rest.Number++
		rest.Files += g.Files
		rest.Bytes += g.Bytes
	}
	v.Groups, v.MoreGroup = v.Groups[:min(len(v.Groups), maxGroups)], rest
	parts = append(parts, part{Name: plural(rest.Number, "smaller group", "smaller groups"), Class: "other", Bytes: rest.Bytes})
	for i := range parts {
		parts[i].Text = size(parts[i].Bytes)
	}
	v.Map = treemap(parts)
	for _, p := range r.Packages {
		if p.State == spec.PackageKept {
			continue
		}
		if len(v.Gone) == maxRemoved {
			v.MoreGone++
			continue
		}
		v.Gone = append(v.Gone, p)
	}
}

// classes are the classes of removed files that have a colour of their own.
var classes = []string{"package-manager", "orphan", "documentation", "locale", "cache", "log", "temporary", "shell"}

func class(name string) string {
	if slices.Contains(classes, name) {
		return name
	}
	return "other"
}

// Classes are the classes that the map has, in the order of the legend.
func (v *view) Classes() []string {
	var out []string
	for _, c := range append(slices.Clone(classes), "other") {
		if slices.ContainsFunc(v.Map, func(b box) bool { return b.Class == c }) {
			out = append(out, c)
		}
	}
	return out
}

// reasons are for groups that say none themselves: their class is the reason.
var reasons = map[string]string{
	"package-manager": "it belongs to a package manager", "documentation": "it is documentation", "locale": "it is a translation that nobody asked for",
	"bytecode": "it was compiled of a source that stays", "development": "it serves to build other software",
	"unreachable": "nothing that the application can reach leads to it", "rule": "harden.remove names it",
	"cache": "it is a cache", "log": "it is a log", "temporary": "it is temporary", "shell": "it is a shell", "orphan": "nothing that is left needs it",
}

// Reason is why a group went, when the report has no chain.
func (v *view) Reason(g spec.Group) string { return reasons[g.Class] }

// Shown is as much of a group's paths as the page shows.
func (v *view) Shown(g spec.Group) []string { return g.Paths[:min(len(g.Paths), maxPaths)] }

// change is the difference in percent.
func change(before, after int64) string {
	switch before {
	case after:
		return "±0 %"
	case 0:
		return "new"
	}
	p := float64(after-before) / float64(before) * 100
	if p < 0 {
		return fmt.Sprintf("−%.0f %%", -p)
	}
	return fmt.Sprintf("+%.0f %%", p)
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return count(n) + " " + many
}

func title(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + strings.ToLower(s[1:])
}

// TopLicences are the licences that most packages have.
func (v *view) TopLicences() []inspect.Licence {
	if v.Inspection == nil || v.Inspection.Licences == nil {
		return nil
	}
	l := v.Inspection.Licences.Licences
	return l[:min(len(l), maxLicences)]
}

// MoreLicences counts the other ones.
func (v *view) MoreLicences() int {
	if v.Inspection == nil || v.Inspection.Licences == nil {
		return 0
	}
	l := v.Inspection.Licences
	return len(l.Licences) - len(v.TopLicences()) + l.More
}

// First is as much of a list as the page shows.
func (v *view) First(list []string) []string { return list[:min(len(list), maxRows)] }
