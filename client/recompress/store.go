package recompress

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/errdefs"
	digest "github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/temper-images/temper/client/tempfile"
)

// Store is what a builder writes the image to, by BuildKit's session.
func (l *Layout) Store() content.Store { return store{l} }

type store struct{ l *Layout }

// find is a blob that the builder wrote.
func (s store) find(dgst digest.Digest) (*blob, error) {
	s.l.mu.Lock()
	defer s.l.mu.Unlock()
	if b := s.l.blobs[dgst]; b != nil && b.file != nil {
		return b, nil
	}
	return nil, fmt.Errorf("blob %s: %w", dgst, errdefs.ErrNotFound)
}

func (s store) Info(_ context.Context, dgst digest.Digest) (content.Info, error) {
	b, err := s.find(dgst)
	if err != nil {
		return content.Info{}, err
	}
	return content.Info{Digest: dgst, Size: b.size}, nil
}

func (s store) ReaderAt(_ context.Context, desc ocispecs.Descriptor) (content.ReaderAt, error) {
	b, err := s.find(desc.Digest)
	if err != nil {
		return nil, err
	}
	return readerAt{io.NewSectionReader(b.file, 0, b.size)}, nil
}

type readerAt struct{ *io.SectionReader }

func (readerAt) Close() error { return nil }

// Writer opens a blob for writing. A layer that is known needs not be written.
func (s store) Writer(ctx context.Context, opts ...content.WriterOpt) (content.Writer, error) {
	var o content.WriterOpts
	for _, opt := range opts {
		if err := opt(&o); err != nil {
			return nil, err
		}
	}
	if o.Ref == "" {
		return nil, fmt.Errorf("write a blob: it has no reference: %w", errdefs.ErrInvalidArgument)
	}
	d := o.Desc.Digest
	if d != "" && (d.Validate() != nil || d.Algorithm() != digest.SHA256) {
		return nil, fmt.Errorf("write a blob: digest %q is no SHA-256: %w", d, errdefs.ErrInvalidArgument)
	}
	if err := s.l.take(ctx, o.Ref, d); err != nil {
		return nil, err
	}
	f, err := tempfile.New(s.l.dir)
	if err != nil {
		s.l.release(o.Ref)
		return nil, fmt.Errorf("write blob %s: %w", d, err)
	}
	now := time.Now()
	return &writer{l: s.l, file: f, hash: digest.SHA256.Hash(), status: content.Status{
		Ref: o.Ref, Expected: d, Total: o.Desc.Size, StartedAt: now, UpdatedAt: now,
	}}, nil
}

// take reserves a reference, unless the blob is there.
func (l *Layout) take(ctx context.Context, ref string, d digest.Digest) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, there := l.blobs[d]; there {
		return fmt.Errorf("blob %s: %w", d, errdefs.ErrAlreadyExists)
	}
	if _, taken := l.taken[ref]; taken {
		return fmt.Errorf("blob %s is being written: %w", ref, errdefs.ErrUnavailable)
	}
	if packed := l.recall(ctx, d); packed != nil {
		l.blobs[d] = &blob{digest: d, packed: packed}
		return fmt.Errorf("layer %s is known: %w", d, errdefs.ErrAlreadyExists)
	}
	l.taken[ref] = struct{}{}
	return nil
}

func (l *Layout) closed() bool {
	l.ending.Lock()
	defer l.ending.Unlock()
	return l.ended
}

func (l *Layout) release(ref string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.taken, ref)
}

// writer takes one blob. A layer is compressed while it comes in.
type writer struct {
	l      *Layout
	file   *os.File
	hash   hash.Hash
	packer *packer
	status content.Status
}

// layerRef begins containerd's references of layers. A layer that comes in under
// another is compressed when the manifest says that it is one.
const layerRef = "layer-"

// compressed says by its first bytes that a layer is.
func compressed(head []byte) bool {
	return bytes.HasPrefix(head, header[:2]) || bytes.HasPrefix(head, []byte{0x28, 0xb5, 0x2f, 0xfd})
}

