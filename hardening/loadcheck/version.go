package loadcheck

import (
	"debug/elf"
	"fmt"
)

// Sizes of the version structures, which are the same in both classes, and the
// flag of a version that may be absent (LSB Core, "Symbol Versioning").
const (
	sizeVerneed, sizeVernaux = 16, 16
	sizeVerdef, sizeVerdaux  = 20, 8
	verFlgWeak               = 2
)

// readVersions reads the tables DT_VERDEF and DT_VERNEED, whose elements are
// chained by distances.
func (o *object) readVersions(m *memory, t tags, strings uint64) error {
	if at, ok := t.values[elf.DT_VERDEF]; ok {
		o.defines = map[string]bool{}
		if err := o.readDefinitions(m, at, strings); err != nil {
			return fmt.Errorf("version definitions: %w", err)
		}
	}
	if at, ok := t.values[elf.DT_VERNEED]; ok {
		if err := o.readRequirements(m, at, strings); err != nil {
			return fmt.Errorf("version requirements: %w", err)
		}
	}
	return nil
}

func (o *object) readDefinitions(m *memory, at, strings uint64) error {
	for n := 0; ; n++ {
		if n == maxVersions {
			return badFormat("there are more than %d", maxVersions)
		}
		b, err := m.load(at, sizeVerdef)
		if err != nil {
			return err
		}
		aux, next := uint64(m.order.Uint32(b[12:])), uint64(m.order.Uint32(b[16:]))
		// The first name is the version's; others are those that it extends.
		if b, err = m.load(at+aux, sizeVerdaux); err != nil {
			return err
		}
		name, err := m.text(strings+uint64(m.order.Uint32(b)), maxString)
		if err != nil {
			return err
		}
		o.defines[name] = true
		if next == 0 {
			return nil
		}
		at += next
	}
}

func (o *object) readRequirements(m *memory, at, strings uint64) error {
	for {
		b, err := m.load(at, sizeVerneed)
		if err != nil {
			return err
		}
		name, aux, next := uint64(m.order.Uint32(b[4:])), at+uint64(m.order.Uint32(b[8:])), uint64(m.order.Uint32(b[12:]))
		file, err := m.text(strings+name, maxString)
		if err != nil {
			return err
		}
		for {
			if len(o.requires) == maxVersions {
				return badFormat("there are more than %d", maxVersions)
			}
			if b, err = m.load(aux, sizeVernaux); err != nil {
				return err
			}
			weak := m.order.Uint16(b[4:])&verFlgWeak != 0
			name, step := uint64(m.order.Uint32(b[8:])), uint64(m.order.Uint32(b[12:]))
			version, err := m.text(strings+name, maxString)
			if err != nil {
				return err
			}
			o.requires = append(o.requires, requirement{file: file, version: version, weak: weak})
			if step == 0 {
				break
			}
			aux += step
		}
		if next == 0 {
			return nil
		}
		at += next
	}
}
