// Package tempfile makes temporary files that never have a name, so that nothing is
// left behind however the process ends.
package tempfile

import (
	"errors"
	"os"
)

// New opens a file for reading and writing in a directory, or in os.TempDir when that
// is empty. The file is gone when it is closed.
func New(dir string) (*os.File, error) {
	if dir == "" {
		dir = os.TempDir()
	}
	return unnamed(dir)
}

// unlinked makes a file and takes its name away, for file systems that have no unnamed
// files.
func unlinked(dir string) (*os.File, error) {
	f, err := os.CreateTemp(dir, "temper-*")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}
