package packages

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var debian = memFS{
	"/var/lib/dpkg/status": `Package: libc6
Status: install ok installed
Priority: optional
Section: libs
Architecture: amd64
Multi-Arch: same
Source: glibc (2.36-9)
Version: 2.36-9+deb12u10
Provides: libc6-abi (= 1), glibc-thing
Depends: libgcc-s1, libcrypt1 (>= 1:4.4.10-10~) | libcrypt2
Recommends: libidn2-0 (>= 2.0.5~)
Conffiles:
 /etc/ld.so.conf.d/x.conf d4e7a7b88a71b5ffd9e2644e71a0cfab
 /etc/ld.so.conf.d/y.conf 593ad12389ab2b6f952e7ede67b8fbbf
Description: GNU C Library
 Shared libraries.
 .
 More words: with a colon.

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 1

Package: dash
Essential: yes
Status: install ok installed
Architecture: amd64
Version: 0.5
Pre-Depends: libc6:any (>= 2.36)
Depends: debianutils [amd64]

Package: bash
Status: deinstall ok installed
Architecture: amd64
Version: 5.2
`,
	"/var/lib/dpkg/info/format":                "1\n",
	"/var/lib/dpkg/info/libc6:amd64.list":      "/.\n/lib\n/lib/libc.so.6\n/usr/share/doc\n/usr/share/doc/libc6/copyright\n/etc/ld.so.conf.d/x.conf\n/etc/ld.so.conf.d/y.conf\n",
	"/var/lib/dpkg/info/libc6:amd64.md5sums":   "00000000000000000000000000000000  lib/libc.so.6\n11111111111111111111111111111111  usr/share/doc/libc6/copyright\n",
	"/var/lib/dpkg/info/libc6:amd64.conffiles": "/etc/ld.so.conf.d/x.conf\nremove-on-upgrade /etc/ld.so.conf.d/y.conf\n",
	"/var/lib/dpkg/info/libc6:amd64.postinst":  "#!/bin/sh\n",
	"/var/lib/dpkg/info/libc6:amd64.symbols":   "",
	"/var/lib/dpkg/info/dash.list":             "/.\n/bin/sh\n/bin/dash\n../../etc/shadow\n/usr/../../etc/passwd\n",
	"/var/lib/dpkg/info/dash.md5sums":          "22222222222222222222222222222222  bin/dash\n",
	"/var/lib/dpkg/info/bash.list":             "/.\n/bin/bash\n/bin/sh\n",
	"/var/lib/dpkg/info/gone.list":             "/etc/gone\n",
	"/var/lib/dpkg/diversions":                 "/bin/sh\n/bin/sh.distrib\ndash\n",
	"/var/lib/dpkg/statoverride":               "root root 4755 /bin/su\n",
	"/var/lib/dpkg/available":                  "Package: x\n",
	"/var/lib/dpkg/status-old":                 "Package: x\n",
	"/var/lib/dpkg/lock":                       "",
	"/var/lib/dpkg/triggers/File":              "/usr/share x\n",
	"/var/lib/apt/extended_states":             "Package: libc6\nArchitecture: amd64\nAuto-Installed: 1\n\nPackage: dash\nArchitecture: amd64\nAuto-Installed: 0\n",
}

func TestDpkgLoad(t *testing.T) {
	dbs, notices := load(t, debian, 1)
	want := []*Package{
		{
			Type: TypeDeb, Name: "libc6", Version: "2.36-9+deb12u10", Arch: "amd64", Source: "glibc", SourceVersion: "2.36-9",
			Files:     []string{"/lib", "/lib/libc.so.6", "/usr/share/doc", "/usr/share/doc/libc6/copyright", "/etc/ld.so.conf.d/x.conf", "/etc/ld.so.conf.d/y.conf"},
			Conffiles: []string{"/etc/ld.so.conf.d/x.conf", "/etc/ld.so.conf.d/y.conf"},
			Depends:   [][]string{{"libgcc-s1"}, {"libcrypt1", "libcrypt2"}}, Recommends: [][]string{{"libidn2-0"}},
			Provides: []string{"libc6-abi", "glibc-thing"}, Auto: true, Section: "libs", Priority: "optional",
		},
		{
			Type: TypeDeb, Name: "dash", Version: "0.5", Arch: "amd64", Source: "dash", SourceVersion: "0.5", Essential: true,
			Files:   []string{"/bin/sh", "/bin/dash"},
			Depends: [][]string{{"libc6"}, {"debianutils"}},
		},
		{
			Type: TypeDeb, Name: "bash", Version: "5.2", Arch: "amd64", Source: "bash", SourceVersion: "5.2",
			Files: []string{"/bin/bash", "/bin/sh.distrib"},
		},
	}
	if diff := cmp.Diff(want, dbs[0].Packages, cmpopts.IgnoreUnexported(Package{}), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("packages (-want +got):\n%s", diff)
	}
	if dbs[0].Location != "/var/lib/dpkg" || dbs[0].Damaged != "" {
		t.Errorf("location %q, damaged %q", dbs[0].Location, dbs[0].Damaged)
	}
	if len(notices) != 2 || !strings.Contains(notices[0], `"../../etc/shadow"`) || !strings.Contains(notices[1], `"/usr/../../etc/passwd"`) {
		t.Errorf("notices %q, want one for each escaping path", notices)
	}
}

func TestDpkgRewrite(t *testing.T) {
	dbs, _ := load(t, debian, 1)
	rw := rewrite(t, dbs[0], func(name string) bool {
		return slices.Contains([]string{"/lib", "/lib/libc.so.6", "/etc/ld.so.conf.d/y.conf", "/bin/sh.distrib"}, name)
	})
	after := debian.apply(t, rw)
	want := memFS{
		"/var/lib/dpkg/status": `Package: libc6
Status: install ok installed
Priority: optional
Section: libs
Architecture: amd64
Multi-Arch: same
Source: glibc (2.36-9)
Version: 2.36-9+deb12u10
Provides: libc6-abi (= 1), glibc-thing
Depends: libgcc-s1, libcrypt1 (>= 1:4.4.10-10~) | libcrypt2
Recommends: libidn2-0 (>= 2.0.5~)
Conffiles:
 /etc/ld.so.conf.d/y.conf 593ad12389ab2b6f952e7ede67b8fbbf
Description: GNU C Library
 Shared libraries.
 .
 More words: with a colon.

Package: bash
Status: deinstall ok installed
Architecture: amd64
Version: 5.2
`,
		"/var/lib/dpkg/info/format":                "1\n",
		"/var/lib/dpkg/info/libc6:amd64.list":      "/.\n/lib\n/lib/libc.so.6\n/etc/ld.so.conf.d/y.conf\n",
		"/var/lib/dpkg/info/libc6:amd64.md5sums":   "00000000000000000000000000000000  lib/libc.so.6\n",
		"/var/lib/dpkg/info/libc6:amd64.conffiles": "remove-on-upgrade /etc/ld.so.conf.d/y.conf\n",
		"/var/lib/dpkg/info/bash.list":             "/.\n/bin/sh\n",
		"/var/lib/dpkg/diversions":                 "/bin/sh\n/bin/sh.distrib\ndash\n",
		"/var/lib/apt/extended_states":             debian["/var/lib/apt/extended_states"],
	}
	if diff := cmp.Diff(want, after); diff != "" {
		t.Errorf("after rewrite (-want +got):\n%s", diff)
	}

	// What was written is read again as what was kept, and stays as it is.
	again, notices := load(t, after, 1)
	if got := names(again[0]); !slices.Equal(got, []string{"libc6", "bash"}) || len(notices) != 0 {
		t.Errorf("read again: %q, notices %q", got, notices)
	}
	if rw := rewrite(t, again[0], func(string) bool { return true }); len(rw.Files)+len(rw.Remove) != 0 {
		t.Errorf("a second rewrite changes %v and removes %v", rw.Files, rw.Remove)
	}
}

func TestDpkgRewriteToNothing(t *testing.T) {
	dbs, _ := load(t, debian, 1)
	rw := rewrite(t, dbs[0], func(string) bool { return false })
	if diff := cmp.Diff(&Rewrite{Remove: []string{"/var/lib/dpkg"}}, rw); diff != "" {
		t.Error(diff)
	}
}

