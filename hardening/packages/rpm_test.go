package packages

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	judge "github.com/anchore/go-rpmdb/pkg"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/temper-images/temper/hardening/packages/rpmdb"
	"github.com/temper-images/temper/hardening/packages/rpmdb/rpmdbtest"
)

// rpmBlob returns the header of a package that owns a program, its
// configuration and a manual page that was not installed.
func rpmBlob(name string) []byte {
	return rpmdbtest.Header(map[uint32][]string{
		rpmdb.TagName: {name}, rpmdb.TagVersion: {"1.0"}, rpmdb.TagRelease: {"2.el9"}, rpmdb.TagArch: {"x86_64"},
		rpmdb.TagSourceRPM:     {name + "-1.0-2.el9.src.rpm"},
		rpmdb.TagProvideName:   {name, name + "(x86-64)"},
		rpmdb.TagRequireName:   {"/bin/sh", "/usr/bin/python3", "libc.so.6(GLIBC_2.34)(64bit)", "rpmlib(CompressedFileNames)", "(mailx or s-nail)", "(dnf if yum)"},
		rpmdb.TagRecommendName: {"crypto-policies"},
		rpmdb.TagBaseNames:     {name, name + ".conf", name + ".1.gz"},
		rpmdb.TagDirNames:      {"/usr/bin/", "/etc/", "/usr/share/man/man1/"},
	}, map[uint32][]uint32{
		rpmdb.TagEpoch:        {1},
		rpmdb.TagRequireFlags: {1<<8 | 1<<10, 1<<8 | 1<<14, 1 << 14, 1<<24 | 1<<3, 0, 0},
		rpmdb.TagDirIndexes:   {0, 1, 2},
		rpmdb.TagFileFlags:    {0, 1, 2},
		rpmdb.TagFileStates:   {0, 0, 2},
	})
}

func rpmSQLiteOf(t testing.TB, names ...string) string {
	t.Helper()
	var entries []rpmdb.Entry
	for _, name := range names {
		entries = append(entries, rpmdb.Entry{Name: name, Blob: rpmBlob(name)})
	}
	db, err := rpmdb.Write(t.Context(), entries)
	if err != nil {
		t.Fatal(err)
	}
	return string(db)
}

// rpmForms returns one database in each format.
func rpmForms(t testing.TB) [][]byte {
	blob := rpmBlob("one")
	return [][]byte{
		rpmdbtest.BDB(binary.LittleEndian, blob), rpmdbtest.BDB(binary.BigEndian, blob),
		rpmdbtest.NDB(blob), []byte(rpmSQLiteOf(t, "one")),
	}
}

func TestRPMLoad(t *testing.T) {
	want := []*Package{{
		Type: TypeRPM, Name: "one", Version: "1:1.0-2.el9", Arch: "x86_64", Source: "one-1.0-2.el9.src.rpm",
		Files: []string{"/usr/bin/one", "/etc/one.conf"}, Conffiles: []string{"/etc/one.conf"},
		Depends:    [][]string{{"/usr/bin/python3"}, {"libc.so.6(GLIBC_2.34)(64bit)"}, {"mailx", "s-nail"}, {"dnf"}, {"yum"}},
		Recommends: [][]string{{"crypto-policies"}},
		Provides:   []string{"one", "one(x86-64)"},
	}}
	blob := rpmBlob("one")
	for name, root := range map[string]memFS{
		"BerkeleyDB": {"/var/lib/rpm/Packages": string(rpmdbtest.BDB(binary.LittleEndian, blob))},
		"ndb":        {"/usr/lib/sysimage/rpm/Packages.db": string(rpmdbtest.NDB(blob))},
		"SQLite":     {"/usr/share/rpm/rpmdb.sqlite": rpmSQLiteOf(t, "one")},
		"linked": {
			"/usr/lib/sysimage/rpm/rpmdb.sqlite": rpmSQLiteOf(t, "one"),
			"/var/lib/rpm":                       "->../../usr/lib/sysimage/rpm",
		},
		"an old and a new one": {
			"/var/lib/rpm/rpmdb.sqlite": rpmSQLiteOf(t, "one"),
			"/var/lib/rpm/Packages":     string(rpmdbtest.BDB(binary.LittleEndian, blob)),
		},
	} {
		t.Run(name, func(t *testing.T) {
			dbs, notices := load(t, root, 1)
			if diff := cmp.Diff(want, dbs[0].Packages, cmpopts.IgnoreUnexported(Package{})); diff != "" {
				t.Errorf("packages (-want +got):\n%s", diff)
			}
			if len(notices) > 0 || dbs[0].Damaged != "" {
				t.Errorf("notices %q, damaged %q", notices, dbs[0].Damaged)
			}
		})
	}
}

