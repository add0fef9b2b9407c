package packages

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestLoadNothing(t *testing.T) {
	for _, root := range []memFS{{}, {"/app": "x"}, {"/var/lib/dpkg/lock": "", "/var/lib/rpm/.rpm.lock": "", "/lib/apk/db/lock": ""}} {
		dbs, notices, err := Load(t.Context(), root)
		if len(dbs) > 0 || len(notices) > 0 || err != nil {
			t.Errorf("%v: %d databases, notices %q, error %v", root, len(dbs), notices, err)
		}
	}
}

func TestLoadCanceled(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("stop")
	cancel(stop)
	if _, _, err := Load(ctx, debian); !errors.Is(err, stop) {
		t.Errorf("error %v, want the cause of the cancelation", err)
	}
}

// TestLoadBudget reads a small database whose paths would take much memory.
func TestLoadBudget(t *testing.T) {
	const budget = 1 << 20
	var b strings.Builder
	b.WriteString("P:a\nF:" + strings.Repeat("d/", 2000) + "\n")
	for i := range 10_000 {
		fmt.Fprintf(&b, "R:%d\n", i)
	}
	l := newLoader(t.Context(), memFS{"/lib/apk/db/installed": b.String()})
	l.budget = budget
	l.each(apkLocations, l.loadApk)
	db := l.databases[0]
	p := db.Packages[0]
	if p.FilesUnknown == "" || len(l.notices) != 1 || len(p.Files) > budget/4000 {
		t.Errorf("%d files, unknown %q, notices %.200q", len(p.Files), p.FilesUnknown, l.notices)
	}
	if rw := rewrite(t, db, func(string) bool { return false }); len(rw.Files) != 0 {
		t.Error("the record was changed, though its files are unknown")
	}
}

// fuzz reads and rewrites a root filesystem that fuzzing made up.
func fuzz(t *testing.T, root memFS) {
	dbs, _, err := Load(t.Context(), root)
	if err != nil {
		t.Fatal(err)
	}
	for _, db := range dbs {
		for _, p := range db.Packages {
			for _, name := range p.Files {
				if clean, ok := cleanPath(name); !ok || clean != name {
					t.Errorf("package %q has the path %q", p.Name, name)
				}
			}
		}
		for _, every := range []int{1, 2, 1000} {
			n := 0
			rw := rewrite(t, db, func(string) bool { n++; return n%every == 0 })
			after := root.apply(t, rw)
			for _, f := range rw.Files {
				if !strings.HasPrefix(f.Path, db.Location) {
					t.Errorf("%s is written, outside of %s", f.Path, db.Location)
				}
			}
			again, _, err := Load(t.Context(), after)
			if err != nil {
				t.Fatal(err)
			}
			for _, left := range again {
				if left.Location == db.Location && left.Damaged != "" && db.Damaged == "" {
					t.Errorf("what was written is damaged: %s", left.Damaged)
				}
			}
		}
	}
}

func FuzzStatus(f *testing.F) {
	f.Add(debian["/var/lib/dpkg/status"], debian["/var/lib/apt/extended_states"])
	f.Add("Package: a\nPackage: b\n c\n\n\n\nStatus: a b c d\n", "")
	f.Fuzz(func(t *testing.T, status, states string) {
		fuzz(t, memFS{
			"/var/lib/dpkg/status": status, "/var/lib/dpkg/status.d/x": status, "/var/lib/apt/extended_states": states,
			"/var/lib/dpkg/info/libc6:amd64.list": "/.\n/lib\n", "/var/lib/dpkg/status.d/a.md5sums": "0  lib\n",
		})
	})
}

func FuzzList(f *testing.F) {
	f.Add("/.\n/usr\n/usr/bin\n", "0  usr/bin\n", "/etc/x\n", "/usr/bin\n/usr/bin.distrib\nb\n")
	f.Add("../..\n\n/a/./b//c", "0 *x\n \n", "remove-on-upgrade /etc/x\n", ":\n:\n:\n:")
	f.Fuzz(func(t *testing.T, list, sums, conffiles, diversions string) {
		fuzz(t, memFS{
			"/var/lib/dpkg/status":           "Package: a\nStatus: install ok installed\nArchitecture: amd64\nConffiles:\n " + conffiles + "\n",
			"/var/lib/dpkg/info/a.list":      list,
			"/var/lib/dpkg/info/a.md5sums":   sums,
			"/var/lib/dpkg/info/a.conffiles": conffiles,
			"/var/lib/dpkg/diversions":       diversions,
		})
	})
}

func FuzzApkInstalled(f *testing.F) {
	f.Add(alpineInstalled, "a>1@b\n")
	f.Fuzz(func(t *testing.T, installed, world string) {
		fuzz(t, memFS{"/lib/apk/db/installed": installed, "/etc/apk/world": world})
	})
}

func FuzzManifest(f *testing.F) {
	f.Add(manifest)
	f.Fuzz(func(t *testing.T, text string) {
		fuzz(t, memFS{"/var/lib/rpmmanifest/container-manifest-2": text})
	})
}

func FuzzRPM(f *testing.F) {
	for _, db := range rpmForms(f) {
		f.Add(db)
	}
	f.Fuzz(func(t *testing.T, db []byte) {
		fuzz(t, memFS{"/var/lib/rpm/Packages": string(db)})
	})
}

func BenchmarkLoadDpkg(b *testing.B) {
	root := diskFS("/")
	for b.Loop() {
		dbs, _, err := Load(b.Context(), root)
		if err != nil || len(dbs) == 0 {
			b.Fatal(err)
		}
		b.ReportMetric(float64(len(dbs[0].Packages)), "packages")
	}
}
