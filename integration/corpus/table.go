package corpus

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/temper-images/temper/hardening/spec"
)

// The goals for the level minimal.
const (
	// goalMedian is how large the median image may be, as a part of its runtime stage.
	goalMedian = 0.20
	// goalSum is how large all images together may be, as a part of the sum of the
	// package closures.
	goalSum = 0.80
)

// line says in one line what became of an application at a level.
func (m *Measure) line(name string, level spec.Level) string {
	if m.Passed() {
		return fmt.Sprintf("ok    %s %s: %s", name, level, mebibytes(m.Bytes))
	}
	var b strings.Builder
	fmt.Fprintf(&b, "FAIL  %s %s", name, level)
	for _, f := range []struct{ what, text string }{{"build", m.Build}, {"works", m.Works}, {"others", m.Others}, {"scanners", m.Scanners}} {
		if f.text != "" {
			fmt.Fprintf(&b, "\n      %s: %s", f.what, strings.ReplaceAll(strings.TrimSpace(f.text), "\n", "\n      "))
		}
	}
	return b.String()
}

// Table writes the rows as text: sizes before and after, counts, what passed, and
// the goals. It reports whether everything passed.
func Table(w io.Writer, rows []Row) (ok bool, err error) {
	ok = true
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "application\tlevel\tsize\tof runtime\tclosure\tfiles\tprograms\tlibraries\tpackages\tset-uid\thardening\tworks\tothers\tscanners")
	for _, row := range rows {
		if row.Err != "" {
			ok = false
			fmt.Fprintf(t, "%s\tFAIL\n", row.App)
			continue
		}
		for _, level := range Levels {
			m := row.Levels[level]
			if m == nil {
				continue
			}
			ok = ok && m.Passed()
			ratio, closure, took := "", "", ""
			if before := row.Levels[spec.LevelOff]; level != spec.LevelOff && before != nil && before.Bytes > 0 {
				ratio = percent(float64(m.Bytes) / float64(before.Bytes))
				took = fmt.Sprintf("%.1f s", m.Hardening.Seconds())
			} else if level == spec.LevelOff {
				closure = mebibytes(row.Closure)
			}
			scanned := ""
			if m.Scanned {
				scanned = verdict(m.Scanners)
			}
			if m.Build != "" {
				fmt.Fprintf(t, "%s\t%s\tno image\n", row.App, level)
				continue
			}
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%d\t%d\t%d\t%d\t%d\t%s\t%s\t%s\t%s\n", row.App, level, mebibytes(m.Bytes), ratio, closure,
				m.Files, m.Executables, m.Libraries, m.Packages, m.SetUID, took, verdict(m.Works), verdict(m.Others), scanned)
		}
	}
	if err := t.Flush(); err != nil {
		return false, err
	}
	return ok, summary(w, rows)
}

// summary writes medians, sums and the goals.
func summary(w io.Writer, rows []Row) error {
	var b strings.Builder
	for _, level := range Levels {
		total, works, others, both, scanners := 0, 0, 0, 0, 0
		for _, row := range rows {
			m := row.Levels[level]
			if m == nil && row.Err == "" {
				continue
			}
			total++
			if m == nil || m.Build != "" {
				continue
			}
			works += one(m.Works == "")
			others += one(m.Others == "")
			both += one(m.Works == "" && m.Others == "")
			scanners += one(m.Scanned && m.Scanners == "")
		}
		if total > 0 {
			fmt.Fprintf(&b, "%s: works %d, others %d, both %d, scanners %d of %d\n", level, works, others, both, scanners, total)
		}
	}
	var ratios []float64
	var minimal, closure, own int64
	for _, row := range rows {
		before, after := row.Levels[spec.LevelOff], row.Levels[spec.LevelMinimal]
		if before == nil || after == nil || before.Bytes == 0 || after.Bytes == 0 {
			continue
		}
		ratios = append(ratios, float64(after.Bytes)/float64(before.Bytes))
		minimal, closure, own = minimal+after.Bytes, closure+row.Closure, own+row.Own
	}
	if len(ratios) > 0 {
		slices.Sort(ratios)
		median := (ratios[(len(ratios)-1)/2] + ratios[len(ratios)/2]) / 2
		fmt.Fprintf(&b, "minimal: the median is %s of the runtime stage (goal: at most %s): %s\n", percent(median), percent(goalMedian), met(median <= goalMedian))
		fmt.Fprintf(&b, "minimal: all together %s, package closures %s and the applications' own files %s\n", mebibytes(minimal), mebibytes(closure), mebibytes(own))
		for _, s := range []struct {
			what string
			of   int64
		}{{"the package closures", closure}, {"the package closures with the applications' own files", closure + own}} {
			if s.of > 0 {
				part := float64(minimal) / float64(s.of)
				fmt.Fprintf(&b, "minimal: %s of %s (goal: at most %s): %s\n", percent(part), s.what, percent(goalSum), met(part <= goalSum))
			}
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func one(b bool) int {
	if b {
		return 1
	}
	return 0
}

func met(b bool) string {
	if b {
		return "met"
	}
	return "not met"
}

func verdict(failure string) string {
	return cmp.Or(map[bool]string{true: "pass"}[failure == ""], "FAIL")
}

func percent(f float64) string { return fmt.Sprintf("%.1f %%", 100*f) }

func mebibytes(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }
