package inspect

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// inTable is how many findings a table has.
const inTable = 50

// WriteTable writes the document for people.
func (d *Document) WriteTable(w io.Writer) error {
	var b strings.Builder
	name := d.Image.Name
	if d.Image.Reference != "" {
		name = d.Image.Reference
	}
	fmt.Fprintf(&b, "\n%s, %s: %s\n", show(name), show(d.Image.Platform), d.summary())
	if len(d.Findings) > 0 {
		fmt.Fprintln(&b)
		t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
		for _, f := range d.Findings[:min(len(d.Findings), inTable)] {
			what := f.Message
			if f.Reason != "" {
				what += " (" + show(f.Reason) + ")"
			}
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", f.Action, f.Severity, f.Rule, what)
		}
		t.Flush()
		if n := len(d.Findings) + d.More - inTable; n > 0 {
			fmt.Fprintf(&b, "and %d more\n", n)
		}
		fmt.Fprintln(&b)
		for _, r := range Rules() {
			if d.has(r.ID) {
				fmt.Fprintf(&b, "%s: %s\n", r.ID, r.Remedy)
			}
		}
	}
	for _, e := range d.Exceptions {
		if e.State != ExceptionUsed {
			fmt.Fprintf(&b, "the exception for %s %s is %s (until %s)\n", show(e.ID), show(e.Match), e.State, e.Expires)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (d *Document) summary() string {
	parts := []string{d.Outcome}
	for _, c := range []struct {
		n    int
		word string
	}{{d.Failures(), "failing"}, {d.Warnings(), "warning"}, {d.excepted(), "excepted"}} {
		if c.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", c.n, c.word))
		}
	}
	parts = append(parts, fmt.Sprintf("%d entries", d.Examined.Entries), fmt.Sprintf("%d files searched", d.Examined.Texts+d.Examined.Binaries))
	if l := d.Licences; l != nil {
		parts = append(parts, fmt.Sprintf("%d packages, %d of them without a licence", l.Packages, l.Unknown))
	}
	return strings.Join(parts, ", ")
}

func (d *Document) excepted() int {
	n := 0
	for _, r := range d.Rules {
		n += r.Excepted
	}
	return n
}

// has says that something was found that stands for itself.
func (d *Document) has(rule string) bool {
	for _, r := range d.Rules {
		if r.ID == rule {
			return r.Findings > r.Excepted
		}
	}
	return false
}
