package closure

import (
	"path"
	"slices"
	"strings"

	"github.com/temper-images/temper/hardening/rootfs"
	"github.com/temper-images/temper/hardening/spec"
)

// Reasons returns why each kept entry that is no directory stays, sorted by path;
// a tree in which everything has one reason stands as one path.
func (r *Result) Reasons() []spec.Reason {
	w := r.walk
	type cause struct {
		from node
		why  string
	}
	n := len(w.sys.Entries)
	// For each directory: the one cause of all that stays in it, if there is one.
	one := make([]cause, n)
	files := make([]int, n)
	mixed := make([]bool, n)
	for i := n - 1; i > 0; i-- {
		e := w.sys.Entries[i]
		if !w.kept[i] {
			continue
		}
		c, count, m := cause{w.from[i], w.why[i]}, 1, len(w.needs[node(i)]) > 0
		if e.Kind == rootfs.Directory {
			c, count, m = one[i], files[i], mixed[i]
		}
		if count == 0 {
			continue
		}
		p := w.sys.Index[path.Dir(e.Path)]
		if files[p] > 0 && one[p] != c {
			mixed[p] = true
		}
		one[p], mixed[p] = c, mixed[p] || m
		files[p] += count
	}
	var list []spec.Reason
	for i := 1; i < n; i++ {
		e := w.sys.Entries[i]
		if !w.kept[i] {
			continue
		}
		if e.Kind == rootfs.Directory {
			if files[i] > 1 && !mixed[i] {
				list = append(list, w.reason(i, e.Path+"/", one[i].from, one[i].why))
				for i+1 < n && strings.HasPrefix(w.sys.Entries[i+1].Path, e.Path+"/") {
					i++
				}
			}
			continue
		}
		list = append(list, w.reason(i, e.Path, w.from[i], w.why[i]))
	}
	slices.SortFunc(list, func(a, b spec.Reason) int { return strings.Compare(a.Path, b.Path) })
	return list
}

func (w *walk) reason(i int, shown string, from node, why string) spec.Reason {
	reason := spec.Reason{Path: shown, Why: why}
	switch {
	case from >= node(len(w.sys.Entries)):
		reason.From = "package " + w.sys.Packages[int(from)-len(w.sys.Entries)].Name
	case from >= 0:
		reason.From = w.sys.Entries[from].Path
	}
	for _, n := range w.needs[node(i)] {
		reason.Needs = append(reason.Needs, w.sys.Entries[n].Path)
	}
	slices.Sort(reason.Needs)
	reason.Needs = slices.Compact(reason.Needs)
	return reason
}
