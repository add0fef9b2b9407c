package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/temper-images/temper/hardening/spec"
)

// biggest is how many groups of removed files the summary names.
const biggest = 8

// summarize writes the table that ends the build's progress.
func summarize(w io.Writer, r *spec.Report) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(t, "\tbefore\tafter\t\n")
	for _, row := range []struct {
		name          string
		before, after int
	}{
		{"files", r.Before.Files, r.After.Files},
		{"packages", r.Before.Packages, r.After.Packages},
		{"executables", r.Before.Executables, r.After.Executables},
		{"libraries", r.Before.Libraries, r.After.Libraries},
		{"set-uid files", r.Before.SetUID, r.After.SetUID},
	} {
		fmt.Fprintf(t, "%s\t%d\t%d\t\n", row.name, row.before, row.after)
	}
	fmt.Fprintf(t, "size\t%s\t%s\t\n", size(r.Before.Bytes), size(r.After.Bytes))
	if err := t.Flush(); err != nil {
		return err
	}
	var b strings.Builder
	groups := slices.SortedStableFunc(slices.Values(r.Removed), func(a, b spec.Group) int { return cmp.Compare(b.Bytes, a.Bytes) })
	for i, g := range groups {
		if i == biggest {
			fmt.Fprintf(&b, "and %d smaller groups\n", len(groups)-biggest)
			break
		}
		fmt.Fprintf(&b, "removed %s in %d files: %s (%s)\n", size(g.Bytes), g.Files, printable(g.Name), g.Class)
	}
	fmt.Fprintf(&b, "runs as %s\n", r.User.Config)
	for _, c := range r.Checks {
		fmt.Fprintf(&b, "checked %s: %d examined\n", c.Name, c.Examined)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// printable shows a name from the root filesystem, which may hold any byte, on a
// terminal.
func printable(s string) string {
	q := fmt.Sprintf("%q", s)
	return q[1 : len(q)-1]
}

// size writes a number of bytes in MiB, or KiB below one.
func size(n int64) string {
	if n < 1<<20 {
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	}
	return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
}
