package hardening

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/temper-images/temper/hardening/packages"
	"github.com/temper-images/temper/hardening/rootfs"
	"github.com/temper-images/temper/hardening/spec"
)

// plan is the whole decision about one root filesystem.
type plan struct {
	inv   *inventory
	graph *graph
	// class holds why an entry goes; an entry without class stays.
	class   map[int]string
	account *account
	copy    rootfs.Plan
	changes []spec.Change
	// packageFiles counts, for each package, its files that are no directories,
	// before and after.
	packageFiles [][2]int
	// recordKept says, for each package, whether its record stays.
	recordKept []bool
}

// makePlan decides everything before anything is written.
func makePlan(ctx context.Context, inv *inventory, s spec.Settings) (*plan, error) {
	roots, err := inv.roots(s)
	if err != nil {
		return nil, err
	}
	p := &plan{inv: inv, graph: newGraph(inv, s), class: map[int]string{}}
	if err := p.checkCommands(s); err != nil {
		return nil, err
	}
	p.graph.decide(roots)
	p.removeUnits()
	p.removeClasses(newClassifier(s))
	p.removeByteCode()
	p.removeDanglingLinks()
	p.account, err = inv.chooseUser(s)
	if err != nil {
		return nil, err
	}
	p.copy = rootfs.Plan{Override: map[string]rootfs.Metadata{}, Contents: p.account.contents, Add: p.account.added}
	if p.copy.Contents == nil {
		p.copy.Contents = map[string][]byte{}
	}
	if err := p.rewritePackages(ctx); err != nil {
		return nil, err
	}
	p.removeEmptyDirectories()
	if err := p.setOwners(s); err != nil {
		return nil, err
	}
	if err := p.clearSetUID(s); err != nil {
		return nil, err
	}
	p.addParents()
	p.describeContents()
	p.copy.Keep = func(e *rootfs.Entry) bool { return p.keeps(inv.index[e.Path]) }
	return p, nil
}

func (p *plan) keeps(i int) bool { _, gone := p.class[i]; return !gone }

// checkCommands refuses an image whose own command would be removed.
func (p *plan) checkCommands(s spec.Settings) error {
	for _, c := range []struct {
		name string
		argv []string
	}{{"ENTRYPOINT", s.Image.Entrypoint}, {"CMD", s.Image.Cmd}, {"HEALTHCHECK", healthcheckCommand(s.Image.Healthcheck)}} {
		if len(c.argv) == 0 {
			continue
		}
		entry, links, ok := p.inv.lookPath(c.argv[0], s.Image.Env, s.Image.WorkingDir)
		if !ok {
			continue
		}
		if sc, isScript := p.inv.scripts[p.inv.entries[entry].Path]; isScript && s.Shell == spec.ShellRemove && isShellName(sc) {
			return &CommandError{Instruction: c.name, Command: c.argv[0], Why: "is a shell script, and harden.shell is \"remove\""}
		}
		for _, i := range append([]int{entry}, links...) {
			name := p.inv.entries[i].Path
			switch {
			case isManagerProgram(name):
				return &CommandError{Instruction: c.name, Command: c.argv[0], Why: "is a package manager, which hardening removes"}
			case s.Shell == spec.ShellRemove && isShellProgram(name) && c.name != "CMD":
				return &CommandError{Instruction: c.name, Command: c.argv[0], Why: "is a shell, and harden.shell is \"remove\"; use the exec form"}
			case s.Shell == spec.ShellRemove && isShellProgram(name) && len(s.Image.Entrypoint) == 0:
				return &CommandError{Instruction: c.name, Command: c.argv[0], Why: "is a shell, and harden.shell is \"remove\"; use the exec form"}
			}
		}
	}
	return nil
}

// CommandError says that the image's own command could not run after
// hardening.
type CommandError struct {
	// Instruction is the Dockerfile's, Command the first word of its value.
	Instruction, Command string
	Why                  string
}

func (e *CommandError) Error() string {
	return fmt.Sprintf("%s %q %s", e.Instruction, e.Command, e.Why)
}

// removeUnits removes package managers and what only they needed.
func (p *plan) removeUnits() {
	for i, e := range p.inv.entries {
		if e.Path == "/" {
			continue
		}
		gone := true
		class := ""
		units := p.graph.units(i)
		if owners := p.inv.owners[i]; e.Kind == rootfs.Directory && len(owners) > 0 {
			// A directory follows the packages that list it, and never alone.
			units = units[:0]
			for _, o := range owners {
				units = append(units, unit(o))
			}
		}
		if e.Kind == rootfs.Directory && inManagerTree(e.Path) {
			p.class[i] = classManager
			continue
		}
		for _, u := range units {
			switch p.graph.states[u] {
			case stateSeed:
				class = p.graph.classOf[u]
			case stateCandidate:
				if class == "" {
					class = classOrphan
				}
			default:
				gone = false
			}
		}
		if gone && class != "" {
			p.class[i] = class
		}
	}
}

