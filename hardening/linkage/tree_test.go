package linkage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// lstat says what is at a path whose directory is canonical: a symlink's target,
// or that it is something else.
type lstat func(p string) (link string, err error)

// resolve follows a path as the kernel does.
func (stat lstat) resolve(p string) (string, []string, error) {
	canonical, links := "/", []string(nil)
	todo := strings.Split(p, "/")
	for len(todo) > 0 {
		name := todo[0]
		todo = todo[1:]
		switch name {
		case "", ".":
			continue
		case "..":
			canonical = path.Dir(canonical)
			continue
		}
		next := path.Join(canonical, name)
		link, err := stat(next)
		if err != nil {
			return "", nil, err
		}
		if link == "" {
			canonical = next
			continue
		}
		if links = append(links, next); len(links) > 40 {
			return "", nil, syscall.ELOOP
		}
		if path.IsAbs(link) {
			canonical = "/"
		}
		todo = append(strings.Split(link, "/"), todo...)
	}
	return canonical, links, nil
}

// treeFS is a root filesystem in memory, by canonical path. Values are file
// contents, or "-> TARGET" for a symlink. Directories are implied.
type treeFS struct {
	files map[string]string
	dirs  map[string]map[string]bool
}

func newTreeFS(files map[string]string) *treeFS {
	t := &treeFS{files: files, dirs: map[string]map[string]bool{"/": {}}}
	for p := range files {
		for p != "/" {
			d := path.Dir(p)
			if t.dirs[d] == nil {
				t.dirs[d] = map[string]bool{}
			}
			t.dirs[d][path.Base(p)] = true
			p = d
		}
	}
	return t
}

func (t *treeFS) Resolve(p string) (string, []string, error) {
	return lstat(func(p string) (string, error) {
		s, ok := t.files[p]
		if link, isLink := strings.CutPrefix(s, "-> "); isLink {
			return link, nil
		}
		if !ok && t.dirs[p] == nil {
			return "", fs.ErrNotExist
		}
		return "", nil
	}).resolve(p)
}

func (t *treeFS) ReadFile(p string, limit int64) ([]byte, error) {
	s, ok := t.files[p]
	if !ok {
		return nil, fs.ErrNotExist
	}
	if int64(len(s)) > limit {
		return nil, errors.New("too large")
	}
	return []byte(s), nil
}

func (t *treeFS) ReadDir(p string) ([]string, error) { return sortedKeys(t.dirs[p]), nil }

// objects parses every file that is ELF.
func (t *treeFS) objects(tb testing.TB) map[string]*Object {
	tb.Helper()
	objects := map[string]*Object{}
	for p, s := range t.files {
		o, err := Parse(bytes.NewReader([]byte(s)), int64(len(s)))
		if errors.Is(err, ErrNotELF) {
			continue
		}
		if err != nil {
			tb.Fatalf("parse %s: %v", p, err)
		}
		objects[p] = o
	}
	return objects
}

func newResolver(tb testing.TB, files map[string]string, opts Options) *Resolver {
	tb.Helper()
	t := newTreeFS(files)
	r, err := New(tb.Context(), t, t.objects(tb), opts)
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

// show prints dependencies as "NAME = FILE < LINK < LINK, FILE" or "NAME ? CANDIDATE".
func show(deps []Dependency) []string {
	var out []string
	for _, d := range deps {
		files, op := d.Files, " = "
		if len(files) == 0 {
			files, op = d.Candidates, " ? "
		}
		var list []string
		for _, f := range files {
			list = append(list, strings.Join(append([]string{f.Path}, f.Links...), " < "))
		}
		out = append(out, d.Name+op+strings.Join(list, ", "))
	}
	return out
}

// hostFS is this machine's own root filesystem.
type hostFS struct{ links map[string]string }

func (h *hostFS) Resolve(p string) (string, []string, error) {
	return lstat(func(p string) (string, error) {
		link, ok := h.links[p]
		if !ok {
			info, err := os.Lstat(p)
			switch {
			case err != nil:
				link = "?"
			case info.Mode()&fs.ModeSymlink != 0:
				link, _ = os.Readlink(p)
			}
			h.links[p] = link
		}
		if link == "?" {
			return "", fs.ErrNotExist
		}
		return link, nil
	}).resolve(p)
}

func (h *hostFS) ReadFile(p string, limit int64) ([]byte, error) {
	dt, err := os.ReadFile(p)
	if err == nil && int64(len(dt)) > limit {
		err = errors.New("too large")
	}
	return dt, err
}

func (h *hostFS) ReadDir(p string) ([]string, error) {
	entries, err := os.ReadDir(p)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, err
}

// hostFiles lists the files of directories that may be programs or libraries,
// each once.
func hostFiles(tb testing.TB, dirs ...string) []string {
	tb.Helper()
	var files []string
	for _, d := range dirs {
		d, err := filepath.EvalSymlinks(d)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		} else if err != nil {
			tb.Fatal(err)
		}
		err = filepath.WalkDir(d, func(p string, e fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrPermission) || err == nil && !e.Type().IsRegular() {
				return nil
			} else if err != nil {
				return err
			}
			info, err := e.Info()
			if err == nil && (info.Mode()&0o111 != 0 || strings.Contains(e.Name(), ".so")) {
				files = append(files, p)
			}
			return nil
		})
		if err != nil {
			tb.Fatal(err)
		}
	}
	slices.Sort(files)
	return slices.Compact(files)
}

// parseHost parses those of the files that are ELF.
func parseHost(ctx context.Context, files []string) (map[string]*Object, error) {
	objects := map[string]*Object{}
	for _, p := range files {
		o, err := parseFile(p)
		if errors.Is(err, ErrNotELF) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p, err)
		}
		objects[p] = o
	}
	return objects, ctx.Err()
}

func parseFile(p string) (*Object, error) { return parseFileWith(nil, p) }

func parseFileWith(w *Watch, p string) (*Object, error) {
	f, err := os.Open(p)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	return w.Parse(f, info.Size())
}
