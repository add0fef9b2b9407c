// Package transfer copies an image with everything attached to it: from registry to
// registry, into a file (an OCI image layout, image-spec v1.1, in a tar or a
// directory), and from a file into a registry. Attached is what the referrers API
// and its fallback index list (distribution-spec v1.1), what Cosign keeps under the
// tags .sig, .att and .sbom, and in turn what is attached to that. Digests never
// change.
package transfer

import (
	"context"
	"fmt"

	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/temper-images/temper/client/referrer"
)

// Source is where an image and what is attached to it are read: a repository of a
// registry, or an Archive.
type Source = referrer.Source

// Verify says whether what is signed about a manifest satisfies whoever asks. It
// reads from a source and returns why not.
type Verify func(ctx context.Context, src Source, subject ocispecs.Descriptor) error

// The bounds on what is read. They are far above what images have, and keep a
// hostile source from filling the memory.
const (
	// maxManifest is the largest manifest, in bytes; registries take none above it.
	maxManifest = 4 << 20
	// maxManifests bounds the manifests of an image with all that is attached.
	maxManifests = 10_000
	// maxBytes bounds those manifests' bytes.
	maxBytes = 256 << 20
	// maxBlobs bounds the blobs.
	maxBlobs = 100_000
	// maxDepth bounds how deep indexes lie in indexes and attachments on attachments.
	maxDepth = 16
)

// InputError says that what was asked for is not there, or does not fit what is.
type InputError struct{ Err error }

func (e *InputError) Error() string { return e.Err.Error() }
func (e *InputError) Unwrap() error { return e.Err }

func inputErrorf(format string, args ...any) error {
	return &InputError{fmt.Errorf(format, args...)}
}
