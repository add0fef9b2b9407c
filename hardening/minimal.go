package hardening

import (
	"context"
	"fmt"
	"maps"
	"path"
	"slices"

	"github.com/temper-images/temper/hardening/closure"
	"github.com/temper-images/temper/hardening/linkage"
	"github.com/temper-images/temper/hardening/packages"
	"github.com/temper-images/temper/hardening/rootfs"
	"github.com/temper-images/temper/hardening/spec"
)

// watched returns the symbols that the decision asks for, nil for none.
func watched(s spec.Settings) (*linkage.Watch, error) {
	if s.Level != spec.LevelMinimal {
		return nil, nil
	}
	names, err := closure.Symbols()
	if err != nil {
		return nil, err
	}
	return linkage.NewWatch(names...), nil
}

// removeUnreachable removes, of what is left, everything that the application
// cannot reach.
func (p *plan) removeUnreachable(ctx context.Context, s spec.Settings, rules *ruleSet) error {
	inv := p.inv
	roots, err := p.reachRoots(s, rules)
	if err != nil {
		return err
	}
	p.reachable, err = closure.Compute(ctx, &closure.System{
		Entries: inv.entries, Index: inv.index, Owners: inv.owners, Packages: inv.packages, Relations: p.graph.relations,
		Objects: inv.objects, Scripts: inv.scripts, Resolver: inv.resolver,
		Find:     inv.find,
		LookPath: func(name string) (int, []int, bool) { return inv.lookPath(name, s.Image.Env, s.Image.WorkingDir) },
		Open:     inv.tree.Open,
		Gone:     func(i int) bool { return !p.keeps(i) },
	}, closure.Options{Roots: roots, Named: func(pkg *packages.Package) bool { return p.graph.installed[pkg.Name] }})
	if err != nil {
		return fmt.Errorf("find what the application reaches: %w", err)
	}
	for i, e := range inv.entries {
		switch {
		case i == 0 || !p.keeps(i) || p.reachable.Kept[i] || p.graph.required[i] && e.Kind == rootfs.Directory || inv.inDatabase(e.Path):
		case p.reachable.Development[i]:
			p.class[i] = classDevelopment
		default:
			p.class[i] = classUnreachable
		}
	}
	return nil
}

// reachRoots returns what is needed for itself, with the reasons.
func (p *plan) reachRoots(s spec.Settings, rules *ruleSet) ([]closure.Root, error) {
	inv := p.inv
	var roots []closure.Root
	add := func(why string, whole bool) func(int, []int) {
		return func(entry int, links []int) {
			for _, l := range links {
				roots = append(roots, closure.Root{Entry: l, Why: why})
			}
			roots = append(roots, closure.Root{Entry: entry, Why: why, Whole: whole && !inv.ownedByBase(entry)})
		}
	}
	for _, c := range []struct {
		why  string
		argv []string
	}{{"is the entrypoint", s.Image.Entrypoint}, {"is the command", s.Image.Cmd}, {"is the health check", healthcheckCommand(s.Image.Healthcheck)}} {
		inv.addCommand(c.argv, s.Image, add(c.why, true))
	}
	for _, i := range slices.Sorted(maps.Keys(rules.keep)) {
		roots = append(roots, closure.Root{Entry: i, Why: "is kept by " + rules.keep[i].String()})
	}
	if s.Shell == spec.ShellKeep {
		if entry, links, ok := inv.find("/bin/sh"); ok {
			add("is the shell, which harden.shell keeps", false)(entry, links)
		}
	}
	generated, err := inv.generated()
	if err != nil {
		return nil, err
	}
	for i, e := range inv.entries {
		switch {
		case len(inv.owners[i]) > 0 || inManagerTree(e.Path) || e.Kind == rootfs.Directory || generated[i]:
		case e.Kind == rootfs.Symlink && isWeakLink(e):
		default:
			roots = append(roots, closure.Root{Entry: i, Why: "is of no package"})
		}
	}
	return roots, nil
}

// ownedByBase reports whether an entry is of a package that is part of every
// installation, which is more than one program.
func (inv *inventory) ownedByBase(entry int) bool {
	return slices.ContainsFunc(inv.owners[entry], func(o int32) bool { return inv.packages[o].Base() })
}

// generated marks what maintainer scripts made.
func (inv *inventory) generated() (map[int]bool, error) {
	if len(inv.packages) == 0 {
		return nil, nil
	}
	sys := &closure.System{Entries: inv.entries, Index: inv.index}
	marked, err := sys.Generated()
	if err != nil {
		return nil, err
	}
	for i := range marked {
		// Byte code without its source is somebody's program.
		if e := inv.entries[i]; path.Ext(e.Path) == ".pyc" {
			if source, ok := inv.sourceOf(e.Path); !ok || len(inv.owners[source]) == 0 {
				delete(marked, i)
			}
		}
	}
	return marked, nil
}
