// Package recompress receives an image from a builder with layers that are not
// compressed, and writes an OCI image layout (image-spec v1.1, image-layout.md) whose
// layers are compressed with gzip.
//
// It compresses on all processors while the layers come in, faster than BuildKit, and
// what comes out depends on the layers alone: not on the version of Go that somebody's
// builder was made with. Manifests, indexes, and the attestations that BuildKit puts
// beside an image are rewritten to name what is compressed. Configurations stay, since
// they name layers by what is in them.
//
// Nothing is in the directory under its name before all of it is: index.json comes
// last. What comes in is kept in files without names, so that nothing is left of it
// however the process ends.
package recompress

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	digest "github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
)

// Options say how a layout is written. The zero value is good.
type Options struct {
	// Workers is how many processors are kept busy; 0 is all. It changes no result.
	Workers int
	// Known are layers that were compressed before; nil knows none.
	Known *Known
	// Step, when it is set, is called to carry out what is left when all has come in.
	Step func(ctx context.Context, work func(context.Context) (Stats, error)) error
	// Old is the directory of a layout that may have what Known knows, or empty.
	Old string
}

// Layout is an OCI image layout that is being written. Its store is what a builder
// writes to; Finish then makes the layout. It is to be closed, and can be used by
// several goroutines at once until Finish.
type Layout struct {
	dir  string
	root *os.Root
	o    Options

	mu    sync.Mutex
	blobs map[digest.Digest]*blob
	// taken are the references that somebody writes to.
	taken map[string]struct{}
	// settling has the files that are on their way to the disk. After the end there are
	// no more: a builder that goes on writing then is told so.
	settling errgroup.Group
	ending   sync.Mutex
	ended    bool
}

// blob is what the builder wrote, or what it needs not to write.
type blob struct {
	digest digest.Digest
	size   int64
	// file has the content. It is nil for a layer that is there already, compressed.
	file *os.File
	// packed is the compressed layer, when there is one.
	packed *packedBlob
}

// packedBlob is a compressed layer in the layout.
type packedBlob struct {
	Digest digest.Digest `json:"digest"`
	Size   int64         `json:"size"`
}

// Stats say what was done to layers.
type Stats struct {
	// Layers is how many there are, and Known how many of these were compressed before.
	Layers, Known int
	// Before and After are their sizes in bytes.
	Before, After int64
}

// New begins a layout in dir, which is an empty directory.
func New(dir string, o Options) (*Layout, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("begin an OCI layout: %w", err)
	}
	l := &Layout{dir: dir, root: root, o: o, blobs: map[digest.Digest]*blob{}, taken: map[string]struct{}{}}
	if err := root.MkdirAll(blobsDir, 0o755); err != nil {
		return nil, errors.Join(fmt.Errorf("begin an OCI layout in %s: %w", dir, err), root.Close())
	}
	return l, nil
}

// blobsDir has the blobs. All are named by SHA-256, as BuildKit does.
const blobsDir = ocispecs.ImageBlobsDir + "/sha256"

func blobPath(d digest.Digest) string { return blobsDir + "/" + d.Encoded() }

// Uncompressed opens what the builder wrote of a layer by its diff ID, for as long as
// the layout is not closed. It is nil when the builder did not write it.
func (l *Layout) Uncompressed(diffID digest.Digest) *io.SectionReader {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.blobs[diffID]
	if b == nil || b.file == nil || b.packed == nil {
		return nil
	}
	return io.NewSectionReader(b.file, 0, b.size)
}

// Close releases what came in. What Finish wrote stays.
func (l *Layout) Close() error {
	l.ending.Lock()
	l.ended = true
	l.ending.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	var errs []error
	for _, b := range l.blobs {
		if b.file != nil {
			errs = append(errs, b.file.Close())
		}
	}
	clear(l.blobs)
	return errors.Join(append(errs, l.settling.Wait(), l.root.Close())...)
}

// pack compresses a layer that came in without its being known for one.
func (l *Layout) pack(ctx context.Context, b *blob) (err error) {
	p, err := l.newPacker()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.abort()) }()
	if _, err := io.Copy(p, reader{ctx, io.NewSectionReader(b.file, 0, b.size)}); err != nil {
		return err
	}
	b.packed, err = p.commit()
	return err
}

// reader ends with its context.
type reader struct {
	ctx context.Context
	io.Reader
}

func (r reader) Read(p []byte) (int, error) {
	if err := context.Cause(r.ctx); err != nil {
		return 0, err
	}
	return r.Reader.Read(p)
}
