package imagefs

import (
	"errors"
	"os"
)

// unlinkedFile makes a file and takes its name away, for file systems that have
// no unnamed files.
func unlinkedFile(dir string) (*os.File, error) {
	f, err := os.CreateTemp(dir, "temper-*")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}
