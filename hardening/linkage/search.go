package linkage

import (
	"path"
	"slices"
	"strings"
)

// maxComponent is the longest file name on Linux, in bytes (NAME_MAX).
const maxComponent = 255

// maxLegacyDepth bounds how deep legacy capability directories nest.
const maxLegacyDepth = 4

// hit is an ELF file that a path leads to.
type hit struct {
	File
	obj *Object
	// asked is the path that the loader opens. $ORIGIN goes by it.
	asked string
}

// open returns the ELF file at a path, or nil.
func (r *Resolver) open(asked string) *hit {
	r.lookups++
	if h, ok := r.opened[asked]; ok || len(asked) > maxName {
		return h
	}
	r.memory += len(asked) + pathOverhead
	var h *hit
	if canonical, links, err := r.fs.Resolve(asked); err == nil {
		if o := r.objects[canonical]; o != nil {
			h = &hit{File: File{Path: canonical, Links: links}, obj: o, asked: asked}
		}
	}
	r.opened[asked] = h
	return h
}

// exhausted says that a limit on the work was reached.
func (r *Resolver) exhausted() bool { return r.lookups > maxLookups || r.memory > maxPathMemory }

// absolute completes a path that is relative to the working directory.
func (r *Resolver) absolute(p string) string {
	if path.IsAbs(p) {
		return p
	}
	return strings.TrimRight(r.cwd, "/") + "/" + p
}

// dir is a directory of a search path that exists.
type dir struct {
	path string
	// variants are its subdirectories for certain processors that exist.
	variants []string
}

type dirKey struct {
	path string
	abi  ABI
	musl bool
}

// dir returns the directory at an absolute path, or nil when there is none.
func (r *Resolver) dir(p string, l *loader) *dir {
	key := dirKey{p, l.abi, l.musl}
	if d, ok := r.dirs[key]; ok || len(p) > maxName {
		return d
	}
	r.memory += len(p) + pathOverhead
	var d *dir
	if r.exists(p) {
		d = &dir{path: strings.TrimRight(p, "/")}
		if !l.musl {
			d.variants = r.variantDirs(d.path, l)
		}
	}
	r.dirs[key] = d
	return d
}

func (r *Resolver) exists(p string) bool {
	r.lookups++
	_, _, err := r.fs.Resolve(p)
	return err == nil
}

func (r *Resolver) variantDirs(p string, l *loader) []string {
	var found []string
	if len(l.hwcaps) > 0 && r.exists(p+"/glibc-hwcaps") {
		for _, name := range l.hwcaps {
			if sub := p + "/glibc-hwcaps/" + name; r.exists(sub) {
				found = append(found, sub)
			}
		}
	}
	// Legacy directories nest in a fixed order; a name occurs once.
	var legacy func(p string, names []string, depth int)
	legacy = func(p string, names []string, depth int) {
		for i, name := range names {
			if sub := p + "/" + name; r.exists(sub) {
				found = append(found, sub)
				if depth < maxLegacyDepth {
					legacy(sub, names[i+1:], depth+1)
				}
			}
		}
	}
	legacy(p, l.legacy, 1)
	return found
}

// node is a file that is being loaded.
type node struct {
	path   string // canonical
	obj    *Object
	origin string // $ORIGIN
	parent *node  // what asked for it first, nil for the first file
	first  *node  // the file that was loaded first, which is the program
	// inherited is the nearest file among itself and its parents whose search
	// path goes down to what it loads.
	inherited *node
}

// newNode makes a node; asked is the path by which the loader opened it.
func newNode(canonical, asked string, obj *Object, parent *node, l *loader) *node {
	n := &node{path: canonical, obj: obj, origin: path.Dir(asked), parent: parent}
	n.first = n
	if parent != nil {
		n.inherited, n.first = parent.inherited, parent.first
	}
	if len(handedDown(obj, l)) > 0 {
		n.inherited = n
	}
	return n
}

