package linkage

import (
	"context"
	"slices"
	"strings"
)

// loaded is a file in the order of loading, and what its names led to.
type loaded struct {
	*node
	as   string // the name by which it was asked for first
	hits []*hit // for each of obj.Needed, nil when not found
}

// load follows the loading of a file with everything that it needs, breadth
// first, as a loader started with it would.
func (r *Resolver) load(root string) []*loaded {
	o := r.objects[root]
	l := r.loaderOf(o)
	files := []*loaded{{node: newNode(root, root, o, nil, l), as: root}}
	// A name that was asked for before, and with glibc the soname of any file in
	// memory, is not looked for again.
	byName, byPath := map[string]*hit{}, map[string]bool{root: true}
	if !l.musl && o.Soname != "" {
		byName[o.Soname] = &hit{File: File{Path: root}, obj: o}
	}
	for i := 0; i < len(files) && !r.exhausted(); i++ {
		f := files[i]
		f.hits = make([]*hit, len(f.obj.Needed))
		for j, name := range f.obj.Needed {
			if h := byName[name]; h != nil {
				f.hits[j] = h
				continue
			}
			h := r.find(name, f.node, l).found
			f.hits[j] = h
			if h == nil {
				continue
			}
			byName[name] = h
			if byPath[h.Path] {
				continue
			}
			byPath[h.Path] = true
			if s := h.obj.Soname; !l.musl && s != "" && byName[s] == nil {
				byName[s] = h
			}
			files = append(files, &loaded{node: newNode(h.Path, h.asked, h.obj, f.node, l), as: name})
		}
	}
	return files
}

// resolveInContext adds what files find only because of the file that loads
// them: by a DT_RPATH that is handed down, or since a library of that name is in
// memory already. Only files from which such a chain can start are followed.
func (r *Resolver) resolveInContext(ctx context.Context, paths []string) error {
	// Half of what is left: the rest is for candidates.
	limit := r.lookups + (maxLookups-r.lookups)/2
	followed := 0
	starts := r.chainStarts(paths)
	for _, p := range starts {
		if err := r.alive(ctx); err != nil {
			return err
		}
		if r.lookups > limit {
			r.notice("%d of %d files hand a search path down to their libraries; only the first %d were followed",
				len(starts), len(paths), followed)
			return nil
		}
		followed++
		for _, f := range r.load(p) {
			for i, h := range f.hits {
				if h != nil {
					r.addFound(f.node, i, h)
				}
			}
			r.lookups += len(f.hits)
		}
	}
	return nil
}

// addFound adds what the i-th needed library of n was found to be.
func (r *Resolver) addFound(n *node, i int, h *hit) {
	if n.obj.Interp != "" {
		i++
	}
	d := &r.deps[n.path][i]
	// A file that is in memory already was found by its own chain of symlinks.
	if len(d.Files) == 0 && !r.loaderOf(n.obj).musl {
		d.Lacks = n.obj.Lacking(d.Name, h.obj)
	}
	if !slices.ContainsFunc(d.Files, func(f File) bool { return f.Path == h.Path }) {
		d.Files = append(d.Files, h.File)
	}
}

// chainStarts returns the files that reach, by their own dependencies, one that
// hands a search path down, lacks a library, or is opened at a place
// from which $ORIGIN leads elsewhere.
func (r *Resolver) chainStarts(paths []string) []string {
	users := map[string][]string{}
	start := map[string]bool{}
	var queue []string
	mark := func(p string) {
		if !start[p] {
			start[p] = true
			queue = append(queue, p)
		}
	}
	for _, p := range paths {
		o := r.objects[p]
		if o.Kind == Other {
			continue
		}
		if len(handedDown(o, r.loaderOf(o))) > 0 {
			mark(p)
		}
		for _, d := range r.deps[p] {
			if d.Kind != Needed {
				continue
			}
			if len(d.Files) == 0 {
				mark(p)
			}
			for _, f := range d.Files {
				users[f.Path] = append(users[f.Path], p)
				if len(f.Links) > 0 && usesOrigin(r.objects[f.Path]) {
					mark(p)
				}
			}
		}
	}
	for len(queue) > 0 {
		p := queue[0]
		queue = queue[1:]
		for _, user := range users[p] {
			mark(user)
		}
	}
	return sortedKeys(start)
}

// usesOrigin says that an object's own search path depends on where it is opened.
func usesOrigin(o *Object) bool {
	return slices.ContainsFunc(o.RunPath, func(e string) bool { return strings.Contains(e, "ORIGIN") })
}
