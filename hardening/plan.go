package hardening

import (
	"context"
	"fmt"
	"path"
	"strings"

	"github.com/temper-images/temper/hardening/closure"
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
	// reachable is what the application reaches, at level minimal.
	reachable *closure.Result
	// recordKept says, for each package, whether its record stays.
	recordKept []bool
}

// makePlan decides everything before anything is written.
func makePlan(ctx context.Context, inv *inventory, s spec.Settings) (*plan, error) {
	rules, err := inv.matchRules(s)
	if err != nil {
		return nil, err
	}
	roots, err := inv.roots(s, rules)
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
	p.removeByRule(rules)
	p.removeByteCode(s.Sources)
	if s.Level == spec.LevelMinimal {
		if err := p.removeUnreachable(ctx, s, rules); err != nil {
			return nil, err
		}
	}
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

// removeByRule removes what harden.remove names and nothing else has removed.
func (p *plan) removeByRule(rules *ruleSet) {
	for i := range rules.remove {
		if p.keeps(i) {
			p.class[i] = classRule
		}
	}
}

// removeByteCode removes compiled Python modules that no package owns, since the
// package manager's hooks made them, together with their sources; and where only
// sources are wanted, those that Python can compile again.
func (p *plan) removeByteCode(onlySources bool) {
	for i, e := range p.inv.entries {
		dir := path.Dir(e.Path)
		if e.Kind != rootfs.Regular || path.Base(dir) != "__pycache__" || path.Ext(e.Path) != ".pyc" {
			continue
		}
		source, ok := p.inv.sourceOf(e.Path)
		if !ok {
			continue
		}
		class, gone := p.class[source]
		switch {
		case gone && len(p.inv.owners[i]) == 0:
		case !gone && onlySources && p.keeps(i) && !p.graph.required[i]:
			class = classByteCode
		default:
			continue
		}
		p.class[i] = class
		if d := p.inv.index[dir]; len(p.inv.owners[d]) == 0 {
			p.class[d] = class
		}
	}
}

// sourceOf finds the Python module of which a file in __pycache__ was compiled.
func (inv *inventory) sourceOf(p string) (int, bool) {
	module, _, _ := strings.Cut(path.Base(p), ".")
	i, ok := inv.index[path.Join(path.Dir(path.Dir(p)), module+".py")]
	return i, ok
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
