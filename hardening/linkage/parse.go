package linkage

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Limits on what one ELF file may hold. The largest real values seen are about
// a tenth of each.
const (
	maxProgramHeaders = 4096
	maxDynamic        = 1 << 20 // bytes of PT_DYNAMIC
	maxNeeded         = 1024    // DT_NEEDED entries
	maxName           = 4096    // bytes of one name, Linux's PATH_MAX
	maxSearchPath     = 64 << 10
	maxSearchDirs     = 256
)

// window is how much is read at once, in bytes: the headers and the notes of
// nearly every file fit in its first window.
const window = 4096

// Sizes of the structures in 32-bit and 64-bit files, in bytes.
const (
	ehdr32, ehdr64 = 52, 64
	phdr32, phdr64 = 32, 56
)

// Parse reads the ELF file of size bytes in r, through its program headers only,
// as the loader does. It answers ErrNotELF, a *FormatError, or what r answered.
func Parse(r io.ReaderAt, size int64) (*Object, error) {
	return (*Watch)(nil).Parse(r, size)
}

func (m *image) parse() (*Object, error) {
	magic, err := m.read(0, uint64(min(m.size, elf.EI_NIDENT)))
	if err != nil {
		return nil, err
	}
	if !bytes.HasPrefix(magic, []byte(elf.ELFMAG)) {
		return nil, ErrNotELF
	}
	o, phdrs, err := m.header(magic)
	if err != nil {
		return nil, err
	}
	if o.Type != elf.ET_EXEC && o.Type != elf.ET_DYN {
		return o, nil
	}
	if err := m.object(o, phdrs); err != nil {
		return nil, err
	}
	return o, nil
}

// image is an ELF file that is being read.
type image struct {
	r     io.ReaderAt
	size  int64
	order binary.ByteOrder
	is64  bool
	entry uint64
	loads []segment // PT_LOAD, in the order of the file
	watch *Watch    // nil when no imports are wanted

	head, win []byte // what was read last: at offset 0, and at winOff
	winOff    uint64
}

type segment struct {
	typ                    elf.ProgType
	off, vaddr, size, algn uint64
}

// read returns n bytes at off. They are valid until the next call.
func (m *image) read(off, n uint64) ([]byte, error) {
	size := uint64(m.size)
	if off > size || n > size-off {
		return nil, malformed("%d bytes at offset %d lie past the end of the file, which has %d bytes", n, off, size)
	}
	if off+n <= uint64(len(m.head)) {
		return m.head[off : off+n], nil
	}
	if off >= m.winOff && off+n <= m.winOff+uint64(len(m.win)) {
		return m.win[off-m.winOff:][:n], nil
	}
	want := min(max(n, window), size-off)
	buf := m.win[:0]
	if off == 0 || uint64(cap(buf)) < want {
		buf = make([]byte, want)
	}
	buf = buf[:want]
	got, err := m.r.ReadAt(buf, int64(off))
	if uint64(got) < n {
		return nil, m.short(off, got, err)
	}
	if off == 0 {
		m.head = buf[:got]
	} else {
		m.win, m.winOff = buf[:got], off
	}
	return buf[:n], nil
}

// short is the error for a read at off that gave only got bytes.
func (m *image) short(off uint64, got int, err error) error {
	if err == nil || errors.Is(err, io.EOF) {
		return malformed("the file ends at offset %d, before its size of %d bytes", off+uint64(got), m.size)
	}
	return fmt.Errorf("read ELF file at offset %d: %w", off, err)
}

