// Package build turns a request, as a command line states it, into one BuildKit
// solve, and puts what comes out of it in its place in one step.
package build

import (
	"fmt"
	"io"

	"github.com/docker/cli/cli/config/configfile"
	bkclient "github.com/moby/buildkit/client"
	"github.com/temper-images/temper/client/frontend"
	"github.com/temper-images/temper/client/recompress"
)

// Request says what to build. Fields that hold specifications take what the
// docker buildx build flag of that name takes. The zero value of every field but
// Frontend is usable.
type Request struct {
	// Frontend converts the Dockerfile.
	Frontend *frontend.Frontend

	// Context is a directory, the URL of a git repository or an archive, or "-"
	// for Stdin. Empty means the current directory.
	Context string
	// Dockerfile is a path, or "-" for Stdin. Empty means Dockerfile in Context.
	Dockerfile string
	// Stdin is read when Context or Dockerfile is "-": a Dockerfile, or as
	// Context also an archive.
	Stdin io.Reader

	// Target is the stage to build; Platforms are the target platforms.
	Target    string
	Platforms []string
	// BuildArgs are build arguments; a name without "=" takes its value from
	// the environment.
	BuildArgs []string
	// Contexts are further build contexts, "NAME=VALUE".
	Contexts []string
	// Labels are "KEY=VALUE"; Annotations are "[TYPE[PLATFORM],…:]KEY=VALUE".
	Labels      []string
	Annotations []string
	// Tags are image names that OCI layouts and archives record.
	Tags []string

	// Secrets and SSH are what the build may see of the client's secrets.
	Secrets []string
	SSH     []string
	// Allow are the entitlements that the build gets.
	Allow []string

	// NoCache builds everything anew, NoCacheFilter the named stages; Pull asks
	// the registry for every image anew.
	NoCache       bool
	NoCacheFilter []string
	Pull          bool
	// CacheFrom and CacheTo are external caches.
	CacheFrom []string
	CacheTo   []string

	// Attest are attestations that BuildKit is to make.
	Attest []string
	// Provenance asks for the builder's own provenance in the result. It does not
	// change the image.
	Provenance bool
	// EffectiveConfig asks the frontend for the effective configuration, as
	// config.EffectiveKey in the result's metadata.
	EffectiveConfig bool

	// AddHosts, Network, ShmSize (bytes) and Ulimits are for RUN instructions.
	AddHosts []string
	Network  string
	ShmSize  int64
	Ulimits  []string

	// Outputs say where the image goes. Empty means an OCI layout named after
	// the context.
	Outputs []string
	// Recompress, when it is set, has the layers compressed here and not by the builder.
	// The only output then is the directory of an OCI layout that says nothing of
	// compression. The builder keeps the layers as they were exported, uncompressed.
	Recompress *recompress.Options
	// Stdout takes the outputs whose destination is "-".
	Stdout io.Writer
	// Call asks the frontend a question instead of building; see ParseCall.
	Call *Call

	// Ref names the build in the builder's history. Empty means a name that is
	// made up.
	Ref string

	// Auth are the registry credentials. Nil means none.
	Auth *configfile.ConfigFile
	// Working is called, once, when the builder carries out a step and so has something
	// new to send. Nil means that nobody asks.
	Working func()
	// Status receives the progress of the build and is closed at its end, also
	// when Run fails. Nil means that nobody looks.
	Status chan *bkclient.SolveStatus
}

// InputError says that the request itself is wrong, before anything was built.
type InputError struct{ Err error }

func (e *InputError) Error() string { return e.Err.Error() }
func (e *InputError) Unwrap() error { return e.Err }

func inputErrorf(format string, args ...any) error {
	return &InputError{Err: fmt.Errorf(format, args...)}
}

// asInputError marks err, if it is one, as the fault of what a flag said.
func asInputError(flag string, err error) error {
	if err == nil {
		return nil
	}
	return inputErrorf("%s: %w", flag, err)
}
