package rootfs

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// keepOnly keeps the listed paths.
func keepOnly(list ...string) func(*Entry) bool {
	kept := map[string]bool{}
	for _, p := range list {
		kept[p] = true
	}
	return func(e *Entry) bool { return kept[e.Path] }
}

func TestCopyKeep(t *testing.T) {
	src := makeEverything(t)
	before := map[string]string{}
	for _, line := range describe(t, src) {
		before[strings.Fields(line)[0]] = line
	}
	dst, stats := copyDir(t, src, Plan{Keep: keepOnly("/links/b", "/zz/d", "/data/null", "/usr/bin", "/data/fifo")})
	var names []string
	for _, line := range describe(t, dst) {
		name := strings.Fields(line)[0]
		names = append(names, name)
		// The dropped names of hardlinked files are counted no more.
		switch name {
		case `"/links/b"`, `"/zz/d"`:
			line = strings.NewReplacer("nlink=2", "nlink=4", `first="/links/b"`, `first="/etc/c"`).Replace(line)
		case `"/data/fifo"`:
			line = strings.Replace(line, "nlink=1", "nlink=2", 1)
		}
		if line != before[name] {
			t.Errorf("got  %s\nwant %s", line, before[name])
		}
	}
	want := []string{`"/"`, `"/data"`, `"/data/fifo"`, `"/data/null"`, `"/links"`, `"/links/b"`, `"/usr"`, `"/usr/bin"`, `"/zz"`, `"/zz/d"`}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(Stats{Files: 4, Directories: 5, Bytes: 6}, stats); diff != "" {
		t.Error(diff)
	}
}

func TestCopyOverride(t *testing.T) {
	src := makeEverything(t)
	dst, _ := copyDir(t, src, Plan{
		Override: map[string]Metadata{
			"/":               {UID: 5, GID: 6, Mode: 0o700},
			"/usr/bin/su":     {UID: 33, GID: 34, Mode: 0o755},
			"/usr/bin/ping":   {UID: 1, GID: 1, Mode: 0o4711},
			"/links/b":        {UID: 9, GID: 9, Mode: 0o600},
			"/data/acl":       {UID: 0, GID: 0, Mode: 0o600},
			"/var/mail":       {UID: 65532, GID: 65532, Mode: 0o2755},
			"/dangling":       {UID: 2, GID: 3, Mode: 0o777},
			"/data/hole-only": {UID: 2, GID: 3, Mode: 0o6000},
		},
		Contents: map[string][]byte{
			"/etc/passwd":   []byte("new contents"),
			"/usr/bin/wall": nil,
			"/links/a":      []byte("no longer shared"),
			"/usr/bin/ping": []byte("other code"),
			"/data/user":    []byte("x"),
		},
	})
	type found struct {
		Mode     uint32
		UID, GID uint32
		Nlink    uint64
		Data     string
		Xattrs   string
	}
	check := func(path string, want found) {
		t.Helper()
		var st, old unix.Stat_t
		must(t, unix.Lstat(filepath.Join(dst, path), &st), unix.Lstat(filepath.Join(src, path), &old))
		got := found{Mode: st.Mode & 0o7777, UID: st.Uid, GID: st.Gid, Xattrs: attributesOf(t, filepath.Join(dst, path))}
		if st.Mode&unix.S_IFMT == unix.S_IFREG {
			data, err := os.ReadFile(filepath.Join(dst, path))
			must(t, err)
			got.Data, got.Nlink = strings.Trim(string(data), "\x00"), st.Nlink
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", path, diff)
		}
		if st.Mtim != old.Mtim {
			t.Errorf("%s: modification time %v, want %v", path, st.Mtim, old.Mtim)
		}
	}
	check("/", found{Mode: 0o700, UID: 5, GID: 6})
	check("/usr/bin/su", found{Mode: 0o755, UID: 33, GID: 34, Nlink: 1, Data: "suid"})
	check("/usr/bin/ping", found{Mode: 0o4711, UID: 1, GID: 1, Nlink: 1, Data: "other code"})
	check("/usr/bin/wall", found{Mode: 0o2755, Nlink: 1})
	check("/etc/passwd", found{Mode: 0o644, Nlink: 1, Data: "new contents"})
	check("/links/a", found{Mode: 0o644, Nlink: 1, Data: "no longer shared"})
	check("/links/b", found{Mode: 0o600, UID: 9, GID: 9, Nlink: 1, Data: "shared"})
	check("/etc/c", found{Mode: 0o644, Nlink: 2, Data: "shared"})
	check("/zz/d", found{Mode: 0o644, Nlink: 2, Data: "shared"})
	check("/var/mail", found{Mode: 0o2755, UID: 65532, GID: 65532})
	check("/dangling", found{Mode: 0o777, UID: 2, GID: 3, Xattrs: " trusted.link=6c"})
	check("/data/user", found{Mode: 0o644, Nlink: 1, Data: "x", Xattrs: " trusted.other=74 user.comment=68656c6c6f00ff user.empty="})
	check("/data/hole-only", found{Mode: 0o6000, UID: 2, GID: 3, Nlink: 1})
	var st unix.Stat_t
	must(t, unix.Stat(filepath.Join(dst, "data/acl"), &st))
	if st.Mode&0o7777 != 0o600 {
		t.Errorf("the access control list won over the plan: mode %o", st.Mode)
	}
}

