package closure

import (
	"path"

	"github.com/temper-images/temper/hardening/rootfs"
)

// finish keeps the directories of what is kept, and those that packages with
// something kept made.
func (w *walk) finish() {
	w.linkDirectories()
	w.linkAlternatives()
	for i := len(w.sys.Entries) - 1; i >= 0; i-- {
		e := w.sys.Entries[i]
		if e.Kind == rootfs.Directory && !w.kept[i] {
			owners := w.sys.Owners[i]
			used := len(owners) == 0 && !w.rules.only[i]
			for _, o := range owners {
				used = used || w.used[o]
			}
			if used && !w.sys.Gone(i) && !w.rules.development[i] {
				w.kept[i] = true
			}
		}
		if w.kept[i] && e.Path != "/" {
			w.kept[w.sys.Index[path.Dir(e.Path)]] = true
		}
	}
}

// linkDirectories keeps the links to directories that a used package or nobody
// made: a program may know a directory by either name.
func (w *walk) linkDirectories() {
	for i, e := range w.sys.Entries {
		if e.Kind != rootfs.Symlink || w.kept[i] || w.sys.Gone(i) || w.rules.development[i] {
			continue
		}
		t, _, ok := w.sys.Find(e.Path)
		if !ok || w.sys.Entries[t].Kind != rootfs.Directory {
			continue
		}
		owners := w.sys.Owners[i]
		used := len(owners) == 0 || path.Dir(e.Path) == "/"
		for _, o := range owners {
			used = used || w.used[o]
		}
		if used && (!w.rules.only[i] || len(owners) == 0) {
			w.kept[i], w.why[i] = true, "is another name of a directory"
		}
	}
}

// linkAlternatives keeps the further names that tools such as update-alternatives
// made for what stays: people and scripts know awk, whichever awk it is.
func (w *walk) linkAlternatives() {
	for i, e := range w.sys.Entries {
		if e.Kind != rootfs.Symlink || w.kept[i] || len(w.sys.Owners[i]) > 0 || w.rules.only[i] || w.sys.Gone(i) {
			continue
		}
		if t, _, ok := w.sys.Find(e.Path); ok && w.kept[t] && w.sys.Entries[t].Kind != rootfs.Directory {
			w.kept[i], w.from[i], w.why[i] = true, node(t), "is also known as"
		}
	}
}
