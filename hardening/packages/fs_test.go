package packages

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// memFS is a root filesystem of regular files, by path. A value that starts
// with "->" is a symbolic link to the rest.
type memFS map[string]string

func (m memFS) isDir(name string) bool {
	for file := range m {
		if strings.HasPrefix(file, strings.TrimSuffix(name, "/")+"/") {
			return true
		}
	}
	return false
}

func (m memFS) Resolve(name string) (string, error) {
	done, links := "/", 0
	parts := strings.Split(path.Clean("/"+name), "/")
	for len(parts) > 0 {
		next := path.Join(done, parts[0])
		parts = parts[1:]
		if to, is := strings.CutPrefix(m[next], "->"); is {
			if links++; links > 40 {
				return "", errors.New("too many links")
			}
			if path.IsAbs(to) {
				done = "/"
			}
			parts = append(strings.Split(to, "/"), parts...)
			continue
		}
		done = next
	}
	if _, ok := m[done]; !ok && !m.isDir(done) {
		return "", fmt.Errorf("%s: %w", name, fs.ErrNotExist)
	}
	return done, nil
}

func (m memFS) ReadFile(name string, limit int64) ([]byte, error) {
	dt, ok := m[name]
	switch {
	case m.isDir(name):
		return nil, fmt.Errorf("%s: is a directory", name)
	case !ok:
		return nil, fmt.Errorf("%s: %w", name, fs.ErrNotExist)
	case strings.HasPrefix(dt, "->"):
		return nil, fmt.Errorf("%s: is a symbolic link", name)
	case int64(len(dt)) > limit:
		return nil, fmt.Errorf("%s: more than %d bytes", name, limit)
	}
	return []byte(dt), nil
}

func (m memFS) ReadDir(dir string) ([]string, error) {
	names := map[string]bool{}
	for file := range m {
		if rest, ok := strings.CutPrefix(file, strings.TrimSuffix(dir, "/")+"/"); ok {
			name, _, _ := strings.Cut(rest, "/")
			names[name] = true
		}
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("%s: not a directory", dir)
	}
	return slices.Sorted(maps.Keys(names)), nil
}

// apply carries out a rewrite.
func (m memFS) apply(t testing.TB, rw *Rewrite) memFS {
	t.Helper()
	after := maps.Clone(m)
	for _, gone := range rw.Remove {
		if _, ok := m[gone]; !ok && !m.isDir(gone) {
			t.Errorf("Remove names %s, which does not exist", gone)
		}
		maps.DeleteFunc(after, func(name, _ string) bool { return name == gone || strings.HasPrefix(name, gone+"/") })
	}
	for _, f := range rw.Files {
		if _, ok := m[f.Like]; !ok {
			t.Errorf("%s is like %s, which does not exist", f.Path, f.Like)
		}
		after[f.Path] = string(f.Contents)
	}
	return after
}

// diskFS is a directory without symbolic links as root filesystem.
type diskFS string

func (d diskFS) Resolve(name string) (string, error) {
	_, err := os.Lstat(filepath.Join(string(d), name))
	return path.Clean(name), err
}

func (d diskFS) ReadFile(name string, limit int64) ([]byte, error) {
	dt, err := os.ReadFile(filepath.Join(string(d), name))
	if int64(len(dt)) > limit {
		return nil, fmt.Errorf("%s: more than %d bytes", name, limit)
	}
	return dt, err
}

func (d diskFS) ReadDir(dir string) ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(string(d), dir))
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, err
}

// apply carries out a rewrite.
func (d diskFS) apply(t testing.TB, rw *Rewrite) {
	t.Helper()
	for _, gone := range rw.Remove {
		if err := os.RemoveAll(filepath.Join(string(d), gone)); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range rw.Files {
		if err := os.WriteFile(filepath.Join(string(d), f.Path), f.Contents, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// load reads the databases of a root filesystem, which must be as many as
// wanted.
func load(t testing.TB, root FS, want int) ([]*Database, []string) {
	t.Helper()
	dbs, notices, err := Load(t.Context(), root)
	if err != nil {
		t.Fatal(err)
	}
	if len(dbs) != want {
		t.Fatalf("found %d databases, want %d (notices: %q)", len(dbs), want, notices)
	}
	return dbs, notices
}

// rewrite reduces a database to the paths that keep accepts. Packages without
// such a path are gone.
func rewrite(t testing.TB, db *Database, keep func(path string) bool) *Rewrite {
	t.Helper()
	rw, err := db.Rewrite(t.Context(), func(p *Package) []string {
		var kept []string
		for _, name := range p.Files {
			if keep(name) {
				kept = append(kept, name)
			}
		}
		return kept
	})
	if err != nil {
		t.Fatal(err)
	}
	return rw
}

// names returns the names of a database's packages.
func names(db *Database) []string {
	var list []string
	for _, p := range db.Packages {
		list = append(list, p.Name)
	}
	return list
}
