package linkage

import (
	"context"
	"path"
	"slices"
	"strings"
)

// resolveEach finds the dependencies of each file as if it were loaded by
// itself, with no search path but its own.
func (r *Resolver) resolveEach(ctx context.Context, paths []string) error {
	for _, p := range paths {
		if err := r.alive(ctx); err != nil {
			return err
		}
		o := r.objects[p]
		if o.Kind == Other {
			continue
		}
		l := r.loaderOf(o)
		n := newNode(p, p, o, nil, l)
		var deps []Dependency
		if o.Interp != "" {
			d := Dependency{Kind: Interpreter, Name: o.Interp}
			if h := r.open(r.absolute(o.Interp)); h != nil && h.obj.ABI == o.ABI {
				d.Files = []File{h.File}
			}
			deps = append(deps, d)
		}
		deps = r.appendNames(deps, Needed, o.Needed, n, l)
		for _, note := range o.Dlopen {
			at := len(deps)
			deps = r.appendNames(deps, Dlopen, note.Sonames, n, l)
			for i := range deps[at:] {
				deps[at+i].Priority = note.Priority
			}
		}
		r.deps[p] = deps
	}
	return nil
}

func (r *Resolver) alive(ctx context.Context) error {
	if r.exhausted() {
		return &LimitError{Lookups: r.lookups, Paths: len(r.opened)}
	}
	return ctx.Err()
}

func (r *Resolver) appendNames(deps []Dependency, kind DependencyKind, names []string, n *node, l *loader) []Dependency {
	for _, name := range names {
		s := r.find(name, n, l)
		d := Dependency{Kind: kind, Name: name, Files: s.files()}
		if kind == Needed && s.found != nil && !l.musl {
			d.Lacks = n.obj.Lacking(name, s.found.obj)
		}
		deps = append(deps, d)
	}
	return deps
}

// files returns what was found, each file once, what every processor takes first.
func (s *search) files() []File {
	var files []File
	for _, h := range append([]*hit{s.found}, s.variants...) {
		if h != nil {
			files = addFile(files, h.File)
		}
	}
	return files
}

// addFile adds a file unless the same one was found by the same symlinks.
func addFile(files []File, f File) []File {
	if slices.ContainsFunc(files, func(g File) bool { return g.Path == f.Path && slices.Equal(g.Links, f.Links) }) {
		return files
	}
	return append(files, f)
}

// candidates returns the files that bear a name and have an object's ABI.
func (r *Resolver) candidates(name string, o *Object) []File {
	var files []File
	add := func(h *hit) {
		if h != nil && h.obj.ABI == o.ABI && h.obj.Kind != Other {
			files = addFile(files, h.File)
		}
	}
	base := path.Base(name)
	if len(base) > maxComponent || r.exhausted() {
		return nil
	}
	for _, p := range r.named[base][:min(len(r.named[base]), maxCandidates)] {
		add(r.open(p))
	}
	for _, d := range r.confDirs {
		add(r.open(d + "/" + base))
	}
	for _, d := range r.loaderOf(o).dirs {
		add(r.open(d + "/" + base))
	}
	entries := r.cache[base]
	for _, e := range entries[:min(len(entries), maxCandidates)] {
		add(r.open(r.absolute(e.path)))
	}
	slices.SortStableFunc(files, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	return files
}

// maxCandidates bounds how many files with one name are looked at.
const maxCandidates = 64

// preloads finds the libraries of LD_PRELOAD and of /etc/ld.so.preload, which
// only glibc reads, for each ABI that has programs.
func (r *Resolver) preloads(env []string) []Dependency {
	names := strings.FieldsFunc(getenv(env, "LD_PRELOAD"), isPreloadSeparator)
	if canonical, _, err := r.fs.Resolve(preloadFile); err == nil {
		dt, err := r.fs.ReadFile(canonical, maxConf)
		if err != nil {
			r.notice("%s was passed over: %v", preloadFile, err)
		}
		for line := range strings.SplitSeq(string(dt), "\n") {
			line, _, _ = strings.Cut(line, "#")
			names = append(names, strings.FieldsFunc(line, isPreloadSeparator)...)
		}
	}
	if len(names) > maxNeeded {
		r.notice("more than %d libraries are preloaded; the others were passed over", maxNeeded)
		names = names[:maxNeeded]
	}
	var deps []Dependency
	for _, name := range names {
		d := Dependency{Kind: Preload, Name: name}
		for _, l := range r.programLoaders() {
			s := r.find(name, newNode("/", "/", &Object{ABI: l.abi}, nil, l), l)
			for _, f := range s.files() {
				d.Files = addFile(d.Files, f)
			}
		}
		deps = append(deps, d)
	}
	return deps
}

func isPreloadSeparator(c rune) bool { return c == ' ' || c == ':' || c == '\t' || c == '\n' }

// programLoaders returns the usual loader of each ABI.
func (r *Resolver) programLoaders() []*loader {
	var all []*loader
	for abi, u := range r.usual {
		all = append(all, r.loader(abi, u.any))
	}
	slices.SortFunc(all, func(a, b *loader) int {
		return strings.Compare(a.interp, b.interp)
	})
	return all
}
