package explain

import (
	"cmp"
	"context"
	"path"
	"slices"
	"strings"
)

// gone explains a path that the image does not have.
func (i *Image) gone(ctx context.Context, a *Answer) error {
	if i.removal(a, a.Path) {
		a.State = Removed
		return nil
	}
	a.State = Absent
	a.Statement = "neither the image nor what hardening removed from it has such a path"
	if len(a.Links) == 0 && !strings.Contains(a.Asked, "/") {
		a.Statement = "neither the image nor what hardening removed from it has a file of this name"
	}
	similar, err := i.similar(ctx, a.Path)
	a.Similar = similar
	return err
}

// removal says how a path went, and whether it did.
func (i *Image) removal(a *Answer, p string) bool {
	g, below, ok := i.removals.Find(p)
	if !ok {
		return false
	}
	a.Removal = &Removal{Path: p, Class: g.Class, Name: g.Name, Why: g.Why, Files: g.Files, Bytes: g.Bytes, Below: below}
	if known := i.packages[g.Name]; known != nil {
		a.Removal.Package = strings.TrimSpace(known.Name + " " + known.Version)
	}
	a.Rules = i.rules(a.Removal)
	return true
}

// Rule is one way to keep a removed path.
type Rule struct {
	// YAML is what temper.yaml needs, below "harden:".
	YAML string `json:"yaml"`
	// About says when the rule is the right one.
	About string `json:"about"`
}

// rules are the ways to keep what went, the best first. There is none for a package
// manager.
func (i *Image) rules(r *Removal) []Rule {
	what := r.Path
	if r.Below != "" {
		what = literal(r.Below) + "**"
	}
	keep := Rule{"keep: [" + quote(literal(r.Path)) + "]", "this path, with all that it needs"}
	if r.Below != "" {
		keep.About = "this path, if the runtime stage has it"
	}
	var list []Rule
	switch r.Class {
	case "package-manager":
		// A library of it can be of use to others; its programs would make the image one
		// that installs packages.
		if soname := i.librarySoname(r.Path); soname != "" {
			return []Rule{{"keep: [" + quote("soname:"+soname) + "]", "the library, under any path and version that has this name"}, keep}
		}
		if r.Below != "" || strings.HasSuffix(path.Dir(r.Path), "bin") {
			return []Rule{{"level: off", "a hardened image has no package manager: only without hardening does it stay"}}
		}
		keep.About += "; the package manager's own programs and settings never stay"
		return []Rule{keep}
	case "shell":
		return []Rule{{"shell: keep", "all shells"}, keep}
	case "documentation":
		return []Rule{keep, {"docs: keep", "all documentation"}}
	case "bytecode":
		return []Rule{keep, {"bytecode: keep", "all compiled Python modules"}}
	case "locale":
		if l := localeOf(r.Path); l != "" {
			list = append(list, Rule{"locales: [" + quote(l) + "]", "everything for this locale"})
		}
		return append(list, keep)
	case "rule":
		return []Rule{keep, {"remove: …", "a rule in harden.remove took it: take that away, or let keep win over it"}}
	case "cache", "log", "temporary":
		return []Rule{keep}
	}
	if soname := i.librarySoname(r.Path); soname != "" {
		list = append(list, Rule{"keep: [" + quote("soname:"+soname) + "]", "the library, under any path and version that has this name"})
	}
	list = append(list, keep)
	if r.Below != "" {
		list = append(list, Rule{"keep: [" + quote(what) + "]", "all that was in that directory"})
	}
	if r.Package != "" && !strings.HasPrefix(r.Name, "/") {
		list = append(list, Rule{"keep: [" + quote(packageRule+r.Name) + "]", "everything of the package"})
	}
	return list
}

// packageRule begins a rule that means a package (hardening/spec, Settings.Keep).
const packageRule = "package:"

