package linkage

import (
	"fmt"
	"slices"
	"unique"
)

// Sizes of the structures of symbol versions, which are the same in 32-bit and
// 64-bit files, and the flag of a version that may be absent (LSB Core, "Symbol
// Versioning").
const (
	verneedSize, vernauxSize = 16, 16
	verdefSize, verdauxSize  = 20, 8
	verWeak                  = 2
)

// maxVersions bounds the symbol versions that one file defines, and those that it
// requires. glibc's library defines 45, the largest Qt application requires 40.
const maxVersions = 4096

// Requirement is what a file requires of a library that it needs.
type Requirement struct {
	// File is the library's soname as the file was linked to it.
	File string
	// Versions are the symbol versions, in the order of DT_VERNEED, without those
	// that may be absent.
	Versions []string
}

// versions reads DT_VERDEF and DT_VERNEED. A table that is malformed says
// nothing: the loader may understand it better, and nothing is removed for it.
func (d *dynamicTable) versions(m *image, o *Object) error {
	if d.verdef == 0 && d.verneed == 0 {
		return nil
	}
	if err := d.locate(m); err != nil {
		return nil //nolint:nilerr // see above: a malformed table says nothing
	}
	if d.verdef != 0 {
		defines, err := d.definitions(m)
		if err != nil && !isMalformed(err) {
			return fmt.Errorf("version definitions (DT_VERDEF): %w", err)
		}
		if err == nil {
			o.Defines = defines
		}
	}
	if d.verneed != 0 {
		requires, err := d.requirements(m)
		if err != nil && !isMalformed(err) {
			return fmt.Errorf("version requirements (DT_VERNEED): %w", err)
		}
		if err == nil {
			o.Requires = requires
		}
	}
	return nil
}

// at reads n bytes at an address.
func (m *image) at(vaddr, n uint64) ([]byte, error) {
	off, left, ok := m.offset(vaddr)
	if !ok || left < n {
		return nil, malformed("%d bytes at address %#x lie in no loaded segment", n, vaddr)
	}
	return m.read(off, n)
}

// version reads a name that many files have in common.
func (d *dynamicTable) version(m *image, at uint32) (string, error) {
	s, err := d.name(m, uint64(at), maxName)
	return unique.Make(s).Value(), err
}

func (d *dynamicTable) definitions(m *image) ([]string, error) {
	all := []string{}
	for at := d.verdef; ; {
		b, err := m.at(at, verdefSize)
		if err != nil {
			return nil, err
		}
		aux, next := m.order.Uint32(b[12:]), m.order.Uint32(b[16:])
		// The first name is that of the version, the others are those it extends.
		if b, err = m.at(at+uint64(aux), verdauxSize); err != nil {
			return nil, err
		}
		name, err := d.version(m, m.order.Uint32(b))
		if err != nil {
			return nil, err
		}
		if len(all) == maxVersions {
			return nil, malformed("it defines more than %d symbol versions", maxVersions)
		}
		all = append(all, name)
		if next == 0 {
			slices.Sort(all)
			return slices.Clip(all), nil
		}
		at += uint64(next)
	}
}

func (d *dynamicTable) requirements(m *image) ([]Requirement, error) {
	var all []Requirement
	count := 0
	for at := d.verneed; ; {
		b, err := m.at(at, verneedSize)
		if err != nil {
			return nil, err
		}
		file, aux, next := m.order.Uint32(b[4:]), at+uint64(m.order.Uint32(b[8:])), m.order.Uint32(b[12:])
		var r Requirement
		if r.File, err = d.version(m, file); err != nil {
			return nil, err
		}
		for {
			if b, err = m.at(aux, vernauxSize); err != nil {
				return nil, err
			}
			flags, name, step := m.order.Uint16(b[4:]), m.order.Uint32(b[8:]), m.order.Uint32(b[12:])
			version, err := d.version(m, name)
			if err != nil {
				return nil, err
			}
			if count++; count > maxVersions {
				return nil, malformed("it requires more than %d symbol versions", maxVersions)
			}
			if flags&verWeak == 0 {
				r.Versions = append(r.Versions, version)
			}
			if step == 0 {
				break
			}
			aux += uint64(step)
		}
		all = append(all, r)
		if next == 0 {
			return all, nil
		}
		at += uint64(next)
	}
}

// Lacking returns the symbol versions that o requires of a library by the name
// file and that lib does not define. A library without any definition, from
// before there were versions, satisfies all, as it does for the loader. musl
// knows no versions, so this only holds where glibc loads.
func (o *Object) Lacking(file string, lib *Object) []string {
	if lib.Defines == nil {
		return nil
	}
	var lacking []string
	for _, r := range o.Requires {
		if r.File != file {
			continue
		}
		for _, v := range r.Versions {
			if _, ok := slices.BinarySearch(lib.Defines, v); !ok {
				lacking = append(lacking, v)
			}
		}
	}
	return lacking
}
