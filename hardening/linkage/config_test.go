package linkage

import (
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var cacheLines = []cacheLine{
	{flags: 0x303, hwcap: 1<<62 | 1, path: "/usr/lib/glibc-hwcaps/x86-64-v3/libz.so.1"},
	{flags: 0x303, path: "/usr/lib/libz.so.1"},
	{flags: 0x003, path: "/usr/lib32/libz.so.1"},
	{flags: 0x303, path: "/lib/libc.so.6"},
}

func TestParseCache(t *testing.T) {
	le, be := binary.LittleEndian, binary.BigEndian
	want := map[string][]cacheEntry{
		"libz.so.1": {
			{0x303, true, "/usr/lib/glibc-hwcaps/x86-64-v3/libz.so.1"},
			{0x303, false, "/usr/lib/libz.so.1"},
			{0x003, false, "/usr/lib32/libz.so.1"},
		},
		"libc.so.6": {{0x303, false, "/lib/libc.so.6"}},
	}
	short := map[string][]cacheEntry{"libc.so.6": {{0x303, false, "/lib/libc.so.6"}}}
	for name, c := range map[string]struct {
		dt   []byte
		want map[string][]cacheEntry
	}{
		"little":            {cacheImage(le, 2, cacheLines), want},
		"big":               {cacheImage(be, 3, cacheLines), want},
		"little, unmarked":  {cacheImage(le, 0, cacheLines), want},
		"big, unmarked":     {cacheImage(be, 0, cacheLines), want},
		"old":               {oldCacheImage(le, cacheLines[3:], nil), short},
		"old big":           {oldCacheImage(be, cacheLines[3:], nil), short},
		"old and new":       {oldCacheImage(le, cacheLines[3:], cacheImage(le, 2, cacheLines)), want},
		"old and new, big":  {oldCacheImage(be, cacheLines[3:], cacheImage(be, 3, cacheLines)), want},
		"empty":             {cacheImage(le, 2, nil), map[string][]cacheEntry{}},
		"old is unreadable": {oldCacheImage(le, cacheLines, cacheImage(le, 2, cacheLines)), want},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := parseCache(c.dt)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got, cmp.AllowUnexported(cacheEntry{})); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestParseCacheMalformed(t *testing.T) {
	le := binary.LittleEndian
	change := func(at int, v uint32) []byte {
		b := cacheImage(le, 2, cacheLines)
		le.PutUint32(b[at:], v)
		return b
	}
	for name, dt := range map[string][]byte{
		"empty":         nil,
		"text":          []byte("hello, this is no cache at all"),
		"header":        []byte(cacheMagicNew),
		"old header":    []byte(cacheMagicOld),
		"count":         change(20, 1<<31),
		"name":          change(cacheHeaderNew+4, 1<<31),
		"path":          change(cacheHeaderNew+8, ^uint32(0)),
		"byte order":    change(28, 1),
		"other order":   change(28, 3),
		"truncated":     cacheImage(le, 2, cacheLines)[:200],
		"no end":        cacheImage(le, 2, cacheLines)[:cacheHeaderNew+4*cacheEntryNew+10],
		"old truncated": oldCacheImage(le, cacheLines, nil)[:40],
	} {
		if got, err := parseCache(dt); err == nil {
			t.Errorf("%s: got %v, want an error", name, got)
		}
	}
}

// TestHostCache compares this machine's cache with what ldconfig prints of it.
func TestHostCache(t *testing.T) {
	dt, err := os.ReadFile(cacheFile)
	if err != nil {
		t.Fatal(err)
	}
	got, err := parseCache(dt)
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), "/sbin/ldconfig", "-p").Output()
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][]string{}
	for _, m := range regexp.MustCompile(`(?m)^\t(\S+) \(.*\) => (\S+)$`).FindAllStringSubmatch(string(out), -1) {
		want[m[1]] = append(want[m[1]], m[2])
	}
	paths := map[string][]string{}
	for name, entries := range got {
		for _, e := range entries {
			paths[name] = append(paths[name], e.path)
		}
	}
	if diff := cmp.Diff(want, paths); diff != "" {
		t.Errorf("(-ldconfig +parseCache):\n%s", diff)
	}
}

