package rpmdb

import (
	"context"
	"encoding/binary"
	"fmt"
)

// The parts of BerkeleyDB's hash format that rpm's Packages uses (libdb 5.3,
// src/dbinc/db_page.h).
const (
	bdbHashMagic   = 0x00061561
	bdbMetaSize    = 72
	bdbPageHeader  = 26
	bdbOffPageSize = 12

	bdbPageHashUnsorted = 2 // before libdb 4.6
	bdbPageOverflow     = 7
	bdbPageHashMeta     = 8
	bdbPageHash         = 13

	bdbItemOnPage  = 1 // H_KEYDATA
	bdbItemOffPage = 3 // H_OFFPAGE
)

// readBDB returns the values of the hash database. The order is that of its
// pages.
func readBDB(ctx context.Context, db []byte, order binary.ByteOrder) ([][]byte, error) {
	pageSize := int64(order.Uint32(db[20:]))
	switch {
	case pageSize < 512 || pageSize > 65536 || pageSize&(pageSize-1) != 0:
		return nil, fmt.Errorf("%w: page size %d", errDamaged, pageSize)
	case db[24] != 0:
		return nil, fmt.Errorf("%w: it is encrypted", errDamaged)
	case db[25] != bdbPageHashMeta:
		return nil, fmt.Errorf("%w: the first page has the type %d", errDamaged, db[25])
	}
	r := bdbReader{db: db, order: order, pageSize: pageSize, collector: collector{left: len(db)}}
	last := int64(order.Uint32(db[32:]))
	for number := int64(1); number <= last; number++ {
		if ctx.Err() != nil {
			return r.blobs, context.Cause(ctx)
		}
		page, err := span(db, number*pageSize, pageSize)
		if err != nil {
			return r.blobs, fmt.Errorf("page %d of %d: %w", number, last, err)
		}
		if page[25] != bdbPageHash && page[25] != bdbPageHashUnsorted {
			continue
		}
		if err := r.hashPage(page); err != nil {
			return r.blobs, fmt.Errorf("page %d: %w", number, err)
		}
	}
	return r.blobs, nil
}

type bdbReader struct {
	collector
	db       []byte
	order    binary.ByteOrder
	pageSize int64
}

// hashPage reads the values on a page: it holds pairs of a key and a value,
// through an array of two-byte offsets that follows the header.
func (r *bdbReader) hashPage(page []byte) error {
	entries := int64(r.order.Uint16(page[20:]))
	if entries%2 != 0 {
		return fmt.Errorf("%w: a key has no value", errDamaged)
	}
	index, err := span(page, bdbPageHeader, 2*entries)
	if err != nil {
		return err
	}
	for i := int64(1); i < entries; i += 2 {
		// Items grow from the page's end: a value ends where its key starts.
		end := int64(r.order.Uint16(index[2*(i-1):]))
		start := int64(r.order.Uint16(index[2*i:]))
		if start >= r.pageSize {
			return fmt.Errorf("%w: a value starts at %d", errDamaged, start)
		}
		switch page[start] {
		case bdbItemOffPage:
			item, err := span(page, start, bdbOffPageSize)
			if err != nil {
				return err
			}
			blob, err := r.overflow(int64(r.order.Uint32(item[4:])), int64(r.order.Uint32(item[8:])))
			if err != nil {
				return err
			}
			if err := r.add(blob); err != nil {
				return err
			}
		case bdbItemOnPage:
			item, err := span(page, start+1, end-start-1)
			if err != nil {
				return err
			}
			// Four bytes are rpm's counter of header numbers, no header.
			if len(item) <= 4 {
				continue
			}
			if err := r.add(item); err != nil {
				return err
			}
		}
	}
	return nil
}

// overflow joins the chain of overflow pages that hold a value of n bytes.
func (r *bdbReader) overflow(number, n int64) ([]byte, error) {
	if n > int64(r.left) {
		return nil, fmt.Errorf("%w: a value of %d bytes", errDamaged, n)
	}
	value := make([]byte, 0, n)
	for int64(len(value)) < n {
		page, err := span(r.db, number*r.pageSize, r.pageSize)
		if err != nil {
			return nil, err
		}
		used := int64(r.order.Uint16(page[22:]))
		if number == 0 || page[25] != bdbPageOverflow || used == 0 {
			return nil, fmt.Errorf("%w: a chain of overflow pages ends at page %d", errDamaged, number)
		}
		part, err := span(page, bdbPageHeader, used)
		if err != nil {
			return nil, err
		}
		value = append(value, part[:min(used, n-int64(len(value)))]...)
		number = int64(r.order.Uint32(page[16:]))
	}
	return value, nil
}
