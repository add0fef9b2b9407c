package hardening

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/temper-images/temper/hardening/packages"
	"github.com/temper-images/temper/hardening/rootfs"
	"github.com/temper-images/temper/hardening/spec"
)

// Real databases of RPM distributions, in the three formats, with a root
// filesystem around each that has a file wherever a package says so. What the
// files hold is not real, so it is package metadata that decides here.
func TestHardenRPM(t *testing.T) {
	for _, tc := range []struct {
		name, file, dir string
		// gone and kept are packages that must and must not be removed.
		gone, kept []string
	}{
		{
			name: "rockylinux-9", file: "rpmdb.sqlite", dir: "var/lib/rpm",
			gone: []string{"dnf", "rpm", "rpm-libs", "libdnf", "libsolv", "librepo"},
			kept: []string{"bash", "coreutils-single", "glibc", "ca-certificates", "tzdata", "openssl-libs", "rocky-release"},
		},
		{
			name: "fedora35", file: "rpmdb.sqlite", dir: "usr/lib/sysimage/rpm",
			gone: []string{"dnf", "rpm", "rpm-libs", "python3-dnf", "libdnf", "libsolv"},
			kept: []string{"bash", "coreutils", "glibc", "ca-certificates", "fedora-release-common"},
		},
		{
			name: "sle15-bci", file: "Packages.db", dir: "usr/lib/sysimage/rpm",
			kept: []string{"glibc", "bash", "coreutils"},
		},
		{
			name: "centos7-plain", file: "Packages", dir: "var/lib/rpm",
			gone: []string{"yum", "rpm", "rpm-libs", "rpm-python"},
			kept: []string{"bash", "coreutils", "glibc", "ca-certificates", "centos-release"},
		},
		{
			name: "cbl-mariner-2.0", file: "rpmdb.sqlite", dir: "var/lib/rpm",
			gone: []string{"tdnf", "rpm"},
			kept: []string{"bash", "glibc", "ca-certificates-base"},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			src := rpmFixture(t, tc.name, tc.file, tc.dir)
			dst, report, err := run(t, src, settings(nil))
			if err != nil {
				t.Fatal(err)
			}
			if report.Family != "rpm" {
				t.Errorf("family %q, want rpm", report.Family)
			}
			state := map[string]string{}
			for _, p := range report.Packages {
				state[p.Name] = p.State
			}
			for _, name := range tc.gone {
				if s := state[name]; s != spec.PackageRemoved {
					t.Errorf("package %s is %q, want it removed", name, s)
				}
			}
			for _, name := range tc.kept {
				if s := state[name]; s != spec.PackageKept && s != spec.PackagePartial {
					for _, p := range report.Packages {
						if p.Name == name {
							t.Logf("%+v", p)
						}
					}
					t.Errorf("package %s is %q, want it kept", name, s)
				}
			}
			var names []string
			for _, pkg := range loadPackages(t, dst) {
				names = append(names, pkg.Name)
			}
			if len(names) != report.After.Packages || len(names) == 0 {
				t.Errorf("the rewritten database has %d packages, the report says %d", len(names), report.After.Packages)
			}
			for _, name := range tc.gone {
				if slices.Contains(names, name) {
					t.Errorf("the rewritten database still names %s", name)
				}
			}
		})
	}
}

// rpmFixture makes a root filesystem around a database of go-rpmdb's own tests,
// which are real ones.
func rpmFixture(t *testing.T, name, file, dir string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "github.com/anchore/go-rpmdb").Output()
	if err != nil {
		t.Fatalf("find the module of the databases: %v", err)
	}
	db, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(out)), "pkg", "testdata", name, file))
	if err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	put := func(p string, dt []byte, mode os.FileMode) {
		p = filepath.Join(root, p)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, dt, mode); err != nil {
			t.Fatal(err)
		}
	}
	put(filepath.Join(dir, file), db, 0o644)
	for link, target := range map[string]string{"bin": "usr/bin", "sbin": "usr/sbin", "lib": "usr/lib", "lib64": "usr/lib64"} {
		if err := os.MkdirAll(filepath.Join(root, target), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(target, filepath.Join(root, link)); err != nil {
			t.Fatal(err)
		}
	}
	dirs := map[string]bool{}
	pkgs := loadPackages(t, root)
	for _, pkg := range pkgs {
		for _, f := range pkg.Files {
			// The databases do not say what is a directory; these packages
			// hold little else.
			if slices.Contains([]string{"filesystem", "aaa_base", "basesystem"}, pkg.Name) && !strings.HasPrefix(f, "/etc/") {
				dirs[f] = true
			}
			for d := path.Dir(f); d != "/"; d = path.Dir(d) {
				dirs[d] = true
			}
		}
	}
	for _, pkg := range pkgs {
		for i, f := range pkg.Files {
			if dirs[f] {
				if err := os.MkdirAll(filepath.Join(root, f), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			// A few files stand for a package that has thousands.
			const most = 30
			if _, err := os.Stat(filepath.Join(root, f)); err == nil || i > most && !inProgramDir(f) || strings.Contains(f, "/.build-id") || strings.HasPrefix(f, "/var/lib/rpm/") {
				continue
			}
			put(f, fmt.Appendf(nil, "file %d of %s", i, pkg.Name), 0o755)
		}
	}
	return root
}

func loadPackages(t *testing.T, root string) []*packages.Package {
	t.Helper()
	tree, err := rootfs.Scan(t.Context(), open(t, root), rootfs.ScanOptions{})
	if err != nil {
		t.Fatal(err)
	}
	dbs, notices, err := packages.Load(context.WithoutCancel(t.Context()), packageFS{treeFS{tree}})
	if err != nil {
		t.Fatal(err)
	}
	if len(dbs) != 1 || dbs[0].Damaged != "" {
		t.Fatalf("%d databases, notices %q", len(dbs), notices)
	}
	return dbs[0].Packages
}
