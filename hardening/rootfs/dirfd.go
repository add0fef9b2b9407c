package rootfs

import (
	"errors"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// chunk is the longest path that is handed to the kernel in one call; PATH_MAX
// is 4096 with the final NUL.
const chunk = 4000

// beneath are the flags under which the kernel follows no symbolic link at all
// and cannot leave the directory it started from.
const beneath = unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS

// directory holds the root of a tree open. It comes from an os.Root, and every
// other descriptor is opened beneath it.
type directory struct {
	file *os.File
}

// openRoot opens the directory that root stands for. It stays open when root
// is closed.
func openRoot(root *os.Root) (directory, error) {
	f, err := root.Open(".")
	if err != nil {
		return directory{}, err
	}
	return directory{file: f}, nil
}

// open opens the canonical absolute path, which must hold no symbolic link.
// The error is the bare system call error.
func (d directory) open(path string, flags int) (int, error) {
	defer runtime.KeepAlive(d.file)
	rel := strings.TrimPrefix(path, "/")
	if rel == "" {
		rel = "."
	}
	at := int(d.file.Fd())
	dir := -1
	defer func() {
		if dir >= 0 {
			unix.Close(dir)
		}
	}()
	for len(rel) > chunk {
		cut := strings.LastIndexByte(rel[:chunk], '/')
		if cut < 0 {
			return -1, unix.ENAMETOOLONG
		}
		next, err := openBeneath(at, rel[:cut], unix.O_PATH|unix.O_DIRECTORY)
		if err != nil {
			return -1, err
		}
		if dir >= 0 {
			unix.Close(dir)
		}
		dir, at, rel = next, next, rel[cut+1:]
	}
	return openBeneath(at, rel, flags)
}

// openBeneath opens a relative path without ".." below the directory at,
// following no symbolic link.
func openBeneath(at int, rel string, flags int) (int, error) {
	flags |= unix.O_NOFOLLOW | unix.O_CLOEXEC
	how := unix.OpenHow{Flags: uint64(flags), Resolve: beneath}
	fd, err := retryFD(func() (int, error) { return unix.Openat2(at, rel, &how) })
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EPERM) {
		// Kernels before 5.6 lack openat2, and old seccomp profiles deny it.
		return openSteps(at, rel, flags)
	}
	return fd, err
}

// openSteps does what openBeneath does, one component at a time.
func openSteps(at int, rel string, flags int) (int, error) {
	dir := -1
	defer func() {
		if dir >= 0 {
			unix.Close(dir)
		}
	}()
	for {
		name, rest, more := strings.Cut(rel, "/")
		if !more {
			return openAt(at, name, flags)
		}
		next, err := openAt(at, name, unix.O_PATH|unix.O_DIRECTORY)
		if err != nil {
			return -1, err
		}
		if dir >= 0 {
			unix.Close(dir)
		}
		dir, at, rel = next, next, rest
	}
}

// openAt opens a plain name in the directory at.
func openAt(at int, name string, flags int) (int, error) {
	return retryFD(func() (int, error) {
		return unix.Openat(at, name, flags|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	})
}

// retryFD repeats a call that a signal interrupted; the Go runtime sends
// signals to itself, and network and FUSE filesystems answer them with EINTR.
func retryFD(call func() (int, error)) (int, error) {
	for {
		n, err := call()
		if err != unix.EINTR { //nolint:errorlint // system calls return the bare number
			return n, err
		}
	}
}

// retry is retryFD for calls without a result.
func retry(call func() error) error {
	for {
		err := call()
		if err != unix.EINTR { //nolint:errorlint // system calls return the bare number
			return err
		}
	}
}
