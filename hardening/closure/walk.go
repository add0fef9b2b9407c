package closure

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/temper-images/temper/hardening/linkage"
	"github.com/temper-images/temper/hardening/rootfs"
)

// A node is an entry, or, from len(entries) on, a package.
type node = int32

// Limits on what is remembered for the report, which has no room for more, and of
// look-ups.
const (
	maxNeeds    = 1 << 18 // steps besides those of the shortest chains
	maxResolved = 1 << 18 // paths
)

// noNode is where roots come from.
const noNode node = -1

// walk goes from the roots to everything reachable, wave by wave, so that each
// path is reached by a shortest chain and files are read in parallel.
type walk struct {
	sys   *System
	rules *ruleIndex
	scan  *scanner

	kept []bool
	from []node
	why  []string
	// needs are what an entry led to directly, whether or not it was there before.
	needs    map[node][]int
	recorded int

	// used and whole say how far each package is in: its data, or all of it.
	used, whole []bool
	// files lists each package's entries that are no directories.
	files [][]int
	// onlyData marks the packages with nothing to run and nothing to link to.
	onlyData []bool
	// usedFor and wholeFor mark the capabilities that were followed for the data
	// and for the whole of packages, and asked holds those that a package asks for.
	usedFor, wholeFor []bool
	asked             map[int32]map[int32]bool
	// commands are those that count in files, by the packages that list them.
	commands map[[mostOwners]int32]*commands
	// fired marks the rules that hold.
	fired []bool
	// libraries finds objects by what dlopen(3) calls them, programs packages by
	// the names of what they have to run.
	libraries map[string][]int
	programs  map[string][]int32

	wave []int
	// first is the first reached of the names of a file that has several, and swept
	// are the directories all of whose files are reached: a root filesystem may
	// have a million names for one file, or name one directory a million times.
	first map[file]int
	swept map[int]bool
	// resolved remembers what a literal path names.
	resolved map[string]target
}

// file is a file that has several names, as the packages that list one see it.
type file struct {
	dev, ino uint64
	owners   string
}

// isFirst reports whether an entry is the first name by which its content is read.
func (w *walk) isFirst(e int) bool {
	entry := w.sys.Entries[e]
	if entry.Nlink < 2 {
		return true
	}
	key := file{entry.Dev, entry.Ino, fmt.Sprint(w.sys.Owners[e])}
	if _, ok := w.first[key]; !ok {
		w.first[key] = e
	}
	return w.first[key] == e
}

type target struct {
	entry int
	links []int
	ok    bool
}

func newWalk(sys *System, rules []rule) *walk {
	n := len(sys.Entries)
	w := &walk{
		sys: sys, rules: indexRules(sys, rules), scan: &scanner{tops: map[string]bool{}},
		kept: make([]bool, n), from: make([]node, n), why: make([]string, n), needs: map[node][]int{},
		used: make([]bool, len(sys.Packages)), whole: make([]bool, len(sys.Packages)),
		files: make([][]int, len(sys.Packages)), fired: make([]bool, len(rules)),
		usedFor: make([]bool, len(sys.Relations.Providers)), wholeFor: make([]bool, len(sys.Relations.Providers)), asked: map[int32]map[int32]bool{}, commands: map[[mostOwners]int32]*commands{},
		libraries: map[string][]int{}, resolved: map[string]target{},
		first: map[file]int{}, swept: map[int]bool{},
	}
	for i, e := range sys.Entries {
		w.from[i] = noNode
		if strings.LastIndexByte(e.Path, '/') == 0 && e.Path != "/" {
			w.scan.tops[e.Path[1:]] = true
		}
		if e.Kind != rootfs.Directory {
			for _, o := range sys.Owners[i] {
				w.files[o] = append(w.files[o], i)
			}
		}
		if obj := sys.Objects[e.Path]; obj != nil && obj.Kind == linkage.Library {
			for _, name := range slices.Compact([]string{e.Name(), obj.Soname}) {
				if name != "" {
					w.libraries[name] = append(w.libraries[name], i)
				}
			}
		}
	}
	w.indexPackages()
	return w
}

// begin reaches the roots.
func (w *walk) begin(opts Options) {
	for _, r := range opts.Roots {
		w.reach(r.Entry, noNode, r.Why)
		if r.Whole {
			for _, o := range w.sys.Owners[r.Entry] {
				w.takeWhole(int(o), node(r.Entry), "is of the package "+w.sys.Packages[o].Name+" as is")
			}
		}
	}
	for p, pkg := range w.sys.Packages {
		if opts.Named(pkg) && !w.rules.builds[p] || pkg.Manual() && !w.rules.unnamed[p] {
			w.takeWhole(p, noNode, "is of the package "+pkg.Name+", which is installed by name")
		}
	}
	for _, i := range w.rules.always {
		w.fire(i, noNode)
	}
	for _, d := range w.sys.Resolver.Preloads() {
		for _, f := range d.Files {
			w.reachFile(f, noNode, "is preloaded into every program")
		}
	}
}

