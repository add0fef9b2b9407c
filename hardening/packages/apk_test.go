package packages

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

const alpineInstalled = `C:Q1myMNfd7u5v5UTgNHeq1e31qTjZU=
P:alpine-baselayout
V:3.6.8-r1
A:x86_64
S:19917
I:409600
T:Alpine base dir structure and init scripts
U:https://git.alpinelinux.org/cgit/aports/tree/main/alpine-baselayout
L:GPL-2.0-only
m:Natanael Copa <ncopa@alpinelinux.org>
t:1590679557
c:e1c51734fa96fa4bac92e9f14a474324c67916fc
D:alpine-baselayout-data=3.6.8-r1 /bin/sh so:libc.musl-x86_64.so.1 !old<2
p:cmd:mkmntdirs=3.6.8-r1
r:alpine-baselayout-old
F:dev
F:dev/pts
F:etc
M:0:0:700
R:fstab
Z:Q11Q7hNe8QpDS531guqCdrXBzoA/o=
R:shadow
a:0:42:640
Z:Q1ltrPIAW2zHeDiajsex2Bdmq3uqA=
F:tmp
M:0:0:1777
F:var/spool
M:0:0:700
R:one
Z:Q1ltrPIAW2zHeDiajsex2Bdmq3uqA=

C:Q1AAAA=
P:musl
V:1.2.5-r9
A:x86_64
T:the musl c library (libc) implementation
o:musl-src
p:so:libc.musl-x86_64.so.1=1
F:lib
R:ld-musl-x86_64.so.1
a:0:0:755
Z:Q1BBBB=
R:libc.musl-x86_64.so.1
a:0:0:777
Z:Q1CCCC=

C:Q1DDDD=
P:apk-tools
V:2.14.9-r2
A:x86_64
F:sbin
R:apk
a:0:0:755
Z:Q1EEEE=

`

var alpine = memFS{
	"/lib/apk/db/installed":    alpineInstalled,
	"/lib/apk/db/scripts.tar":  "",
	"/lib/apk/db/triggers":     "",
	"/lib/apk/db/lock":         "",
	"/etc/apk/world":           "alpine-baselayout apk-tools>2@edge\n",
	"/usr/lib/apk/db/whatever": "",
}

func TestApkLoad(t *testing.T) {
	dbs, notices := load(t, alpine, 1)
	want := []*Package{
		{
			Type: TypeApk, Name: "alpine-baselayout", Version: "3.6.8-r1", Arch: "x86_64", Source: "alpine-baselayout", SourceVersion: "3.6.8-r1",
			Files:    []string{"/dev", "/dev/pts", "/etc", "/etc/fstab", "/etc/shadow", "/tmp", "/var/spool", "/var/spool/one"},
			Depends:  [][]string{{"alpine-baselayout-data"}, {"/bin/sh"}, {"so:libc.musl-x86_64.so.1"}},
			Provides: []string{"cmd:mkmntdirs"},
		},
		{
			Type: TypeApk, Name: "musl", Version: "1.2.5-r9", Arch: "x86_64", Source: "musl-src", SourceVersion: "1.2.5-r9",
			Files:    []string{"/lib", "/lib/ld-musl-x86_64.so.1", "/lib/libc.musl-x86_64.so.1"},
			Provides: []string{"so:libc.musl-x86_64.so.1"}, Auto: true,
		},
		{
			Type: TypeApk, Name: "apk-tools", Version: "2.14.9-r2", Arch: "x86_64", Source: "apk-tools", SourceVersion: "2.14.9-r2",
			Files: []string{"/sbin", "/sbin/apk"},
		},
	}
	if diff := cmp.Diff(want, dbs[0].Packages, cmpopts.IgnoreUnexported(Package{}), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("packages (-want +got):\n%s", diff)
	}
	if len(notices) > 0 {
		t.Errorf("notices: %q", notices)
	}
}

