package linkage

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
)

// maxCache bounds /etc/ld.so.cache, in bytes; a desktop's has 200 KB.
const maxCache = 8 << 20

// The two formats of ld.so.cache. Since glibc 2.2 the newer one stands behind the
// older one, since 2.32 alone.
const (
	cacheMagicOld = "ld.so-1.7.0"
	cacheMagicNew = "glibc-ld.so.cache1.1"

	cacheHeaderOld, cacheEntryOld = 16, 12
	cacheHeaderNew, cacheEntryNew = 48, 24
)

// cacheEntry is a library that ldconfig found.
type cacheEntry struct {
	flags int32 // the ABI, as ldconfig numbers it
	// variant says that only processors with certain capabilities take it.
	variant bool
	path    string
}

// parseCache reads a file that ldconfig wrote and returns its entries by name,
// in the order of the file.
func parseCache(dt []byte) (map[string][]cacheEntry, error) {
	if bytes.HasPrefix(dt, []byte(cacheMagicNew)) {
		return parseCacheNew(dt)
	}
	if !bytes.HasPrefix(dt, []byte(cacheMagicOld)) || len(dt) < cacheHeaderOld {
		return nil, errors.New("it does not start as a cache of ldconfig does")
	}
	for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
		count := uint64(order.Uint32(dt[12:]))
		end := cacheHeaderOld + count*cacheEntryOld
		if end > uint64(len(dt)) {
			continue
		}
		// The newer format is aligned as its 64-bit fields are on the machine.
		for _, align := range []uint64{8, 4} {
			at := (end + align - 1) &^ (align - 1)
			if at <= uint64(len(dt)) && bytes.HasPrefix(dt[at:], []byte(cacheMagicNew)) {
				return parseCacheNew(dt[at:])
			}
		}
		return cacheEntries(dt[cacheHeaderOld:end], string(dt[end:]), cacheEntryOld, order)
	}
	return nil, errors.New("it has room for fewer entries than it announces")
}

func parseCacheNew(dt []byte) (map[string][]cacheEntry, error) {
	if len(dt) < cacheHeaderNew {
		return nil, errors.New("its header is cut off")
	}
	orders := []binary.ByteOrder{binary.LittleEndian, binary.BigEndian}
	switch endian := dt[28] & 3; endian {
	case 1:
		return nil, errors.New("its byte order is marked as invalid")
	case 2:
		orders = orders[:1]
	case 3:
		orders = orders[1:]
	}
	for _, order := range orders {
		count := uint64(order.Uint32(dt[20:]))
		end := cacheHeaderNew + count*cacheEntryNew
		if end <= uint64(len(dt)) {
			return cacheEntries(dt[cacheHeaderNew:end], string(dt), cacheEntryNew, order)
		}
	}
	return nil, errors.New("it has room for fewer entries than it announces")
}

// cacheEntries decodes a table of entries whose names are offsets into str, and
// parts of it: entries that overlap take no more memory.
func cacheEntries(table []byte, str string, size int, order binary.ByteOrder) (map[string][]cacheEntry, error) {
	entries := make(map[string][]cacheEntry, len(table)/size)
	for ; len(table) >= size; table = table[size:] {
		key, err := cacheString(str, order.Uint32(table[4:]))
		if err != nil {
			return nil, err
		}
		value, err := cacheString(str, order.Uint32(table[8:]))
		if err != nil {
			return nil, err
		}
		entries[key] = append(entries[key], cacheEntry{
			flags:   int32(order.Uint32(table)),
			variant: size == cacheEntryNew && order.Uint64(table[16:]) != 0,
			path:    value,
		})
	}
	return entries, nil
}

func cacheString(str string, at uint32) (string, error) {
	if uint64(at) >= uint64(len(str)) {
		return "", fmt.Errorf("a name at offset %d lies past its end", at)
	}
	str = str[at:]
	end := strings.IndexByte(str[:min(len(str), maxName)], 0)
	if end < 0 {
		return "", fmt.Errorf("a name at offset %d has no end within %d bytes", at, maxName)
	}
	return str[:end], nil
}
