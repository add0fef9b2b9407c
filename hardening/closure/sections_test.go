package closure

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"io"
	"strings"
	"testing"
)

// section is a section of an ELF file for tests.
type section struct {
	name  string
	kind  elf.SectionType
	flags elf.SectionFlag
	text  string
}

// withSections is an ELF file that has nothing but sections, the last of which
// holds their names.
func withSections(order binary.AppendByteOrder, is64 bool, sections ...section) []byte {
	names := "\x00"
	for i := range sections {
		names += sections[i].name + "\x00"
	}
	sections = append(sections, section{".shstrtab", elf.SHT_STRTAB, 0, names + ".shstrtab\x00"})
	head := 52
	class := byte(elf.ELFCLASS32)
	if is64 {
		head, class = 64, byte(elf.ELFCLASS64)
	}
	data := byte(elf.ELFDATA2LSB)
	if order.String() == binary.BigEndian.String() {
		data = byte(elf.ELFDATA2MSB)
	}
	word := func(b []byte, v int) []byte {
		if is64 {
			return order.AppendUint64(b, uint64(v))
		}
		return order.AppendUint32(b, uint32(v))
	}
	var body, table []byte
	name := 1
	for _, s := range sections {
		table = order.AppendUint32(order.AppendUint32(table, uint32(name)), uint32(s.kind))
		table = word(word(word(word(table, int(s.flags)), 0), head+len(body)), len(s.text))
		table = order.AppendUint32(order.AppendUint32(table, 0), 0)
		table = word(word(table, 1), 0)
		name += len(s.name) + 1
		body = append(body, s.text...)
	}
	dt := append([]byte(elf.ELFMAG), class, data, 1)
	dt = append(dt, make([]byte, 9)...)
	dt = order.AppendUint16(order.AppendUint16(dt, uint16(elf.ET_DYN)), uint16(elf.EM_X86_64))
	dt = word(word(word(order.AppendUint32(dt, 1), 0), 0), head+len(body))
	dt = order.AppendUint32(dt, 0)
	for _, v := range []int{head, 0, 0, len(table) / len(sections), len(sections), len(sections) - 1} {
		dt = order.AppendUint16(dt, uint16(v))
	}
	return append(append(dt, body...), table...)
}

func TestWithoutSymbols(t *testing.T) {
	for name, dt := range map[string][]byte{
		"64 bits, little endian": withSections(binary.LittleEndian, true, theSections...),
		"64 bits, big endian":    withSections(binary.BigEndian, true, theSections...),
		"32 bits, little endian": withSections(binary.LittleEndian, false, theSections...),
		"32 bits, big endian":    withSections(binary.BigEndian, false, theSections...),
	} {
		dt = append(dt, "appended"...)
		read, err := io.ReadAll(withoutSymbols(bytes.NewReader(dt), int64(len(dt))))
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for _, s := range append(theSections, section{name: "appended", text: "appended"}) {
			want := s.flags == elf.SHF_ALLOC && s.kind == elf.SHT_PROGBITS || s.name == ".payload" || s.name == "appended"
			if got := strings.Contains(string(read), s.text); got != want {
				t.Errorf("%s: %s is read: %t, want %t", name, s.name, got, want)
			}
		}
	}
}

var theSections = []section{
	{".rodata", elf.SHT_PROGBITS, elf.SHF_ALLOC, "\x00/usr/bin/used\x00"},
	{".dynstr", elf.SHT_STRTAB, elf.SHF_ALLOC, "\x00imported\x00"},
	{".debug_str", elf.SHT_PROGBITS, 0, "\x00variable\x00"},
	{".payload", elf.SHT_PROGBITS, 0, "\x00resource\x00"},
	{".symtab", elf.SHT_SYMTAB, 0, "\x00symbols\x00"},
	{".strtab", elf.SHT_STRTAB, 0, "\x00function\x00"},
	{".data", elf.SHT_PROGBITS, elf.SHF_ALLOC, "\x00initial\x00"},
}

// Whatever the section headers say, every byte that is not known to be of no use
// is read, and nothing ends the program.
func FuzzWithoutSymbols(f *testing.F) {
	f.Add(withSections(binary.LittleEndian, true, theSections...))
	f.Add(withSections(binary.BigEndian, false, theSections...))
	f.Add([]byte("#!/bin/sh\n"))
	f.Fuzz(func(t *testing.T, dt []byte) {
		read, err := io.ReadAll(withoutSymbols(bytes.NewReader(dt), int64(len(dt))))
		if err != nil || len(read) > 2*len(dt)+1 {
			t.Errorf("%d bytes of %d, %v", len(read), len(dt), err)
		}
	})
}
