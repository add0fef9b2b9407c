package evidence

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// incomplete is the directory in a folder where files are written before they
// get their names.
const incomplete = ".incomplete"

// abandoned is how old a file in that directory must be to be surely of a process
// that ended.
const abandoned = 24 * time.Hour

// folder is a store in a directory. gocloud's fileblob is not used for it: its
// create-only writes look first and rename then, which two processes can both do,
// it syncs nothing to the disk, and it follows symbolic links out of the folder.
type folder string

var fileNumber atomic.Uint64

func (f folder) close() error { return nil }

// open opens the folder. The error wraps fs.ErrNotExist when there is none.
func (f folder) open() (*os.Root, error) { return os.OpenRoot(string(f)) }

func (f folder) read(ctx context.Context, key string, limit int64) (_ []byte, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	root, err := f.open()
	if err != nil {
		return nil, absent(err)
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	// A pipe must not make us wait.
	fi, err := root.Stat(filepath.FromSlash(key))
	if err != nil {
		return nil, absent(err)
	}
	if !fi.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", key)
	}
	if fi.Size() > limit {
		return nil, errTooBig
	}
	file, err := root.Open(filepath.FromSlash(key))
	if err != nil {
		return nil, absent(err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	return readAtMost(file, limit)
}

func absent(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return errAbsent
	}
	return err
}

// create writes the file under another name, syncs it and links it to its own,
// which fails when there is one already.
func (f folder) create(ctx context.Context, key, _ string, data []byte) (err error) {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := os.MkdirAll(string(f), 0o755); err != nil { //nolint:gosec // evidence is for everyone to read
		return err
	}
	root, err := f.open()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	name := filepath.FromSlash(key)
	for _, dir := range []string{incomplete, filepath.Dir(name)} {
		if err := root.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	sweep(root)
	temp := filepath.Join(incomplete, strconv.Itoa(os.Getpid())+"-"+strconv.FormatUint(fileNumber.Add(1), 10)+"-"+path.Base(key))
	defer func() {
		if rerr := root.Remove(temp); rerr != nil && !errors.Is(rerr, fs.ErrNotExist) {
			err = errors.Join(err, rerr)
		}
	}()
	if err := writeSynced(root, temp, data); err != nil {
		return err
	}
	err = root.Link(temp, name)
	if errors.Is(err, errors.ErrUnsupported) || isNoLinks(err) {
		// File systems without hard links have a rename at least, though not
		// one that spares what is there.
		if _, serr := root.Lstat(name); serr == nil {
			return errPresent
		}
		err = root.Rename(temp, name)
	}
	if errors.Is(err, fs.ErrExist) {
		return errPresent
	}
	if err != nil {
		return err
	}
	return syncDir(root, filepath.Dir(name))
}

func writeSynced(root *os.Root, name string, data []byte) (err error) {
	// A file of that name was left by a process with the same number.
	if err := root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	file, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = bytes.NewReader(data).WriteTo(file)
	if err == nil {
		err = file.Sync()
	}
	return errors.Join(err, file.Close())
}

// syncDir makes a new name in a directory last. Not every system can do that.
func syncDir(root *os.Root, dir string) error {
	d, err := root.Open(dir)
	if err != nil {
		return err
	}
	if err := d.Sync(); err != nil && !errors.Is(err, fs.ErrInvalid) && !errors.Is(err, errors.ErrUnsupported) {
		return errors.Join(err, d.Close())
	}
	return d.Close()
}

// sweep removes what processes left that were ended in the middle.
func sweep(root *os.Root) {
	dir, err := root.Open(incomplete)
	if err != nil {
		return
	}
	defer dir.Close()
	entries, err := dir.ReadDir(maxKeys)
	if err != nil {
		return
	}
	for _, e := range entries {
		if fi, err := e.Info(); err == nil && time.Since(fi.ModTime()) > abandoned {
			_ = root.Remove(filepath.Join(incomplete, e.Name())) // the next run tries again
		}
	}
}

func (f folder) list(ctx context.Context, prefix string, yield func(string) error) (err error) {
	root, err := f.open()
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	start := path.Dir(prefix + "x")
	return fs.WalkDir(root.FS(), start, func(name string, d fs.DirEntry, err error) error {
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil && name == start && errors.Is(err, fs.ErrNotExist):
			return fs.SkipAll
		case err != nil:
			return err
		case d.IsDir() && name == incomplete:
			return fs.SkipDir
		case d.IsDir() || !strings.HasPrefix(name, prefix):
			return nil
		}
		return yield(name)
	})
}
