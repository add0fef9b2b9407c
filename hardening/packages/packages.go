// Package packages reads the package databases of a root filesystem and
// rewrites them to the packages that still have files.
//
// It knows the databases of dpkg (with the status.d form of distroless images),
// apk and rpm (BerkeleyDB, ndb and SQLite, and the text manifests of distroless
// Azure Linux). Everything it reads is untrusted: sizes are bounded, nothing
// panics, and what cannot be read is said in a notice. It writes nothing; a
// Rewrite says what the caller has to write.
package packages

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"
)

// FS is the root filesystem as this package needs it. Paths are absolute and
// slash separated, with "/" as the root of the examined filesystem.
type FS interface {
	// Resolve returns the canonical path of what path names, following symbolic
	// links as the kernel would in a chroot. The error for a path that does not
	// exist is fs.ErrNotExist (by errors.Is).
	Resolve(path string) (string, error)
	// ReadFile returns the contents of the regular file at a canonical path. A
	// file of more than limit bytes is an error.
	ReadFile(path string, limit int64) ([]byte, error)
	// ReadDir returns the names in the directory at a canonical path, sorted.
	ReadDir(dir string) ([]string, error)
}

// The values of Package.Type and Database.Type, as in a package URL.
const (
	TypeDeb = "deb"
	TypeApk = "apk"
	TypeRPM = "rpm"
)

// Package is one package that a database says is installed.
type Package struct {
	Type    string
	Name    string
	Version string
	Arch    string
	// Source names the source package, and SourceVersion its version; they are
	// Name and Version where the database gives no others. For rpm, Source is
	// the file name of the source package and SourceVersion is empty.
	Source        string
	SourceVersion string
	// Files lists absolute, clean paths in the database's order, directories
	// included. Symbolic links in directory names are not resolved. Paths that
	// dpkg diverted are listed where the file really lies.
	Files []string
	// FilesUnknown, when not empty, says why Files is incomplete. The record of
	// such a package is never dropped, since its files cannot be known to be
	// gone.
	FilesUnknown string
	// Conffiles lists those paths that the package marks as configuration.
	Conffiles []string
	// Depends is a conjunction of alternatives: one of each inner list is
	// needed. Version constraints and architecture qualifiers are stripped.
	// An alternative is a package's name, one of its Provides, or an absolute
	// path among its Files. What only maintainer scripts needed is left out
	// where the database tells.
	Depends [][]string
	// Recommends is like Depends, for weak dependencies.
	Recommends [][]string
	// Provides lists capabilities without versions.
	Provides []string
	// Essential is dpkg's flag of that name.
	Essential bool
	// Auto says that the package was installed only because another needed it.
	// It is always false for rpm, whose database does not tell.
	Auto bool
	// Section and Priority are dpkg's fields.
	Section  string
	Priority string

	// record ties the package to its place in the database.
	record any
}

// String returns "name version (arch)".
func (p *Package) String() string {
	if p.Arch == "" {
		return p.Name + " " + p.Version
	}
	return fmt.Sprintf("%s %s (%s)", p.Name, p.Version, p.Arch)
}

// Database is one package database.
type Database struct {
	// Type is the type of all packages in it.
	Type string
	// Location is the canonical path of the directory that holds it.
	Location string
	// Damaged, when not empty, says why the database as a whole could not be
	// read. Who owns which file is then unknown, Packages may be incomplete,
	// and Rewrite leaves everything as it is.
	Damaged string
	// Packages are in the database's order. Do not modify.
	Packages []*Package

	store store
}

// store is the part of a database that depends on its format.
type store interface {
	// rewrite returns the changes that leave the packages in kept, with the
	// paths of theirs that remain. It is not called when kept is empty.
	rewrite(ctx context.Context, kept []keptPackage) (*Rewrite, error)
}

// keptPackage is a package whose record stays, with the paths that remain.
type keptPackage struct {
	*Package
	paths map[string]bool
}

// Rewrite is what must change in the root filesystem for a database to hold
// just the kept packages. Equal inputs give equal bytes.
type Rewrite struct {
	// Files are the files that get new contents, sorted by path.
	Files []File
	// Remove lists canonical paths that go, whole trees where they are
	// directories, sorted. None lies below another.
	Remove []string
}

// File is the new contents of one file of a database.
type File struct {
	// Path is the canonical path to write.
	Path string
	// Like is the path of the file whose mode, owner and times the written file
	// takes over; it is Path where the file existed before.
	Like     string
	Contents []byte
}

// Rewrite reduces the database to the packages that still have files. The
// function kept is called once for each package and returns those of its Files
// that remain, or nil when the package is gone; a list that is empty but not nil
// keeps the record of a package with no files. The records of packages whose
// files are unknown stay in any case. When no package stays, the whole database
// goes. A damaged database is left as it is.
func (db *Database) Rewrite(ctx context.Context, kept func(*Package) []string) (*Rewrite, error) {
	if db.Damaged != "" {
		return &Rewrite{}, nil
	}
	var left []keptPackage
	for _, p := range db.Packages {
		paths := kept(p)
		if paths == nil && p.FilesUnknown == "" {
			continue
		}
		k := keptPackage{Package: p, paths: make(map[string]bool, len(paths))}
		for _, name := range paths {
			k.paths[name] = true
		}
		left = append(left, k)
	}
	if len(left) == 0 {
		return &Rewrite{Remove: []string{db.Location}}, nil
	}
	rw, err := db.store.rewrite(ctx, left)
	if err != nil {
		return nil, fmt.Errorf("rewrite %s database %s: %w", db.Type, db.Location, err)
	}
	slices.SortFunc(rw.Files, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	slices.Sort(rw.Remove)
	return rw, nil
}

// cleanPath turns a path of a database into an absolute, clean one. It refuses
// names that would leave the root, the root itself, and what no system call
// would take.
func cleanPath(name string) (string, bool) {
	if name == "" || len(name) > maxPath || strings.IndexByte(name, 0) >= 0 {
		return "", false
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == ".." {
			return "", false
		}
	}
	name = path.Clean("/" + name)
	return name, name != "/"
}

// joinPath joins a directory and a name in it as they are, cut to what
// cleanPath refuses when they are too long.
func joinPath(dir, name string) string {
	return dir[:min(len(dir), maxPath)] + "/" + name[:min(len(name), maxPath)]
}
