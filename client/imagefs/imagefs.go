// Package imagefs indexes the merged file system of one image in a single pass
// over its layers, without unpacking it: contents are kept compressed in memory
// up to a budget and beyond it in one temporary file that has no name, or are read
// from a layer that is at hand uncompressed.
//
// Layers are merged as image-spec v1.1 (layer.md) says: an entry replaces what a
// lower layer has at its path, ".wh.NAME" removes NAME, ".wh..wh..opq" empties
// its directory, and both only concern lower layers. Layers are hostile: names
// are taken as if the image were the whole world ("../x" is "/x"), and the number
// of entries, their metadata and the unpacked size have limits.
package imagefs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"path"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	digest "github.com/opencontainers/go-digest"
)

// The limits that hold when Options does not name others.
const (
	// DefaultMemory bounds the compressed contents in memory, in bytes. What goes
	// to the temporary file is read back from the system's cache, no slower.
	DefaultMemory = 16 << 20
	// DefaultMaxSize bounds the unpacked size of all layers together, in bytes.
	DefaultMaxSize = 64 << 30
	// DefaultMaxEntries bounds the entries of all layers together.
	DefaultMaxEntries = 2 << 20
)

// maxMetadata bounds names, link targets and extended attributes together, in
// bytes.
const maxMetadata = 512 << 20

// maxLinks is how many symbolic links Resolve follows, as Linux does.
const maxLinks = 40

// Options say how an image is indexed. The zero value is good.
type Options struct {
	// Memory bounds the compressed contents that are held in memory, in bytes;
	// the rest goes to a temporary file. 0 is DefaultMemory, less than 0 keeps
	// nothing in memory.
	Memory int64
	// TempDir is the directory of the temporary file, or empty for os.TempDir.
	TempDir string
	// MaxSize bounds the unpacked layers together, in bytes; 0 is DefaultMaxSize.
	MaxSize int64
	// MaxEntries bounds the entries of the layers together; 0 is DefaultMaxEntries.
	MaxEntries int
	// Uncompressed, when set, is asked for the archive of a layer by its diff ID before the
	// layer itself is read, and must then stay as it is until the file system is closed,
	// which keeps no copy of it. Nil for an answer has the layer read. What is read is
	// checked in either case.
	Uncompressed func(diffID digest.Digest) *io.SectionReader
	// Progress, when set, is told how many bytes of the layers, as they are
	// stored, have been read, and how many there are.
	Progress func(done, total int64)
}

// LimitError says that an image is larger than what was allowed.
type LimitError struct {
	// What is the name of the thing that is limited.
	What  string
	Limit int64
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("more than %d %s", e.Limit, e.What)
}

// DiffIDError says that a layer has other content than the configuration says.
type DiffIDError struct {
	// Want is the diff ID in the configuration, Got that of the content.
	Want, Got digest.Digest
}

func (e *DiffIDError) Error() string {
	return fmt.Sprintf("its content has the digest %s, and the image's configuration says %s", e.Got, e.Want)
}

// FS is the file system of an image. It can be used by several goroutines.
type FS struct {
	entries  []*Entry
	shadowed []*Entry
	layers   []digest.Digest
	contents *contents
}

// Entry is a file, directory, link or device. It is not to be changed.
type Entry struct {
	// Path is absolute and clean: "/usr/bin/env".
	Path string
	// Mode has the type and permission bits, set-uid, set-gid and sticky included.
	Mode     fs.FileMode
	UID, GID int
	// Size is the length of a regular file in bytes, and 0 for all else.
	Size int64
	// Linkname is the target of a symbolic link as it is written. For a regular
	// file that a layer holds as a hard link, it is the absolute path of the
	// entry that the link shares its content with.
	Linkname string
	// Layer is the diff ID of the layer that the entry is from.
	Layer   digest.Digest
	ModTime time.Time
	// Capabilities is the extended attribute security.capability, nil for none
	// (capabilities(7), "File capabilities").
	Capabilities []byte

	content content
}

