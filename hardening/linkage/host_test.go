package linkage

import (
	"context"
	"debug/elf"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// hostDirs are where this machine's ELF files are judged.
var hostDirs = []string{"/bin", "/sbin", "/usr/bin", "/usr/sbin", "/usr/libexec", "/lib", "/lib64", "/usr/lib", "/usr/local/lib", "/usr/local/bin"}

// TestHostAgreesWithLoader compares what this machine's own loader maps, for
// every program and library of the machine, with what load finds.
func TestHostAgreesWithLoader(t *testing.T) {
	files := hostFiles(t, hostDirs...)
	objects := map[string]*Object{}
	for _, p := range files {
		// Debug files and test data of other packages may be malformed.
		if o, err := parseFile(p); err == nil {
			objects[p] = o
		}
	}
	shell, err := filepath.EvalSymlinks("/bin/sh")
	if err != nil {
		t.Fatal(err)
	}
	self := objects[shell]
	r, err := New(t.Context(), &hostFS{links: map[string]string{}}, objects, Options{})
	if err != nil {
		t.Fatal(err)
	}
	var judged []string
	for _, p := range sortedKeys(objects) {
		o := objects[p]
		dir := filepath.Dir(p)
		// One directory of programs and one of libraries, and every file whose
		// search path is its own.
		usual := dir == "/usr/bin" || dir == filepath.Dir(r.loader(self.ABI, self.Interp).file.Path)
		if o.ABI == self.ABI && o.Kind != Other && !o.Static() && len(o.Needed) > 0 &&
			(usual || o.RPath != nil || o.RunPath != nil) {
			judged = append(judged, p)
		}
	}
	if len(judged) < 50 {
		t.Fatalf("only %d files to judge by", len(judged))
	}
	wants := traceAll(t.Context(), self.Interp, judged)
	var agreed int
	for i, p := range judged {
		want := wants[i]
		got := map[string]string{}
		for _, f := range r.load(p) {
			if f.as != p {
				got[f.as] = f.path
			}
			for j, h := range f.hits {
				if h == nil {
					got[f.obj.Needed[j]] = ""
				}
			}
		}
		// The loader names itself by its path.
		for _, m := range []map[string]string{got, want} {
			for name, file := range m {
				if file == r.loader(self.ABI, self.Interp).file.Path {
					delete(m, name)
				}
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-loader +load):\n%s", p, diff)
			continue
		}
		agreed++
	}
	t.Logf("%d of %d files agree with %s; %d ELF files known", agreed, len(judged), self.Interp, len(objects))
}

// traceAll asks the loader what each file would be loaded with: canonical paths
// by name, empty when not found. Nothing is run.
func traceAll(ctx context.Context, interp string, files []string) []map[string]string {
	out := make([]map[string]string, len(files))
	var wg sync.WaitGroup
	work := make(chan int)
	for range 2 {
		wg.Go(func() {
			for i := range work {
				out[i] = trace(ctx, interp, files[i])
			}
		})
	}
	for i := range files {
		work <- i
	}
	close(work)
	wg.Wait()
	return out
}

var traceLine = regexp.MustCompile(`^\t(\S+)(?: => (.*?))?(?: \(0x[0-9a-f]+\))?$`)

func trace(ctx context.Context, interp, file string) map[string]string {
	// This is what ldd does with glibc. With musl it would run the file.
	cmd := exec.CommandContext(ctx, interp, file)
	if isMusl(interp) {
		cmd = exec.CommandContext(ctx, interp, "--list", file)
	}
	cmd.Env = []string{"LD_TRACE_LOADED_OBJECTS=1"}
	dt, _ := cmd.Output() // a library that is not found makes it fail
	found := map[string]string{}
	for line := range strings.Lines(string(dt)) {
		m := traceLine.FindStringSubmatch(strings.TrimRight(line, "\n"))
		if m == nil || strings.HasPrefix(m[1], "linux-vdso") {
			continue
		}
		name, target := m[1], m[2]
		if target == "" {
			target = name
		}
		if target == "not found" {
			found[name] = ""
			continue
		}
		if canonical, err := filepath.EvalSymlinks(target); err == nil {
			target = canonical
		}
		found[name] = target
	}
	return found
}

// TestHostAgreesWithDebugELF compares Parse with the standard library's parser
// on every ELF file of this machine.
func TestHostAgreesWithDebugELF(t *testing.T) {
	var compared int
	for _, p := range hostFiles(t, hostDirs...) {
		o, err := parseFile(p)
		if err != nil || o.Kind == Other {
			continue
		}
		f, err := elf.Open(p)
		if err != nil {
			t.Errorf("%s: Parse accepts it and debug/elf says %v", p, err)
			continue
		}
		needed, _ := f.DynString(elf.DT_NEEDED)
		soname, _ := f.DynString(elf.DT_SONAME)
		runpath, _ := f.DynString(elf.DT_RUNPATH)
		f.Close()
		// debug/elf reads the dynamic section by its section header, which
		// files of debug symbols have and programs do not load.
		if o.Needed == nil && len(needed) > 0 && strings.HasPrefix(p, "/usr/lib/debug/") {
			continue
		}
		type facts struct {
			ABI     ABI
			Needed  string
			Soname  string
			RunPath string
		}
		got := facts{o.ABI, strings.Join(o.Needed, " "), o.Soname, strings.Join(o.RunPath, ":")}
		want := facts{ABI{f.Class, f.Data, f.Machine}, strings.Join(needed, " "), strings.Join(soname, ""), strings.Join(runpath, "")}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-debug/elf +Parse):\n%s", p, diff)
		}
		compared++
	}
	if compared < 100 {
		t.Errorf("only %d files to compare", compared)
	}
	t.Logf("%d files agree", compared)
}
