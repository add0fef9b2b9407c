package rpmdb

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// SQLite's write-ahead log (sqlite.org/fileformat2.html, section 4).
const (
	sqliteHeader   = 100
	walHeader      = 32
	walFrameHeader = 24
	walMagicLittle = 0x377f0682
	walMagicBig    = 0x377f0683
)

// replay returns the database with the committed transactions of its write-ahead
// log. As SQLite does, it stops at the first frame that is not whole, and takes
// a log that is not of this database for an empty one.
func replay(db, wal []byte) ([]byte, error) {
	if len(wal) < walHeader {
		return db, nil
	}
	pageSize := int64(binary.BigEndian.Uint16(db[16:]))
	if pageSize == 1 {
		pageSize = 65536
	}
	if pageSize < 512 || pageSize&(pageSize-1) != 0 {
		return nil, fmt.Errorf("%w: page size %d", errDamaged, pageSize)
	}
	var sum walSum
	switch binary.BigEndian.Uint32(wal) {
	case walMagicLittle:
		sum.order = binary.LittleEndian
	case walMagicBig:
		sum.order = binary.BigEndian
	default:
		return db, nil
	}
	sum.add(wal[:24])
	if int64(binary.BigEndian.Uint32(wal[8:])) != pageSize || !sum.is(wal[24:]) {
		return db, nil
	}
	salt := wal[16:24]
	// The pages of the transaction that is not committed yet wait in pending.
	pages, pending := map[int64][]byte{}, map[int64][]byte{}
	size := int64(len(db))
	for rest := wal[walHeader:]; int64(len(rest)) >= walFrameHeader+pageSize; rest = rest[walFrameHeader+pageSize:] {
		frame, page := rest[:walFrameHeader], rest[walFrameHeader:walFrameHeader+pageSize]
		sum.add(frame[:8])
		sum.add(page)
		number := int64(binary.BigEndian.Uint32(frame))
		if !bytes.Equal(frame[8:16], salt) || !sum.is(frame[16:]) || number == 0 {
			break
		}
		pending[number] = page
		if commit := int64(binary.BigEndian.Uint32(frame[4:])); commit != 0 {
			for number, page := range pending {
				pages[number] = page
			}
			clear(pending)
			size = commit * pageSize
		}
	}
	if size > int64(len(db)+len(wal)) {
		return nil, fmt.Errorf("%w: its log makes it %d bytes", errDamaged, size)
	}
	after := make([]byte, size)
	copy(after, db)
	for number, page := range pages {
		if off := (number - 1) * pageSize; off < size {
			copy(after[off:], page)
		}
	}
	if len(after) < sqliteHeader || !bytes.HasPrefix(after, []byte(sqliteMagic)) {
		return nil, fmt.Errorf("%w: its log leaves no header", errDamaged)
	}
	return after, nil
}

// walSum is the running checksum of a log.
type walSum struct {
	order  binary.ByteOrder
	s0, s1 uint32
}

func (w *walSum) add(dt []byte) {
	for ; len(dt) >= 8; dt = dt[8:] {
		w.s0 += w.order.Uint32(dt) + w.s1
		w.s1 += w.order.Uint32(dt[4:]) + w.s0
	}
}

func (w *walSum) is(dt []byte) bool {
	return binary.BigEndian.Uint32(dt) == w.s0 && binary.BigEndian.Uint32(dt[4:]) == w.s1
}