// literal is a glob that means one path alone.
func literal(p string) string {
	var b strings.Builder
	for _, r := range p {
		if strings.ContainsRune(`*?[]{}\`, r) {
			b.WriteByte('\\')
		}
		b.WriteRune(r)
	}
	return b.String()
}

// quote makes a value fit for a YAML flow sequence. Only names that need it are
// quoted.
func quote(s string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/._-+@", r)
	}
	if strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 {
		return s
	}
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		if r == '"' || r == '\\' {
			b.WriteByte('\\')
		}
		b.WriteRune(r)
	}
	b.WriteByte('"')
	return b.String()
}

// librarySoname is the soname of a removed library: the shortest of its names, since
// development links went elsewhere: libgnutls.so.30 beside libgnutls.so.30.34.3. It
// is empty for what is no library.
func (i *Image) librarySoname(p string) string {
	dir, base := path.Split(p)
	stem, version, ok := strings.Cut(base, ".so.")
	if !ok || !strings.HasPrefix(base, "lib") || version == "" || strings.Trim(version, "0123456789.") != "" {
		return ""
	}
	name := stem + ".so"
	for part := range strings.SplitSeq(version, ".") {
		name += "." + part
		if _, below, ok := i.removals.Find(dir + name); ok && below == "" {
			return name
		}
	}
	return base
}

// localeOf is the locale of a message catalogue or of a compiled locale.
func localeOf(p string) string {
	for _, dir := range []string{"/usr/share/locale/", "/usr/lib/locale/", "/usr/local/share/locale/"} {
		if rest, ok := strings.CutPrefix(p, dir); ok {
			name, _, _ := strings.Cut(rest, "/")
			name, _, _ = strings.Cut(name, ".")
			return name
		}
	}
	return ""
}

// Bounds on suggestions.
const (
	maxSimilar  = 5
	maxDistance = 2
	maxCompared = 64 // bytes of a name
)

// similar finds paths that may have been meant: the same name in another directory,
// names that begin with it, and names that differ in a letter or two.
func (i *Image) similar(ctx context.Context, p string) ([]string, error) {
	base := path.Base(p)
	if len(base) > maxCompared {
		return nil, nil
	}
	type candidate struct {
		path string
		rank int
	}
	var found []candidate
	consider := func(other string) {
		name := path.Base(other)
		rank := -1
		switch d := len(name) - len(base); {
		case name == base:
			rank = 0
		case len(base) > 2 && strings.HasPrefix(name, base):
			rank = 2
		case d <= maxDistance && d >= -maxDistance && len(base) > 2:
			if n := distance(base, name, min(maxDistance, (len(base)-1)/2)); n >= 0 {
				rank = n
			}
		}
		if rank < 0 {
			return
		}
		// Of names that fit as well, those in the same directory come first.
		rank *= 2
		if path.Dir(other) != path.Dir(p) {
			rank++
		}
		found = append(found, candidate{other, rank})
	}
	for e := range i.Files.Entries() {
		if err := context.Cause(ctx); err != nil {
			return nil, err
		}
		consider(e.Path)
	}
	for _, r := range i.removals.Paths() {
		consider(strings.TrimSuffix(r, "/"))
	}
	slices.SortFunc(found, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(a.rank, b.rank), strings.Compare(a.path, b.path))
	})
	var out []string
	for _, c := range found {
		if len(out) == maxSimilar {
			break
		}
		if !slices.Contains(out, c.path) {
			out = append(out, c.path)
		}
	}
	return out, nil
}

// distance is how many letters have to be changed, added or left out to make b of a
// (Levenshtein), or -1 when they are more than limit.
func distance(a, b string, limit int) int {
	if len(a)-len(b) > limit || len(b)-len(a) > limit {
		return -1
	}
	previous, current := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range len(b) + 1 {
		previous[j] = j
	}
	for i := range len(a) {
		current[0] = i + 1
		best := current[0]
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			current[j+1] = min(previous[j]+cost, previous[j+1]+1, current[j]+1)
			best = min(best, current[j+1])
		}
		if best > limit {
			return -1
		}
		previous, current = current, previous
	}
	if previous[len(b)] > limit {
		return -1
	}
	return previous[len(b)]
}
