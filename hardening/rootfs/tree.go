// Package rootfs reads a root filesystem that nobody trusts and writes a pruned
// copy of it.
//
// Scan takes one look at every name; what follows (Lookup, Children, Resolve)
// works on that picture, so that it is quick and cannot be led out of the root
// by a symbolic link. Files are opened beneath the os.Root that was scanned, by
// canonical path, with every symbolic link refused. Copy writes the entries
// that a Plan keeps into an empty os.Root and preserves what a file is made of:
// owner, mode, times, extended attributes, hardlinks, holes and device numbers.
//
// Paths are strings of bytes, absolute and slash separated; "/" is the root.
package rootfs

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Tree is a root filesystem as Scan saw it. It does not change; its methods may
// be called from any goroutine. The handle of the root directory that it keeps
// is closed when the tree is garbage collected.
type Tree struct {
	dir     directory
	root    *Entry
	entries []*Entry
}

// Entries returns every entry in the order of their paths' bytes, so a
// directory comes before what it holds; the first is "/". The caller must not
// change the slice.
func (t *Tree) Entries() []*Entry { return t.entries }

// Lookup finds a path as it is written, after path.Clean: no symbolic link is
// followed, so "/lib/libc.so.6" is not found where /lib is a link.
func (t *Tree) Lookup(name string) (*Entry, bool) {
	e := t.root
	for rest := path.Clean("/" + name)[1:]; rest != ""; {
		var base string
		base, rest, _ = strings.Cut(rest, "/")
		if e = e.child(base); e == nil {
			return nil, false
		}
	}
	return e, true
}

// Children returns what the directory holds, sorted by name; dir is a
// canonical path. The result is nil for anything that is not a directory of
// the tree. The caller must not change the slice.
func (t *Tree) Children(dir string) []*Entry {
	e, ok := t.Lookup(dir)
	if !ok {
		return nil
	}
	return e.children
}

// child returns the entry of that name in the directory e, or nil.
func (e *Entry) child(name string) *Entry {
	i, ok := slices.BinarySearchFunc(e.children, name, func(c *Entry, name string) int {
		return cmp.Compare(c.Name(), name)
	})
	if !ok {
		return nil
	}
	return e.children[i]
}

// TooLargeError says that a file is longer than its reader accepts.
type TooLargeError struct {
	Path string
	// Limit is what the reader accepts, in bytes.
	Limit int64
}

func (e *TooLargeError) Error() string {
	return fmt.Sprintf("read %q: larger than the %d bytes that such a file may have", e.Path, e.Limit)
}

// ErrNotRegular is the error of Open and ReadFile for what is not a regular
// file.
var ErrNotRegular = errors.New("not a regular file")

// Open opens a regular file by its canonical path for reading. It neither
// follows a symbolic link nor waits for a FIFO or device that took the file's
// place. Errors match ErrNotExist or ErrNotRegular, or wrap the system's. The
// caller closes the file.
func (t *Tree) Open(name string) (*os.File, error) {
	e, ok := t.Lookup(name)
	if !ok {
		return nil, fmt.Errorf("open %q: %w", name, ErrNotExist)
	}
	if e.Kind != Regular {
		return nil, fmt.Errorf("open %q: %w but a %s", name, ErrNotRegular, e.Kind)
	}
	fd, err := t.dir.open(e.Path, unix.O_RDONLY|unix.O_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("open %q: %w", name, err)
	}
	if _, err := statRegular(fd); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("open %q: %w", name, err)
	}
	return os.NewFile(uintptr(fd), e.Path), nil
}

// statRegular reads the metadata of an open file and refuses what is not a
// regular file.
func statRegular(fd int) (*unix.Stat_t, error) {
	var st unix.Stat_t
	if err := retry(func() error { return unix.Fstat(fd, &st) }); err != nil {
		return nil, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, ErrNotRegular
	}
	return &st, nil
}

// ReadFile reads a regular file by its canonical path. The error is a
// *TooLargeError when the file has more than limit bytes.
func (t *Tree) ReadFile(name string, limit int64) ([]byte, error) {
	f, err := t.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	e, _ := t.Lookup(name)
	if e.Size > limit {
		return nil, &TooLargeError{Path: e.Path, Limit: limit}
	}
	// One byte more than expected shows the end, so that the usual file is
	// read into one allocation.
	buf := make([]byte, 0, e.Size+1)
	for {
		n, err := f.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if int64(len(buf)) > limit {
			return nil, &TooLargeError{Path: e.Path, Limit: limit}
		}
		if errors.Is(err, io.EOF) {
			return buf, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read %q: %w", e.Path, err)
		}
		if len(buf) == cap(buf) {
			buf = slices.Grow(buf, 512)
		}
	}
}