func TestRPMRewrite(t *testing.T) {
	one, two := rpmBlob("one"), rpmBlob("two")
	for name, root := range map[string]memFS{
		"BerkeleyDB": {"/var/lib/rpm/Packages": string(rpmdbtest.BDB(binary.BigEndian, one, two)), "/var/lib/rpm/Name": "", "/var/lib/rpm/__db.001": ""},
		"ndb":        {"/var/lib/rpm/Packages.db": string(rpmdbtest.NDB(one, two)), "/var/lib/rpm/Index.db": ""},
		"SQLite":     {"/var/lib/rpm/rpmdb.sqlite": rpmSQLiteOf(t, "one", "two"), "/var/lib/rpm/rpmdb.sqlite-wal": "", "/var/lib/rpm/rpmdb.sqlite-shm": "", "/var/lib/rpm/.rpm.lock": ""},
		"linked":     {"/var/lib/rpm/rpmdb.sqlite": "->/data/rpm", "/data/rpm": rpmSQLiteOf(t, "one", "two")},
	} {
		t.Run(name, func(t *testing.T) {
			dbs, _ := load(t, root, 1)
			rw := rewrite(t, dbs[0], func(name string) bool { return name == "/usr/bin/two" })
			if len(rw.Files) != 1 {
				t.Fatalf("%d files are rewritten, want 1", len(rw.Files))
			}
			after := root.apply(t, rw)
			if len(after) > 2 || len(after) == 2 && name != "linked" {
				t.Errorf("%d files are left", len(after))
			}
			file := filepath.Join(t.TempDir(), "rpmdb.sqlite")
			if err := os.WriteFile(file, rw.Files[0].Contents, 0o600); err != nil {
				t.Fatal(err)
			}
			db, err := judge.Open(file)
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			packages, err := db.ListPackages()
			if err != nil || len(packages) != 1 || packages[0].Name != "two" {
				t.Errorf("go-rpmdb finds %d packages, error %v", len(packages), err)
			}
			again, _ := load(t, after, 1)
			if got := names(again[0]); !slices.Equal(got, []string{"two"}) {
				t.Errorf("read again: %q", got)
			}
			if rw := rewrite(t, again[0], func(string) bool { return true }); len(rw.Files)+len(rw.Remove) != 0 {
				t.Errorf("a second rewrite changes %d files and removes %q", len(rw.Files), rw.Remove)
			}
		})
	}
}

func TestRPMDamaged(t *testing.T) {
	list := func(bases, dirs []string, indexes ...uint32) string {
		return string(rpmdbtest.NDB(rpmdbtest.Header(map[uint32][]string{
			rpmdb.TagName: {"p"}, rpmdb.TagBaseNames: bases, rpmdb.TagDirNames: dirs,
		}, map[uint32][]uint32{rpmdb.TagDirIndexes: indexes})))
	}
	for name, db := range map[string]string{
		"no database":          "text",
		"header is no header":  string(rpmdbtest.NDB([]byte("xxxxxxxxxxxxxxxxxxxxxxxxxxxx"))),
		"header without name":  string(rpmdbtest.NDB(rpmdbtest.Header(map[uint32][]string{rpmdb.TagArch: {"x"}}, nil))),
		"directory not named":  list([]string{"a"}, []string{"/"}, 7),
		"index without a file": list([]string{"a"}, []string{"/"}, 0, 0),
	} {
		t.Run(name, func(t *testing.T) {
			root := memFS{"/var/lib/rpm/Packages.db": db}
			dbs, notices := load(t, root, 1)
			if dbs[0].Damaged == "" || len(notices) == 0 {
				t.Fatalf("not damaged; packages %q", names(dbs[0]))
			}
			if rw := rewrite(t, dbs[0], func(string) bool { return false }); len(rw.Files)+len(rw.Remove) > 0 {
				t.Error("a damaged database was rewritten")
			}
		})
	}
	root := memFS{"/var/lib/rpm/Packages.db": list([]string{"shadow", "ok"}, []string{"/etc/../../", "/etc/"}, 0, 1)}
	dbs, notices := load(t, root, 1)
	if got := dbs[0].Packages[0].Files; !slices.Equal(got, []string{"/etc/ok"}) || len(notices) != 1 {
		t.Errorf("escaping path: files %q, notices %q", got, notices)
	}
}

func TestRichRelation(t *testing.T) {
	for text, want := range map[string][][]string{
		"(a or b >= 1.0 or c)": {{"a", "b", "c"}},
		"(a and b)":            {{"a"}, {"b"}},
		"((a or b) and c)":     {{"a"}, {"b"}, {"c"}},
		"(libc.so.6(GLIBC_2.34)(64bit) if glibc)":         {{"libc.so.6(GLIBC_2.34)(64bit)"}, {"glibc"}},
		"(python3dist(x) < 3~~ with python3dist(x) >= 2)": {{"python3dist(x)"}, {"python3dist(x)"}},
		"()": nil,
	} {
		if diff := cmp.Diff(want, richRelation(text)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", text, diff)
		}
	}
}

const manifest = "mariner-release\t2.0-12.cm2\t1653816591\t1653753130\tMicrosoft Corporation\t(none)\t580\tnoarch\t0\tmariner-release-2.0-12.cm2.src.rpm\n" +
	"openssl-libs\t1.1.1k-15.cm2\t1653816592\t1653631609\tMicrosoft Corporation\t1\t4365048\tx86_64\t1\topenssl-1.1.1k-15.cm2.src.rpm\n"

func TestManifest(t *testing.T) {
	root := memFS{"/var/lib/rpmmanifest/container-manifest-2": manifest + "broken\n"}
	dbs, notices := load(t, root, 1)
	want := []*Package{
		{Type: TypeRPM, Name: "mariner-release", Version: "2.0-12.cm2", Arch: "noarch", Source: "mariner-release-2.0-12.cm2.src.rpm", FilesUnknown: "a manifest lists no files"},
		{Type: TypeRPM, Name: "openssl-libs", Version: "1:1.1.1k-15.cm2", Arch: "x86_64", Source: "openssl-1.1.1k-15.cm2.src.rpm", FilesUnknown: "a manifest lists no files"},
	}
	if diff := cmp.Diff(want, dbs[0].Packages, cmpopts.IgnoreUnexported(Package{})); diff != "" {
		t.Errorf("packages (-want +got):\n%s", diff)
	}
	if len(notices) != 1 || !strings.Contains(notices[0], "broken") {
		t.Errorf("notices %q", notices)
	}
	if rw := rewrite(t, dbs[0], func(string) bool { return false }); len(rw.Files)+len(rw.Remove) > 0 {
		t.Error("a manifest was rewritten, though nobody knows whose files are gone")
	}
}
