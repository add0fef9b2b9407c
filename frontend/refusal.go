package frontend

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/parser"
	gwclient "github.com/moby/buildkit/frontend/gateway/client"
	gwpb "github.com/moby/buildkit/frontend/gateway/pb"
	"github.com/moby/buildkit/solver/errdefs"
	"github.com/moby/buildkit/solver/pb"

	"github.com/temper-images/temper/frontend/config"
	"github.com/temper-images/temper/hardening/spec"
)

// readRefusal reads why a step of the helper's failed out of what it left in its
// report directory. The daemon keeps the mounts of a failed step for as long as
// the frontend runs, and shows them to it as those of a new container, in which
// nothing is started.
func (b *build) readRefusal(ctx context.Context, solve *errdefs.SolveError) (spec.Refusal, bool) {
	caps := b.client.BuildOpts().Caps
	if caps.Supports(gwpb.CapGatewayExec) != nil || caps.Supports(gwpb.CapGatewayExecFilesystem) != nil {
		return spec.Refusal{}, false
	}
	exec := solve.Op.GetExec()
	args := exec.GetMeta().GetArgs()
	report := slices.Index(args, "--report") + 1
	if report == 0 || report == len(args) {
		return spec.Refusal{}, false
	}
	for i, m := range exec.GetMounts() {
		if m.Dest != args[report] || i >= len(solve.MountIDs) || solve.MountIDs[i] == "" {
			continue
		}
		ctr, err := b.client.NewContainer(ctx, gwclient.NewContainerRequest{
			Mounts: []gwclient.Mount{{Dest: "/", ResultID: solve.MountIDs[i], Readonly: true, MountType: pb.MountType_BIND}},
		})
		if err != nil {
			return spec.Refusal{}, false
		}
		defer func() { _ = ctr.Release(context.WithoutCancel(ctx)) }()
		dt, err := ctr.ReadFile(ctx, gwclient.ReadContainerRequest{ReadRequest: gwclient.ReadRequest{
			Filename: "/" + spec.RefusalFile, Range: &gwclient.FileRange{Length: maxRefusal},
		}})
		if err != nil {
			return spec.Refusal{}, false
		}
		r, err := spec.ReadRefusal(bytes.NewReader(dt))
		return r, err == nil && r.Message != ""
	}
	return spec.Refusal{}, false
}

// maxRefusal bounds what is read of a refusal, in bytes.
const maxRefusal = 1 << 20

// refused is the error for a refusal. It points at the lines of temper.yaml that
// are at fault; where a rule was given as a build argument, it names that.
func (b *build) refused(op string, r spec.Refusal, cause error) error {
	var places []parser.Range
	where := ""
	for _, rule := range r.Rules {
		if _, set := b.client.BuildOpts().Opts["build-arg:"+config.ArgName(rule.Field)]; set {
			where = "build argument " + config.ArgName(rule.Field) + ": "
			continue
		}
		if b.configFile == nil {
			continue
		}
		line, column, ok := config.Locate(b.configFile.Data, rule.Field, rule.Value)
		if !ok || len(places) >= maxPlaces {
			continue
		}
		if len(places) == 0 {
			where = fmt.Sprintf("%s:%d:%d: ", b.configFile.Filename, line, column)
		}
		at := parser.Position{Line: line, Character: column - 1}
		places = append(places, parser.Range{Start: at, End: at})
	}
	err := error(&Error{op, &refusalError{msg: where + strings.TrimSpace(r.Message), cause: cause}})
	if len(places) > 0 {
		err = withSource(err, b.configFile, places)
	}
	return err
}

// refusalError says what the helper said in the place of what the daemon says of
// its exit code.
type refusalError struct {
	msg   string
	cause error
}

func (e *refusalError) Error() string { return e.msg }

// Unwrap returns the error of the failed step without its source location, which
// would point at the Dockerfile.
func (e *refusalError) Unwrap() error {
	var exit *gwpb.ExitError
	if errors.As(e.cause, &exit) {
		return exit
	}
	return nil
}
