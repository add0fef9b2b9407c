package loadcheck

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// page is how much of a file is read at once, in bytes, and pages how many of
// these stay in memory.
const (
	page  = 16 << 10
	pages = 4
)

// errFormat says that a file is not what a loader can load.
var errFormat = errors.New("not a well-formed ELF file")

func badFormat(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errFormat, fmt.Sprintf(format, args...))
}

// segment is a part of the file that is mapped to addresses (PT_LOAD).
type segment struct{ vaddr, off, size uint64 }

// memory is an ELF file as a process would see it: by address.
type memory struct {
	file     io.ReaderAt
	size     uint64
	order    binary.ByteOrder
	wide     bool // 64-bit
	segments []segment

	cached [pages]struct {
		off uint64
		dt  []byte
	}
	next int
}

// at returns up to n bytes at a file offset: fewer only at the end of the file.
// They are valid until the next calls.
func (m *memory) at(off, n uint64) ([]byte, error) {
	if off >= m.size {
		return nil, badFormat("offset %d lies past the end, at %d", off, m.size)
	}
	n = min(n, m.size-off)
	for i := range m.cached {
		if c := &m.cached[i]; off >= c.off && off+n <= c.off+uint64(len(c.dt)) {
			return c.dt[off-c.off:][:n], nil
		}
	}
	c := &m.cached[m.next]
	m.next = (m.next + 1) % pages
	want := min(max(n, page), m.size-off)
	if uint64(cap(c.dt)) < want {
		c.dt = make([]byte, want)
	}
	got, err := m.file.ReadAt(c.dt[:want], int64(off))
	c.off, c.dt = off, c.dt[:got]
	if uint64(got) < n {
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		return nil, badFormat("it became shorter while it was read")
	}
	return c.dt[:n], nil
}

// exactly returns n bytes at a file offset.
func (m *memory) exactly(off, n uint64) ([]byte, error) {
	b, err := m.at(off, n)
	if err == nil && uint64(len(b)) < n {
		err = badFormat("%d bytes at offset %d reach past the end, at %d", n, off, m.size)
	}
	return b, err
}

// where translates an address into a file offset, and says how many bytes of
// the file are mapped from there.
func (m *memory) where(vaddr uint64) (off, left uint64, err error) {
	for _, s := range m.segments {
		if vaddr >= s.vaddr && vaddr-s.vaddr < s.size {
			d := vaddr - s.vaddr
			if s.off+d < d {
				break
			}
			return s.off + d, s.size - d, nil
		}
	}
	return 0, 0, badFormat("no segment is loaded at address %#x", vaddr)
}

// load returns n bytes at an address.
func (m *memory) load(vaddr, n uint64) ([]byte, error) {
	off, left, err := m.where(vaddr)
	if err != nil {
		return nil, err
	}
	if n > left {
		return nil, badFormat("%d bytes at address %#x reach past their segment", n, vaddr)
	}
	return m.exactly(off, n)
}

// text returns the string at an address; longer than limit bytes is an error.
func (m *memory) text(vaddr, limit uint64) (string, error) {
	off, left, err := m.where(vaddr)
	if err != nil {
		return "", err
	}
	left = min(left, limit)
	for n := min(left, 256); ; n = left {
		b, err := m.at(off, n)
		if err != nil {
			return "", err
		}
		if i := bytes.IndexByte(b, 0); i >= 0 {
			return string(b[:i]), nil
		}
		if n == left || uint64(len(b)) < n {
			return "", badFormat("the string at address %#x has no end within %d bytes", vaddr, left)
		}
	}
}

// word decodes an address-sized number.
func (m *memory) word(b []byte) uint64 {
	if m.wide {
		return m.order.Uint64(b)
	}
	return uint64(m.order.Uint32(b))
}
