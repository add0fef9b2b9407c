package loadcheck

import (
	"debug/elf"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/temper-images/temper/hardening/linkage/linkagetest"
)

func muslProgram(needed ...string) linkagetest.Image {
	return linkagetest.Image{Type: elf.ET_EXEC, Interp: musl, Needed: needed}
}

func muslElfs(images map[string]linkagetest.Image) tree {
	t := tree{musl: string(library("libc.musl-x86_64.so.1").Bytes())}
	for p, e := range images {
		t[p] = string(e.Bytes())
	}
	return t
}

func TestVerifyMusl(t *testing.T) {
	for _, c := range []struct {
		name   string
		before tree
		remove []string
		want   []string
	}{
		{
			name:   "the loader is libc and what belongs to it",
			before: muslElfs(map[string]linkagetest.Image{"/bin/a": muslProgram("libc.musl-x86_64.so.1", "libc.so", "libpthread.so.0", "libm.so.6")}),
		},
		{
			name: "a path file, and ld.so.preload, which musl does not read",
			before: muslElfs(map[string]linkagetest.Image{"/bin/a": muslProgram("libb.so"), "/opt/l/libb.so": library("")}).
				with(tree{"/etc/ld-musl-x86_64.path": "/none\n/opt/l", "/etc/ld.so.preload": "/opt/l/libb.so"}),
			remove: []string{"/etc/ld-musl-x86_64.path"},
			want:   []string{"/bin/a → libb.so: the library is missing; it was /opt/l/libb.so; keep that with harden.keep"},
		},
		{
			name: "DT_RUNPATH is handed down",
			before: muslElfs(map[string]linkagetest.Image{
				"/opt/bin/a": runpath(muslProgram("libb.so"), "$ORIGIN/../lib"), "/opt/lib/libb.so": library("", "libc2.so"), "/opt/lib/libc2.so": library(""),
			}),
			remove: []string{"/opt/lib/libc2.so"},
			want:   []string{"/opt/bin/a → /opt/lib/libb.so → libc2.so: the library is missing; it was /opt/lib/libc2.so; keep that with harden.keep"},
		},
		{
			name:   "another token voids the path",
			before: muslElfs(map[string]linkagetest.Image{"/bin/a": runpath(muslProgram("libb.so"), "/opt/lib:$LIB"), "/opt/lib/libb.so": library("")}),
			remove: []string{"/opt/lib/libb.so"},
		},
		{
			name: "a soname is no name, and versions do not count",
			before: muslElfs(map[string]linkagetest.Image{
				"/bin/a":            {Type: elf.ET_EXEC, Interp: musl, Needed: []string{"first.so", "libb.so"}, Requires: []linkagetest.Require{{File: "libb.so", Versions: []string{"B_1"}}}},
				"/lib/first.so":     library("libb.so"),
				"/lib/libb.so":      {Defines: []string{"libb.so", "B_1"}},
				"/usr/lib/libb.so":  {Defines: []string{"libb.so"}},
				"/usr/lib/other.so": {},
			}),
			remove: []string{"/lib/libb.so"},
		},
		{
			name: "another architecture is not passed over",
			before: muslElfs(map[string]linkagetest.Image{
				"/bin/a": muslProgram("libb.so"), "/lib/libb.so": library(""),
				"/usr/lib/libb.so": {Class: elf.ELFCLASS64, Data: elf.ELFDATA2LSB, Machine: elf.EM_AARCH64},
			}),
			remove: []string{"/lib/libb.so"},
			want:   []string{"/bin/a → libb.so: /usr/lib/libb.so is for another architecture; it was /lib/libb.so; keep that with harden.keep"},
		},
		{
			name:   "glibc's name is a link to musl",
			before: muslElfs(map[string]linkagetest.Image{"/bin/a": program("libc.so.6")}).with(tree{interp: "-> ../lib/ld-musl-x86_64.so.1"}),
			remove: []string{interp},
			want:   []string{"/bin/a → " + interp + ": the interpreter is missing; keep it with harden.keep"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, _ := verify(t, c.before, c.before.without(c.remove...))
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestVerifyArchitectures breaks the same chain in files of every architecture.
func TestVerifyArchitectures(t *testing.T) {
	for a, known := range architectures {
		image := func(e linkagetest.Image) string {
			e.Class, e.Data, e.Machine = a.class, a.data, a.machine
			return string(e.Bytes())
		}
		dir := "/usr/lib/" + known.multiarch
		before := tree{
			known.interps[0]: image(linkagetest.Image{}),
			"/bin/a":         image(linkagetest.Image{Type: elf.ET_EXEC, Interp: known.interps[0], Needed: []string{"b.so"}}),
			dir + "/b.so":    image(linkagetest.Image{Soname: "b.so", Needed: []string{"c.so"}, Requires: []linkagetest.Require{{File: "c.so", Versions: []string{"C_1"}}}}),
			dir + "/c.so":    image(linkagetest.Image{Soname: "c.so", Defines: []string{"c.so", "C_1"}}),
			// A library of the same name for another machine is no help.
			"/usr/lib/c.so": string(linkagetest.Image{Class: elf.ELFCLASS64, Data: elf.ELFDATA2LSB, Machine: elf.EM_LOONGARCH}.Bytes()),
		}
		got, _ := verify(t, before, before.without(dir+"/c.so"))
		want := []string{dir + "/b.so → c.so: the library is missing; it was " + dir + "/c.so; keep that with harden.keep (and 1 other file that loads it)"}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%v (-want +got):\n%s", a.machine, diff)
		}
		older := before.with(tree{dir + "/c.so": image(linkagetest.Image{Soname: "c.so", Defines: []string{"c.so"}})})
		got, _ = verify(t, before, older)
		want = []string{dir + "/b.so → C_1: " + dir + "/c.so does not define this symbol version; it was " + dir + "/c.so; keep that with harden.keep (and 1 other file that loads it)"}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%v (-want +got):\n%s", a.machine, diff)
		}
	}
}
