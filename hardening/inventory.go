package hardening

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/temper-images/temper/hardening/linkage"
	"github.com/temper-images/temper/hardening/packages"
	"github.com/temper-images/temper/hardening/rootfs"
	"github.com/temper-images/temper/hardening/spec"
)

// inventory is what one reading of a root filesystem tells: its entries, who
// owns them, and which of them are programs, libraries and scripts.
type inventory struct {
	tree    *rootfs.Tree
	entries []*rootfs.Entry
	index   map[string]int

	objects  map[string]*linkage.Object
	scripts  map[string]linkage.Shebang
	resolver *linkage.Resolver

	databases []*packages.Database
	packages  []*packages.Package
	// owners holds, for each entry, the indices into packages of those that
	// list it. A directory has many owners, a file seldom more than one.
	owners [][]int32

	// watch are the imported symbols that decisions ask for, nil for none.
	watch *linkage.Watch

	notices []string
}

// takeInventory reads everything that decisions need from root. The dynamic loader
// obeys the image's environment and working directory; watch are the imported
// symbols that decisions will ask for.
func takeInventory(ctx context.Context, root *os.Root, image spec.ImageConfig, watch *linkage.Watch) (*inventory, error) {
	inv, err := scan(ctx, root)
	if err != nil {
		return nil, err
	}
	inv.watch = watch
	if err := inv.readPrograms(ctx, image); err != nil {
		return nil, err
	}
	if err := inv.readPackages(ctx); err != nil {
		return nil, err
	}
	return inv, nil
}

// scan lists the entries of root and reads none of them.
func scan(ctx context.Context, root *os.Root) (*inventory, error) {
	tree, err := rootfs.Scan(ctx, root, rootfs.ScanOptions{})
	if err != nil {
		return nil, fmt.Errorf("scan the root filesystem: %w", err)
	}
	inv := &inventory{
		tree: tree, entries: tree.Entries(), index: make(map[string]int, len(tree.Entries())),
		objects: map[string]*linkage.Object{}, scripts: map[string]linkage.Shebang{},
	}
	for i, e := range inv.entries {
		inv.index[e.Path] = i
	}
	return inv, nil
}

// notice records an observation that changes nothing. The list is bounded: a
// hostile root filesystem may hold a million malformed files.
func (inv *inventory) notice(format string, args ...any) {
	const most = 200
	if len(inv.notices) < most {
		inv.notices = append(inv.notices, fmt.Sprintf(format, args...))
	} else if len(inv.notices) == most {
		inv.notices = append(inv.notices, "further notices are left out")
	}
}

// probed is what the head of one file told.
type probed struct {
	object *linkage.Object
	script *linkage.Shebang
	err    error
}

// readPrograms reads the head of every regular file, in parallel, and resolves
// what the ELF files among them link to.
func (inv *inventory) readPrograms(ctx context.Context, image spec.ImageConfig) error {
	var files []int
	for i, e := range inv.entries {
		if e.Kind == rootfs.Regular && e.Size >= 4 {
			files = append(files, i)
		}
	}
	results := make([]probed, len(files))
	workers := runtime.GOMAXPROCS(0)
	eg, egctx := errgroup.WithContext(ctx)
	for w := range workers {
		eg.Go(func() error {
			for k := w; k < len(files); k += workers {
				if err := egctx.Err(); err != nil {
					return context.Cause(egctx)
				}
				r, err := inv.probe(inv.entries[files[k]])
				if err != nil {
					return err
				}
				results[k] = r
			}
			return nil
		})
	}
	if err := eg.Wait(); err != nil {
		return err
	}
	for k, r := range results {
		p := inv.entries[files[k]].Path
		switch {
		case r.err != nil:
			inv.notice("%q is treated as plain data: %v", p, r.err)
		case r.object != nil:
			inv.objects[p] = r.object
		case r.script != nil:
			inv.scripts[p] = *r.script
		}
	}
	resolver, err := linkage.New(ctx, treeFS{inv.tree}, inv.objects, linkage.Options{Env: image.Env, WorkingDir: image.WorkingDir})
	if err != nil {
		return fmt.Errorf("resolve shared libraries: %w", err)
	}
	for _, n := range resolver.Notices() {
		inv.notice("%s", n)
	}
	inv.resolver = resolver
	return nil
}

// probe reads the head of one file. A file that is not what its head says is
// data, which probed.err explains; only a failed read is an error.
func (inv *inventory) probe(e *rootfs.Entry) (probed, error) {
	f, err := inv.tree.Open(e.Path)
	if err != nil {
		return probed{}, err
	}
	defer f.Close()
	head := make([]byte, 256)
	n, err := f.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return probed{}, fmt.Errorf("read %q: %w", e.Path, err)
	}
	head = head[:n]
	switch {
	case strings.HasPrefix(string(head), "\x7fELF"):
		obj, err := inv.watch.Parse(f, e.Size)
		if err != nil {
			return probed{err: err}, nil
		}
		return probed{object: obj}, nil
	case e.Mode&0o111 != 0:
		if sb, ok := linkage.ParseShebang(head); ok {
			return probed{script: &sb}, nil
		}
	}
	return probed{}, nil
}

