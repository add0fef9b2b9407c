package rootfs

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// FuzzResolve makes a farm of symbolic links and compares Resolve with the
// kernel's own answer inside the same root (openat2, RESOLVE_IN_ROOT). Each
// line of farm is "name", "name/" or "name->target"; the first name wins.
func FuzzResolve(f *testing.F) {
	seeds := []struct{ farm, path string }{
		{"etc/passwd\nlib->../../../../etc", "/lib/passwd"},
		{"a->b\nb->a", "a/x"},
		{"a/b/c\nd->a/./b/..//b/", "d/c"},
		{"f\nl->f/", "l"},
		{"f\nl->f", "l/"},
		{"d/\nl->/d/../d/.\nm->l//", "m/.."},
		{"a->a/a", "a"},
		{"d/u->..\nd/v->/d/u/d/u", "d/v/d/v/d"},
		{"x->.\ny->x/x/x/x/x/x/x/x/x/x\nz->y/y/y/y", "z"},
		{"f", "f/.."},
	}
	for _, s := range seeds {
		f.Add(s.farm, s.path)
	}
	f.Fuzz(func(t *testing.T, farm, path string) {
		if len(farm) > 2000 || len(path) > 500 || strings.ContainsRune(path, 0) {
			return
		}
		dir := t.TempDir()
		plantFarm(dir, farm)
		root := openDir(t, dir)
		tree, err := Scan(t.Context(), root, ScanOptions{})
		must(t, err)

		got, err := tree.Resolve(path)
		want, wantErr := kernelResolve(t, dir, path)
		if errors.Is(wantErr, unix.ENAMETOOLONG) {
			wantErr = ErrNotExist
		}
		if !errors.Is(err, wantErr) {
			t.Fatalf("Resolve(%q): %v; the kernel: %v\n%s", path, err, wantErr, farm)
		}
		if err != nil {
			return
		}
		if got.Entry.Dev != want.Dev || got.Entry.Ino != want.Ino {
			t.Fatalf("Resolve(%q) = %q, which is not what the kernel opens\n%s", path, got.Entry.Path, farm)
		}
		if e, ok := tree.Lookup(got.Entry.Path); !ok || e != got.Entry || e.Kind == Symlink {
			t.Fatalf("Resolve(%q) = %q is not canonical\n%s", path, got.Entry.Path, farm)
		}
		if len(got.Links) > maxLinks {
			t.Fatalf("Resolve(%q) followed %d links", path, len(got.Links))
		}
	})
}

// plantFarm makes what can be made of a farm, inside dir.
func plantFarm(dir, farm string) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return
	}
	defer root.Close()
	for i, line := range strings.Split(farm, "\n") {
		name, target, link := strings.Cut(line, "->")
		if i > 50 || name == "" {
			continue
		}
		if parent := filepath.Dir(strings.TrimSuffix(name, "/")); parent != "." && root.MkdirAll(parent, 0o755) != nil {
			continue
		}
		switch {
		case link:
			_ = root.Symlink(target, name)
		case strings.HasSuffix(name, "/"):
			_ = root.Mkdir(strings.TrimSuffix(name, "/"), 0o755)
		default:
			if f, err := root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644); err == nil {
				f.Close()
			}
		}
	}
}

// kernelResolve opens path as a process in a chroot would. The error is one of
// the package's.
func kernelResolve(t testing.TB, dir, path string) (unix.Stat_t, error) {
	t.Helper()
	var st unix.Stat_t
	at, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	must(t, err)
	defer unix.Close(at)
	fd, err := unix.Openat2(at, path, &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT})
	switch {
	case errors.Is(err, unix.ENOENT):
		return st, ErrNotExist
	case errors.Is(err, unix.ENOTDIR):
		return st, ErrNotDirectory
	case errors.Is(err, unix.ELOOP):
		return st, ErrLoop
	case err != nil:
		return st, err
	}
	defer unix.Close(fd)
	must(t, unix.Fstat(fd, &st))
	return st, nil
}
