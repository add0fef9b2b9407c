package hardening

import (
	"bufio"
	"bytes"
	"slices"
	"strings"

	"github.com/temper-images/temper/hardening/linkage"
	"github.com/temper-images/temper/hardening/rootfs"
	"github.com/temper-images/temper/hardening/spec"
)

// report describes a plan.
func (p *plan) report(s spec.Settings) *spec.Report {
	r := &spec.Report{
		Level: s.Level, Family: p.inv.family(), Distribution: p.inv.distribution(),
		Before: p.inv.totals(), User: p.account.user, Changed: p.changes, Notices: p.inv.notices,
	}
	r.After = p.totalsAfter()
	r.Removed = p.groups()
	r.Packages = p.packageStates()
	if p.reachable != nil {
		r.Reasons = p.reachable.Reasons()
	}
	return r
}

func (inv *inventory) family() string {
	for _, db := range inv.databases {
		switch db.Type {
		case "deb":
			return "debian"
		case "apk":
			return "alpine"
		case "rpm":
			return "rpm"
		}
	}
	return "none"
}

// distribution returns ID and VERSION_ID of os-release(5).
func (inv *inventory) distribution() string {
	const limit = 64 << 10
	for _, p := range []string{"/etc/os-release", "/usr/lib/os-release"} {
		dt, err := treeFS{inv.tree}.ReadFile(p, limit)
		if err != nil {
			continue
		}
		fields := map[string]string{}
		for sc := bufio.NewScanner(bytes.NewReader(dt)); sc.Scan(); {
			k, v, _ := strings.Cut(sc.Text(), "=")
			fields[k] = strings.Trim(v, `"'`)
		}
		return strings.TrimSpace(fields["ID"] + " " + fields["VERSION_ID"])
	}
	return ""
}

// totals counts the whole tree.
func (inv *inventory) totals() spec.Totals {
	t := inv.count(func(int) bool { return true })
	t.Packages = len(inv.packages)
	return t
}

func (inv *inventory) count(keeps func(int) bool) spec.Totals {
	var t spec.Totals
	type inode struct{ dev, ino uint64 }
	seen := map[inode]bool{}
	for i, e := range inv.entries {
		if e.Path == "/" || !keeps(i) {
			continue
		}
		if e.Kind == rootfs.Directory {
			t.Directories++
			continue
		}
		t.Files++
		if e.Kind != rootfs.Regular {
			continue
		}
		if id := (inode{e.Dev, e.Ino}); e.Nlink < 2 || !seen[id] {
			seen[id] = e.Nlink >= 2
			t.Bytes += e.Size
		}
		if e.Mode&0o6000 != 0 {
			t.SetUID++
		}
		if obj, ok := inv.objects[e.Path]; ok {
			switch obj.Kind {
			case linkage.Library:
				t.Libraries++
			case linkage.Program:
				t.Executables++
			}
		} else if _, ok := inv.scripts[e.Path]; ok {
			t.Executables++
		}
	}
	return t
}

// totalsAfter counts what the plan leaves, with the changes it makes.
func (p *plan) totalsAfter() spec.Totals {
	t := p.inv.count(p.keeps)
	t.SetUID = 0
	for i, e := range p.inv.entries {
		if !p.keeps(i) || e.Kind != rootfs.Regular {
			continue
		}
		mode := e.Mode
		if m, ok := p.copy.Override[e.Path]; ok {
			mode = m.Mode
		}
		if mode&0o6000 != 0 {
			t.SetUID++
		}
		if c, ok := p.copy.Contents[e.Path]; ok {
			t.Bytes += int64(len(c)) - e.Size
		}
	}
	for _, e := range p.copy.Add {
		if e.Kind == rootfs.Directory {
			t.Directories++
		} else {
			t.Files++
			t.Bytes += int64(len(e.Contents))
		}
	}
	for _, kept := range p.recordKept {
		if kept {
			t.Packages++
		}
	}
	return t
}