func TestDpkgDistroless(t *testing.T) {
	root := memFS{
		"/var/lib/dpkg/status.d/base-files":         "Package: base-files\nVersion: 12\nArchitecture: amd64\nConffiles:\n /etc/debian_version 0\n",
		"/var/lib/dpkg/status.d/base-files.md5sums": "00000000000000000000000000000000  etc/issue\n",
		"/var/lib/dpkg/status.d/libssl3":            "Package: libssl3\nVersion: 3.0\nSource: openssl\nArchitecture: amd64\n",
		"/var/lib/dpkg/status.d/libssl3.md5sums":    "00000000000000000000000000000000  usr/lib/libssl.so.3\n11111111111111111111111111111111  usr/share/doc/libssl3/copyright\n",
		"/var/lib/dpkg/status.d/netbase":            "Package: netbase\nVersion: 6.4\nArchitecture: all\n",
	}
	dbs, notices := load(t, root, 1)
	if got, want := dbs[0].Packages[0].Files, []string{"/etc/issue", "/etc/debian_version"}; !slices.Equal(got, want) {
		t.Errorf("files of base-files %q, want %q", got, want)
	}
	if len(notices) != 1 || dbs[0].Packages[2].FilesUnknown == "" {
		t.Errorf("a package with no md5sums: notices %q, reason %q", notices, dbs[0].Packages[2].FilesUnknown)
	}
	after := root.apply(t, rewrite(t, dbs[0], func(name string) bool { return name == "/usr/lib/libssl.so.3" }))
	want := memFS{
		"/var/lib/dpkg/status.d/libssl3":         "Package: libssl3\nVersion: 3.0\nSource: openssl\nArchitecture: amd64\n",
		"/var/lib/dpkg/status.d/libssl3.md5sums": "00000000000000000000000000000000  usr/lib/libssl.so.3\n",
		"/var/lib/dpkg/status.d/netbase":         root["/var/lib/dpkg/status.d/netbase"],
	}
	if diff := cmp.Diff(want, after); diff != "" {
		t.Errorf("after rewrite (-want +got):\n%s", diff)
	}
}

// TestDpkgLinkedStatus leaves the link in place and writes where it leads.
func TestDpkgLinkedStatus(t *testing.T) {
	root := memFS{
		"/var/lib/dpkg/status":      "->../../../data/status",
		"/data/status":              "Package: a\n\nPackage: b\n",
		"/var/lib/dpkg/info/a.list": "/a\n",
		"/var/lib/dpkg/info/b.list": "/b\n",
	}
	dbs, _ := load(t, root, 1)
	after := root.apply(t, rewrite(t, dbs[0], func(name string) bool { return name == "/b" }))
	want := memFS{
		"/var/lib/dpkg/status":      "->../../../data/status",
		"/data/status":              "Package: b\n",
		"/var/lib/dpkg/info/b.list": "/b\n",
	}
	if diff := cmp.Diff(want, after); diff != "" {
		t.Errorf("after rewrite (-want +got):\n%s", diff)
	}
}