// header reads the ELF header and the program headers.
func (m *image) header(ident []byte) (*Object, []segment, error) {
	if len(ident) < elf.EI_NIDENT {
		return nil, nil, malformed("the ELF header is cut off after %d bytes", len(ident))
	}
	o := &Object{ABI: ABI{Class: elf.Class(ident[elf.EI_CLASS]), Data: elf.Data(ident[elf.EI_DATA])}}
	switch o.ABI.Data {
	case elf.ELFDATA2LSB:
		m.order = binary.LittleEndian
	case elf.ELFDATA2MSB:
		m.order = binary.BigEndian
	default:
		return nil, nil, malformed("byte order %d is neither little nor big endian", ident[elf.EI_DATA])
	}
	var ehsize, phentsize uint64
	switch o.ABI.Class {
	case elf.ELFCLASS32:
		ehsize, phentsize = ehdr32, phdr32
	case elf.ELFCLASS64:
		ehsize, phentsize, m.is64 = ehdr64, phdr64, true
	default:
		return nil, nil, malformed("class %d is neither 32-bit nor 64-bit", ident[elf.EI_CLASS])
	}
	h, err := m.read(0, ehsize)
	if err != nil {
		return nil, nil, err
	}
	o.Type = elf.Type(m.order.Uint16(h[16:]))
	o.ABI.Machine = elf.Machine(m.order.Uint16(h[18:]))
	if o.Type != elf.ET_EXEC && o.Type != elf.ET_DYN {
		return o, nil, nil
	}
	var phoff uint64
	if m.is64 {
		m.entry, phoff = m.order.Uint64(h[24:]), m.order.Uint64(h[32:])
	} else {
		m.entry, phoff = uint64(m.order.Uint32(h[24:])), uint64(m.order.Uint32(h[28:]))
	}
	// e_phentsize and e_phnum stand ten and eight bytes before the end in both classes.
	gotsize, phnum := m.order.Uint16(h[ehsize-10:]), m.order.Uint16(h[ehsize-8:])
	switch {
	case phnum == 0:
		return nil, nil, malformed("it has no program headers, so it cannot be loaded")
	case uint64(gotsize) != phentsize:
		return nil, nil, malformed("a program header has %d bytes and should have %d", gotsize, phentsize)
	case phnum > maxProgramHeaders:
		return nil, nil, malformed("%d program headers are more than the limit of %d", phnum, maxProgramHeaders)
	}
	table, err := m.read(phoff, uint64(phnum)*phentsize)
	if err != nil {
		return nil, nil, fmt.Errorf("program headers: %w", err)
	}
	phdrs := make([]segment, phnum)
	for i := range phdrs {
		phdrs[i] = m.segment(table[uint64(i)*phentsize:][:phentsize])
	}
	return o, phdrs, nil
}

func (m *image) segment(p []byte) segment {
	s := segment{typ: elf.ProgType(m.order.Uint32(p))}
	if m.is64 {
		s.off, s.vaddr = m.order.Uint64(p[8:]), m.order.Uint64(p[16:])
		s.size, s.algn = m.order.Uint64(p[32:]), m.order.Uint64(p[48:])
		return s
	}
	s.off, s.vaddr = uint64(m.order.Uint32(p[4:])), uint64(m.order.Uint32(p[8:]))
	s.size, s.algn = uint64(m.order.Uint32(p[16:])), uint64(m.order.Uint32(p[28:]))
	return s
}

// object reads what the program headers lead to.
func (m *image) object(o *Object, phdrs []segment) error {
	var dynamic *segment
	var notes []segment
	for i, p := range phdrs {
		// Files of debug symbols keep the headers of segments without content.
		if p.size == 0 {
			continue
		}
		switch p.typ {
		case elf.PT_LOAD:
			m.loads = append(m.loads, p)
		case elf.PT_DYNAMIC:
			dynamic = &phdrs[i]
		case elf.PT_NOTE:
			if len(notes) < maxNoteSegments {
				notes = append(notes, p)
			}
		case elf.PT_INTERP:
			if p.size > maxName {
				return malformed("the interpreter's path has %d bytes, more than the limit of %d", p.size, maxName)
			}
			b, err := m.read(p.off, p.size)
			if err != nil {
				return fmt.Errorf("interpreter (PT_INTERP): %w", err)
			}
			b, _, _ = bytes.Cut(b, []byte{0})
			o.Interp = string(b)
		}
	}
	// Notes stand near the start of the file, so they are read before the
	// window moves away.
	for _, n := range notes {
		if err := m.dlopenNotes(o, n); err != nil {
			return err
		}
	}
	var pie bool
	if dynamic != nil {
		var err error
		if pie, err = m.dynamic(o, *dynamic); err != nil {
			return fmt.Errorf("dynamic section (PT_DYNAMIC): %w", err)
		}
	}
	o.Kind = kind(o, pie, dynamic != nil, m.entry)
	return nil
}

