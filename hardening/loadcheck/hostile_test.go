package loadcheck

import (
	"bytes"
	"context"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/temper-images/temper/hardening/linkage/linkagetest"
)

// patched returns a program whose bytes at an offset are others.
func patched(e linkagetest.Image, at int, v uint64) string {
	b := e.Bytes()
	binary.LittleEndian.PutUint64(b[at:], v)
	return string(b)
}

// header64 is where the program header of that number starts.
func header64(i int) int { return 64 + 56*i }

// TestHostileFiles verifies root filesystems against themselves that hold what no
// linker wrote. Nothing may panic, hang or count as lost.
func TestHostileFiles(t *testing.T) {
	p := program("libb.so")
	many := make([]string, 2000)
	for i := range many {
		many[i] = fmt.Sprintf("lib%d.so", i)
	}
	le := binary.LittleEndian
	cache := func(count uint32, at uint32) string {
		b := append([]byte("glibc-ld.so.cache1.1"), make([]byte, 28+24*2+8)...)
		le.PutUint32(b[20:], count)
		le.PutUint32(b[48+4:], at)
		return string(b)
	}
	for name, files := range map[string]tree{
		"program headers past the end":    {"/bin/a": patched(p, 32, 1<<40)},
		"program headers that overflow":   {"/bin/a": patched(p, 32, ^uint64(0)-8)},
		"segment past the end":            {"/bin/a": patched(p, header64(0)+8, 1<<50)},
		"segment that overflows":          {"/bin/a": patched(p, header64(0)+8, ^uint64(0)-4)},
		"segment without end":             {"/bin/a": patched(p, header64(0)+32, ^uint64(0))},
		"interpreter past the end":        {"/bin/a": patched(p, header64(1)+8, 1<<60)},
		"interpreter without end":         {"/bin/a": patched(p, header64(1)+32, ^uint64(0))},
		"dynamic section past the end":    {"/bin/a": patched(p, header64(2)+16, 1<<60)},
		"dynamic section without end":     {"/bin/a": patched(p, header64(2)+32, ^uint64(0))},
		"more needed libraries than real": {"/bin/a": string(program(many...).Bytes())},
		"a name that is too long":         {"/bin/a": string(program(strings.Repeat("x", 5000)).Bytes())},
		"a component that is too long":    {"/bin/a": string(program(strings.Repeat("x", 300)).Bytes())},
		"names with newlines":             {"/bin/a": string(program("lib\n\xff.so").Bytes()), "/lib/lib\n\xff.so": string(library("").Bytes())},
		"a name that leads out":           {"/bin/a": string(program("../../../../../../etc/passwd", "/proc/self/exe").Bytes())},
		"an interpreter that leads out":   {"/bin/a": string(linkagetest.Image{Type: elf.ET_EXEC, Interp: "../../../../../../lib64/ld-linux-x86-64.so.2"}.Bytes())},
		"itself":                          {"/lib/libb.so": string(library("libb.so", "libb.so").Bytes())},
		"a circle":                        {"/lib/libb.so": string(library("libb.so", "libc.so").Bytes()), "/lib/libc.so": string(library("libc.so", "libb.so").Bytes())},
		"the interpreter is the program":  {"/bin/a": string(linkagetest.Image{Type: elf.ET_EXEC, Interp: "/bin/a"}.Bytes())},
		"symbolic links in a circle":      {"/bin/a": string(p.Bytes()), "/lib/libb.so": "-> libb.so", "/usr/lib/libb.so": "-> ../lib/../usr/lib/libb.so"},
		"a chain of 41 links":             linkChain(41).with(tree{"/bin/a": string(p.Bytes())}),
		"a search path of tokens":         {"/bin/a": string(rpath(p, strings.Repeat("$ORIGIN", 5000)).Bytes())},
		"a search path of colons":         {"/bin/a": string(rpath(p, strings.Repeat(":", 60_000)).Bytes())},
		"a loop of version requirements":  {"/bin/a": loopOf(t, verneedLoop)},
		"a loop of version definitions":   {"/bin/a": loopOf(t, verdefLoop)},
		"a note without end":              {"/bin/a": strings.Replace(string(linkagetest.Image{Dlopen: "[]"}.Bytes()), "\x04\x00\x00\x00\x03\x00\x00\x00", "\xff\xff\xff\xff\xff\xff\xff\xff", 1)},
		"a note of nested lists":          {"/bin/a": string(linkagetest.Image{Dlopen: strings.Repeat("[", 60_000)}.Bytes())},
		"a cache that announces more":     {"/etc/ld.so.cache": cache(1<<31, 0), "/bin/a": string(p.Bytes())},
		"a cache of names past its end":   {"/etc/ld.so.cache": cache(2, 1<<31), "/bin/a": string(p.Bytes())},
		"a cache that is cut off":         {"/etc/ld.so.cache": cache(2, 0)[:60], "/bin/a": string(p.Bytes())},
		"ld.so.conf that includes itself": {"/etc/ld.so.conf": strings.Repeat("include ld.so.conf /etc/*\n", 1000), "/bin/a": string(p.Bytes())},
		"ld.so.conf of patterns":          {"/etc/ld.so.conf": strings.Repeat("include /*/*/*/../*/*z\n", 5000), "/bin/a": string(p.Bytes())},
		"a file that is cut off":          {"/bin/a": string(p.Bytes()[:100]), "/bin/b": string(p.Bytes()[:63]), "/bin/c": elf.ELFMAG},
		"a class that is none":            {"/bin/a": elf.ELFMAG + "\x07\x07" + strings.Repeat("\x02", 100)},
	} {
		t.Run(name, func(t *testing.T) {
			files = files.with(tree{"/etc/passwd": "root"})
			if got, _ := verify(t, files, files); got != nil {
				t.Errorf("%q", got)
			}
		})
	}
}

