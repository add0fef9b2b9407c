package imagefs

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// tempFile opens a file that never has a name, so that nothing is left behind
// however the process ends.
func tempFile(dir string) (*os.File, error) {
	if dir == "" {
		dir = os.TempDir()
	}
	fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	switch {
	case err == nil:
		return os.NewFile(uintptr(fd), dir+"/(unnamed)"), nil
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EISDIR), errors.Is(err, unix.EINVAL):
		return unlinkedFile(dir)
	}
	return nil, &os.PathError{Op: "open", Path: dir, Err: err}
}