func kind(o *Object, pie, dynamic bool, entry uint64) Kind {
	switch {
	case o.Type == elf.ET_EXEC, pie:
		return Program
	case o.Soname != "":
		// libc.so.6 has an interpreter, so that it can print its version; its
		// name says what it is.
		return Library
	case o.Interp != "":
		return Program
	case !dynamic && entry != 0:
		return Program
	default:
		return Library
	}
}

// dynamic reads the dynamic section and says whether it has the flag DF_1_PIE.
func (m *image) dynamic(o *Object, p segment) (pie bool, err error) {
	// The loader finds the section by its address, not by its offset.
	off, _, ok := m.offset(p.vaddr)
	if !ok {
		return false, malformed("its address %#x lies in no loaded segment", p.vaddr)
	}
	if p.size > maxDynamic {
		return false, malformed("it has %d bytes, more than the limit of %d", p.size, maxDynamic)
	}
	table, err := m.read(off, p.size)
	if err != nil {
		return false, err
	}
	var d dynamicTable
	if err := d.decode(m, table); err != nil {
		return false, err
	}
	o.NoDefaultLib = d.flags1&uint64(elf.DF_1_NODEFLIB) != 0
	pie = d.flags1&uint64(elf.DF_1_PIE) != 0
	if len(d.needed)+len(d.auxiliary) > 0 || d.soname != nil || d.rpath != nil || d.runpath != nil {
		if err := d.locate(m); err != nil {
			return false, err
		}
		if err := d.names(m, o); err != nil {
			return false, err
		}
	}
	if err := d.versions(m, o); err != nil {
		return false, err
	}
	d.hashWord = 4
	if o.ABI.Class == elf.ELFCLASS64 && o.ABI.Machine == elf.EM_S390 {
		d.hashWord = 8
	}
	o.Imports, err = m.watch.imports(m, &d)
	return pie, err
}

// dynamicTable is what was read in a dynamic section. Names are offsets into the
// string table.
type dynamicTable struct {
	needed, auxiliary      []uint64
	soname, rpath, runpath *uint64
	flags1                 uint64
	strtab, strsz          uint64
	str, end               uint64   // file offsets of the string table
	verdef, verneed        uint64   // addresses, 0 when absent
	symtab, hash           uint64   // likewise
	hashWord               uint64   // bytes of a word in the table at hash
	addresses              []uint64 // where tables start that may follow the symbol table
}

func (d *dynamicTable) decode(m *image, table []byte) error {
	entsize := 8
	if m.is64 {
		entsize = 16
	}
	for ; len(table) >= entsize; table = table[entsize:] {
		var tag, val uint64
		if m.is64 {
			tag, val = m.order.Uint64(table), m.order.Uint64(table[8:])
		} else {
			tag, val = uint64(m.order.Uint32(table)), uint64(m.order.Uint32(table[4:]))
		}
		switch elf.DynTag(tag) {
		case elf.DT_NULL:
			return nil
		case elf.DT_NEEDED, elf.DT_FILTER:
			// A filter is loaded like a library that is needed, only its symbols
			// are taken differently.
			if len(d.needed) == maxNeeded {
				return malformed("it needs more than %d libraries", maxNeeded)
			}
			d.needed = append(d.needed, val)
		case elf.DT_AUXILIARY:
			if len(d.auxiliary) < maxNeeded {
				d.auxiliary = append(d.auxiliary, val)
			}
		case elf.DT_SONAME:
			d.soname = &val
		case elf.DT_RPATH:
			d.rpath = &val
		case elf.DT_RUNPATH:
			d.runpath = &val
		case elf.DT_FLAGS_1:
			d.flags1 = val
		case elf.DT_STRTAB:
			d.strtab = val
			d.addresses = append(d.addresses, val)
		case elf.DT_SYMTAB:
			d.symtab = val
		case elf.DT_HASH:
			d.hash = val
			d.addresses = append(d.addresses, val)
		case elf.DT_VERDEF:
			d.verdef = val
			d.addresses = append(d.addresses, val)
		case elf.DT_VERNEED:
			d.verneed = val
			d.addresses = append(d.addresses, val)
		case elf.DT_GNU_HASH, elf.DT_RELA, elf.DT_REL, elf.DT_JMPREL, elf.DT_VERSYM, elf.DT_INIT, elf.DT_PLTGOT:
			d.addresses = append(d.addresses, val)
		case elf.DT_STRSZ:
			d.strsz = val
		}
	}
	return nil
}

