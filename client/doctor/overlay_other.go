//go:build !linux

package doctor

import "errors"

func overlaySupported(string) error { return errors.New("overlayfs is a file system of Linux") }
