package explain

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/docker/go-units"

	"github.com/temper-images/temper/client/finding"
	"github.com/temper-images/temper/hardening/spec"
)

// Document is the answers about one image, for machines.
type Document struct {
	// Image, Reference, Digest and Platform name it; Digest is its manifest's.
	Image     string     `json:"image"`
	Reference string     `json:"reference,omitempty"`
	Digest    string     `json:"digest"`
	Platform  string     `json:"platform"`
	Level     spec.Level `json:"level"`
	Answers   []Answer   `json:"answers"`
}

// Document puts answers about the image together.
func (i *Image) Document(answers []Answer) *Document {
	return &Document{
		Image: i.Name, Reference: i.Reference, Digest: i.Digest.String(), Platform: i.Platform,
		Level: i.Report.Level, Answers: answers,
	}
}

// WriteJSON writes the document for machines. Equal images and questions give equal
// bytes.
func (d *Document) WriteJSON(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(d)
}

// WriteText writes the document for people.
func (d *Document) WriteText(w io.Writer) error {
	t := &text{}
	for k := range d.Answers {
		if k > 0 {
			t.line("")
		}
		t.answer(&d.Answers[k])
	}
	_, err := io.WriteString(w, t.b.String())
	return err
}

// text is what is written for people. All that comes out of the image is made safe
// for a terminal.
type text struct{ b strings.Builder }

func (t *text) line(format string, args ...any) {
	t.b.WriteString(finding.Plain(fmt.Sprintf(format, args...)) + "\n")
}

func (t *text) answer(a *Answer) {
	head := a.Named
	if a.State == Absent {
		head = a.Asked
	}
	t.line("%s: %s%s", head, a.State, about(a))
	for _, l := range a.Links {
		t.line("  %s is a link to %s", l.Path, l.Target)
	}
	if len(a.Links) > 0 && a.State != Kept {
		t.line("  %s %s", a.Path, map[State]string{Removed: "is not in the image", Absent: "is not there"}[a.State])
	}
	t.chain(a)
	if a.Statement != "" {
		t.line("  %s", a.Statement)
	}
	for _, c := range a.Changes {
		t.change(c)
	}
	if a.Removal != nil {
		t.removal(a)
	}
	if len(a.Similar) > 0 {
		t.line("  similar:")
		for _, s := range a.Similar {
			t.line("    %s", s)
		}
	}
	if a.Tree != nil {
		t.tree(a)
	}
}

// about is what stands behind an answer's state.
func about(a *Answer) string {
	var parts []string
	switch a.Type {
	case "file":
		parts = append(parts, units.HumanSize(float64(a.Size)))
	case "":
	default:
		parts = append(parts, a.Type)
	}
	for _, o := range a.Packages {
		s := "of " + o.Name + " " + o.Version
		if o.State == spec.PackagePartial {
			s += fmt.Sprintf(", which has %d of its %d files left", o.FilesAfter, o.FilesBefore)
		}
		parts = append(parts, s)
	}
	if len(parts) == 0 {
		return ""
	}
	return " (" + strings.Join(parts, ", ") + ")"
}

// chain writes each step one further to the right.
func (t *text) chain(a *Answer) {
	for k, s := range a.Chain {
		if k == 0 {
			t.line("  %s %s", s.Path, s.Why)
			continue
		}
		t.line("  %s└─ %s %s", strings.Repeat("   ", k-1), s.Why, s.Path)
	}
	if a.Covered != "" {
		t.line("  %s has no reason of its own: that of %s is its", a.Path, a.Covered)
	}
}

func (t *text) change(c spec.Change) {
	switch c.What {
	case spec.ChangeSetUID:
		t.line("  hardening took its set-uid and set-gid bits: %s became %s", c.Before, c.After)
	case spec.ChangeOwner:
		t.line("  hardening gave it to the image's user: %s became %s", c.Before, c.After)
	case spec.ChangeRewritten:
		t.line("  hardening wrote it anew")
	case spec.ChangeCreated:
	default:
		t.line("  hardening changed it: %s", c.What)
	}
}

func (t *text) removal(a *Answer) {
	r := a.Removal
	if a.State == Kept {
		t.line("  %s went:", r.Path)
	}
	if r.Below != "" {
		t.line("  hardening removed all of %s: if there was such a path, it went with it", r.Below)
	}
	why := "class " + r.Class
	if r.Package != "" {
		why += ", package " + r.Package
	} else if r.Name != "" {
		why += ", " + r.Name
	}
	t.line("  %s: %s, %s", why, plural(r.Files, "file"), units.HumanSize(float64(r.Bytes)))
	if s := classes[r.Class]; s != "" {
		t.line("  %s", s)
	}
	for _, w := range r.Why {
		t.line("    %s", w)
	}
	if len(a.Rules) == 0 {
		return
	}
	t.line("  to keep it, in temper.yaml:")
	for k, rule := range a.Rules {
		if k > 0 {
			t.line("  or")
		}
		t.line("    harden:")
		t.line("      %s  # %s", rule.YAML, rule.About)
	}
}

// classes say what the classes of the report mean.
var classes = map[string]string{
	"package-manager": "it is part of a package manager: nobody administers a container",
	"orphan":          "only a package manager needed it:",
	"documentation":   "no program needs documentation to run",
	"bytecode":        "it was compiled of a source that stays, and harden.bytecode is remove",
	"locale":          "it is for a locale that is not kept",
	"cache":           "it is a cache, which is made anew where it is needed",
	"log":             "it is a log of the build",
	"temporary":       "it is a temporary file or a backup",
	"shell":           "it is a shell, and harden.shell is remove",
	"development":     "it serves to build other software",
	"unreachable":     "nothing that the application can reach leads to it",
	"rule":            "a rule in harden.remove names it",
}

func (t *text) tree(a *Answer) {
	if len(a.Tree.Children) == 0 {
		t.line("  it pulls in nothing")
		return
	}
	t.line("  it pulls in %s, %s:", plural(a.Tree.Files, "file"), units.HumanSize(float64(a.Tree.Bytes)))
	t.nodes(a.Tree.Children, a.Tree.More, "  ")
}

func (t *text) nodes(list []*Node, more int, indent string) {
	for k, n := range list {
		branch, below := "├─ ", "│  "
		if k == len(list)-1 && more == 0 {
			branch, below = "└─ ", "   "
		}
		note := ""
		switch {
		case n.Cycle:
			note = " (a circle)"
		case n.Repeated:
			note = " (see there)"
		}
		t.line("%s%s%s %s%s", indent, branch, n.Why, n.Path, note)
		t.nodes(n.Children, n.More, indent+below)
	}
	if more > 0 {
		t.line("%s└─ and %d more", indent, more)
	}
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
