package frontend

import (
	"slices"
	"strings"

	"github.com/moby/buildkit/solver/errdefs"
	"github.com/moby/buildkit/util/grpcerrors"
	"google.golang.org/grpc/codes"
)

// Caps are the frontend capabilities that a request may demand in the option
// "frontend.caps". The label moby.buildkit.frontend.caps of the frontend image
// must list the same: the daemon compares them before it starts the frontend.
var Caps = []string{
	"moby.buildkit.frontend.inputs",
	"moby.buildkit.frontend.subrequests",
	"moby.buildkit.frontend.contexts",
	"moby.buildkit.frontend.gitquerystring",
	"moby.buildkit.frontend.contexts.zstd",
}

// validateCaps refuses a demand that is not met. The suffix "+forward" lets a
// frontend pass the request on to one that meets it; this one passes nothing on.
func validateCaps(demanded string) error {
	if demanded == "" {
		return nil
	}
	for demand := range strings.SplitSeq(demanded, ",") {
		name, _, _ := strings.Cut(demand, "+")
		if !slices.Contains(Caps, name) {
			return grpcerrors.WrapCode(errdefs.NewUnsupportedFrontendCapError(name), codes.Unimplemented)
		}
	}
	return nil
}
