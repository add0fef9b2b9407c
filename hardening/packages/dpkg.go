package packages

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"strings"
)

// dpkgLocations are the directories of dpkg's database (dpkg(1), FILES).
var dpkgLocations = []string{"/var/lib/dpkg"}

// extendedStates is where apt notes which packages are there only because
// others need them.
const extendedStates = "/var/lib/apt/extended_states"

// dpkgWord is what dpkg accepts as a package's name and, without the dots and
// signs, as an architecture. It keeps names out of paths that are not meant.
var dpkgWord = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9.+_-]*$`)

// dpkgRecord ties a package to dpkg's files.
type dpkgRecord struct {
	// file is the canonical path of the file that holds the stanza.
	file string
	raw  []byte
	// list, md5sums and conffiles are canonical paths, empty when absent.
	list, md5sums, conffiles string
	// diversions are those of the database, name the package's own name.
	diversions map[string]diversion
	name       string
}

// actual returns where a path that the database lists really lies.
func (r *dpkgRecord) actual(listed string) (string, bool) {
	name, ok := cleanPath(listed)
	if d, diverted := r.diversions[name]; diverted && d.owner != r.name {
		name = d.to
	}
	return name, ok
}

// dpkgLoader reads one dpkg database.
type dpkgLoader struct {
	*loader
	db    *Database
	store *dpkgStore
	// info and statusDir are the names in the store's directories.
	info, statusDir map[string]bool
	auto            map[string]bool
	diversions      map[string]diversion
	seen            map[string]bool
}

func (l *loader) loadDpkg(dir string) *Database {
	d := &dpkgLoader{
		loader: l,
		store:  &dpkgStore{root: l.root, dir: dir},
		seen:   map[string]bool{},
	}
	d.db = &Database{Type: TypeDeb, Location: dir, store: d.store}
	d.store.info, d.info = d.names(path.Join(dir, "info"))
	d.store.statusDir, d.statusDir = d.names(path.Join(dir, "status.d"))
	status, statusPath, err := l.read(path.Join(dir, "status"), maxTextFile)
	if errors.Is(err, fs.ErrNotExist) && len(d.statusDir) == 0 {
		return nil
	}
	d.auto = d.autoInstalled()
	d.diversions = d.readDiversions()
	switch {
	case err == nil:
		d.add(dpkgFile{entry: path.Join(dir, "status"), path: statusPath}, status)
	case !errors.Is(err, fs.ErrNotExist):
		d.damaged(path.Join(dir, "status"), err)
	}
	for _, name := range sortedKeys(d.statusDir) {
		if strings.HasSuffix(name, ".md5sums") {
			continue
		}
		file := path.Join(d.store.statusDir, name)
		if canonical, err := l.root.Resolve(file); err == nil {
			if _, err := l.root.ReadDir(canonical); err == nil {
				continue
			}
		}
		dt, canonical, err := l.read(file, maxTextFile)
		if err != nil {
			d.damaged(file, err)
			continue
		}
		d.add(dpkgFile{entry: file, path: canonical, name: name}, dt)
	}
	return d.db
}

func (d *dpkgLoader) damaged(file string, err error) {
	d.db.Damaged = fmt.Sprintf("%s: %v", file, err)
	d.noticef(d.db.Location, "%s: the package database cannot be read and is left as it is: %v", file, err)
}

// names returns the canonical path of a directory of the database and the names
// in it, none when it is absent.
func (d *dpkgLoader) names(dir string) (string, map[string]bool) {
	canonical, err := d.root.Resolve(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	var names []string
	if err == nil {
		names, err = d.root.ReadDir(canonical)
	}
	if err != nil {
		d.noticef(dir, "%s: not read: %v", dir, err)
		return "", nil
	}
	set := make(map[string]bool, len(names))
	for _, name := range names {
		set[name] = true
	}
	return canonical, set
}

// add reads the stanzas of a status file.
func (d *dpkgLoader) add(status dpkgFile, dt []byte) {
	file := status.path
	stanzas, malformed := splitStanzas(dt)
	if malformed > 0 {
		d.noticef(file, "%s: %d lines are not understood", file, malformed)
	}
	records := 0
	for _, s := range stanzas {
		if d.ctx.Err() != nil {
			return
		}
		p := dpkgPackage(s)
		if !dpkgWord.MatchString(p.Name) || (p.Arch != "" && !dpkgWord.MatchString(p.Arch)) {
			d.noticef(file, "%s: a record with the name %q and the architecture %q is left out", file, p.Name, p.Arch)
			continue
		}
		records++
		if !present(s.fields["status"]) {
			continue
		}
		if err := d.spendPackage(p); err != nil {
			d.damaged(file, err)
			return
		}
		id := p.Name + ":" + p.Arch
		if d.seen[id] {
			d.noticef(file, "%s: package %s is recorded twice", file, id)
		}
		d.seen[id] = true
		p.Auto = d.auto[id]
		record := &dpkgRecord{file: file, raw: s.raw, name: p.Name}
		p.record = record
		if status.name == "" {
			d.readInfo(p, record)
		} else {
			d.readSums(p, record, status.name)
		}
		d.addConffiles(file, p, record)
		d.db.Packages = append(d.db.Packages, p)
	}
	if records == 0 && len(bytes.TrimSpace(dt)) > 0 && status.name == "" {
		d.damaged(file, errors.New("it holds no package record"))
		return
	}
	d.store.files = append(d.store.files, status)
}

// present tells from the Status field whether the package has files. The third
// word counts: a package that is only marked for removal is still there.
func present(status string) bool {
	words := strings.Fields(status)
	if len(words) != 3 {
		// Distroless images have no Status field at all. A broken one says
		// nothing, and a record too many is the safe mistake.
		return true
	}
	return words[2] != "not-installed" && words[2] != "config-files"
}

// dpkgPackage reads the fields of a stanza (deb-control(5)).
func dpkgPackage(s stanza) *Package {
	f := s.fields
	p := &Package{
		Type:       TypeDeb,
		Name:       f["package"],
		Version:    f["version"],
		Arch:       f["architecture"],
		Source:     f["package"],
		Depends:    append(relations(f["pre-depends"]), relations(f["depends"])...),
		Recommends: relations(f["recommends"]),
		Essential:  strings.EqualFold(f["essential"], "yes"),
		Section:    f["section"],
		Priority:   f["priority"],
	}
	p.SourceVersion = p.Version
	if source, version, _ := strings.Cut(f["source"], " "); source != "" {
		p.Source = source
		if version = strings.Trim(strings.TrimSpace(version), "()"); version != "" {
			p.SourceVersion = version
		}
	}
	for _, alternatives := range relations(f["provides"]) {
		p.Provides = append(p.Provides, alternatives...)
	}
	for line := range strings.Lines(f["conffiles"]) {
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		if name, ok := cleanPath(words[0]); ok {
			p.Conffiles = append(p.Conffiles, name)
		}
	}
	return p
}

// addConffiles adds the configuration files to Files where no list names them:
// md5sums never do.
func (d *dpkgLoader) addConffiles(file string, p *Package, r *dpkgRecord) {
	if len(p.Conffiles) == 0 {
		return
	}
	listed := make(map[string]bool, len(p.Files))
	for _, name := range p.Files {
		listed[name] = true
	}
	for i, name := range p.Conffiles {
		name, _ = r.actual(name)
		p.Conffiles[i] = name
		if !listed[name] {
			listed[name] = true
			d.addFile(file, p, name)
		}
	}
}

// readInfo finds the package's files in info and reads its list.
func (d *dpkgLoader) readInfo(p *Package, r *dpkgRecord) {
	dir := d.store.info
	find := func(extension string) string {
		for _, base := range []string{p.Name + ":" + p.Arch, p.Name} {
			if d.info[base+extension] {
				return path.Join(dir, base+extension)
			}
		}
		return ""
	}
	r.list, r.md5sums, r.conffiles = find(".list"), find(".md5sums"), find(".conffiles")
	if r.list == "" {
		p.FilesUnknown = "its file list is missing"
		d.noticef(d.db.Location, "%s: the file list of package %s is missing from info", d.db.Location, p.Name)
		return
	}
	r.diversions = d.diversions
	d.readPaths(p, r, r.list, func(line string) string {
		if line == "/." {
			return ""
		}
		return line
	})
}

// readSums finds and reads the md5sums beside a file of status.d, the only list
// of files that distroless images have.
func (d *dpkgLoader) readSums(p *Package, r *dpkgRecord, name string) {
	dir := d.store.statusDir
	for _, base := range []string{p.Name + ":" + p.Arch, p.Name, name} {
		if d.statusDir[base+".md5sums"] {
			r.md5sums = path.Join(dir, base+".md5sums")
			break
		}
	}
	if r.md5sums == "" {
		p.FilesUnknown = "it has no md5sums in " + dir
		d.noticef(dir, "%s: package %s has no md5sums; its files are unknown", dir, p.Name)
		return
	}
	d.readPaths(p, r, r.md5sums, sumsPath)
}

// sumsPath returns the path in a line of a md5sums file (deb-md5sums(5)).
func sumsPath(line string) string {
	_, name, _ := strings.Cut(line, " ")
	return strings.TrimPrefix(strings.TrimLeft(name, " "), "*")
}

// readPaths adds the paths in the lines of a file to the package.
func (d *dpkgLoader) readPaths(p *Package, r *dpkgRecord, file string, pathOf func(line string) string) {
	dt, err := d.root.ReadFile(file, min(maxTextFile, d.budget))
	if err == nil {
		err = d.spend(len(dt))
	}
	if err != nil {
		p.FilesUnknown = err.Error()
		d.noticef(file, "%s: the files of package %s are unknown: %v", file, p.Name, err)
		return
	}
	p.Files = make([]string, 0, bytes.Count(dt, []byte("\n")))
	for line := range strings.Lines(string(dt)) {
		name := pathOf(strings.TrimSuffix(line, "\n"))
		if name == "" {
			continue
		}
		if !d.addFile(file, p, name) {
			continue
		}
		last := &p.Files[len(p.Files)-1]
		*last, _ = r.actual(*last)
	}
}

// autoInstalled reads which packages, as name:arch, apt installed only because
// others needed them.
func (d *dpkgLoader) autoInstalled() map[string]bool {
	dt, file, err := d.read(extendedStates, maxTextFile)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			d.noticef(extendedStates, "%s: not read: %v", extendedStates, err)
		}
		return nil
	}
	stanzas, malformed := splitStanzas(dt)
	if malformed > 0 {
		d.noticef(file, "%s: %d lines are not understood", file, malformed)
	}
	auto := map[string]bool{}
	for _, s := range stanzas {
		if s.fields["auto-installed"] == "1" {
			auto[s.fields["package"]+":"+s.fields["architecture"]] = true
		}
	}
	return auto
}
