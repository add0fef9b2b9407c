package transfer

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/gofrs/flock"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// layoutWriter writes the files of a layout, several at once.
type layoutWriter interface {
	// write has a file's content written. It must be of the entry's size.
	write(e entry, content func(io.Writer) error) error
	// commit makes the layout one that can be read, if check finds nothing wrong with
	// it. Check is told where the layout lies then.
	commit(check func(path string) error) error
	// abort removes what is not committed.
	abort()
}

func newLayout(path string, directory bool, entries []entry) (layoutWriter, error) {
	if directory {
		return newLayoutDirectory(path)
	}
	return newLayoutTar(path, entries)
}

// Modes of what is in a layout, and of it.
const (
	fileMode = 0o644
	dirMode  = 0o755
)

// block is what everything in a tar is padded to, in bytes.
const block = 512

// layoutTar is a tar whose members are written where they will lie. All of them are
// known before, in name and size.
type layoutTar struct {
	path string
	file *os.File
	// lock tells others that somebody writes the file.
	lock    *flock.Flock
	offsets map[string]int64
}

// removeStale removes what processes left that were killed. That it cannot be removed
// is no reason not to go on.
func removeStale(dir, prefix string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), prefix) || !e.Type().IsRegular() {
			continue
		}
		lock := flock.New(filepath.Join(dir, e.Name()), flock.SetFlag(os.O_RDONLY))
		if got, err := lock.TryLock(); err == nil && got {
			_ = os.Remove(lock.Path())
			_ = lock.Close()
		}
	}
}

func newLayoutTar(path string, entries []entry) (_ *layoutTar, err error) {
	dest, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	if info, err := os.Stat(dest); err == nil && !info.Mode().IsRegular() {
		return nil, errors.New("there is something that is not a file")
	}
	// What a symlink points to is replaced, and not the symlink.
	if real, err := filepath.EvalSymlinks(dest); err == nil {
		dest = real
	}
	prefix := ".temper-" + filepath.Base(dest) + "-"
	removeStale(filepath.Dir(dest), prefix)
	file, err := os.CreateTemp(filepath.Dir(dest), prefix)
	if err != nil {
		return nil, err
	}
	t := &layoutTar{path: dest, file: file, lock: flock.New(file.Name(), flock.SetFlag(os.O_RDONLY)), offsets: map[string]int64{}}
	defer func() {
		if err != nil {
			t.abort()
		}
	}()
	// Somebody who starts at the same time may take the file for one that was left.
	if got, err := t.lock.TryLock(); err != nil || !got {
		return nil, errors.Join(errors.New("somebody else saves to the same file"), err)
	}
	var at int64
	for _, h := range headers(entries) {
		header, err := encode(h)
		if err != nil {
			return nil, err
		}
		if _, err := file.WriteAt(header, at); err != nil {
			return nil, err
		}
		at += int64(len(header))
		t.offsets[h.Name] = at
		at += (h.Size + block - 1) / block * block
	}
	// Two empty blocks end an archive.
	return t, file.Truncate(at + 2*block)
}

// headers are those of the entries and of their directories. Nothing in them depends
// on when and by whom they are written.
func headers(entries []entry) []*tar.Header {
	var out []*tar.Header
	var dirs []string
	for _, e := range entries {
		for dir := path.Dir(e.name); dir != "."; dir = path.Dir(dir) {
			dirs = append(dirs, dir)
		}
	}
	slices.Sort(dirs)
	dirs = slices.Compact(dirs)
	for i, e := range entries {
		// The directories are for blobs, which come after the first two files.
		if i == 2 {
			for _, dir := range dirs {
				out = append(out, &tar.Header{Typeflag: tar.TypeDir, Name: dir + "/", Mode: dirMode, ModTime: time.Unix(0, 0)})
			}
		}
		out = append(out, &tar.Header{Typeflag: tar.TypeReg, Name: e.name, Size: e.size, Mode: fileMode, ModTime: time.Unix(0, 0)})
	}
	return out
}

