package journal

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"

	digest "github.com/opencontainers/go-digest"
)

// fileAlgorithm is that of the files' digests.
const fileAlgorithm = digest.SHA256

// Put keeps data under a name, which may be any text: a later Put of the same name
// counts. Data are on the disk when Put returns. At most 64 MiB are taken.
func (j *Journal) Put(name string, data []byte) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.file == nil {
		return fmt.Errorf("journal of release %s: it is closed", j.id)
	}
	if name == "" || len(data) > maxFile {
		return fmt.Errorf("journal of release %s: keep %q with %d bytes: a file has a name and at most %d bytes", j.id, name, len(data), maxFile)
	}
	e := entry{fileAlgorithm.FromBytes(data), int64(len(data))}
	if j.names[name] == e {
		if _, err := j.read(e); err == nil {
			return nil
		}
	}
	if err := j.write(e, data); err != nil {
		return fmt.Errorf("journal of release %s: keep %s: %w", j.id, name, err)
	}
	return j.append(Record{Op: OpFile, Name: name, Digest: e.digest, Size: e.size})
}

// Get returns what was kept under a name. The error wraps fs.ErrNotExist when there
// is nothing, or what is there is not what was kept.
func (j *Journal) Get(name string) ([]byte, error) {
	j.mu.Lock()
	e, ok := j.names[name]
	closed := j.file == nil
	j.mu.Unlock()
	switch {
	case closed:
		return nil, fmt.Errorf("journal of release %s: it is closed", j.id)
	case !ok:
		return nil, fmt.Errorf("journal of release %s has no %s: %w", j.id, name, fs.ErrNotExist)
	}
	data, err := j.read(e)
	if err != nil {
		return nil, fmt.Errorf("journal of release %s: read %s: %w", j.id, name, err)
	}
	return data, nil
}

func (e entry) path() string { return filesDir + "/" + e.digest.Encoded() }

// write puts a file there in one go: under a temporary name first.
func (j *Journal) write(e entry, data []byte) (err error) {
	// Only this process writes here, and one goroutine at a time.
	tmp := filesDir + "/." + strconv.Itoa(os.Getpid()) + ".tmp"
	f, err := j.root.OpenFile(tmp, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = j.root.Rename(tmp, e.path())
	}
	if err != nil {
		return errors.Join(err, ignoreMissing(j.root.Remove(tmp)))
	}
	return syncDir(j.dir + "/" + filesDir)
}

func (j *Journal) read(e entry) ([]byte, error) {
	data, err := readAll(j.root, e.path(), e.size)
	if err != nil {
		return nil, err
	}
	if int64(len(data)) != e.size || fileAlgorithm.FromBytes(data) != e.digest {
		return nil, fmt.Errorf("it was changed since it was kept: %w", fs.ErrNotExist)
	}
	return data, nil
}

// readAll reads a regular file of at most limit bytes.
func readAll(root *os.Root, name string, limit int64) ([]byte, error) {
	fi, err := root.Lstat(name)
	if err != nil {
		return nil, err
	}
	if !fi.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no file", name)
	}
	f, err := root.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("%s is larger than %d bytes", name, limit)
	}
	return data, nil
}

// syncDir makes new names in a directory last.
func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
