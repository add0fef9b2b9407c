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
	"strings"

	digest "github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// maxMembers bounds the files of an archive.
const maxMembers = 2*maxBlobs + 100

// maxIndex bounds index.json, in bytes. It lists what is attached.
const maxIndex = 16 << 20

// files are the files of an OCI layout.
type files interface {
	// open opens a file from an offset on; size is that of the whole. The error
	// wraps fs.ErrNotExist when there is none.
	open(name string, offset int64) (rc io.ReadCloser, size int64, err error)
	close() error
}

func openFiles(path string) (files, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		root, err := os.OpenRoot(path)
		if err != nil {
			return nil, err
		}
		return directory{root}, nil
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("it is neither a file nor a directory")
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	a, err := newMembers(f, info.Size())
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return a, nil
}

type directory struct{ root *os.Root }

func (d directory) open(name string, offset int64) (io.ReadCloser, int64, error) {
	// What is no regular file must not be opened, which a pipe would answer never.
	info, err := d.root.Stat(name)
	if err != nil {
		return nil, 0, err
	}
	if !info.Mode().IsRegular() {
		return nil, 0, fmt.Errorf("%s is not a regular file", name)
	}
	f, err := d.root.Open(name)
	if err != nil {
		return nil, 0, err
	}
	if _, err := f.Seek(offset, io.SeekStart); err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return f, info.Size(), nil
}

func (d directory) close() error { return d.root.Close() }

// members reads the files of a tar where they lie, so that nothing is unpacked.
type members struct {
	file  io.ReaderAt
	shut  func() error
	spans map[string]span
}

type span struct{ offset, size int64 }

// newMembers finds the files of a tar of size bytes.
func newMembers(f interface {
	io.ReadSeeker
	io.ReaderAt
	io.Closer
}, size int64) (*members, error) {
	if err := refuseCompressed(f); err != nil {
		return nil, err
	}
	m := &members{file: f, shut: f.Close, spans: map[string]span{}}
	rd := tar.NewReader(f)
	for {
		h, err := rd.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("it is no whole tar archive: %w", err)
		}
		// The reader stands at the member's first byte.
		at, err := f.Seek(0, io.SeekCurrent)
		if err != nil {
			return nil, err
		}
		if err := m.add(h, at, size); err != nil {
			return nil, err
		}
	}
	if len(m.spans) == 0 {
		return nil, errors.New("it is no tar archive, or an empty one")
	}
	return m, nil
}

func (m *members) add(h *tar.Header, at, size int64) error {
	name := path.Clean(strings.TrimPrefix(h.Name, "./"))
	if !filepath.IsLocal(name) {
		return fmt.Errorf("its member %.100q would lie outside of it", h.Name)
	}
	switch h.Typeflag {
	case tar.TypeDir:
		return nil
	case tar.TypeReg:
	default:
		return fmt.Errorf("its member %.100q is neither a file nor a directory, and a layout has nothing else", h.Name)
	}
	// The holes of a sparse file cost nothing in the archive and any size after it.
	for key := range h.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return fmt.Errorf("its member %.100q is a sparse file", h.Name)
		}
	}
	if h.Size > size-at {
		return fmt.Errorf("it ends in the middle of its member %.100q: it was not transferred whole", h.Name)
	}
	if len(m.spans) == maxMembers {
		return fmt.Errorf("it has more than %d files", maxMembers)
	}
	if _, twice := m.spans[name]; twice {
		return fmt.Errorf("it has the member %.100q twice", name)
	}
	m.spans[name] = span{at, h.Size}
	return nil
}

// refuseCompressed names the compressions that people use by habit. A compressed
// archive cannot be read at any place, and layers are compressed as they are.
func refuseCompressed(f io.ReaderAt) error {
	head := make([]byte, 6)
	n, err := f.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	for _, c := range []struct {
		magic []byte
		name  string
	}{
		{[]byte{0x1f, 0x8b}, "gunzip"}, {[]byte{0x28, 0xb5, 0x2f, 0xfd}, "zstd -d"}, {[]byte("BZh"), "bunzip2"}, {[]byte("\xfd7zXZ"), "unxz"},
	} {
		if bytes.HasPrefix(head[:n], c.magic) {
			return fmt.Errorf("it is compressed: decompress it first (%s)", c.name)
		}
	}
	return nil
}

func (m *members) open(name string, offset int64) (io.ReadCloser, int64, error) {
	s, ok := m.spans[name]
	if !ok {
		return nil, 0, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	if offset < 0 || offset > s.size {
		return nil, 0, fmt.Errorf("%s has no byte %d", name, offset)
	}
	return io.NopCloser(io.NewSectionReader(m.file, s.offset+offset, s.size-offset)), s.size, nil
}

func (m *members) close() error { return m.shut() }

// blobPath is where a layout keeps a blob (image-spec v1.1, image-layout.md).
func blobPath(dgst digest.Digest) (string, error) {
	if err := dgst.Validate(); err != nil {
		return "", fmt.Errorf("digest %.100q: %w", dgst, err)
	}
	return path.Join(ocispecs.ImageBlobsDir, dgst.Algorithm().String(), dgst.Encoded()), nil
}

// readFile reads a file of at most limit bytes.
func readFile(f files, name string, limit int64) ([]byte, error) {
	rc, size, err := f.open(name, 0)
	if err != nil {
		return nil, err
	}
	defer rc.Close()
	if size > limit {
		return nil, fmt.Errorf("%s has %d bytes, which is more than %d", name, size, limit)
	}
	data, err := io.ReadAll(io.LimitReader(rc, limit))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if int64(len(data)) != size {
		return nil, fmt.Errorf("%s ends after %d of %d bytes", name, len(data), size)
	}
	return data, nil
}
