package linkage

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/temper-images/temper/hardening/linkage/linkagetest"
)

func parseBytes(b []byte) (*Object, error) { return Parse(bytes.NewReader(b), int64(len(b))) }

func TestParseABIs(t *testing.T) {
	for name, abi := range map[string]ABI{
		"amd64": amd64, "386": i386, "arm64": arm64, "arm": arm,
		"riscv64": riscv64, "ppc64le": ppc64le, "s390x": s390x,
	} {
		for _, padding := range []int{0, 3 * window} {
			t.Run(name, func(t *testing.T) {
				got, err := parseBytes(forABI(abi, linkagetest.Image{
					Interp: "/lib/ld.so", Needed: []string{"libm.so.6", "linux-vdso.so.1", "libc.so.6"},
					RunPath: str("$ORIGIN/../lib:/opt/lib"), Flags1: uint64(elf.DF_1_PIE | elf.DF_1_NODEFLIB),
					Dlopen:  `[{"soname":["libz.so.1"],"priority":"required"},{"soname":["liba.so.2","liba.so.1"],"feature":"a"},{"soname":["libs.so"],"priority":"suggested"}]`,
					Padding: padding, Property: true,
					Defines: []string{"libx.so.1", "X_2", "X_1"},
					Requires: []linkagetest.Require{
						{File: "libc.so.6", Versions: []string{"GLIBC_2.36", "GLIBC_2.2.5"}},
						{File: "libm.so.6", Versions: []string{"GLIBC_2.2.5"}, Weak: true},
					},
				}).Bytes())
				if err != nil {
					t.Fatal(err)
				}
				want := &Object{
					ABI: abi, Type: elf.ET_DYN, Kind: Program, Interp: "/lib/ld.so",
					Needed: []string{"libm.so.6", "libc.so.6"}, RunPath: []string{"$ORIGIN/../lib", "/opt/lib"},
					Defines:      []string{"X_1", "X_2", "libx.so.1"},
					Requires:     []Requirement{{File: "libc.so.6", Versions: []string{"GLIBC_2.36", "GLIBC_2.2.5"}}, {File: "libm.so.6"}},
					NoDefaultLib: true, Dlopen: []DlopenNote{
						{Sonames: []string{"libz.so.1"}, Priority: Required},
						{Sonames: []string{"liba.so.2", "liba.so.1"}, Feature: "a", Priority: Recommended},
						{Sonames: []string{"libs.so"}, Priority: Suggested},
					},
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
			})
		}
	}
}

func TestParseKind(t *testing.T) {
	pie := uint64(elf.DF_1_PIE)
	for _, c := range []struct {
		name   string
		image  linkagetest.Image
		want   Kind
		static bool
	}{
		{"fixed address", linkagetest.Image{Type: elf.ET_EXEC, Interp: "/ld"}, Program, false},
		{"static", linkagetest.Image{Type: elf.ET_EXEC, Static: true}, Program, true},
		{"PIE", linkagetest.Image{Interp: "/ld", Flags1: pie}, Program, false},
		{"PIE of old linkers", linkagetest.Image{Interp: "/ld", Needed: []string{"libc.so.6"}}, Program, false},
		{"PIE with soname", linkagetest.Image{Interp: "/ld", Flags1: pie, Soname: "prog"}, Program, false},
		{"static PIE", linkagetest.Image{Flags1: pie}, Program, true},
		{"static PIE without dynamic section", linkagetest.Image{Static: true, Entry: 0x1000}, Program, true},
		{"libc.so.6", linkagetest.Image{Interp: "/ld", Soname: "libc.so.6"}, Library, false},
		{"ld.so", linkagetest.Image{Soname: "ld-linux-x86-64.so.2", Entry: 0x1000}, Library, false},
		{"plugin", linkagetest.Image{Needed: []string{"libc.so.6"}, Entry: 0x1000}, Library, false},
		{"relocatable", linkagetest.Image{Type: elf.ET_REL}, Other, false},
		{"core", linkagetest.Image{Type: elf.ET_CORE}, Other, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			o, err := parseBytes(c.image.Bytes())
			if err != nil {
				t.Fatal(err)
			}
			if o.Kind != c.want || o.Static() != c.static {
				t.Errorf("kind %d, static %t; want %d, %t", o.Kind, o.Static(), c.want, c.static)
			}
		})
	}
}

