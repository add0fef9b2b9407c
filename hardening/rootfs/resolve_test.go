package rootfs

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestResolve(t *testing.T) {
	lines := []string{
		"etc/passwd=", "usr/bin/sh=", "usr/lib/x86/libc.so=", "bin->usr/bin", "lib->/usr/lib",
		"escape->../../../../etc", "usr/up->../../../../../../bin", "self->self", "ping->pong", "pong->ping",
		"missing->nowhere/at/all", "through->etc/passwd/deeper", "slash->etc/passwd/", "dirslash->etc/",
		"dots->./etc/.././etc//passwd", "root->/", "above->..", "grow->grow/grow",
	}
	for i := range 41 {
		target := fmt.Sprintf("chain%d", i-1)
		if i == 0 {
			target = "etc/passwd"
		}
		lines = append(lines, fmt.Sprintf("chain%d->%s", i, target))
	}
	tree := scanDir(t, makeTree(t, lines...))

	tests := []struct {
		path  string
		want  string
		links []string
		err   error
	}{
		{path: "/", want: "/"},
		{path: "//", want: "/"},
		{path: "..", want: "/"},
		{path: "../../etc/passwd", want: "/etc/passwd"},
		{path: "usr/bin", want: "/usr/bin"},
		{path: "/usr//bin/./../bin/sh", want: "/usr/bin/sh"},
		{path: "/bin/sh", want: "/usr/bin/sh", links: []string{"/bin"}},
		{path: "/lib/x86/libc.so", want: "/usr/lib/x86/libc.so", links: []string{"/lib"}},
		{path: "/lib/..", want: "/usr", links: []string{"/lib"}},
		{path: "/escape/passwd", want: "/etc/passwd", links: []string{"/escape"}},
		{path: "/usr/up/sh", want: "/usr/bin/sh", links: []string{"/usr/up", "/bin"}},
		{path: "/root/above/dots", want: "/etc/passwd", links: []string{"/root", "/above", "/dots"}},
		{path: "/etc/", want: "/etc"},
		{path: "/dirslash", want: "/etc", links: []string{"/dirslash"}},
		{path: "/dirslash/", want: "/etc", links: []string{"/dirslash"}},
		{path: "/chain39", want: "/etc/passwd", links: countdown(39, 0)},
		{path: "", err: ErrNotExist},
		{path: "/none", err: ErrNotExist},
		{path: "/none/", err: ErrNotExist},
		{path: "/none/..", err: ErrNotExist},
		{path: "/missing", err: ErrNotExist, links: []string{"/missing"}},
		{path: "/etc/passwd/", err: ErrNotDirectory},
		{path: "/etc/passwd/.", err: ErrNotDirectory},
		{path: "/etc/passwd/..", err: ErrNotDirectory},
		{path: "/slash", err: ErrNotDirectory, links: []string{"/slash"}},
		{path: "/dots/", err: ErrNotDirectory, links: []string{"/dots"}},
		{path: "/through", err: ErrNotDirectory, links: []string{"/through"}},
		{path: "/chain40", err: ErrLoop, links: countdown(40, 1)},
		{path: "/self", err: ErrLoop, links: repeat(40, "/self")},
		{path: "/ping", err: ErrLoop, links: repeat(20, "/ping", "/pong")},
		{path: "/grow", err: ErrLoop, links: repeat(40, "/grow")},
		{path: "/" + strings.Repeat("n", 300), err: ErrNotExist},
	}
	for _, tt := range tests {
		got, err := tree.Resolve(tt.path)
		if !errors.Is(err, tt.err) {
			t.Errorf("Resolve(%q): error %v, want %v", tt.path, err, tt.err)
		}
		var path string
		if got.Entry != nil {
			path = got.Entry.Path
		}
		if path != tt.want {
			t.Errorf("Resolve(%q) = %q, want %q", tt.path, path, tt.want)
		}
		if diff := cmp.Diff(tt.links, got.Links); diff != "" {
			t.Errorf("Resolve(%q): links: %s", tt.path, diff)
		}
	}
}

func countdown(from, to int) []string {
	var list []string
	for i := from; i >= to; i-- {
		list = append(list, fmt.Sprintf("/chain%d", i))
	}
	return list
}

func repeat(n int, names ...string) []string {
	var list []string
	for range n {
		list = append(list, names...)
	}
	return list
}
