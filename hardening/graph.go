package hardening

import (
	"slices"

	"github.com/temper-images/temper/hardening/linkage"
	"github.com/temper-images/temper/hardening/packages"
	"github.com/temper-images/temper/hardening/rootfs"
	"github.com/temper-images/temper/hardening/spec"
)

// A unit is what is kept or removed as a whole: a package, or a single file
// that no package owns or that belongs to a package manager. Units below
// len(inventory.packages) are packages, the rest are entries shifted by it.
type unit int32

type state uint8

const (
	stateKept state = iota
	// stateSeed is a package manager's own file, or the package itself.
	stateSeed
	// stateCandidate is what a seed needs, until something kept needs it too.
	stateCandidate
	// stateRescued is a seed's library that something kept links to.
	stateRescued
)

// edge says that a unit needs an entry, and with it the units that it belongs to.
type edge struct {
	entry int32
	// via says how, for example "links to".
	via string
}

// graph holds the units of a root filesystem and decides which of them only
// package managers needed.
type graph struct {
	inv       *inventory
	settings  spec.Settings
	relations *packages.Relations

	edges  map[unit][]edge
	states map[unit]state
	// parents holds, for a candidate, the unit and edge that first led to it.
	parents map[unit]cause
	// seedPackages marks the packages whose files are seeds.
	seedPackages []bool
	// classOf names the class of a seed: a package manager or a shell.
	classOf map[unit]string
	// required holds entries that are kept whatever class they have.
	required map[int]bool

	installed map[string]bool
}

type cause struct {
	from unit
	via  string
}

func (g *graph) fileUnit(entry int) unit { return unit(len(g.inv.packages) + entry) }

func (g *graph) entryOfUnit(u unit) (int, bool) {
	if int(u) < len(g.inv.packages) {
		return 0, false
	}
	return int(u) - len(g.inv.packages), true
}

// units returns the units that an entry belongs to: its owners, or itself.
func (g *graph) units(entry int) []unit {
	owners := g.inv.owners[entry]
	if u := g.fileUnit(entry); len(owners) == 0 || g.states[u] == stateSeed || g.states[u] == stateRescued {
		return []unit{u}
	}
	us := make([]unit, 0, len(owners))
	for _, o := range owners {
		if g.seedPackages[o] {
			us = append(us, g.fileUnit(entry))
		} else {
			us = append(us, unit(o))
		}
	}
	return us
}

// newGraph builds the units and what they need.
func newGraph(inv *inventory, s spec.Settings) *graph {
	g := &graph{
		inv: inv, settings: s, relations: inv.relate(),
		edges: map[unit][]edge{}, states: map[unit]state{}, parents: map[unit]cause{}, classOf: map[unit]string{},
		seedPackages: make([]bool, len(inv.packages)), required: map[int]bool{}, installed: map[string]bool{},
	}
	for _, name := range s.Installed {
		g.installed[name] = true
	}
	g.markSeeds()
	g.addFileEdges()
	return g
}

// markSeeds marks what is a package manager or, when shells go, a shell.
func (g *graph) markSeeds() {
	for i, pkg := range g.inv.packages {
		switch {
		case matchName(managerPackages[pkg.Type], pkg.Name):
			g.classOf[unit(i)] = classManager
		case g.settings.Shell == spec.ShellRemove && matchName(shellPackages, pkg.Name):
			g.classOf[unit(i)] = classShell
		default:
			continue
		}
		g.seedPackages[i] = true
		g.states[unit(i)] = stateSeed
	}
	for i, e := range g.inv.entries {
		u := g.fileUnit(i)
		if class, ok := g.seedClass(i, e); ok {
			g.states[u], g.classOf[u] = stateSeed, class
		}
	}
}

// seedClass says whether one entry is a seed. A directory is one only in a
// package manager's own tree: a package lists /usr among its files too.
func (g *graph) seedClass(i int, e *rootfs.Entry) (string, bool) {
	if e.Kind == rootfs.Directory {
		return classManager, inManagerTree(e.Path)
	}
	if isManagerProgram(e.Path) || inManagerTree(e.Path) {
		return classManager, true
	}
	if g.settings.Shell == spec.ShellRemove && isShellProgram(e.Path) {
		return classShell, true
	}
	owners := g.inv.owners[i]
	if len(owners) == 0 {
		return "", false
	}
	for _, o := range owners {
		if !g.seedPackages[o] {
			return "", false
		}
	}
	return g.classOf[unit(owners[0])], true
}

// addFileEdges adds what files need: libraries and interpreters.
func (g *graph) addFileEdges() {
	for i, e := range g.inv.entries {
		if e.Kind == rootfs.Symlink && len(g.inv.owners[i]) > 0 {
			if target, links, ok := g.inv.find(e.Path); ok && g.inv.entries[target].Kind != rootfs.Directory {
				g.needEntry(i, target, links, "links to")
			}
			continue
		}
		if _, ok := g.inv.objects[e.Path]; ok {
			for _, dep := range g.inv.resolver.Dependencies(e.Path) {
				for _, f := range slices.Concat(dep.Files, dep.Candidates) {
					g.need(i, f.Path, f.Links, "links to")
				}
			}
		}
		if s, ok := g.inv.scripts[e.Path]; ok {
			for _, name := range []string{s.Interp, s.Program} {
				if target, links, ok := g.inv.lookPath(name, g.settings.Image.Env, ""); ok {
					g.needEntry(i, target, links, "is run by")
				}
			}
		}
	}
}

func (g *graph) need(from int, target string, links []string, via string) {
	t, ok := g.inv.index[target]
	if !ok {
		return
	}
	ids := make([]int, 0, len(links))
	for _, l := range links {
		ids = append(ids, g.inv.index[l])
	}
	g.needEntry(from, t, ids, via)
}

