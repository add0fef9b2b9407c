package frontend

import (
	"errors"
	"fmt"

	gwpb "github.com/moby/buildkit/frontend/gateway/pb"
	"github.com/moby/buildkit/util/grpcerrors"
	"google.golang.org/grpc/status"
)

// Error is a failure of what this frontend adds to a Dockerfile build.
type Error struct {
	// Op is what was being done, and to what: "harden linux/amd64".
	Op string
	// Err is what went wrong.
	Err error
}

func (e *Error) Error() string { return e.Op + ": " + e.Err.Error() }

// Unwrap returns Err.
func (e *Error) Unwrap() error { return e.Err }

// GRPCStatus carries the whole message. An error on its way from the frontend to
// the daemon is cut down to the first one in its chain that has a status, which
// else would be the daemon's own answer, without what was said about it here.
func (e *Error) GRPCStatus() *status.Status {
	return status.New(grpcerrors.Code(e.Err), e.Error())
}

// The helper's exit codes (sysexits.h) that say whose fault a failure is.
const (
	exitDataErr = 65
	exitIOErr   = 74
)

// explain says what a failed step means. Its own words are in the step's log,
// which clients show above the error.
func explain(err error) error {
	var exit *gwpb.ExitError
	if !errors.As(err, &exit) {
		return err
	}
	switch exit.ExitCode {
	case exitDataErr:
		return fmt.Errorf("the image cannot be hardened as asked; the log of the step says why and how to mend it: %w", err)
	case exitIOErr:
		return fmt.Errorf("reading or writing files failed; the log of the step says which (is the builder's disk full?): %w", err)
	}
	return err
}