func TestParseSearchPaths(t *testing.T) {
	for _, c := range []struct {
		name           string
		rpath, runpath *string
		want           Object
	}{
		{"none", nil, nil, Object{}},
		{"rpath", str("/a:/b"), nil, Object{RPath: []string{"/a", "/b"}}},
		{"empty rpath", str(""), nil, Object{RPath: []string{}}},
		{"runpath hides rpath", str("/a"), str("/b"), Object{RunPath: []string{"/b"}}},
		{"empty runpath hides rpath", str("/a"), str(""), Object{RunPath: []string{}}},
		{"empty element", str("/a::/b"), nil, Object{RPath: []string{"/a", "", "/b"}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			o, err := parseBytes(linkagetest.Image{RPath: c.rpath, RunPath: c.runpath}.Bytes())
			if err != nil {
				t.Fatal(err)
			}
			got := Object{RPath: o.RPath, RunPath: o.RunPath}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestParseNotELF(t *testing.T) {
	for _, s := range []string{"", "\x7fEL", "#!/bin/sh\n", strings.Repeat("x", 5000)} {
		if _, err := parseBytes([]byte(s)); !errors.Is(err, ErrNotELF) {
			t.Errorf("%.10q: %v", s, err)
		}
	}
}

// findDynamic returns the offset of a dynamic entry's value in a 64-bit
// little-endian image.
func findDynamic(t *testing.T, b []byte, tag elf.DynTag) int {
	t.Helper()
	le := binary.LittleEndian
	for i := 0; i < int(le.Uint16(b[56:])); i++ {
		p := b[64+56*i:]
		if elf.ProgType(le.Uint32(p)) != elf.PT_DYNAMIC {
			continue
		}
		for off := int(le.Uint64(p[8:])); ; off += 16 {
			if elf.DynTag(le.Uint64(b[off:])) == tag {
				return off + 8
			}
		}
	}
	t.Fatal("no dynamic section")
	return 0
}

func TestParseMalformed(t *testing.T) {
	le := binary.LittleEndian
	many := make([]string, maxNeeded+1)
	image := linkagetest.Image{Interp: "/lib/ld.so", Needed: []string{"libc.so.6"}, Soname: "lib.so"}
	// The program headers are PT_LOAD, PT_INTERP, PT_DYNAMIC.
	const load, interp, dynamic = 64, 64 + 56, 64 + 2*56
	for _, c := range []struct {
		name   string
		image  linkagetest.Image
		change func(t *testing.T, b []byte) []byte
		want   string
	}{
		{"identification only", image, func(_ *testing.T, b []byte) []byte { return b[:16] }, "64 bytes at offset 0 lie past the end"},
		{"magic only", image, func(_ *testing.T, b []byte) []byte { return b[:4] }, "cut off after 4 bytes"},
		{"class", image, func(_ *testing.T, b []byte) []byte { b[4] = 7; return b }, "class 7"},
		{"byte order", image, func(_ *testing.T, b []byte) []byte { b[5] = 0; return b }, "byte order 0"},
		{"no program headers", image, func(_ *testing.T, b []byte) []byte { le.PutUint16(b[56:], 0); return b }, "no program headers"},
		{"too many program headers", image, func(_ *testing.T, b []byte) []byte { le.PutUint16(b[56:], 65535); return b }, "more than the limit of 4096"},
		{"size of program header", image, func(_ *testing.T, b []byte) []byte { le.PutUint16(b[54:], 8); return b }, "should have 56"},
		{"program headers past the end", image, func(_ *testing.T, b []byte) []byte { le.PutUint64(b[32:], 1<<40); return b }, "program headers: "},
		{"program headers overflow", image, func(_ *testing.T, b []byte) []byte { le.PutUint64(b[32:], ^uint64(0)-8); return b }, "past the end"},
		{"interpreter past the end", image, func(_ *testing.T, b []byte) []byte { le.PutUint64(b[interp+8:], 1<<40); return b }, "PT_INTERP"},
		{"huge interpreter", image, func(_ *testing.T, b []byte) []byte { le.PutUint64(b[interp+32:], 1<<40); return b }, "limit of 4096"},
		{"dynamic section outside", image, func(_ *testing.T, b []byte) []byte { le.PutUint64(b[dynamic+16:], 0); return b }, "lies in no loaded segment"},
		{"huge dynamic section", image, func(_ *testing.T, b []byte) []byte { le.PutUint64(b[dynamic+32:], 1<<40); return b }, "limit of 1048576"},
		{"truncated", image, func(_ *testing.T, b []byte) []byte { return b[:len(b)-40] }, "PT_DYNAMIC"},
		{"segment past the end", image, func(_ *testing.T, b []byte) []byte { le.PutUint64(b[load+8:], 1<<40); return b }, "past the end"},
		{"segment overflows", image, func(_ *testing.T, b []byte) []byte { le.PutUint64(b[load+8:], ^uint64(0)); return b }, "no loaded segment"},
		{"string table outside", image, func(t *testing.T, b []byte) []byte {
			le.PutUint64(b[findDynamic(t, b, elf.DT_STRTAB):], 8)
			return b
		}, "string table's address 0x8"},
		{"name outside", image, func(t *testing.T, b []byte) []byte {
			le.PutUint64(b[findDynamic(t, b, elf.DT_NEEDED):], 1<<30)
			return b
		}, "DT_NEEDED"},
		{"soname outside", image, func(t *testing.T, b []byte) []byte {
			le.PutUint64(b[findDynamic(t, b, elf.DT_SONAME):], 1<<30)
			return b
		}, "DT_SONAME"},
		{"name without end", image, func(t *testing.T, b []byte) []byte {
			le.PutUint64(b[findDynamic(t, b, elf.DT_STRSZ):], 4)
			return b
		}, "no end within"},
		{"long name", linkagetest.Image{Needed: []string{strings.Repeat("x", 5000)}}, nil, "no end within 4096 bytes"},
		{"many libraries", linkagetest.Image{Needed: many}, nil, "more than 1024 libraries"},
		{"many directories", linkagetest.Image{RPath: str(strings.Repeat("/:", 300))}, nil, "limit of 256"},
		{"long search path", linkagetest.Image{RunPath: str(strings.Repeat("x", 70000))}, nil, "DT_RUNPATH"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := c.image.Bytes()
			if c.change != nil {
				b = c.change(t, b)
			}
			_, err := parseBytes(b)
			if e, ok := errors.AsType[*FormatError](err); !ok || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v (%v), want a FormatError with %q", err, e, c.want)
			}
		})
	}
}

// TestParseDebugFile reads a file whose segments have headers and no content, as
// files of debug symbols do.
func TestParseDebugFile(t *testing.T) {
	b := linkagetest.Image{Interp: "/lib/ld.so", Needed: []string{"libc.so.6"}}.Bytes()
	for i := range int(binary.LittleEndian.Uint16(b[56:])) {
		binary.LittleEndian.PutUint64(b[64+56*i+32:], 0)
	}
	o, err := parseBytes(b)
	if err != nil || o.Needed != nil || o.Interp != "" {
		t.Errorf("%+v, %v", o, err)
	}
}

func TestParseIgnoresBadNotes(t *testing.T) {
	for _, s := range []string{"{", "[1]", `[{"soname":"x"}]`, `[{"soname":["","a\u0000b"]}]`, strings.Repeat("[", 4000)} {
		o, err := parseBytes(linkagetest.Image{Dlopen: s, Needed: []string{"libc.so.6"}}.Bytes())
		if err != nil || o.Dlopen != nil || len(o.Needed) != 1 {
			t.Errorf("%.20q: %+v, %v", s, o, err)
		}
	}
	b := linkagetest.Image{Dlopen: `[{"soname":["libz.so"]}]`}.Bytes()
	at := bytes.Index(b, []byte(noteDlopenOwner)) - 12
	for _, size := range []uint32{0, 1 << 20, ^uint32(0)} {
		for _, field := range []int{0, 4} {
			c := bytes.Clone(b)
			binary.LittleEndian.PutUint32(c[at+field:], size)
			if o, err := parseBytes(c); err != nil || o.Dlopen != nil {
				t.Errorf("size %d: %+v, %v", size, o, err)
			}
		}
	}
}

// TestParseIgnoresBadVersions tests that a table of versions that is malformed says
// nothing, and leaves the rest readable.
func TestParseIgnoresBadVersions(t *testing.T) {
	image := linkagetest.Image{
		Needed: []string{"libc.so.6"}, Defines: []string{"X_1", "X_2"},
		Requires: []linkagetest.Require{{File: "libc.so.6", Versions: []string{"C_1", "C_2"}}},
	}
	b := image.Bytes()
	le := binary.LittleEndian
	verdef := bytes.Index(b, []byte{1, 0, 0, 0, 1, 0, 1, 0}) // the first definition's start
	verneed := bytes.Index(b, []byte{1, 0, 2, 0})
	if verdef < 0 || verneed < 0 {
		t.Fatal("no tables")
	}
	for name, at := range map[string]int{
		"definition's name": verdef + 20, "definition's names": verdef + 12, "next definition": verdef + 16,
		"file": verneed + 4, "versions": verneed + 8, "next file": verneed + 12, "version": verneed + 16 + 8, "next version": verneed + 16 + 12,
	} {
		for _, v := range []uint32{1 << 20, ^uint32(0)} {
			c := bytes.Clone(b)
			le.PutUint32(c[at:], v)
			o, err := parseBytes(c)
			if err != nil || len(o.Needed) != 1 {
				t.Errorf("%s %#x: %+v, %v", name, v, o, err)
				continue
			}
			if at < verneed && o.Defines != nil || at >= verneed && o.Requires != nil {
				t.Errorf("%s %#x: %q, %q", name, v, o.Defines, o.Requires)
			}
		}
	}
	// A chain without an end.
	c := bytes.Clone(b)
	le.PutUint32(c[verdef+28+16:], ^uint32(0)-27) // back to the start, modulo 2^32
	if o, err := parseBytes(c); err != nil || o.Defines != nil {
		t.Errorf("%q, %v", o.Defines, err)
	}
}

// brokenReader fails as a disk does.
type brokenReader struct{}

var errDisk = errors.New("input/output error")

func (brokenReader) ReadAt([]byte, int64) (int, error) { return 0, errDisk }

func TestParseReadError(t *testing.T) {
	if _, err := Parse(brokenReader{}, 1000); !errors.Is(err, errDisk) {
		t.Errorf("got %v", err)
	}
	// The file became shorter after its size was taken.
	b := linkagetest.Image{Needed: []string{"libc.so.6"}, Padding: 2 * window}.Bytes()
	_, err := Parse(io.NewSectionReader(bytes.NewReader(b), 0, window), int64(len(b)))
	if _, ok := errors.AsType[*FormatError](err); !ok {
		t.Errorf("got %v", err)
	}
}

func FuzzParse(f *testing.F) {
	for _, e := range []linkagetest.Image{
		{}, {Static: true}, {Type: elf.ET_REL},
		forABI(s390x, linkagetest.Image{Needed: []string{"a"}}),
		forABI(i386, linkagetest.Image{Needed: []string{"a"}, RPath: str("$ORIGIN")}),
		{Interp: "/lib/ld.so", Needed: []string{"libc.so.6"}, Soname: "x", RunPath: str("/a:/b"), Dlopen: `[{"soname":["z"]}]`},
	} {
		f.Add(e.Bytes())
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		o, err := parseBytes(b)
		if err != nil {
			if _, ok := errors.AsType[*FormatError](err); !ok && !errors.Is(err, ErrNotELF) {
				t.Fatalf("unexpected error: %v", err)
			}
			return
		}
		if len(o.Needed) > maxNeeded || len(o.RPath) > maxSearchDirs || len(o.RunPath) > maxSearchDirs || len(o.Dlopen) > maxDlopen {
			t.Fatal("more than the limits allow")
		}
		// Whatever a file says, resolving it ends.
		for name, s := range map[string]string{"/a": string(b), "/lib/" + base(o.Soname): string(b)} {
			tree := newTreeFS(map[string]string{"/x": "", name: s})
			if _, err := New(t.Context(), tree, map[string]*Object{name: o}, Options{}); err != nil {
				t.Fatal(err)
			}
		}
	})
}
