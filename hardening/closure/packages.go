package closure

import (
	"path"
	"slices"
	"strings"

	"github.com/temper-images/temper/hardening/linkage"
	"github.com/temper-images/temper/hardening/packages"
	"github.com/temper-images/temper/hardening/rootfs"
)

// indexPackages finds packages by what others call them, and their programs.
func (w *walk) indexPackages() {
	w.providers = map[string][]int{}
	w.programs = make([]map[string]int, len(w.sys.Packages))
	for i, pkg := range w.sys.Packages {
		for _, name := range append([]string{pkg.Name}, pkg.Provides...) {
			key := pkg.Type + " " + name
			if !slices.Contains(w.providers[key], i) {
				w.providers[key] = append(w.providers[key], i)
			}
		}
		for _, f := range w.files[i] {
			if e := w.sys.Entries[f]; w.isProgram(f) {
				if w.programs[i] == nil {
					w.programs[i] = map[string]int{}
				}
				w.programs[i][e.Name()] = f
			}
		}
	}
}

// isProgram reports whether an entry is something to run by its name.
func (w *walk) isProgram(f int) bool {
	e := w.sys.Entries[f]
	return slices.Contains(programDirs, path.Dir(e.Path)) && (e.Kind == rootfs.Symlink || e.Kind == rootfs.Regular && e.Mode&0o111 != 0)
}

// isPublicLibrary reports whether an entry is a library, or a link to one, that
// programs find by its name alone.
func (w *walk) isPublicLibrary(f int) bool {
	e := w.sys.Entries[f]
	if !isLibraryDir(path.Dir(e.Path)) {
		return false
	}
	if obj := w.sys.Objects[e.Path]; obj != nil {
		return obj.Kind == linkage.Library
	}
	return e.Kind == rootfs.Symlink && strings.Contains(e.Name(), ".so")
}

// isData reports whether an entry is reachable together with anything else of its
// package: what is neither to be run nor to be linked to by name.
func (w *walk) isData(f int) bool {
	return !w.rules.only[f] && !w.isProgram(f) && !w.isPublicLibrary(f)
}

// isBase reports whether a package is part of every installation, of which
// packages take for granted that it is there: only what is seen to be used of it
// is needed.
func isBase(pkg *packages.Package) bool {
	return pkg.Essential || pkg.Priority == "required" || pkg.Priority == "important"
}

// use keeps the data of a package, and of those that hold data for it.
func (w *walk) use(p int, from node) {
	if w.used[p] {
		return
	}
	w.used[p] = true
	for _, r := range w.rules.byPackage[p] {
		w.fire(r, w.packageNode(p))
	}
	for _, f := range w.files[p] {
		if w.isData(f) {
			w.reach(f, from, "is of the same package as")
		}
	}
	for _, d := range w.dependencies(w.sys.Packages[p].Depends, p) {
		if !w.used[d] && w.holdsOnlyData(d) && !isBase(w.sys.Packages[d]) {
			w.use(d, w.packageNode(p))
		}
	}
}

// takeWhole keeps all of a package that was asked for by name, and of what it
// depends on: its dependencies are part of what was asked for. Libraries among
// those are linked to by what uses them.
func (w *walk) takeWhole(p int, from node, why string) {
	if w.whole[p] {
		return
	}
	w.whole[p] = true
	pkg := w.sys.Packages[p]
	switch {
	case why == "":
		why = "is of the package " + pkg.Name + ", which is installed by name"
	case why == "is of the package":
		why = "is of the package " + pkg.Name + " as is"
	case strings.HasPrefix(why, "depends"):
		why = "is of the package " + pkg.Name + ", on which another depends"
	}
	asked := from == noNode
	for _, f := range w.files[p] {
		if w.rules.only[f] || !asked && w.isPublicLibrary(f) {
			continue
		}
		w.reach(f, from, why)
	}
	w.use(p, w.packageNode(p))
	for _, d := range w.dependencies(slices.Concat(pkg.Depends, pkg.Recommends), p) {
		if other := w.sys.Packages[d]; !isBase(other) && !w.rules.unnamed[d] && (len(w.programs[d]) > 0 || w.holdsOnlyData(d)) {
			w.takeWhole(d, w.packageNode(p), "depends on")
		}
	}
}

// dependencies finds the packages that relations name.
func (w *walk) dependencies(relations [][]string, p int) []int {
	var found []int
	for _, alternatives := range relations {
		for _, name := range alternatives {
			found = append(found, w.providers[w.sys.Packages[p].Type+" "+name]...)
			if path.IsAbs(name) {
				if e, ok := w.sys.Index[name]; ok {
					for _, o := range w.sys.Owners[e] {
						found = append(found, int(o))
					}
				}
			}
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// holdsOnlyData reports whether a package has nothing to run and nothing to link
// to: it is there for those that depend on it.
func (w *walk) holdsOnlyData(p int) bool {
	return !slices.ContainsFunc(w.files[p], func(f int) bool { return w.isProgram(f) || w.isPublicLibrary(f) })
}

// commandsOf returns the commands that are looked for in a file: those of the
// packages that its own depends on, and all when no package owns it, since then
// nothing says what it runs. Modules of a language name many commands for other
// reasons, such as to colour their names.
func (w *walk) commandsOf(e int) commands {
	if obj := w.sys.Objects[w.sys.Entries[e].Path]; obj != nil && obj.Kind == linkage.Other {
		return nil
	}
	owners := w.sys.Owners[e]
	if len(owners) == 0 {
		if !w.isCode(e) {
			return nil
		}
		return w.allCommands(isModule(w.sys.Entries[e].Path))
	}
	var all commands
	for _, o := range owners {
		pkg := w.sys.Packages[o]
		for _, d := range w.dependencies(slices.Concat(pkg.Depends, pkg.Recommends), int(o)) {
			for name := range w.programs[d] {
				if all == nil {
					all = commands{}
				}
				all[name] = false
			}
		}
	}
	return all
}

// allCommands returns the programs of all packages.
func (w *walk) allCommands(mustBeCalled bool) commands {
	all, ok := w.commands[mustBeCalled]
	if !ok {
		all = commands{}
		for _, programs := range w.programs {
			for name := range programs {
				all[name] = mustBeCalled
			}
		}
		w.commands[mustBeCalled] = all
	}
	return all
}

// moduleDirs are the directories into which the package managers of languages
// install what others have written.
var moduleDirs = []string{"/site-packages/", "/dist-packages/", "/node_modules/", "/gems/", "/vendor/", "/perl5/"}

// isModule reports whether a file was installed into such a directory.
func isModule(p string) bool {
	return slices.ContainsFunc(moduleDirs, func(d string) bool { return strings.Contains(p, d) })
}

// codeSuffixes end the names of files in which programs are written.
var codeSuffixes = []string{".bash", ".cjs", ".cgi", ".ex", ".exs", ".js", ".lua", ".mjs", ".php", ".pl", ".pm", ".py", ".rb", ".sh", ".tcl", ".ts"}

// isCode reports whether a file is a program, compiled or not.
func (w *walk) isCode(e int) bool {
	entry := w.sys.Entries[e]
	if w.sys.Objects[entry.Path] != nil {
		return true
	}
	if _, ok := w.sys.Scripts[entry.Path]; ok {
		return true
	}
	return slices.Contains(codeSuffixes, path.Ext(entry.Path))
}
