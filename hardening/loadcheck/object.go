package loadcheck

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"io"
)

// Limits on one ELF file.
const (
	maxSegments = 4096
	maxEntries  = 64 << 10 // of the dynamic section
	maxNeeded   = 1024
	maxString   = 4096
	maxPath     = 64 << 10 // bytes of a search path
	maxVersions = 16 << 10
)

// abi is what has to be equal in all files of one process.
type abi struct {
	class   elf.Class
	data    elf.Data
	machine elf.Machine
}

// object is what a loader learns from one ELF file.
type object struct {
	abi    abi
	typ    elf.Type
	interp string
	soname string
	// needed are the DT_NEEDED and DT_FILTER names, in their order.
	needed []string
	// rpath and runpath are nil when absent.
	rpath, runpath *string
	// isolated is DF_1_NODEFLIB, pie DF_1_PIE, dynamic that there is a PT_DYNAMIC.
	isolated, pie, dynamic bool
	// defines are the symbol versions in DT_VERDEF; nil without that table.
	defines map[string]bool
	// requires are the symbol versions in DT_VERNEED.
	requires []requirement
	// notes are the dlopen notes of required and recommended features.
	notes []dlopenNote
}

// requirement is a symbol version that another file has to define.
type requirement struct {
	file, version string
	weak          bool // VER_FLG_WEAK: the loader only warns
}

// started says that a process can be started from the object by a dynamic loader.
func (o *object) started() bool {
	return o.interp != "" && (o.typ == elf.ET_EXEC || o.soname == "" || o.pie)
}

// loadable says that the object can be loaded into a process that runs another.
func (o *object) loadable() bool { return o.typ == elf.ET_DYN && !o.pie && o.dynamic }

// readObject reads an ELF file of size bytes. The error is errFormat when it can
// neither be started nor loaded, or what r answered.
func readObject(r io.ReaderAt, size int64) (*object, error) {
	m := &memory{file: r, size: uint64(max(size, 0))}
	h, err := m.at(0, 64)
	if err != nil {
		return nil, err
	}
	if len(h) < 52 || string(h[:4]) != elf.ELFMAG {
		return nil, badFormat("it does not start as one")
	}
	o := &object{abi: abi{class: elf.Class(h[4]), data: elf.Data(h[5])}}
	m.order = binary.LittleEndian
	if o.abi.data == elf.ELFDATA2MSB {
		m.order = binary.BigEndian
	}
	m.wide = o.abi.class == elf.ELFCLASS64
	if m.wide && len(h) < 64 {
		return nil, badFormat("its header is cut off")
	}
	o.typ, o.abi.machine = elf.Type(m.order.Uint16(h[16:])), elf.Machine(m.order.Uint16(h[18:]))
	if o.typ != elf.ET_EXEC && o.typ != elf.ET_DYN {
		return nil, badFormat("its type is %v", o.typ)
	}
	var table uint64
	var each, count uint16
	if m.wide {
		table, each, count = m.order.Uint64(h[32:]), m.order.Uint16(h[54:]), m.order.Uint16(h[56:])
	} else {
		table, each, count = uint64(m.order.Uint32(h[28:])), m.order.Uint16(h[42:]), m.order.Uint16(h[44:])
	}
	if want := m.either(32, 56); uint64(each) != want || count == 0 || count > maxSegments {
		return nil, badFormat("it has %d program headers of %d bytes", count, each)
	}
	return o, o.readSegments(m, table, uint64(each), uint64(count))
}

// either returns the one of two numbers that goes with the file's class.
func (m *memory) either(narrow, wide uint64) uint64 {
	if m.wide {
		return wide
	}
	return narrow
}

