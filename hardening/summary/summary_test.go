package summary

import (
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	"github.com/temper-images/temper/hardening/spec"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestWrite(t *testing.T) {
	r := &spec.Report{
		Level: spec.LevelExclusive, Family: "debian", Distribution: "debian 12",
		Before: spec.Totals{Files: 12341, Bytes: 90123456, Packages: 104, Executables: 640, Libraries: 300, SetUID: 9},
		After:  spec.Totals{Files: 1203, Bytes: 30123456, Packages: 105, Executables: 40, Libraries: 112},
		User:   spec.User{Config: "65532:65532", UID: 65532, GID: 65532, Created: true},
		Removed: []spec.Group{
			{Class: "documentation", Name: "/usr/share/doc", Files: 900, Bytes: 4000000},
			{Class: "package-manager", Name: "apt", Why: []string{"apt", "libapt-pkg6.0"}, Files: 200, Bytes: 12000000},
			{Class: "orphan", Name: "evil\x1b[2J\tname\n", Files: 1, Bytes: 1},
		},
		Packages: []spec.Package{
			{Name: "libc6", Version: "2.36-9", State: spec.PackagePartial, FilesBefore: 287, FilesAfter: 40},
			{Name: "apt", Version: "2.6.1", State: spec.PackageRemoved, FilesBefore: 300},
			{Name: "coreutils", Version: "9.1-1", State: spec.PackagePartial, FilesBefore: 1230, FilesAfter: 1},
			{Name: "bash", Version: "5.2", State: spec.PackageKept, FilesBefore: 10, FilesAfter: 10},
			{Name: "tzdata", Version: "2024a", State: spec.PackagePartial, FilesBefore: 1000, FilesAfter: 999},
			{Name: "evil\x1b[2J", Version: "1", State: spec.PackagePartial, FilesBefore: 2, FilesAfter: 1},
			{Name: "perl-base", Version: "5.36", State: spec.PackagePartial, FilesBefore: 4, FilesAfter: 2},
		},
		Checks: []spec.Check{{Name: spec.CheckLinks, Statement: "every ELF file finds its libraries", Passed: true, Examined: 1500}},
	}
	for i := range 8 {
		r.Removed = append(r.Removed, spec.Group{Class: "orphan", Name: strings.Repeat("x", 40*i), Bytes: int64(i)})
	}
	var b strings.Builder
	require.NoError(t, Write(&b, "linux/amd64", r))
	require.NoError(t, Write(&b, "linux/arm64", &spec.Report{Level: spec.LevelOff, User: spec.User{Config: "root"}}))
	require.NoError(t, Write(&b, "", &spec.Report{Level: spec.LevelOff, Distribution: "alpine 3.22"}))
	require.NoError(t, Write(&b, "", &spec.Report{Level: spec.LevelOff}))
	const golden = "testdata/report.txt"
	if *update {
		require.NoError(t, os.WriteFile(golden, []byte(b.String()), 0o644))
	}
	want, err := os.ReadFile(golden)
	require.NoError(t, err)
	if d := cmp.Diff(string(want), b.String()); d != "" {
		t.Errorf("the table changed (-want +got); -update rewrites it:\n%s", d)
	}
}

func TestCount(t *testing.T) {
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", -1000: "-1,000", -100: "-100", 1234567: "1,234,567"} {
		require.Equal(t, want, count(n))
	}
}
