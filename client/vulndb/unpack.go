package vulndb

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"

	v6 "github.com/anchore/grype/grype/db/v6"
	"github.com/klauspost/compress/zstd"
	digest "github.com/opencontainers/go-digest"
)

const (
	// maxMembers bounds the members of an archive; Grype's has one.
	maxMembers = 100
	// maxWindow bounds the memory of the decompressor; Grype's archives need less.
	maxWindow = 512 << 20
)

// unpack writes the database that is in an archive to dir, and checks the
// archive's digest. Of the archive only the one file is taken, whatever else it
// names.
func unpack(ctx context.Context, o Options, rd io.Reader, size int64, sum digest.Digest, dir string) error {
	verifier := sum.Verifier()
	seen := &progressWriter{w: verifier, total: size, report: func(done int64) { o.Progress(Progress{Unpacking, done, size}) }}
	tee := io.TeeReader(contextReader{ctx, rd}, seen)
	err := extract(bufio.NewReaderSize(tee, 1<<16), filepath.Join(dir, v6.VulnerabilityDBFileName), o.MaxDatabase)
	if err != nil {
		return err
	}
	// The decompressor may leave the end unread.
	if _, err := io.Copy(io.Discard, tee); err != nil {
		return err
	}
	if !verifier.Verified() {
		return fmt.Errorf("it has other content than its checksum %s says", sum)
	}
	return nil
}

// The beginnings of the formats (RFC 8878, section 3.1.1; RFC 1952, section 2.3;
// the SQLite file format, section 1.3; ustar, at offset 257; xz).
var (
	magicZstd   = []byte{0x28, 0xB5, 0x2F, 0xFD}
	magicGzip   = []byte{0x1F, 0x8B}
	magicSQLite = []byte("SQLite format 3\x00")
	magicTar    = []byte("ustar")
	magicXZ     = []byte{0xFD, '7', 'z', 'X', 'Z', 0}
)

// extract writes the database in rd to file.
func extract(rd *bufio.Reader, file string, limit int64) error {
	head, err := rd.Peek(512)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	switch {
	case bytes.HasPrefix(head, magicSQLite):
		return write(file, rd, limit)
	case bytes.HasPrefix(head, magicZstd):
		z, err := zstd.NewReader(rd, zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderLowmem(true))
		if err != nil {
			return err
		}
		defer z.Close()
		return extractTar(z, file, limit)
	case bytes.HasPrefix(head, magicGzip):
		z, err := gzip.NewReader(rd)
		if err != nil {
			return err
		}
		return extractTar(z, file, limit)
	case len(head) > 262 && bytes.Equal(head[257:262], magicTar):
		return extractTar(rd, file, limit)
	case bytes.HasPrefix(head, magicXZ):
		return errors.New("it is compressed with xz, which is not read: compress it with zstd or gzip")
	}
	return errors.New("it is neither a database nor an archive of one (tar, tar.gz, tar.zst)")
}

func extractTar(rd io.Reader, file string, limit int64) error {
	// What is skipped costs time too.
	bounded := &io.LimitedReader{R: rd, N: limit + 1<<20}
	t := tar.NewReader(bounded)
	found := false
	for range maxMembers {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			if !found {
				return fmt.Errorf("the archive has no file %s", v6.VulnerabilityDBFileName)
			}
			return nil
		}
		if bounded.N <= 0 {
			return tooLarge(limit)
		}
		if err != nil {
			return fmt.Errorf("read the archive: %w", err)
		}
		if path.Clean("/"+h.Name) != "/"+v6.VulnerabilityDBFileName {
			continue
		}
		if found || h.Typeflag != tar.TypeReg {
			return fmt.Errorf("the archive has %s twice, or not as a regular file", v6.VulnerabilityDBFileName)
		}
		if h.Size > limit {
			return tooLarge(limit)
		}
		if err := write(file, t, limit); err != nil {
			return err
		}
		found = true
	}
	return fmt.Errorf("the archive has more than %d members", maxMembers)
}

func tooLarge(limit int64) error {
	return fmt.Errorf("the database is larger than %d bytes", limit)
}

func write(file string, rd io.Reader, limit int64) (err error) {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644) //nolint:gosec // others may read the database
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	n, err := io.Copy(f, io.LimitReader(rd, limit+1))
	if err != nil {
		return fmt.Errorf("unpack the database: %w", err)
	}
	if n > limit {
		return tooLarge(limit)
	}
	return nil
}