// readSegments reads the program headers and what they lead to.
func (o *object) readSegments(m *memory, table, each, count uint64) error {
	b, err := m.exactly(table, each*count)
	if err != nil {
		return err
	}
	var dynamic, interp *segment
	var notes []segment
	for ; len(b) > 0; b = b[each:] {
		s := segment{}
		if m.wide {
			s = segment{off: m.order.Uint64(b[8:]), vaddr: m.order.Uint64(b[16:]), size: m.order.Uint64(b[32:])}
		} else {
			s = segment{off: uint64(m.order.Uint32(b[4:])), vaddr: uint64(m.order.Uint32(b[8:])), size: uint64(m.order.Uint32(b[16:]))}
		}
		switch elf.ProgType(m.order.Uint32(b)) {
		case elf.PT_LOAD:
			m.segments = append(m.segments, s)
		case elf.PT_DYNAMIC:
			dynamic = &s
		case elf.PT_INTERP:
			interp = &s
		case elf.PT_NOTE:
			notes = append(notes, s)
		}
	}
	// A file of debug symbols has these segments without their contents.
	if interp != nil && interp.size > 0 {
		b, err := m.exactly(interp.off, min(interp.size, maxString))
		if err != nil {
			return err
		}
		b, _, _ = bytes.Cut(b, []byte{0})
		o.interp = string(b)
	}
	for _, n := range notes {
		o.readNotes(m, n)
	}
	if dynamic != nil && dynamic.size > 0 {
		o.dynamic = true
		return o.readDynamic(m, *dynamic)
	}
	return nil
}

// tags are the entries of a dynamic section; only DT_NEEDED and DT_FILTER occur
// more than once.
type tags struct {
	needed []uint64
	values map[elf.DynTag]uint64
}

// wanted are the tags besides DT_NEEDED that count.
var wanted = map[elf.DynTag]bool{
	elf.DT_SONAME: true, elf.DT_RPATH: true, elf.DT_RUNPATH: true, elf.DT_STRTAB: true, elf.DT_FLAGS_1: true,
	elf.DT_VERNEED: true, elf.DT_VERNEEDNUM: true, elf.DT_VERDEF: true, elf.DT_VERDEFNUM: true,
}

func readTags(m *memory, s segment) (tags, error) {
	t := tags{values: map[elf.DynTag]uint64{}}
	each := m.either(8, 16)
	for i := uint64(0); i < s.size/each; i++ {
		if i == maxEntries {
			return t, badFormat("its dynamic section has more than %d entries", maxEntries)
		}
		b, err := m.load(s.vaddr+i*each, each)
		if err != nil {
			return t, fmt.Errorf("dynamic section: %w", err)
		}
		tag, value := elf.DynTag(m.word(b)), m.word(b[each/2:])
		switch {
		case tag == elf.DT_NULL:
			return t, nil
		case tag == elf.DT_NEEDED, tag == elf.DT_FILTER:
			if len(t.needed) == maxNeeded {
				return t, badFormat("it needs more than %d libraries", maxNeeded)
			}
			t.needed = append(t.needed, value)
		case wanted[tag]:
			t.values[tag] = value
		}
	}
	return t, nil
}

func (o *object) readDynamic(m *memory, s segment) error {
	t, err := readTags(m, s)
	if err != nil {
		return err
	}
	flags := elf.DynFlag1(t.values[elf.DT_FLAGS_1])
	o.isolated, o.pie = flags&elf.DF_1_NODEFLIB != 0, flags&elf.DF_1_PIE != 0
	strings := t.values[elf.DT_STRTAB]
	for _, at := range t.needed {
		name, err := m.text(strings+at, maxString)
		if err != nil {
			return fmt.Errorf("needed library: %w", err)
		}
		o.needed = append(o.needed, name)
	}
	if at, ok := t.values[elf.DT_SONAME]; ok {
		if o.soname, err = m.text(strings+at, maxString); err != nil {
			return fmt.Errorf("soname: %w", err)
		}
	}
	// Where there is DT_RUNPATH, every loader ignores the older tag.
	tag, search := elf.DT_RUNPATH, &o.runpath
	if _, ok := t.values[tag]; !ok {
		tag, search = elf.DT_RPATH, &o.rpath
	}
	if at, ok := t.values[tag]; ok {
		s, err := m.text(strings+at, maxPath)
		if err != nil {
			return fmt.Errorf("search path: %w", err)
		}
		*search = &s
	}
	return o.readVersions(m, t, strings)
}
