package examine

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	syftpkg "github.com/anchore/syft/syft/pkg"

	"github.com/temper-images/temper/client/catalogue"
	"github.com/temper-images/temper/client/imagefs"
)

// Package is a package that is in an image.
type Package struct {
	// Type is "deb", "apk", "rpm", or that of a language as Syft calls it: "python",
	// "npm", "go-module".
	Type    string `json:"type"`
	Name    string `json:"name"`
	Version string `json:"version"`
	// Arch is empty where the database does not tell.
	Arch string `json:"arch,omitempty"`
}

// readPackages lists the packages and finds out who owns what.
func (i *Image) readPackages(ctx context.Context, o Options) error {
	only := []string{"os"}
	if o.AllPackages {
		only = []string{"*"}
	}
	found, err := catalogue.Image(ctx, i.Image.Image, i.Files, catalogue.Options{Reference: i.Label(), Only: only})
	if err != nil {
		return err
	}
	i.owners = map[string][]int32{}
	dirs := map[string]string{}
	list := found.Artifacts.Packages.Sorted()
	slices.SortStableFunc(list, func(a, b syftpkg.Package) int {
		return cmp.Or(cmp.Compare(a.Type, b.Type), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Version, b.Version), cmp.Compare(arch(a), arch(b)))
	})
	for _, p := range list {
		id := int32(len(i.Packages))
		i.Packages = append(i.Packages, Package{Type: string(p.Type), Name: p.Name, Version: p.Version, Arch: arch(p)})
		if err := context.Cause(ctx); err != nil {
			return err
		}
		var files []string
		if owner, ok := p.Metadata.(syftpkg.FileOwner); ok {
			files = owner.OwnedFiles()
		}
		if m, ok := p.Metadata.(syftpkg.DpkgDBEntry); ok {
			more, err := i.dpkgList(m)
			if err != nil {
				return err
			}
			files = append(files, more...)
		}
		for _, name := range files {
			at, ok := i.entryOf(name, dirs)
			if ok && !slices.Contains(i.owners[at], id) {
				i.owners[at] = append(i.owners[at], id)
			}
		}
	}
	return nil
}

// arch is the architecture of a package of a distribution.
func arch(p syftpkg.Package) string {
	switch m := p.Metadata.(type) {
	case syftpkg.DpkgDBEntry:
		return m.Architecture
	case syftpkg.ApkDBEntry:
		return m.Architecture
	case syftpkg.RpmDBEntry:
		return m.Arch
	}
	return ""
}

// Bounds on dpkg's list of a package's files, in bytes and lines.
const (
	maxList  = 64 << 20
	maxFiles = 1 << 20
)

// dpkgList reads dpkg's own list of a package's files. The catalogue has those with
// a checksum, and symbolic links have none.
func (i *Image) dpkgList(p syftpkg.DpkgDBEntry) ([]string, error) {
	if p.Package == "" || strings.ContainsAny(p.Package+p.Architecture, "/\x00") {
		return nil, nil
	}
	for _, base := range []string{p.Package + ":" + p.Architecture, p.Package} {
		_, _, e, err := i.Follow("/var/lib/dpkg/info/" + base + ".list")
		if err != nil || e == nil || !e.Mode.IsRegular() || e.Size > maxList {
			continue
		}
		f, err := i.Files.OpenEntry(e)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		var list []string
		sc := bufio.NewScanner(io.LimitReader(f, maxList))
		for sc.Scan() && len(list) < maxFiles {
			if name := sc.Text(); path.IsAbs(name) && name != "/." {
				list = append(list, path.Clean(name))
			}
		}
		// A line that is too long is no path; what was read before it counts.
		if err := sc.Err(); err != nil && !errors.Is(err, bufio.ErrTooLong) {
			return nil, fmt.Errorf("image %s: %w", i.Digest, err)
		}
		return list, nil
	}
	return nil, nil
}

// entryOf finds the entry that a database's path names: the last element is taken
// as it is, since a package may own a link, and the directories before it are
// followed, since a database may say /bin for /usr/bin.
func (i *Image) entryOf(name string, dirs map[string]string) (string, bool) {
	if e, ok := i.Files.Lookup(name); ok {
		return e.Path, true
	}
	dir, base := path.Split(name)
	canonical, seen := dirs[dir]
	if !seen {
		if _, at, e, err := i.Follow(dir); err == nil && e != nil {
			canonical = at
		}
		dirs[dir] = canonical
	}
	if canonical == "" {
		return "", false
	}
	e, ok := i.Files.Lookup(canonical + "/" + base)
	if !ok {
		return "", false
	}
	return e.Path, true
}

// Owners are the packages that list an entry. A directory may have many, a file
// seldom more than one.
func (i *Image) Owners(e *imagefs.Entry) []Package {
	var out []Package
	for _, id := range i.owners[e.Path] {
		out = append(out, i.Packages[id])
	}
	return out
}
