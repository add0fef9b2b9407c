package rootfs

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
)

// maxLinks is how many symbolic links Linux follows in one path
// (path_resolution(7)).
const maxLinks = 40

// The reasons why a path does not resolve; match them with errors.Is.
var (
	// ErrNotExist is fs.ErrNotExist: a component is missing.
	ErrNotExist = fs.ErrNotExist
	// ErrLoop says that the path goes through more than 40 symbolic links.
	ErrLoop = errors.New("too many levels of symbolic links")
	// ErrNotDirectory says that something other than a directory is used as one.
	ErrNotDirectory = errors.New("not a directory")
)

// Resolution is where a path leads.
type Resolution struct {
	// Entry is what the path names; it is no symbolic link, and its Path holds
	// none.
	Entry *Entry
	// Links are the canonical paths of the symbolic links that were followed,
	// in order. A link that was followed twice is listed twice.
	Links []string
}

// Resolve follows name as the kernel does for a process whose root directory
// is the tree (path_resolution(7)): a relative path starts at "/", ".." stops
// there, a symbolic link with an absolute target starts there again, and a
// trailing slash demands a directory. The last component is followed too.
//
// Errors match ErrNotExist, ErrLoop or ErrNotDirectory. Resolution.Links is
// filled also when the path does not resolve.
func (t *Tree) Resolve(name string) (Resolution, error) {
	var r Resolution
	fail := func(at string, err error) (Resolution, error) {
		return r, fmt.Errorf("resolve %q: %q: %w", name, at, err)
	}
	if name == "" {
		return fail(name, ErrNotExist)
	}
	cur, rest := t.root, name
	for {
		rest = strings.TrimLeft(rest, "/")
		if rest == "" {
			r.Entry = cur
			return r, nil
		}
		var base string
		if i := strings.IndexByte(rest, '/'); i >= 0 {
			base, rest = rest[:i], rest[i:]
		} else {
			base, rest = rest, ""
		}
		switch base {
		case ".":
			continue
		case "..":
			if cur.parent != nil {
				cur = cur.parent
			}
			continue
		}
		next := cur.child(base)
		if next == nil {
			return fail(strings.TrimSuffix(cur.Path, "/")+"/"+base, ErrNotExist)
		}
		switch {
		case next.Kind == Symlink:
			if len(r.Links) == maxLinks {
				return fail(next.Path, ErrLoop)
			}
			r.Links = append(r.Links, next.Path)
			if next.Link == "" {
				return fail(next.Path, ErrNotExist)
			}
			if next.Link[0] == '/' {
				cur = t.root
			}
			rest = next.Link + rest
		case next.Kind != Directory && rest != "":
			return fail(next.Path, ErrNotDirectory)
		default:
			cur = next
		}
	}
}
