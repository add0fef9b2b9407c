package linkage

import (
	"bytes"
	"path"
	"slices"
	"strings"
)

// maxLoader bounds a dynamic loader's file, in bytes; glibc's have 250 KB, musl's
// (the whole C library) 700 KB.
const maxLoader = 8 << 20

// maxDefaultDirs bounds the default directories of one loader.
const maxDefaultDirs = 64

// loader is a dynamic loader, with the rules that it follows for one ABI.
type loader struct {
	machine
	abi    ABI
	interp string // its path as programs name it, empty when no program does
	file   *hit   // nil when it is not in the root filesystem
	musl   bool
	// defaults are the directories that are searched last.
	defaults []*dir
	// envDirs are the directories of LD_LIBRARY_PATH, for musl.
	envDirs []*dir
	// lib is the value of $LIB, for glibc.
	lib string
}

type loaderKey struct {
	abi    ABI
	interp string
}

// loader returns the loader of an ABI that programs name interp.
func (r *Resolver) loader(abi ABI, interp string) *loader {
	key := loaderKey{abi, interp}
	if l, ok := r.loaders[key]; ok {
		return l
	}
	l := &loader{machine: machineOf(abi), abi: abi, interp: interp, musl: isMusl(interp)}
	r.loaders[key] = l
	if interp != "" {
		if h := r.open(r.absolute(interp)); h != nil && h.obj.ABI == abi {
			l.file = h
			// On Alpine glibc's name may be a link to musl (libc6-compat).
			l.musl = l.musl || isMusl(h.Path)
		}
	}
	dirs := r.defaultDirs(l)
	if !l.musl {
		// glibc's $LIB is the part of its default directories that varies:
		// lib/x86_64-linux-gnu on Debian, lib64 on Fedora, lib on Arch Linux.
		l.lib = strings.TrimPrefix(strings.TrimPrefix(dirs[0], "/"), "usr/")
	}
	for _, d := range dirs {
		l.defaults = r.addDir(l.defaults, d, l)
	}
	if l.musl {
		for _, d := range r.envDirs {
			if d != "" {
				l.envDirs = r.addDir(l.envDirs, d, l)
			}
		}
	}
	return l
}

func isMusl(interp string) bool { return strings.HasPrefix(path.Base(interp), "ld-musl-") }

// loaderOf returns the loader that a file is loaded by: a program says so, and a
// library goes by the C library that it needs, or else by the loader that most
// programs of its ABI name.
func (r *Resolver) loaderOf(o *Object) *loader {
	if o.Interp != "" {
		return r.loader(o.ABI, o.Interp)
	}
	usual := r.usual[o.ABI]
	for _, name := range o.Needed {
		switch {
		case strings.HasPrefix(name, "libc.musl-"), name == "libc.so":
			return r.loader(o.ABI, usual.musl)
		case name == "libc.so.6":
			return r.loader(o.ABI, usual.glibc)
		}
	}
	return r.loader(o.ABI, usual.any)
}

// usualLoaders are the interpreters that the programs of one ABI name most, or
// those of the table that exist.
type usualLoaders struct{ any, glibc, musl string }

// countLoaders finds the usual loaders of each ABI. Paths are sorted.
func (r *Resolver) countLoaders(paths []string) {
	counts := map[ABI]map[string]int{}
	for _, p := range paths {
		o := r.objects[p]
		if counts[o.ABI] == nil {
			counts[o.ABI] = map[string]int{}
		}
		if o.Interp != "" {
			counts[o.ABI][o.Interp]++
		}
	}
	for abi, count := range counts {
		var u usualLoaders
		choose := func(interp string) {
			slot := &u.glibc
			if isMusl(interp) {
				slot = &u.musl
			}
			for _, s := range []*string{&u.any, slot} {
				if *s == "" || count[interp] > count[*s] {
					*s = interp
				}
			}
		}
		for _, interp := range sortedKeys(count) {
			choose(interp)
		}
		for _, interp := range machineOf(abi).loaders {
			if r.open(interp) != nil {
				choose(interp)
			}
		}
		r.usual[abi] = u
	}
}

// defaultDirs returns the directories that a loader searches last. There is
// always at least one.
func (r *Resolver) defaultDirs(l *loader) []string {
	if l.musl {
		return r.muslDirs(l)
	}
	if l.file != nil {
		dt, err := r.fs.ReadFile(l.file.Path, maxLoader)
		if err != nil {
			r.notice("%s: its default directories are not known and the usual ones were taken: %v", l.file.Path, err)
		} else if dirs := compiledDirs(dt); len(dirs) > 0 {
			return dirs
		}
	}
	return l.dirs
}

// muslDirs returns the directories in /etc/ld-musl-ARCH.path, under the
// prefix that the loader is installed in, or else those compiled into musl.
func (r *Resolver) muslDirs(l *loader) []string {
	builtin := []string{"/lib", "/usr/local/lib", "/usr/lib"}
	name := path.Base(l.interp)
	if !isMusl(name) && l.file != nil {
		name = path.Base(l.file.Path)
	}
	arch, ok := strings.CutSuffix(strings.TrimPrefix(name, "ld-musl-"), ".so.1")
	if !ok {
		return builtin
	}
	canonical, _, err := r.fs.Resolve(path.Join(path.Dir(path.Dir(l.interp)), "etc", "ld-musl-"+arch+".path"))
	if err != nil {
		return builtin
	}
	dt, err := r.fs.ReadFile(canonical, maxConf)
	if err != nil {
		r.notice("%s was passed over: %v", canonical, err)
		return builtin
	}
	dirs := strings.FieldsFunc(string(dt), func(c rune) bool { return c == ':' || c == '\n' })
	if len(dirs) == 0 {
		// musl takes an empty file for "search nowhere".
		return []string{"/nonexistent"}
	}
	return dirs[:min(len(dirs), maxDefaultDirs)]
}

// compiledDirs finds the default directories in the file of glibc's loader: its
// array system_dirs holds them as consecutive strings that end in a slash.
func compiledDirs(dt []byte) []string {
	var dirs []string
	for len(dt) > 0 {
		var s []byte
		s, dt, _ = bytes.Cut(dt, []byte{0})
		// Other bytes may stand before the first string without a zero between.
		if len(dirs) == 0 {
			s = s[max(0, bytes.LastIndexFunc(s, func(c rune) bool { return c <= ' ' || c > '~' })+1):]
		}
		if isLibraryDir(s) && len(dirs) < maxDefaultDirs {
			dirs = append(dirs, strings.TrimRight(string(s), "/"))
		} else if len(dirs) > 0 {
			break
		}
	}
	return slices.Compact(dirs)
}

func isLibraryDir(s []byte) bool {
	return len(s) > 2 && len(s) < maxName && s[0] == '/' && s[1] != '/' && s[len(s)-1] == '/' &&
		bytes.Contains(s, []byte("/lib")) &&
		!bytes.ContainsFunc(s, func(c rune) bool { return c <= ' ' || c > '~' })
}
