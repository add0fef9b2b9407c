//go:build !linux

package daemon

import (
	"context"
	"errors"
	"io"
)

// Main is for Linux only.
func Main(context.Context, []string, io.Writer) error {
	return errors.New("daemon: a buildkitd of our own runs on Linux only")
}
