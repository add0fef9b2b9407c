package imagediff

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/docker/go-units"

	"github.com/temper-images/temper/client/examine"
	"github.com/temper-images/temper/client/finding"
)

// Section is a part of the comparison that is shown.
type Section string

// The sections, in the order in which they stand.
const (
	Totals      Section = "totals"
	Config      Section = "config"
	Packages    Section = "packages"
	Executables Section = "executables"
	Reasons     Section = "reasons"
	Files       Section = "files"
)

// short is how many lines of a section are shown where nobody asked for it.
const short = 12

// WriteJSON writes the comparison for machines. Equal images give equal bytes.
func (d *Diff) WriteJSON(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(d)
}

// WriteText writes the comparison for people: the sections that are named in full,
// or, without any, a summary.
func (d *Diff) WriteText(w io.Writer, sections ...Section) error {
	p := &printer{d: d, full: sections}
	if len(sections) == 0 {
		p.title("a", &d.A)
		p.title("b", &d.B)
		if d.Same {
			p.line("\nfiles, packages and configuration are the same%s", p.layers())
			_, err := io.WriteString(w, p.b.String())
			return err
		}
	}
	for _, s := range []struct {
		section Section
		write   func()
	}{
		{Totals, p.totals}, {Config, p.config}, {Packages, p.packages}, {Executables, p.executables}, {Reasons, p.reasons}, {Files, p.files},
	} {
		if p.shows(s.section) {
			s.write()
		}
	}
	_, err := io.WriteString(w, p.b.String())
	return err
}

// printer writes for people. All that comes out of the images is made safe for a
// terminal.
type printer struct {
	d    *Diff
	full []Section
	b    strings.Builder
}

func (p *printer) shows(s Section) bool { return len(p.full) == 0 || slices.Contains(p.full, s) }

func (p *printer) line(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	for strings.HasPrefix(text, "\n") {
		p.b.WriteByte('\n')
		text = text[1:]
	}
	p.b.WriteString(finding.Plain(text) + "\n")
}

func (p *printer) title(name string, s *Side) {
	level := "without a hardening report"
	if s.Level != "" {
		level = "hardened at level " + string(s.Level)
	}
	p.line("%s: %s, %s, %s, %s", name, s.Spec, s.Platform, s.Digest, level)
}

// layers says what is different though all that counts is the same.
func (p *printer) layers() string {
	switch {
	case p.d.A.Digest == p.d.B.Digest:
		return ": it is the same image"
	case slices.Equal(p.d.A.Layers, p.d.B.Layers):
		return ", and so are the layers"
	}
	return "; the layers are not: times of files, or how files lie in them"
}

func (p *printer) totals() {
	p.head("")
	a, b := &p.d.A, &p.d.B
	var out strings.Builder
	t := tabwriter.NewWriter(&out, 0, 0, 3, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "\ta\tb\tchange\t")
	for _, row := range []struct {
		name string
		a, b int64
		text func(int64) string
	}{
		{"bytes", a.Totals.Bytes, b.Totals.Bytes, size},
		{"compressed", a.Compressed, b.Compressed, size},
		{"layers", int64(len(a.Layers)), int64(len(b.Layers)), count},
		{"files", int64(a.Totals.Files), int64(b.Totals.Files), count},
		{"directories", int64(a.Totals.Directories), int64(b.Totals.Directories), count},
		{"packages", int64(a.Totals.Packages), int64(b.Totals.Packages), count},
		{"executables", int64(a.Totals.Executables), int64(b.Totals.Executables), count},
		{"libraries", int64(a.Totals.Libraries), int64(b.Totals.Libraries), count},
		{"set-uid files", int64(a.Totals.SetUID), int64(b.Totals.SetUID), count},
	} {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t\n", row.name, row.text(row.a), row.text(row.b), change(row.a, row.b, row.text))
	}
	t.Flush()
	p.b.WriteString(out.String())
}

func change(a, b int64, text func(int64) string) string {
	switch a {
	case b:
		return "="
	case 0:
		return "+" + text(b)
	}
	sign, by := "+", b-a
	if by < 0 {
		sign, by = "-", -by
	}
	return fmt.Sprintf("%s%s (%s%d %%)", sign, text(by), sign, (100*by+a/2)/a)
}

func size(n int64) string { return units.HumanSize(float64(n)) }

