//go:build !linux

package tempfile

import "os"

func unnamed(dir string) (*os.File, error) { return unlinked(dir) }
