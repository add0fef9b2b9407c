package rootfs

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// mount mounts a filesystem of its own on a new directory.
func mount(t testing.TB, kind, options string) string {
	t.Helper()
	dir := t.TempDir()
	must(t, unix.Mount("test", dir, kind, 0, options))
	t.Cleanup(func() { must(t, unix.Unmount(dir, unix.MNT_DETACH)) })
	return dir
}

// copyFails copies src to dst, which must fail, and leave nothing behind.
func copyFails(ctx context.Context, t testing.TB, tree *Tree, dst string) error {
	t.Helper()
	_, err := Copy(ctx, tree, openDir(t, dst), Plan{})
	if err == nil {
		t.Fatal("the copy was made")
	}
	left, readErr := os.ReadDir(dst)
	if must(t, readErr); len(left) > 0 {
		t.Errorf("the failed copy left %v", left)
	}
	return err
}

func TestCopyFullDisk(t *testing.T) {
	src := makeTree(t, "a/big="+strings.Repeat("x", 2<<20), "b/c/d/small=1")
	tree := scanDir(t, src)
	err := copyFails(t.Context(), t, tree, mount(t, "tmpfs", "size=1m"))
	if !errors.Is(err, unix.ENOSPC) || !strings.Contains(err.Error(), `"/a/big"`) {
		t.Errorf("no space: %v", err)
	}
	err = copyFails(t.Context(), t, tree, mount(t, "tmpfs", "nr_inodes=4"))
	if !errors.Is(err, unix.ENOSPC) {
		t.Errorf("no inodes: %v", err)
	}
}