func (w *walk) packageNode(p int) node { return node(len(w.sys.Entries) + p) }

// reach keeps an entry.
func (w *walk) reach(entry int, from node, why string) {
	if w.kept[entry] || w.sys.Gone(entry) {
		return
	}
	w.kept[entry], w.from[entry], w.why[entry] = true, from, why
	w.wave = append(w.wave, entry)
}

// follow records that a node needs an entry and reaches it with its links.
func (w *walk) follow(from node, entry int, links []int, why string) {
	for _, l := range links {
		w.reach(l, from, why)
	}
	if w.reach(entry, from, why); w.kept[entry] && w.recorded < maxNeeds {
		w.recorded++
		w.needs[from] = append(w.needs[from], entry)
	}
}

func (w *walk) reachFile(f linkage.File, from node, why string) {
	entry, ok := w.sys.Index[f.Path]
	if !ok {
		return
	}
	var links []int
	for _, l := range f.Links {
		if i, ok := w.sys.Index[l]; ok {
			links = append(links, i)
		}
	}
	w.follow(from, entry, links, why)
}

// batch is how many files are read before what was found in them is followed, which
// bounds the memory that it takes.
const batch = 256

// run goes on until nothing new is reached.
func (w *walk) run(ctx context.Context) error {
	for len(w.wave) > 0 {
		wave := w.wave
		w.wave = nil
		slices.Sort(wave)
		var jobs []job
		for _, e := range wave {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			w.visit(e)
			if j, ok := w.jobOf(e); ok {
				jobs = append(jobs, j)
			}
		}
		for some := range slices.Chunk(jobs, batch) {
			found, err := w.scan.scanAll(ctx, w.sys, some)
			if err != nil {
				return err
			}
			for k, j := range some {
				w.named(j.entry, found[k])
			}
		}
	}
	return nil
}

// jobOf says what is looked for in a file, if anything. A file with several names
// is read once.
func (w *walk) jobOf(e int) (job, bool) {
	entry := w.sys.Entries[e]
	if entry.Kind != rootfs.Regular || entry.Size <= 3 {
		return job{}, false
	}
	j := job{entry: e, names: !w.rules.unread[e], shell: w.isShellScript(e)}
	if !j.names && !j.shell || !w.isFirst(e) {
		return job{}, false
	}
	if j.names {
		j.words = w.commandsOf(e)
	}
	return j, true
}

// visit follows what is known of an entry without its content.
func (w *walk) visit(e int) {
	entry := w.sys.Entries[e]
	for _, r := range w.rules.byEntry[e] {
		w.fire(r, node(e))
	}
	if entry.Kind == rootfs.Directory {
		return
	}
	if !w.isDirectoryLink(e) {
		for _, o := range w.sys.Owners[e] {
			w.use(int(o), node(e))
		}
	}
	switch entry.Kind {
	case rootfs.Symlink:
		if t, links, ok := w.sys.Find(entry.Path); ok && w.sys.Entries[t].Kind != rootfs.Directory {
			w.follow(node(e), t, links, "is a link to")
		} else if ok && path.Dir(entry.Path) == "/usr/share/doc" {
			// The licence of one package may lie with another.
			for _, l := range w.sys.match(w.sys.Entries[t].Path + "/copyright") {
				w.follow(node(e), l, links, "has its licence in")
			}
		}
	case rootfs.Regular:
		if obj := w.sys.Objects[entry.Path]; obj != nil {
			w.visitObject(e, obj)
		}
		if path.Ext(entry.Path) == ".py" {
			w.reachByteCode(e)
		}
		if s, ok := w.sys.Scripts[entry.Path]; ok {
			for _, name := range []string{s.Interp, s.Program} {
				if t, links, ok := w.sys.LookPath(name); ok {
					w.follow(node(e), t, links, "is run by")
				}
			}
		}
	}
}

// isDirectoryLink reports whether an entry is a link to a directory, which says
// nothing about the packages that list it: many list /lib.
func (w *walk) isDirectoryLink(e int) bool {
	if w.sys.Entries[e].Kind != rootfs.Symlink || len(w.sys.Owners[e]) < 2 {
		return false
	}
	t, _, ok := w.sys.Find(w.sys.Entries[e].Path)
	return ok && w.sys.Entries[t].Kind == rootfs.Directory
}

