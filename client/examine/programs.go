package examine

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"strings"

	"github.com/temper-images/temper/client/imagefs"
	"github.com/temper-images/temper/hardening/linkage"
	"github.com/temper-images/temper/hardening/spec"
)

// Kind says what a file is for. The hardening report counts in the same way.
type Kind string

// The kinds. What is none of them has an empty one.
const (
	// Program is an ELF program.
	Program Kind = "program"
	// Script is an executable file that begins with "#!".
	Script Kind = "script"
	// Library is an ELF shared object that is no program.
	Library Kind = "library"
)

// KindOf reads the head of a regular file. What only looks like an ELF file is
// data. The error is one of reading.
func (i *Image) KindOf(e *imagefs.Entry) (Kind, error) {
	if !e.Mode.IsRegular() || e.Size < 4 {
		return "", nil
	}
	f, err := i.Files.OpenEntry(e)
	if err != nil {
		return "", err
	}
	defer f.Close()
	head := make([]byte, 256)
	n, err := f.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	head = head[:n]
	if strings.HasPrefix(string(head), "\x7fELF") {
		o, err := linkage.Parse(f, e.Size)
		switch {
		case err != nil:
			return "", nil // a malformed ELF file is data
		case o.Kind == linkage.Program:
			return Program, nil
		case o.Kind == linkage.Library:
			return Library, nil
		}
		return "", nil
	}
	if _, ok := linkage.ParseShebang(head); ok && e.Mode&0o111 != 0 {
		return Script, nil
	}
	return "", nil
}

// Kinds are the kinds of all files that have one, by path. The error is one of
// reading, or that of ctx.
func (i *Image) Kinds(ctx context.Context) (map[string]Kind, error) {
	kinds := map[string]Kind{}
	for e := range i.Files.Entries() {
		if !e.Mode.IsRegular() {
			continue
		}
		if err := context.Cause(ctx); err != nil {
			return nil, err
		}
		k, err := i.KindOf(e)
		if err != nil {
			return nil, err
		}
		if k != "" {
			kinds[e.Path] = k
		}
	}
	return kinds, nil
}

// Totals counts as the hardening report does. Kinds are those of Kinds.
func (i *Image) Totals(kinds map[string]Kind) spec.Totals {
	t := spec.Totals{Packages: len(i.Packages)}
	counted := map[string]bool{}
	for e := range i.Files.Entries() {
		if e.Mode.IsDir() {
			t.Directories++
			continue
		}
		t.Files++
		if !e.Mode.IsRegular() {
			continue
		}
		// All names of one file point to the first of them.
		first := e.Path
		if e.IsHardLink() {
			first = e.Linkname
		}
		if !counted[first] {
			counted[first] = true
			t.Bytes += e.Size
		}
		if e.Mode&(fs.ModeSetuid|fs.ModeSetgid) != 0 {
			t.SetUID++
		}
		switch kinds[e.Path] {
		case Program, Script:
			t.Executables++
		case Library:
			t.Libraries++
		}
	}
	return t
}
