package verify

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/temper-images/temper/client/finding"
)

// WriteTable writes the report for people: one line a check. It needs no colour.
func (r *Report) WriteTable(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\n", finding.Plain(r.name()))
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "SUBJECT\tCHECK\tVERDICT\tDETAIL")
	for i := range r.Subjects {
		s := &r.Subjects[i]
		for _, c := range s.Checks {
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", finding.Plain(s.label()), c.Kind, strings.ToUpper(string(c.Verdict)), finding.Plain(c.Detail))
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(&b, "\n%s\n", r.summary())
	_, err := io.WriteString(w, b.String())
	return err
}

// summary is the report in one line.
func (r *Report) summary() string {
	if r.Passed {
		return fmt.Sprintf("PASSED: %s required, SLSA build level %d", words(r.Required), r.Level)
	}
	return "FAILED: " + map[Reason]string{
		WrongSigner: "signed by nobody whose signatures count, or changed", Unsigned: "not signed", NotMet: "the policy is not met",
	}[r.Reason]
}
