package linkage

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"strings"
)

// The ABIs that the tests make files for.
var (
	amd64   = ABI{elf.ELFCLASS64, elf.ELFDATA2LSB, elf.EM_X86_64}
	i386    = ABI{elf.ELFCLASS32, elf.ELFDATA2LSB, elf.EM_386}
	arm64   = ABI{elf.ELFCLASS64, elf.ELFDATA2LSB, elf.EM_AARCH64}
	arm     = ABI{elf.ELFCLASS32, elf.ELFDATA2LSB, elf.EM_ARM}
	riscv64 = ABI{elf.ELFCLASS64, elf.ELFDATA2LSB, elf.EM_RISCV}
	ppc64le = ABI{elf.ELFCLASS64, elf.ELFDATA2LSB, elf.EM_PPC64}
	s390x   = ABI{elf.ELFCLASS64, elf.ELFDATA2MSB, elf.EM_S390}
)

// elfImage describes an ELF file. Its segments are mapped at loadBase.
type elfImage struct {
	abi            ABI // amd64 when zero
	typ            elf.Type
	interp         string
	needed         []string
	soname         string
	rpath, runpath *string
	flags1         uint64
	dlopen         string // JSON
	entry          uint64
	static         bool // no dynamic section
	padding        int  // bytes between the headers and the rest
}

const loadBase = 0x10000

func str(s string) *string { return &s }

// bytes writes the file: headers, interpreter, note, string table, dynamic section.
func (e elfImage) bytes() []byte {
	if e.abi == (ABI{}) {
		e.abi = amd64
	}
	if e.typ == 0 {
		e.typ = elf.ET_DYN
	}
	var order binary.AppendByteOrder = binary.LittleEndian
	if e.abi.Data == elf.ELFDATA2MSB {
		order = binary.BigEndian
	}
	is64 := e.abi.Class == elf.ELFCLASS64
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
	if e.interp != "" {
		parts = append(parts, &part{typ: elf.PT_INTERP, data: append([]byte(e.interp), 0)})
	}
	if e.dlopen != "" {
		parts = append(parts, &part{typ: elf.PT_NOTE, data: note(order, noteDlopen, noteDlopenOwner, e.dlopen)})
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
	for _, n := range e.needed {
		entries = append(entries, entry{elf.DT_NEEDED, name(n)})
	}
	if e.soname != "" {
		entries = append(entries, entry{elf.DT_SONAME, name(e.soname)})
	}
	if e.rpath != nil {
		entries = append(entries, entry{elf.DT_RPATH, name(*e.rpath)})
	}
	if e.runpath != nil {
		entries = append(entries, entry{elf.DT_RUNPATH, name(*e.runpath)})
	}
	if e.flags1 != 0 {
		entries = append(entries, entry{elf.DT_FLAGS_1, e.flags1})
	}
	dynamic := &part{typ: elf.PT_DYNAMIC}
	if !e.static {
		parts = append(parts, strtab, dynamic)
	}
	phnum := uint64(1)
	for _, p := range parts {
		if p.typ != elf.PT_NULL {
			phnum++
		}
	}
	off := ehsize + phnum*phsize + uint64(e.padding)
	for _, p := range parts {
		p.off = (off + 7) &^ 7
		off = p.off + uint64(len(p.data))
	}
	entries = append(entries, entry{elf.DT_STRTAB, strtab.off + loadBase}, entry{elf.DT_STRSZ, uint64(len(strtab.data))}, entry{})
	for _, d := range entries {
		dynamic.data = word(word(dynamic.data, uint64(d.tag)), d.val)
	}
	if !e.static {
		off += uint64(len(dynamic.data))
	}

	b := append([]byte(elf.ELFMAG), byte(e.abi.Class), byte(e.abi.Data), 1, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	b = order.AppendUint16(b, uint16(e.typ))
	b = order.AppendUint16(b, uint16(e.abi.Machine))
	b = order.AppendUint32(b, 1)
	b = word(word(word(b, e.entry), ehsize), 0)
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

// cacheLine is an entry of a crafted ld.so.cache.
type cacheLine struct {
	flags uint32
	hwcap uint64
	path  string
}

func base(p string) string { return p[strings.LastIndexByte(p, '/')+1:] }

// cacheImage writes ld.so.cache in the format of glibc 2.32 and later.
func cacheImage(order binary.AppendByteOrder, endian byte, lines []cacheLine) []byte {
	b := []byte(cacheMagicNew)
	var names []byte
	start := uint32(cacheHeaderNew + len(lines)*cacheEntryNew)
	b = order.AppendUint32(b, uint32(len(lines)))
	at := len(b)
	b = append(b, make([]byte, cacheHeaderNew-len(b))...)
	b[28] = endian
	for _, l := range lines {
		b = order.AppendUint32(b, l.flags)
		value := start + uint32(len(names))
		b = order.AppendUint32(b, value+uint32(len(l.path)-len(base(l.path))))
		b = order.AppendUint32(b, value)
		b = order.AppendUint32(b, 0)
		b = order.AppendUint64(b, l.hwcap)
		names = append(append(names, l.path...), 0)
	}
	order.AppendUint32(b[at:at], uint32(len(names)))
	return append(b, names...)
}

// oldCacheImage writes the format before glibc 2.2, with newer behind it.
func oldCacheImage(order binary.AppendByteOrder, lines []cacheLine, newer []byte) []byte {
	b := append([]byte(cacheMagicOld), 0)
	b = order.AppendUint32(b, uint32(len(lines)))
	var names []byte
	for _, l := range lines {
		b = order.AppendUint32(b, l.flags)
		at := uint32(len(names))
		b = order.AppendUint32(b, at+uint32(len(l.path)-len(base(l.path))))
		b = order.AppendUint32(b, at)
		names = append(append(names, l.path...), 0)
	}
	if newer != nil {
		b = append(b, bytes.Repeat([]byte{0}, (8-len(b)%8)%8)...)
		return append(b, newer...)
	}
	return append(b, names...)
}
