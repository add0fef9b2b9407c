package rootfs

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// Kind is the type of a directory entry.
type Kind uint8

// The kinds of entries (inode(7), "The file type and mode").
const (
	Regular Kind = iota + 1
	Directory
	Symlink
	CharDevice
	BlockDevice
	FIFO
	Socket
)

// String names the kind in the words of inode(7).
func (k Kind) String() string {
	switch k {
	case Regular:
		return "regular file"
	case Directory:
		return "directory"
	case Symlink:
		return "symbolic link"
	case CharDevice:
		return "character device"
	case BlockDevice:
		return "block device"
	case FIFO:
		return "FIFO"
	case Socket:
		return "socket"
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// kindOf translates the file type of a stat mode; ok is false for a type that
// Linux does not know.
func kindOf(mode uint32) (kind Kind, ok bool) {
	switch mode & unix.S_IFMT {
	case unix.S_IFREG:
		return Regular, true
	case unix.S_IFDIR:
		return Directory, true
	case unix.S_IFLNK:
		return Symlink, true
	case unix.S_IFCHR:
		return CharDevice, true
	case unix.S_IFBLK:
		return BlockDevice, true
	case unix.S_IFIFO:
		return FIFO, true
	case unix.S_IFSOCK:
		return Socket, true
	}
	return 0, false
}

// Entry is one name in the root filesystem, as lstat(2) saw it. Entries belong
// to their Tree and must not be changed.
type Entry struct {
	// Path is absolute and canonical: slash separated, no symbolic link in any
	// directory of it, "/" for the root. Names may hold any byte but slash and
	// NUL, also newlines and invalid UTF-8.
	Path string
	// Link is a symbolic link's target as it is stored, at most
	// ScanOptions.MaxLink bytes.
	Link string
	// ModTime has the precision of the filesystem, down to a nanosecond; UTC.
	ModTime time.Time
	// Size is a regular file's length in bytes.
	Size int64
	// Rdev is a device node's number in the encoding of stat(2).
	Rdev uint64
	// Dev and Ino together name the inode: entries that share both are
	// hardlinks of one file.
	Dev, Ino uint64
	UID, GID uint32
	// Mode holds the low twelve bits: permissions, set-uid, set-gid, sticky.
	Mode uint32
	// Nlink counts the inode's names, also those outside of the tree.
	Nlink uint32
	Kind  Kind

	parent   *Entry
	children []*Entry
}

// Name returns the last component of Path, and "/" for the root.
func (e *Entry) Name() string {
	switch {
	case e.parent == nil:
		return "/"
	case e.parent.parent == nil:
		return e.Path[1:]
	}
	return e.Path[len(e.parent.Path)+1:]
}

// Parent returns the directory that holds e, or nil for the root.
func (e *Entry) Parent() *Entry { return e.parent }

// fill takes over what stat found.
func (e *Entry) fill(st *unix.Stat_t) error {
	kind, ok := kindOf(st.Mode)
	if !ok {
		return fmt.Errorf("file type %#o is not known", st.Mode&unix.S_IFMT)
	}
	e.Kind = kind
	e.ModTime = time.Unix(st.Mtim.Unix()).UTC()
	if kind == Regular {
		e.Size = st.Size
	}
	e.Rdev, e.Dev, e.Ino = uint64(st.Rdev), uint64(st.Dev), st.Ino //nolint:unconvert // widths differ between architectures
	e.UID, e.GID = st.Uid, st.Gid
	e.Mode = st.Mode & 0o7777
	e.Nlink = uint32(min(uint64(st.Nlink), 1<<32-1)) //nolint:unconvert // widths differ between architectures
	return nil
}
