package linkage

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"sync"
)

// FS is a root filesystem. Paths are absolute; names may hold any byte but '/'
// and NUL. A path is canonical when no component of it is a symlink, "." or "..".
type FS interface {
	// Resolve follows path as the kernel would with the root filesystem as
	// root directory. It returns the canonical path and, in the order they were
	// followed, the canonical paths of the symlinks. An error means that the
	// path leads nowhere.
	Resolve(path string) (canonical string, links []string, err error)
	// ReadFile reads the regular file at a canonical path. More than limit
	// bytes are an error.
	ReadFile(canonical string, limit int64) ([]byte, error)
	// ReadDir returns the names in the directory at a canonical path.
	ReadDir(canonical string) ([]string, error)
}

// Options say how the root filesystem's programs are started.
type Options struct {
	// Env holds "NAME=value" as an OCI image configuration does. LD_LIBRARY_PATH
	// and LD_PRELOAD count.
	Env []string
	// WorkingDir is where relative search paths start; "/" when empty.
	WorkingDir string
}

// DependencyKind says where a dependency is recorded.
type DependencyKind uint8

// The values of DependencyKind.
const (
	// Needed is a DT_NEEDED entry.
	Needed DependencyKind = iota
	// Interpreter is the path in PT_INTERP.
	Interpreter
	// Dlopen is a soname in a dlopen note, or an auxiliary filter: the file can be
	// loaded without it, and works as far as Priority says.
	Dlopen
	// Preload is a library in LD_PRELOAD or /etc/ld.so.preload. The loader
	// warns and goes on when there is no such library.
	Preload
)

// Dependency is a library that a file asks for.
type Dependency struct {
	Kind DependencyKind
	// Priority only counts where Kind is Dlopen.
	Priority Priority
	// Name is what the file asks for, as written: a soname or a path.
	Name string
	// Files are the files that the loader takes for the name: the first one on
	// every processor when the file is loaded by itself, the others on processors
	// with certain capabilities, or when a certain program loads the file. It is
	// empty when the loader finds none.
	Files []File
	// Candidates, only where Files is empty, are files of the right ABI that bear
	// the name in places where the loader does not look by itself. They
	// satisfy it when something else has loaded them before, or once ldconfig has
	// run. Sorted by path.
	Candidates []File
	// Lacks, only where Kind is Needed, are the symbol versions that the file
	// requires and the first of Files does not define: glibc refuses to go on.
	Lacks []string
}

// Optional says that the file can be loaded without the dependency.
func (d Dependency) Optional() bool { return d.Kind == Dlopen || d.Kind == Preload }

// File is a file that was found by name.
type File struct {
	// Path is canonical.
	Path string
	// Links are the canonical paths of the symlinks that led to it, in the
	// order in which they are followed. Without them it is not found.
	Links []string
}

// LimitError says that a root filesystem asks for more work than any honest one.
type LimitError struct {
	// Lookups and Paths count the look-ups that were made and the distinct
	// paths among them.
	Lookups, Paths int
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("the ELF files of the root filesystem ask for too many libraries in too many places: "+
		"%d look-ups of %d paths were made and more remain; remove files with very many DT_NEEDED or DT_RPATH entries",
		e.Lookups, e.Paths)
}

// Limits on the work of one Resolver. The 1,600 ELF files of a developer's
// machine need 7,000 look-ups of 400 paths.
const (
	maxLookups    = 20_000_000
	maxPathMemory = 128 << 20 // bytes of distinct paths looked up
	pathOverhead  = 128       // bytes that remembering a path takes besides its own
)

// Files that the loaders read.
const (
	cacheFile   = "/etc/ld.so.cache"
	confFile    = "/etc/ld.so.conf"
	preloadFile = "/etc/ld.so.preload"
)

// Resolver knows what each ELF file of a root filesystem links to. Its methods
// may be called from several goroutines at once.
type Resolver struct {
	fs      FS
	objects map[string]*Object
	cwd     string

	mu sync.Mutex // held by what adds to the maps after New

	envDirs  []string // LD_LIBRARY_PATH
	cache    map[string][]cacheEntry
	confDirs []string
	usual    map[ABI]usualLoaders
	named    map[string][]string // canonical paths by soname and by base name

	loaders  map[loaderKey]*loader
	opened   map[string]*hit
	dirs     map[dirKey]*dir
	expanded map[expandKey][]*dir
	lookups  int
	memory   int

	deps    map[string][]Dependency
	preload []Dependency
	notices []string
}

