package closure

import (
	"embed"
	"fmt"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/bmatcuk/doublestar/v4"
	"github.com/goccy/go-yaml"

	"github.com/temper-images/temper/hardening/rootfs"
)

//go:embed rules/*.yaml
var ruleFiles embed.FS

// A rule says what is reachable with what, where no file says so. In globs,
// "@lib" stands for each directory of public libraries, "@bin" for each
// directory of programs.
type rule struct {
	// Name is what the reason shows.
	Name string `yaml:"name"`
	// When any of these is reachable, the rule holds. Without any, the rule never
	// holds: what Only covers then stays only as a root.
	When condition `yaml:"when"`
	// Keep are globs of what is reachable then.
	Keep []string `yaml:"keep"`
	// Packages are names, with "*", of packages that are then as if installed by
	// name.
	Packages []string `yaml:"packages"`
	// Only are globs of what is reachable by this or another rule, or as a root,
	// and not as a data file of its package or because its name stands somewhere.
	// What Keep names is not in it unless it is named here too.
	Only []string `yaml:"only"`
	// Development says that what Only covers serves to build other software.
	Development bool `yaml:"development"`
	// Unread are globs of files in which no names are looked for: indexes that name
	// everything there is.
	Unread []string `yaml:"unread"`
	// Generated are globs of files that no package lists because its maintainer
	// scripts make them: they are no roots.
	Generated []string `yaml:"generated"`
	// Unnamed are names, with "*", of packages that are not taken whole because
	// another package depends on them or, with Development, for any reason.
	Unnamed []string `yaml:"unnamed"`
}

// condition holds when one of its parts does.
type condition struct {
	// Paths are globs of entries.
	Paths []string `yaml:"paths"`
	// Imports are symbols that a program or library asks others for.
	Imports []string `yaml:"imports"`
	// Except are globs of files whose imports do not count.
	Except []string `yaml:"except"`
	// Static are paths that a static program names: it imports nothing by which it
	// could be known.
	Static []string `yaml:"static"`
	// Packages are names, with "*", of packages that have something reachable.
	Packages []string `yaml:"packages"`
	// Always holds from the beginning.
	Always bool `yaml:"always"`
}

var builtin = sync.OnceValues(func() ([]rule, error) {
	names, err := ruleFiles.ReadDir("rules")
	if err != nil {
		return nil, fmt.Errorf("list closure rules: %w", err)
	}
	var all []rule
	for _, n := range names {
		dt, err := ruleFiles.ReadFile(path.Join("rules", n.Name()))
		if err != nil {
			return nil, fmt.Errorf("read closure rules: %w", err)
		}
		rules, err := parseRules(dt)
		if err != nil {
			return nil, fmt.Errorf("read closure rules %s: %w", n.Name(), err)
		}
		all = append(all, rules...)
	}
	return all, nil
})

func parseRules(dt []byte) ([]rule, error) {
	var rules []rule
	if err := yaml.UnmarshalWithOptions(dt, &rules, yaml.Strict()); err != nil {
		return nil, err
	}
	for i := range rules {
		r := &rules[i]
		if r.Name == "" {
			return nil, fmt.Errorf("rule %d has no name", i+1)
		}
		for _, globs := range [][]string{r.When.Paths, r.When.Except, r.When.Static, r.Keep, r.Only, r.Unread, r.Generated} {
			for _, g := range globs {
				if plain := strings.Replace(strings.Replace(g, "@lib/", "/", 1), "@bin/", "/", 1); !strings.HasPrefix(plain, "/") || !doublestar.ValidatePattern(plain) {
					return nil, fmt.Errorf("rule %q: %q is no absolute glob", r.Name, g)
				}
			}
		}
	}
	return rules, nil
}

// expand returns the globs for which a glob of a rule stands in a system. Looking
// only into the directories that there are makes the difference between a step
// that takes a moment and one that takes longer than all others.
func (sys *System) expand(glob string) []string {
	if sys.places == nil {
		sys.places = map[string][]string{"@lib": sys.directories(libraryDirs), "@bin": sys.directories(programDirs)}
	}
	place, rest, _ := strings.Cut(glob, "/")
	dirs, ok := sys.places[place]
	if !ok {
		return []string{glob}
	}
	globs := make([]string, len(dirs))
	for i, d := range dirs {
		globs[i] = d + "/" + rest
	}
	return globs
}

// maxDirectories is how many directories of one kind globs are looked for in. A
// system for twenty architectures at once has less.
const maxDirectories = 64

// directories returns those of the directories, the last element of which may be
// a pattern, that there are, up to maxDirectories.
func (sys *System) directories(dirs []string) []string {
	var found []string
	for _, d := range dirs {
		if !strings.Contains(d, "*") {
			if i, ok := sys.Index[d]; ok && sys.Entries[i].Kind == rootfs.Directory {
				found = append(found, d)
			}
			continue
		}
		parent, ok := sys.Index[path.Dir(d)]
		if !ok {
			continue
		}
		for _, c := range sys.children(parent) {
			if ok, err := path.Match(d, sys.Entries[c].Path); err == nil && ok && sys.Entries[c].Kind == rootfs.Directory {
				found = append(found, sys.Entries[c].Path)
			}
		}
	}
	return found[:min(len(found), maxDirectories)]
}

