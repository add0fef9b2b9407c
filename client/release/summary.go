package release

import (
	"fmt"
	"io"
	"strings"

	"github.com/temper-images/temper/client/finding"
	"github.com/temper-images/temper/client/gate"
)

// WriteSummary says in a few lines what was made and decided.
func (e *Evidence) WriteSummary(w io.Writer) error {
	var b strings.Builder
	for _, img := range e.Images {
		fmt.Fprintf(&b, "\nevidence %s %s\n", img.Image.Platform, img.Image.Digest)
		if g := img.Gate; g != nil {
			fmt.Fprintf(&b, "  vulnerabilities  %s: %s\n", verdict(g.Passed, g.Counts.Counts), counts(g))
		}
		if d := img.Inspection; d != nil {
			fmt.Fprintf(&b, "  inspection       %s: %s, %s\n", verdict(d.Failures() == 0, d.Warnings()), plural(d.Failures(), "failure"), plural(d.Warnings(), "warning"))
		}
		if r := img.Receipt; r != nil {
			state := "not signed: give --key or sign.key"
			if e.Signed {
				state = "signed"
			}
			fmt.Fprintf(&b, "  stored           %s in %s, %s\n", plural(len(r.Entries), "document"), e.URL, state)
		}
	}
	if e.Report != "" {
		fmt.Fprintf(&b, "\nreport written to %s\n", e.Report)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func verdict(passed bool, warnings int) string {
	switch {
	case !passed:
		return "refused"
	case warnings > 0:
		return "passed with warnings"
	}
	return "passed"
}

func plural(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return fmt.Sprintf("%d %s", n, noun)
}

// counts says how many findings there are, by what was decided and by severity.
func counts(g *gate.Result) string {
	by := map[finding.Severity]int{}
	for _, d := range g.Decisions {
		if d.Finding != nil {
			by[d.Finding.Severity]++
		}
	}
	var severities []string
	for _, s := range finding.Severities() {
		if by[s] > 0 {
			severities = append(severities, fmt.Sprintf("%d %s", by[s], s))
		}
	}
	out := plural(len(g.Decisions), "finding")
	if len(severities) > 0 {
		out += " (" + strings.Join(severities, ", ") + ")"
	}
	if c := g.Counts; c.Counts+c.Excepted+c.Excused > 0 {
		out += fmt.Sprintf("; %d count, %d excepted, %d excused by VEX", c.Counts, c.Excepted, c.Excused)
	}
	return out
}
