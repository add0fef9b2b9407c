package loadcheck

import (
	"bytes"
	"debug/elf"
	"path"
	"strings"

	"github.com/temper-images/temper/hardening/rootfs"
)

// maxLoader bounds the file of a dynamic loader, in bytes.
const maxLoader = 8 << 20

// architecture is what the loaders of an ABI have compiled in.
type architecture struct {
	// interps are the usual paths of glibc's loader and of musl's.
	interps []string
	// multiarch is Debian's name of the library directory, lib that of others.
	multiarch, lib string
	// flags mark the ABI's entries in ld.so.cache.
	flags []uint32
	// levels are the directories below glibc-hwcaps, the best first, and features
	// those that glibc before 2.37 looked in without it.
	levels, features []string
	// platforms are values of AT_PLATFORM.
	platforms []string
}

var architectures = map[abi]architecture{
	{elf.ELFCLASS64, elf.ELFDATA2LSB, elf.EM_X86_64}: {
		[]string{"/lib64/ld-linux-x86-64.so.2", "/lib/ld-musl-x86_64.so.1"},
		"x86_64-linux-gnu", "lib64",
		[]uint32{0x303},
		[]string{"x86-64-v4", "x86-64-v3", "x86-64-v2"},
		[]string{"tls", "haswell", "xeon_phi", "x86_64"},
		[]string{"x86_64", "haswell", "xeon_phi"},
	},
	{elf.ELFCLASS32, elf.ELFDATA2LSB, elf.EM_386}: {
		[]string{"/lib/ld-linux.so.2", "/lib/ld-musl-i386.so.1"},
		"i386-linux-gnu", "lib",
		[]uint32{0x003},
		nil,
		[]string{"tls", "i686", "i586", "sse2"},
		[]string{"i686", "i586", "i486", "i386"},
	},
	{elf.ELFCLASS64, elf.ELFDATA2LSB, elf.EM_AARCH64}: {
		[]string{"/lib/ld-linux-aarch64.so.1", "/lib/ld-musl-aarch64.so.1"},
		"aarch64-linux-gnu", "lib64",
		[]uint32{0xa03},
		nil,
		[]string{"tls", "atomics", "aarch64"},
		[]string{"aarch64"},
	},
	{elf.ELFCLASS32, elf.ELFDATA2LSB, elf.EM_ARM}: {
		[]string{"/lib/ld-linux-armhf.so.3", "/lib/ld-linux.so.3", "/lib/ld-musl-armhf.so.1", "/lib/ld-musl-arm.so.1"},
		"arm-linux-gnueabihf", "lib",
		[]uint32{0x003, 0x903, 0xb03},
		nil,
		[]string{"tls", "neon", "vfp", "v7l"},
		[]string{"v7l", "v8l", "v6l", "v5l"},
	},
	{elf.ELFCLASS64, elf.ELFDATA2LSB, elf.EM_RISCV}: {
		[]string{"/lib/ld-linux-riscv64-lp64d.so.1", "/lib/ld-musl-riscv64.so.1"},
		"riscv64-linux-gnu", "lib64/lp64d",
		[]uint32{0xf03, 0x1003},
		nil, []string{"tls"}, []string{"riscv64"},
	},
	{elf.ELFCLASS64, elf.ELFDATA2LSB, elf.EM_PPC64}: {
		[]string{"/lib64/ld64.so.2", "/lib/ld-musl-powerpc64le.so.1"},
		"powerpc64le-linux-gnu", "lib64",
		[]uint32{0x503},
		[]string{"power10", "power9"},
		[]string{"tls", "power10", "power9", "power8"},
		[]string{"power8", "power9", "power10"},
	},
	{elf.ELFCLASS64, elf.ELFDATA2MSB, elf.EM_S390}: {
		[]string{"/lib/ld64.so.1", "/lib/ld-musl-s390x.so.1"},
		"s390x-linux-gnu", "lib64",
		[]uint32{0x403},
		[]string{"z16", "z15", "z14", "z13"},
		[]string{"tls", "z15", "z14", "z13", "z10"},
		[]string{"z13", "z14", "z15", "z16"},
	},
}

// loader is a dynamic loader of a root filesystem.
type loader struct {
	architecture
	abi      abi
	interp   string // as programs name it
	file     *file  // nil when it is not there
	musl     bool
	defaults []string // the directories that it looks in last
}

type loaderKey struct {
	abi    abi
	interp string
}