func TestCopyAdd(t *testing.T) {
	src := makeEverything(t)
	given := time.Unix(1, 2).UTC()
	dst, stats := copyDir(t, src, Plan{
		Keep: keepOnly("/etc/passwd", "/tmp"),
		Add: []NewEntry{
			{Path: "/srv/app/conf", Kind: Regular, Metadata: Metadata{UID: 1, GID: 2, Mode: 0o640}, Contents: []byte("conf")},
			{Path: "/srv", Kind: Directory, Metadata: Metadata{Mode: 0o755}, ModTime: given},
			{Path: "/srv/app", Kind: Directory, Metadata: Metadata{UID: 65532, GID: 65532, Mode: 0o1750}},
			{Path: "/etc/group", Kind: Regular, Metadata: Metadata{Mode: 0o444}},
			{Path: "/var", Kind: Directory, Metadata: Metadata{Mode: 0o700}}, // dropped by Keep, so made new
		},
	})
	var root unix.Stat_t
	must(t, unix.Stat(src, &root))
	times := map[string]unix.Timespec{"srv": unix.NsecToTimespec(given.UnixNano()), "srv/app": root.Mtim, "srv/app/conf": root.Mtim, "etc/group": root.Mtim, "var": root.Mtim}
	for _, name := range []string{"", "etc", "tmp", "etc/passwd"} {
		var st unix.Stat_t
		must(t, unix.Stat(filepath.Join(src, name), &st))
		times[name] = st.Mtim
	}
	for name, want := range times {
		var st unix.Stat_t
		must(t, unix.Stat(filepath.Join(dst, name), &st))
		if st.Mtim != want {
			t.Errorf("/%s: modification time %v, want %v", name, st.Mtim, want)
		}
	}
	var st unix.Stat_t
	must(t, unix.Stat(filepath.Join(dst, "srv/app"), &st))
	if st.Uid != 65532 || st.Gid != 65532 || st.Mode != unix.S_IFDIR|0o1750 {
		t.Errorf("/srv/app: %d:%d %o", st.Uid, st.Gid, st.Mode)
	}
	data, err := os.ReadFile(filepath.Join(dst, "srv/app/conf"))
	if string(data) != "conf" || err != nil {
		t.Errorf("/srv/app/conf: %q, %v", data, err)
	}
	if diff := cmp.Diff(Stats{Files: 3, Directories: 5, Bytes: 8}, stats); diff != "" {
		t.Error(diff)
	}
}

func TestCopyPlanErrors(t *testing.T) {
	src := makeTree(t, "etc/passwd=", "bin->usr/bin", "usr/bin/sh=")
	directory := func(path string) Plan { return Plan{Add: []NewEntry{{Path: path, Kind: Directory}}} }
	tests := []struct {
		name string
		plan Plan
		want error
		text string
	}{
		{"override of nothing", Plan{Override: map[string]Metadata{"/none": {}}}, ErrNotExist, `"/none"`},
		{"override through a link", Plan{Override: map[string]Metadata{"/bin/sh": {}}}, ErrNotExist, `"/bin/sh"`},
		{"override of a path that is not canonical", Plan{Override: map[string]Metadata{"/etc/": {}}}, ErrNotExist, `"/etc/"`},
		{"contents of what is dropped", Plan{Keep: keepOnly("/etc"), Contents: map[string][]byte{"/etc/passwd": nil}}, ErrNotExist, `"/etc/passwd"`},
		{"contents of a directory", Plan{Contents: map[string][]byte{"/etc": nil}}, nil, `"/etc": not a regular file but a directory`},
		{"contents of a link", Plan{Contents: map[string][]byte{"/bin": nil}}, nil, `"/bin": not a regular file but a symbolic link`},
		{"contents of a directory on the way", Plan{Keep: keepOnly("/etc/passwd"), Contents: map[string][]byte{"/etc": nil}}, nil, `"/etc": not a regular file but a directory`},
		{"add what is there", directory("/usr"), fs.ErrExist, `"/usr"`},
		{"add the root", directory("/"), nil, `"/"`},
		{"add a relative path", directory("srv"), nil, `"srv"`},
		{"add a path that leaves", directory("/../srv"), nil, `"/../srv"`},
		{"add a path with NUL", directory("/s\x00v"), nil, `"/s\x00v"`},
		{"add twice", Plan{Add: []NewEntry{{Path: "/srv", Kind: Directory}, {Path: "/srv", Kind: Regular}}}, fs.ErrExist, `"/srv"`},
		{"add below nothing", directory("/srv/www"), ErrNotExist, `"/srv/www"`},
		{"add below a file", directory("/etc/passwd/x"), ErrNotExist, `"/etc/passwd/x"`},
		{"add below a link", directory("/bin/x"), ErrNotExist, `"/bin/x"`},
		{"add a device", Plan{Add: []NewEntry{{Path: "/null", Kind: CharDevice}}}, nil, "a character device cannot be added"},
	}
	tree := scanDir(t, src)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dst := t.TempDir()
			_, err := Copy(t.Context(), tree, openDir(t, dst), tt.plan)
			if err == nil || !strings.Contains(err.Error(), tt.text) || tt.want != nil && !errors.Is(err, tt.want) {
				t.Errorf("error %v, want %q and %v", err, tt.text, tt.want)
			}
			if left, _ := os.ReadDir(dst); len(left) > 0 {
				t.Errorf("left %v behind", left)
			}
		})
	}
}
