package rpmdb

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// The tags that are read (rpm 4.18, include/rpm/rpmtag.h).
const (
	TagName          = 1000
	TagVersion       = 1001
	TagRelease       = 1002
	TagEpoch         = 1003
	TagArch          = 1022
	TagOldFileNames  = 1027
	TagFileStates    = 1029
	TagFileFlags     = 1037
	TagSourceRPM     = 1044
	TagProvideName   = 1047
	TagRequireFlags  = 1048
	TagRequireName   = 1049
	TagDirIndexes    = 1116
	TagBaseNames     = 1117
	TagDirNames      = 1118
	TagRecommendName = 5046
)

// The types of tags.
const (
	typeChar        = 1
	typeInt8        = 2
	typeInt16       = 3
	typeInt32       = 4
	typeString      = 6
	typeBin         = 7
	typeStringArray = 8
	typeI18NString  = 9
)

// maxTags is rpm's own limit (lib/header_internal.h). maxCount bounds the
// elements of one tag; the largest real packages have some 100,000 files.
const (
	maxTags  = 0xffff
	maxCount = 1 << 20
)

// Header is a package's header: an index of tags and the data it points into.
type Header struct {
	tags map[uint32]tag
	data []byte
}

type tag struct{ kind, offset, count uint32 }

// ParseHeader reads the index of a header blob, which the header keeps.
func ParseHeader(blob []byte) (*Header, error) {
	start, err := span(blob, 0, 8)
	if err != nil {
		return nil, fmt.Errorf("package header: %w", err)
	}
	n, size := int64(binary.BigEndian.Uint32(start)), int64(binary.BigEndian.Uint32(start[4:]))
	if n < 1 || n > maxTags {
		return nil, fmt.Errorf("package header: %w: %d tags", errDamaged, n)
	}
	index, err := span(blob, 8, 16*n)
	if err != nil {
		return nil, fmt.Errorf("package header: %w", err)
	}
	data, err := span(blob, 8+16*n, size)
	if err != nil {
		return nil, fmt.Errorf("package header: %w", err)
	}
	h := &Header{tags: make(map[uint32]tag, n), data: data}
	for ; len(index) > 0; index = index[16:] {
		// Tags that were added after the package was built come last and count.
		h.tags[binary.BigEndian.Uint32(index)] = tag{
			binary.BigEndian.Uint32(index[4:]), binary.BigEndian.Uint32(index[8:]), binary.BigEndian.Uint32(index[12:]),
		}
	}
	return h, nil
}

// Strings returns the strings of a tag; none when the header lacks it.
func (h *Header) Strings(id uint32) ([]string, error) {
	t, ok := h.tags[id]
	if !ok {
		return nil, nil
	}
	rest, err := span(h.data, int64(t.offset), int64(len(h.data))-int64(t.offset))
	if err != nil || (t.kind != typeString && t.kind != typeStringArray && t.kind != typeI18NString) || int64(t.count) > int64(len(rest)) || t.count > maxCount {
		return nil, fmt.Errorf("package header: %w: tag %d of type %d with %d strings at %d", errDamaged, id, t.kind, t.count, t.offset)
	}
	list := make([]string, 0, t.count)
	for range t.count {
		end := bytes.IndexByte(rest, 0)
		if end < 0 {
			return nil, fmt.Errorf("package header: %w: tag %d has %d of %d strings", errDamaged, id, len(list), t.count)
		}
		list = append(list, string(rest[:end]))
		rest = rest[end+1:]
	}
	return list, nil
}

// Numbers returns the numbers of a tag of at most 32 bits each; none when the
// header lacks it.
func (h *Header) Numbers(id uint32) ([]uint32, error) {
	t, ok := h.tags[id]
	if !ok {
		return nil, nil
	}
	width := map[uint32]int64{typeChar: 1, typeInt8: 1, typeInt16: 2, typeInt32: 4, typeBin: 1}[t.kind]
	data, err := span(h.data, int64(t.offset), int64(t.count)*width)
	if err != nil || width == 0 || t.count > maxCount {
		return nil, fmt.Errorf("package header: %w: tag %d of type %d with %d numbers at %d", errDamaged, id, t.kind, t.count, t.offset)
	}
	list := make([]uint32, 0, t.count)
	for ; len(data) > 0; data = data[width:] {
		var n uint32
		for _, b := range data[:width] {
			n = n<<8 | uint32(b)
		}
		list = append(list, n)
	}
	return list, nil
}