// removeClasses removes the files that no program needs to run.
func (p *plan) removeClasses(c classifier) {
	for i, e := range p.inv.entries {
		if _, gone := p.class[i]; gone || p.graph.required[i] {
			continue
		}
		// The documentation directory of one package may be a link to that of
		// another, with the licence in it; the link follows its target.
		if e.Kind == rootfs.Symlink && path.Dir(e.Path) == "/usr/share/doc" {
			continue
		}
		if class, ok := c.class(e, len(p.inv.owners[i]) > 0 || len(p.inv.packages) == 0); ok {
			p.class[i] = class
		}
	}
}

// removeByteCode removes compiled Python modules that no package owns, since the
// package manager's hooks made them, together with their sources.
func (p *plan) removeByteCode() {
	for i, e := range p.inv.entries {
		dir := path.Dir(e.Path)
		if e.Kind != rootfs.Regular || len(p.inv.owners[i]) > 0 || path.Base(dir) != "__pycache__" {
			continue
		}
		module, _, _ := strings.Cut(path.Base(e.Path), ".")
		source, ok := p.inv.index[path.Join(path.Dir(dir), module+".py")]
		if !ok {
			continue
		}
		if class, gone := p.class[source]; gone {
			p.class[i] = class
			if d := p.inv.index[dir]; len(p.inv.owners[d]) == 0 {
				p.class[d] = class
			}
		}
	}
}

// removeDanglingLinks removes the links whose target went, since a link to
// nothing is of no use. A removed link may leave others dangling.
func (p *plan) removeDanglingLinks() {
	type link struct {
		entry int
		via   []int
	}
	var links []link
	for i, e := range p.inv.entries {
		if e.Kind != rootfs.Symlink || !p.keeps(i) {
			continue
		}
		if target, via, ok := p.inv.find(e.Path); ok {
			links = append(links, link{entry: i, via: append(via, target)})
		}
	}
	for _, l := range links {
		for _, v := range l.via {
			// A directory of a class goes only when nothing is left in it.
			if class, gone := p.class[v]; gone && p.inv.entries[v].Kind != rootfs.Directory {
				p.class[l.entry] = class
				break
			}
		}
	}
	p.removeEmptyDirectories()
	for _, l := range links {
		for _, v := range l.via {
			if class, gone := p.class[v]; gone && p.keeps(l.entry) {
				p.class[l.entry] = class
				break
			}
		}
	}
}

// rewritePackages reduces the package databases to the packages that still
// have files, and counts those.
func (p *plan) rewritePackages(ctx context.Context) error {
	p.packageFiles = make([][2]int, len(p.inv.packages))
	p.recordKept = make([]bool, len(p.inv.packages))
	parents := map[string]string{}
	ids := make(map[*packages.Package]int, len(p.inv.packages))
	for i, pkg := range p.inv.packages {
		ids[pkg] = i
	}
	kept := func(pkg *packages.Package) []string {
		id := ids[pkg]
		var left []string
		files := 0
		for _, name := range pkg.Files {
			i, ok := p.inv.entryOf(name, parents)
			if !ok {
				continue
			}
			isFile := p.inv.isFileOfPackage(i)
			if isFile {
				p.packageFiles[id][0]++
			}
			if !p.keeps(i) {
				continue
			}
			left = append(left, name)
			if isFile {
				files++
			}
		}
		p.packageFiles[id][1] = files
		p.recordKept[id] = files > 0 || pkg.FilesUnknown != ""
		if files == 0 {
			return nil
		}
		return left
	}
	for _, db := range p.inv.databases {
		if db.Damaged != "" {
			p.keepTree(db.Location)
			continue
		}
		rw, err := db.Rewrite(ctx, kept)
		if err != nil {
			return err
		}
		p.keepTree(db.Location)
		for _, tree := range rw.Remove {
			p.dropTree(tree)
		}
		for _, f := range rw.Files {
			p.setContents(f)
		}
	}
	return nil
}

// keepTree takes a database's directory out of the package manager's state,
// so that the database alone says what of it goes.
func (p *plan) keepTree(dir string) {
	if i, ok := p.inv.index[dir]; ok {
		delete(p.class, i)
	}
	for _, i := range p.inv.below(dir) {
		delete(p.class, i)
	}
}

func (p *plan) dropTree(dir string) {
	if i, ok := p.inv.index[dir]; ok {
		p.class[i] = classManager
	}
	for _, i := range p.inv.below(dir) {
		p.class[i] = classManager
	}
}

// setContents replaces a file, or adds one that takes over another's metadata.
func (p *plan) setContents(f packages.File) {
	if i, ok := p.inv.index[f.Path]; ok && p.inv.entries[i].Kind == rootfs.Regular {
		delete(p.class, i)
		p.copy.Contents[f.Path] = f.Contents
		return
	}
	entry := rootfs.NewEntry{Path: f.Path, Kind: rootfs.Regular, Metadata: rootfs.Metadata{Mode: 0o644}, Contents: f.Contents}
	if i, ok := p.inv.index[f.Like]; ok {
		entry.Metadata, entry.ModTime = p.inv.entries[i].Metadata(), p.inv.entries[i].ModTime
	}
	p.copy.Add = append(p.copy.Add, entry)
}

