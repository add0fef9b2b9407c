package closure

import (
	"bytes"
	"cmp"
	"debug/elf"
	"encoding/binary"
	"io"
	"slices"
)

// maxSectionNames bounds the table of section names that is read, in bytes.
const maxSectionNames = 1 << 20

// span is a part of a file, from start up to end, in bytes.
type span struct{ start, end int64 }

// withoutSymbols reads a file without the parts of an ELF file that no program
// looks into: debugging information, symbols and their names. In a program that
// was not stripped they hold thousands of words that are names of commands too.
func withoutSymbols(f io.ReaderAt, size int64) io.Reader {
	var parts []io.Reader
	at := int64(0)
	for _, s := range symbolSections(f, size) {
		if s.start > at {
			// A string ends where a section does.
			parts = append(parts, io.NewSectionReader(f, at, s.start-at), bytes.NewReader([]byte{0}))
		}
		at = max(at, s.end)
	}
	return io.MultiReader(append(parts, io.NewSectionReader(f, at, size-at))...)
}

// symbolSections finds, by the section headers of an ELF file, the parts that
// withoutSymbols leaves out, by their beginning. A malformed file has none.
func symbolSections(f io.ReaderAt, size int64) []span {
	var head [elf.EI_NIDENT + 48]byte
	if n, _ := f.ReadAt(head[:], 0); n < 52 || string(head[:4]) != elf.ELFMAG {
		return nil
	}
	var order binary.ByteOrder = binary.LittleEndian
	if elf.Data(head[elf.EI_DATA]) == elf.ELFDATA2MSB {
		order = binary.BigEndian
	}
	is64 := elf.Class(head[elf.EI_CLASS]) == elf.ELFCLASS64
	table, width, counts := int64(order.Uint32(head[32:])), 40, head[46:]
	if is64 {
		table, width, counts = int64(order.Uint64(head[40:])), 64, head[58:]
	}
	count, names := int(order.Uint16(counts[2:])), int(order.Uint16(counts[4:]))
	if int(order.Uint16(counts)) != width || table <= 0 || table > size-int64(count*width) || names >= count {
		return nil
	}
	headers := make([]byte, count*width)
	if _, err := f.ReadAt(headers, table); err != nil {
		return nil
	}
	section := func(i int) (name uint32, kind elf.SectionType, flags elf.SectionFlag, where span) {
		h := headers[i*width:]
		name, kind = order.Uint32(h), elf.SectionType(order.Uint32(h[4:]))
		if is64 {
			start := int64(order.Uint64(h[24:]))
			return name, kind, elf.SectionFlag(order.Uint64(h[8:])), span{start, start + int64(order.Uint64(h[32:]))}
		}
		start := int64(order.Uint32(h[16:]))
		return name, kind, elf.SectionFlag(order.Uint32(h[8:])), span{start, start + int64(order.Uint32(h[20:]))}
	}
	_, _, _, at := section(names)
	if at.start < 0 || at.end > size || at.end < at.start || at.end-at.start > maxSectionNames {
		return nil
	}
	text := make([]byte, at.end-at.start)
	if _, err := f.ReadAt(text, at.start); err != nil {
		return nil
	}
	var found []span
	for i := range count {
		name, kind, flags, where := section(i)
		if where.start <= 0 || where.end > size || where.end <= where.start || kind == elf.SHT_NOBITS || int64(name) >= int64(len(text)) {
			continue
		}
		is := func(prefix string) bool { return bytes.HasPrefix(text[name:], []byte(prefix)) }
		debug := flags&elf.SHF_ALLOC == 0 && slices.ContainsFunc([]string{".debug", ".zdebug", ".gnu.debug", ".stab"}, is)
		if debug || kind == elf.SHT_SYMTAB || kind == elf.SHT_DYNSYM || kind == elf.SHT_STRTAB {
			found = append(found, where)
		}
	}
	slices.SortFunc(found, func(a, b span) int { return cmp.Compare(a.start, b.start) })
	return found
}
