package main

import (
	"bytes"
	"debug/elf"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/temper-images/temper/hardening/linkage/linkagetest"
	"github.com/temper-images/temper/hardening/spec"
)

// call runs the command and returns its exit code and what it printed.
func call(t *testing.T, args ...string) (int, string, string) {
	t.Helper()
	var out, errs bytes.Buffer
	code := run(t.Context(), args, &out, &errs)
	return code, out.String(), errs.String()
}

func TestUsage(t *testing.T) {
	for _, args := range [][]string{
		{"nothing"}, {"harden"}, {"harden", "--settings", "x"}, {"harden", "--bad", "x"}, {"verify"}, {"verify", "--report", "x"}, {"harden", "word"},
	} {
		code, out, errs := call(t, args...)
		if code != exitUsage || out != "" || !strings.Contains(errs, "usage:") {
			t.Errorf("%q: %d %q %q", args, code, out, errs)
		}
	}
}

func TestVersion(t *testing.T) {
	if code, out, _ := call(t, "version"); code != 0 || !strings.HasPrefix(out, "temper-frontend ") {
		t.Errorf("%d %q", code, out)
	}
}

// fixture is a root filesystem with one program, and the helper's directories.
func fixture(t *testing.T, change func(*spec.Settings)) (harden []string, out, report string) {
	t.Helper()
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	for _, d := range []string{"rootfs/var/log", "rootfs/tmp", "out", "report"} {
		if err := os.MkdirAll(at(d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range map[string]string{"rootfs/app": "#!/app\n", "rootfs/var/log/old": "x\n"} {
		if err := os.WriteFile(at(name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	s := spec.Settings{Level: spec.LevelExclusive, Shell: spec.ShellKeep, User: spec.UserAuto, Image: spec.ImageConfig{Entrypoint: []string{"/app"}}}
	change(&s)
	dt, err := s.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(at("settings.json"), dt, 0o444); err != nil {
		t.Fatal(err)
	}
	return []string{"harden", "--settings", at("settings.json"), "--rootfs", at("rootfs"), "--out", at("out"), "--report", at("report")},
		at("out"), at("report")
}

func TestHelper(t *testing.T) {
	harden, out, report := fixture(t, func(*spec.Settings) {})
	code, stdout, errs := call(t, harden...)
	if code != 0 || stdout != "" || !strings.Contains(errs, "runs as 65532:65532") || !strings.Contains(errs, "before") {
		t.Fatalf("%d %q %s", code, stdout, errs)
	}
	if _, err := os.Stat(filepath.Join(out, "var/log/old")); !os.IsNotExist(err) {
		t.Errorf("the log stayed: %v", err)
	}
	f, err := os.Open(filepath.Join(report, spec.ReportFile))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := spec.ReadReport(f)
	if err != nil || len(r.Checks) == 0 {
		t.Errorf("report %+v, %v", r, err)
	}
}

// TestVerify tests the second step on what the first one wrote, and on that with a
// library taken out of it.
func TestVerify(t *testing.T) {
	const loader = "/lib64/ld-linux-x86-64.so.2"
	args, out, report := fixture(t, func(s *spec.Settings) { s.Image.Entrypoint = []string{"/bin/app"} })
	rootfs := args[4]
	for name, image := range map[string]linkagetest.Image{
		"bin/app":                {Type: elf.ET_EXEC, Interp: loader, Needed: []string{"liba.so.1"}},
		loader:                   {Soname: "ld-linux-x86-64.so.2"},
		"usr/lib/liba.so.1":      {Soname: "liba.so.1", Needed: []string{"libb.so.1"}},
		"usr/lib/libb.so.1":      {Soname: "libb.so.1"},
		"usr/lib/extra/libc.so":  {Needed: []string{"nothing.so"}},
		"usr/lib/extra/libc2.so": {Needed: []string{"libc.so"}},
	} {
		name = filepath.Join(rootfs, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, image.Bytes(), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if code, _, errs := call(t, args...); code != 0 {
		t.Fatalf("%d %s", code, errs)
	}
	verified := t.TempDir()
	verify := []string{"verify", "--settings", args[2], "--rootfs", rootfs, "--hardened", out, "--pruning", report, "--report", verified}
	if code, _, errs := call(t, verify...); code != 0 || !strings.Contains(errs, "(6 examined)") {
		t.Fatalf("%d %s", code, errs)
	}
	f, err := os.Open(filepath.Join(verified, spec.ReportFile))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := spec.ReadReport(f)
	if err != nil {
		t.Fatal(err)
	}
	if last := r.Checks[len(r.Checks)-1]; last.Name != spec.CheckLoads || !last.Passed || last.Examined != 6 || len(r.Checks) < 2 {
		t.Errorf("checks %+v", r.Checks)
	}

	for _, i := range []int{2, 4, 6, 8, 10} {
		missing := slices.Clone(verify)
		missing[i] = "/no/such/directory"
		if code, _, errs := call(t, missing...); code != exitIO || !strings.Contains(errs, "/no/such/directory") {
			t.Errorf("%q: %d %s", missing, code, errs)
		}
	}

	if err := os.Remove(filepath.Join(out, "usr/lib/libb.so.1")); err != nil {
		t.Fatal(err)
	}
	verify[len(verify)-1] = t.TempDir()
	code, _, errs := call(t, verify...)
	if want := "/usr/lib/liba.so.1 → libb.so.1: the library is missing; it was /usr/lib/libb.so.1"; code != exitData || !strings.Contains(errs, want) {
		t.Errorf("%d %s", code, errs)
	}
	if _, err := os.Stat(filepath.Join(verify[len(verify)-1], spec.ReportFile)); !os.IsNotExist(err) {
		t.Errorf("a report is there: %v", err)
	}
}

func TestHelperFails(t *testing.T) {
	t.Run("rule", func(t *testing.T) {
		harden, out, _ := fixture(t, func(s *spec.Settings) { s.Keep = []string{"/nothing/here"} })
		code, _, errs := call(t, harden...)
		if code != exitData || !strings.Contains(errs, "/nothing/here") || strings.Contains(errs, "usage") {
			t.Errorf("%d %s", code, errs)
		}
		if left, _ := os.ReadDir(out); len(left) != 0 {
			t.Errorf("left %v", left)
		}
	})
	t.Run("no root filesystem", func(t *testing.T) {
		harden, _, _ := fixture(t, func(*spec.Settings) {})
		harden[4] = "/no/such/directory"
		if code, _, errs := call(t, harden...); code != exitIO || !strings.Contains(errs, "/no/such/directory") {
			t.Errorf("%d %s", code, errs)
		}
	})
	t.Run("settings of another version", func(t *testing.T) {
		harden, _, _ := fixture(t, func(s *spec.Settings) { s.Level = "traced" })
		if code, _, errs := call(t, harden...); code != exitSoftware || !strings.Contains(errs, "not known to this helper") {
			t.Errorf("%d %s", code, errs)
		}
	})
}