// handedDown returns the part of an object's search path that also serves what
// it loads, directly or not: with glibc DT_RPATH, with musl either.
func handedDown(o *Object, l *loader) []string {
	if l.musl && o.RunPath != nil {
		return o.RunPath
	}
	return o.RPath
}

// search is one look-up of a name.
type search struct {
	r    *Resolver
	l    *loader
	name string
	// found is what every processor takes, variants what some take.
	found    *hit
	variants []*hit
}

// find looks a name up as loader l does for the file n.
func (r *Resolver) find(name string, n *node, l *loader) search {
	s := search{r: r, l: l, name: name}
	switch {
	case name == "":
	case s.isLoader():
		s.found = l.file
		s.aliases()
	case l.musl:
		s.musl(n)
	default:
		s.glibc(n)
	}
	return s
}

// isLoader says that the name is the loader itself, which is in memory already.
func (s *search) isLoader() bool {
	f := s.l.file
	if f == nil {
		return false
	}
	if s.name == s.l.interp || s.name == path.Base(s.l.interp) || s.name == f.obj.Soname {
		return true
	}
	// musl answers for every library that other systems split from libc.
	rest, ok := strings.CutPrefix(s.name, "lib")
	if !ok || !s.l.musl {
		return false
	}
	stem, _, ok := strings.Cut(rest, ".")
	return ok && slices.Contains([]string{"c", "pthread", "rt", "m", "dl", "util", "xnet"}, stem)
}

// aliases adds the symlinks to musl's loader that bear the name. The loader does
// not need them, but whoever follows names in the file system does.
func (s *search) aliases() {
	if !s.l.musl {
		return
	}
	for _, d := range s.l.defaults {
		if h := s.r.open(d.path + "/" + s.name); h != nil && h.Path == s.l.file.Path {
			s.variant(h)
		}
	}
}

// glibc follows _dl_map_object (glibc, elf/dl-load.c).
func (s *search) glibc(n *node) {
	if strings.Contains(s.name, "/") {
		for _, p := range s.l.expand(s.name, n.origin) {
			s.take(s.r.open(s.r.absolute(p)))
		}
		return
	}
	if n.obj.RunPath == nil {
		for a := n.inherited; a != nil; a = a.above() {
			s.in(s.r.expandDirs(a.obj.RPath, a.origin, s.l))
		}
	}
	s.in(s.r.expandDirs(s.r.envDirs, n.first.origin, s.l))
	s.in(s.r.expandDirs(n.obj.RunPath, n.origin, s.l))
	s.inCache(n)
	if !n.obj.NoDefaultLib {
		s.in(s.l.defaults)
	}
}

// musl follows load_library (musl, ldso/dynlink.c).
func (s *search) musl(n *node) {
	if strings.Contains(s.name, "/") {
		s.take(s.r.open(s.r.absolute(s.name)))
		return
	}
	// Tokens mean nothing here, so a directory with one is just not there.
	s.in(s.l.envDirs)
	for a := n.inherited; a != nil; a = a.above() {
		s.in(s.r.expandDirs(handedDown(a.obj, s.l), a.origin, s.l))
	}
	s.in(s.l.defaults)
}

// above returns the next file up whose search path is handed down.
func (n *node) above() *node {
	if n.parent == nil {
		return nil
	}
	return n.parent.inherited
}

// in looks in directories, unless the name was found before.
func (s *search) in(dirs []*dir) {
	if len(s.name) > maxComponent {
		return
	}
	for _, d := range dirs {
		if s.found != nil {
			return
		}
		for _, sub := range d.variants {
			s.variant(s.r.open(sub + "/" + s.name))
		}
		s.take(s.r.open(d.path + "/" + s.name))
	}
}

