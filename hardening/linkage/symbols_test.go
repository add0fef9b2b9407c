package linkage

import (
	"bytes"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/temper-images/temper/hardening/linkage/linkagetest"
)

func TestWatch(t *testing.T) {
	w := NewWatch("dlopen", "iconv_open", "getaddrinfo")
	for _, abi := range []ABI{amd64, i386, arm64, arm, riscv64, ppc64le, s390x} {
		for _, hash := range []linkagetest.Hash{linkagetest.HashGNU, linkagetest.HashGNUEmpty, linkagetest.HashSysV, linkagetest.HashNone} {
			for name, c := range map[string]struct{ imports, want []string }{
				"none":     {nil, nil},
				"others":   {[]string{"malloc", "dlopen_", "dlope"}, nil},
				"one":      {[]string{"malloc", "dlopen"}, []string{"dlopen"}},
				"sorted":   {[]string{"iconv_open", "free", "getaddrinfo"}, []string{"getaddrinfo", "iconv_open"}},
				"twice":    {[]string{"dlopen", "dlopen"}, []string{"dlopen"}},
				"distant":  {[]string{strings.Repeat("x", 3*symbolChunk), "dlopen"}, []string{"dlopen"}},
				"unnamed":  {[]string{"", "dlopen", ""}, []string{"dlopen"}},
				"numerous": {append(slices.Repeat([]string{"malloc"}, 10_000), "dlopen"), []string{"dlopen"}},
			} {
				dt := forABI(abi, linkagetest.Image{Imports: c.imports, Exports: []string{"iconv_open", "y"}, Hash: hash}).Bytes()
				if hash == linkagetest.HashGNUEmpty {
					dt = forABI(abi, linkagetest.Image{Imports: c.imports, Hash: hash}).Bytes()
				}
				o, err := w.Parse(bytes.NewReader(dt), int64(len(dt)))
				if err != nil {
					t.Fatalf("%v, hash table %v, %s: %v", abi.Machine, hash, name, err)
				}
				if diff := cmp.Diff(c.want, o.Imports); diff != "" {
					t.Errorf("%v, hash table %v, %s (-want +got):\n%s", abi.Machine, hash, name, diff)
				}
			}
		}
	}
}

// TestWatchMalformed tests that a symbol table that is wrong counts as one that
// imports everything, and leaves the rest of the file readable.
func TestWatchMalformed(t *testing.T) {
	all := []string{"a", "b"}
	w := NewWatch(all...)
	for name, change := range map[string]func(*linkagetest.Image){
		"symbols outside segments": func(i *linkagetest.Image) { i.SymTab = 1 << 40 },
		"hash outside segments":    func(i *linkagetest.Image) { i.HashTab, i.Hash = 1<<40, linkagetest.HashSysV },
	} {
		e := forABI(amd64, linkagetest.Image{Soname: "libx.so", Imports: []string{"a"}, Exports: []string{"c"}})
		change(&e)
		dt := e.Bytes()
		o, err := w.Parse(bytes.NewReader(dt), int64(len(dt)))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if diff := cmp.Diff(all, o.Imports); diff != "" || o.Soname != "libx.so" {
			t.Errorf("%s (-want +got):\n%s%q", name, diff, o.Soname)
		}
	}
}

// TestHostImports compares, for every ELF file of this machine, what is found
// with what nm(1) prints.
func TestHostImports(t *testing.T) {
	names := []string{"dlopen", "iconv_open", "getaddrinfo", "getpwnam", "malloc", "setlocale", "stat", "__cxa_finalize", "_ITM_registerTMCloneTable"}
	w := NewWatch(names...)
	var compared, importing int
	for i, p := range hostFiles(t, "/usr/bin", "/usr/sbin", "/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu") {
		if i%8 != 0 { // nm takes its time
			continue
		}
		o, err := parseFileWith(w, p)
		if err != nil || o.Kind == Other || o.Static() {
			continue
		}
		out, err := exec.CommandContext(t.Context(), "nm", "-D", "--undefined-only", "--without-symbol-versions", "--format=just-symbols", p).Output()
		if err != nil {
			continue // files that nm knows to be something else, such as linker scripts
		}
		var want []string
		for line := range strings.Lines(string(out)) {
			if s := strings.TrimSpace(line); slices.Contains(names, s) {
				want = append(want, s)
			}
		}
		slices.Sort(want)
		if diff := cmp.Diff(slices.Compact(want), o.Imports); diff != "" {
			t.Errorf("%s (-nm +Imports):\n%s", p, diff)
		}
		compared++
		if len(want) > 0 {
			importing++
		}
	}
	if importing < 100 {
		t.Errorf("only %d files of %d import anything", importing, compared)
	}
	t.Logf("%d files agree, %d of which import something", compared, importing)
}
