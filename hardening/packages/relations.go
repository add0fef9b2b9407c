package packages

import "path"

// Relations say which packages others ask for. A capability is what packages are
// asked for by: a name, one of Provides, or a path. It stands between the two
// sides, so that a thousand packages that ask for what a thousand others provide
// are two thousand relations and not a million.
type Relations struct {
	// Providers lists, for each capability, the packages that have it.
	Providers [][]int32
	// Depends and Recommends list, for each package, the capabilities it asks for,
	// in the order of its fields. Of alternatives each counts: which one is used
	// cannot be seen.
	Depends, Recommends [][]int32
	// Provides lists, for each package, the capabilities it has.
	Provides [][]int32
}

// Relate relates packages, which it names by their index. owners returns the
// packages that list the file at a path.
func Relate(pkgs []*Package, owners func(path string) []int32) *Relations {
	type key struct{ kind, name string }
	r := &Relations{
		Depends: make([][]int32, len(pkgs)), Recommends: make([][]int32, len(pkgs)), Provides: make([][]int32, len(pkgs)),
	}
	ids := map[key]int32{}
	capability := func(k key) int32 {
		id, ok := ids[k]
		if !ok {
			id = int32(len(r.Providers))
			ids[k] = id
			r.Providers = append(r.Providers, nil)
		}
		return id
	}
	provide := func(id int32, pkg int) {
		// Packages come in their order: only the last can be this one.
		if p := r.Providers[id]; len(p) == 0 || p[len(p)-1] != int32(pkg) {
			r.Providers[id] = append(p, int32(pkg))
			r.Provides[pkg] = append(r.Provides[pkg], id)
		}
	}
	for i, pkg := range pkgs {
		provide(capability(key{pkg.Type, pkg.Name}), i)
		for _, name := range pkg.Provides {
			provide(capability(key{pkg.Type, name}), i)
		}
	}
	ask := func(relations [][]string, kind string) []int32 {
		var asked []int32
		for _, alternatives := range relations {
			for _, name := range alternatives {
				id, ok := ids[key{kind, name}]
				if !ok {
					if !path.IsAbs(name) {
						continue // nothing here has it
					}
					id = capability(key{kind, name})
					r.Providers[id] = owners(path.Clean(name))
					for _, p := range r.Providers[id] {
						r.Provides[p] = append(r.Provides[p], id)
					}
				}
				asked = append(asked, id)
			}
		}
		return asked
	}
	for i, pkg := range pkgs {
		r.Depends[i], r.Recommends[i] = ask(pkg.Depends, pkg.Type), ask(pkg.Recommends, pkg.Type)
	}
	return r
}

// Base reports whether a package is part of every installation, of which others
// take for granted that it is there (Debian policy, sections 2.5 and 3.8).
func (p *Package) Base() bool {
	return p.Essential || p.Priority == "required" || p.Priority == "important"
}

// Manual reports whether a package seems to have been asked for by name, as far as
// the package manager's own record tells: it did not come along with another, and
// is neither part of every installation nor a library.
func (p *Package) Manual() bool {
	switch p.Type {
	case TypeApk:
		return !p.Auto
	case TypeDeb:
		return !p.Auto && !p.Base() && p.Section != "libs" && p.Section != "oldlibs"
	}
	return false
}
