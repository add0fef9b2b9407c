package recompress

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"sync"

	"github.com/adrg/xdg"
	digest "github.com/opencontainers/go-digest"
)

// Known remembers in a directory what layers were compressed to, so that a layout that
// is written again neither asks the builder for the same layer nor compresses it. It
// believes its directory, which is the user's own, and no layout.
type Known struct {
	// Dir is the directory. It is made when something is remembered.
	Dir string
	// ReadOnly remembers nothing new.
	ReadOnly bool
}

// DefaultDir is $XDG_STATE_HOME/temper/layers.
func DefaultDir() string { return filepath.Join(xdg.StateHome, "temper", "layers") }

const (
	// maxKnown is how many layers are remembered at most: each is a file of 200 bytes.
	maxKnown = 500
	// maxRecord bounds such a file, in bytes.
	maxRecord = 4 << 10
)

// record is what is remembered of a layer.
type record struct {
	// Compressor is what compressed it.
	Compressor string `json:"compressor"`
	packedBlob
}

// compressor names everything that decides about the compressed bytes.
var compressor = sync.OnceValue(func() string {
	name := Version
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range info.Deps {
			if m.Path == "github.com/klauspost/compress" {
				name += " " + m.Version
			}
		}
	}
	return name
})

// get is what a layer was compressed to, or nil.
func (k *Known) get(d digest.Digest) *packedBlob {
	if k == nil || d == "" {
		return nil
	}
	f, err := os.Open(filepath.Join(k.Dir, d.Encoded()))
	if err != nil {
		return nil
	}
	defer f.Close()
	dt, err := io.ReadAll(io.LimitReader(f, maxRecord))
	if err != nil {
		return nil
	}
	var r record
	if json.Unmarshal(dt, &r) != nil || r.Compressor != compressor() ||
		r.Digest.Validate() != nil || r.Digest.Algorithm() != digest.SHA256 || r.Size <= 0 {
		return nil
	}
	return &r.packedBlob
}

// put remembers a layer.
func (k *Known) put(d digest.Digest, p packedBlob) (err error) {
	if k == nil || k.ReadOnly {
		return nil
	}
	if had := k.get(d); had != nil && *had == p {
		return nil
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("remember the compressed layer %s: %w", d, err)
		}
	}()
	dt, err := json.Marshal(record{compressor(), p})
	if err != nil {
		return err
	}
	if err := os.MkdirAll(k.Dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(k.Dir, ".tmp-*")
	if err != nil {
		return err
	}
	_, err = f.Write(dt)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), filepath.Join(k.Dir, d.Encoded()))
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return k.prune()
}

// prune forgets the oldest.
func (k *Known) prune() error {
	entries, err := os.ReadDir(k.Dir)
	if err != nil || len(entries) <= maxKnown {
		return err
	}
	var list []fs.FileInfo
	for _, e := range entries {
		// Another process may prune at the same time.
		if fi, err := e.Info(); err == nil {
			list = append(list, fi)
		}
	}
	slices.SortFunc(list, func(a, b fs.FileInfo) int {
		if c := a.ModTime().Compare(b.ModTime()); c != 0 {
			return c
		}
		return strings.Compare(a.Name(), b.Name())
	})
	var errs []error
	for _, fi := range list[:max(0, len(list)-maxKnown)] {
		if err := os.Remove(filepath.Join(k.Dir, fi.Name())); !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// recall takes a compressed layer that is known from the old layout, or returns nil:
// what cannot be taken is compressed again.
func (l *Layout) recall(ctx context.Context, d digest.Digest) *packedBlob {
	p := l.o.Known.get(d)
	if p == nil || l.o.Old == "" {
		return nil
	}
	root, err := os.OpenRoot(l.o.Old)
	if err != nil {
		return nil
	}
	defer root.Close()
	f, err := root.Open(blobPath(p.Digest))
	if err != nil {
		return nil
	}
	defer f.Close()
	if fi, err := f.Stat(); err != nil || !fi.Mode().IsRegular() || fi.Size() != p.Size {
		return nil
	}
	if l.write(p.Digest, p.Size, reader{ctx, f}) != nil {
		return nil
	}
	return p
}
