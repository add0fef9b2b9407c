package hardening

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/bmatcuk/doublestar/v4"

	"github.com/temper-images/temper/hardening/presets"
	"github.com/temper-images/temper/hardening/rootfs"
	"github.com/temper-images/temper/hardening/spec"
)

// The fields of temper.yaml that hold rules.
const (
	fieldKeep   = "harden.keep"
	fieldRemove = "harden.remove"
	fieldPreset = "harden.preset"
)

// The forms of a rule that are no path.
const (
	packageRule = "package:"
	sonameRule  = "soname:"
)

// A rule is one line of harden.keep, harden.remove or a preset.
type rule struct {
	// field is where it stands in temper.yaml, and text what stands there. A rule
	// of a preset has preset, the preset's name.
	field, text, preset string
}

func (r rule) String() string {
	if r.preset != "" {
		return fmt.Sprintf("%q of the preset %s", r.text, r.preset)
	}
	return fmt.Sprintf("%s %q", r.field, r.text)
}

// place is where the rule stands in temper.yaml.
func (r rule) place() spec.Rule {
	if r.preset != "" {
		return spec.Rule{Field: fieldPreset, Value: r.preset}
	}
	return spec.Rule{Field: r.field, Value: r.text}
}

// ruleSet says which entries rules name. No entry is in both maps: keep wins
// over remove, but what temper.yaml says wins over what a preset says.
type ruleSet struct {
	keep, remove map[int]rule
}

// RuleError is a rule of temper.yaml that cannot be carried out on this root
// filesystem.
type RuleError struct {
	// Field is the field's path in temper.yaml and Rule the value in it.
	Field, Rule string
	// Why ends the sentence that begins with the rule.
	Why string
	// Near are the values that were probably meant, the likeliest first.
	Near []string
}

func (e *RuleError) Error() string {
	msg := fmt.Sprintf("%s: %q %s", e.Field, e.Rule, e.Why)
	if len(e.Near) > 0 {
		msg += "; what comes near: " + strings.Join(e.Near, ", ")
	}
	return msg
}

// applyPresets adds to settings what their presets say besides keep and remove.
// A directory that is not there belongs to another layout of the application,
// and is not made.
func (inv *inventory) applyPresets(s spec.Settings) (spec.Settings, error) {
	s.Locales, s.Writable = slices.Clone(s.Locales), slices.Clone(s.Writable)
	for _, name := range s.Presets {
		p, err := presets.Load(name)
		if err != nil {
			return s, &RuleError{Field: fieldPreset, Rule: name, Why: "is not known to this helper", Near: presets.Names()}
		}
		s.Locales = append(s.Locales, p.Locales...)
		for _, dir := range p.Writable {
			if i, _, ok := inv.find(dir); ok && inv.entries[i].Kind == rootfs.Directory && inv.entries[i].Path != "/" {
				s.Writable = append(s.Writable, dir)
			}
		}
	}
	return s, nil
}

// matchRules finds the entries that all rules name. A rule of temper.yaml that
// names nothing is an error, since it would not do what its author thinks it
// does; so is a preset of which nothing is there, but not a part of one.
func (inv *inventory) matchRules(s spec.Settings) (*ruleSet, error) {
	set := &ruleSet{keep: map[int]rule{}, remove: map[int]rule{}}
	put := func(into, but map[int]rule, ids []int, r rule) {
		for _, i := range ids {
			_, excepted := but[i]
			if _, taken := into[i]; !taken && !excepted {
				into[i] = r
			}
		}
	}
	for _, text := range s.Keep {
		r := rule{field: fieldKeep, text: text}
		ids, err := inv.mustMatch(r, s)
		if err != nil {
			return nil, err
		}
		put(set.keep, nil, ids, r)
	}
	for _, text := range s.Remove {
		r := rule{field: fieldRemove, text: text}
		ids, err := inv.mustMatch(r, s)
		if err != nil {
			return nil, err
		}
		put(set.remove, set.keep, ids, r)
	}
	for _, name := range s.Presets {
		p, err := presets.Load(name)
		if err != nil {
			return nil, &RuleError{Field: fieldPreset, Rule: name, Why: "is not known to this helper", Near: presets.Names()}
		}
		found := false
		for _, part := range []struct {
			texts     []string
			into, but map[int]rule
			field     string
			itself    bool
		}{
			{p.Keep, set.keep, set.remove, fieldKeep, true},
			{p.With, set.keep, set.remove, fieldKeep, false},
			{p.Remove, set.remove, set.keep, fieldRemove, false},
		} {
			for _, text := range part.texts {
				r := rule{field: part.field, text: text, preset: name}
				ids, err := inv.match(r)
				if err != nil {
					return nil, err
				}
				found = found || part.itself && len(ids) > 0
				put(part.into, part.but, ids, r)
			}
		}
		if !found {
			return nil, &RuleError{Field: fieldPreset, Rule: name, Why: "matches nothing in the runtime stage: " + p.Description + " is not there"}
		}
	}
	return set, nil
}