// count writes a number with commas between thousands.
func count(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// files counts files in words.
func files(n int) string {
	if n == 1 {
		return "1 file"
	}
	return count(int64(n)) + " files"
}

// head begins a section.
func (p *printer) head(format string, args ...any) {
	if p.b.Len() > 0 {
		p.b.WriteByte('\n')
	}
	if format != "" {
		p.line(format, args...)
	}
}

// rows writes lines in columns, and few of them in a summary. Each row is one line.
func (p *printer) rows(s Section, rows [][]string) {
	more := 0
	if len(p.full) == 0 && len(rows) > short+2 {
		rows, more = rows[:short], len(rows)-short
	}
	var out strings.Builder
	t := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
	for _, r := range rows {
		for i := range r {
			r[i] = finding.Plain(r[i])
		}
		fmt.Fprintln(t, "  "+strings.Join(r, "\t"))
	}
	t.Flush()
	for line := range strings.Lines(out.String()) {
		p.b.WriteString(strings.TrimRight(line, " \n") + "\n")
	}
	if more > 0 {
		p.line("  and %s more: --%s", count(int64(more)), s)
	}
}

// signs stand for changes.
var signs = map[Change]string{Added: "+", Removed: "-", Changed: "~"}

// tally counts changes in words.
func tally(changes []Change) string {
	var parts []string
	for _, c := range []Change{Added, Removed, Changed} {
		n := 0
		for _, x := range changes {
			if x == c {
				n++
			}
		}
		if n > 0 {
			parts = append(parts, count(int64(n))+" "+string(c))
		}
	}
	if len(parts) == 0 {
		return "the same"
	}
	return strings.Join(parts, ", ")
}

func (p *printer) config() {
	var changes []Change
	var rows [][]string
	for _, s := range p.d.Config {
		changes = append(changes, s.Change)
		value := s.Before + " -> " + s.After
		switch {
		case s.Withheld:
			value = "(not shown: it may be a secret)"
		case s.Change == Added:
			value = s.After
		case s.Change == Removed:
			value = s.Before
		}
		rows = append(rows, []string{signs[s.Change], s.Name, clip(value)})
	}
	p.head("configuration: %s", tally(changes))
	p.rows(Config, rows)
}

// clip shortens a value for a line of a summary.
func clip(s string) string {
	const most = 200
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}

func (p *printer) packages() {
	var changes []Change
	var rows [][]string
	for _, k := range p.d.Packages {
		changes = append(changes, k.Change)
		versions := strings.Join(slices.Concat(k.Before, k.After), ", ")
		if k.Change == Changed {
			versions = strings.Join(k.Before, ", ") + " -> " + strings.Join(k.After, ", ")
		}
		rows = append(rows, []string{signs[k.Change], k.Type, k.Name, versions, k.Why})
	}
	p.head("packages: %s", tally(changes))
	p.rows(Packages, rows)
}

// kind is what a file is, or was.
func (f *File) kind() examine.Kind {
	for _, e := range []*Entry{f.After, f.Before} {
		if e != nil && e.Kind != "" {
			return e.Kind
		}
	}
	return ""
}

func (p *printer) executables() {
	var changes []Change
	var rows [][]string
	for i := range p.d.Files {
		if f := &p.d.Files[i]; f.kind() != "" {
			changes = append(changes, f.Change)
			rows = append(rows, []string{signs[f.Change], string(f.kind()), f.Path, f.about()})
		}
	}
	p.head("programs and libraries: %s", tally(changes))
	p.rows(Executables, rows)
}

// about says in words what is different of a file, or why it went.
func (f *File) about() string {
	var parts []string
	for _, w := range f.What {
		switch w {
		case WhatContent:
			parts = append(parts, fmt.Sprintf("content (%s -> %s)", size(f.Before.Size), size(f.After.Size)))
		case WhatMode:
			parts = append(parts, fmt.Sprintf("mode (%s -> %s)", f.Before.Mode, f.After.Mode))
		case WhatOwner:
			parts = append(parts, fmt.Sprintf("owner (%s -> %s)", f.Before.Owner, f.After.Owner))
		case WhatLink:
			parts = append(parts, fmt.Sprintf("link (%s -> %s)", f.Before.Target, f.After.Target))
		case WhatType:
			parts = append(parts, fmt.Sprintf("type (%s -> %s)", f.Before.Type, f.After.Type))
		default:
			parts = append(parts, w)
		}
	}
	if r := f.Reason; r != nil {
		parts = append(parts, r.Class+", "+r.Name)
	}
	return strings.Join(parts, ", ")
}

func (p *printer) reasons() {
	if len(p.d.Reasons) == 0 && len(p.full) == 0 {
		return
	}
	for _, side := range []string{"b", "a"} {
		var rows [][]string
		n, bytes := 0, int64(0)
		for _, r := range p.d.Reasons {
			if r.In != side {
				continue
			}
			n += r.Files
			bytes += r.Bytes
			rows = append(rows, []string{size(r.Bytes), files(r.Files), r.Class, r.Name, clip(strings.Join(r.Why, " > "))})
		}
		if len(rows) == 0 {
			continue
		}
		p.head("removed by the hardening of %s, by its report: %s, %s", side, files(n), size(bytes))
		p.rows(Reasons, rows)
	}
}

func (p *printer) files() {
	changes := make([]Change, 0, len(p.d.Files))
	for i := range p.d.Files {
		changes = append(changes, p.d.Files[i].Change)
	}
	p.head("files and directories: %s", tally(changes))
	if len(p.full) == 0 {
		p.summary()
		return
	}
	var rows [][]string
	for i := range p.d.Files {
		f := &p.d.Files[i]
		name := f.Path
		e := f.After
		if e == nil {
			e = f.Before
		}
		if e.Type == "directory" {
			name += "/"
		}
		length := ""
		if e.Type == "file" {
			length = size(e.Size)
		}
		rows = append(rows, []string{signs[f.Change], name, length, f.about()})
	}
	p.rows(Files, rows)
}

// summary counts what is different of files instead of naming each.
func (p *printer) summary() {
	counts := map[string]int{}
	unexplained, sum := 0, int64(0)
	for i := range p.d.Files {
		f := &p.d.Files[i]
		for _, w := range f.What {
			counts[w]++
		}
		if f.Change == Removed && f.Reason == nil && f.Before.Type != "directory" {
			unexplained++
			sum += f.Before.Size
		}
	}
	var parts []string
	for _, w := range []string{WhatContent, WhatMode, WhatOwner, WhatLink, WhatType, WhatCapabilities} {
		if counts[w] > 0 {
			parts = append(parts, fmt.Sprintf("%s of %s", w, count(int64(counts[w]))))
		}
	}
	if len(parts) > 0 {
		p.line("  changed are: %s", strings.Join(parts, ", "))
	}
	if unexplained > 0 && p.d.B.Level != "" {
		p.line("  removed for no reason that the report of b names: %s, %s", files(unexplained), size(sum))
	}
	if len(p.d.Files) > 0 {
		p.line("  every one of them: --files")
	}
}
