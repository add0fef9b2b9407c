package recompress

import (
	"crypto/rand"
	"errors"
	"fmt"
	"hash"
	"io/fs"
	"os"

	digest "github.com/opencontainers/go-digest"
)

// packer writes a compressed layer into the layout.
type packer struct {
	*Writer
	l    *Layout
	name string
	file *os.File
	hash hash.Hash
	size int64
}

func (l *Layout) newPacker() (*packer, error) {
	p := &packer{l: l, name: blobsDir + "/." + rand.Text(), hash: digest.SHA256.Hash()}
	var err error
	if p.file, err = l.root.OpenFile(p.name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644); err != nil {
		return nil, fmt.Errorf("write a layer to %s: %w", l.dir, err)
	}
	p.Writer = NewWriter(sink{p}, l.o.Workers)
	return p, nil
}

// sink takes what the compressor writes.
type sink struct{ p *packer }

func (s sink) Write(dt []byte) (int, error) {
	n, err := s.p.file.Write(dt)
	s.p.hash.Write(dt[:n])
	s.p.size += int64(n)
	return n, err
}

// commit gives the layer its name.
func (p *packer) commit() (*packedBlob, error) {
	if err := p.Writer.Close(); err != nil {
		return nil, fmt.Errorf("compress a layer: %w", err)
	}
	out := &packedBlob{digest.NewDigest(digest.SHA256, p.hash), p.size}
	if err := p.l.root.Rename(p.name, blobPath(out.Digest)); err != nil {
		return nil, fmt.Errorf("write layer %s to %s: %w", out.Digest, p.l.dir, err)
	}
	err := p.l.settle(p.file)
	p.file = nil
	return out, err
}

// abort removes what was written. It does nothing after a commit.
func (p *packer) abort() error {
	p.Writer.Abort()
	if p.file == nil {
		return nil
	}
	err := p.l.root.Remove(p.name)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	err = errors.Join(err, p.file.Close())
	p.file = nil
	return err
}
