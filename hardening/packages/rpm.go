package packages

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/temper-images/temper/hardening/packages/rpmdb"
)

// rpmLocations are the directories of rpm's database: the old one, that of
// Fedora 36 and SUSE, and that of rpm-ostree.
var rpmLocations = []string{"/var/lib/rpm", "/usr/lib/sysimage/rpm", "/usr/share/rpm"}

// The names of rpm's databases, the newest format first.
const (
	rpmSQLite = "rpmdb.sqlite"
	rpmNDB    = "Packages.db"
	rpmBDB    = "Packages"
)

// maxRPMFile bounds what is read of one rpm database, in bytes. Real ones have
// some ten thousand bytes for each package.
const maxRPMFile = 256 << 20

// rpmStore is the rpm database in dir.
type rpmStore struct {
	dir string
	// like is the canonical path of the newest database, the one that the
	// rewritten database takes the place of.
	like string
	// before is the contents of the SQLite database, empty without one.
	before []byte
	// present are the names in dir.
	present []string
}

// loadRPM reads all databases in a directory as one: a scanner reads each of
// them too.
func (l *loader) loadRPM(dir string) *Database {
	store := &rpmStore{dir: dir}
	db := &Database{Type: TypeRPM, Location: dir, store: store}
	var err error
	if store.present, err = l.root.ReadDir(dir); err != nil {
		l.noticef(dir, "%s: not read: %v", dir, err)
		return nil
	}
	seen := map[[sha256.Size]byte]bool{}
	for _, name := range []string{rpmSQLite, rpmNDB, rpmBDB} {
		file := path.Join(dir, name)
		dt, canonical, err := l.read(file, maxRPMFile)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		var blobs [][]byte
		if err == nil {
			blobs, err = l.rpmBlobs(file, dt)
		}
		if l.ctx.Err() != nil {
			return nil
		}
		if store.like == "" {
			store.like = canonical
		}
		if name == rpmSQLite {
			store.before = dt
		}
		for _, blob := range blobs {
			sum := sha256.Sum256(blob)
			if seen[sum] {
				continue
			}
			seen[sum] = true
			p, perr := l.rpmPackage(file, blob)
			if perr != nil {
				err = errors.Join(err, perr)
				continue
			}
			db.Packages = append(db.Packages, p)
		}
		if err != nil {
			db.Damaged = fmt.Sprintf("%s: %v", file, err)
			l.noticef(file, "%s: the package database cannot be read and is left as it is: %v", file, err)
		}
	}
	if store.like == "" && db.Damaged == "" {
		return nil
	}
	return db
}

// rpmBlobs reads the headers in a database, with the write-ahead log beside it.
func (l *loader) rpmBlobs(file string, dt []byte) ([][]byte, error) {
	wal, _, err := l.read(file+"-wal", maxRPMFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read its log: %w", err)
	}
	return rpmdb.Read(l.ctx, dt, wal)
}

// The flags that are told apart (rpm 4.18, include/rpm/rpmds.h and rpmfi.h).
const (
	rpmSenseInterpreter  = 1 << 8
	rpmSenseFindRequires = 1 << 14
	rpmSenseRPMLib       = 1 << 24
	rpmFileConfig        = 1 << 0
)

// rpmFileAbsent are the states of files that are listed but not this package's
// on the disk: replaced by another package's, not installed, and of the wrong
// colour (rpmfileState_e).
var rpmFileAbsent = map[uint32]bool{1: true, 2: true, 4: true}

// rpmPackage reads a header.
func (l *loader) rpmPackage(file string, blob []byte) (*Package, error) {
	header, err := rpmdb.ParseHeader(blob)
	if err != nil {
		return nil, err
	}
	r := &rpmReader{header: header, loader: l}
	p := &Package{
		Type: TypeRPM, record: blob,
		Name: r.text(rpmdb.TagName), Arch: r.text(rpmdb.TagArch), Source: r.text(rpmdb.TagSourceRPM),
		Version:    r.text(rpmdb.TagVersion) + "-" + r.text(rpmdb.TagRelease),
		Provides:   r.texts(rpmdb.TagProvideName),
		Recommends: rpmRelations(r.texts(rpmdb.TagRecommendName), nil),
		Depends:    rpmRelations(r.texts(rpmdb.TagRequireName), r.numbers(rpmdb.TagRequireFlags)),
	}
	if epoch := r.numbers(rpmdb.TagEpoch); len(epoch) > 0 {
		p.Version = fmt.Sprintf("%d:%s", epoch[0], p.Version)
	}
	if err := l.spendPackage(p); err != nil && r.err == nil {
		r.err = err
	}
	l.rpmFiles(file, p, r)
	if r.err == nil && p.Name == "" {
		r.err = errors.New("a package header has no name")
	}
	return p, r.err
}

