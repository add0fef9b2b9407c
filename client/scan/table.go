package scan

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/temper-images/temper/client/finding"
)

// Table writes the result for people: what was found, the worst first, and which
// statement excused what.
func (r *Result) Table(w io.Writer) error {
	var b strings.Builder
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	if len(r.Findings) > 0 {
		fmt.Fprintln(t, "PACKAGE\tINSTALLED\tFIXED IN\tTYPE\tVULNERABILITY\tSEVERITY\tEPSS\tKEV\tRISK")
	}
	for _, f := range r.Findings {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", finding.Plain(f.Package.Name), finding.Plain(f.Package.Version), fixText(f.Fix),
			f.Package.Type, finding.Plain(f.ID), f.Severity, epssText(f.EPSS), kevText(f.Exploited), riskText(f.Risk))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if len(r.Excused) > 0 {
		fmt.Fprintln(&b, "\nexcused by VEX:")
	}
	for _, f := range r.Excused {
		s := f.Statement
		fmt.Fprintf(&b, "  %s in %s: %s", finding.Plain(f.ID), finding.Plain(f.Package.String()), s.Status)
		if s.Justification != "" {
			fmt.Fprintf(&b, " (%s)", finding.Plain(s.Justification))
		}
		fmt.Fprintf(&b, ", %s of %s\n", finding.Plain(s.ID), finding.Plain(s.Document))
	}
	fmt.Fprintf(&b, "%s in %s\n", r.counts(), plural(r.Packages, "package"))
	_, err := io.WriteString(w, b.String())
	return err
}

func (r *Result) counts() string {
	if len(r.Findings) == 0 {
		return "no vulnerabilities"
	}
	by := map[finding.Severity]int{}
	for _, f := range r.Findings {
		by[f.Severity]++
	}
	var parts []string
	for _, s := range finding.Severities() {
		if by[s] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", by[s], strings.ToLower(s.String())))
		}
	}
	noun := "vulnerabilities"
	if len(r.Findings) == 1 {
		noun = "vulnerability"
	}
	return fmt.Sprintf("%d %s (%s)", len(r.Findings), noun, strings.Join(parts, ", "))
}

func plural(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return fmt.Sprintf("%d %s", n, noun)
}

func fixText(f finding.Fix) string {
	switch {
	case len(f.Versions) > 0:
		return finding.Plain(f.Versions[0])
	case f.State == finding.FixRefused:
		return "(won't fix)"
	}
	return "-"
}

func epssText(e *finding.EPSS) string {
	if e == nil {
		return "-"
	}
	return fmt.Sprintf("%.1f%%", e.Probability*100)
}

func kevText(k *finding.Exploited) string {
	switch {
	case k == nil:
		return "-"
	case k.Added == "":
		return "yes"
	}
	return finding.Plain(k.Added)
}

func riskText(risk float64) string {
	if risk == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f", risk)
}
