// Package linkagetest makes ELF files for tests: headers, an interpreter, notes
// and a dynamic section, and no code.
package linkagetest

import (
	"cmp"
	"debug/elf"
	"encoding/binary"
)

// Image describes an ELF file. Its zero value is an empty amd64 shared object.
type Image struct {
	Class   elf.Class
	Data    elf.Data
	Machine elf.Machine
	Type    elf.Type
	// Interp is PT_INTERP, Soname DT_SONAME and Needed the DT_NEEDED names.
	Interp string
	Needed []string
	Soname string
	// Filters are the DT_FILTER names, Auxiliary those of DT_AUXILIARY.
	Filters, Auxiliary []string
	// RPath and RunPath are DT_RPATH and DT_RUNPATH, absent when nil.
	RPath, RunPath *string
	// Flags1 is DT_FLAGS_1, absent when zero.
	Flags1 uint64
	// Dlopen is the JSON text of a dlopen note, absent when empty.
	Dlopen string
	// Property adds a note of GNU properties in PT_NOTE and PT_GNU_PROPERTY.
	Property bool
	// Entry is the entry point.
	Entry uint64
	// Imports are the names of undefined symbols, Exports those of defined ones;
	// without either there is no symbol table.
	Imports, Exports []string
	// Defines are the symbol versions of DT_VERDEF, Requires those of DT_VERNEED.
	Defines  []string
	Requires []Require
	// Hash says which table of hashed symbols goes with them.
	Hash Hash
	// SymTab and HashTab, when not zero, are the addresses that the dynamic section
	// gives for the tables instead of the right ones.
	SymTab, HashTab uint64
	// Static leaves out the dynamic section.
	Static bool
	// Padding is the number of bytes between the headers and the rest.
	Padding int
}

// Require is what a file requires of one that it needs.
type Require struct {
	File     string
	Versions []string
	// Weak marks the versions as ones that may be absent.
	Weak bool
}

// Hash is a form of the table of hashed symbols.
type Hash uint8

// The values of Hash.
const (
	// HashGNU is DT_GNU_HASH.
	HashGNU Hash = iota
	// HashGNUEmpty is DT_GNU_HASH as linkers write it when there are no exports.
	HashGNUEmpty
	// HashSysV is DT_HASH.
	HashSysV
	// HashNone leaves the table out.
	HashNone
)

const (
	loadBase        = 0x10000
	ehdr32, ehdr64  = 52, 64
	phdr32, phdr64  = 32, 56
	noteDlopen      = 0x407c0c0a
	noteDlopenOwner = "FDO"
)

