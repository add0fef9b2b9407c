package linkage

import (
	"context"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/temper-images/temper/hardening/linkage/linkagetest"
)

const (
	glibc64 = "/lib64/ld-linux-x86-64.so.2"
	musl64  = "/lib/ld-musl-x86_64.so.1"
)

func lib(soname string, needed ...string) string {
	return string(linkagetest.Image{Soname: soname, Needed: needed}.Bytes())
}

func prog(needed ...string) string {
	return string(linkagetest.Image{Interp: glibc64, Flags1: uint64(elf.DF_1_PIE), Needed: needed}.Bytes())
}

func elfFile(e linkagetest.Image) string { return string(e.Bytes()) }

// glibcLoader is a loader with Debian's or other default directories compiled in.
func glibcLoader(dirs ...string) string {
	return lib("ld-linux-x86-64.so.2") + "\x00\x01" + strings.Join(dirs, "\x00") + "\x00\x00LIB\x00"
}

// debian is the frame of a merged-/usr Debian root filesystem.
func debian(more map[string]string) map[string]string {
	const triple = "/usr/lib/x86_64-linux-gnu"
	files := map[string]string{
		"/lib": "-> usr/lib", "/lib64": "-> usr/lib64", "/bin": "-> usr/bin",
		"/usr/lib64/ld-linux-x86-64.so.2": "-> /lib/x86_64-linux-gnu/ld-linux-x86-64.so.2",
		triple + "/ld-linux-x86-64.so.2":  glibcLoader("/lib/x86_64-linux-gnu/", "/usr/lib/x86_64-linux-gnu/", "/lib/", "/usr/lib/"),
		triple + "/libc.so.6":             elfFile(linkagetest.Image{Interp: glibc64, Soname: "libc.so.6", Needed: []string{"ld-linux-x86-64.so.2"}}),
	}
	for p, s := range more {
		files[p] = s
	}
	return files
}

const (
	triple   = "/usr/lib/x86_64-linux-gnu"
	interpOK = glibc64 + " = " + triple + "/ld-linux-x86-64.so.2 < /lib64 < /usr/lib64/ld-linux-x86-64.so.2 < /lib"
	libcOK   = "libc.so.6 = " + triple + "/libc.so.6 < /lib"
)

