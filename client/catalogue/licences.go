package catalogue

import (
	"context"
	"sync"

	"github.com/anchore/syft/syft"
	"github.com/anchore/syft/syft/cataloging"
)

// scanner holds what recognises the texts of licences, in a context as Syft wants
// it. To make it takes one processor a second or more and is the same every time.
var scanner = sync.OnceValues(func() (context.Context, error) {
	ctx := context.Background() //nolint:forbidigo // it carries a value for the life of the process and is never waited for
	return syft.SetContextLicenseScanner(ctx, cataloging.DefaultLicenseConfig())
})

// Warm begins in the background what the first catalogue of a process needs, so
// that it is there when the image has been read.
func Warm() { go func() { _, _ = scanner() }() }

// withValues is a context that also has the values of another.
type withValues struct {
	context.Context
	values context.Context
}

func (c withValues) Value(key any) any {
	if v := c.Context.Value(key); v != nil {
		return v
	}
	return c.values.Value(key)
}
