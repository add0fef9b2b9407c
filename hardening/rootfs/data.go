package rootfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	// small is the size in bytes up to which reading and writing through a
	// buffer is quicker than asking the kernel to copy.
	small = 128 << 10
	// stride is how many bytes are copied between two looks at the context.
	stride = 16 << 20
)

// buffer is what one worker needs to copy.
type buffer struct {
	names [64 << 10]byte
	value [64 << 10]byte
	data  [small]byte
}

// copyData copies size bytes between open files and leaves holes where the
// source has them. The destination is new and empty.
func (c *copier) copyData(ctx context.Context, src, dst int, size int64) error {
	var off int64
	for off < size {
		begin, end, err := nextData(src, off, size)
		if err != nil {
			return err
		}
		if begin == size {
			break
		}
		if err := c.copyRange(ctx, src, dst, begin, end); err != nil {
			return err
		}
		off = end
	}
	if off < size {
		// The file ends in a hole.
		if err := retry(func() error { return unix.Ftruncate(dst, size) }); err != nil {
			return fmt.Errorf("set size: %w", err)
		}
	}
	return nil
}

// nextData finds the first range of data at or after off; it begins at size
// when only a hole is left.
func nextData(fd int, off, size int64) (begin, end int64, err error) {
	begin, err = unix.Seek(fd, off, unix.SEEK_DATA)
	switch {
	case err == nil:
	case errors.Is(err, unix.ENXIO):
		return size, size, nil
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOTSUP):
		return off, size, nil // a filesystem without holes
	default:
		return 0, 0, fmt.Errorf("find data: %w", err)
	}
	if begin >= size {
		return size, size, nil
	}
	end, err = unix.Seek(fd, begin, unix.SEEK_HOLE)
	if err != nil {
		return 0, 0, fmt.Errorf("find hole: %w", err)
	}
	return begin, min(end, size), nil
}

// notHere are the errors of copy_file_range(2) for two filesystems, or a sandbox,
// that cannot do it.
var notHere = []syscall.Errno{unix.EXDEV, unix.ENOSYS, unix.EOPNOTSUPP, unix.EPERM, unix.EINVAL}

// copyRange copies the bytes from begin to end, to the same place.
func (c *copier) copyRange(ctx context.Context, src, dst int, begin, end int64) error {
	for off := begin; off < end; {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		want := min(end-off, stride)
		if want > small && !c.plainOnly.Load() {
			from, to := off, off
			n, err := retryFD(func() (int, error) { return unix.CopyFileRange(src, &from, dst, &to, int(want), 0) })
			if err == nil && n > 0 {
				off += int64(n)
				continue
			}
			if errno := syscall.Errno(0); errors.As(err, &errno) && slices.Contains(notHere, errno) {
				c.plainOnly.Store(true)
			}
			// Whatever else it was, reading and writing shows which side failed.
		}
		if err := c.copyPlain(src, dst, off, want); err != nil {
			return err
		}
		off += want
	}
	return nil
}

// copyPlain copies count bytes at off through a buffer.
func (c *copier) copyPlain(src, dst int, off, count int64) error {
	buf := c.buffers.Get().(*buffer)
	defer c.buffers.Put(buf)
	for count > 0 {
		data := buf.data[:min(count, small)]
		n, err := retryFD(func() (int, error) { return unix.Pread(src, data, off) })
		if err != nil {
			return fmt.Errorf("read: %w", err)
		}
		if n == 0 {
			return fmt.Errorf("read: %w: the file became shorter while it was copied", io.ErrUnexpectedEOF)
		}
		if err := writeAll(dst, data[:n], off); err != nil {
			return err
		}
		off += int64(n)
		count -= int64(n)
	}
	return nil
}

// writeAll writes data at off.
func writeAll(fd int, data []byte, off int64) error {
	for len(data) > 0 {
		n, err := retryFD(func() (int, error) { return unix.Pwrite(fd, data, off) })
		if err != nil {
			return fmt.Errorf("write: %w", err)
		}
		data = data[n:]
		off += int64(n)
	}
	return nil
}