// removeEmptyDirectories decides about directories after their contents: one
// of a removed class, or of removed packages alone, goes unless something in
// it stays. Every other directory stays, also an empty one: a program may
// expect it.
func (p *plan) removeEmptyDirectories() {
	holds := map[string]bool{}
	for _, e := range p.copy.Add {
		holds[path.Dir(e.Path)] = true
	}
	for i := len(p.inv.entries) - 1; i > 0; i-- {
		e := p.inv.entries[i]
		if e.Kind == rootfs.Directory {
			if _, gone := p.class[i]; gone && holds[e.Path] {
				delete(p.class, i)
			}
		}
		if p.keeps(i) {
			holds[path.Dir(e.Path)] = true
		}
	}
}

// setOwners gives the image's user what it must be able to write.
func (p *plan) setOwners(s spec.Settings) error {
	u := p.account.user
	owned, missing, err := p.inv.writable(s, u)
	if err != nil {
		return err
	}
	for _, i := range owned {
		e := p.inv.entries[i]
		if !p.keeps(i) || e.Kind == rootfs.Symlink {
			continue
		}
		if e.UID == uint32(u.UID) && e.GID == uint32(u.GID) {
			continue
		}
		m := e.Metadata()
		m.UID, m.GID = uint32(u.UID), uint32(u.GID)
		p.copy.Override[e.Path] = m
		p.changes = append(p.changes, spec.Change{
			Path: e.Path, What: spec.ChangeOwner, Before: fmt.Sprintf("%d:%d", e.UID, e.GID), After: fmt.Sprintf("%d:%d", m.UID, m.GID),
		})
	}
	for _, dir := range missing {
		p.copy.Add = append(p.copy.Add, rootfs.NewEntry{
			Path: p.inv.place(dir), Kind: rootfs.Directory, Metadata: rootfs.Metadata{UID: uint32(u.UID), GID: uint32(u.GID), Mode: 0o755},
		})
	}
	return nil
}

// place returns where a path that does not exist would be made: the part of it
// that exists is followed, the rest is appended.
func (inv *inventory) place(p string) string {
	rest := ""
	for dir := p; ; {
		if i, _, ok := inv.find(dir); ok {
			return path.Join(inv.entries[i].Path, rest)
		}
		rest = path.Join(path.Base(dir), rest)
		dir = path.Dir(dir)
	}
}

// clearSetUID takes the set-uid and set-gid bits from files. On a directory
// set-gid means inheritance, which grants nothing.
func (p *plan) clearSetUID(s spec.Settings) error {
	allowed := map[int]bool{}
	for _, rule := range s.SetUID {
		i, _, ok := p.inv.find(path.Clean(rule))
		if !ok {
			return &RuleError{Field: "harden.setuid", Rule: rule, Why: "is not in the runtime stage; mend the path or remove the rule"}
		}
		allowed[i] = true
	}
	for i, e := range p.inv.entries {
		if e.Kind != rootfs.Regular || e.Mode&0o6000 == 0 || allowed[i] || !p.keeps(i) {
			continue
		}
		m, ok := p.copy.Override[e.Path]
		if !ok {
			m = e.Metadata()
		}
		m.Mode &^= 0o6000
		p.copy.Override[e.Path] = m
		p.changes = append(p.changes, spec.Change{
			Path: e.Path, What: spec.ChangeSetUID, Before: fmt.Sprintf("%04o", e.Mode), After: fmt.Sprintf("%04o", m.Mode),
		})
	}
	return nil
}

// addParents makes the directories that added entries lie in, where the copy
// has none.
func (p *plan) addParents() {
	added := map[string]bool{}
	for _, e := range p.copy.Add {
		added[e.Path] = true
	}
	for k := 0; k < len(p.copy.Add); k++ {
		for dir := path.Dir(p.copy.Add[k].Path); dir != "/" && !added[dir]; dir = path.Dir(dir) {
			if i, ok := p.inv.index[dir]; ok {
				delete(p.class, i)
				continue
			}
			added[dir] = true
			p.copy.Add = append(p.copy.Add, rootfs.NewEntry{Path: dir, Kind: rootfs.Directory, Metadata: rootfs.Metadata{Mode: 0o755}})
		}
	}
	for k := range p.copy.Add {
		// A fixed time, since the time of the root directory may be the clock's.
		if p.copy.Add[k].ModTime.IsZero() {
			p.copy.Add[k].ModTime = time.Unix(0, 0)
		}
	}
	slices.SortFunc(p.copy.Add, func(a, b rootfs.NewEntry) int { return strings.Compare(a.Path, b.Path) })
}

// describeContents records the entries whose contents hardening wrote.
func (p *plan) describeContents() {
	for name := range p.copy.Contents {
		p.changes = append(p.changes, spec.Change{Path: name, What: spec.ChangeRewritten})
	}
	for _, e := range p.copy.Add {
		p.changes = append(p.changes, spec.Change{Path: e.Path, What: spec.ChangeCreated})
	}
	slices.SortFunc(p.changes, func(a, b spec.Change) int {
		if c := strings.Compare(a.Path, b.Path); c != 0 {
			return c
		}
		return strings.Compare(a.What, b.What)
	})
}
