package rootfs

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// scanDir scans a directory with the default limits.
func scanDir(t testing.TB, dir string) *Tree {
	t.Helper()
	tree, err := Scan(t.Context(), openDir(t, dir), ScanOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

func openDir(t testing.TB, dir string) *os.Root {
	t.Helper()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return root
}

// makeTree makes what the lines say: "dir/", "file=contents" or "link->target".
func makeTree(t testing.TB, lines ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, line := range lines {
		name, target, isLink := strings.Cut(line, "->")
		name, contents, _ := strings.Cut(name, "=")
		path := filepath.Join(dir, name)
		err := os.MkdirAll(filepath.Dir(path), 0o755)
		switch {
		case err != nil:
		case isLink:
			err = os.Symlink(target, path)
		case strings.HasSuffix(name, "/"):
			err = os.MkdirAll(path, 0o755)
		default:
			err = os.WriteFile(path, []byte(contents), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func paths(entries []*Entry) []string {
	var list []string
	for _, e := range entries {
		list = append(list, e.Path)
	}
	return list
}

func TestEntriesAreSortedByBytes(t *testing.T) {
	dir := makeTree(t, "a/b/c=1", "a/b-/d=", "a-/x=", "a--/y=", "a.=", "a/b.=", "a0=", "z->a", "new\nline=", "bad\xff\xfe/\x80=", "emp ty/")
	tree := scanDir(t, dir)
	var want []string
	err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		want = append(want, "/"+strings.TrimPrefix(strings.TrimPrefix(path, dir), "/"))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(want)
	if diff := cmp.Diff(want, paths(tree.Entries())); diff != "" {
		t.Error(diff)
	}
	for _, e := range tree.Entries() {
		if got, ok := tree.Lookup(e.Path); !ok || got != e {
			t.Errorf("Lookup(%q) = %v, %v", e.Path, got, ok)
		}
		if want := filepath.Base(e.Path); e.Name() != want {
			t.Errorf("Name of %q is %q", e.Path, e.Name())
		}
	}
	if diff := cmp.Diff([]string{"/a/b", "/a/b-", "/a/b."}, paths(tree.Children("/a"))); diff != "" {
		t.Error(diff)
	}
	for _, not := range []string{"/a.", "/z", "/none", "/z/b"} {
		if c := tree.Children(not); c != nil {
			t.Errorf("Children(%q) = %q", not, paths(c))
		}
	}
}

func TestOpenAndReadFile(t *testing.T) {
	dir := makeTree(t, "dir/file=contents", "link->dir", "dir/alias->file", "empty=")
	tree := scanDir(t, dir)
	tests := []struct {
		path  string
		limit int64
		want  string
		err   error
	}{
		{path: "/dir/file", limit: 8, want: "contents"},
		{path: "/dir/file", limit: 7, err: &TooLargeError{Path: "/dir/file", Limit: 7}},
		{path: "/empty", limit: 0},
		{path: "/dir/alias", limit: 8, err: ErrNotRegular},
		{path: "/link/file", limit: 8, err: ErrNotExist},
		{path: "/dir", limit: 8, err: ErrNotRegular},
		{path: "/none", limit: 8, err: ErrNotExist},
	}
	for _, tt := range tests {
		got, err := tree.ReadFile(tt.path, tt.limit)
		var large *TooLargeError
		matches := errors.Is(err, tt.err)
		if errors.As(err, &large) {
			matches = cmp.Equal(error(large), tt.err)
		}
		if string(got) != tt.want || !matches {
			t.Errorf("ReadFile(%q, %d) = %q, %v", tt.path, tt.limit, got, err)
		}
	}
}