func TestDependencies(t *testing.T) {
	le := binary.LittleEndian
	for _, c := range []struct {
		name  string
		files map[string]string
		opts  Options
		of    string // "/usr/bin/p" when empty
		want  []string
	}{
		{
			name:  "default directories, symlinks reported",
			files: debian(map[string]string{"/usr/bin/p": prog("libz.so.1", "libc.so.6"), triple + "/libz.so.1": "-> libz.so.1.2", triple + "/libz.so.1.2": lib("libz.so.1")}),
			want:  []string{interpOK, "libz.so.1 = " + triple + "/libz.so.1.2 < /lib < " + triple + "/libz.so.1", libcOK},
		},
		{
			name:  "the loader is in memory",
			files: debian(nil), of: triple + "/libc.so.6",
			want: []string{interpOK, strings.Replace(interpOK, glibc64, "ld-linux-x86-64.so.2", 1)},
		},
		{
			name: "other default directories, as compiled into the loader",
			files: map[string]string{
				"/lib64/ld-linux-x86-64.so.2": glibcLoader("/lib64/", "/usr/lib64/"), "/p": prog("a.so", "b.so"),
				"/usr/lib64/a.so": lib("a.so"), "/usr/lib/b.so": lib("b.so"),
			},
			of: "/p", want: []string{glibc64 + " = " + glibc64, "a.so = /usr/lib64/a.so", "b.so ? /usr/lib/b.so"},
		},
		{
			name:  "missing loader and library",
			files: map[string]string{"/usr/bin/p": prog("libx.so")},
			want:  []string{glibc64 + " ? ", "libx.so ? "},
		},
		{
			name: "other ABIs and other files are passed over",
			files: debian(map[string]string{
				"/usr/bin/p": prog("a.so"), triple + "/a.so": elfFile(forABI(i386, linkagetest.Image{Soname: "a.so"})),
				"/usr/lib/a.so": lib("a.so"), "/usr/lib/arm/a.so": elfFile(forABI(arm64, linkagetest.Image{Soname: "a.so"})),
			}),
			want: []string{interpOK, "a.so = /usr/lib/a.so < /lib"},
		},
		{
			name:  "a linker script is no library",
			files: debian(map[string]string{"/usr/bin/p": prog("a.so"), triple + "/a.so": "GROUP ( libc.so.6 )", "/usr/lib/a.so": lib("a.so")}),
			want:  []string{interpOK, "a.so = /usr/lib/a.so < /lib"},
		},
		{
			name: "32-bit beside 64-bit",
			files: debian(map[string]string{
				"/usr/bin/p": elfFile(forABI(i386, linkagetest.Image{Interp: "/lib/ld-linux.so.2", Needed: []string{"a.so"}})),
				// The loader is not there, so the usual directories are taken.
				triple + "/a.so": lib("a.so"), "/usr/lib/i386-linux-gnu/a.so": elfFile(forABI(i386, linkagetest.Image{Soname: "a.so"})),
			}),
			want: []string{"/lib/ld-linux.so.2 ? ", "a.so = /usr/lib/i386-linux-gnu/a.so < /lib"},
		},
		{
			name: "big endian",
			files: map[string]string{
				"/usr/bin/p":          elfFile(forABI(s390x, linkagetest.Image{Interp: "/lib/ld64.so.1", Needed: []string{"a.so"}})),
				"/lib/ld64.so.1":      elfFile(forABI(s390x, linkagetest.Image{Soname: "ld64.so.1"})),
				"/etc/ld.so.cache":    string(cacheImage(binary.BigEndian, 3, []cacheLine{{flags: 0x403, path: "/opt/a.so"}})),
				"/opt/a.so":           elfFile(forABI(s390x, linkagetest.Image{Soname: "a.so"})),
				"/usr/lib/other/x.so": "",
			},
			want: []string{"/lib/ld64.so.1 = /lib/ld64.so.1", "a.so = /opt/a.so"},
		},
		{
			name: "ld.so.cache before the default directories, by flags",
			files: debian(map[string]string{
				"/usr/bin/p": prog("a.so", "b.so"), triple + "/a.so": lib("a.so"), "/opt/a.so": lib("a.so"), "/opt32/a.so": lib("a.so"),
				triple + "/b.so": lib("b.so"),
				"/etc/ld.so.cache": string(cacheImage(le, 2, []cacheLine{
					{flags: 0x003, path: "/opt32/a.so"}, {flags: 0x303, path: "/opt/a.so"}, {flags: 0x303, path: "/stale/b.so"},
				})),
			}),
			want: []string{interpOK, "a.so = /opt/a.so", "b.so = " + triple + "/b.so < /lib"},
		},
		{
			name: "hwcaps variants",
			files: debian(map[string]string{
				"/usr/bin/p": prog("a.so", "b.so", "c.so"), triple + "/a.so": lib("a.so"),
				triple + "/glibc-hwcaps/x86-64-v3/a.so": lib("a.so"), triple + "/glibc-hwcaps/unknown/a.so": lib("a.so"),
				triple + "/haswell/avx512_1/a.so": lib("a.so"),
				"/opt/b.so":                       lib("b.so"), "/opt/v2/b.so": lib("b.so"), triple + "/tls/c.so": lib("c.so"),
				"/etc/ld.so.cache": string(cacheImage(le, 2, []cacheLine{
					{flags: 0x303, hwcap: 1 << 62, path: "/opt/v2/b.so"}, {flags: 0x303, path: "/opt/b.so"},
				})),
			}),
			want: []string{
				interpOK,
				"a.so = " + triple + "/a.so < /lib, " + triple + "/glibc-hwcaps/x86-64-v3/a.so < /lib, " + triple + "/haswell/avx512_1/a.so < /lib",
				"b.so = /opt/b.so, /opt/v2/b.so",
				"c.so = " + triple + "/tls/c.so < /lib, " + triple + "/tls/c.so",
			},
		},
		{
			name: "only ld.so.conf leads to it",
			files: debian(map[string]string{
				"/usr/bin/p": prog("a.so"), "/opt/lib/a.so": "-> a.so.1", "/opt/lib/a.so.1": lib("liba.so"),
				"/etc/ld.so.conf": "include conf.d/*\n", "/etc/conf.d/x": "/opt/lib\n",
			}),
			want: []string{interpOK, "a.so ? /opt/lib/a.so.1 < /opt/lib/a.so"},
		},
		{
			name:  "only a soname bears the name",
			files: debian(map[string]string{"/usr/bin/p": prog("libjvm.so"), "/jdk/server/jvm": lib("libjvm.so"), "/jdk/client/libjvm.so": lib("x")}),
			want:  []string{interpOK, "libjvm.so ? /jdk/client/libjvm.so, /jdk/server/jvm"},
		},
		{
			name: "LD_LIBRARY_PATH",
			files: debian(map[string]string{
				"/usr/bin/p": elfFile(linkagetest.Image{Interp: glibc64, Needed: []string{"a.so", "b.so", "c.so"}, RunPath: str("/run")}),
				"/env/a.so":  lib("a.so"), "/run/a.so": lib("a.so"), "/cwd/rel/b.so": lib("b.so"), "/run/b.so": lib("b.so"), "/cwd/c.so": lib("c.so"),
			}),
			opts: Options{Env: []string{"LD_LIBRARY_PATH=/ignored", "X=1", "LD_LIBRARY_PATH=/env;rel:"}, WorkingDir: "/cwd/"},
			want: []string{interpOK, "a.so = /env/a.so", "b.so = /cwd/rel/b.so", "c.so = /cwd/c.so"},
		},
		{
			name: "DT_RPATH before LD_LIBRARY_PATH before DT_RUNPATH",
			files: debian(map[string]string{
				"/usr/bin/p": elfFile(linkagetest.Image{Interp: glibc64, Needed: []string{"a.so"}, RPath: str("/nowhere:/r")}),
				"/env/a.so":  lib("a.so"), "/r/a.so": lib("a.so"),
			}),
			opts: Options{Env: []string{"LD_LIBRARY_PATH=/env"}},
			want: []string{interpOK, "a.so = /r/a.so"},
		},
		{
			name: "tokens",
			files: debian(map[string]string{
				"/opt/app/bin/p":    elfFile(linkagetest.Image{Interp: glibc64, Needed: []string{"a.so", "b.so", "c.so", "${ORIGIN}/d.so"}, RunPath: str("$ORIGIN/../lib:/x/${LIB}:/y/$PLATFORM")}),
				"/opt/app/lib/a.so": lib("a.so"), "/x/lib/x86_64-linux-gnu/b.so": lib("b.so"), "/y/x86_64/c.so": lib("c.so"), "/opt/app/bin/d.so": lib("d.so"),
				"/usr/bin/p": "-> /opt/app/bin/p",
			}),
			of:   "/opt/app/bin/p",
			want: []string{interpOK, "a.so = /opt/app/lib/a.so", "b.so = /x/lib/x86_64-linux-gnu/b.so", "c.so = /y/x86_64/c.so", "${ORIGIN}/d.so = /opt/app/bin/d.so"},
		},
		{
			name: "$ORIGIN leaves a symlinked directory as the kernel does",
			files: debian(map[string]string{
				"/opt/real/bin/p": elfFile(linkagetest.Image{Interp: glibc64, Needed: []string{"a.so"}, RunPath: str("$ORIGIN/link/../lib")}),
				"/opt/real/lib":   "-> /data/deep", "/opt/real/bin/link": "-> /data/deep", "/data/lib/a.so": lib("a.so"), "/data/deep/x": "",
			}),
			of:   "/opt/real/bin/p",
			want: []string{interpOK, "a.so = /data/lib/a.so < /opt/real/bin/link"},
		},
		{
			name: "a path as name",
			files: debian(map[string]string{
				"/usr/bin/p": prog("/opt/a.so", "sub/b.so"), "/opt/a.so": "-> /opt/a.1", "/opt/a.1": lib("a"), "/sub/b.so": lib("b"),
			}),
			want: []string{interpOK, "/opt/a.so = /opt/a.1 < /opt/a.so", "sub/b.so = /sub/b.so"},
		},
		{
			name: "no default directories",
			files: debian(map[string]string{
				"/usr/bin/p":     elfFile(linkagetest.Image{Interp: glibc64, Needed: []string{"a.so", "b.so"}, Flags1: uint64(elf.DF_1_NODEFLIB)}),
				triple + "/a.so": lib("a.so"), "/opt/b.so": lib("b.so"),
				"/etc/ld.so.cache": string(cacheImage(le, 2, []cacheLine{{flags: 0x303, path: triple + "/a.so"}, {flags: 0x303, path: "/opt/b.so"}})),
			}),
			want: []string{interpOK, "a.so ? " + triple + "/a.so, " + triple + "/a.so < /lib", "b.so = /opt/b.so"},
		},
		{
			name: "dlopen notes",
			files: debian(map[string]string{
				"/usr/bin/p":     elfFile(linkagetest.Image{Interp: glibc64, Needed: []string{"libc.so.6"}, Dlopen: `[{"soname":["a.so","b.so"]}]`}),
				triple + "/a.so": lib("a.so"),
			}),
			want: []string{interpOK, libcOK, "a.so = " + triple + "/a.so < /lib", "b.so ? "},
		},
		{
			name: "tokens end where their names do",
			files: debian(map[string]string{
				"/opt/bin/p":       elfFile(linkagetest.Image{Interp: glibc64, Needed: []string{"a.so", "b.so"}, RunPath: str("$ORIGINAL:$LIBS:${ORIGIN}al")}),
				"/opt/binAL/a.so":  lib("a.so"),
				"/opt/binal/b.so":  lib("b.so"),
				"/usr/bin/elsehow": "",
			}),
			of: "/opt/bin/p", want: []string{interpOK, "a.so ? /opt/binAL/a.so", "b.so = /opt/binal/b.so"},
		},
		{
			name: "filters",
			files: debian(map[string]string{
				"/usr/bin/p":     elfFile(linkagetest.Image{Interp: glibc64, Needed: []string{"a.so"}}),
				triple + "/a.so": elfFile(linkagetest.Image{Soname: "a.so", Filters: []string{"b.so"}, Auxiliary: []string{"c.so"}}),
				triple + "/b.so": lib("b.so"), triple + "/c.so": lib("c.so"),
			}),
			of: triple + "/a.so", want: []string{"b.so = " + triple + "/b.so < /lib", "c.so = " + triple + "/c.so < /lib"},
		},
		{
			name:  "symlink loops and escapes",
			files: debian(map[string]string{"/usr/bin/p": prog("a.so", "b.so"), triple + "/a.so": "-> a.so", triple + "/b.so": "-> ../../../../../../../etc/b", "/etc/b": lib("b.so")}),
			want:  []string{interpOK, "a.so ? ", "b.so = /etc/b < /lib < " + triple + "/b.so"},
		},
		{
			name:  "relocatable objects have none",
			files: debian(map[string]string{"/usr/bin/p": elfFile(linkagetest.Image{Type: elf.ET_REL, Needed: []string{"a.so"}})}),
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			of := c.of
			if of == "" {
				of = "/usr/bin/p"
			}
			r := newResolver(t, c.files, c.opts)
			if diff := cmp.Diff(c.want, show(r.Dependencies(of))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if n := r.Notices(); n != nil {
				t.Errorf("notices %q", n)
			}
		})
	}
}

