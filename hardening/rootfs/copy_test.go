package rootfs

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// copyDir copies the directory src into a new one.
func copyDir(t testing.TB, src string, plan Plan) (dst string, stats Stats) {
	t.Helper()
	dst = t.TempDir()
	stats, err := Copy(t.Context(), scanDir(t, src), openDir(t, dst), plan)
	if err != nil {
		t.Fatal(err)
	}
	return dst, stats
}

// describe lists a directory tree with everything that a copy must preserve,
// one line an entry. It shares no code with the package.
func describe(t testing.TB, dir string) []string {
	t.Helper()
	type id struct{ dev, ino uint64 }
	first := map[id]string{}
	var lines []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel := "/" + strings.TrimPrefix(strings.TrimPrefix(path, dir), "/")
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		line := fmt.Sprintf("%q %o %d:%d %d.%09d", rel, st.Mode, st.Uid, st.Gid, st.Mtim.Sec, st.Mtim.Nsec)
		if !d.IsDir() {
			line += fmt.Sprintf(" nlink=%d", st.Nlink)
			key := id{st.Dev, st.Ino}
			if first[key] == "" {
				first[key] = rel
			}
			line += fmt.Sprintf(" first=%q", first[key])
		}
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFLNK:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			line += fmt.Sprintf(" -> %q", target)
		case unix.S_IFCHR, unix.S_IFBLK:
			line += fmt.Sprintf(" device %d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev))
		case unix.S_IFREG:
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			line += fmt.Sprintf(" size=%d sum=%x data=%s", len(data), fnvSum(data), dataMap(t, path))
		}
		lines = append(lines, line+attributesOf(t, path))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

func fnvSum(data []byte) uint64 {
	sum := uint64(14695981039346656037)
	for _, b := range data {
		sum = (sum ^ uint64(b)) * 1099511628211
	}
	return sum
}

// dataMap lists the ranges of a file that are not holes.
func dataMap(t testing.TB, path string) string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var ranges []string
	for off := int64(0); ; {
		begin, err := f.Seek(off, unix.SEEK_DATA)
		if err != nil {
			return strings.Join(ranges, ",")
		}
		end, err := f.Seek(begin, unix.SEEK_HOLE)
		if err != nil {
			t.Fatal(err)
		}
		ranges = append(ranges, fmt.Sprintf("%d-%d", begin, end))
		off = end
	}
}

func attributesOf(t testing.TB, path string) string {
	t.Helper()
	buf := make([]byte, 64<<10)
	n, err := unix.Llistxattr(path, buf)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for name := range strings.FieldsFuncSeq(string(buf[:n]), func(r rune) bool { return r == 0 }) {
		value := make([]byte, 64<<10)
		n, err := unix.Lgetxattr(path, name, value)
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, fmt.Sprintf(" %s=%s", name, hex.EncodeToString(value[:n])))
	}
	slices.Sort(lines)
	return strings.Join(lines, "")
}

