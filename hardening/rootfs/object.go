package rootfs

import (
	"context"
	"fmt"
	"path"

	"golang.org/x/sys/unix"
)

// place is a directory in the source and in the copy, both open. src is -1 for
// a directory that the source does not have.
type place struct {
	src, dst int
}

// place opens the directory n on both sides.
func (c *copier) place(n *node) (place, error) {
	dst, err := c.dst.open(n.path, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return place{}, fmt.Errorf("copy directory %q: open the copy: %w", n.path, err)
	}
	if n.src == nil {
		return place{src: -1, dst: dst}, nil
	}
	src, err := c.src.open(n.path, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		unix.Close(dst)
		return place{}, fmt.Errorf("copy directory %q: open: %w", n.path, err)
	}
	return place{src: src, dst: dst}, nil
}

func (p place) close() {
	unix.Close(p.dst)
	if p.src >= 0 {
		unix.Close(p.src)
	}
}

// file writes a regular file.
func (c *copier) file(ctx context.Context, p place, n *node) error {
	src := -1
	if n.src != nil {
		var err error
		if src, err = openAt(p.src, n.name, unix.O_RDONLY|unix.O_NONBLOCK); err != nil {
			return fmt.Errorf("open: %w", err)
		}
		defer unix.Close(src)
	}
	dst, err := openAt(p.dst, n.name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL)
	if err != nil {
		return fmt.Errorf("create: %w", err)
	}
	err = c.fileBody(ctx, src, dst, n)
	if err == nil {
		err = setTimes(p.dst, n.name, n)
	}
	if closeErr := unix.Close(dst); err == nil && closeErr != nil {
		err = fmt.Errorf("close: %w", closeErr)
	}
	return err
}

// fileBody writes the contents, then the owner, attributes and mode: a write or
// a change of owner would clear the set-uid bit and the capabilities.
func (c *copier) fileBody(ctx context.Context, src, dst int, n *node) error {
	if n.replaced {
		if err := writeAll(dst, n.contents, 0); err != nil {
			return err
		}
	} else {
		st, err := statRegular(src)
		if err != nil {
			return err
		}
		if st.Size != n.src.Size {
			return fmt.Errorf("read: the file had %d bytes and now has %d; it must not change while it is copied", n.src.Size, st.Size)
		}
		if err := c.copyData(ctx, src, dst, st.Size); err != nil {
			return err
		}
	}
	return c.setMetadata(src, dst, n)
}

// finishDirectory sets the metadata of the directory that p stands for.
func (c *copier) finishDirectory(p place, n *node) error {
	err := c.setMetadata(p.src, p.dst, n)
	if err == nil {
		err = setTimes(p.dst, ".", n)
	}
	if err != nil {
		return fmt.Errorf("copy directory %q: %w", n.path, err)
	}
	return nil
}

// setMetadata sets owner, extended attributes and mode of an open file or
// directory. The mode comes last, since an access control list holds one too
// and the plan's must win; chmod leaves capabilities alone.
func (c *copier) setMetadata(src, dst int, n *node) error {
	if err := retry(func() error { return unix.Fchown(dst, int(n.meta.UID), int(n.meta.GID)) }); err != nil {
		return fmt.Errorf("set owner %d:%d: %w", n.meta.UID, n.meta.GID, err)
	}
	if src >= 0 {
		set := func(name string, value []byte) error { return unix.Fsetxattr(dst, name, value, 0) }
		if err := c.copyAttributes(n, openAttributes(src), set); err != nil {
			return err
		}
	}
	if err := retry(func() error { return unix.Fchmod(dst, n.meta.Mode) }); err != nil {
		return fmt.Errorf("set mode %#o: %w", n.meta.Mode, err)
	}
	return nil
}

// setTimes sets both times to the modification time.
func setTimes(dir int, name string, n *node) error {
	ts, err := unix.TimeToTimespec(n.time)
	if err != nil {
		return fmt.Errorf("set modification time %s: %w", n.time, err)
	}
	times := []unix.Timespec{ts, ts}
	err = retry(func() error { return unix.UtimesNanoAt(dir, name, times, unix.AT_SYMLINK_NOFOLLOW) })
	if err != nil {
		return fmt.Errorf("set modification time %s: %w", n.time, err)
	}
	return nil
}

// special writes a symbolic link, a device or a FIFO.
func (c *copier) special(p place, n *node) error {
	if err := retry(func() error { return makeSpecial(p.dst, n) }); err != nil {
		return fmt.Errorf("create: %w", err)
	}
	err := retry(func() error {
		return unix.Fchownat(p.dst, n.name, int(n.meta.UID), int(n.meta.GID), unix.AT_SYMLINK_NOFOLLOW)
	})
	if err != nil {
		return fmt.Errorf("set owner %d:%d: %w", n.meta.UID, n.meta.GID, err)
	}
	target := inDirectory(p.dst, n.name)
	set := func(name string, value []byte) error { return unix.Lsetxattr(target, name, value, 0) }
	if err := c.copyAttributes(n, namedAttributes(p.src, n.name), set); err != nil {
		return err
	}
	if n.kind != Symlink {
		// The name was made a moment ago in a directory that nobody else
		// writes to, and it is no link.
		if err := retry(func() error { return unix.Fchmodat(p.dst, n.name, n.meta.Mode, 0) }); err != nil {
			return fmt.Errorf("set mode %#o: %w", n.meta.Mode, err)
		}
	}
	return setTimes(p.dst, n.name, n)
}

func makeSpecial(dir int, n *node) error {
	switch n.kind {
	case Symlink:
		return unix.Symlinkat(n.src.Link, dir, n.name)
	case CharDevice:
		return unix.Mknodat(dir, n.name, unix.S_IFCHR|0o600, int(n.src.Rdev))
	case BlockDevice:
		return unix.Mknodat(dir, n.name, unix.S_IFBLK|0o600, int(n.src.Rdev))
	case FIFO:
		return unix.Mknodat(dir, n.name, unix.S_IFIFO|0o600, 0)
	}
	return unix.ENOTSUP
}

// link makes n a further name of its leader, which exists.
func (c *copier) link(p place, n *node) error {
	from, err := c.dst.open(path.Dir(n.leader.path), unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer unix.Close(from)
	return retry(func() error { return unix.Linkat(from, n.leader.name, p.dst, n.name, 0) })
}
