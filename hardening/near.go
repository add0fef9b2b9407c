package hardening

import (
	"cmp"
	"path"
	"slices"
	"strings"

	"github.com/agext/levenshtein"
	"github.com/bmatcuk/doublestar/v4"

	"github.com/temper-images/temper/hardening/rootfs"
)

// maxNear is how many values an error proposes.
const maxNear = 3

// near returns what a rule that names nothing may have meant: packages, sonames
// or paths with a similar name, the likeliest first.
func (inv *inventory) near(text string) []string {
	if name, ok := strings.CutPrefix(text, packageRule); ok {
		names := make([]string, len(inv.packages))
		for i, pkg := range inv.packages {
			names[i] = pkg.Name
		}
		return prefixed(packageRule, similar(name, names))
	}
	if name, ok := strings.CutPrefix(text, sonameRule); ok {
		var names []string
		for p, obj := range inv.objects {
			if name := cmp.Or(obj.Soname, path.Base(p)); strings.Contains(name, ".so") {
				names = append(names, name)
			}
		}
		return prefixed(sonameRule, similar(name, names))
	}
	return inv.nearPaths(path.Clean(text))
}

func prefixed(prefix string, names []string) []string {
	for i := range names {
		names[i] = prefix + names[i]
	}
	return names
}

// nearPaths looks for the same name in other directories, and else for similar
// names in the deepest directory of the path that is there.
func (inv *inventory) nearPaths(p string) []string {
	base := path.Base(p)
	if isGlob(base) && strings.Trim(base, "*?") == "" {
		base = path.Base(path.Dir(p))
	}
	var same []string
	for _, e := range inv.entries {
		ok := e.Name() == base
		if isGlob(base) {
			ok = doublestar.MatchUnvalidated(base, e.Name())
		}
		if ok {
			if same = append(same, e.Path); len(same) == maxNear {
				return same
			}
		}
	}
	if len(same) > 0 {
		return same
	}
	rest := strings.Split(strings.TrimPrefix(p, "/"), "/")
	dir := 0
	for len(rest) > 1 {
		i, _, ok := inv.find(path.Join(inv.entries[dir].Path, rest[0]))
		if !ok || inv.entries[i].Kind != rootfs.Directory {
			break
		}
		dir, rest = i, rest[1:]
	}
	var names []string
	for _, c := range inv.tree.Children(inv.entries[dir].Path) {
		names = append(names, c.Name())
	}
	return prefixed(strings.TrimSuffix(inv.entries[dir].Path, "/")+"/", similar(rest[0], names))
}

// similar returns the names that are a few letters away from one, or that it is
// a part of, or that are a part of it, the nearest first. Long names are passed
// over: comparing is quadratic, and a root filesystem comes from anywhere.
func similar(name string, names []string) []string {
	const longest = 100
	type candidate struct {
		name     string
		distance int
	}
	var found []candidate
	plain := strings.Trim(name, "*?")
	if plain == "" || len(plain) > longest {
		return nil
	}
	for _, n := range slices.Compact(slices.Sorted(slices.Values(names))) {
		if len(n) < 2 || len(n) > longest {
			continue
		}
		d := levenshtein.Distance(plain, n, nil)
		if d <= max(2, len(plain)/4) || len(plain) >= 3 && (strings.Contains(n, plain) || strings.Contains(plain, n) && len(n) >= 3) {
			found = append(found, candidate{n, d})
		}
	}
	slices.SortStableFunc(found, func(a, b candidate) int { return a.distance - b.distance })
	var out []string
	for _, c := range found[:min(len(found), maxNear)] {
		out = append(out, c.name)
	}
	return out
}
