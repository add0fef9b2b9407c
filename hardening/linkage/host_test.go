package linkage

import (
	"debug/elf"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// hostDirs are where this machine's ELF files are judged.
var hostDirs = []string{"/bin", "/sbin", "/usr/bin", "/usr/sbin", "/usr/libexec", "/lib", "/lib64", "/usr/lib", "/usr/local/lib", "/usr/local/bin"}

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
