package subject

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/types"
	digest "github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// Bounds on what is read whole, in bytes. BuildKit reads no attestation above 40 MiB.
const (
	maxDocument  = 8 << 20
	maxStatement = 40 << 20
)

// maxFiles bounds the entries of an archive.
const maxFiles = 1 << 16

// files are the files of an OCI layout, in a directory or in an archive.
type files interface {
	// open opens a file by its path in the layout; the error wraps
	// fs.ErrNotExist when there is none.
	open(name string) (io.ReadCloser, int64, error)
	close() error
}

type dirFiles struct{ root *os.Root }

func (d dirFiles) open(name string) (io.ReadCloser, int64, error) {
	f, err := d.root.Open(name)
	if err != nil {
		return nil, 0, err
	}
	fi, err := f.Stat()
	if err == nil && !fi.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a regular file", name)
	}
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return f, fi.Size(), nil
}

func (d dirFiles) close() error { return d.root.Close() }

// tarFiles reads members of an uncompressed archive where they lie, so that
// nothing of it is unpacked.
type tarFiles struct {
	file    *os.File
	members map[string]span
}

type span struct{ offset, size int64 }

func newTarFiles(f *os.File) (*tarFiles, error) {
	t := &tarFiles{file: f, members: map[string]span{}}
	rd := tar.NewReader(f)
	for {
		h, err := rd.Next()
		if errors.Is(err, io.EOF) {
			return t, nil
		}
		if err != nil {
			return nil, err
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		if len(t.members) == maxFiles {
			return nil, fmt.Errorf("it has more than %d files", maxFiles)
		}
		// The reader stands at the member's first byte.
		at, err := f.Seek(0, io.SeekCurrent)
		if err != nil {
			return nil, err
		}
		name := path.Clean("/" + h.Name)[1:]
		if _, twice := t.members[name]; twice {
			return nil, fmt.Errorf("it holds %s twice", name)
		}
		t.members[name] = span{at, h.Size}
	}
}

func (t *tarFiles) open(name string) (io.ReadCloser, int64, error) {
	s, ok := t.members[name]
	if !ok {
		return nil, 0, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return io.NopCloser(io.NewSectionReader(t.file, s.offset, s.size)), s.size, nil
}

func (t *tarFiles) close() error { return t.file.Close() }

func blobPath(dgst digest.Digest) (string, error) {
	if err := dgst.Validate(); err != nil {
		return "", fmt.Errorf("digest %q: %w", dgst, err)
	}
	return path.Join(ocispecs.ImageBlobsDir, dgst.Algorithm().String(), dgst.Encoded()), nil
}

// readFile reads a file of at most limit bytes.
func readFile(f files, name string, limit int64) ([]byte, error) {
	rc, _, err := f.open(name)
	if err != nil {
		return nil, err
	}
	defer rc.Close()
	dt, err := io.ReadAll(io.LimitReader(rc, limit+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if int64(len(dt)) > limit {
		return nil, fmt.Errorf("%s is larger than %d bytes", name, limit)
	}
	return dt, nil
}

// readBlob reads a blob of at most limit bytes and checks its digest.
func readBlob(f files, dgst digest.Digest, limit int64) ([]byte, error) {
	name, err := blobPath(dgst)
	if err != nil {
		return nil, err
	}
	dt, err := readFile(f, name, limit)
	if err != nil {
		return nil, fmt.Errorf("blob %s: %w", dgst, err)
	}
	if dgst.Algorithm().FromBytes(dt) != dgst {
		return nil, fmt.Errorf("blob %s has other content than its name says", dgst)
	}
	return dt, nil
}

// layoutImage reads an image of a layout.
type layoutImage struct {
	files     files
	mediaType types.MediaType
	manifest  []byte
	parsed    *v1.Manifest
}

func newLayoutImage(f files, desc ocispecs.Descriptor) (v1.Image, error) {
	dt, err := readBlob(f, desc.Digest, maxDocument)
	if err != nil {
		return nil, err
	}
	m, err := v1.ParseManifest(bytes.NewReader(dt))
	if err != nil {
		return nil, fmt.Errorf("manifest %s: %w", desc.Digest, err)
	}
	img := &layoutImage{files: f, mediaType: types.MediaType(desc.MediaType), manifest: dt, parsed: m}
	return partial.CompressedToImage(img)
}

func (i *layoutImage) RawManifest() ([]byte, error)        { return i.manifest, nil }
func (i *layoutImage) MediaType() (types.MediaType, error) { return i.mediaType, nil }

func (i *layoutImage) RawConfigFile() ([]byte, error) {
	return readBlob(i.files, digest.Digest(i.parsed.Config.Digest.String()), maxDocument)
}

func (i *layoutImage) LayerByDigest(h v1.Hash) (partial.CompressedLayer, error) {
	for _, l := range i.parsed.Layers {
		if l.Digest == h {
			return layoutLayer{i.files, l}, nil
		}
	}
	return nil, fmt.Errorf("the image has no layer %s", h)
}

type layoutLayer struct {
	files files
	desc  v1.Descriptor
}

func (l layoutLayer) Digest() (v1.Hash, error)            { return l.desc.Digest, nil }
func (l layoutLayer) Size() (int64, error)                { return l.desc.Size, nil }
func (l layoutLayer) MediaType() (types.MediaType, error) { return l.desc.MediaType, nil }
func (l layoutLayer) Descriptor() (*v1.Descriptor, error) { return &l.desc, nil }

func (l layoutLayer) Compressed() (io.ReadCloser, error) {
	name, err := blobPath(digest.Digest(l.desc.Digest.String()))
	if err != nil {
		return nil, err
	}
	rc, _, err := l.files.open(name)
	if err != nil {
		return nil, fmt.Errorf("layer %s: %w", l.desc.Digest, err)
	}
	return rc, nil
}