// children returns the entries in a directory.
func (sys *System) children(dir int) []int {
	prefix := strings.TrimSuffix(sys.Entries[dir].Path, "/") + "/"
	var ids []int
	for i := sys.lowerBound(prefix); i < len(sys.Entries) && strings.HasPrefix(sys.Entries[i].Path, prefix); {
		ids = append(ids, i)
		// What lies below a child comes after "child/" and before "child0".
		i = max(i+1, sys.lowerBound(sys.Entries[i].Path+"0"))
	}
	return ids
}

// ruleIndex is what the rules say about the entries of one system.
type ruleIndex struct {
	rules []rule
	// byEntry, bySymbol and byPackage list the rules that a reachable entry, an
	// imported symbol or a used package makes hold.
	byEntry   map[int][]int
	bySymbol  map[string][]int
	byPackage map[int][]int
	byName    map[string][]int
	always    []int

	// except lists, for a rule, the entries whose imports do not count.
	except map[int]map[int]bool

	only        []bool
	development []bool
	unread      []bool
	// unnamed and builds are about packages: those that are not taken whole for
	// others, and those that never are.
	unnamed, builds []bool
}

func indexRules(sys *System, rules []rule) *ruleIndex {
	n := len(sys.Entries)
	x := &ruleIndex{
		rules: rules, byEntry: map[int][]int{}, bySymbol: map[string][]int{}, byPackage: map[int][]int{}, byName: map[string][]int{},
		only: make([]bool, n), development: make([]bool, n), unread: make([]bool, n), unnamed: make([]bool, len(sys.Packages)),
		builds: make([]bool, len(sys.Packages)), except: map[int]map[int]bool{},
	}
	for i, r := range rules {
		for _, g := range r.When.Paths {
			for _, e := range sys.matchRule(g) {
				if ids := x.byEntry[e]; len(ids) == 0 || ids[len(ids)-1] != i {
					x.byEntry[e] = append(ids, i)
				}
			}
		}
		for _, g := range r.When.Except {
			for _, e := range sys.matchRule(g) {
				if x.except[i] == nil {
					x.except[i] = map[int]bool{}
				}
				x.except[i][e] = true
			}
		}
		for _, s := range r.When.Imports {
			x.bySymbol[s] = append(x.bySymbol[s], i)
		}
		for _, p := range r.When.Static {
			x.byName[p] = append(x.byName[p], i)
		}
		if r.When.Always {
			x.always = append(x.always, i)
		}
		for p, pkg := range sys.Packages {
			if matchName(r.When.Packages, pkg.Name) {
				x.byPackage[p] = append(x.byPackage[p], i)
			}
			if matchName(r.Unnamed, pkg.Name) {
				x.unnamed[p] = true
				x.builds[p] = x.builds[p] || r.Development
			}
		}
		for _, g := range r.Only {
			for _, e := range sys.matchRule(g) {
				x.only[e] = true
				if r.Development {
					x.development[e] = true
				}
			}
		}
		for _, g := range r.Unread {
			for _, e := range sys.matchRule(g) {
				x.unread[e] = true
			}
		}
	}
	return x
}

// match returns the entries whose path a glob matches, looking only at those
// that begin with the part of it that is no pattern.
func (sys *System) match(glob string) []int {
	literal, hasMeta := glob, false
	if i := strings.IndexAny(glob, "*?[{\\"); i >= 0 {
		literal, hasMeta = glob[:i], true
	}
	if !hasMeta {
		if e, ok := sys.Index[glob]; ok {
			return []int{e}
		}
		return nil
	}
	var ids []int
	whole, isTree := strings.CutSuffix(glob, "/**")
	isTree = isTree && whole+"/" == literal
	for i := sys.lowerBound(literal); i < len(sys.Entries) && strings.HasPrefix(sys.Entries[i].Path, literal); i++ {
		if isTree || doublestar.MatchUnvalidated(glob, sys.Entries[i].Path) {
			ids = append(ids, i)
		}
	}
	return ids
}

// matchRule is match for a glob of a rule.
func (sys *System) matchRule(glob string) []int {
	var ids []int
	for _, g := range sys.expand(glob) {
		ids = append(ids, sys.match(g)...)
	}
	return ids
}

// lowerBound returns the first entry whose path is not before p.
func (sys *System) lowerBound(p string) int {
	i, _ := slices.BinarySearchFunc(sys.Entries, p, func(e *rootfs.Entry, p string) int { return strings.Compare(e.Path, p) })
	return i
}

// matchName reports whether name matches a pattern in which "*" stands for any
// characters.
func matchName(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		ok, err := path.Match(p, name)
		return err == nil && ok
	})
}

// Symbols returns the names of the symbols that the rules ask for, sorted.
func Symbols() ([]string, error) {
	rules, err := builtin()
	if err != nil {
		return nil, err
	}
	var all []string
	for _, r := range rules {
		all = append(all, r.When.Imports...)
	}
	slices.Sort(all)
	return slices.Compact(all), nil
}

// Generated marks the entries that the tools of a distribution make when a package
// is installed. No package lists them, and yet nobody put them there on purpose.
func (sys *System) Generated() (map[int]bool, error) {
	rules, err := builtin()
	if err != nil {
		return nil, err
	}
	marked := map[int]bool{}
	for _, r := range rules {
		for _, g := range r.Generated {
			for _, i := range sys.matchRule(g) {
				marked[i] = true
			}
		}
	}
	return marked, nil
}