func (w *writer) Write(p []byte) (int, error) {
	if w.file == nil {
		return 0, fmt.Errorf("blob %s: write after the end: %w", w.status.Ref, errdefs.ErrFailedPrecondition)
	}
	if w.status.Total > 0 && w.status.Offset+int64(len(p)) > w.status.Total {
		return 0, fmt.Errorf("blob %s is larger than the %d bytes that were announced: %w", w.status.Ref, w.status.Total, errdefs.ErrFailedPrecondition)
	}
	if w.status.Offset == 0 && w.packer == nil && strings.HasPrefix(w.status.Ref, layerRef) && !compressed(p) {
		var err error
		if w.packer, err = w.l.newPacker(); err != nil {
			return 0, err
		}
	}
	n, err := w.file.Write(p)
	w.hash.Write(p[:n])
	if w.packer != nil && err == nil {
		_, err = w.packer.Write(p)
	}
	w.status.Offset += int64(n)
	w.status.UpdatedAt = time.Now()
	return n, err
}

func (w *writer) Digest() digest.Digest { return digest.NewDigest(digest.SHA256, w.hash) }

func (w *writer) Status() (content.Status, error) { return w.status, nil }

// Truncate begins anew.
func (w *writer) Truncate(size int64) error {
	if size != 0 || w.file == nil {
		return fmt.Errorf("blob %s: truncate to %d bytes: %w", w.status.Ref, size, errdefs.ErrNotImplemented)
	}
	err := w.abandon()
	w.hash.Reset()
	w.status.Offset = 0
	_, serr := w.file.Seek(0, io.SeekStart)
	return errors.Join(err, serr, w.file.Truncate(0))
}

func (w *writer) abandon() error {
	if w.packer == nil {
		return nil
	}
	err := w.packer.abort()
	w.packer = nil
	return err
}

// Close gives up what was not committed.
func (w *writer) Close() error {
	if w.file == nil {
		return nil
	}
	err := errors.Join(w.abandon(), w.file.Close())
	w.file = nil
	w.l.release(w.status.Ref)
	return err
}

// Commit checks the blob and keeps it.
func (w *writer) Commit(_ context.Context, size int64, expected digest.Digest, _ ...content.Opt) (err error) {
	if w.file == nil {
		return fmt.Errorf("blob %s: commit after the end: %w", w.status.Ref, errdefs.ErrFailedPrecondition)
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	got := w.Digest()
	if size > 0 && size != w.status.Offset {
		return fmt.Errorf("blob %s has %d bytes, not %d: %w", w.status.Ref, w.status.Offset, size, errdefs.ErrFailedPrecondition)
	}
	for _, want := range []digest.Digest{expected, w.status.Expected} {
		if want != "" && want != got {
			return fmt.Errorf("blob %s has digest %s, not %s: %w", w.status.Ref, got, want, errdefs.ErrFailedPrecondition)
		}
	}
	b := &blob{digest: got, size: w.status.Offset, file: w.file}
	if w.packer != nil {
		if b.packed, err = w.packer.commit(); err != nil {
			return err
		}
	}
	w.l.mu.Lock()
	defer w.l.mu.Unlock()
	if w.l.closed() {
		return errEnded
	}
	if _, there := w.l.blobs[got]; there {
		return fmt.Errorf("blob %s: %w", got, errdefs.ErrAlreadyExists)
	}
	delete(w.l.taken, w.status.Ref)
	w.l.blobs[got], w.file = b, nil
	return nil
}

func notHere(what string) error {
	return fmt.Errorf("%s: a layout that is being written has no such thing: %w", what, errdefs.ErrNotImplemented)
}

func (s store) Update(context.Context, content.Info, ...string) (content.Info, error) {
	return content.Info{}, notHere("update a blob")
}

func (s store) Walk(context.Context, content.WalkFunc, ...string) error { return notHere("list blobs") }

func (s store) Delete(context.Context, digest.Digest) error { return notHere("delete a blob") }

func (s store) Status(_ context.Context, ref string) (content.Status, error) {
	return content.Status{}, fmt.Errorf("writing %s: %w", ref, errdefs.ErrNotFound)
}

func (s store) ListStatuses(context.Context, ...string) ([]content.Status, error) { return nil, nil }

func (s store) Abort(_ context.Context, ref string) error {
	return fmt.Errorf("writing %s: %w", ref, errdefs.ErrNotFound)
}
