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
		for _, globs := range []*[]string{&r.When.Paths, &r.When.Except, &r.Keep, &r.Only, &r.Unread, &r.Generated} {
			expanded := expandAll(*globs)
			for _, g := range expanded {
				if !strings.HasPrefix(g, "/") || !doublestar.ValidatePattern(g) {
					return nil, fmt.Errorf("rule %q: %q is no absolute glob", r.Name, g)
				}
			}
			*globs = expanded
		}
	}
	return rules, nil
}

// libraryDirs and programDirs are what "@lib" and "@bin" stand for, in canonical
// and in unmerged systems.
var (
	libraryDirs = []string{
		"/lib", "/lib32", "/lib64", "/libx32", "/usr/lib", "/usr/lib32", "/usr/lib64", "/usr/libx32", "/usr/local/lib", "/usr/local/lib64",
		"/lib/*-linux-*", "/usr/lib/*-linux-*", "/usr/local/lib/*-linux-*",
	}
	programDirs = []string{
		"/bin", "/sbin", "/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin", "/usr/games", "/usr/libexec", "/opt/bin",
	}
)

func expandAll(globs []string) []string {
	var all []string
	for _, g := range globs {
		if rest, ok := strings.CutPrefix(g, "@lib/"); ok {
			for _, d := range libraryDirs {
				all = append(all, d+"/"+rest)
			}
		} else if rest, ok := strings.CutPrefix(g, "@bin/"); ok {
			for _, d := range programDirs {
				all = append(all, d+"/"+rest)
			}
		} else {
			all = append(all, g)
		}
	}
	return all
}

// ruleIndex is what the rules say about the entries of one system.
type ruleIndex struct {
	rules []rule
	// byEntry, bySymbol and byPackage list the rules that a reachable entry, an
	// imported symbol or a used package makes hold.
	byEntry   map[int][]int
	bySymbol  map[string][]int
	byPackage map[int][]int
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
		rules: rules, byEntry: map[int][]int{}, bySymbol: map[string][]int{}, byPackage: map[int][]int{},
		only: make([]bool, n), development: make([]bool, n), unread: make([]bool, n), unnamed: make([]bool, len(sys.Packages)),
		builds: make([]bool, len(sys.Packages)), except: map[int]map[int]bool{},
	}
	for i, r := range rules {
		for _, g := range r.When.Paths {
			for _, e := range sys.Match(g) {
				if ids := x.byEntry[e]; len(ids) == 0 || ids[len(ids)-1] != i {
					x.byEntry[e] = append(ids, i)
				}
			}
		}
		for _, g := range r.When.Except {
			for _, e := range sys.Match(g) {
				if x.except[i] == nil {
					x.except[i] = map[int]bool{}
				}
				x.except[i][e] = true
			}
		}
		for _, s := range r.When.Imports {
			x.bySymbol[s] = append(x.bySymbol[s], i)
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
			for _, e := range sys.Match(g) {
				x.only[e] = true
				if r.Development {
					x.development[e] = true
				}
			}
		}
		for _, g := range r.Unread {
			for _, e := range sys.Match(g) {
				x.unread[e] = true
			}
		}
	}
	return x
}

// Match returns the entries whose path a glob matches, looking only at those
// that begin with the part of it that is no pattern.
func (sys *System) Match(glob string) []int {
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

// lowerBound returns the first entry whose path is not before p.
func (sys *System) lowerBound(p string) int {
	lo, hi := 0, len(sys.Entries)
	for lo < hi {
		mid := (lo + hi) / 2
		if sys.Entries[mid].Path < p {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo
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

// Generated returns globs of files that the tools of a distribution make when a
// package is installed. No package lists them, and yet nobody put them there on
// purpose.
func Generated() ([]string, error) {
	rules, err := builtin()
	if err != nil {
		return nil, err
	}
	var all []string
	for _, r := range rules {
		all = append(all, r.Generated...)
	}
	return all, nil
}
