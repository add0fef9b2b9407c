// Package linkage reads ELF headers and finds, as the dynamic loader would, the
// libraries that a file links to inside a root filesystem. It never runs
// anything and trusts nothing that it reads: every size, count and offset is
// checked against a limit.
package linkage

import (
	"debug/elf"
	"errors"
	"fmt"
)

// ErrNotELF says that a file does not start with the ELF magic number.
var ErrNotELF = errors.New("not an ELF file")

// FormatError says that a file has the ELF magic number and yet cannot be
// understood: it is truncated, contradicts itself or exceeds a limit.
type FormatError struct {
	// Reason names the structure that is wrong and what is wrong with it.
	Reason string
}

func (e *FormatError) Error() string { return "malformed ELF file: " + e.Reason }

func malformed(format string, args ...any) error {
	return &FormatError{Reason: fmt.Sprintf(format, args...)}
}

// Priority says how much a file depends on what it loads while it runs.
type Priority uint8

// The values of Priority, in the words of the specification.
const (
	// Required: the file does not work without.
	Required Priority = iota
	// Recommended: an important part of it does not. This is what a note means
	// that names no priority.
	Recommended
	// Suggested: a secondary part of it does not.
	Suggested
)

// DlopenNote is a feature for which a file loads a library while it runs.
type DlopenNote struct {
	// Sonames are the libraries, any of which will do, the best first.
	Sonames []string
	// Feature is the feature's name, empty when the note has none.
	Feature  string
	Priority Priority
}

// ABI is what must be equal in a file and in the libraries that are loaded with
// it; the loader passes over a file of another ABI and goes on searching.
type ABI struct {
	Class   elf.Class
	Data    elf.Data
	Machine elf.Machine
}

// Kind says what an ELF file is for.
type Kind uint8

// The values of Kind.
const (
	// Other is neither started nor loaded: a relocatable object, a kernel
	// module, a core dump.
	Other Kind = iota
	// Program can be started: it is ET_EXEC, or ET_DYN and position-independent
	// with an interpreter or the flag DF_1_PIE.
	Program
	// Library is a shared object that is loaded by others. The dynamic loader
	// itself and C libraries that can also be started count as libraries.
	Library
)

// Object is what the loader reads in an ELF file: generic ABI ("gABI"), chapters
// 4 and 5, and the GNU extensions.
type Object struct {
	ABI  ABI
	Type elf.Type
	Kind Kind
	// Interp is the path in PT_INTERP, empty when there is none.
	Interp string
	// Needed are the DT_NEEDED names in their order, without the kernel's own
	// library, which is no file.
	Needed []string
	// Soname is DT_SONAME.
	Soname string
	// RPath and RunPath are the elements of DT_RPATH and DT_RUNPATH, not
	// expanded. They are nil when the entry is absent and empty, but not nil,
	// when it holds nothing. A file with DT_RUNPATH has no RPath, since every
	// loader ignores it there.
	RPath, RunPath []string
	// NoDefaultLib is DF_1_NODEFLIB: default directories are not searched.
	NoDefaultLib bool
	// Defines are the symbol versions that the file defines, sorted; nil when it
	// has no table of them. Requires are those that it requires of others.
	Defines  []string
	Requires []Requirement
	// Dlopen lists what the file says it may load while it runs, in the order of
	// its notes (UAPI specification "ELF dlopen metadata"). An auxiliary filter
	// (DT_AUXILIARY), which is loaded where there is one, counts as recommended.
	Dlopen []DlopenNote
	// Imports are those symbols of a Watch that the file imports, sorted. It is
	// nil after Parse.
	Imports []string
}

func isMalformed(err error) bool {
	var f *FormatError
	return errors.As(err, &f)
}

// Static says that the object is a program that no dynamic loader starts.
func (o *Object) Static() bool { return o.Kind == Program && o.Interp == "" }