// Bytes writes the file: headers, interpreter, note, string table, dynamic section.
func (e Image) Bytes() []byte {
	if e.Class == 0 {
		e.Class, e.Data, e.Machine = elf.ELFCLASS64, elf.ELFDATA2LSB, elf.EM_X86_64
	}
	if e.Type == 0 {
		e.Type = elf.ET_DYN
	}
	var order binary.AppendByteOrder = binary.LittleEndian
	if e.Data == elf.ELFDATA2MSB {
		order = binary.BigEndian
	}
	is64 := e.Class == elf.ELFCLASS64
	word := func(b []byte, v uint64) []byte {
		if is64 {
			return order.AppendUint64(b, v)
		}
		return order.AppendUint32(b, uint32(v))
	}
	ehsize, phsize := uint64(ehdr32), uint64(phdr32)
	if is64 {
		ehsize, phsize = ehdr64, phdr64
	}

	type part struct {
		typ  elf.ProgType
		data []byte
		off  uint64
	}
	var parts []*part
	if e.Interp != "" {
		parts = append(parts, &part{typ: elf.PT_INTERP, data: append([]byte(e.Interp), 0)})
	}
	if e.Property {
		// NT_GNU_PROPERTY_TYPE_0 with 16 bytes: "this uses indirect branch tracking".
		property := order.AppendUint32(order.AppendUint32(order.AppendUint32(nil, 4), 16), 5)
		property = append(property, "GNU\x00"...)
		for _, v := range []uint32{0xc0000002, 4, 3, 0} {
			property = order.AppendUint32(property, v)
		}
		parts = append(parts, &part{typ: elf.PT_NOTE, data: property}, &part{typ: elf.PT_GNU_PROPERTY, data: property})
	}
	if e.Dlopen != "" {
		parts = append(parts, &part{typ: elf.PT_NOTE, data: note(order, noteDlopen, noteDlopenOwner, e.Dlopen)})
	}
	strtab := &part{data: []byte{0}}
	name := func(s string) uint64 {
		at := len(strtab.data)
		strtab.data = append(append(strtab.data, s...), 0)
		return uint64(at)
	}
	type entry struct {
		tag elf.DynTag
		val uint64
	}
	var entries []entry
	for _, n := range e.Needed {
		entries = append(entries, entry{elf.DT_NEEDED, name(n)})
	}
	for _, n := range e.Filters {
		entries = append(entries, entry{elf.DT_FILTER, name(n)})
	}
	for _, n := range e.Auxiliary {
		entries = append(entries, entry{elf.DT_AUXILIARY, name(n)})
	}
	if e.Soname != "" {
		entries = append(entries, entry{elf.DT_SONAME, name(e.Soname)})
	}
	if e.RPath != nil {
		entries = append(entries, entry{elf.DT_RPATH, name(*e.RPath)})
	}
	if e.RunPath != nil {
		entries = append(entries, entry{elf.DT_RUNPATH, name(*e.RunPath)})
	}
	if e.Flags1 != 0 {
		entries = append(entries, entry{elf.DT_FLAGS_1, e.Flags1})
	}
	dynamic := &part{typ: elf.PT_DYNAMIC}
	symtab, hash := &part{}, &part{}
	if len(e.Imports)+len(e.Exports) > 0 {
		symtab.data, hash.data = e.symbols(order, name)
		parts = append(parts, hash, symtab)
	}
	verdef, verneed := &part{data: e.definitions(order, name)}, &part{data: e.requirements(order, name)}
	if !e.Static {
		parts = append(parts, verdef, verneed, strtab, dynamic)
	}
	phnum := uint64(1)
	for _, p := range parts {
		if p.typ != elf.PT_NULL {
			phnum++
		}
	}
	off := ehsize + phnum*phsize + uint64(e.Padding)
	for _, p := range parts {
		p.off = (off + 7) &^ 7
		off = p.off + uint64(len(p.data))
	}
	if len(symtab.data) > 0 {
		entries = append(entries, entry{elf.DT_SYMTAB, cmp.Or(e.SymTab, symtab.off+loadBase)})
	}
	if len(hash.data) > 0 {
		tag := elf.DT_GNU_HASH
		if e.Hash == HashSysV {
			tag = elf.DT_HASH
		}
		entries = append(entries, entry{tag, cmp.Or(e.HashTab, hash.off+loadBase)})
	}
	if len(e.Defines) > 0 {
		entries = append(entries, entry{elf.DT_VERDEF, verdef.off + loadBase}, entry{elf.DT_VERDEFNUM, uint64(len(e.Defines))})
	}
	if len(e.Requires) > 0 {
		entries = append(entries, entry{elf.DT_VERNEED, verneed.off + loadBase}, entry{elf.DT_VERNEEDNUM, uint64(len(e.Requires))})
	}
	entries = append(entries, entry{elf.DT_STRTAB, strtab.off + loadBase}, entry{elf.DT_STRSZ, uint64(len(strtab.data))}, entry{})
	for _, d := range entries {
		dynamic.data = word(word(dynamic.data, uint64(d.tag)), d.val)
	}
	if !e.Static {
		off += uint64(len(dynamic.data))
	}

	b := append([]byte(elf.ELFMAG), byte(e.Class), byte(e.Data), 1, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	b = order.AppendUint16(b, uint16(e.Type))
	b = order.AppendUint16(b, uint16(e.Machine))
	b = order.AppendUint32(b, 1)
	b = word(word(word(b, e.Entry), ehsize), 0)
	b = order.AppendUint32(b, 0)
	for _, v := range []uint64{ehsize, phsize, phnum, 0, 0, 0} {
		b = order.AppendUint16(b, uint16(v))
	}
	phdr := func(typ elf.ProgType, at, size uint64) {
		b = order.AppendUint32(b, uint32(typ))
		if is64 {
			b = order.AppendUint32(b, 4)
		}
		b = word(word(word(word(word(b, at), at+loadBase), at+loadBase), size), size)
		if !is64 {
			b = order.AppendUint32(b, 4)
		}
		b = word(b, 4)
	}
	phdr(elf.PT_LOAD, 0, off)
	for _, p := range parts {
		if p.typ != elf.PT_NULL {
			phdr(p.typ, p.off, uint64(len(p.data)))
		}
	}
	for _, p := range parts {
		b = append(append(b, make([]byte, p.off-uint64(len(b)))...), p.data...)
	}
	return b
}

// note encodes an ELF note.
func note(order binary.AppendByteOrder, typ uint32, owner, desc string) []byte {
	b := order.AppendUint32(nil, uint32(len(owner)+1))
	b = order.AppendUint32(b, uint32(len(desc)+1))
	b = order.AppendUint32(b, typ)
	for _, s := range []string{owner, desc} {
		b = append(append(b, s...), 0)
		for len(b)%4 != 0 {
			b = append(b, 0)
		}
	}
	return b
}

// symbols encodes the symbol table and its hash table, which no more than says how
// long the former is.
func (e Image) symbols(order binary.AppendByteOrder, name func(string) uint64) (symtab, hash []byte) {
	size := elf.Sym32Size
	if e.Class == elf.ELFCLASS64 {
		size = elf.Sym64Size
	}
	add := func(at uint32, shndx uint16) {
		s := make([]byte, size)
		order.AppendUint32(s[:0], at)
		where := 14
		if e.Class == elf.ELFCLASS64 {
			where = 6
		}
		order.AppendUint16(s[where:where], shndx)
		symtab = append(symtab, s...)
	}
	add(0, 0)
	for _, n := range e.Imports {
		add(uint32(name(n)), uint16(elf.SHN_UNDEF))
	}
	for _, n := range e.Exports {
		add(uint32(name(n)), uint16(elf.SHN_ABS))
	}
	count := uint32(len(symtab) / size)
	switch e.Hash {
	case HashGNU:
		hash = order.AppendUint32(order.AppendUint32(nil, 1), uint32(1+len(e.Imports)))
	case HashGNUEmpty:
		hash = order.AppendUint32(order.AppendUint32(nil, 1), 1)
	case HashSysV:
		if e.Class == elf.ELFCLASS64 && e.Machine == elf.EM_S390 {
			hash = order.AppendUint64(order.AppendUint64(nil, 1), uint64(count))
		} else {
			hash = order.AppendUint32(order.AppendUint32(nil, 1), count)
		}
	}
	return symtab, hash
}

// definitions encodes DT_VERDEF: each version with the one name that is its own.
func (e Image) definitions(order binary.AppendByteOrder, name func(string) uint64) []byte {
	var b []byte
	for i, d := range e.Defines {
		next := uint32(28)
		if i == len(e.Defines)-1 {
			next = 0
		}
		for _, v := range []uint16{1, 0, uint16(i + 1), 1} {
			b = order.AppendUint16(b, v)
		}
		for _, v := range []uint32{0, 20, next, uint32(name(d)), 0} {
			b = order.AppendUint32(b, v)
		}
	}
	return b
}

// requirements encodes DT_VERNEED.
func (e Image) requirements(order binary.AppendByteOrder, name func(string) uint64) []byte {
	var b []byte
	for i, r := range e.Requires {
		next := uint32(16 + 16*len(r.Versions))
		if i == len(e.Requires)-1 {
			next = 0
		}
		b = order.AppendUint16(order.AppendUint16(b, 1), uint16(len(r.Versions)))
		for _, v := range []uint32{uint32(name(r.File)), 16, next} {
			b = order.AppendUint32(b, v)
		}
		for j, v := range r.Versions {
			step, flags := uint32(16), uint16(0)
			if j == len(r.Versions)-1 {
				step = 0
			}
			if r.Weak {
				flags = 2
			}
			b = order.AppendUint32(b, 0)
			b = order.AppendUint16(order.AppendUint16(b, flags), uint16(j+2))
			b = order.AppendUint32(order.AppendUint32(b, uint32(name(v))), step)
		}
	}
	return b
}
