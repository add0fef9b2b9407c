// Package summary prints what hardening did to an image as a table for people.
package summary

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/docker/go-units"
	"github.com/temper-images/temper/hardening/spec"
)

// biggest is how many groups of removed files are named.
const biggest = 8

// smallest is how many packages are named of which only a part is left.
const smallest = 4

// Write prints the report on one platform, which may be empty where only one is
// meant.
func Write(w io.Writer, platform string, r *spec.Report) error {
	var b strings.Builder
	fmt.Fprintf(&b, "\n%s\n\n", title(platform, r))
	if r.Level != spec.LevelOff {
		totals(&b, r)
		removals(&b, r)
		partial(&b, r)
		checks(&b, r)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func title(platform string, r *spec.Report) string {
	name := platform
	switch {
	case platform != "" && r.Distribution != "":
		name += " (" + printable(r.Distribution) + ")"
	case platform == "" && r.Distribution != "":
		name = printable(r.Distribution)
	case platform == "":
		name = "image"
	}
	parts := []string{name}
	if r.Level == spec.LevelOff {
		parts = append(parts, "not hardened")
	} else {
		parts = append(parts, "hardened at level "+string(r.Level))
	}
	if r.User.Config != "" {
		user := "runs as " + r.User.Config
		if r.User.Created {
			user += ", a user made for it"
		}
		parts = append(parts, user)
	}
	return strings.Join(parts, ", ")
}

func totals(b *strings.Builder, r *spec.Report) {
	t := tabwriter.NewWriter(b, 0, 0, 3, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "\tbefore\tafter\tremoved\t")
	for _, row := range []struct {
		name          string
		before, after int64
		text          func(int64) string
	}{
		{"bytes", r.Before.Bytes, r.After.Bytes, size},
		{"files", int64(r.Before.Files), int64(r.After.Files), count},
		{"packages", int64(r.Before.Packages), int64(r.After.Packages), count},
		{"executables", int64(r.Before.Executables), int64(r.After.Executables), count},
		{"libraries", int64(r.Before.Libraries), int64(r.After.Libraries), count},
		{"set-uid files", int64(r.Before.SetUID), int64(r.After.SetUID), count},
	} {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t\n", row.name, row.text(row.before), row.text(row.after), share(row.before, row.after, row.text))
	}
	t.Flush()
}

func removals(b *strings.Builder, r *spec.Report) {
	groups := slices.Clone(r.Removed)
	slices.SortStableFunc(groups, func(x, y spec.Group) int { return cmp.Compare(y.Bytes, x.Bytes) })
	if len(groups) == 0 {
		return
	}
	fmt.Fprintln(b, "\nbiggest removals:")
	t := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	for _, g := range groups[:min(len(groups), biggest)] {
		name := short(g.Name)
		if len(g.Why) > 0 {
			name += ": " + short(strings.Join(g.Why, " > "))
		}
		fmt.Fprintf(t, "  %s\t%s files\t%s\t%s\n", size(g.Bytes), count(int64(g.Files)), short(g.Class), name)
	}
	t.Flush()
	if more := len(groups) - biggest; more > 0 {
		fmt.Fprintf(b, "  and %d more\n", more)
	}
}

// partial names the packages of which only a part is left, the smallest part
// first.
func partial(b *strings.Builder, r *spec.Report) {
	parts := slices.DeleteFunc(slices.Clone(r.Packages), func(p spec.Package) bool { return p.State != spec.PackagePartial || p.FilesBefore == 0 })
	if len(parts) == 0 {
		return
	}
	slices.SortStableFunc(parts, func(x, y spec.Package) int {
		return cmp.Or(cmp.Compare(x.FilesAfter*y.FilesBefore, y.FilesAfter*x.FilesBefore), cmp.Compare(y.FilesBefore, x.FilesBefore), cmp.Compare(x.Name, y.Name))
	})
	fmt.Fprintf(b, "\npackages kept in part: %s of %s\n", count(int64(len(parts))), count(int64(r.After.Packages)))
	t := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	for _, p := range parts[:min(len(parts), smallest)] {
		fmt.Fprintf(t, "  %s\t%s of %s files\t%s\n", fraction(p.FilesAfter, p.FilesBefore), count(int64(p.FilesAfter)), count(int64(p.FilesBefore)), short(p.Name+" "+p.Version))
	}
	t.Flush()
	if more := len(parts) - smallest; more > 0 {
		fmt.Fprintf(b, "  and %d more\n", more)
	}
}

// fraction is a part in per cent, and never 0% or 100%.
func fraction(part, whole int) string {
	return strconv.Itoa(min(max(part*100/whole, 1), 99)) + "%"
}

func checks(b *strings.Builder, r *spec.Report) {
	if len(r.Checks) == 0 {
		return
	}
	fmt.Fprintln(b)
	for _, c := range r.Checks {
		verdict := "ok"
		if !c.Passed {
			verdict = "BROKEN"
		}
		fmt.Fprintf(b, "%s: %s (%s examined)\n", verdict, printable(c.Statement), count(int64(c.Examined)))
	}
}

// printable keeps what an image says about itself from commanding the terminal,
// and from breaking the table.
func printable(s string) string {
	s = strings.Map(func(r rune) rune {
		if !strconv.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
	return s
}

// short is printable, cut to fit a column.
func short(s string) string {
	const longest = 60
	s = printable(s)
	if runes := []rune(s); len(runes) > longest {
		s = string(runes[:longest-1]) + "…"
	}
	return s
}

func size(n int64) string { return units.HumanSizeWithPrecision(float64(n), 3) }

// count groups the digits by thousands.
func count(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// share is how much of before is gone; text is for what was added instead.
func share(before, after int64, text func(int64) string) string {
	switch {
	case after > before:
		return "+" + text(after-before)
	case before == 0:
		return "-"
	}
	return strconv.FormatInt((before-after)*100/before, 10) + "%"
}