// readPackages loads the package databases and finds the owners of entries.
func (inv *inventory) readPackages(ctx context.Context) error {
	dbs, notices, err := packages.Load(ctx, packageFS{treeFS{inv.tree}})
	if err != nil {
		return fmt.Errorf("read package databases: %w", err)
	}
	for _, n := range notices {
		inv.notice("%s", n)
	}
	inv.databases = dbs
	inv.owners = make([][]int32, len(inv.entries))
	parents := map[string]string{}
	for _, db := range dbs {
		for _, pkg := range db.Packages {
			id := int32(len(inv.packages))
			inv.packages = append(inv.packages, pkg)
			for _, f := range pkg.Files {
				i, ok := inv.entryOf(f, parents)
				if !ok {
					continue
				}
				// Packages come in their order: only the last owner can be this one.
				if o := inv.owners[i]; len(o) == 0 || o[len(o)-1] != id {
					inv.owners[i] = append(o, id)
				}
			}
		}
	}
	return nil
}

// relate finds which packages ask for which.
func (inv *inventory) relate() *packages.Relations {
	parents := map[string]string{}
	return packages.Relate(inv.packages, func(p string) []int32 {
		if e, ok := inv.entryOf(p, parents); ok {
			return inv.owners[e]
		}
		return nil
	})
}

// entryOf finds the entry that a database's path names: the last element is
// taken as it is, since a package may own a symbolic link, and the directories
// before it are followed, since a database may say /bin for /usr/bin.
func (inv *inventory) entryOf(p string, parents map[string]string) (int, bool) {
	if i, ok := inv.index[p]; ok {
		return i, true
	}
	dir := path.Dir(p)
	canonical, ok := parents[dir]
	if !ok {
		if res, err := inv.tree.Resolve(dir); err == nil {
			canonical = res.Entry.Path
		}
		parents[dir] = canonical
	}
	if canonical == "" {
		return 0, false
	}
	i, ok := inv.index[path.Join(canonical, path.Base(p))]
	return i, ok
}

// isFileOfPackage reports whether an entry counts as a file of its owners. A
// link that several packages list stands for a directory that they share:
// /lib, in a system with merged /usr.
func (inv *inventory) isFileOfPackage(i int) bool {
	switch inv.entries[i].Kind {
	case rootfs.Directory:
		return false
	case rootfs.Symlink:
		if len(inv.owners[i]) > 1 {
			target, _, ok := inv.find(inv.entries[i].Path)
			return !ok || inv.entries[target].Kind != rootfs.Directory
		}
	}
	return true
}

// inDatabase reports whether a path is part of a package database itself, which
// stays when the package that lists it goes.
func (inv *inventory) inDatabase(p string) bool {
	return slices.ContainsFunc(inv.databases, func(db *packages.Database) bool { return underTree(db.Location, p) })
}

// find follows a path through all its links and returns the entry it names and
// the links passed.
func (inv *inventory) find(p string) (entry int, links []int, ok bool) {
	res, err := inv.tree.Resolve(p)
	if err != nil {
		return 0, nil, false
	}
	for _, l := range res.Links {
		links = append(links, inv.index[l])
	}
	return inv.index[res.Entry.Path], links, true
}

// treeFS gives the readers of databases and linkage their view of a tree.
type treeFS struct{ tree *rootfs.Tree }

func (fs treeFS) Resolve(p string) (string, []string, error) {
	res, err := fs.tree.Resolve(p)
	if err != nil {
		return "", nil, err
	}
	return res.Entry.Path, res.Links, nil
}

func (fs treeFS) ReadFile(p string, limit int64) ([]byte, error) {
	res, err := fs.tree.Resolve(p)
	if err != nil {
		return nil, err
	}
	return fs.tree.ReadFile(res.Entry.Path, limit)
}

func (fs treeFS) ReadDir(dir string) ([]string, error) {
	res, err := fs.tree.Resolve(dir)
	if err != nil {
		return nil, err
	}
	if res.Entry.Kind != rootfs.Directory {
		return nil, fmt.Errorf("read directory %q: %w", dir, rootfs.ErrNotDirectory)
	}
	children := fs.tree.Children(res.Entry.Path)
	names := make([]string, len(children))
	for i, c := range children {
		names[i] = path.Base(c.Path)
	}
	return names, nil
}

// packageFS is the same view without the links that were followed.
type packageFS struct{ treeFS }

func (fs packageFS) Resolve(p string) (string, error) {
	canonical, _, err := fs.treeFS.Resolve(p)
	return canonical, err
}