// groups gathers the removed entries by cause: a package, or the directory of
// their class.
func (p *plan) groups() []spec.Group {
	type key struct{ class, name string }
	groups := map[key]*spec.Group{}
	for i, e := range p.inv.entries {
		class, gone := p.class[i]
		if !gone {
			continue
		}
		name, why := p.causeOf(i, class)
		g := groups[key{class, name}]
		if g == nil {
			g = &spec.Group{Class: class, Name: name, Why: why}
			groups[key{class, name}] = g
		}
		if e.Kind != rootfs.Directory {
			g.Files++
			g.Bytes += e.Size
		}
		// A directory that goes took everything below it along.
		if n := len(g.Paths); n > 0 && strings.HasSuffix(g.Paths[n-1], "/") && strings.HasPrefix(e.Path, g.Paths[n-1]) {
			continue
		}
		shown := e.Path
		if e.Kind == rootfs.Directory {
			shown += "/"
		}
		g.Paths = append(g.Paths, shown)
	}
	list := make([]spec.Group, 0, len(groups))
	for _, g := range groups {
		if g.Files > 0 {
			list = append(list, *g)
		}
	}
	slices.SortFunc(list, func(a, b spec.Group) int {
		switch {
		case a.Bytes != b.Bytes:
			return int(min(max(b.Bytes-a.Bytes, -1), 1))
		case a.Class != b.Class:
			return strings.Compare(a.Class, b.Class)
		}
		return strings.Compare(a.Name, b.Name)
	})
	return list
}

// causeOf names the group of a removed entry and the chain that led to it.
func (p *plan) causeOf(i int, class string) (name string, why []string) {
	e := p.inv.entries[i]
	if class == classManager || class == classOrphan || class == classShell {
		for _, o := range p.inv.owners[i] {
			u := unit(o)
			if s := p.graph.states[u]; s != stateSeed && s != stateCandidate {
				continue
			}
			why = p.graph.chain(u)
			if len(why) == 0 {
				why = []string{p.inv.packages[o].Name + " is a " + strings.ReplaceAll(p.graph.classOf[u], "-", " ")}
			}
			return p.inv.packages[o].Name, why
		}
		if class == classOrphan {
			return e.Path, p.graph.chain(p.graph.fileUnit(i))
		}
	}
	return groupDirectory(e.Path), nil
}

// groupDirectory shortens a path to the directory that names its group.
func groupDirectory(p string) string {
	const depth = 3
	parts := strings.SplitN(strings.TrimPrefix(p, "/"), "/", depth+1)
	if len(parts) > depth {
		parts = parts[:depth]
	} else if len(parts) > 1 {
		parts = parts[:len(parts)-1]
	}
	return "/" + strings.Join(parts, "/")
}

func (p *plan) packageStates() []spec.Package {
	list := make([]spec.Package, 0, len(p.inv.packages))
	for i, pkg := range p.inv.packages {
		entry := spec.Package{
			Type: pkg.Type, Name: pkg.Name, Version: pkg.Version, Arch: pkg.Arch,
			FilesBefore: p.packageFiles[i][0], FilesAfter: p.packageFiles[i][1],
		}
		switch {
		case !p.recordKept[i]:
			entry.State = spec.PackageRemoved
			if chain := p.graph.chain(unit(i)); len(chain) > 0 {
				entry.Why = chain[len(chain)-1]
			} else if class, ok := p.graph.classOf[unit(i)]; ok {
				entry.Why = "it is a " + strings.ReplaceAll(class, "-", " ")
			} else {
				entry.Why = "none of its files is left"
			}
		case entry.FilesAfter < entry.FilesBefore:
			entry.State = spec.PackagePartial
		default:
			entry.State = spec.PackageKept
		}
		list = append(list, entry)
	}
	slices.SortStableFunc(list, func(a, b spec.Package) int {
		for _, c := range []int{strings.Compare(a.Type, b.Type), strings.Compare(a.Name, b.Name), strings.Compare(a.Arch, b.Arch)} {
			if c != 0 {
				return c
			}
		}
		return strings.Compare(a.Version, b.Version)
	})
	return list
}