func TestDpkgMalformed(t *testing.T) {
	tests := []struct {
		name     string
		root     memFS
		packages []string
		unknown  bool
		damaged  bool
	}{
		{name: "binary status", root: memFS{"/var/lib/dpkg/status": "\x7fELF\x00\xff"}, damaged: true},
		{name: "status is a link to nothing", root: memFS{"/var/lib/dpkg/status": "->/nowhere", "/var/lib/dpkg/x": ""}},
		{name: "status is a directory", root: memFS{"/var/lib/dpkg/status/x": ""}, damaged: true},
		{name: "name with slashes", root: memFS{"/var/lib/dpkg/status": "Package: ../../etc\n\nPackage: a\nVersion: 1\n"}, packages: []string{"a"}, unknown: true},
		{name: "continuation first", root: memFS{"/var/lib/dpkg/status": " x\nPackage: a\n", "/var/lib/dpkg/info/a.list": "/a\n"}, packages: []string{"a"}},
		{name: "no newline at the end", root: memFS{"/var/lib/dpkg/status": "Package: a\nVersion: 1", "/var/lib/dpkg/info/a.list": "/a"}, packages: []string{"a"}},
		{name: "list is a link", root: memFS{"/var/lib/dpkg/status": "Package: a\n", "/var/lib/dpkg/info/a.list": "->/etc/shadow", "/etc/shadow": "/x\n"}, packages: []string{"a"}, unknown: true},
		{name: "info is a file", root: memFS{"/var/lib/dpkg/status": "Package: a\n", "/var/lib/dpkg/info": "x"}, packages: []string{"a"}, unknown: true},
		{name: "empty", root: memFS{"/var/lib/dpkg/status": ""}},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			dbs, _, err := Load(t.Context(), tc.root)
			if err != nil {
				t.Fatal(err)
			}
			if len(dbs) == 0 {
				if tc.packages != nil || tc.damaged {
					t.Fatal("no database found")
				}
				return
			}
			db := dbs[0]
			if got := names(db); !slices.Equal(got, tc.packages) || (db.Damaged != "") != tc.damaged {
				t.Fatalf("packages %q, damaged %q", got, db.Damaged)
			}
			if tc.unknown != (len(db.Packages) > 0 && db.Packages[0].FilesUnknown != "") {
				t.Errorf("the files are unknown: want %v", tc.unknown)
			}
			rw := rewrite(t, db, func(string) bool { return false })
			if tc.damaged && len(rw.Files)+len(rw.Remove) > 0 {
				t.Error("a damaged database was rewritten")
			}
			if tc.unknown && len(tc.root.apply(t, rw)["/var/lib/dpkg/status"]) == 0 {
				t.Error("the record of a package with unknown files was dropped")
			}
		})
	}
}

// TestDpkgOfThisMachine reduces a real database and asks the real dpkg-query
// what is in it.
func TestDpkgOfThisMachine(t *testing.T) {
	root := diskFS(t.TempDir())
	admin := filepath.Join(string(root), "/var/lib/dpkg")
	if err := os.CopyFS(admin, os.DirFS("/var/lib/dpkg")); err != nil {
		t.Fatal(err)
	}
	query := func(args ...string) []string {
		t.Helper()
		cmd := exec.Command("dpkg-query", append([]string{"--admindir=" + admin}, args...)...)
		cmd.Stderr = t.Output()
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%v: %v", cmd.Args, err)
		}
		return strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
	}
	const format = "-f=${db:Status-Status} ${Package} ${Version} (${Architecture})\n"
	installed := func() (list []string) {
		for _, line := range query("-W", format) {
			if name, ok := strings.CutPrefix(line, "installed "); ok {
				list = append(list, name)
			}
		}
		slices.Sort(list)
		return list
	}

	dbs, notices := load(t, root, 1)
	if len(notices) > 0 {
		t.Errorf("notices: %q", notices)
	}
	db := dbs[0]
	var got []string
	for _, p := range db.Packages {
		got = append(got, p.String())
	}
	slices.Sort(got)
	if diff := cmp.Diff(installed(), got); diff != "" {
		t.Errorf("dpkg-query and Load differ (-dpkg +Load):\n%s", diff)
	}

	keep := func(name string) bool { return !strings.HasPrefix(name, "/usr/share/") }
	hasFile := func(p *Package) bool {
		return strings.HasPrefix(p.Name, "lib") || p.Name == "bash"
	}
	var want []string
	for _, p := range db.Packages {
		if hasFile(p) {
			want = append(want, p.String())
		}
	}
	slices.Sort(want)
	rw, err := db.Rewrite(t.Context(), func(p *Package) []string {
		if !hasFile(p) {
			return nil
		}
		kept := []string{}
		for _, name := range p.Files {
			if keep(name) {
				kept = append(kept, name)
			}
		}
		return kept
	})
	if err != nil {
		t.Fatal(err)
	}
	root.apply(t, rw)
	if diff := cmp.Diff(want, installed()); diff != "" {
		t.Errorf("dpkg-query after the rewrite (-want +dpkg):\n%s", diff)
	}
	before := query("--listfiles", "bash")
	if slices.ContainsFunc(before, func(name string) bool { return !keep(name) }) || !slices.Contains(before, "/bin/bash") {
		t.Errorf("dpkg-query --listfiles bash: %q", before)
	}
	if owner := query("--search", "/bin/bash"); !slices.Equal(owner, []string{"bash: /bin/bash"}) {
		t.Errorf("dpkg-query --search: %q", owner)
	}
}