func TestReadConf(t *testing.T) {
	for _, c := range []struct {
		name  string
		files map[string]string
		want  []string
		warns int
	}{
		{"absent", nil, nil, 0},
		{"directories", map[string]string{"/etc/ld.so.conf": "# libraries\n/opt/a\n\n  /opt/b/  # b\nhwcap 1 x\n/opt/c=libc6\nrelative\n/opt/d"},
			[]string{"/opt/a", "/opt/b", "/opt/c", "/opt/d"}, 0},
		{"include", map[string]string{
			"/etc/ld.so.conf": "include /etc/ld.so.conf.d/*.conf\n/last\n", "/etc/ld.so.conf.d/b.conf": "/b\n",
			"/etc/ld.so.conf.d/a.conf": "/a\n", "/etc/ld.so.conf.d/.c.conf": "/c\n", "/etc/ld.so.conf.d/readme": "/d\n",
		}, []string{"/a", "/b", "/last"}, 0},
		{"relative include", map[string]string{"/etc/ld.so.conf": "include x/[ab].conf y\n", "/etc/x/a.conf": "/a", "/etc/y": "/y"}, []string{"/a", "/y"}, 0},
		{"through symlinks", map[string]string{
			"/etc/ld.so.conf": "include d?/*.conf\n", "/etc/d1": "-> /opt/conf", "/opt/conf/x.conf": "-> ../real", "/opt/real": "/real",
		}, []string{"/real"}, 0},
		{"cycle", map[string]string{"/etc/ld.so.conf": "/a\ninclude ld.so.conf\ninclude b\n", "/etc/b": "include *\n/b"}, []string{"/a", "/b"}, 0},
		{"symlink loop", map[string]string{"/etc/ld.so.conf": "include *.conf\n/a", "/etc/x.conf": "-> x.conf"}, []string{"/a"}, 0},
		{"too large", map[string]string{"/etc/ld.so.conf": strings.Repeat("/a\n", maxConf)}, nil, 1},
		{"directory", map[string]string{"/etc/ld.so.conf/x": ""}, nil, 1},
		{"bad pattern", map[string]string{"/etc/ld.so.conf": "include [a\n/b"}, []string{"/b"}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			dirs, warns := readConf(newTreeFS(c.files), confFile)
			if diff := cmp.Diff(c.want, dirs); diff != "" || len(warns) != c.warns {
				t.Errorf("(-want +got):\n%s%q", diff, warns)
			}
		})
	}
}

// TestReadConfIsBounded tests that patterns which match nothing, in a large
// directory, come to an end.
func TestReadConfIsBounded(t *testing.T) {
	files := map[string]string{"/etc/ld.so.conf": strings.Repeat("include /d/*z\n", maxConf/14) + "/a\n"}
	for i := range 1000 {
		files[fmt.Sprintf("/d/%d", i)] = ""
	}
	c := &confReader{fs: newTreeFS(files), seen: map[string]bool{}}
	c.read(confFile, 0)
	if len(c.dirs) != 1 || c.names > maxConfNames+1000 {
		t.Errorf("%q after %d names", c.dirs, c.names)
	}
}

func FuzzCache(f *testing.F) {
	le, be := binary.LittleEndian, binary.BigEndian
	f.Add(cacheImage(le, 2, cacheLines))
	f.Add(cacheImage(be, 0, cacheLines))
	f.Add(oldCacheImage(le, cacheLines, nil))
	f.Add(oldCacheImage(be, cacheLines, cacheImage(be, 3, cacheLines)))
	f.Fuzz(func(t *testing.T, b []byte) {
		entries, err := parseCache(b)
		if (err == nil) != (entries != nil) {
			t.Fatalf("%v with %v", err, entries)
		}
		total := 0
		for _, list := range entries {
			total += len(list)
		}
		if total*cacheEntryOld > len(b) {
			t.Fatalf("%d entries in %d bytes", total, len(b))
		}
	})
}

func FuzzConf(f *testing.F) {
	f.Add("include /etc/*.conf\n/a # b\n", "include ld.so.conf\n/b=libc6\n")
	f.Add("include */../*/[a-z]*", "hwcap 0 x\ninclude a b c")
	f.Fuzz(func(t *testing.T, a, b string) {
		// A content that starts as a symlink does in treeFS is no file.
		a, b = strings.TrimPrefix(a, "-> "), strings.TrimPrefix(b, "-> ")
		tree := newTreeFS(map[string]string{"/etc/ld.so.conf": a, "/etc/x.conf": b, "/etc/d/y": b, "/etc/l": "-> d"})
		dirs, _ := readConf(tree, confFile)
		if len(dirs) > maxConfDirs {
			t.Fatalf("%d directories", len(dirs))
		}
		for _, d := range dirs {
			if d != "" && d[0] != '/' {
				t.Fatalf("%q is not absolute", d)
			}
		}
	})
}
