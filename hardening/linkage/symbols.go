package linkage

import (
	"bytes"
	"debug/elf"
	"fmt"
	"io"
	"slices"
)

// Limits on the dynamic symbol table of one file. LLVM's library, one of the
// largest, has 40,000 symbols, and imports 1,000.
const (
	maxImports = 1 << 20
)

// symbolChunk is how much of a symbol or string table is read at once, in bytes.
const symbolChunk = 64 << 10

// Watch is a set of symbol names. Whether a file imports one of them says what it
// may do while it runs: only a file that imports iconv_open reads gconv modules.
// A Watch may be used by several goroutines at once.
type Watch struct {
	names   map[string]string
	longest int
}

// NewWatch returns the set of names.
func NewWatch(names ...string) *Watch {
	w := &Watch{names: make(map[string]string, len(names))}
	for _, n := range names {
		w.names[n] = n
		w.longest = max(w.longest, len(n))
	}
	return w
}

// Parse is Parse, and records in the object's Imports which of the names it
// imports. A symbol table that cannot be read is taken to import all of them: the
// loader may understand it better.
func (w *Watch) Parse(r io.ReaderAt, size int64) (*Object, error) {
	m := &image{r: r, size: max(size, 0), watch: w}
	return m.parse()
}

// imports finds the watched names among the undefined symbols of a file.
func (w *Watch) imports(m *image, d *dynamicTable) ([]string, error) {
	if w == nil || len(w.names) == 0 || d.symtab == 0 {
		return nil, nil
	}
	found, err := w.undefined(m, d)
	if err != nil {
		if !isMalformed(err) {
			return nil, err
		}
		found = found[:0]
		for _, n := range w.names {
			found = append(found, n)
		}
	}
	slices.Sort(found)
	return slices.Clip(slices.Compact(found)), nil
}

// undefined returns those of the watched names that the file imports, in no order.
func (w *Watch) undefined(m *image, d *dynamicTable) (found []string, err error) {
	if err := d.locate(m); err != nil {
		return nil, err
	}
	offsets, err := d.undefinedNames(m)
	if err != nil {
		return nil, err
	}
	// In the order of the string table, so that it is read once from its start.
	slices.Sort(offsets)
	var chunk []byte
	var start uint64
	for _, at := range slices.Compact(offsets) {
		if uint64(at) >= d.end-d.str {
			break // what was read behind the symbol table
		}
		off := d.str + uint64(at)
		want := min(uint64(w.longest)+1, d.end-off)
		if off+want > start+uint64(len(chunk)) {
			n := min(max(want, symbolChunk), d.end-off)
			if chunk, err = m.readInto(chunk, off, n); err != nil {
				return nil, err
			}
			start = off
		}
		name, _, ended := bytes.Cut(chunk[off-start:][:want], []byte{0})
		if !ended {
			continue
		}
		if n, ok := w.names[string(name)]; ok {
			found = append(found, n)
		}
	}
	return found, nil
}

// undefinedNames returns the offsets, in the string table, of the names of the
// undefined symbols.
func (d *dynamicTable) undefinedNames(m *image) ([]uint32, error) {
	size := uint64(elf.Sym32Size)
	if m.is64 {
		size = elf.Sym64Size
	}
	off, left, ok := m.offset(d.symtab)
	if !ok {
		return nil, malformed("the symbol table's address %#x lies in no loaded segment", d.symtab)
	}
	count, err := d.symbolCount(m, size)
	if err != nil {
		return nil, err
	}
	count = min(count, left/size)
	var names []uint32
	var chunk []byte
	for done := uint64(0); done < count; {
		n := min(count-done, symbolChunk/size)
		if chunk, err = m.readInto(chunk, off+done*size, n*size); err != nil {
			return nil, fmt.Errorf("symbol table (DT_SYMTAB): %w", err)
		}
		for s := chunk; len(s) > 0; s = s[size:] {
			// st_shndx stands at 14 in 32-bit files and at 6 in 64-bit ones.
			shndx := s[14:]
			if m.is64 {
				shndx = s[6:]
			}
			if name := m.order.Uint32(s); name != 0 && m.order.Uint16(shndx) == uint16(elf.SHN_UNDEF) {
				if len(names) == maxImports {
					return nil, malformed("it imports more than %d symbols", maxImports)
				}
				names = append(names, name)
			}
		}
		done += n
	}
	return names, nil
}

// symbolCount returns at least the number of symbols. The loader needs none, so
// none is recorded; but the System V hash table has an element for each, and the
// symbol table ends where another begins. The GNU hash table tells nothing:
// undefined symbols stand before those that it holds and between them.
func (d *dynamicTable) symbolCount(m *image, size uint64) (uint64, error) {
	next := ^uint64(0)
	for _, a := range d.addresses {
		if a > d.symtab {
			next = min(next, a)
		}
	}
	count := (next - d.symtab) / size
	if d.hash == 0 {
		return count, nil
	}
	off, _, ok := m.offset(d.hash)
	if !ok {
		return 0, malformed("the hash table's address %#x lies in no loaded segment", d.hash)
	}
	h, err := m.read(off, 2*d.hashWord)
	if err != nil {
		return 0, fmt.Errorf("hash table (DT_HASH): %w", err)
	}
	if d.hashWord == 8 {
		return min(count, m.order.Uint64(h[8:])), nil
	}
	return min(count, uint64(m.order.Uint32(h[4:]))), nil
}

// readInto is read for large parts, which shall not displace the window. The
// result is buf when it is large enough.
func (m *image) readInto(buf []byte, off, n uint64) ([]byte, error) {
	if size := uint64(m.size); off > size || n > size-off {
		return nil, malformed("%d bytes at offset %d lie past the end of the file, which has %d bytes", n, off, size)
	}
	buf = slices.Grow(buf[:0], int(n))[:n]
	if got, err := m.r.ReadAt(buf, int64(off)); uint64(got) < n {
		return nil, m.short(off, got, err)
	}
	return buf, nil
}