func TestApkRewrite(t *testing.T) {
	dbs, _ := load(t, alpine, 1)
	rw := rewrite(t, dbs[0], func(name string) bool {
		return slices.Contains([]string{"/etc", "/etc/shadow", "/tmp", "/var/spool/one", "/lib", "/lib/ld-musl-x86_64.so.1"}, name)
	})
	after := alpine.apply(t, rw)
	want := memFS{
		"/lib/apk/db/installed": `C:Q1myMNfd7u5v5UTgNHeq1e31qTjZU=
P:alpine-baselayout
V:3.6.8-r1
A:x86_64
S:19917
I:409600
T:Alpine base dir structure and init scripts
U:https://git.alpinelinux.org/cgit/aports/tree/main/alpine-baselayout
L:GPL-2.0-only
m:Natanael Copa <ncopa@alpinelinux.org>
t:1590679557
c:e1c51734fa96fa4bac92e9f14a474324c67916fc
D:alpine-baselayout-data=3.6.8-r1 /bin/sh so:libc.musl-x86_64.so.1 !old<2
p:cmd:mkmntdirs=3.6.8-r1
r:alpine-baselayout-old
F:etc
M:0:0:700
R:shadow
a:0:42:640
Z:Q1ltrPIAW2zHeDiajsex2Bdmq3uqA=
F:tmp
M:0:0:1777
F:var/spool
M:0:0:700
R:one
Z:Q1ltrPIAW2zHeDiajsex2Bdmq3uqA=

C:Q1AAAA=
P:musl
V:1.2.5-r9
A:x86_64
T:the musl c library (libc) implementation
o:musl-src
p:so:libc.musl-x86_64.so.1=1
F:lib
R:ld-musl-x86_64.so.1
a:0:0:755
Z:Q1BBBB=

`,
		"/etc/apk/world":           alpine["/etc/apk/world"],
		"/usr/lib/apk/db/whatever": "",
	}
	if diff := cmp.Diff(want, after); diff != "" {
		t.Errorf("after rewrite (-want +got):\n%s", diff)
	}
	again, _ := load(t, after, 1)
	if rw := rewrite(t, again[0], func(string) bool { return true }); len(rw.Files)+len(rw.Remove) != 0 {
		t.Errorf("a second rewrite changes %v and removes %v", rw.Files, rw.Remove)
	}
}

func TestApkKeptWhole(t *testing.T) {
	dbs, _ := load(t, alpine, 1)
	rw := rewrite(t, dbs[0], func(string) bool { return true })
	want := &Rewrite{Remove: []string{"/lib/apk/db/lock", "/lib/apk/db/scripts.tar", "/lib/apk/db/triggers"}}
	if diff := cmp.Diff(want, rw); diff != "" {
		t.Error(diff)
	}
}

// TestApkMergedUsr reads one database through its two names only once.
func TestApkMergedUsr(t *testing.T) {
	dbs, _ := load(t, memFS{"/lib": "->usr/lib", "/usr/lib/apk/db/installed": alpineInstalled}, 1)
	if dbs[0].Location != "/usr/lib/apk/db" || len(dbs[0].Packages) != 3 {
		t.Errorf("%s with %d packages", dbs[0].Location, len(dbs[0].Packages))
	}
}

func TestApkMalformed(t *testing.T) {
	root := memFS{"/lib/apk/db/installed": "V:1\n\nP:a\nR:top\nnonsense\nF:../../etc\nR:shadow\nF:usr\nR:../../etc/passwd\nR:b\n"}
	dbs, notices := load(t, root, 1)
	if got := dbs[0].Packages[0].Files; len(dbs[0].Packages) != 1 || !slices.Equal(got, []string{"/top", "/usr", "/usr/b"}) {
		t.Errorf("files %q", got)
	}
	if len(notices) != 5 {
		t.Errorf("notices: %q", notices)
	}
	after := root.apply(t, rewrite(t, dbs[0], func(string) bool { return true }))
	if got, want := after["/lib/apk/db/installed"], "P:a\nR:top\nnonsense\nF:usr\nR:b\n"; got != want {
		t.Errorf("after rewrite %q, want %q", got, want)
	}

	dbs, _ = load(t, memFS{"/lib/apk/db/installed": "\x00\x01garbage"}, 1)
	if dbs[0].Damaged == "" {
		t.Error("garbage is not damaged")
	}
}
