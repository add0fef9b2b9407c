package closure

import (
	"iter"
	"path"
	"slices"
	"strings"

	"github.com/temper-images/temper/hardening/linkage"
	"github.com/temper-images/temper/hardening/rootfs"
)

// indexPackages finds the packages of programs, and those that hold only data.
func (w *walk) indexPackages() {
	// A name stands in few directories of programs; only a hostile system has it
	// in many packages.
	const most = 16
	w.programs = map[string][]int32{}
	w.onlyData = make([]bool, len(w.sys.Packages))
	for p := range w.sys.Packages {
		w.onlyData[p] = true
		for _, f := range w.files[p] {
			if w.isProgram(f) {
				name := w.sys.Entries[f].Name()
				if of := w.programs[name]; len(of) < most && (len(of) == 0 || of[len(of)-1] != int32(p)) {
					w.programs[name] = append(of, int32(p))
				}
			}
			if w.isProgram(f) || w.isPublicLibrary(f) {
				w.onlyData[p] = false
			}
		}
	}
}

// isProgram reports whether an entry is something to run by its name.
func (w *walk) isProgram(f int) bool {
	e := w.sys.Entries[f]
	return IsProgramDir(path.Dir(e.Path)) && (e.Kind == rootfs.Symlink || e.Kind == rootfs.Regular && e.Mode&0o111 != 0)
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

// use keeps the data of a package, and of those that hold data for it.
func (w *walk) use(p int, from node) {
	type step struct {
		p    int
		from node
	}
	for queue := []step{{p, from}}; len(queue) > 0; queue = queue[1:] {
		p, from := queue[0].p, queue[0].from
		if w.used[p] {
			continue
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
		for d := range w.newlyAsked(w.usedFor, w.sys.Relations.Depends[p]) {
			// A package that holds only data is there for those that depend on it.
			if w.onlyData[d] && !w.sys.Packages[d].Base() {
				queue = append(queue, step{d, w.packageNode(p)})
			}
		}
	}
}

// takeWhole keeps all of a package that was asked for by name, and of what it
// depends on: its dependencies are part of what was asked for. Libraries among
// those are linked to by what uses them. why completes the sentence that begins
// with a file of the package.
func (w *walk) takeWhole(p int, from node, why string) {
	type step struct {
		p    int
		from node
		why  string
	}
	for queue := []step{{p, from, why}}; len(queue) > 0; queue = queue[1:] {
		p, from, why := queue[0].p, queue[0].from, queue[0].why
		if w.whole[p] {
			continue
		}
		w.whole[p] = true
		for _, f := range w.files[p] {
			if !w.rules.only[f] && (from == noNode || !w.isPublicLibrary(f)) {
				w.reach(f, from, why)
			}
		}
		w.use(p, w.packageNode(p))
		for _, asked := range [][]int32{w.sys.Relations.Depends[p], w.sys.Relations.Recommends[p]} {
			for d := range w.newlyAsked(w.wholeFor, asked) {
				other := w.sys.Packages[d]
				// Of what is part of every installation only what is seen to be used is
				// needed.
				if !other.Base() && !w.rules.unnamed[d] && (w.hasPrograms(d) || w.onlyData[d]) {
					queue = append(queue, step{d, w.packageNode(p), "is of the package " + other.Name + ", on which another depends"})
				}
			}
		}
	}
}

// newlyAsked goes through the packages that have one of some capabilities, but
// those whose turn was before: what follows from a capability is the same whoever
// asks for it.
func (w *walk) newlyAsked(before []bool, capabilities []int32) iter.Seq[int] {
	return func(yield func(int) bool) {
		for _, c := range capabilities {
			if before[c] {
				continue
			}
			before[c] = true
			for _, p := range w.sys.Relations.Providers[c] {
				if !yield(int(p)) {
					return
				}
			}
		}
	}
}

func (w *walk) hasPrograms(p int) bool { return slices.ContainsFunc(w.files[p], w.isProgram) }

// commandsOf returns the commands that are looked for in a file: those of the
// packages that its own depends on, and all when no package owns it, since then
// nothing says what it runs. Modules of a language name many commands for other
// reasons, such as to colour their names.
func (w *walk) commandsOf(e int) *commands {
	if obj := w.sys.Objects[w.sys.Entries[e].Path]; obj != nil && obj.Kind == linkage.Other {
		return nil
	}
	owners := w.sys.Owners[e]
	if len(owners) == 0 && !w.isCode(e) {
		return nil
	}
	// Only a hostile system has a file of many packages; nothing tells then either
	// what it runs.
	if len(owners) == 0 || len(owners) > mostOwners {
		return &commands{packages: w.programs, mustBeCalled: isModule(w.sys.Entries[e].Path)}
	}
	key := [mostOwners]int32{}
	for i := range key {
		key[i] = -1
	}
	copy(key[:], owners)
	c, ok := w.commands[key]
	if !ok {
		c = &commands{packages: w.programs, provides: w.sys.Relations.Provides}
		for _, o := range owners {
			if asked := w.askedBy(o); len(asked) > 0 {
				c.asked = append(c.asked, asked)
			}
		}
		w.commands[key] = c
	}
	if len(c.asked) == 0 {
		return nil
	}
	return c
}

// mostOwners is how many packages share a file at most that says what they run.
const mostOwners = 4

// askedBy returns the capabilities that a package asks for.
func (w *walk) askedBy(p int32) map[int32]bool {
	asked, ok := w.asked[p]
	if !ok {
		asked = map[int32]bool{}
		for _, list := range [][]int32{w.sys.Relations.Depends[p], w.sys.Relations.Recommends[p]} {
			for _, c := range list {
				asked[c] = true
			}
		}
		w.asked[p] = asked
	}
	return asked
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
