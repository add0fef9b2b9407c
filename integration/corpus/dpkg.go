package corpus

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// dpkg is what a runtime stage's package database says.
type dpkg struct {
	packages []*dpkgPackage
	// byName has the packages of a name and those that provide it.
	byName map[string][]*dpkgPackage
}

type dpkgPackage struct {
	name, version, arch, source string
	depends                     []string
	// files are the paths of its list, directories too.
	files []string
}

// readDpkg reads the database below root; it is empty when there is none.
func readDpkg(root string) (*dpkg, error) {
	db := &dpkg{byName: map[string][]*dpkgPackage{}}
	dt, err := os.ReadFile(filepath.Join(root, "var/lib/dpkg/status"))
	if errors.Is(err, fs.ErrNotExist) {
		return db, nil
	}
	if err != nil {
		return nil, err
	}
	for paragraph := range strings.SplitSeq(string(dt), "\n\n") {
		fields := map[string]string{}
		for line := range strings.Lines(paragraph) {
			if key, value, ok := strings.Cut(line, ":"); ok && !strings.HasPrefix(line, " ") {
				fields[key] = strings.TrimSpace(value)
			}
		}
		if fields["Status"] != "install ok installed" {
			continue
		}
		p := &dpkgPackage{name: fields["Package"], version: fields["Version"], arch: fields["Architecture"], source: fields["Source"]}
		for _, field := range []string{"Pre-Depends", "Depends"} {
			for one := range strings.SplitSeq(fields[field], ",") {
				if one = strings.TrimSpace(one); one != "" {
					p.depends = append(p.depends, one)
				}
			}
		}
		for _, name := range []string{p.name, p.name + ":" + p.arch} {
			list, err := os.ReadFile(filepath.Join(root, "var/lib/dpkg/info", name+".list"))
			if err == nil {
				p.files = strings.Split(strings.TrimSpace(string(list)), "\n")
				break
			}
		}
		db.packages = append(db.packages, p)
		db.byName[p.name] = append(db.byName[p.name], p)
		for one := range strings.SplitSeq(fields["Provides"], ",") {
			if name := dependencyName(one); name != "" {
				db.byName[name] = append(db.byName[name], p)
			}
		}
	}
	return db, nil
}

// dependencyName is the name in "name:arch (>= version)".
func dependencyName(dependency string) string {
	name, _, _ := strings.Cut(strings.TrimSpace(dependency), " ")
	name, _, _ = strings.Cut(name, "(")
	name, _, _ = strings.Cut(name, ":")
	return name
}

// closure lists the packages of those names and all that they depend on; of
// alternatives, the first that is installed.
func (db *dpkg) closure(names []string) []*dpkgPackage {
	var list []*dpkgPackage
	seen := map[*dpkgPackage]bool{}
	var visit func(name string) bool
	visit = func(name string) bool {
		found := db.byName[name]
		if len(found) == 0 {
			return false
		}
		p := found[0]
		if seen[p] {
			return true
		}
		seen[p] = true
		list = append(list, p)
		for _, dependency := range p.depends {
			for alternative := range strings.SplitSeq(dependency, "|") {
				if visit(dependencyName(alternative)) {
					break
				}
			}
		}
		return true
	}
	for _, name := range names {
		name, _, _ = strings.Cut(name, "=")
		name, _, _ = strings.Cut(name, "/")
		visit(dependencyName(name))
	}
	return list
}

// documentation are the directories that a package closure leaves out.
var documentation = []string{"/usr/share/doc/", "/usr/share/man/", "/usr/share/info/"}

// closureSize is the size of the files of a package closure, without documentation.
func (db *dpkg) closureSize(root string, names []string) int64 {
	var sum int64
	seen := map[inode]bool{}
	for _, p := range db.closure(names) {
		for _, file := range p.files {
			if slices.ContainsFunc(documentation, func(dir string) bool { return strings.HasPrefix(file+"/", dir) }) {
				continue
			}
			info, err := os.Lstat(filepath.Join(root, file))
			if err != nil {
				continue
			}
			if st, ok := info.Sys().(*syscall.Stat_t); ok {
				id := inode{st.Dev, st.Ino}
				if seen[id] {
					continue
				}
				seen[id] = true
			}
			sum += diskUse(info)
		}
	}
	return sum
}

// unowned is the size of the files below root that are in no package's list.
func (db *dpkg) unowned(root string) (int64, error) {
	owned := map[inode]bool{}
	for _, p := range db.packages {
		for _, file := range p.files {
			if info, err := os.Lstat(filepath.Join(root, file)); err == nil {
				if st, ok := info.Sys().(*syscall.Stat_t); ok {
					owned[inode{st.Dev, st.Ino}] = true
				}
			}
		}
	}
	var sum int64
	err := filepath.WalkDir(root, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if st, ok := info.Sys().(*syscall.Stat_t); ok {
			id := inode{st.Dev, st.Ino}
			if owned[id] {
				return nil
			}
			owned[id] = true
		}
		sum += diskUse(info)
		return nil
	})
	return sum, err
}
