package loadcheck

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// found says how a name was found.
type found uint8

const (
	// no: the process does not start, or dlopen fails.
	no found = iota
	// later: only ld.so.conf leads to it, so ldconfig has to run first.
	later
	// yes: the loader finds it.
	yes
)

// hit is the end of a search: the file, and the path by which it was opened.
type hit struct {
	file  *file
	asked string
	how   found
	// why says what is in the way when the loader takes a file and cannot load it.
	why string
}

// search looks one name up for one file of a process.
type search struct {
	*process
	name string
	end  *hit
}

// find looks a name up that the file of from asks for.
func (p *process) find(name string, from *mapped) hit {
	s := &search{process: p, name: name}
	switch {
	case name == "":
	case p.loader.musl && strings.Contains(name, "/"):
		s.try(name)
	case strings.Contains(name, "/"):
		for _, path := range p.tokens(name, from) {
			s.try(path)
		}
	case len(name) > 255: // NAME_MAX
	case p.loader.musl:
		s.musl(from)
	default:
		s.glibc(from)
	}
	if s.end == nil {
		return hit{}
	}
	return *s.end
}

// glibc is _dl_map_object. The program's own DT_RPATH counts for every file,
// whichever asked for it.
func (s *search) glibc(from *mapped) {
	if from.object.runpath == nil {
		program := s.maps[0]
		for m := from; m != nil; m = m.parent {
			s.in(s.list(m.object.rpath, m))
			if m == program {
				program = nil
			}
		}
		if program != nil && program.object.started() {
			s.in(s.list(program.object.rpath, program))
		}
	}
	s.in(s.envDirs)
	s.in(s.list(from.object.runpath, from))
	s.inCache(from)
	if !from.object.isolated {
		s.in(s.loader.defaults)
	}
	if s.end == nil {
		s.in(s.system.conf)
		if s.end != nil && s.end.how == yes {
			s.end.how = later
		}
	}
}

// musl is load_library. Every file hands its search path down.
func (s *search) musl(from *mapped) {
	s.in(s.envDirs)
	for m := from; m != nil; m = m.parent {
		search := m.object.rpath
		if m.object.runpath != nil {
			search = m.object.runpath
		}
		s.in(s.list(search, m))
	}
	s.in(s.loader.defaults)
}

// in looks in directories.
func (s *search) in(dirs []string) {
	for _, p := range dirs {
		if s.end != nil || s.exhausted() {
			return
		}
		d := s.directory(s.absolute(p), s.loader)
		if d == nil {
			continue
		}
		if len(d.variants) > 0 {
			s.varies = true
		}
		if s.capable {
			for _, v := range d.variants {
				s.try(v + "/" + s.name)
			}
		}
		s.try(d.path + "/" + s.name)
	}
}

// inCache looks in ld.so.cache. glibc takes one entry, and when that is gone goes
// on with the default directories.
func (s *search) inCache(from *mapped) {
	if s.end != nil {
		return
	}
	var best *cached
	for i, c := range s.cache[s.name] {
		if len(s.loader.flags) > 0 && !slices.Contains(s.loader.flags, c.flags) {
			continue
		}
		if from.object.isolated && slices.Contains(s.loader.defaults, path.Dir(c.path)) {
			continue
		}
		if c.special {
			s.varies = true
		}
		// The file lists the best first.
		if !c.special || s.capable {
			best = &s.cache[s.name][i]
			break
		}
	}
	if best != nil {
		s.try(best.path)
	}
}

// try opens a path. It ends the search when the loader would not go on.
func (s *search) try(p string) {
	if s.end != nil {
		return
	}
	p = s.absolute(p)
	f := s.look(p)
	if f == nil {
		return
	}
	fail := func(format string, args ...any) {
		s.end = &hit{file: f, asked: p, why: fmt.Sprintf(format, args...)}
	}
	switch o := f.object; {
	case o == nil:
		fail("%s cannot be loaded: %v", p, f.why)
	case o.abi != s.loader.abi:
		// glibc goes on to the next directory; musl has opened the file.
		if s.loader.musl || strings.Contains(s.name, "/") {
			fail("%s is for another architecture", p)
		}
	case !o.loadable():
		fail("%s is no library", p)
	default:
		s.end = &hit{file: f, asked: p, how: yes}
	}
}

// list returns the directories of a search path of the file m.
func (p *process) list(search *string, m *mapped) []string {
	if search == nil || *search == "" {
		return nil
	}
	key := listKey{search, m.origin()}
	if dirs, ok := p.lists[key]; ok {
		return dirs
	}
	var dirs []string
	for e := range strings.SplitSeq(*search, ":") {
		switch {
		case len(dirs) >= maxConfDirs:
		case e != "":
			dirs = append(dirs, p.tokens(e, m)...)
		case !p.loader.musl:
			dirs = append(dirs, p.workDir)
		}
	}
	if p.loader.musl && strings.Contains(replaceTokens(*search, map[string]string{"ORIGIN": ""}), "$") {
		dirs = nil // musl passes over a path with a token that it does not know
	}
	p.system.memory += len(*search) + perPath
	p.lists[key] = dirs
	return dirs
}

type listKey struct {
	search *string
	origin string
}

// tokens replaces the dynamic string tokens of a path. $PLATFORM has the values of
// all processors of the architecture.
func (p *process) tokens(s string, m *mapped) []string {
	if !strings.Contains(s, "$") || strings.Count(s, "$") > 16 {
		return []string{s}
	}
	values := map[string]string{"ORIGIN": m.origin()}
	if p.loader.musl {
		return []string{replaceTokens(s, values)}
	}
	values["LIB"] = p.loader.library()
	if !strings.Contains(s, "PLATFORM") {
		return []string{replaceTokens(s, values)}
	}
	var all []string
	for _, platform := range p.loader.platforms {
		values["PLATFORM"] = platform
		all = append(all, replaceTokens(s, values))
	}
	return all
}

// replaceTokens is is_dst and _dl_dst_substitute: a token ends where its braces
// do, or else where a letter, digit or underscore does not follow.
func replaceTokens(s string, values map[string]string) string {
	var b strings.Builder
	for s != "" {
		before, after, ok := strings.Cut(s, "$")
		b.WriteString(before)
		if !ok {
			break
		}
		end := strings.IndexFunc(after, func(c rune) bool {
			return c != '_' && (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z')
		})
		name, rest := after, ""
		if end >= 0 {
			name, rest = after[:end], after[end:]
		}
		if inner, ok := strings.CutPrefix(after, "{"); ok {
			name, rest, _ = strings.Cut(inner, "}")
		}
		if v, known := values[name]; known {
			b.WriteString(v)
			s = rest
			continue
		}
		b.WriteByte('$')
		s = after
	}
	return b.String()
}