// ramfs takes no user attributes.
func TestCopyLosesNoAttributes(t *testing.T) {
	tests := []struct {
		name, attribute string
		value           []byte
		lost            bool
	}{
		{"capabilities", capability, netBindService, true},
		{"user", "user.mime_type", []byte("text/plain"), true},
		{"access control list", "system.posix_acl_access", acl(7), true},
		{"other", "trusted.other", []byte("x"), false},
		{"overlay", "trusted.overlay.opaque", []byte("y"), false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			src := makeTree(t, "dir/file=1")
			must(t, unix.Setxattr(filepath.Join(src, "dir/file"), tt.attribute, tt.value, 0))
			tree, dst := scanDir(t, src), mount(t, "ramfs", "")
			if tt.lost {
				err := copyFails(t.Context(), t, tree, dst)
				if !errors.Is(err, unix.ENOTSUP) || !strings.Contains(err.Error(), "/dir/file") || !strings.Contains(err.Error(), tt.attribute) {
					t.Errorf("error %v", err)
				}
				return
			}
			stats, err := Copy(t.Context(), tree, openDir(t, dst), Plan{})
			must(t, err)
			var want []string
			if carried(tt.attribute) {
				want = []string{`1 not copied: extended attributes that the destination does not take: "/dir/file"`}
			}
			if diff := cmp.Diff(want, stats.Notices); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestCopyLeavesOutWhatLayersCannotHold(t *testing.T) {
	src := makeTree(t, "run/kept=", "etc/.wh.passwd=", "srv/.wh..wh..opq=", "opt/.wh.dir/below/file=")
	must(t, unix.Mknod(filepath.Join(src, "run/whiteout"), unix.S_IFCHR|0o600, 0))
	for i := range 8 {
		l, err := net.Listen("unix", filepath.Join(src, "run", fmt.Sprintf("s%d", i)))
		must(t, err)
		defer l.Close()
	}
	must(t, unix.Setxattr(filepath.Join(src, "run"), "trusted.overlay.opaque", []byte("y"), 0))
	dst, stats := copyDir(t, src, Plan{Override: map[string]Metadata{"/run/s1": {}}})
	want := []string{
		`1 not copied: character devices 0:0, which overlay filesystems take for deleted files: "/run/whiteout"`,
		`2 not copied: entries below a directory that is not carried: "/opt/.wh.dir/below" "/opt/.wh.dir/below/file"`,
		`3 not copied: entries named ".wh.…", which image layers take for deleted files: "/etc/.wh.passwd" "/opt/.wh.dir" "/srv/.wh..wh..opq"`,
		`8 not copied: sockets, which an image layer cannot hold: "/run/s0" "/run/s1" "/run/s2" "/run/s3" "/run/s4" …`,
	}
	if diff := cmp.Diff(want, stats.Notices); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"/", "/etc", "/opt", "/run", "/run/kept", "/srv"}, paths(scanDir(t, dst).Entries())); diff != "" {
		t.Error(diff)
	}
	if got := attributesOf(t, filepath.Join(dst, "run")); got != "" {
		t.Errorf("attributes of /run: %s", got)
	}
}

// Mounts inside the source are part of it, and another filesystem is as good a
// destination as the same one.
func TestCopyAcrossFilesystems(t *testing.T) {
	src := makeEverything(t)
	inner := filepath.Join(src, "var/empty")
	must(t, unix.Mount("test", inner, "tmpfs", 0, "mode=0711"))
	defer func() { must(t, unix.Unmount(inner, unix.MNT_DETACH)) }()
	must(t, os.WriteFile(filepath.Join(inner, "file"), []byte(strings.Repeat("0123456789", 50_000)), 0o600))
	ts := []unix.Timespec{{Sec: 99, Nsec: 7}, {Sec: 99, Nsec: 7}}
	must(t, unix.UtimesNanoAt(unix.AT_FDCWD, inner, ts, 0))
	want := describe(t, src)

	dst := mount(t, "tmpfs", "")
	_, err := Copy(t.Context(), scanDir(t, src), openDir(t, dst), Plan{})
	must(t, err)
	if diff := cmp.Diff(want, describe(t, dst)); diff != "" {
		t.Error(diff)
	}
}

// BuildKit's usual snapshots are overlays, on both sides.
func TestCopyOverlay(t *testing.T) {
	base := mount(t, "tmpfs", "")
	overlay := func(name string, lower string) string {
		dir := func(part string) string { return filepath.Join(base, name+part) }
		must(t, os.Mkdir(dir("upper"), 0o755), os.Mkdir(dir("work"), 0o755))
		return mount(t, "overlay", fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", lower, dir("upper"), dir("work")))
	}
	empty := filepath.Join(base, "empty")
	must(t, os.Mkdir(empty, 0o755))
	lower := makeEverything(t)
	src := overlay("src", lower)
	// A directory that was replaced is opaque, and a deleted file a whiteout.
	must(t, os.RemoveAll(filepath.Join(src, "var")), os.MkdirAll(filepath.Join(src, "var/lib"), 0o755),
		os.Remove(filepath.Join(src, "data/large")))
	tree := scanDir(t, src)
	want := describe(t, src)
	dst := overlay("dst", empty)
	stats, err := Copy(t.Context(), tree, openDir(t, dst), Plan{})
	must(t, err)
	if diff := cmp.Diff(want, describe(t, dst)); diff != "" {
		t.Error(diff)
	}
	if len(stats.Notices) > 0 {
		t.Errorf("notices: %q", stats.Notices)
	}
}

func TestCopyDeep(t *testing.T) {
	src := t.TempDir()
	fd := makeDeep(t, src, "d", 2000)
	must(t, unix.Symlinkat(strings.Repeat("../", 1300)+"etc", fd, "up"), unix.Mknodat(fd, "file", unix.S_IFREG|0o640, 0),
		unix.Linkat(fd, "file", fd, "again", 0))
	tree := scanDir(t, src)
	dst := t.TempDir()
	stats, err := Copy(t.Context(), tree, openDir(t, dst), Plan{})
	must(t, err)
	if diff := cmp.Diff(Stats{Files: 3, Directories: 2000}, stats); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(paths(tree.Entries()), paths(scanDir(t, dst).Entries())); diff != "" {
		t.Error(diff)
	}
}

// A directory that turned into a link, or a file into a FIFO, is an error; it is
// neither followed nor waited for, and nothing outside is read or written.
func TestCopyAfterChange(t *testing.T) {
	outside := makeTree(t, "file=secret")
	tests := []struct {
		name   string
		change func(dir string) error
		want   error
		path   string
	}{
		{"directory to link", func(dir string) error {
			return errors.Join(os.RemoveAll(dir+"/dir"), os.Symlink(outside, dir+"/dir"))
		}, nil, "/dir"},
		{"file to link", func(dir string) error {
			return errors.Join(os.Remove(dir+"/dir/file"), os.Symlink(outside+"/file", dir+"/dir/file"))
		}, unix.ELOOP, "/dir/file"},
		{"file to FIFO", func(dir string) error {
			return errors.Join(os.Remove(dir+"/dir/file"), unix.Mkfifo(dir+"/dir/file", 0o600))
		}, ErrNotRegular, "/dir/file"},
		{"file gone", func(dir string) error { return os.Remove(dir + "/dir/file") }, ErrNotExist, "/dir/file"},
		{"file longer", func(dir string) error { return os.WriteFile(dir+"/dir/file", []byte("longer"), 0) }, nil, "/dir/file"},
		{"file shorter", func(dir string) error { return os.Truncate(dir+"/dir/file", 0) }, nil, "/dir/file"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			src := makeTree(t, "dir/file=1")
			tree := scanDir(t, src)
			must(t, tt.change(src))
			err := copyFails(t.Context(), t, tree, t.TempDir())
			if !strings.Contains(err.Error(), fmt.Sprintf("%q", tt.path)) || tt.want != nil && !errors.Is(err, tt.want) {
				t.Errorf("error %v", err)
			}
		})
	}
	if diff := cmp.Diff([]string{"/", "/file"}, paths(scanDir(t, outside).Entries())); diff != "" {
		t.Error(diff)
	}
}

func TestCopyRefusesFullDestination(t *testing.T) {
	dst := makeTree(t, "precious=1")
	_, err := Copy(t.Context(), scanDir(t, makeTree(t, "a=")), openDir(t, dst), Plan{})
	if err == nil || !strings.Contains(err.Error(), `the destination holds "precious"`) {
		t.Errorf("error %v", err)
	}
	if _, err := os.Stat(filepath.Join(dst, "precious")); err != nil {
		t.Error(err)
	}
}

func TestCopyIsCancelled(t *testing.T) {
	tree := scanDir(t, makeTree(t, "a/b=", "c="))
	ctx, cancel := context.WithCancelCause(t.Context())
	reason := errors.New("the user went away")
	cancel(reason)
	if err := copyFails(ctx, t, tree, t.TempDir()); !errors.Is(err, reason) {
		t.Errorf("error %v", err)
	}
}

// patience is a context that is asked a number of times before it ends.
type patience struct {
	context.Context
	left int
}

func (p *patience) Err() error {
	if p.left--; p.left < 0 {
		return context.DeadlineExceeded
	}
	return nil
}

func TestCopyIsCancelledWithinAFile(t *testing.T) {
	dir := mount(t, "tmpfs", "")
	src, err := os.Create(filepath.Join(dir, "src"))
	must(t, err)
	defer src.Close()
	_, err = src.Write(make([]byte, 3*stride))
	must(t, err)
	dst, err := os.Create(filepath.Join(dir, "dst"))
	must(t, err)
	defer dst.Close()
	c := &copier{}
	c.buffers.New = func() any { return new(buffer) }
	err = c.copyData(&patience{Context: t.Context(), left: 2}, int(src.Fd()), int(dst.Fd()), 3*stride)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
	st, err := dst.Stat()
	if must(t, err); st.Size() == 0 || st.Size() > 2*stride {
		t.Errorf("%d bytes were copied", st.Size())
	}
}

// The copy does not depend on how many workers there are, nor on the order in
// which they come.
func TestCopyIsDeterministic(t *testing.T) {
	src := makeEverything(t)
	for i := range 1000 {
		must(t, os.WriteFile(filepath.Join(src, "tmp", fmt.Sprint("f", i)), []byte{byte(i)}, 0o644))
	}
	must(t, os.Link(filepath.Join(src, "tmp/f1"), filepath.Join(src, "var/mail/f1")))
	want := describe(t, src)
	for _, workers := range []int{1, 2, 8} {
		previous := runtime.GOMAXPROCS(workers)
		dst, _ := copyDir(t, src, Plan{})
		runtime.GOMAXPROCS(previous)
		if diff := cmp.Diff(want, describe(t, dst)); diff != "" {
			t.Errorf("%d workers: %s", workers, diff)
		}
	}
}

// The test binary runs itself twice: with bounding set to drop capabilities and
// execute itself again, then with sandboxed to make the copy. The value is the
// directory to copy.
const (
	bounding  = "TEMPER_TEST_BOUNDING"
	sandboxed = "TEMPER_TEST_SANDBOXED"
)

// A build step has no CAP_SYS_ADMIN: trusted attributes are not visible to it,
// and everything else must work.
func TestCopyWithBuildCapabilities(t *testing.T) {
	if src := os.Getenv(bounding); src != "" {
		limitCapabilities(t)
		must(t, os.Unsetenv(bounding))
		t.Setenv(sandboxed, src)
		must(t, unix.Exec(os.Args[0], os.Args, os.Environ()))
	}
	if src := os.Getenv(sandboxed); src != "" {
		if err := unix.Mount("none", "/", "", unix.MS_REMOUNT|unix.MS_BIND, ""); !errors.Is(err, unix.EPERM) {
			t.Fatalf("the capabilities are still there: %v", err)
		}
		dst := src + "-copy"
		must(t, os.Mkdir(dst, 0o755))
		_, err := Copy(t.Context(), scanDir(t, src), openDir(t, dst), Plan{})
		must(t, err)
		return
	}
	src := makeEverything(t)
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestCopyWithBuildCapabilities$")
	cmd.Env = append(os.Environ(), bounding+"="+src)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	want := describe(t, src)
	for i, line := range want {
		fields := strings.Split(line, " trusted.")
		want[i] = fields[0]
		for _, f := range fields[1:] {
			if _, rest, ok := strings.Cut(f, " "); ok {
				want[i] += " " + rest
			}
		}
	}
	if diff := cmp.Diff(want, describe(t, src+"-copy")); diff != "" {
		t.Error(diff)
	}
}

// limitCapabilities leaves the thread, and what it executes, with what BuildKit
// gives to a build step.
func limitCapabilities(t testing.TB) {
	t.Helper()
	runtime.LockOSThread()
	granted := []int{
		unix.CAP_CHOWN, unix.CAP_DAC_OVERRIDE, unix.CAP_FSETID, unix.CAP_FOWNER, unix.CAP_MKNOD, unix.CAP_NET_RAW,
		unix.CAP_SETGID, unix.CAP_SETUID, unix.CAP_SETFCAP, unix.CAP_SETPCAP, unix.CAP_NET_BIND_SERVICE,
		unix.CAP_SYS_CHROOT, unix.CAP_KILL, unix.CAP_AUDIT_WRITE,
	}
	for c := range unix.CAP_LAST_CAP + 1 {
		if slices.Contains(granted, c) {
			continue
		}
		// EINVAL: the kernel does not know it.
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, uintptr(c), 0, 0, 0); err != nil && !errors.Is(err, unix.EINVAL) {
			t.Fatal(err)
		}
	}
}
