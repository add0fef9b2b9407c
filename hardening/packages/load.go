package packages

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
)

// maxTextFile bounds one file of a text database, and maxTotal everything that
// is read of all databases and made of it, both in bytes. Real databases have
// up to some ten million.
const (
	maxTextFile = 32 << 20
	maxTotal    = 512 << 20
)

// maxPath is the longest path that Linux opens (PATH_MAX), in bytes.
const maxPath = 4096

// maxNotices bounds what one malformed database has to say.
const maxNotices = 50

// Load reads every package database of the root filesystem. A root filesystem
// without one gives none. What is malformed is left out and said in the notices;
// a database that cannot be read at all is returned as damaged. The error is
// only ever that of ctx.
func Load(ctx context.Context, root FS) ([]*Database, []string, error) {
	l := newLoader(ctx, root)
	l.each(dpkgLocations, l.loadDpkg)
	l.each(apkLocations, l.loadApk)
	l.each(rpmLocations, l.loadRPM)
	l.each(manifestLocations, l.loadManifest)
	if err := ctx.Err(); err != nil {
		return nil, nil, fmt.Errorf("read package databases: %w", context.Cause(ctx))
	}
	return l.databases, l.notices, nil
}

type loader struct {
	ctx  context.Context
	root FS
	// budget is what is left of maxTotal.
	budget    int64
	databases []*Database
	notices   []string
	// reported counts the notices of each subject.
	reported map[string]int
}

func newLoader(ctx context.Context, root FS) *loader {
	return &loader{ctx: ctx, root: root, budget: maxTotal, reported: map[string]int{}}
}

// errBudget is the error for databases that are too large together.
var errBudget = fmt.Errorf("the package databases are larger than %d bytes", maxTotal)

// spend takes n bytes from the budget.
func (l *loader) spend(n int) error {
	if l.budget -= int64(n); l.budget < 0 {
		l.budget = 0
		return errBudget
	}
	return nil
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
	dt, err := l.root.ReadFile(canonical, min(limit, l.budget))
	if err == nil {
		err = l.spend(len(dt))
	}
	return dt, canonical, err
}

// noticef records an observation about subject, a database or a file of one.
func (l *loader) noticef(subject, format string, args ...any) {
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
		l.noticef(subject, "%s: package %s lists %.200q, which is no path below the root; it is left out", subject, p.Name, name)
		return false
	}
	if err := l.spend(len(clean)); err != nil {
		if p.FilesUnknown == "" {
			p.FilesUnknown = err.Error()
			l.noticef(subject, "%s: the files of package %s are unknown: %v", subject, p.Name, err)
		}
		return false
	}
	p.Files = append(p.Files, clean)
	return true
}

// spendPackage takes from the budget what the package occupies besides Files.
func (l *loader) spendPackage(p *Package) error {
	const slice, text = 24, 16
	n := text * (len(p.Provides) + len(p.Conffiles))
	for _, group := range append(p.Depends[:len(p.Depends):len(p.Depends)], p.Recommends...) {
		n += slice + text*len(group)
	}
	return l.spend(n)
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
