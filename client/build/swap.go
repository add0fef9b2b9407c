package build

import (
	"errors"
	"os"
)

// swap exchanges two directories in three steps, for file systems that cannot do
// it in one. A failure puts the first back.
func swap(a, b string) error {
	aside := a + ".old"
	if err := os.Rename(b, aside); err != nil {
		return err
	}
	if err := os.Rename(a, b); err != nil {
		return errors.Join(err, os.Rename(aside, b))
	}
	return os.Rename(aside, a)
}