func TestDependenciesInContext(t *testing.T) {
	for _, c := range []struct {
		name  string
		files map[string]string
		of    string
		want  []string
	}{
		{
			name: "DT_RPATH is handed down, and adds to what is found alone",
			files: debian(map[string]string{
				"/usr/bin/p": elfFile(linkagetest.Image{Interp: glibc64, Needed: []string{"a.so"}, RPath: str("/r")}), "/usr/bin/q": prog("a.so"),
				triple + "/a.so": lib("a.so", "b.so"), triple + "/b.so": lib("b.so", "c.so"), "/r/b.so": lib("b.so", "c.so"), "/r/c.so": lib("c.so"),
			}),
			of:   triple + "/a.so",
			want: []string{"b.so = " + triple + "/b.so < /lib, /r/b.so"},
		},
		{
			name: "through several files",
			files: debian(map[string]string{
				"/usr/bin/p": elfFile(linkagetest.Image{Interp: glibc64, Needed: []string{"a.so"}, RPath: str("/r")}),
				"/r/a.so":    lib("a.so", "b.so"), "/r/b.so": lib("b.so", "c.so"), "/r/c.so": lib("c.so"),
			}),
			of:   "/r/b.so",
			want: []string{"c.so = /r/c.so"},
		},
		{
			name: "DT_RUNPATH is not handed down, and its owner ignores what is",
			files: debian(map[string]string{
				"/usr/bin/p": elfFile(linkagetest.Image{Interp: glibc64, Needed: []string{"a.so"}, RunPath: str("/r")}),
				"/usr/bin/q": elfFile(linkagetest.Image{Interp: glibc64, Needed: []string{"a.so"}, RPath: str("/q:/r")}),
				"/r/a.so":    elfFile(linkagetest.Image{Soname: "a.so", Needed: []string{"b.so"}, RunPath: str("/none")}), "/q/b.so": lib("b.so"),
			}),
			of:   "/r/a.so",
			want: []string{"b.so ? /q/b.so"},
		},
		{
			name: "in memory already, by soname",
			files: debian(map[string]string{
				"/usr/bin/p":  elfFile(linkagetest.Image{Interp: glibc64, Needed: []string{"first.so", "a.so"}, RunPath: str("/r")}),
				"/r/first.so": lib("b.so"), "/r/a.so": lib("a.so", "b.so"),
			}),
			of:   "/r/a.so",
			want: []string{"b.so = /r/first.so"},
		},
		{
			name: "$ORIGIN of a library is where it was opened",
			files: debian(map[string]string{
				"/usr/bin/p":  elfFile(linkagetest.Image{Interp: glibc64, Needed: []string{"a.so"}, RunPath: str("/opt/x")}),
				"/opt/x/a.so": "-> /data/a.so", "/opt/x/b.so": lib("b.so"),
				"/data/a.so": elfFile(linkagetest.Image{Soname: "a.so", Needed: []string{"b.so"}, RunPath: str("$ORIGIN")}),
			}),
			of:   "/data/a.so",
			want: []string{"b.so = /opt/x/b.so"},
		},
		{
			name: "cycles end",
			files: debian(map[string]string{
				"/usr/bin/p": elfFile(linkagetest.Image{Interp: glibc64, Needed: []string{"a.so"}, RPath: str("/r")}),
				"/r/a.so":    lib("a.so", "b.so"), "/r/b.so": lib("b.so", "a.so", "b.so"),
			}),
			of:   "/r/b.so",
			want: []string{"a.so = /r/a.so", "b.so = /r/b.so"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newResolver(t, c.files, Options{})
			if diff := cmp.Diff(c.want, show(r.Dependencies(c.of))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func muslProg(needed ...string) linkagetest.Image {
	return linkagetest.Image{Interp: musl64, Needed: needed}
}

func TestMusl(t *testing.T) {
	loader := lib("libc.musl-x86_64.so.1")
	interp := musl64 + " = " + musl64
	for _, c := range []struct {
		name  string
		files map[string]string
		opts  Options
		of    string
		want  []string
	}{
		{
			name: "libc is the loader, and its alias is reported",
			files: map[string]string{
				"/lib/libc.musl-x86_64.so.1": "-> ld-musl-x86_64.so.1",
				"/p":                         elfFile(muslProg("libc.musl-x86_64.so.1", "libc.so", "libpthread.so.0", "libcrypto.so.3")), "/lib/libcrypto.so.3": lib("libcrypto.so.3"),
			},
			want: []string{
				interp, "libc.musl-x86_64.so.1 = " + musl64 + ", " + musl64 + " < /lib/libc.musl-x86_64.so.1",
				"libc.so = " + musl64, "libpthread.so.0 = " + musl64, "libcrypto.so.3 = /lib/libcrypto.so.3",
			},
		},
		{
			name:  "default directories",
			files: map[string]string{"/p": elfFile(muslProg("a.so", "b.so", "c.so")), "/usr/local/lib/a.so": lib(""), "/usr/lib/a.so": lib(""), "/usr/lib/b.so": lib(""), "/lib64/c.so": lib("")},
			want:  []string{interp, "a.so = /usr/local/lib/a.so", "b.so = /usr/lib/b.so", "c.so ? /lib64/c.so"},
		},
		{
			name: "path file, and glibc's cache is not read",
			files: map[string]string{
				"/etc/ld-musl-x86_64.path": "/opt/a:\n/opt/b\n", "/p": elfFile(muslProg("a.so", "b.so", "c.so")), "/opt/b/a.so": lib(""), "/usr/lib/b.so": lib(""), "/c/c.so": lib(""),
				"/etc/ld.so.cache": string(cacheImage(binary.LittleEndian, 2, []cacheLine{{flags: 0x303, path: "/c/c.so"}})),
			},
			want: []string{interp, "a.so = /opt/b/a.so", "b.so ? /usr/lib/b.so", "c.so ? /c/c.so"},
		},
		{
			name:  "empty path file",
			files: map[string]string{"/etc/ld-musl-x86_64.path": "\n", "/p": elfFile(muslProg("b.so")), "/usr/lib/b.so": lib("")},
			want:  []string{interp, "b.so ? /usr/lib/b.so"},
		},
		{
			name: "LD_LIBRARY_PATH before RPATH; RUNPATH is handed down",
			files: map[string]string{
				"/p":        elfFile(linkagetest.Image{Interp: musl64, Needed: []string{"a.so"}, RunPath: str("/r")}),
				"/env/x.so": lib(""), "/r/x.so": lib(""), "/r/a.so": lib("", "b.so", "x.so"), "/r/b.so": lib("", "libc.musl-x86_64.so.1"),
			},
			opts: Options{Env: []string{"LD_LIBRARY_PATH=/env"}}, of: "/r/a.so",
			want: []string{"b.so = /r/b.so", "x.so = /env/x.so"},
		},
		{
			name: "no soname matching and no hwcaps",
			files: map[string]string{
				"/p": elfFile(muslProg("first.so", "a.so")), "/lib/first.so": lib("b.so"), "/lib/a.so": lib("", "b.so"),
				"/lib/glibc-hwcaps/x86-64-v2/b.so": lib("x"),
			},
			of: "/lib/a.so", want: []string{"b.so ? /lib/first.so, /lib/glibc-hwcaps/x86-64-v2/b.so"},
		},
		{
			name:  "other tokens make it ignore the path",
			files: map[string]string{"/d/p": elfFile(linkagetest.Image{Interp: musl64, Needed: []string{"a.so", "b.so"}, RPath: str("$ORIGIN/l:/$LIB")}), "/d/l/a.so": lib(""), "/lib/b.so": lib("")},
			of:    "/d/p", want: []string{interp, "a.so ? /d/l/a.so", "b.so = /lib/b.so"},
		},
		{
			name: "glibc's name is a link to musl",
			files: map[string]string{
				glibc64: "-> ../lib/ld-musl-x86_64.so.1", "/etc/ld-musl-x86_64.path": "/opt/m", "/opt/m/a.so": lib("a.so"),
				"/p": prog("libc.so.6", "a.so"),
			},
			want: []string{glibc64 + " = " + musl64 + " < " + glibc64, "libc.so.6 = " + musl64 + " < " + glibc64, "a.so = /opt/m/a.so"},
		},
		{
			name: "glibc programs beside musl's",
			files: map[string]string{
				"/p": elfFile(muslProg("x.so")), "/q": elfFile(muslProg("x.so")), "/lib/x.so": lib("x.so", "libc.musl-x86_64.so.1"),
				"/g": prog("y.so"), glibc64: glibcLoader("/glibc/lib/"), "/glibc/lib/y.so": lib("y.so", "libc.so.6"), "/glibc/lib/libc.so.6": lib("libc.so.6"),
			},
			of: "/glibc/lib/y.so", want: []string{"libc.so.6 = /glibc/lib/libc.so.6"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.files[musl64] = loader
			of := c.of
			if of == "" {
				of = "/p"
			}
			r := newResolver(t, c.files, c.opts)
			if diff := cmp.Diff(c.want, show(r.Dependencies(of))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestVersions tests which symbol versions a file does without.
func TestVersions(t *testing.T) {
	needs := linkagetest.Image{
		Interp: glibc64, Needed: []string{"a.so", "b.so", "c.so", "d.so"},
		Requires: []linkagetest.Require{
			{File: "a.so", Versions: []string{"A_1", "A_2"}}, {File: "b.so", Versions: []string{"B_1"}, Weak: true},
			{File: "c.so", Versions: []string{"C_1"}}, {File: "d.so", Versions: []string{"D_1"}},
		},
	}
	files := debian(map[string]string{
		"/usr/bin/p":     elfFile(needs),
		triple + "/a.so": elfFile(linkagetest.Image{Soname: "a.so", Defines: []string{"a.so", "A_1"}}),
		triple + "/b.so": elfFile(linkagetest.Image{Soname: "b.so", Defines: []string{"b.so"}}),
		triple + "/c.so": lib("c.so"), // from before there were versions
		// Found through the program that loads it, and older than what is asked for.
		"/opt/q":        elfFile(linkagetest.Image{Interp: glibc64, Needed: []string{"x.so"}, RPath: str("/opt/lib")}),
		"/opt/lib/x.so": elfFile(linkagetest.Image{Soname: "x.so", Needed: []string{"d.so"}, Requires: []linkagetest.Require{{File: "d.so", Versions: []string{"D_1"}}}}),
		"/opt/lib/d.so": elfFile(linkagetest.Image{Soname: "d.so", Defines: []string{"d.so"}}),
	})
	r := newResolver(t, files, Options{})
	lacks := func(p string) map[string][]string {
		found := map[string][]string{}
		for _, d := range r.Dependencies(p) {
			if d.Lacks != nil {
				found[d.Name] = d.Lacks
			}
		}
		return found
	}
	for p, want := range map[string]map[string][]string{"/usr/bin/p": {"a.so": {"A_2"}}, "/opt/lib/x.so": {"d.so": {"D_1"}}} {
		if diff := cmp.Diff(want, lacks(p)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", p, diff)
		}
	}
	// musl knows no versions.
	for p, s := range files {
		if o, err := parseBytes([]byte(s)); err == nil && o.Interp == glibc64 {
			needs.Interp = musl64
			files[p] = elfFile(needs)
		}
	}
	files[musl64] = lib("libc.musl-x86_64.so.1")
	r = newResolver(t, files, Options{})
	if got := lacks("/usr/bin/p"); len(got) > 0 {
		t.Errorf("with musl: %q", got)
	}
}

// TestDefaultDirectories tests, for every architecture, where libraries are found
// when neither a cache nor the loader's own file says so.
func TestDefaultDirectories(t *testing.T) {
	for _, c := range []struct {
		abi            ABI
		interp, triple string
	}{
		{amd64, "/lib64/ld-linux-x86-64.so.2", "x86_64-linux-gnu"},
		{i386, "/lib/ld-linux.so.2", "i386-linux-gnu"},
		{arm64, "/lib/ld-linux-aarch64.so.1", "aarch64-linux-gnu"},
		{arm, "/lib/ld-linux-armhf.so.3", "arm-linux-gnueabihf"},
		{riscv64, "/lib/ld-linux-riscv64-lp64d.so.1", "riscv64-linux-gnu"},
		{ppc64le, "/lib64/ld64.so.2", "powerpc64le-linux-gnu"},
		{s390x, "/lib/ld64.so.1", "s390x-linux-gnu"},
	} {
		image := func(e linkagetest.Image) string { return elfFile(forABI(c.abi, e)) }
		files := map[string]string{
			c.interp:                         image(linkagetest.Image{}),
			"/p":                             image(linkagetest.Image{Interp: c.interp, Needed: []string{"a.so", "b.so", "c.so"}, RunPath: str("/opt/$LIB")}),
			"/usr/lib/" + c.triple + "/a.so": image(linkagetest.Image{}), "/usr/lib/b.so": image(linkagetest.Image{}),
			"/opt/lib/" + c.triple + "/c.so": image(linkagetest.Image{}),
		}
		want := []string{
			c.interp + " = " + c.interp, "a.so = /usr/lib/" + c.triple + "/a.so", "b.so = /usr/lib/b.so", "c.so = /opt/lib/" + c.triple + "/c.so",
		}
		if diff := cmp.Diff(want, show(newResolver(t, files, Options{}).Dependencies("/p"))); diff != "" {
			t.Errorf("%v (-want +got):\n%s", c.abi.Machine, diff)
		}
	}
}

func TestPreloads(t *testing.T) {
	r := newResolver(t, debian(map[string]string{
		"/usr/bin/p": prog("libc.so.6"), "/usr/lib/libjemalloc.so.2": lib("x"), "/opt/hook.so": lib("y"),
		"/etc/ld.so.preload": "# hooks\n/opt/$LIB/a.so /opt/hook.so # more\n", "/opt/lib/x86_64-linux-gnu/a.so": lib("a"),
	}), Options{Env: []string{"LD_PRELOAD=libjemalloc.so.2:gone.so"}})
	want := []string{
		"libjemalloc.so.2 = /usr/lib/libjemalloc.so.2 < /lib", "gone.so ? ",
		"/opt/$LIB/a.so = /opt/lib/x86_64-linux-gnu/a.so", "/opt/hook.so = /opt/hook.so",
	}
	if diff := cmp.Diff(want, show(r.Preloads())); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, d := range r.Preloads() {
		if !d.Optional() {
			t.Errorf("%s is not optional", d.Name)
		}
	}
}

func TestNotices(t *testing.T) {
	r := newResolver(t, debian(map[string]string{
		"/usr/bin/p": prog("libc.so.6"), "/etc/ld.so.cache": "garbage", "/etc/ld.so.conf": strings.Repeat("#", maxConf+1),
		"/etc/ld.so.preload/x": "", "/etc/x": "",
	}), Options{Env: []string{"LD_LIBRARY_PATH=" + strings.Repeat("/:", 300)}})
	var got []string
	for _, n := range r.Notices() {
		got = append(got, strings.Fields(n)[0])
	}
	if diff := cmp.Diff([]string{"LD_LIBRARY_PATH", "/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.preload"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s%q", diff, r.Notices())
	}
	if diff := cmp.Diff([]string{interpOK, libcOK}, show(r.Dependencies("/usr/bin/p"))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestNewIsDeterministic(t *testing.T) {
	files := debian(map[string]string{"/etc/ld.so.cache": "garbage"})
	for i := range 40 {
		files[fmt.Sprintf("/usr/bin/p%d", i)] = elfFile(linkagetest.Image{Interp: glibc64, Needed: []string{"a.so", "libc.so.6"}, RPath: str(fmt.Sprintf("/r%d", i))})
		files[fmt.Sprintf("/r%d/a.so", i)] = lib("a.so", "b.so")
		files[fmt.Sprintf("/r%d/b.so", i)] = lib("b.so")
	}
	files[triple+"/a.so"] = lib("a.so", "b.so")
	want := newResolver(t, files, Options{})
	for range 10 {
		got := newResolver(t, files, Options{})
		if diff := cmp.Diff(want.deps, got.deps); diff != "" {
			t.Fatalf("(-first +again):\n%s", diff)
		}
	}
}

func TestNewHonoursContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	tree := newTreeFS(debian(map[string]string{"/usr/bin/p": prog("libc.so.6")}))
	if _, err := New(ctx, tree, tree.objects(t), Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// TestNewIsBounded gives New files that each ask for the most that Parse allows,
// in directories that all exist.
func TestNewIsBounded(t *testing.T) {
	tree := newTreeFS(map[string]string{"/d/x": ""})
	var dirs []string
	for i := range maxSearchDirs {
		d := fmt.Sprintf("/d/%d", i)
		tree.dirs[d] = map[string]bool{}
		dirs = append(dirs, d)
	}
	objects := map[string]*Object{}
	for i := range 1000 {
		o := &Object{ABI: amd64, Type: elf.ET_DYN, Kind: Library, RPath: slices.Clone(dirs)}
		for j := range maxNeeded {
			o.Needed = append(o.Needed, fmt.Sprintf("lib%d-%d.so", i, j))
		}
		objects[fmt.Sprintf("/d/lib%d.so", i)] = o
	}
	_, err := New(t.Context(), tree, objects, Options{})
	if _, ok := errors.AsType[*LimitError](err); !ok {
		t.Errorf("got %v", err)
	}
}
