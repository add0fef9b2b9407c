package build

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/gofrs/flock"
	"github.com/temper-images/temper/client/ocilayout"
)

// staged is an output that is written beside its destination and moved there
// when it is complete, so that the destination never holds half of it.
type staged struct {
	dest string
	tmp  string
	file *os.File
	// lock tells others that tmp is in use.
	lock *flock.Flock
}

// stagingPrefix begins the name of what is being written.
const stagingPrefix = ".temper-"

// resolveDest makes dest absolute and follows a symlink, so that what it points
// to is replaced and not the symlink.
func resolveDest(dest string) (string, error) {
	abs, err := filepath.Abs(dest)
	if err != nil {
		return "", fmt.Errorf("output %s: %w", dest, err)
	}
	real, err := filepath.EvalSymlinks(abs)
	if err == nil {
		return real, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", inputErrorf("output %s: %w", dest, err)
	}
	if target, lerr := os.Readlink(abs); lerr == nil {
		return "", inputErrorf("output %s is a symlink to %s, which does not exist", dest, target)
	}
	return abs, nil
}

// stageDir prepares an OCI layout directory. What lies at dest must be an OCI
// layout, an empty directory or nothing.
func stageDir(dest string) (*staged, error) {
	if err := checkLayoutDest(dest); err != nil {
		return nil, err
	}
	s, err := stage(dest, os.MkdirTemp)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(s.tmp, 0o755); err != nil { //nolint:gosec // an image is for everybody who may read its directory
		return nil, errors.Join(fmt.Errorf("output %s: %w", dest, err), s.abort())
	}
	return s, nil
}

// stage makes a place beside dest with a function like os.MkdirTemp.
func stage(dest string, make func(dir, pattern string) (string, error)) (*staged, error) {
	dir, prefix := filepath.Dir(dest), stagingPrefix+filepath.Base(dest)+"-"
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // an ordinary directory of the user, as mkdir -p makes it
		return nil, fmt.Errorf("output %s: %w", dest, err)
	}
	if err := removeStale(dir, prefix); err != nil {
		return nil, fmt.Errorf("output %s: %w", dest, err)
	}
	for {
		tmp, err := make(dir, prefix)
		if err != nil {
			return nil, fmt.Errorf("output %s: %w", dest, err)
		}
		lock := flock.New(tmp, flock.SetFlag(os.O_RDONLY))
		got, err := lock.TryLock()
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, errors.Join(fmt.Errorf("output %s: %w", dest, err), os.RemoveAll(tmp))
		}
		// Somebody may have taken it for stale before it was locked.
		if _, err := os.Stat(tmp); got && err == nil {
			return &staged{dest: dest, tmp: tmp, lock: lock}, nil
		}
		if err := lock.Close(); err != nil {
			return nil, fmt.Errorf("output %s: %w", dest, err)
		}
	}
}

// removeStale removes what processes that were killed were writing. What is in
// use is locked, and the kernel gives the lock of a dead process back. What
// belongs to somebody else stays.
func removeStale(dir, prefix string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), prefix) || e.Type()&fs.ModeSymlink != 0 {
			continue
		}
		path := filepath.Join(dir, e.Name())
		lock := flock.New(path, flock.SetFlag(os.O_RDONLY))
		got, err := lock.TryLock()
		if err == nil && got {
			err = os.RemoveAll(path)
		}
		if err = errors.Join(err, lock.Close()); err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission) {
			return fmt.Errorf("remove what an earlier build left: %w", err)
		}
	}
	return nil
}

func checkLayoutDest(dest string) error {
	fi, err := os.Stat(dest)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return inputErrorf("output %s: %w", dest, err)
	}
	if !fi.IsDir() {
		return inputErrorf("output %s is a file: name a directory, or write an archive with -o type=oci,dest=%s", dest, dest)
	}
	if wd, err := os.Getwd(); err == nil {
		if rel, err := filepath.Rel(dest, wd); err == nil && rel != ".." && !strings.HasPrefix(rel, "../") {
			return inputErrorf("output %s is the current directory or holds it, and would be replaced as a whole: name a directory inside it", dest)
		}
	}
	l, err := ocilayout.Open(dest)
	if err == nil {
		return l.Close()
	}
	entries, rerr := os.ReadDir(dest)
	if rerr != nil {
		return inputErrorf("output %s: %w", dest, rerr)
	}
	if len(entries) > 0 {
		return inputErrorf("output %s exists and is %w, so it is left alone: name another directory, or remove this one", dest, ocilayout.ErrNotLayout)
	}
	return nil
}

// stageFile prepares a file.
func stageFile(dest string) (*staged, error) {
	if fi, err := os.Stat(dest); err == nil && !fi.Mode().IsRegular() {
		return nil, inputErrorf("output %s exists and is not a regular file", dest)
	}
	var f *os.File
	s, err := stage(dest, func(dir, pattern string) (string, error) {
		var err error
		if f != nil {
			if err := f.Close(); err != nil {
				return "", err
			}
		}
		if f, err = os.CreateTemp(dir, pattern); err != nil {
			return "", err
		}
		return f.Name(), nil
	})
	if err != nil {
		return nil, err
	}
	s.file = f
	return s, nil
}

// writer is what BuildKit writes the file to. Closing it does not close the
// file: what is written last is checked when the output is committed.
func (s *staged) writer(map[string]string) (io.WriteCloser, error) {
	return nopCloser{s.file}, nil
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

// commit moves the output to its destination.
func (s *staged) commit() error {
	if err := errors.Join(s.finish(), s.lock.Close()); err != nil {
		return fmt.Errorf("output %s: %w", s.dest, err)
	}
	return nil
}

func (s *staged) finish() error {
	if s.file != nil {
		if err := errors.Join(s.file.Chmod(0o644), s.file.Sync(), s.file.Close()); err != nil {
			return err
		}
		s.file = nil
		return os.Rename(s.tmp, s.dest)
	}
	// The content store works in this directory, and leaves it empty.
	if err := os.Remove(filepath.Join(s.tmp, "ingest")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if _, err := os.Stat(s.dest); err == nil {
		// The old directory and the new one change places in one step.
		if err := exchange(s.tmp, s.dest); err != nil {
			return err
		}
		return os.RemoveAll(s.tmp)
	}
	return os.Rename(s.tmp, s.dest)
}

// abort removes what was written. It does nothing after a commit.
func (s *staged) abort() error {
	var errs []error
	if s.file != nil {
		if err := s.file.Close(); !errors.Is(err, os.ErrClosed) {
			errs = append(errs, err)
		}
	}
	return errors.Join(append(errs, os.RemoveAll(s.tmp), s.lock.Close())...)
}
