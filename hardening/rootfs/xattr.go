package rootfs

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// capability is the attribute that holds a file's capabilities (capabilities(7)).
const capability = "security.capability"

// attributes reads and writes the extended attributes of one object (xattr(7)).
type attributes struct {
	list func(buf []byte) (int, error)
	get  func(name string, buf []byte) (int, error)
}

// openAttributes are those of an open file or directory.
func openAttributes(fd int) attributes {
	return attributes{
		list: func(buf []byte) (int, error) { return unix.Flistxattr(fd, buf) },
		get:  func(name string, buf []byte) (int, error) { return unix.Fgetxattr(fd, name, buf) },
	}
}

// namedAttributes are those of a name in an open directory, which may be a
// symbolic link or device that cannot be opened.
func namedAttributes(dir int, name string) attributes {
	path := inDirectory(dir, name)
	return attributes{
		list: func(buf []byte) (int, error) { return unix.Llistxattr(path, buf) },
		get:  func(name string, buf []byte) (int, error) { return unix.Lgetxattr(path, name, buf) },
	}
}

// inDirectory names something in an open directory for system calls that take
// no descriptor. The kernel goes to the directory itself, whatever its path has
// become; the last component is not followed by the calls whose names begin
// with l.
func inDirectory(dir int, name string) string {
	return "/proc/self/fd/" + strconv.Itoa(dir) + "/" + name
}

// copyAttributes reads every attribute that an image may have and hands it to
// set. The slice that set gets is only lent.
func (c *copier) copyAttributes(n *node, from attributes, set func(name string, value []byte) error) error {
	buf := c.buffers.Get().(*buffer)
	defer c.buffers.Put(buf)
	// The kernel's bounds are 64 KiB for the list and for each value.
	count, err := retryFD(func() (int, error) { return from.list(buf.names[:]) })
	switch {
	case err == unix.ENOTSUP: //nolint:errorlint // system calls return the bare number
		return nil
	case err != nil:
		return fmt.Errorf("list extended attributes: %w", err)
	case count == 0:
		return nil
	}
	for name := range bytes.SplitSeq(bytes.TrimSuffix(buf.names[:count], []byte{0}), []byte{0}) {
		name := string(name)
		if !carried(name) || n.replaced && name == capability {
			continue
		}
		size, err := retryFD(func() (int, error) { return from.get(name, buf.value[:]) })
		if err == nil {
			err = retry(func() error { return set(name, buf.value[:size]) })
			if err != nil && !required(name) {
				c.notices.add(ofAttribute, n.path)
				continue
			}
		}
		if err != nil {
			return fmt.Errorf("extended attribute %q: %w", name, err)
		}
	}
	return nil
}

// carried says whether an attribute belongs to the image. Labels of SELinux are
// the host's, and the overlay attributes are the storage's: in a copy they
// would hide files.
func carried(name string) bool {
	return name != "security.selinux" &&
		!strings.HasPrefix(name, "trusted.overlay.") && !strings.HasPrefix(name, "user.overlay.")
}

// required says whether programs behave otherwise when the attribute is lost.
func required(name string) bool {
	return name == capability || strings.HasPrefix(name, "user.") || strings.HasPrefix(name, "system.posix_acl_")
}
