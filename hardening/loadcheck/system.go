package loadcheck

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"

	"github.com/temper-images/temper/hardening/rootfs"
)

// Limits on the work for one root filesystem.
const (
	maxLookups = 20_000_000
	maxSteps   = 1_000_000_000
	maxMemory  = 128 << 20 // bytes of distinct paths looked up
	perPath    = 160       // bytes that remembering a path takes besides its own
	maxLinks   = 40        // symbolic links in one look-up, as in Linux
)

// LimitError says that a root filesystem asks for more work than any honest one.
type LimitError struct {
	// Lookups counts the paths that were looked up.
	Lookups int
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("the ELF files of the root filesystem ask for too many libraries in too many places: "+
		"%d look-ups were made and more remain; remove files with very many DT_NEEDED or DT_RPATH entries", e.Lookups)
}

// system is one root filesystem, and what its loaders are told by configuration.
type system struct {
	tree    *rootfs.Tree
	env     []string
	workDir string

	files               map[string]*file // by the path that was asked for
	objects             map[string]*file // by canonical path
	dirs                map[string]*directory
	parents             map[string]*rootfs.Entry // directories by path, nil for what is none
	lookups, maxLookups int
	steps               int // names asked for and versions compared
	memory              int

	cache   map[string][]cached // ld.so.cache
	conf    []string            // the directories that ldconfig would put into it
	preload []string            // the names in ld.so.preload
	loaders map[loaderKey]*loader
}

// file is what a path leads to. Its object is nil when that is no ELF file that
// can be loaded or started; of a regular file, why says so then.
type file struct {
	path   string // canonical
	entry  *rootfs.Entry
	object *object
	why    error
}

// open reads the configuration of the root filesystem root.
func open(ctx context.Context, root *os.Root, opts Options) (*system, error) {
	tree, err := rootfs.Scan(ctx, root, rootfs.ScanOptions{})
	if err != nil {
		return nil, err
	}
	s := &system{
		tree: tree, env: opts.Env, workDir: cmp.Or(opts.WorkingDir, "/"), maxLookups: cmp.Or(opts.maxLookups, maxLookups),
		files: map[string]*file{}, objects: map[string]*file{}, dirs: map[string]*directory{}, parents: map[string]*rootfs.Entry{}, loaders: map[loaderKey]*loader{},
	}
	s.readConfiguration()
	return s, nil
}

// walk follows a path from the root, as the kernel does for a process whose root
// directory this is, and returns the entry that it leads to.
func (s *system) walk(p string) (*rootfs.Entry, bool) {
	at, _ := s.tree.Lookup("/")
	rest, links := p, 0
	for rest != "" {
		var name string
		name, rest, _ = strings.Cut(rest, "/")
		switch name {
		case "", ".":
			continue
		case "..":
			if at.Parent() != nil {
				at = at.Parent()
			}
			continue
		}
		next, ok := s.tree.Lookup(path.Join(at.Path, name))
		if !ok || at.Kind != rootfs.Directory {
			return nil, false
		}
		if next.Kind != rootfs.Symlink {
			at = next
			continue
		}
		if links++; links > maxLinks || next.Link == "" {
			return nil, false
		}
		if strings.HasPrefix(next.Link, "/") {
			at, _ = s.tree.Lookup("/")
		}
		rest = next.Link + "/" + rest
	}
	// A trailing slash asks for a directory.
	if strings.HasSuffix(p, "/") && at.Kind != rootfs.Directory {
		return nil, false
	}
	return at, true
}

// look returns the regular file that a path leads to, or nil.
func (s *system) look(p string) *file {
	s.lookups++
	if f, ok := s.files[p]; ok {
		return f
	}
	var f *file
	if len(p) < maxString { // PATH_MAX
		if e, ok := s.entry(p); ok && e.Kind == rootfs.Regular {
			f = s.read(e)
		}
	}
	s.memory += len(p) + perPath
	s.files[p] = f
	return f
}

// entry is walk for one of many paths in the same directory.
func (s *system) entry(p string) (*rootfs.Entry, bool) {
	name, base := path.Split(p)
	if base == "" || base == "." || base == ".." {
		return s.walk(p)
	}
	dir, known := s.parents[name]
	if !known {
		if e, ok := s.walk(name); ok {
			dir = e
		}
		s.parents[name] = dir
		s.memory += len(name) + perPath
	}
	if dir == nil {
		return nil, false
	}
	e, ok := s.tree.Lookup(path.Join(dir.Path, base))
	if ok && e.Kind == rootfs.Symlink {
		return s.walk(p)
	}
	return e, ok
}

// read returns the file of an entry.
func (s *system) read(e *rootfs.Entry) *file {
	f, ok := s.objects[e.Path]
	if !ok {
		f = &file{path: e.Path, entry: e}
		f.object, f.why = s.parse(e)
		s.objects[e.Path] = f
		s.memory += len(e.Path) + perPath
	}
	return f
}

func (s *system) parse(e *rootfs.Entry) (*object, error) {
	f, err := s.tree.Open(e.Path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readObject(f, e.Size)
}

// text returns the contents of a configuration file, and whether there is one of
// at most limit bytes.
func (s *system) text(p string, limit int64) ([]byte, bool) {
	e, ok := s.walk(p)
	if !ok || e.Kind != rootfs.Regular {
		return nil, false
	}
	dt, err := s.tree.ReadFile(e.Path, limit)
	return dt, err == nil
}

// alive answers a *LimitError when the work has no end, and the context's error.
func (s *system) alive(ctx context.Context) error {
	if s.exhausted() {
		return &LimitError{Lookups: s.lookups}
	}
	return context.Cause(ctx)
}

func (s *system) exhausted() bool {
	return s.lookups > s.maxLookups || s.steps > maxSteps || s.memory > maxMemory
}

// absolute completes a path that is relative to the image's working directory.
func (s *system) absolute(p string) string {
	if path.IsAbs(p) {
		return p
	}
	return strings.TrimRight(s.workDir, "/") + "/" + p
}

// getenv returns the value of a variable of the image's environment.
func (s *system) getenv(name string) string {
	value := ""
	for _, e := range s.env {
		if v, ok := strings.CutPrefix(e, name+"="); ok {
			value = v
		}
	}
	return value
}

// unreadable says that reading failed although the file is there, which is no
// property of the file.
func unreadable(err error) bool {
	return err != nil && !errors.Is(err, errFormat) && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, rootfs.ErrNotRegular)
}
