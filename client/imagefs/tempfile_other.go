//go:build !linux

package imagefs

import "os"

func tempFile(dir string) (*os.File, error) { return unlinkedFile(dir) }