func linkChain(n int) tree {
	t := tree{"/lib/libb.so": "-> link0"}
	for i := range n {
		t[fmt.Sprintf("/lib/link%d", i)] = fmt.Sprintf("-> link%d", i+1)
	}
	t[fmt.Sprintf("/lib/link%d", n)] = string(library("libb.so").Bytes())
	return t
}

// loopOf returns a program whose table of versions leads back to its start.
func loopOf(t *testing.T, change func([]byte) bool) string {
	t.Helper()
	b := linkagetest.Image{
		Defines: []string{"A", "B"}, Requires: []linkagetest.Require{{File: "x", Versions: []string{"C", "D"}}},
	}.Bytes()
	if !change(b) {
		t.Fatal("no table")
	}
	return string(b)
}

func verneedLoop(b []byte) bool {
	at := bytes.Index(b, []byte{1, 0, 2, 0})
	binary.LittleEndian.PutUint32(b[at+16+16+12:], ^uint32(0)-15) // the second version leads to the first
	return at > 0
}

func verdefLoop(b []byte) bool {
	at := bytes.Index(b, []byte{1, 0, 0, 0, 1, 0, 1, 0})
	binary.LittleEndian.PutUint32(b[at+16:], 0xffffffff)
	return at > 0
}

// TestHostileKinds puts what is no regular file where libraries are expected.
func TestHostileKinds(t *testing.T) {
	dir := t.TempDir()
	for _, d := range []string{"bin", "lib/libdir.so", "etc/ld.so.cache", "etc/ld.so.conf"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, fifo := range []string{"lib/libfifo.so", "etc/ld.so.preload", "bin/fifo"} {
		if err := syscall.Mkfifo(filepath.Join(dir, fifo), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "bin/a"), program("libfifo.so", "libdir.so").Bytes(), 0o755); err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	check, _, err := Verify(t.Context(), Options{Before: root, After: root})
	if err != nil || !check.Passed || check.Examined != 1 {
		t.Errorf("%+v, %v", check, err)
	}
}

// TestVerifyIsBounded tests that more work than any honest image has comes to an
// end with an error.
func TestVerifyIsBounded(t *testing.T) {
	files := tree{}
	needed := make([]string, maxNeeded)
	for i := range needed {
		needed[i] = fmt.Sprintf("%d.so", i)
	}
	// Each of them looks for a thousand names in a thousand directories.
	dirs := strings.Repeat("/d:", 10)
	for i := range 1000 {
		dirs += fmt.Sprintf("/d/%d:", i)
		files[fmt.Sprintf("/d/%d/x", i)] = ""
	}
	for i := range 40 {
		files[fmt.Sprintf("/lib/l%d.so", i)] = string(rpath(library("", needed...), dirs).Bytes())
	}
	root := files.write(t)
	start := time.Now()
	_, _, err := Verify(t.Context(), Options{Before: root, After: root, maxLookups: 200_000})
	if limit := (*LimitError)(nil); !errors.As(err, &limit) {
		t.Errorf("%v after %v", err, time.Since(start))
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	stopped := errors.New("stopped")
	cancel(stopped)
	if _, _, err := Verify(ctx, Options{Before: root, After: root}); !errors.Is(err, stopped) && !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

// TestVerifyIsDeterministic tests that the same root filesystems give the same words.
func TestVerifyIsDeterministic(t *testing.T) {
	before := elfs(map[string]linkagetest.Image{"/lib/libz.so": library("libz.so"), "/lib/liby.so": library("liby.so", "libz.so")})
	for i := range 30 {
		before[fmt.Sprintf("/bin/p%d", i)] = string(program("liby.so", "libz.so", fmt.Sprintf("none%d.so", i%3)).Bytes())
		before[fmt.Sprintf("/lib/none%d.so", i%3)] = string(library("").Bytes())
	}
	after := before.without("/lib/libz.so", "/lib/none1.so", interp)
	first, _ := verify(t, before, after)
	if len(first) == 0 {
		t.Fatal("nothing is lost")
	}
	for range 5 {
		again, _ := verify(t, before, after)
		if diff := cmp.Diff(first, again); diff != "" {
			t.Fatal(diff)
		}
	}
}

func FuzzReadObject(f *testing.F) {
	for _, e := range []linkagetest.Image{
		{}, {Static: true}, program("libb.so"), rpath(library("a"), "$ORIGIN:/x"),
		{Class: elf.ELFCLASS64, Data: elf.ELFDATA2MSB, Machine: elf.EM_S390, Needed: []string{"x"}},
		{Class: elf.ELFCLASS32, Data: elf.ELFDATA2LSB, Machine: elf.EM_386, Needed: []string{"x"}, Property: true},
		{
			Dlopen: `[{"soname":["z"],"priority":"required"}]`, Defines: []string{"a", "A_1"},
			Requires: []linkagetest.Require{{File: "b", Versions: []string{"B_1", "B_2"}}, {File: "c", Versions: []string{"C"}, Weak: true}},
		},
	} {
		f.Add(e.Bytes())
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		o, err := readObject(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			if !errors.Is(err, errFormat) {
				t.Fatalf("unexpected error: %v", err)
			}
			return
		}
		if len(o.needed) > maxNeeded || len(o.requires) > maxVersions || len(o.defines) > maxVersions {
			t.Fatal("more than the limits allow")
		}
	})
}

func FuzzReadCache(f *testing.F) {
	f.Add([]byte("glibc-ld.so.cache1.1" + strings.Repeat("\x00", 100)))
	f.Add([]byte("ld.so-1.7.0\x00\x00\x00\x00\x00" + "glibc-ld.so.cache1.1\x01\x00\x00\x00" + strings.Repeat("\x00", 100)))
	f.Fuzz(func(t *testing.T, b []byte) {
		count := 0
		for _, list := range readCache(b) {
			count += len(list)
		}
		if count*24 > len(b) {
			t.Fatalf("%d entries in %d bytes", count, len(b))
		}
	})
}
