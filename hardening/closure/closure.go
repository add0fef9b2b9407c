// Package closure finds what an application can reach in a root filesystem,
// without running it: from roots, over everything that leads from one file to
// the next, with a reason for each step.
//
// Three kinds of steps are followed. What can be read with certainty: ELF
// linkage, interpreters, symbolic links. What can be read as a good guess: paths,
// library names and commands that stand literally in programs, scripts and
// configuration. And what no file says but is known: rules, which are data
// (package rules), and classes: with one data file of a package its other data
// files are reachable too, since no reading tells which of them a program will
// open.
package closure

import (
	"context"
	"os"

	"github.com/temper-images/temper/hardening/linkage"
	"github.com/temper-images/temper/hardening/packages"
	"github.com/temper-images/temper/hardening/rootfs"
)

// System is a root filesystem as it was read. Compute changes nothing in it.
type System struct {
	// Entries are all entries, sorted by path; Index finds them by canonical path.
	Entries []*rootfs.Entry
	Index   map[string]int
	// Owners holds, for each entry, the indices into Packages of those that list it.
	Owners   [][]int32
	Packages []*packages.Package
	// Relations say which of Packages ask for which.
	Relations *packages.Relations
	// Objects and Scripts are the ELF files and the executable scripts, by path.
	Objects  map[string]*linkage.Object
	Scripts  map[string]linkage.Shebang
	Resolver *linkage.Resolver

	// Find follows a path through all its links and returns the entry that it
	// names and the links passed.
	Find func(path string) (entry int, links []int, ok bool)
	// LookPath finds a command as execvp(3) does with the image's PATH.
	LookPath func(name string) (entry int, links []int, ok bool)
	// Open opens a regular file by its canonical path.
	Open func(path string) (*os.File, error)
	// Gone says that an entry goes in any case. It is never reached.
	Gone func(entry int) bool

	// places are the directories that "@lib" and "@bin" stand for here.
	places map[string][]string
}

// Root is an entry that is needed for itself.
type Root struct {
	Entry int
	// Why completes the sentence "PATH …", for example "is the entrypoint".
	Why string
	// Whole takes the package of the entry as if it had been installed by name.
	Whole bool
}

// Options say where the search begins.
type Options struct {
	Roots []Root
	// Named says whether a package was asked for by name, besides those that are
	// Manual: all that it has is reachable.
	Named func(*packages.Package) bool
}

// Result is what can be reached.
type Result struct {
	// Kept says for each entry whether it is reachable. A directory is when
	// something in it is, or when somebody made it for itself.
	Kept []bool
	// Development marks the entries that serve only to build other software.
	Development []bool

	walk *walk
}

// Compute finds all that can be reached. The error is that of ctx or of reading
// a file.
func Compute(ctx context.Context, sys *System, opts Options) (*Result, error) {
	rules, err := builtin()
	if err != nil {
		return nil, err
	}
	w := newWalk(sys, rules)
	w.begin(opts)
	if err := w.run(ctx); err != nil {
		return nil, err
	}
	w.finish()
	return &Result{Kept: w.kept, Development: w.rules.development, walk: w}, nil
}
