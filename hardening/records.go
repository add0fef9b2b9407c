package hardening

import (
	"context"

	"github.com/temper-images/temper/hardening/packages"
	"github.com/temper-images/temper/hardening/rootfs"
)

// rewritePackages reduces the package databases to the packages that still
// have files, and counts those.
func (p *plan) rewritePackages(ctx context.Context) error {
	p.packageFiles = make([][2]int, len(p.inv.packages))
	p.recordKept = make([]bool, len(p.inv.packages))
	parents := map[string]string{}
	ids := make(map[*packages.Package]int, len(p.inv.packages))
	for i, pkg := range p.inv.packages {
		ids[pkg] = i
	}
	kept := func(pkg *packages.Package) []string {
		id := ids[pkg]
		var left []string
		files := 0
		for _, name := range pkg.Files {
			i, ok := p.inv.entryOf(name, parents)
			if !ok {
				continue
			}
			isFile := p.inv.isFileOfPackage(i)
			if isFile {
				p.packageFiles[id][0]++
			}
			if !p.keeps(i) {
				continue
			}
			left = append(left, name)
			if isFile {
				files++
			}
		}
		p.packageFiles[id][1] = files
		p.recordKept[id] = files > 0 || pkg.FilesUnknown != ""
		if files == 0 {
			return nil
		}
		return left
	}
	for _, db := range p.inv.databases {
		if db.Damaged != "" {
			p.keepTree(db.Location)
			continue
		}
		rw, err := db.Rewrite(ctx, kept)
		if err != nil {
			return err
		}
		p.keepTree(db.Location)
		for _, tree := range rw.Remove {
			p.dropTree(tree)
		}
		for _, f := range rw.Files {
			p.setContents(f)
		}
	}
	return nil
}

// keepTree takes a database's directory out of the package manager's state,
// so that the database alone says what of it goes.
func (p *plan) keepTree(dir string) {
	if i, ok := p.inv.index[dir]; ok {
		delete(p.class, i)
	}
	for _, i := range p.inv.below(dir) {
		delete(p.class, i)
	}
}

func (p *plan) dropTree(dir string) {
	if i, ok := p.inv.index[dir]; ok {
		p.class[i] = classManager
	}
	for _, i := range p.inv.below(dir) {
		p.class[i] = classManager
	}
}

// setContents replaces a file, or adds one that takes over another's metadata.
func (p *plan) setContents(f packages.File) {
	if i, ok := p.inv.index[f.Path]; ok && p.inv.entries[i].Kind == rootfs.Regular {
		delete(p.class, i)
		p.copy.Contents[f.Path] = f.Contents
		return
	}
	entry := rootfs.NewEntry{Path: f.Path, Kind: rootfs.Regular, Metadata: rootfs.Metadata{Mode: 0o644}, Contents: f.Contents}
	if i, ok := p.inv.index[f.Like]; ok {
		entry.Metadata, entry.ModTime = p.inv.entries[i].Metadata(), p.inv.entries[i].ModTime
	}
	p.copy.Add = append(p.copy.Add, entry)
}
