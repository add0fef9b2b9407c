// Package tools finds the programs that "make build" and "make tools" leave in
// the repository's bin directory.
package tools

import (
	"path/filepath"
	"runtime"
)

// Root is the repository's directory.
func Root() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Dir(filepath.Dir(filepath.Dir(file)))
}

// Bin is the directory of the built programs.
func Bin() string { return filepath.Join(Root(), "bin") }

// Path is where the built program of that name lies.
func Path(name string) string { return filepath.Join(Bin(), name) }