func (g *graph) needEntry(from, target int, links []int, via string) {
	for _, t := range append([]int{target}, links...) {
		several := len(g.inv.owners[t]) > 1
		for _, u := range g.units(from) {
			// That a package's file leads to another of its own says nothing of either.
			if several || g.units(t)[0] != u {
				g.edges[u] = append(g.edges[u], edge{entry: int32(t), via: via})
			}
		}
	}
}

// sweep is one way through the graph. What a capability or an entry leads to is
// the same from wherever it is reached, so each is followed once: a thousand
// packages may list a thousand files together.
type sweep struct {
	graph        *graph
	capabilities []bool
	entries      map[int32]bool
}

func (g *graph) sweep() *sweep {
	return &sweep{graph: g, capabilities: make([]bool, len(g.relations.Providers)), entries: map[int32]bool{}}
}

// follow visits what a unit needs and was not visited before. The entry is -1
// where the whole unit is needed.
func (w *sweep) follow(u unit, visit func(to unit, entry int, via string)) {
	g := w.graph
	if int(u) < len(g.inv.packages) {
		for r, asked := range [][]int32{g.relations.Depends[u], g.relations.Recommends[u]} {
			via := "depends on"
			if r == 1 {
				via = "recommends"
			}
			for _, c := range asked {
				if w.capabilities[c] {
					continue
				}
				w.capabilities[c] = true
				for _, p := range g.relations.Providers[c] {
					visit(unit(p), -1, via)
				}
			}
		}
	}
	for _, e := range g.edges[u] {
		if w.entries[e.entry] {
			continue
		}
		w.entries[e.entry] = true
		for _, v := range g.units(int(e.entry)) {
			visit(v, int(e.entry), e.via)
		}
	}
}

// decide settles every unit's state: what the seeds need is a candidate, and
// each candidate that something kept needs is kept after all. Reachability
// instead of counting, so that a circle of packages does not hold itself.
func (g *graph) decide(roots []int) {
	var queue []unit
	for u, s := range g.states {
		if s == stateSeed {
			queue = append(queue, u)
		}
	}
	slices.Sort(queue)
	for s := g.sweep(); len(queue) > 0; {
		u := queue[0]
		queue = queue[1:]
		s.follow(u, func(to unit, _ int, via string) {
			if _, seen := g.states[to]; seen || !g.mayBeOrphan(to) {
				return
			}
			g.states[to] = stateCandidate
			g.parents[to] = cause{from: u, via: via}
			queue = append(queue, to)
		})
	}
	g.keepFrom(roots)
}

// keepFrom walks from everything that stays and keeps what it reaches.
func (g *graph) keepFrom(roots []int) {
	var queue []unit
	for _, r := range roots {
		g.required[r] = true
		if g.inv.entries[r].Kind == rootfs.Directory && len(g.inv.owners[r]) != 1 {
			continue // a directory that packages share needs none of them
		}
		for _, u := range g.units(r) {
			queue = append(queue, g.rescue(u, r)...)
		}
	}
	for i := range g.inv.packages {
		if g.states[unit(i)] == stateKept {
			queue = append(queue, unit(i))
		}
	}
	for i := range g.inv.entries {
		if u := g.fileUnit(i); len(g.edges[u]) > 0 && g.states[u] == stateKept {
			queue = append(queue, u)
		}
	}
	for s := g.sweep(); len(queue) > 0; {
		u := queue[0]
		queue = queue[1:]
		s.follow(u, func(to unit, entry int, _ string) {
			if entry >= 0 {
				g.required[entry] = true
			}
			queue = append(queue, g.rescue(to, entry)...)
		})
	}
}

// rescue keeps a unit that something kept needs, and returns it when what it
// needs in turn has still to be followed.
func (g *graph) rescue(u unit, entry int) []unit {
	switch g.states[u] {
	case stateCandidate:
		g.states[u] = stateKept
		delete(g.parents, u)
		return []unit{u}
	case stateSeed:
		// A package manager's program is never kept, but its package may hold
		// a library, or a program that is no package manager.
		if entry >= 0 && g.rescuable(entry) {
			g.states[u] = stateRescued
			return []unit{u}
		}
	}
	return nil
}

func (g *graph) rescuable(entry int) bool {
	e := g.inv.entries[entry]
	return !isManagerProgram(e.Path) && !inManagerTree(e.Path) &&
		(g.settings.Shell == spec.ShellKeep || !isShellProgram(e.Path))
}

// mayBeOrphan says whether a unit can go because only package managers needed
// it. A file that no package owns was put there on purpose, so it stays, unless
// the root filesystem has no packages at all and it is a library.
func (g *graph) mayBeOrphan(u unit) bool {
	if entry, ok := g.entryOfUnit(u); ok {
		if len(g.inv.packages) > 0 {
			return false
		}
		e := g.inv.entries[entry]
		obj := g.inv.objects[e.Path]
		return e.Kind == rootfs.Symlink || obj != nil && obj.Kind == linkage.Library
	}
	pkg := g.inv.packages[u]
	return !pkg.Essential && !g.installed[pkg.Name] && !pkg.Manual() && !matchName(ambientPackages, pkg.Name)
}

// chain tells why a unit is an orphan, from the package manager to it.
func (g *graph) chain(u unit) []string {
	var steps []string
	for range 64 {
		c, ok := g.parents[u]
		if !ok {
			break
		}
		steps = append(steps, g.name(c.from)+" "+c.via+" "+g.name(u))
		u = c.from
	}
	slices.Reverse(steps)
	return steps
}

func (g *graph) name(u unit) string {
	if entry, ok := g.entryOfUnit(u); ok {
		return g.inv.entries[entry].Path
	}
	return g.inv.packages[u].Name
}