// must fails the test on the first error.
func must(t testing.TB, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// acl encodes a POSIX access control list with one named user, in the form of
// system.posix_acl_access: version 2, then tag, permissions and id.
func acl(uid uint32) []byte {
	const none = 0xffffffff
	out := []byte{2, 0, 0, 0}
	for _, e := range []struct {
		tag, perm uint16
		id        uint32
	}{{1, 6, none}, {2, 4, uid}, {4, 4, none}, {16, 6, none}, {32, 0, none}} {
		out = append(out, byte(e.tag), byte(e.tag>>8), byte(e.perm), byte(e.perm>>8),
			byte(e.id), byte(e.id>>8), byte(e.id>>16), byte(e.id>>24))
	}
	return out
}

// netBindService is cap_net_bind_service+ep as a version 2 security.capability.
var netBindService = []byte{1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}

// makeEverything makes one entry of each kind and each property that a copy
// must preserve.
func makeEverything(t testing.TB) string {
	t.Helper()
	dir := makeTree(t, "etc/passwd=root", "usr/bin/su=suid", "usr/bin/ping=caps", "usr/bin/wall=sgid", "tmp/", "var/empty/",
		"var/mail/box=mail", "data/acl=acl", "data/inherit/below=1", "data/user=attr", "data/none=", "lib->usr/lib",
		"escape->../../../../etc", "dangling->/nowhere", "links/a=shared", "links/other/", "zz/", "data/readonly=r",
		"new\nline/\x01\xff=odd", "data/large="+strings.Repeat("0123456789abcdef", 20_000))
	in := func(name string) string { return filepath.Join(dir, name) }
	sparse := func(name string, size int64, writes ...int64) {
		f, err := os.Create(in(name))
		must(t, err, f.Truncate(size))
		for _, off := range writes {
			_, err := f.WriteAt(bytes.Repeat([]byte{'x'}, 4096), off)
			must(t, err)
		}
		must(t, f.Close())
	}
	sparse("data/hole-only", 1<<20)
	sparse("data/hole-first", 1<<20+4096, 1<<20)
	sparse("data/hole-last", 64<<10+5, 0, 8192)
	sparse("data/holes", 4<<20, 4096, 1<<20, 2<<20)
	must(t,
		os.Link(in("links/a"), in("links/b")), os.Link(in("links/a"), in("etc/c")), os.Link(in("links/a"), in("zz/d")),
		os.Link(in("lib"), in("links/other/lib")), // symbolic links have names, too
		unix.Mknod(in("data/null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))),
		unix.Mknod(in("data/block"), unix.S_IFBLK|0o640, int(unix.Mkdev(259, 70000))),
		unix.Mknod(in("data/fifo"), unix.S_IFIFO|0o604, 0),
		os.Link(in("data/fifo"), in("zz/fifo")),
		os.Lchown(in("lib"), 7, 8), os.Lchown(in("data/fifo"), 1, 2), os.Lchown(in("data/null"), 3, 4),
		os.Lchown(in("usr/bin/su"), 33, 34), os.Lchown(in("usr/bin/ping"), 35, 36), os.Lchown(in("var/mail"), 0, 8),
		unix.Chmod(in("usr/bin/su"), 0o4755), unix.Chmod(in("usr/bin/wall"), 0o2755), unix.Chmod(in("tmp"), 0o1777),
		unix.Chmod(in("var/mail"), 0o2775), unix.Chmod(in("data/none"), 0), unix.Chmod(in("data/readonly"), 0o400),
		unix.Chmod(in("var/empty"), 0o111), unix.Chmod(in("data/null"), 0o666), unix.Chmod(in("data/fifo"), 0o604),
		unix.Setxattr(in("usr/bin/ping"), capability, netBindService, 0),
		unix.Setxattr(in("data/user"), "user.comment", []byte("hello\x00\xff"), 0),
		unix.Setxattr(in("data/user"), "user.empty", nil, 0),
		unix.Setxattr(in("data/user"), "trusted.other", []byte("t"), 0),
		unix.Setxattr(in("data"), "user.dir", []byte("d"), 0),
		unix.Lsetxattr(in("dangling"), "trusted.link", []byte("l"), 0),
		unix.Lsetxattr(in("data/fifo"), "trusted.fifo", []byte("f"), 0),
		unix.Setxattr(in("data/acl"), "system.posix_acl_access", acl(1234), 0),
		unix.Setxattr(in("data/inherit"), "system.posix_acl_default", acl(4321), 0),
	)
	// Times last, the deepest first: each differs, down to the nanosecond.
	var all []string
	must(t, filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		all = append(all, path)
		return err
	}))
	for i, path := range slices.Backward(all) {
		ts := unix.NsecToTimespec(time.Date(1975+i, 3, 4, 5, 6, 7, 123456789+i, time.UTC).UnixNano())
		must(t, unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW))
	}
	must(t, os.Chmod(dir, 0o751), os.Lchown(dir, 11, 12))
	return dir
}

func TestCopyPreservesEverything(t *testing.T) {
	src := makeEverything(t)
	want := describe(t, src)
	dst, stats := copyDir(t, src, Plan{})

	var st unix.Stat_t
	must(t, unix.Stat(filepath.Join(dst, "etc/passwd"), &st))
	if st.Atim != st.Mtim {
		t.Errorf("access time %v, modification time %v", st.Atim, st.Mtim)
	}
	if diff := cmp.Diff(want, describe(t, dst)); diff != "" {
		t.Error(diff)
	}
	wantStats := Stats{Directories: -1} // the root is not counted
	seen := map[string]bool{}
	for _, e := range scanDir(t, src).Entries() {
		inode := fmt.Sprint(e.Dev, e.Ino)
		switch {
		case e.Kind == Directory:
			wantStats.Directories++
			continue
		case !seen[inode]:
			wantStats.Bytes += e.Size
		}
		seen[inode] = true
		wantStats.Files++
	}
	if diff := cmp.Diff(wantStats, stats); diff != "" {
		t.Error(diff)
	}
}