// loader returns the loader that programs of an ABI name interp.
func (s *system) loader(a abi, interp string) *loader {
	key := loaderKey{a, interp}
	if l, ok := s.loaders[key]; ok {
		return l
	}
	l := &loader{architecture: architectures[a], abi: a, interp: interp}
	s.loaders[key] = l
	if f := s.look(s.absolute(interp)); f != nil && f.object != nil && f.object.abi == a {
		l.file = f
	}
	// What is named as glibc's loader is may be a link to musl's.
	l.musl = isMusl(interp) || l.file != nil && isMusl(l.file.path)
	if l.musl {
		l.defaults = s.muslPath(l)
		return l
	}
	known := []string{"/lib64", "/usr/lib64", "/lib", "/usr/lib"}
	if l.lib != "" && l.lib != "lib64" {
		known = append([]string{"/" + l.lib, "/usr/" + l.lib}, known...)
	}
	if l.multiarch != "" {
		known = append([]string{"/lib/" + l.multiarch, "/usr/lib/" + l.multiarch}, known...)
	}
	l.defaults = s.compiledIn(l, known)
	return l
}

func isMusl(interp string) bool { return strings.HasPrefix(path.Base(interp), "ld-musl-") }

// compiledIn returns those of the known directories that the loader's own file
// names as its system directories, in its order; or else those that are there.
func (s *system) compiledIn(l *loader, known []string) []string {
	if l.file != nil && l.file.entry.Size <= maxLoader {
		dt, err := s.tree.ReadFile(l.file.path, maxLoader)
		// They are one array: each string, with its slash, right after another.
		for first := range known {
			at := bytes.Index(dt, []byte(known[first]+"/\x00"))
			if err != nil || at < 0 {
				continue
			}
			var found []string
			for rest := dt[at:]; ; {
				name, after, ok := bytes.Cut(rest, []byte("/\x00"))
				if !ok || len(name) == 0 || len(name) > maxString || name[0] != '/' || bytes.IndexByte(name, 0) >= 0 || len(found) == 32 {
					break
				}
				found = append(found, string(name))
				rest = after
			}
			if len(found) > 1 {
				return found
			}
		}
	}
	var there []string
	for _, d := range known {
		if e, ok := s.walk(d); ok && e.Kind == rootfs.Directory {
			there = append(there, d)
		}
	}
	return there
}

// muslPath returns the directories of musl's path file, or those compiled in.
func (s *system) muslPath(l *loader) []string {
	usual := []string{"/lib", "/usr/local/lib", "/usr/lib"}
	name := path.Base(l.interp)
	if !isMusl(name) && l.file != nil {
		name = path.Base(l.file.path)
	}
	arch, ok := strings.CutSuffix(strings.TrimPrefix(name, "ld-musl-"), ".so.1")
	if !ok {
		return usual
	}
	prefix := path.Dir(path.Dir(l.interp))
	dt, ok := s.text(path.Join(prefix, "etc", "ld-musl-"+arch+".path"), maxConfig)
	if !ok {
		return usual
	}
	return strings.FieldsFunc(string(dt), func(c rune) bool { return c == ':' || c == '\n' })
}

// library returns the value of $LIB: the last part of the directory that glibc
// was installed in.
func (l *loader) library() string {
	if len(l.defaults) == 0 {
		return "lib"
	}
	return strings.TrimPrefix(strings.TrimPrefix(l.defaults[0], "/usr"), "/")
}

// directory is a directory of a search path.
type directory struct {
	path string
	// variants are those of its subdirectories that certain processors prefer.
	variants []string
}

// directory returns the directory at a path, or nil when there is none.
func (s *system) directory(p string, l *loader) *directory {
	key := p
	if !l.musl {
		key = l.interp + ":" + p // capabilities differ
	}
	s.lookups++
	if d, ok := s.dirs[key]; ok {
		return d
	}
	s.memory += len(key) + perPath
	var d *directory
	if e, ok := s.walk(p + "/"); ok && len(p) < maxString {
		d = &directory{path: strings.TrimRight(p, "/")}
		if !l.musl {
			d.variants = variants(e, s.tree, d.path, l)
		}
	}
	s.dirs[key] = d
	return d
}

// variants returns the subdirectories of a directory that hold libraries for
// certain processors, in the order in which the most capable one looks in them.
func variants(e *rootfs.Entry, tree *rootfs.Tree, p string, l *loader) []string {
	var found []string
	add := func(sub string) {
		if c, ok := tree.Lookup(path.Join(e.Path, sub)); ok && (c.Kind == rootfs.Directory || c.Kind == rootfs.Symlink) {
			found = append(found, p+"/"+sub)
		}
	}
	for _, level := range l.levels {
		add("glibc-hwcaps/" + level)
	}
	for i, outer := range l.features {
		for _, inner := range l.features[i+1:] {
			add(outer + "/" + inner)
		}
		add(outer)
	}
	return found
}