// reachByteCode keeps what Python compiled of a module when the module was
// installed: no package lists it.
func (w *walk) reachByteCode(e int) {
	dir, file := path.Split(w.sys.Entries[e].Path)
	prefix := dir + "__pycache__/" + strings.TrimSuffix(file, "py")
	for i := w.sys.lowerBound(prefix); i < len(w.sys.Entries) && strings.HasPrefix(w.sys.Entries[i].Path, prefix); i++ {
		w.reach(i, node(e), "was compiled to")
	}
}

func (w *walk) visitObject(e int, obj *linkage.Object) {
	for _, d := range w.sys.Resolver.Dependencies(w.sys.Entries[e].Path) {
		why := "links to"
		switch d.Kind {
		case linkage.Interpreter:
			why = "is started by"
		case linkage.Dlopen:
			why = "says that it may load"
		}
		for _, f := range slices.Concat(d.Files, d.Candidates) {
			w.reachFile(f, node(e), why)
		}
	}
	for _, s := range obj.Imports {
		for _, r := range w.rules.bySymbol[s] {
			if !w.rules.except[r][e] {
				w.fire(r, node(e))
			}
		}
	}
}

// fire makes a rule hold.
func (w *walk) fire(i int, from node) {
	if w.fired[i] {
		return
	}
	w.fired[i] = true
	r := w.rules.rules[i]
	why := "needs, by the rule " + r.Name + ","
	for _, g := range r.Keep {
		for _, e := range w.sys.matchRule(g) {
			if !w.rules.development[e] {
				w.reach(e, from, why)
			}
		}
	}
	for p, pkg := range w.sys.Packages {
		if matchName(r.Packages, pkg.Name) {
			w.takeWhole(p, from, why)
		}
	}
}

// named follows the names that stand in a file.
func (w *walk) named(e int, n names) {
	for _, p := range n.paths {
		w.namedPath(e, p)
	}
	for _, l := range n.libraries {
		for _, t := range w.libraries[l] {
			if w.public(t) && w.sameABI(e, t) && !w.rules.only[t] {
				if i, links, ok := w.sys.Find(path.Join(path.Dir(w.sys.Entries[t].Path), l)); ok {
					w.follow(node(e), i, links, "names the library")
				}
			}
		}
	}
	for _, name := range n.words {
		if t, links, ok := w.sys.LookPath(name); ok && !w.rules.only[t] {
			w.follow(node(e), t, links, "names the command")
		}
	}
	for _, name := range n.runs {
		if t, links, ok := w.sys.LookPath(name); ok && w.isProgram(t) {
			w.follow(node(e), t, links, "runs")
		}
	}
}

func (w *walk) namedPath(e int, p string) {
	if rules := w.rules.byName[path.Clean(p)]; len(rules) > 0 {
		if obj := w.sys.Objects[w.sys.Entries[e].Path]; obj != nil && obj.Static() {
			for _, r := range rules {
				w.fire(r, node(e))
			}
		}
	}
	t, ok := w.resolved[p]
	if !ok {
		clean := path.Clean(p)
		t.entry, t.links, t.ok = w.sys.Find(clean)
		if !t.ok {
			// A sentence may end after the path.
			if short := strings.TrimRight(clean, ".-+~"); short != clean && short != "/" {
				t.entry, t.links, t.ok = w.sys.Find(short)
			}
		}
		if len(w.resolved) == maxResolved {
			clear(w.resolved)
		}
		w.resolved[p] = t
	}
	if !t.ok || t.entry == e || w.rules.only[t.entry] || w.rules.development[t.entry] {
		return
	}
	entry := w.sys.Entries[t.entry]
	if entry.Kind != rootfs.Directory {
		w.follow(node(e), t.entry, t.links, "names")
		return
	}
	if isShared(entry.Path) {
		return
	}
	for _, l := range t.links {
		w.reach(l, node(e), "names")
	}
	w.reach(t.entry, node(e), "names")
	if w.swept[t.entry] {
		return
	}
	w.swept[t.entry] = true
	prefix := entry.Path + "/"
	for i := w.sys.lowerBound(prefix); i < len(w.sys.Entries) && strings.HasPrefix(w.sys.Entries[i].Path, prefix); i++ {
		if !w.rules.only[i] && !w.rules.development[i] {
			w.reach(i, node(e), "names the directory of")
		}
	}
}

// public reports whether a library lies where the loader looks for it.
func (w *walk) public(t int) bool {
	return isLibraryDir(path.Dir(w.sys.Entries[t].Path))
}

// sameABI reports whether a file could load a library: a script could load any.
func (w *walk) sameABI(e, library int) bool {
	obj := w.sys.Objects[w.sys.Entries[e].Path]
	return obj == nil || obj.ABI == w.sys.Objects[w.sys.Entries[library].Path].ABI
}