// mustMatch is match with an error where nothing is named, or where a rule wants
// to keep only what no rule may.
func (inv *inventory) mustMatch(r rule, s spec.Settings) ([]int, error) {
	ids, err := inv.match(r)
	if err != nil {
		return nil, err
	}
	if len(ids) == 0 {
		return nil, &RuleError{
			Field: r.field, Rule: r.text, Near: inv.near(r.text),
			Why: "matches nothing in the runtime stage; mend it or take it out",
		}
	}
	if r.field != fieldKeep {
		return ids, nil
	}
	files := slices.DeleteFunc(slices.Clone(ids), func(i int) bool {
		target, _, ok := inv.find(inv.entries[i].Path)
		return ok && inv.entries[target].Kind == rootfs.Directory
	})
	if len(files) > 0 && !slices.ContainsFunc(files, func(i int) bool { return mayKeep(inv.entries[i], s) }) {
		return nil, &RuleError{Field: r.field, Rule: r.text, Why: "names only what belongs to a package manager or a removed shell, which no rule keeps"}
	}
	return ids, nil
}

// mayKeep reports whether a rule may keep an entry at all.
func mayKeep(e *rootfs.Entry, s spec.Settings) bool {
	return !isManagerProgram(e.Path) && !inManagerTree(e.Path) && (s.Shell == spec.ShellKeep || !isShellProgram(e.Path))
}

// match returns the entries that a rule names, sorted. To keep a path means to
// keep what it leads to and the links on the way; to remove one means that name
// alone. A directory stands for all that is below it.
func (inv *inventory) match(r rule) ([]int, error) {
	set := map[int]bool{}
	var err error
	name, isPackage := strings.CutPrefix(r.text, packageRule)
	soname, isSoname := strings.CutPrefix(r.text, sonameRule)
	switch {
	case isPackage:
		err = inv.matchPackages(name, set)
	case isSoname:
		err = inv.matchSonames(soname, set)
	default:
		err = inv.matchPaths(r, set)
	}
	if err != nil {
		return nil, &RuleError{Field: r.field, Rule: r.text, Why: "is no valid pattern"}
	}
	ids := make([]int, 0, len(set))
	for i := range set {
		ids = append(ids, i)
	}
	slices.Sort(ids)
	return ids, nil
}

// matchPackages takes the files of the packages that a pattern names, and the
// directories that are theirs alone. A file that another package lists too is
// not this one's to keep or remove.
func (inv *inventory) matchPackages(pattern string, set map[int]bool) error {
	named := map[int32]bool{}
	for id, pkg := range inv.packages {
		ok, err := path.Match(pattern, pkg.Name)
		if err != nil {
			return err
		}
		if ok {
			named[int32(id)] = true
		}
	}
	if len(named) == 0 {
		return nil
	}
	for i, owners := range inv.owners {
		if len(owners) > 0 && inv.entries[i].Path != "/" && !inv.inDatabase(inv.entries[i].Path) &&
			!slices.ContainsFunc(owners, func(o int32) bool { return !named[o] }) {
			set[i] = true
		}
	}
	return nil
}

// matchSonames takes the libraries that a pattern names, by their DT_SONAME or
// else by the file's name, and the links of that name to them.
func (inv *inventory) matchSonames(pattern string, set map[int]bool) error {
	for i, e := range inv.entries {
		switch e.Kind {
		case rootfs.Regular:
			obj, ok := inv.objects[e.Path]
			if !ok {
				continue
			}
			name := obj.Soname
			if name == "" {
				name = e.Name()
			}
			ok, err := path.Match(pattern, name)
			if err != nil {
				return err
			}
			if ok {
				set[i] = true
			}
		case rootfs.Symlink:
			if ok, err := path.Match(pattern, e.Name()); err != nil {
				return err
			} else if !ok {
				continue
			}
			if target, _, ok := inv.find(e.Path); ok && inv.objects[inv.entries[target].Path] != nil {
				set[i] = true
			}
		}
	}
	return nil
}

func (inv *inventory) matchPaths(r rule, set map[int]bool) error {
	take := func(i int) {
		if inv.entries[i].Path == "/" {
			return
		}
		set[i] = true
		if inv.entries[i].Kind == rootfs.Directory {
			for _, j := range inv.below(inv.entries[i].Path) {
				set[j] = true
			}
		}
	}
	reach := func(p string) {
		i, ok := inv.entryOf(p, map[string]string{})
		if ok {
			take(i)
		}
		if r.field == fieldKeep {
			if target, links, ok := inv.find(p); ok {
				take(target)
				for _, l := range links {
					set[l] = true
				}
			}
		}
	}
	if !isGlob(r.text) {
		reach(path.Clean(r.text))
		return nil
	}
	if !doublestar.ValidatePattern(r.text) {
		return doublestar.ErrBadPattern
	}
	// The directory before the first sign of a pattern is followed through links,
	// so that /bin/a* finds what lies in /usr/bin.
	dir, rest := doublestar.SplitPattern(r.text)
	start, _, ok := inv.find(dir)
	if !ok || inv.entries[start].Kind != rootfs.Directory {
		return nil
	}
	dir = inv.entries[start].Path
	if doublestar.MatchUnvalidated(rest, "") {
		take(start)
	}
	dir = strings.TrimSuffix(dir, "/") + "/"
	for _, i := range inv.below(dir) {
		// What a matching directory took along need not be matched again.
		if p := inv.entries[i].Path; !set[i] && doublestar.MatchUnvalidated(rest, p[len(dir):]) {
			reach(p)
		}
	}
	return nil
}

func isGlob(p string) bool { return strings.ContainsAny(p, "*?[{\\") }