// rpmFiles reads the list of files, which is held as base names and indices
// into a list of directories.
func (l *loader) rpmFiles(file string, p *Package, r *rpmReader) {
	states, flags := r.numbers(rpmdb.TagFileStates), r.numbers(rpmdb.TagFileFlags)
	add := func(i int, name string) {
		if i < len(states) && rpmFileAbsent[states[i]] {
			return
		}
		if l.addFile(file, p, name) && i < len(flags) && flags[i]&rpmFileConfig != 0 {
			p.Conffiles = append(p.Conffiles, p.Files[len(p.Files)-1])
		}
	}
	for i, name := range r.texts(rpmdb.TagOldFileNames) {
		add(i, name)
	}
	dirs, indexes, bases := r.texts(rpmdb.TagDirNames), r.numbers(rpmdb.TagDirIndexes), r.texts(rpmdb.TagBaseNames)
	if r.err != nil {
		return
	}
	if len(indexes) != len(bases) {
		r.err = fmt.Errorf("package %s lists %d files in %d directories", p.Name, len(bases), len(indexes))
		return
	}
	for i, base := range bases {
		if int64(indexes[i]) >= int64(len(dirs)) {
			r.err = fmt.Errorf("package %s lists %.200q in a directory that it does not name", p.Name, base)
			return
		}
		add(i, joinPath(dirs[indexes[i]], base))
	}
}

// rpmReader reads tags of a header up to the first error.
type rpmReader struct {
	header *rpmdb.Header
	loader *loader
	err    error
}

func (r *rpmReader) texts(tag uint32) []string {
	list, err := r.header.Strings(tag)
	if err == nil {
		err = r.loader.spend(16 * len(list))
	}
	if r.err == nil {
		r.err = err
	}
	return list
}

func (r *rpmReader) text(tag uint32) string {
	if list := r.texts(tag); len(list) > 0 {
		return list[0]
	}
	return ""
}

func (r *rpmReader) numbers(tag uint32) []uint32 {
	list, err := r.header.Numbers(tag)
	if err == nil {
		err = r.loader.spend(4 * len(list))
	}
	if r.err == nil {
		r.err = err
	}
	return list
}

// rpmRelations turns the names of needed capabilities into a conjunction of
// alternatives. Left out are what rpm itself must be able to do and the
// interpreters of scriptlets, which no one runs any more.
func rpmRelations(names []string, flags []uint32) [][]string {
	var all [][]string
	for i, name := range names {
		if i < len(flags) && (flags[i]&rpmSenseRPMLib != 0 || flags[i]&(rpmSenseInterpreter|rpmSenseFindRequires) == rpmSenseInterpreter) {
			continue
		}
		switch {
		case name == "":
		case strings.HasPrefix(name, "(") && strings.HasSuffix(name, ")"):
			all = append(all, richRelation(name)...)
		default:
			all = append(all, []string{name})
		}
	}
	return all
}

// richRelation reads a boolean dependency (rpm-dependency documentation,
// "Boolean Dependencies"): alternatives when all its operators are "or", and
// otherwise everything that it names, which may be more than is needed.
func richRelation(text string) [][]string {
	var names []string
	only := true
	skip := false
	for _, word := range richWords(text) {
		switch {
		case skip:
			skip = false
		case word == "or":
		case word == "and" || word == "if" || word == "else" || word == "unless" || word == "with" || word == "without":
			only = false
		case strings.Trim(word, "<>=") == "":
			skip = true
		default:
			names = append(names, word)
		}
	}
	if only && names != nil {
		return [][]string{names}
	}
	var all [][]string
	for _, name := range names {
		all = append(all, []string{name})
	}
	return all
}

// richWords splits a boolean dependency into words, without the parentheses that
// group. Those that belong to a name, as in "libc.so.6(GLIBC_2.34)(64bit)", stay.
func richWords(text string) []string {
	var words []string
	for word := range strings.FieldsSeq(text) {
		word = strings.TrimLeft(word, "(")
		for strings.HasSuffix(word, ")") && strings.Count(word, ")") > strings.Count(word, "(") {
			word = word[:len(word)-1]
		}
		if word != "" {
			words = append(words, word)
		}
	}
	return words
}

// rewrite writes the headers of the kept packages, unchanged because they are
// signed, into a fresh SQLite database, which every scanner reads whatever the
// format was. A header goes on listing files that are gone; scanners ask the
// disk. Everything else in the directory is indices and locks, and goes.
func (s *rpmStore) rewrite(ctx context.Context, kept []keptPackage) (*Rewrite, error) {
	entries := make([]rpmdb.Entry, len(kept))
	for i, k := range kept {
		entries[i] = rpmdb.Entry{Name: k.Name, Blob: k.record.([]byte)}
	}
	after, err := rpmdb.Write(ctx, entries)
	if err != nil {
		return nil, err
	}
	rw := &Rewrite{}
	file := path.Join(s.dir, rpmSQLite)
	if s.before != nil {
		// It may lie elsewhere, behind a link.
		file = s.like
	}
	if !bytes.Equal(s.before, after) {
		rw.Files = []File{{Path: file, Like: s.like, Contents: after}}
	}
	for _, name := range s.present {
		if name != rpmSQLite {
			rw.Remove = append(rw.Remove, path.Join(s.dir, name))
		}
	}
	return rw, nil
}
