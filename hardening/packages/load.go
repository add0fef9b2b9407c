package packages

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
)

// The most that is read, in bytes, of one file of a text database and of all
// its file lists together.
const (
	maxTextFile  = 64 << 20
	maxListBytes = 256 << 20
)

// maxNotices bounds what one malformed database has to say.
const maxNotices = 50

// Load reads every package database of the root filesystem. A root filesystem
// without one gives none. What is malformed is left out and said in the notices;
// a database that cannot be read at all is returned as damaged. The error is
// only ever that of ctx.
func Load(ctx context.Context, root FS) ([]*Database, []string, error) {
	l := &loader{ctx: ctx, root: root}
	l.each(dpkgLocations, l.loadDpkg)
	l.each(apkLocations, l.loadApk)
	if err := ctx.Err(); err != nil {
		return nil, nil, fmt.Errorf("read package databases: %w", context.Cause(ctx))
	}
	return l.databases, l.notices, nil
}

type loader struct {
	ctx       context.Context
	root      FS
	databases []*Database
	notices   []string
	// reported counts the notices of each subject.
	reported map[string]int
}

// each calls load with every location that exists, once for each directory.
func (l *loader) each(locations []string, load func(dir string) *Database) {
	seen := map[string]bool{}
	for _, location := range locations {
		if l.ctx.Err() != nil {
			return
		}
		dir, err := l.root.Resolve(location)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			l.noticef(location, "%s: not read: %v", location, err)
			continue
		}
		if seen[dir] {
			continue
		}
		seen[dir] = true
		if db := load(dir); db != nil {
			l.databases = append(l.databases, db)
		}
	}
}

// read returns the contents of a file of a database and its canonical path. The
// error for an absent file is fs.ErrNotExist.
func (l *loader) read(name string, limit int64) ([]byte, string, error) {
	canonical, err := l.root.Resolve(name)
	if err != nil {
		return nil, "", err
	}
	dt, err := l.root.ReadFile(canonical, limit)
	return dt, canonical, err
}

// noticef records an observation about subject, a database or a file of one.
func (l *loader) noticef(subject, format string, args ...any) {
	if l.reported == nil {
		l.reported = map[string]int{}
	}
	l.reported[subject]++
	switch n := l.reported[subject]; {
	case n < maxNotices:
		l.notices = append(l.notices, fmt.Sprintf(format, args...))
	case n == maxNotices:
		l.notices = append(l.notices, subject+": further observations are left out")
	}
}

// addFile adds a listed path to the package, with a notice when it is refused.
func (l *loader) addFile(subject string, p *Package, name string) bool {
	clean, ok := cleanPath(name)
	if !ok {
		l.noticef(subject, "%s: package %s lists %q, which is no path below the root; it is left out", subject, p.Name, name)
		return false
	}
	p.Files = append(p.Files, clean)
	return true
}

// others returns the paths of the entries of dir whose names keep refuses.
func others(root FS, dir string, keep func(name string) bool) ([]string, error) {
	names, err := root.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var paths []string
	for _, name := range names {
		if !keep(name) {
			paths = append(paths, path.Join(dir, name))
		}
	}
	return paths, nil
}
