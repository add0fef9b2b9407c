package loadcheck

import (
	"path"
	"slices"
	"strings"
)

// maxMaps bounds the files of one process.
const maxMaps = 8192

// process is a link map: the files that one process has loaded, in their order.
type process struct {
	*system
	loader *loader
	// capable plays a processor that prefers all variants, varies says that it
	// would have made a difference.
	capable, varies bool

	maps    []*mapped
	byName  map[string]*mapped // by the names that a file answers to
	byPath  map[string]*mapped
	envDirs []string
	lists   map[listKey][]string
	lacks   []lack
}

// mapped is a file in a link map.
type mapped struct {
	*file
	asked  string  // the path by which it was opened
	parent *mapped // what asked for it first; nil for the first file
}

// origin returns $ORIGIN: a process knows the true path of its program, and of
// a library the path by which it was opened.
func (m *mapped) origin() string { return path.Dir(m.asked) }

// lackKind says what a process does without.
type lackKind uint8

const (
	lackInterpreter lackKind = iota
	lackLibrary
	lackVersion
	lackFeature // of a dlopen note
)

// lack is something that a process does not find.
type lack struct {
	kind lackKind
	// from asks for name: a path, a soname, or a version.
	from *mapped
	name string
	// file is the name of the file that should define the version, in what it led to.
	file string
	in   *mapped
	// advice says that the file recommends it and does without.
	advice bool
	// how is no or later.
	how found
	why string
}

// key tells lacks of one process apart.
func (l lack) key() string {
	return string(rune('0'+l.kind)) + l.from.path + "\x00" + l.name + "\x00" + l.file
}

// start plays the loading of a file: as a program when it is one, or as dlopen
// does. The interpreter is the program's own, or the one to suppose.
func (s *system) start(root *file, interp string, capable bool) *process {
	p := &process{
		system: s, loader: s.loader(root.object.abi, interp), capable: capable,
		byName: map[string]*mapped{}, byPath: map[string]*mapped{}, lists: map[listKey][]string{},
	}
	first := p.add(&mapped{file: root, asked: root.path})
	if root.object.started() && p.loader.file == nil {
		p.lacks = append(p.lacks, lack{kind: lackInterpreter, from: first, name: interp})
		return p
	}
	if env := s.getenv("LD_LIBRARY_PATH"); env != "" {
		p.envDirs = p.environmentDirs(env, first)
	}
	if l := p.loader.file; l != nil && l.path != root.path {
		// The loader is in memory before anything is looked for.
		m := p.add(&mapped{file: l, asked: interp, parent: first})
		p.answers(interp, m)
		if p.loader.musl {
			p.answers(path.Base(interp), m)
		}
	}
	for _, name := range preloads(s.getenv("LD_PRELOAD"), nil) {
		p.need(name, first)
	}
	if !p.loader.musl {
		for _, name := range s.preload {
			p.need(name, first)
		}
	}
	// A library that is preloaded and missing gives a warning, no more.
	p.lacks = nil
	for i := 0; i < len(p.maps) && i < maxMaps && !s.exhausted(); i++ {
		m := p.maps[i]
		for _, name := range m.object.needed {
			if l, ok := p.need(name, m); !ok {
				p.lacks = append(p.lacks, l)
			}
		}
	}
	if !p.loader.musl {
		p.checkVersions()
	}
	p.checkFeatures(first)
	return p
}

// environmentDirs splits LD_LIBRARY_PATH.
func (p *process) environmentDirs(env string, program *mapped) []string {
	separators := ":;"
	if p.loader.musl {
		separators = ":\n"
	}
	var dirs []string
	for e := range strings.SplitSeq(strings.Map(func(c rune) rune {
		if strings.ContainsRune(separators, c) {
			return ':'
		}
		return c
	}, env), ":") {
		switch {
		case len(dirs) >= maxConfDirs || e == "" && p.loader.musl:
		case p.loader.musl:
			dirs = append(dirs, e)
		case e == "":
			dirs = append(dirs, p.workDir)
		default:
			dirs = append(dirs, p.tokens(e, program)...)
		}
	}
	return dirs
}

// add puts a file at the end of the link map.
func (p *process) add(m *mapped) *mapped {
	p.maps = append(p.maps, m)
	p.byPath[m.path] = m
	// glibc compares with the soname of every file too; musl only with the name by
	// which each was found.
	if s := m.object.soname; s != "" && !p.loader.musl {
		p.answers(s, m)
	}
	return m
}

// answers makes a file answer to a name, unless another does.
func (p *process) answers(name string, m *mapped) {
	if p.byName[name] == nil {
		p.byName[name] = m
	}
}

// need loads what a name leads to, unless it is in memory.
func (p *process) need(name string, from *mapped) (lack, bool) {
	p.steps++
	if p.byName[name] != nil || isVirtual(name) {
		return lack{}, true
	}
	if p.loader.musl && p.loader.file != nil && inMuslLibc(name) {
		p.answers(name, p.byPath[p.loader.file.path])
		return lack{}, true
	}
	h := p.find(name, from)
	if h.how == no {
		return lack{kind: lackLibrary, from: from, name: name, why: h.why}, false
	}
	m := p.byPath[h.file.path]
	if m == nil {
		m = p.add(&mapped{file: h.file, asked: h.asked, parent: from})
	}
	p.answers(name, m)
	return lack{kind: lackLibrary, from: from, name: name, how: h.how}, h.how == yes
}

// isVirtual says that the kernel maps the library of that name (vdso(7)).
func isVirtual(name string) bool {
	return strings.HasPrefix(name, "linux-vdso") || strings.HasPrefix(name, "linux-gate.so")
}

// inMuslLibc says that musl answers to a name itself, since its one file holds
// what other systems split.
func inMuslLibc(name string) bool {
	rest, ok := strings.CutPrefix(name, "lib")
	stem, _, dot := strings.Cut(rest, ".")
	return ok && dot && slices.Contains([]string{"c", "pthread", "rt", "m", "dl", "util", "xnet"}, stem)
}

// checkVersions is _dl_check_all_versions. A file without definitions is taken
// for one from before there were versions.
func (p *process) checkVersions() {
	for _, m := range p.maps {
		p.steps += len(m.object.requires)
		for _, r := range m.object.requires {
			in := p.byName[r.file]
			if in == nil || r.weak || in.object.defines == nil || in.object.defines[r.version] {
				continue
			}
			p.lacks = append(p.lacks, lack{kind: lackVersion, from: m, name: r.version, file: r.file, in: in})
		}
	}
}

// checkFeatures looks for what the first file says that it loads while it runs.
func (p *process) checkFeatures(first *mapped) {
	for _, n := range first.object.notes {
		how, why := no, ""
		for _, name := range n.Soname {
			if p.byName[name] != nil {
				how = yes
				break
			}
			h := p.find(name, first)
			if h.how > how {
				how = h.how
			}
			if h.why != "" {
				why = h.why
			}
		}
		if how != yes {
			p.lacks = append(p.lacks, lack{kind: lackFeature, from: first, name: strings.Join(n.Soname, " or "), advice: n.Priority != "required", how: how, why: why})
		}
	}
}

// chain names the files that led to m, from the first.
func (m *mapped) chain() []string {
	var names []string
	for ; m != nil; m = m.parent {
		names = append(names, m.path)
	}
	slices.Reverse(names)
	return names
}
