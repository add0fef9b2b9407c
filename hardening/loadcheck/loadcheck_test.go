package loadcheck

import (
	"debug/elf"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/temper-images/temper/hardening/linkage/linkagetest"
)

const (
	interp = "/lib64/ld-linux-x86-64.so.2"
	musl   = "/lib/ld-musl-x86_64.so.1"
)

// library, program and loader make amd64 files.
func library(soname string, needed ...string) linkagetest.Image {
	return linkagetest.Image{Soname: soname, Needed: needed}
}

func program(needed ...string) linkagetest.Image {
	return linkagetest.Image{Type: elf.ET_EXEC, Interp: interp, Needed: needed}
}

// loaderFile is a loader of glibc that has Debian's default directories compiled in.
func loaderFile() string {
	return string(library("ld-linux-x86-64.so.2").Bytes()) +
		"\x00/lib/x86_64-linux-gnu/\x00/usr/lib/x86_64-linux-gnu/\x00/lib/\x00/usr/lib/\x00\x00"
}

// tree is a root filesystem: contents by path, "-> TARGET" for a symbolic link.
type tree map[string]string

func elfs(images map[string]linkagetest.Image) tree {
	t := tree{interp: loaderFile()}
	for p, e := range images {
		t[p] = string(e.Bytes())
	}
	return t
}

func (t tree) with(more tree) tree {
	t = maps.Clone(t)
	maps.Copy(t, more)
	return t
}

func (t tree) without(paths ...string) tree {
	t = maps.Clone(t)
	for _, p := range paths {
		delete(t, p)
	}
	return t
}

func (t tree) write(tb testing.TB) *os.Root {
	tb.Helper()
	dir := tb.TempDir()
	for p, s := range t {
		p = filepath.Join(dir, p)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			tb.Fatal(err)
		}
		var err error
		if link, ok := strings.CutPrefix(s, "-> "); ok {
			err = os.Symlink(link, p)
		} else {
			err = os.WriteFile(p, []byte(s), 0o755)
		}
		if err != nil {
			tb.Fatal(err)
		}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { root.Close() })
	return root
}

func verify(tb testing.TB, before, after tree, env ...string) (violations, notices []string) {
	tb.Helper()
	check, notices, err := Verify(tb.Context(), Options{Before: before.write(tb), After: after.write(tb), Env: env})
	if err != nil {
		tb.Fatal(err)
	}
	if check.Passed != (len(check.Violations) == 0) {
		tb.Errorf("passed %t with %q", check.Passed, check.Violations)
	}
	return check.Violations, notices
}

func rpath(e linkagetest.Image, s string) linkagetest.Image   { e.RPath = &s; return e }
func runpath(e linkagetest.Image, s string) linkagetest.Image { e.RunPath = &s; return e }

