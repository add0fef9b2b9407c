// Package rpmdb reads the package headers in rpm's databases, in each of rpm's
// formats, and writes the SQLite one.
//
// It works on bytes in memory and neither needs nor touches a file system. The
// databases are untrusted: what is read is at most what the file holds, and
// nothing panics. The readers that other programs use, such as
// github.com/anchore/go-rpmdb, trust page numbers and lengths, which a
// malformed file can turn into a crash or an endless loop.
package rpmdb

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
)

// ErrFormat is the error for data that is none of rpm's database formats.
var ErrFormat = errors.New("not an rpm database")

// errDamaged is wrapped by errors about the contents of a database.
var errDamaged = errors.New("damaged")

// Read returns the header blobs in a database, whose format it tells from the
// data. The wal is the write-ahead log beside a SQLite database, or empty. When
// the database is damaged, the blobs found so far come with the error. Blobs may
// share memory with db.
func Read(ctx context.Context, db, wal []byte) ([][]byte, error) {
	switch {
	case bytes.HasPrefix(db, []byte(sqliteMagic)):
		return readSQLite(ctx, db, wal)
	case bytes.HasPrefix(db, []byte(ndbMagic)):
		return readNDB(ctx, db)
	case len(db) >= bdbMetaSize && bdbOrder(db) != nil:
		return readBDB(ctx, db, bdbOrder(db))
	}
	return nil, ErrFormat
}

// collector gathers blobs and sees to it that they are together no larger than
// the database: in a sound one no byte belongs to two of them.
type collector struct {
	blobs [][]byte
	left  int
}

func (c *collector) add(blob []byte) error {
	// The constant stands for a record's own overhead and bounds empty blobs.
	if c.left -= len(blob) + 4; c.left < 0 {
		return fmt.Errorf("%w: its records are larger than the file", errDamaged)
	}
	c.blobs = append(c.blobs, blob)
	return nil
}

// span returns the n bytes at off, or an error when they are not all there.
func span(dt []byte, off, n int64) ([]byte, error) {
	if off < 0 || n < 0 || off > int64(len(dt)) || n > int64(len(dt))-off {
		return nil, fmt.Errorf("%w: %d bytes at %d are past its end", errDamaged, n, off)
	}
	return dt[off : off+n], nil
}

// bdbOrder returns the byte order of a BerkeleyDB hash database, or nil.
func bdbOrder(db []byte) binary.ByteOrder {
	for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
		if order.Uint32(db[12:]) == bdbHashMagic {
			return order
		}
	}
	return nil
}
