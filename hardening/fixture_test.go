package hardening

import (
	"debug/elf"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/temper-images/temper/hardening/linkage/linkagetest"
)

// A fixture is a root filesystem described in lines, so that a test case can be
// read at a glance:
//
//	dir PATH [MODE [UID:GID]]
//	file PATH [MODE [UID:GID]] [TEXT]      TEXT begins with " or `
//	link PATH TARGET
//	prog PATH [needs NAME,NAME…] [imports SYMBOL,SYMBOL…] [TEXT]   a dynamically linked amd64 program
//	lib PATH [needs NAME,NAME…] [imports SYMBOL,SYMBOL…] [TEXT]    a shared library, soname from its name
//	deb NAME [essential] [auto] [priority=P] [section=S] [depends=A,B] [version=V]: PATH PATH…
//
// Parents are made as they are needed. "deb" writes a dpkg database whose
// packages own the paths, which other lines make.
type fixture struct {
	t    *testing.T
	root string

	status, extended strings.Builder
}

func newFixture(t *testing.T, lines string) string {
	t.Helper()
	f := &fixture{t: t, root: t.TempDir()}
	f.must(os.Chmod(f.root, 0o755))
	for line := range strings.SplitSeq(lines, "\n") {
		if line = strings.TrimSpace(line); line != "" {
			f.add(line)
		}
	}
	if f.status.Len() > 0 {
		f.write("/var/lib/dpkg/status", f.status.String(), 0o644)
		f.write("/var/lib/apt/extended_states", f.extended.String(), 0o644)
	}
	return f.root
}

func (f *fixture) must(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) host(p string) string {
	p = filepath.Join(f.root, p)
	f.must(os.MkdirAll(filepath.Dir(p), 0o755))
	return p
}

func (f *fixture) write(p, text string, mode fs.FileMode) {
	f.t.Helper()
	f.must(os.WriteFile(f.host(p), []byte(text), 0o600))
	f.must(os.Chmod(f.host(p), mode))
}

func (f *fixture) add(line string) {
	f.t.Helper()
	text := ""
	if i := strings.IndexAny(line, "\"`"); i >= 0 {
		var err error
		text, err = strconv.Unquote(line[i:])
		f.must(err)
		line = line[:i]
	}
	words := strings.Fields(line)
	arg := func(i int, def string) string {
		if len(words) > i {
			return words[i]
		}
		return def
	}
	list := func(key string) []string {
		if i := slices.Index(words, key); i >= 0 {
			return strings.Split(words[i+1], ",")
		}
		return nil
	}
	p := words[1]
	switch words[0] {
	case "dir":
		f.must(os.MkdirAll(f.host(p), 0o755))
		f.meta(p, arg(2, "0755"), arg(3, "0:0"))
	case "file":
		f.write(p, text, 0o644)
		f.meta(p, arg(2, "0644"), arg(3, "0:0"))
	case "link":
		f.must(os.Symlink(words[2], f.host(p)))
	case "prog":
		f.write(p, string(linkagetest.Image{
			Type: elf.ET_EXEC, Interp: "/lib64/ld-linux-x86-64.so.2", Needed: list("needs"), Imports: list("imports"),
		}.Bytes())+text, 0o755)
	case "lib":
		f.write(p, string(linkagetest.Image{
			Type: elf.ET_DYN, Soname: path.Base(p), Needed: list("needs"), Imports: list("imports"),
		}.Bytes())+text, 0o644)
	case "deb":
		f.deb(line)
	default:
		f.t.Fatalf("fixture line %q", line)
	}
}

func (f *fixture) meta(p, mode, owner string) {
	f.t.Helper()
	uid, gid, _ := strings.Cut(owner, ":")
	u, err := strconv.Atoi(uid)
	f.must(err)
	g, err := strconv.Atoi(gid)
	f.must(err)
	f.must(os.Lchown(f.host(p), u, g))
	m, err := strconv.ParseUint(mode, 8, 32)
	f.must(err)
	f.must(syscall.Chmod(f.host(p), uint32(m)))
}

func (f *fixture) deb(line string) {
	head, files, _ := strings.Cut(line, ": ")
	words := strings.Fields(head)
	name := words[1]
	fields := map[string]string{"version": "1.0", "priority": "optional", "section": "misc"}
	for _, w := range words[2:] {
		k, v, _ := strings.Cut(w, "=")
		fields[k] = v
	}
	fmt.Fprintf(&f.status, "Package: %s\nStatus: install ok installed\nPriority: %s\nSection: %s\nArchitecture: amd64\nVersion: %s\n",
		name, fields["priority"], fields["section"], fields["version"])
	if _, ok := fields["essential"]; ok {
		f.status.WriteString("Essential: yes\n")
	}
	if d := fields["depends"]; d != "" {
		fmt.Fprintf(&f.status, "Depends: %s\n", strings.ReplaceAll(d, ",", ", "))
	}
	f.status.WriteString("Description: fixture\n\n")
	if _, ok := fields["auto"]; ok {
		fmt.Fprintf(&f.extended, "Package: %s\nArchitecture: amd64\nAuto-Installed: 1\n\n", name)
	}
	list := "/.\n"
	seen := map[string]bool{}
	for p := range strings.FieldsSeq(files) {
		for _, dir := range parents(p) {
			if !seen[dir] {
				seen[dir] = true
				list += dir + "\n"
			}
		}
		list += p + "\n"
	}
	f.write("/var/lib/dpkg/info/"+name+".list", list, 0o644)
}

func parents(p string) []string {
	var dirs []string
	for dir := path.Dir(p); path.IsAbs(dir) && dir != "/"; dir = path.Dir(dir) {
		dirs = append(dirs, dir)
	}
	slices.Reverse(dirs)
	return dirs
}

// listing describes what is in a root filesystem: one line for each entry, with
// mode, owner and link target.
func listing(t *testing.T, root string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil || p == root {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		st := info.Sys().(*syscall.Stat_t)
		name := strings.TrimPrefix(p, root)
		target := ""
		switch {
		case d.IsDir():
			name += "/"
		case d.Type()&fs.ModeSymlink != 0:
			link, err := os.Readlink(p)
			if err != nil {
				return err
			}
			target = " -> " + link
		}
		fmt.Fprintf(&b, "%04o %d:%d %s%s\n", st.Mode&0o7777, st.Uid, st.Gid, name, target)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}