// locate finds the string table in the file.
func (d *dynamicTable) locate(m *image) error {
	off, left, ok := m.offset(d.strtab)
	if !ok {
		return malformed("the string table's address %#x lies in no loaded segment", d.strtab)
	}
	if d.strsz != 0 {
		left = min(left, d.strsz)
	}
	if off > uint64(m.size) {
		return malformed("the string table's offset %d lies past the end of the file", off)
	}
	d.str, d.end = off, off+min(left, uint64(m.size)-off)
	return nil
}

func (d *dynamicTable) names(m *image, o *Object) error {
	for _, v := range d.needed {
		name, err := d.name(m, v, maxName)
		if err != nil {
			return fmt.Errorf("needed library (DT_NEEDED): %w", err)
		}
		if !isKernels(name) {
			o.Needed = append(o.Needed, name)
		}
	}
	for _, v := range d.auxiliary {
		name, err := d.name(m, v, maxName)
		if err != nil {
			return fmt.Errorf("auxiliary filter (DT_AUXILIARY): %w", err)
		}
		o.Dlopen = append(o.Dlopen, DlopenNote{Sonames: []string{name}, Priority: Recommended})
	}
	if d.soname != nil {
		name, err := d.name(m, *d.soname, maxName)
		if err != nil {
			return fmt.Errorf("own name (DT_SONAME): %w", err)
		}
		o.Soname = name
	}
	search, list := d.runpath, &o.RunPath
	if search == nil {
		search, list = d.rpath, &o.RPath
	}
	if search == nil {
		return nil
	}
	s, err := d.name(m, *search, maxSearchPath)
	if err != nil {
		return fmt.Errorf("search path (DT_RPATH, DT_RUNPATH): %w", err)
	}
	*list = []string{}
	if s != "" {
		*list = strings.Split(s, ":")
	}
	if len(*list) > maxSearchDirs {
		return malformed("its search path has %d directories, more than the limit of %d", len(*list), maxSearchDirs)
	}
	return nil
}

// isKernels says that a name is the kernel's virtual library (vdso(7)).
func isKernels(name string) bool {
	return strings.HasPrefix(name, "linux-vdso") || strings.HasPrefix(name, "linux-gate.so")
}

// name reads a string of the string table.
func (d *dynamicTable) name(m *image, at, limit uint64) (string, error) {
	if at >= d.end-d.str {
		return "", malformed("a name at %d lies past the end of the string table", at)
	}
	left := min(d.end-d.str-at, limit)
	for n := min(left, 128); ; n = left {
		b, err := m.read(d.str+at, n)
		if err != nil {
			return "", err
		}
		if s, _, ok := bytes.Cut(b, []byte{0}); ok {
			return string(s), nil
		}
		if n == left {
			return "", malformed("a name at %d of the string table has no end within %d bytes", at, left)
		}
	}
}

// offset translates an address into a file offset, and says how many bytes of
// its segment follow.
func (m *image) offset(vaddr uint64) (off, left uint64, ok bool) {
	for _, s := range m.loads {
		if vaddr >= s.vaddr && vaddr-s.vaddr < s.size {
			d := vaddr - s.vaddr
			return s.off + d, s.size - d, s.off+d >= d
		}
	}
	return 0, 0, false
}
