package rpmdb

import (
	"bytes"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/temper-images/temper/hardening/packages/rpmdb/rpmdbtest"
)

// demoHeader returns the header of a package with two files.
func demoHeader(name string) []byte {
	return rpmdbtest.Header(map[uint32][]string{
		TagName: {name}, TagVersion: {"1.0"}, TagRelease: {"2"}, TagArch: {"noarch"}, TagSourceRPM: {name + ".src.rpm"},
		TagProvideName: {name, "cap"}, TagRequireName: {"glibc", "(a or b)"},
		TagBaseNames: {name, "README"}, TagDirNames: {"/usr/bin/", "/usr/share/doc/"},
	}, map[uint32][]uint32{TagDirIndexes: {0, 1}, TagRequireFlags: {0, 0}})
}

// realDatabases returns the paths of the databases of real distributions that
// are part of the module go-rpmdb.
func realDatabases(t *testing.T) []string {
	t.Helper()
	cmd := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/anchore/go-rpmdb")
	cmd.Stderr = t.Output()
	dir, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v", cmd.Args, err)
	}
	var files []string
	for _, name := range []string{rpmBDB, rpmNDB, rpmSQLite} {
		found, err := filepath.Glob(filepath.Join(strings.TrimSpace(string(dir)), "pkg/testdata/*", name))
		if err != nil {
			t.Fatal(err)
		}
		if len(found) == 0 {
			t.Fatalf("go-rpmdb holds no database of the name %s", name)
		}
		files = append(files, found...)
	}
	return files
}

const (
	rpmBDB    = "Packages"
	rpmNDB    = "Packages.db"
	rpmSQLite = "rpmdb.sqlite"
)

func equalBlobs(a, b [][]byte) bool {
	return bytes.Equal(bytes.Join(a, []byte("|")), bytes.Join(b, []byte("|")))
}