// inCache looks in ld.so.cache.
func (s *search) inCache(n *node) {
	if s.found != nil {
		return
	}
	for _, e := range s.r.cache[s.name] {
		if !slices.Contains(s.l.cacheIDs, e.flags) && len(s.l.cacheIDs) > 0 {
			continue
		}
		if n.obj.NoDefaultLib && s.l.isDefault(path.Dir(e.path)) {
			continue
		}
		h := s.r.open(s.r.absolute(e.path))
		if e.variant {
			s.variant(h)
			continue
		}
		// When the file is gone, glibc does not try the next entry.
		s.take(h)
		return
	}
}

func (l *loader) isDefault(p string) bool {
	return slices.ContainsFunc(l.defaults, func(d *dir) bool { return d.path == p || strings.HasPrefix(p, d.path+"/") })
}

func (s *search) take(h *hit) {
	if s.found == nil && h != nil && h.obj.ABI == s.l.abi && h.obj.Kind != Other {
		s.found = h
	}
}

func (s *search) variant(h *hit) {
	if h != nil && h.obj.ABI == s.l.abi && h.obj.Kind != Other {
		s.variants = append(s.variants, h)
	}
}

type expandKey struct {
	elements *string // the first element: search paths are never changed
	count    int
	origin   string
	l        *loader
}

// expandDirs returns the directories of a search path that exist, each once.
func (r *Resolver) expandDirs(elements []string, origin string, l *loader) []*dir {
	if len(elements) == 0 {
		return nil
	}
	key := expandKey{&elements[0], len(elements), origin, l}
	if dirs, ok := r.expanded[key]; ok {
		return dirs
	}
	r.memory += len(origin) + pathOverhead
	if l.musl && slices.ContainsFunc(elements, hasUnknownToken) {
		elements = nil // musl ignores such a path as a whole
	}
	var dirs []*dir
	for _, e := range elements {
		if e == "" && l.musl {
			continue
		}
		for _, p := range l.expand(e, origin) {
			dirs = r.addDir(dirs, p, l)
		}
	}
	r.expanded[key] = dirs
	return dirs
}

// addDir adds a directory that exists and is not among dirs.
func (r *Resolver) addDir(dirs []*dir, p string, l *loader) []*dir {
	if d := r.dir(r.absolute(p), l); d != nil && !slices.Contains(dirs, d) {
		return append(dirs, d)
	}
	return dirs
}

// maxTokens bounds the dynamic string tokens of one path.
const maxTokens = 16

// expand replaces the dynamic string tokens in a path (ld.so(8)). There is more
// than one result where a token has several values.
func (l *loader) expand(p, origin string) []string {
	switch tokens := strings.Count(p, "$"); {
	case tokens == 0:
		return []string{p}
	case tokens > maxTokens:
		return nil
	}
	p = replaceToken(p, "ORIGIN", origin)
	if l.musl {
		return []string{p}
	}
	p = replaceToken(p, "LIB", l.lib)
	var all []string
	for _, platform := range l.platforms {
		if q := replaceToken(p, "PLATFORM", platform); q != p {
			all = append(all, q)
		}
	}
	if len(all) > 0 {
		return all
	}
	return []string{p}
}

// hasUnknownToken says that a path has a token besides $ORIGIN, the only one
// that musl knows.
func hasUnknownToken(p string) bool {
	return strings.Contains(replaceToken(p, "ORIGIN", ""), "$")
}

// replaceToken replaces "${TOKEN}", and "$TOKEN" where the name ends there.
func replaceToken(p, token, value string) string {
	p = strings.ReplaceAll(p, "${"+token+"}", value)
	var b strings.Builder
	for {
		before, after, ok := strings.Cut(p, "$"+token)
		b.WriteString(before)
		if !ok {
			return b.String()
		}
		if after != "" && isNameByte(after[0]) {
			b.WriteString("$" + token)
		} else {
			b.WriteString(value)
		}
		p = after
	}
}

func isNameByte(c byte) bool {
	return c == '_' || '0' <= c && c <= '9' || 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z'
}
