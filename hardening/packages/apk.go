package packages

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
)

// apkLocations are the directories of apk's database (apk(8), FILES).
var apkLocations = []string{"/lib/apk/db", "/usr/lib/apk/db"}

// apkWorld names the packages that were asked for by name (apk-world(5)).
const apkWorld = "/etc/apk/world"

func (l *loader) loadApk(dir string) *Database {
	file := path.Join(dir, "installed")
	dt, canonical, err := l.read(file, maxTextFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	store := &apkStore{root: l.root, dir: dir, file: canonical, before: dt}
	db := &Database{Type: TypeApk, Location: dir, store: store}
	if err != nil {
		db.Damaged = fmt.Sprintf("%s: %v", file, err)
		l.noticef(file, "%s: the package database cannot be read and is left as it is: %v", file, err)
		return db
	}
	world := l.apkWorld()
	for _, raw := range splitParagraphs(dt) {
		if l.ctx.Err() != nil {
			return db
		}
		p := l.apkPackage(file, raw)
		if p.Name == "" {
			l.noticef(file, "%s: a record without a name is left out", file)
			continue
		}
		if err := l.spendPackage(p); err != nil {
			db.Damaged = fmt.Sprintf("%s: %v", file, err)
			l.noticef(file, "%s is left as it is: %v", file, err)
			return db
		}
		p.Auto = world != nil && !world[p.Name]
		db.Packages = append(db.Packages, p)
	}
	if len(db.Packages) == 0 && len(bytes.TrimSpace(dt)) > 0 {
		db.Damaged = file + ": it holds no package record"
		l.noticef(file, "%s: it holds no package record and is left as it is", file)
	}
	return db
}

// apkWorld reads the names that were asked for; nil when they are unknown.
func (l *loader) apkWorld() map[string]bool {
	dt, _, err := l.read(apkWorld, maxTextFile)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			l.noticef(apkWorld, "%s: not read: %v", apkWorld, err)
		}
		return nil
	}
	world := map[string]bool{}
	for word := range strings.FieldsSeq(string(dt)) {
		world[apkName(word)] = true
	}
	return world
}

// apkLine splits a line of an installed file into its one-letter field and its
// value.
func apkLine(line []byte) (field byte, value string, ok bool) {
	line = bytes.TrimSuffix(line, []byte("\n"))
	if len(line) < 2 || line[1] != ':' {
		return 0, "", false
	}
	return line[0], string(line[2:]), true
}

// apkPackage reads a record. The fields are those of APKINDEX, then F for each
// directory and R for each file in it (apk-package(5), apk-tools
// src/database.c, apk_db_fdb_read).
func (l *loader) apkPackage(file string, raw []byte) *Package {
	p := &Package{Type: TypeApk, record: raw}
	dir, malformed := "", 0
	for line := range bytes.Lines(raw) {
		if len(line) == 1 {
			break
		}
		field, value, ok := apkLine(line)
		if !ok {
			malformed++
			continue
		}
		switch field {
		case 'P':
			p.Name = value
		case 'V':
			p.Version, p.SourceVersion = value, value
		case 'A':
			p.Arch = value
		case 'o':
			p.Source = value
		case 'D':
			for word := range strings.FieldsSeq(value) {
				// A conflict is no need.
				if name := apkName(word); name != "" && !strings.HasPrefix(name, "!") {
					p.Depends = append(p.Depends, []string{name})
				}
			}
		case 'p':
			for word := range strings.FieldsSeq(value) {
				p.Provides = append(p.Provides, apkName(word))
			}
		case 'F':
			dir = value
			if dir != "" {
				l.addFile(file, p, dir)
			}
		case 'R':
			l.addFile(file, p, joinPath(dir, value))
		}
	}
	if p.Source == "" {
		p.Source = p.Name
	}
	if malformed > 0 {
		l.noticef(file, "%s: %d lines of package %s are not understood", file, malformed, p.Name)
	}
	return p
}

// apkName strips the version and the repository tag of a dependency.
func apkName(word string) string {
	if end := strings.IndexAny(word, "<>=~@"); end >= 0 {
		return word[:end]
	}
	return word
}

// apkStore is the apk database in dir.
type apkStore struct {
	root      FS
	dir, file string
	before    []byte
}

// rewrite keeps the records of the kept packages, without the directories and
// files that are gone. The rest of the directory is state for installing
// packages, and goes.
func (s *apkStore) rewrite(ctx context.Context, kept []keptPackage) (*Rewrite, error) {
	var after []byte
	for _, k := range kept {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		raw := k.record.([]byte)
		if k.FilesUnknown == "" {
			raw = apkReduce(raw, k.paths)
		}
		after = append(after, raw...)
	}
	rw := &Rewrite{}
	if !bytes.Equal(s.before, after) {
		rw.Files = []File{{Path: s.file, Like: s.file, Contents: after}}
	}
	var err error
	rw.Remove, err = others(s.root, s.dir, func(name string) bool { return name == "installed" || path.Join(s.dir, name) == s.file })
	return rw, err
}

// apkReduce returns a record without the entries of paths that are not kept. A
// directory that stays for its files only is still listed, as apk needs it.
func apkReduce(raw []byte, kept map[string]bool) []byte {
	// keep is about the last directory or file, whose attributes follow it, and
	// dirLines hold a directory that may yet turn out to be needed.
	var out, dirLines []byte
	dir, keep := "", true
	for line := range bytes.Lines(raw) {
		field, value, _ := apkLine(line)
		switch field {
		case 'F':
			dir, dirLines = value, nil
			name, _ := cleanPath(dir)
			keep = dir == "" || kept[name]
			if !keep {
				dirLines = append(dirLines, line...)
			}
		case 'R':
			name, clean := cleanPath(joinPath(dir, value))
			keep = clean && kept[name]
			if keep {
				out = append(out, dirLines...)
				dirLines = nil
			}
		case 'M':
			if dirLines != nil {
				dirLines = append(dirLines, line...)
			}
		case 'a', 'Z':
		default:
			out = append(out, line...)
			continue
		}
		if keep {
			out = append(out, line...)
		}
	}
	return out
}
