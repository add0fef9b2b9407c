package frontend

import (
	"context"
	"errors"
	"fmt"

	gwpb "github.com/moby/buildkit/frontend/gateway/pb"
	"github.com/moby/buildkit/solver/errdefs"
	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/buildkit/util/grpcerrors"
	"google.golang.org/grpc/status"

	"github.com/temper-images/temper/llbgraph"
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

// explain says what it means when running the build's steps failed in one of the
// helper's; the error of any other step is returned as it is. The helper's own
// words are in the step's log, which clients show above the error, and, where the
// daemon lets the frontend read them, in the error, with the lines of temper.yaml
// that are at fault.
func (b *build) explain(ctx context.Context, op string, err error) error {
	var solve *errdefs.SolveError
	if !errors.As(err, &solve) || !runsHelper(solve.Op) {
		return err
	}
	var exit *gwpb.ExitError
	if errors.As(err, &exit) {
		switch exit.ExitCode {
		case exitDataErr:
			if refused, ok := b.readRefusal(ctx, solve); ok {
				return b.refused(op, refused, err)
			}
			err = fmt.Errorf("the image cannot be hardened as asked; the log of the step says why and how to mend it: %w", err)
		case exitIOErr:
			err = fmt.Errorf("reading or writing files failed; the log of the step says which (is the builder's disk full?): %w", err)
		}
	}
	return &Error{op, err}
}

func runsHelper(op *pb.Op) bool {
	args := op.GetExec().GetMeta().GetArgs()
	return len(args) > 0 && args[0] == llbgraph.HelperPath
}