// TestVerify removes a file at a time and says what is told then.
func TestVerify(t *testing.T) {
	const multiarch = "/usr/lib/x86_64-linux-gnu"
	for _, c := range []struct {
		name   string
		before tree
		remove []string
		env    []string
		want   []string
		advice []string
	}{
		{name: "nothing goes", before: elfs(map[string]linkagetest.Image{"/bin/a": program("libb.so.1"), "/lib/libb.so.1": library("libb.so.1")})},
		{
			name: "a library in a chain",
			before: elfs(map[string]linkagetest.Image{
				"/bin/a": program("libb.so.1"), "/bin/z": program("libx.so", "libb.so.1"), "/lib/libx.so": library(""),
				"/lib/libb.so.1": library("libb.so.1", "libc.so.1"), multiarch + "/libc.so.1": library("libc.so.1"),
			}),
			remove: []string{multiarch + "/libc.so.1"},
			want: []string{"/lib/libb.so.1 → libc.so.1: the library is missing; it was " + multiarch +
				"/libc.so.1; keep that with harden.keep (and 2 other files that load it)"},
		},
		{
			name:   "the interpreter",
			before: elfs(map[string]linkagetest.Image{"/bin/a": program()}),
			remove: []string{interp},
			want:   []string{"/bin/a → " + interp + ": the interpreter is missing; keep it with harden.keep"},
		},
		{
			name:   "a link to a library",
			before: elfs(map[string]linkagetest.Image{"/bin/a": program("libb.so.1"), "/lib/libb.so.1.2": library("libb.so.1")}).with(tree{"/lib/libb.so.1": "-> libb.so.1.2"}),
			remove: []string{"/lib/libb.so.1"},
			want:   []string{"/bin/a → libb.so.1: the library is missing; it was /lib/libb.so.1.2; keep that with harden.keep"},
		},
		{
			name:   "what was missing before",
			before: elfs(map[string]linkagetest.Image{"/bin/a": program("libb.so.1")}),
		},
		{
			name: "a library that only the program's search path leads to",
			before: elfs(map[string]linkagetest.Image{
				"/opt/bin/a": rpath(program("libb.so"), "$ORIGIN/../lib"), "/opt/lib/libb.so": library("", "libc.so"), "/opt/lib/libc.so": library(""),
			}),
			remove: []string{"/opt/lib/libc.so"},
			want:   []string{"/opt/bin/a → /opt/lib/libb.so → libc.so: the library is missing; it was /opt/lib/libc.so; keep that with harden.keep"},
		},
		{
			name: "the program goes and its library, which nothing else can load, stays",
			before: elfs(map[string]linkagetest.Image{
				"/opt/bin/a": rpath(program("libb.so"), "${ORIGIN}/../lib"), "/opt/lib/libb.so": library("", "libc.so"), "/opt/lib/libc.so": library(""),
			}),
			remove: []string{"/opt/bin/a", "/opt/lib/libc.so"},
		},
		{
			name: "DT_RUNPATH is not handed down",
			before: elfs(map[string]linkagetest.Image{
				"/bin/a": runpath(program("libb.so"), "/opt/lib"), "/opt/lib/libb.so": library("", "libc.so"), "/opt/lib/libc.so": library(""),
			}),
			remove: []string{"/opt/lib/libc.so"},
		},
		{
			name: "tokens",
			before: elfs(map[string]linkagetest.Image{
				"/opt/a": runpath(program("libb.so", "libc.so"), "/opt/$LIB:$ORIGIN/${PLATFORM}:$ORIGINAL"), "/opt/lib/x86_64-linux-gnu/libb.so": library(""), "/opt/haswell/libc.so": library(""),
			}),
			remove: []string{"/opt/lib/x86_64-linux-gnu/libb.so", "/opt/haswell/libc.so"},
			want: []string{
				"/opt/a → libb.so: the library is missing; it was /opt/lib/x86_64-linux-gnu/libb.so; keep that with harden.keep",
				"/opt/a → libc.so: the library is missing; it was /opt/haswell/libc.so; keep that with harden.keep",
			},
		},
		{
			name:   "LD_LIBRARY_PATH",
			before: elfs(map[string]linkagetest.Image{"/bin/a": program("libb.so"), "/srv/libb.so": library("")}),
			env:    []string{"LD_LIBRARY_PATH=/none;/srv"},
			remove: []string{"/srv/libb.so"},
			want:   []string{"/bin/a → libb.so: the library is missing; it was /srv/libb.so; keep that with harden.keep"},
		},
		{
			name:   "a preloaded library answers for its soname",
			before: elfs(map[string]linkagetest.Image{"/bin/a": program("libb.so.1"), "/srv/x": library("libb.so.1")}).with(tree{"/etc/ld.so.preload": "# x\n/srv/x /gone\n"}),
			remove: []string{"/etc/ld.so.preload"},
			want:   []string{"/bin/a → libb.so.1: the library is missing; it was /srv/x; keep that with harden.keep"},
		},
		{
			name: "ld.so.conf alone",
			before: elfs(map[string]linkagetest.Image{"/bin/a": program("libb.so"), "/opt/d/libb.so": library("")}).
				with(tree{"/etc/ld.so.conf": "include ld.so.conf.d/*.conf\n", "/etc/ld.so.conf.d/x.conf": "/opt/d # x\n"}),
			remove: []string{"/opt/d/libb.so"},
			want:   []string{"/bin/a → libb.so: the library is missing; it was /opt/d/libb.so; keep that with harden.keep"},
		},
		{
			name: "a symbol version",
			before: elfs(map[string]linkagetest.Image{
				"/bin/a":               {Type: elf.ET_EXEC, Interp: interp, Needed: []string{"libb.so"}, Requires: []linkagetest.Require{{File: "libb.so", Versions: []string{"B_1", "B_2"}}}},
				"/usr/lib/libb.so":     {Soname: "libb.so", Defines: []string{"libb.so", "B_1"}},
				multiarch + "/libb.so": {Soname: "libb.so", Defines: []string{"libb.so", "B_1", "B_2"}},
			}),
			remove: []string{multiarch + "/libb.so"},
			want:   []string{"/bin/a → B_2: /usr/lib/libb.so does not define this symbol version; it was " + multiarch + "/libb.so; keep that with harden.keep"},
		},
		{
			name: "a weak symbol version, and a library without versions",
			before: elfs(map[string]linkagetest.Image{
				"/bin/a": {Type: elf.ET_EXEC, Interp: interp, Needed: []string{"libb.so", "libc.so"}, Requires: []linkagetest.Require{
					{File: "libb.so", Versions: []string{"B_2"}, Weak: true}, {File: "libc.so", Versions: []string{"C_1"}},
				}},
				"/usr/lib/libb.so":     {Defines: []string{"libb.so"}},
				"/usr/lib/libc.so":     {},
				multiarch + "/libb.so": {Defines: []string{"libb.so", "B_2"}},
				multiarch + "/libc.so": {Defines: []string{"libc.so", "C_1"}},
			}),
			remove: []string{multiarch + "/libb.so", multiarch + "/libc.so"},
		},
		{
			name: "a variant for some processors, which alone has a version",
			before: elfs(map[string]linkagetest.Image{
				"/bin/a":           {Type: elf.ET_EXEC, Interp: interp, Needed: []string{"libb.so"}},
				"/usr/lib/libb.so": library("libb.so"),
				"/usr/lib/glibc-hwcaps/x86-64-v3/libb.so": library("libb.so", "libv3.so"),
				"/usr/lib/libv3.so":                       library("libv3.so"),
			}),
			remove: []string{"/usr/lib/libv3.so"},
			want: []string{"/usr/lib/glibc-hwcaps/x86-64-v3/libb.so → libv3.so: the library is missing; it was /usr/lib/libv3.so; keep that with harden.keep" +
				" (and 1 other file that loads it)"},
		},
		{
			name: "a file of another kind in the way",
			before: elfs(map[string]linkagetest.Image{"/bin/a": program("libb.so"), multiarch + "/libb.so": library("")}).
				with(tree{"/usr/lib/libb.so": "/* GNU ld script, which is no library, and more than 64 bytes long */"}),
			remove: []string{multiarch + "/libb.so"},
			want: []string{"/bin/a → libb.so: /usr/lib/libb.so cannot be loaded: not a well-formed ELF file: it does not start as one; it was " +
				multiarch + "/libb.so; keep that with harden.keep"},
		},
		{
			name: "another architecture is passed over",
			before: elfs(map[string]linkagetest.Image{
				"/bin/a": program("libb.so"), "/usr/lib/libb.so": library(""),
				multiarch + "/libb.so": {Class: elf.ELFCLASS64, Data: elf.ELFDATA2LSB, Machine: elf.EM_AARCH64},
			}),
			remove: []string{"/usr/lib/libb.so"},
			want:   []string{"/bin/a → libb.so: the library is missing; it was /usr/lib/libb.so; keep that with harden.keep"},
		},
		{
			name: "features",
			before: elfs(map[string]linkagetest.Image{
				"/bin/a":         {Type: elf.ET_EXEC, Interp: interp, Dlopen: `[{"soname":["libx.so.2","libx.so.1"],"priority":"recommended"},{"soname":["liby.so"],"priority":"suggested"},{"soname":["libz.so"],"priority":"required"}]`},
				"/lib/libx.so.1": library("libx.so.1"), "/lib/liby.so": library(""), "/lib/libz.so": library(""),
			}),
			remove: []string{"/lib/libx.so.1", "/lib/liby.so", "/lib/libz.so"},
			advice: []string{"/bin/a → libx.so.2 or libx.so.1: the library that it may load is missing; it was /lib/libx.so.1; keep that with harden.keep"},
			want: []string{
				"/bin/a → libz.so: the library that it may load is missing; it was /lib/libz.so; keep that with harden.keep",
			},
		},
		{
			name:   "DF_1_NODEFLIB",
			before: elfs(map[string]linkagetest.Image{"/bin/a": {Type: elf.ET_EXEC, Interp: interp, Needed: []string{"libb.so"}, Flags1: uint64(elf.DF_1_NODEFLIB)}, "/lib/libb.so": library("")}),
			remove: []string{"/lib/libb.so"},
		},
		{
			name:   "by path",
			before: elfs(map[string]linkagetest.Image{"/bin/a": program("/srv/b.so", "$ORIGIN/c.so"), "/srv/b.so": library(""), "/bin/c.so": library("")}),
			remove: []string{"/srv/b.so", "/bin/c.so"},
			want: []string{
				"/bin/a → $ORIGIN/c.so: the library is missing; it was /bin/c.so; keep that with harden.keep",
				"/bin/a → /srv/b.so: the library is missing; it was /srv/b.so; keep that with harden.keep",
			},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, advice := verify(t, c.before, c.before.without(c.remove...), c.env...)
			if diff := cmp.Diff(c.want, got) + cmp.Diff(c.advice, advice); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