// IsHardLink says that the layer holds the entry as a hard link to another path.
func (e *Entry) IsHardLink() bool { return e.Mode.IsRegular() && e.Linkname != "" }

// SameContent says that both entries are regular files that share one content, as
// hard links do.
func (e *Entry) SameContent(other *Entry) bool {
	return e.Mode.IsRegular() && other.Mode.IsRegular() && e.content == other.content
}

// Open reads all layers of img. It checks each against its diff ID; the error
// then is a DiffIDError. The file system is to be closed.
func Open(ctx context.Context, img v1.Image, o Options) (_ *FS, err error) {
	layers, err := layersOf(img, o)
	if err != nil {
		return nil, fmt.Errorf("read image: %w", err)
	}
	f := &FS{contents: newContents(o)}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close())
		}
	}()
	b := newBuilder(f.contents, o)
	m := newMeter(o, layers)
	for _, l := range layers {
		if err := b.layer(ctx, l, m); err != nil {
			return nil, fmt.Errorf("layer %s: %w", l.name, err)
		}
		f.layers = append(f.layers, l.diffID)
	}
	if err := f.contents.finish(); err != nil {
		return nil, err
	}
	f.entries, f.shadowed = b.result(), b.shadowed
	return f, nil
}

// Close releases the contents. Readers that are still open answer fs.ErrClosed.
func (f *FS) Close() error { return f.contents.close() }

// Layers are the diff IDs of the layers, the lowest first.
func (f *FS) Layers() []digest.Digest { return slices.Clone(f.layers) }

// Len is the number of entries.
func (f *FS) Len() int { return len(f.entries) }

// Entries are the entries of the merged file system in the order of their paths'
// bytes, without the root directory.
func (f *FS) Entries() iter.Seq[*Entry] { return slices.Values(f.entries) }

// Shadowed are the regular files that a layer holds and the merged file system
// does not show, since they were removed or replaced. They come in the order of
// layers, and of paths in a layer.
func (f *FS) Shadowed() iter.Seq[*Entry] { return slices.Values(f.shadowed) }

// Lookup finds an entry by its absolute path. It follows no symbolic links.
func (f *FS) Lookup(name string) (*Entry, bool) {
	i, ok := slices.BinarySearchFunc(f.entries, name, func(e *Entry, name string) int {
		return strings.Compare(e.Path, name)
	})
	if !ok {
		return nil, false
	}
	return f.entries[i], true
}

// Resolve finds the entry that name leads to when all symbolic links on the way
// are followed inside the image. It says false for a path that leads nowhere, to
// the root directory, or round in circles.
func (f *FS) Resolve(name string) (*Entry, bool) {
	links, done, rest := 0, "", path.Clean("/"+name)
	var at *Entry
	for rest != "" && rest != "/" {
		part, tail := split(rest)
		e, ok := f.Lookup(done + "/" + part)
		if !ok {
			return nil, false
		}
		if e.Mode.Type() != fs.ModeSymlink {
			at, done, rest = e, e.Path, tail
			continue
		}
		if links++; links > maxLinks {
			return nil, false
		}
		at, done, rest = nil, "", follow(done, e.Linkname, tail)
	}
	return at, at != nil
}

// Open opens a regular file of the merged file system by its path. Symbolic links
// are not followed. What it answers is also an io.ReaderAt and an io.Seeker.
func (f *FS) Open(name string) (io.ReadCloser, error) {
	e, ok := f.Lookup(name)
	if !ok {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return f.OpenEntry(e)
}

// OpenEntry opens a regular file, which may be a shadowed one.
func (f *FS) OpenEntry(e *Entry) (*File, error) {
	if !e.Mode.IsRegular() {
		return nil, &fs.PathError{Op: "open", Path: e.Path, Err: errors.New("not a regular file")}
	}
	return f.contents.open(e), nil
}

// OpenShadowed opens a file that Shadowed lists.
func (f *FS) OpenShadowed(e *Entry) (io.ReadCloser, error) { return f.OpenEntry(e) }
