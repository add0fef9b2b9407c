package journal

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"

	digest "github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"
)

// fileAlgorithm is that of the files' digests.
const fileAlgorithm = digest.SHA256

// File is something to be kept under a name, which may be any text.
type File struct {
	Name string
	Data []byte
}

// Put keeps data under a name, which may be any text: a later Put of the same name
// counts. Data are on the disk when Put returns. At most 64 MiB are taken.
func (j *Journal) Put(name string, data []byte) error { return j.PutAll(File{name, data}) }

// PutAll is Put for several files. It waits for the disk once, and when it fails, none
// of them counts.
func (j *Journal) PutAll(files ...File) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.file == nil {
		return fmt.Errorf("journal of release %s: it is closed", j.id)
	}
	var records []Record
	missing := map[digest.Digest][]byte{}
	for _, f := range files {
		if f.Name == "" || len(f.Data) > maxFile {
			return fmt.Errorf("journal of release %s: keep %q with %d bytes: a file has a name and at most %d bytes", j.id, f.Name, len(f.Data), maxFile)
		}
		e := entry{fileAlgorithm.FromBytes(f.Data), int64(len(f.Data))}
		if j.names[f.Name] == e {
			if _, err := j.read(e); err == nil {
				continue
			}
		}
		missing[e.digest] = f.Data
		records = append(records, Record{Op: OpFile, Name: f.Name, Digest: e.digest, Size: e.size})
	}
	if len(records) == 0 {
		return nil
	}
	if err := j.write(missing); err != nil {
		return fmt.Errorf("journal of release %s: keep %s: %w", j.id, records[0].Name, err)
	}
	return j.append(true, records...)
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

// write puts files there, each in one go: under a temporary name first. The disk works
// on several at once.
func (j *Journal) write(files map[digest.Digest][]byte) error {
	var group errgroup.Group
	group.SetLimit(atOnce)
	for d, data := range files {
		group.Go(func() error { return j.writeFile(entry{d, int64(len(data))}, data) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return syncDir(j.dir + "/" + filesDir)
}

// atOnce is how many files are written at a time.
const atOnce = 16

func (j *Journal) writeFile(e entry, data []byte) (err error) {
	// Only this process writes here, and each file once at a time.
	tmp := filesDir + "/." + strconv.Itoa(os.Getpid()) + "." + e.digest.Encoded() + ".tmp"
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
	return nil
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
