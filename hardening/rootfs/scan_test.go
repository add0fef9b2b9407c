package rootfs

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// makeDeep makes directories within each other, depth of them below dir, and
// returns an open descriptor of the last.
func makeDeep(t testing.TB, dir, name string, depth int) int {
	t.Helper()
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_CLOEXEC, 0)
	must(t, err)
	for range depth {
		must(t, unix.Mkdirat(fd, name, 0o755))
		next, err := unix.Openat(fd, name, unix.O_PATH|unix.O_CLOEXEC, 0)
		must(t, err, unix.Close(fd))
		fd = next
	}
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

func TestScanLimits(t *testing.T) {
	wide := makeTree(t, "a=", "b=", "c/d=", "long->"+strings.Repeat("x", 300))
	deep := t.TempDir()
	makeDeep(t, deep, "d", 10_000)
	tests := []struct {
		name string
		dir  string
		opts ScanOptions
		what string
	}{
		{"default", wide, ScanOptions{}, ""},
		{"entries just enough", wide, ScanOptions{MaxEntries: 6}, ""},
		{"entries", wide, ScanOptions{MaxEntries: 5}, "entries"},
		{"depth just enough", wide, ScanOptions{MaxDepth: 2}, ""},
		{"depth", wide, ScanOptions{MaxDepth: 1}, "directories within each other"},
		{"path", wide, ScanOptions{MaxPath: 3}, "bytes in a path"},
		{"all paths", wide, ScanOptions{MaxPathBytes: 300}, "bytes in all paths together"},
		{"link just enough", wide, ScanOptions{MaxLink: 300}, ""},
		{"link", wide, ScanOptions{MaxLink: 299}, "bytes in a symbolic link's target"},
		{"10,000 deep", deep, ScanOptions{}, "directories within each other"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Scan(t.Context(), openDir(t, tt.dir), tt.opts)
			var limit *LimitError
			if errors.As(err, &limit); tt.what == "" && err != nil || tt.what != "" && (limit == nil || limit.What != tt.what) {
				t.Errorf("error %v, want %q", err, tt.what)
			}
			if err != nil && len(err.Error()) > 300 {
				t.Errorf("the error has %d bytes", len(err.Error()))
			}
		})
	}
}

func TestScanKinds(t *testing.T) {
	dir := makeEverything(t)
	listener, err := net.Listen("unix", filepath.Join(dir, "sock"))
	must(t, err)
	defer listener.Close()
	tree := scanDir(t, dir)
	for path, want := range map[string]string{
		"/":           "directory 751 11:12",
		"/usr/bin/su": "regular file 4755 33:34",
		"/lib":        "symbolic link 777 7:8 usr/lib",
		"/data/null":  "character device 666 3:4 1,3",
		"/data/block": "block device 640 0:0 259,70000",
		"/data/fifo":  "FIFO 604 1:2",
		"/sock":       "socket 755 0:0",
		"/tmp":        "directory 1777 0:0",
	} {
		e, ok := tree.Lookup(path)
		if !ok {
			t.Errorf("%s is missing", path)
			continue
		}
		got := fmt.Sprintf("%s %o %d:%d", e.Kind, e.Mode, e.UID, e.GID)
		if e.Link != "" {
			got += " " + e.Link
		}
		if e.Kind == CharDevice || e.Kind == BlockDevice {
			got += fmt.Sprintf(" %d,%d", unix.Major(e.Rdev), unix.Minor(e.Rdev))
		}
		if got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
		var st unix.Stat_t
		must(t, unix.Lstat(filepath.Join(dir, path), &st))
		if e.ModTime.Unix() != st.Mtim.Sec || int64(e.ModTime.Nanosecond()) != st.Mtim.Nsec || e.Ino != st.Ino || e.Dev != st.Dev || uint64(e.Nlink) != st.Nlink {
			t.Errorf("%s: %+v, want %+v", path, e, st)
		}
	}
	for _, path := range []string{"/data/fifo", "/data/null", "/data/block", "/sock", "/lib"} {
		if _, err := tree.Open(path); !errors.Is(err, ErrNotRegular) {
			t.Errorf("Open(%s): %v", path, err)
		}
	}
}

// A root filesystem that changes after the scan must not lead anywhere else.
func TestOpenAfterChange(t *testing.T) {
	outside := makeTree(t, "file=secret")
	dir := makeTree(t, "dir/file=1", "fifo=2", "link=3", "gone=4")
	tree := scanDir(t, dir)
	in := func(name string) string { return filepath.Join(dir, name) }
	must(t, os.RemoveAll(in("dir")), os.Symlink(outside, in("dir")),
		os.Remove(in("fifo")), unix.Mkfifo(in("fifo"), 0o600),
		os.Remove(in("link")), os.Symlink(filepath.Join(outside, "file"), in("link")),
		os.Remove(in("gone")))
	for path, want := range map[string]error{"/dir/file": unix.ELOOP, "/fifo": ErrNotRegular, "/link": unix.ELOOP, "/gone": ErrNotExist} {
		if data, err := tree.ReadFile(path, 100); !errors.Is(err, want) {
			t.Errorf("ReadFile(%s) = %q, %v; want %v", path, data, err, want)
		}
	}
}

func TestScanIsCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Scan(ctx, openDir(t, makeTree(t, "a=")), ScanOptions{}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// The way without openat2 finds the same and refuses the same.
func TestOpenSteps(t *testing.T) {
	dir := makeTree(t, "a/b/c=1", "link->a", "a/out->/etc")
	d, err := openRoot(openDir(t, dir))
	must(t, err)
	for path, want := range map[string]error{
		".": nil, "a/b/c": nil, "a/b": nil, "link/b/c": unix.ENOTDIR, "a/out/passwd": unix.ENOTDIR, "a/none/c": unix.ENOENT, "link": unix.ELOOP,
	} {
		fd, err := openSteps(int(d.file.Fd()), path, unix.O_RDONLY)
		if !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", path, err, want)
		}
		if err == nil {
			must(t, unix.Close(fd))
		}
	}
}
