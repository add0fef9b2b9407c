// Package rpmdbtest makes small rpm databases for tests, in the formats that
// package rpmdb only reads.
package rpmdbtest

import "encoding/binary"

// Header returns a header blob with strings and lists of 32-bit numbers by tag,
// in the order of the tags. Strings are of type STRING where rpm wants that, and
// else of type STRING_ARRAY.
func Header(texts map[uint32][]string, numbers map[uint32][]uint32) []byte {
	const (
		typeInt32       = 4
		typeString      = 6
		typeStringArray = 8
		firstArrayTag   = 1027
		sourceRPM       = 1044
		lastTag         = 6000
	)
	var index, data []byte
	n := uint32(0)
	add := func(tag uint32, kind, count int) {
		for _, v := range []uint32{tag, uint32(kind), uint32(len(data)), uint32(count)} {
			index = binary.BigEndian.AppendUint32(index, v)
		}
		n++
	}
	for tag := range uint32(lastTag) {
		if list, ok := texts[tag]; ok {
			kind := typeStringArray
			if tag < firstArrayTag || tag == sourceRPM {
				kind = typeString
			}
			add(tag, kind, len(list))
			for _, s := range list {
				data = append(append(data, s...), 0)
			}
		}
		if list, ok := numbers[tag]; ok {
			data = pad(data, 4)
			add(tag, typeInt32, len(list))
			for _, v := range list {
				data = binary.BigEndian.AppendUint32(data, v)
			}
		}
	}
	blob := binary.BigEndian.AppendUint32(nil, n)
	blob = binary.BigEndian.AppendUint32(blob, uint32(len(data)))
	return append(append(blob, index...), data...)
}

// NDB returns an ndb database with the header blobs.
func NDB(blobs ...[]byte) []byte {
	const (
		page  = 4096
		block = 16
	)
	little := binary.LittleEndian
	db := make([]byte, page)
	copy(db, "RpmP")
	db[12] = 1
	for off := 2 * block; off < page; off += block {
		copy(db[off:], "Slot")
	}
	for i, blob := range blobs {
		slot := db[(2+i)*block:]
		little.PutUint32(slot[4:], uint32(i+1))
		little.PutUint32(slot[8:], uint32(len(db)/block))
		head := make([]byte, block)
		copy(head, "BlbS")
		little.PutUint32(head[4:], uint32(i+1))
		little.PutUint32(head[12:], uint32(len(blob)))
		db = pad(append(append(db, head...), blob...), block)
	}
	return db
}

// BDB returns a BerkeleyDB hash database with the header blobs. Its pages of
// 512 bytes are the metadata, one page of items, and the overflow pages.
func BDB(order binary.ByteOrder, blobs ...[]byte) []byte {
	const (
		size      = 512
		header    = 26
		keySize   = 5
		valueSize = 12
	)
	db := make([]byte, 2*size)
	order.PutUint32(db[12:], 0x00061561)
	order.PutUint32(db[20:], size)
	db[25] = 8
	page := db[size:]
	page[25] = 13
	order.PutUint16(page[20:], uint16(2*len(blobs)))
	top := size
	var overflow []byte
	for i, blob := range blobs {
		top -= keySize
		page[top] = 1
		order.PutUint16(page[header+4*i:], uint16(top))
		top -= valueSize
		page[top] = 3
		order.PutUint16(page[header+4*i+2:], uint16(top))
		order.PutUint32(page[top+4:], uint32(2+len(overflow)/size))
		order.PutUint32(page[top+8:], uint32(len(blob)))
		for len(blob) > 0 {
			part := blob[:min(len(blob), size-header)]
			blob = blob[len(part):]
			next := make([]byte, size)
			next[25] = 7
			order.PutUint16(next[22:], uint16(len(part)))
			if len(blob) > 0 {
				order.PutUint32(next[16:], uint32(3+len(overflow)/size))
			}
			copy(next[header:], part)
			overflow = append(overflow, next...)
		}
	}
	db = append(db, overflow...)
	order.PutUint32(db[32:], uint32(len(db)/size-1))
	return db
}

// pad fills up with zeros to a multiple of n bytes.
func pad(dt []byte, n int) []byte {
	return append(dt, make([]byte, (n-len(dt)%n)%n)...)
}