func encode(h *tar.Header) ([]byte, error) {
	var b bytes.Buffer
	if err := tar.NewWriter(&b).WriteHeader(h); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

func (t *layoutTar) write(e entry, content func(io.Writer) error) error {
	w := &limited{io.NewOffsetWriter(t.file, t.offsets[e.name]), e.size}
	if err := content(w); err != nil {
		return err
	}
	if w.left != 0 {
		return fmt.Errorf("%s: %d bytes are missing", e.name, w.left)
	}
	return nil
}

// limited is a writer that takes so many bytes and no more.
type limited struct {
	w    io.Writer
	left int64
}

func (l *limited) Write(p []byte) (int, error) {
	if int64(len(p)) > l.left {
		return 0, errors.New("there is more than was stated")
	}
	n, err := l.w.Write(p)
	l.left -= int64(n)
	return n, err
}

func (t *layoutTar) commit(check func(string) error) error {
	if err := errors.Join(t.file.Chmod(fileMode), t.file.Sync(), t.file.Close()); err != nil {
		return err
	}
	if err := check(t.file.Name()); err != nil {
		return err
	}
	return os.Rename(t.file.Name(), t.path)
}

func (t *layoutTar) abort() {
	// After commit there is nothing of that name.
	_ = errors.Join(t.file.Close(), os.Remove(t.file.Name()), t.lock.Close())
}

// layoutDirectory is a directory that gets its index last. What was written of an
// earlier attempt stays, and is not read again.
type layoutDirectory struct {
	path  string
	root  *os.Root
	index func() error
}

func newLayoutDirectory(path string) (*layoutDirectory, error) {
	if err := os.MkdirAll(path, dirMode); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if name := e.Name(); name != ocispecs.ImageLayoutFile && name != ocispecs.ImageBlobsDir {
			return nil, fmt.Errorf("the directory is not empty: it has %s", name)
		}
	}
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, err
	}
	return &layoutDirectory{path: path, root: root}, nil
}

func (d *layoutDirectory) write(e entry, content func(io.Writer) error) error {
	if e.name == ocispecs.ImageIndexFile {
		d.index = func() error { return d.put(e, content) }
		return nil
	}
	if d.there(e) {
		return nil
	}
	return d.put(e, content)
}

// there says whether a blob was written whole already.
func (d *layoutDirectory) there(e entry) bool {
	if e.desc == nil {
		return false
	}
	info, err := d.root.Stat(e.name)
	if err != nil || info.Size() != e.size {
		return false
	}
	f, err := d.root.Open(e.name)
	if err != nil {
		return false
	}
	defer f.Close()
	sum, err := e.desc.Digest.Algorithm().FromReader(f)
	return err == nil && sum == e.desc.Digest
}

func (d *layoutDirectory) put(e entry, content func(io.Writer) error) error {
	if err := d.root.MkdirAll(path.Dir(e.name), dirMode); err != nil {
		return err
	}
	tmp := path.Join(path.Dir(e.name), ".temper-"+path.Base(e.name))
	f, err := d.root.OpenFile(tmp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, fileMode)
	if err != nil {
		return err
	}
	w := &limited{f, e.size}
	err = content(w)
	if err == nil && w.left != 0 {
		err = fmt.Errorf("%s: %d bytes are missing", e.name, w.left)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = d.root.Rename(tmp, e.name)
	}
	if err == nil {
		return nil
	}
	if rerr := d.root.Remove(tmp); !errors.Is(rerr, fs.ErrNotExist) {
		err = errors.Join(err, rerr)
	}
	return err
}

func (d *layoutDirectory) commit(check func(string) error) error {
	if err := d.index(); err != nil {
		return err
	}
	if err := check(d.path); err != nil {
		return errors.Join(err, d.root.Remove(ocispecs.ImageIndexFile))
	}
	return nil
}

func (d *layoutDirectory) abort() { d.root.Close() }
