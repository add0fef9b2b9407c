package imagefs

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	digest "github.com/opencontainers/go-digest"
)

// maxWindow bounds the memory that a zstd frame asks for, in bytes. It is what
// the highest levels and "--long" use.
const maxWindow = 128 << 20

// layer is one layer of an image.
type layer struct {
	v1.Layer
	// name is the layer's digest, for messages.
	name   string
	diffID digest.Digest
	size   int64
	// archive is the layer as it is unpacked, where that is at hand.
	archive *io.SectionReader
}

func layersOf(img v1.Image, o Options) ([]layer, error) {
	cfg, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	list, err := img.Layers()
	if err != nil {
		return nil, err
	}
	if len(list) != len(cfg.RootFS.DiffIDs) {
		return nil, fmt.Errorf("its manifest has %d layers and its configuration has %d", len(list), len(cfg.RootFS.DiffIDs))
	}
	out := make([]layer, len(list))
	for i, l := range list {
		h, err := l.Digest()
		if err != nil {
			return nil, err
		}
		size, err := l.Size()
		if err != nil {
			return nil, err
		}
		d := digest.Digest(cfg.RootFS.DiffIDs[i].String())
		if err := d.Validate(); err != nil {
			return nil, fmt.Errorf("diff ID %q: %w", d, err)
		}
		out[i] = layer{Layer: l, name: h.String(), diffID: d, size: max(size, 0)}
		if o.Uncompressed == nil {
			continue
		}
		if rd := o.Uncompressed(d); rd != nil {
			out[i].archive, out[i].size = rd, rd.Size()
		}
	}
	return out, nil
}

// meter counts what is read of all layers.
type meter struct {
	done, total int64
	progress    func(done, total int64)
	// unpacked and files are how many bytes may still come out of the layers and
	// go into files.
	unpacked, files, limit int64
}

func newMeter(o Options, layers []layer) *meter {
	m := &meter{progress: o.Progress, limit: o.MaxSize}
	if m.limit == 0 {
		m.limit = DefaultMaxSize
	}
	m.unpacked, m.files = m.limit, m.limit
	for _, l := range layers {
		m.total += l.size
	}
	return m
}

// packed reads a layer as it is stored.
type packed struct {
	ctx   context.Context
	rd    io.Reader
	meter *meter
}

func (p *packed) Read(b []byte) (int, error) {
	if err := context.Cause(p.ctx); err != nil {
		return 0, err
	}
	n, err := p.rd.Read(b)
	p.meter.done += int64(n)
	if n > 0 && p.meter.progress != nil {
		p.meter.progress(p.meter.done, p.meter.total)
	}
	return n, err
}

// unpacked reads a layer's archive, digests it and counts it against the limit.
type unpacked struct {
	ctx   context.Context
	rd    io.Reader
	hash  hash.Hash
	meter *meter
	read  int64 // how far it got
}

func (u *unpacked) Read(b []byte) (int, error) {
	if err := context.Cause(u.ctx); err != nil {
		return 0, err
	}
	n, err := u.rd.Read(b)
	u.hash.Write(b[:n])
	u.read += int64(n)
	if u.meter.unpacked -= int64(n); u.meter.unpacked < 0 {
		return 0, &LimitError{"bytes unpacked", u.meter.limit}
	}
	return n, err
}

// archive reads the tar stream of a layer.
type archive struct {
	unpacked
	closers []io.Closer
}

func (a *archive) Close() error {
	var errs []error
	for i := len(a.closers) - 1; i >= 0; i-- {
		errs = append(errs, a.closers[i].Close())
	}
	return errors.Join(errs...)
}

var (
	gzipMagic = []byte{0x1f, 0x8b}
	zstdMagic = []byte{0x28, 0xb5, 0x2f, 0xfd}
	// zstdSkippable begins the frames that zstd:chunked puts before others; the
	// low half of its first byte is free (RFC 8878, section 3.1.2).
	zstdSkippable = []byte{0x2a, 0x4d, 0x18}
)

// openArchive finds out by the first bytes how the layer is compressed, since
// media types are known to be wrong.
func openArchive(ctx context.Context, l layer, m *meter, h hash.Hash) (_ *archive, err error) {
	if l.archive != nil {
		in := bufio.NewReaderSize(&packed{ctx, l.archive, m}, 1<<20)
		return &archive{unpacked: unpacked{ctx: ctx, rd: in, hash: h, meter: m}}, nil
	}
	rc, err := l.Compressed()
	if err != nil {
		return nil, err
	}
	a := &archive{closers: []io.Closer{rc}}
	defer func() {
		if err != nil {
			err = errors.Join(err, a.Close())
		}
	}()
	in := bufio.NewReaderSize(&packed{ctx, rc, m}, 1<<20)
	head, err := in.Peek(4)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	var tar io.Reader = in
	switch {
	case bytes.HasPrefix(head, gzipMagic):
		zr, err := gzip.NewReader(in)
		if err != nil {
			return nil, fmt.Errorf("gzip: %w", err)
		}
		a.closers = append(a.closers, zr)
		tar = zr
	case bytes.Equal(head, zstdMagic), len(head) == 4 && head[0]>>4 == 5 && bytes.Equal(head[1:], zstdSkippable):
		zr, err := zstd.NewReader(in, zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderLowmem(true), zstd.WithDecoderConcurrency(1))
		if err != nil {
			return nil, fmt.Errorf("zstd: %w", err)
		}
		rc := zr.IOReadCloser()
		a.closers = append(a.closers, rc)
		tar = rc
	}
	a.unpacked = unpacked{ctx: ctx, rd: tar, hash: h, meter: m}
	return a, nil
}
