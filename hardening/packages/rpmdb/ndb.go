package rpmdb

import (
	"context"
	"encoding/binary"
	"fmt"
)

// rpm's own format "ndb" (rpm 4.17, lib/backend/ndb/rpmpkg.c): a header in the
// place of the first two slots, pages of slots, and blobs in blocks of 16
// bytes. Numbers are little-endian.
const (
	ndbMagic     = "RpmP"
	ndbSlotMagic = "Slot"
	ndbBlobMagic = "BlbS"
	ndbPageSize  = 4096
	ndbBlock     = 16
)

// readNDB returns the blobs of the database in the order of its slots.
func readNDB(ctx context.Context, db []byte) ([][]byte, error) {
	header, err := span(db, 0, 2*ndbBlock)
	if err != nil {
		return nil, err
	}
	if version := binary.LittleEndian.Uint32(header[4:]); version != 0 {
		return nil, fmt.Errorf("%w: version %d of the format is not known", errDamaged, version)
	}
	slots, err := span(db, 0, ndbPageSize*int64(binary.LittleEndian.Uint32(header[12:])))
	if err != nil {
		return nil, err
	}
	c := collector{left: len(db)}
	for off := len(header); off < len(slots); off += ndbBlock {
		if ctx.Err() != nil {
			return c.blobs, context.Cause(ctx)
		}
		slot := slots[off : off+ndbBlock]
		if string(slot[:4]) != ndbSlotMagic {
			return c.blobs, fmt.Errorf("%w: slot at %d", errDamaged, off)
		}
		number := binary.LittleEndian.Uint32(slot[4:])
		if number == 0 {
			continue
		}
		start := ndbBlock * int64(binary.LittleEndian.Uint32(slot[8:]))
		head, err := span(db, start, ndbBlock)
		if err != nil {
			return c.blobs, fmt.Errorf("package %d: %w", number, err)
		}
		if string(head[:4]) != ndbBlobMagic || binary.LittleEndian.Uint32(head[4:]) != number {
			return c.blobs, fmt.Errorf("%w: there is no package %d at %d", errDamaged, number, start)
		}
		blob, err := span(db, start+ndbBlock, int64(binary.LittleEndian.Uint32(head[12:])))
		if err != nil {
			return c.blobs, fmt.Errorf("package %d: %w", number, err)
		}
		if err := c.add(blob); err != nil {
			return c.blobs, err
		}
	}
	return c.blobs, nil
}