// New finds the dependencies of all objects, which are the root filesystem's ELF
// files by canonical path. It keeps objects and does not change it. A malformed
// ld.so.cache or ld.so.conf is a notice, not an error: the loader passes it over
// too. New answers a *LimitError or the context's error.
//
// Dependencies follow the loaders' rules, ld.so(8) for glibc and
// dynlink.c for musl, for a processor without optional capabilities. In
// particular glibc looks in ld.so.cache and its default directories and never
// reads ld.so.conf; what only ld.so.conf leads to is a candidate.
func New(ctx context.Context, fs FS, objects map[string]*Object, opts Options) (*Resolver, error) {
	r := &Resolver{
		fs: fs, objects: objects, cwd: cmp.Or(opts.WorkingDir, "/"),
		usual: map[ABI]usualLoaders{}, named: map[string][]string{},
		loaders: map[loaderKey]*loader{}, opened: map[string]*hit{},
		dirs: map[dirKey]*dir{}, expanded: map[expandKey][]*dir{},
		deps: make(map[string][]Dependency, len(objects)),
	}
	paths := sortedKeys(objects)
	r.index(paths)
	r.readConfig(opts.Env)
	r.countLoaders(paths)
	if err := r.resolveEach(ctx, paths); err != nil {
		return nil, err
	}
	if err := r.resolveInContext(ctx, paths); err != nil {
		return nil, err
	}
	for _, p := range paths {
		for i := range r.deps[p] {
			if d := &r.deps[p][i]; len(d.Files) == 0 {
				d.Candidates = r.candidates(d.Name, r.objects[p])
			}
		}
		if err := r.alive(ctx); err != nil {
			return nil, err
		}
	}
	r.preload = r.preloads(opts.Env)
	return r, nil
}

// Dependencies returns what the ELF file at a canonical path asks for: its
// interpreter, the libraries that it needs in the order of DT_NEEDED, then those
// that it says it may load later. The caller must not change it.
func (r *Resolver) Dependencies(path string) []Dependency { return r.deps[path] }

// Loaded is a file that a process has loaded.
type Loaded struct {
	// Name is what the file was asked for by first: a soname or a path.
	Name string
	// Path is the file's canonical path, empty when the name was not found.
	Path string
}

// Load returns what the ELF file at a canonical path is loaded with, as ldd(1)
// prints it: everything that it needs, directly or not, in the order in which the
// loader comes upon it, without the file itself and without what is preloaded. It
// answers a *LimitError.
func (r *Resolver) Load(path string) ([]Loaded, error) {
	o := r.objects[path]
	if o == nil || o.Kind == Other {
		return nil, nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []Loaded
	missing := map[string]bool{}
	for _, f := range r.load(path) {
		if f.path != path {
			all = append(all, Loaded{Name: f.as, Path: f.path})
		}
		for i, h := range f.hits {
			if name := f.obj.Needed[i]; h == nil && !missing[name] {
				missing[name] = true
				all = append(all, Loaded{Name: name})
			}
		}
	}
	if r.exhausted() {
		return nil, &LimitError{Lookups: r.lookups, Paths: len(r.opened)}
	}
	return all, nil
}

// Preloads returns the libraries that every program loads before its own, by
// LD_PRELOAD of the image's environment and by /etc/ld.so.preload.
func (r *Resolver) Preloads() []Dependency { return r.preload }

// Notices are observations about the loaders' configuration files.
func (r *Resolver) Notices() []string { return r.notices }

func (r *Resolver) notice(format string, args ...any) {
	r.notices = append(r.notices, fmt.Sprintf(format, args...))
}

// index finds objects by the names that others may ask for.
func (r *Resolver) index(paths []string) {
	for _, p := range paths {
		base := path.Base(p)
		r.named[base] = append(r.named[base], p)
		if s := r.objects[p].Soname; s != "" && s != base {
			r.named[s] = append(r.named[s], p)
		}
	}
}

func (r *Resolver) readConfig(env []string) {
	if s := getenv(env, "LD_LIBRARY_PATH"); s != "" {
		r.envDirs = splitAny(s, ":;")
		if len(r.envDirs) > maxSearchDirs {
			r.notice("LD_LIBRARY_PATH has more than %d directories; the others were passed over", maxSearchDirs)
			r.envDirs = r.envDirs[:maxSearchDirs]
		}
	}
	if canonical, _, err := r.fs.Resolve(cacheFile); err == nil {
		dt, err := r.fs.ReadFile(canonical, maxCache)
		if err == nil {
			r.cache, err = parseCache(dt)
		}
		if err != nil {
			r.notice("%s was passed over, and libraries looked for in the default directories: %v", cacheFile, err)
		}
	}
	var warnings []string
	r.confDirs, warnings = readConf(r.fs, confFile)
	r.notices = append(r.notices, warnings...)
}

// getenv returns the last value of a variable, as a process would see it.
func getenv(env []string, name string) string {
	for _, e := range slices.Backward(env) {
		if k, v, ok := strings.Cut(e, "="); ok && k == name {
			return v
		}
	}
	return ""
}

// splitAny splits at every separator and keeps empty elements.
func splitAny(s, separators string) []string {
	return strings.Split(strings.Map(func(c rune) rune {
		if strings.ContainsRune(separators, c) {
			return ':'
		}
		return c
	}, s), ":")
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
