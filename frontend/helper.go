package frontend

import (
	"context"

	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/frontend/dockerui"
)

// HelperContext is the named context that, when given, is used as the helper's
// image instead of the frontend's own.
const HelperContext = "temper-helper"

// NoHelperError says that there is no image to run the in-build helper from: the
// frontend does not run in a container made from its image.
type NoHelperError struct{}

func (*NoHelperError) Error() string {
	return "harden: the frontend's own image, which the hardening steps run, is not known, because the frontend was not started from an image; " +
		"run it as a gateway frontend (frontend gateway.v0 with the option source=IMAGE, or \"# syntax=IMAGE\" in the Dockerfile), " +
		"or give its image as the named context " + HelperContext + " (for example --build-context " + HelperContext + "=docker-image://IMAGE)"
}

// helper returns the image that the hardening steps run, for the build platform.
func (b *build) helper(ctx context.Context) (llb.State, error) {
	named, err := b.ui.NamedContext(HelperContext, dockerui.ContextOpt{
		Platform:    &b.ui.BuildPlatforms[0],
		ResolveMode: b.ui.ImageResolveMode.String(),
	})
	if err != nil {
		return llb.State{}, err
	}
	if named != nil {
		st, _, err := named.Load(ctx)
		if err != nil {
			return llb.State{}, &Error{"load the named context " + HelperContext, err}
		}
		return *st, nil
	}
	// Only the gRPC client has the method, and every wrapper hides it.
	current, ok := b.unwrapped.(interface{ CurrentFrontend() (*llb.State, error) })
	if !ok {
		return llb.State{}, &NoHelperError{}
	}
	st, err := current.CurrentFrontend()
	if err != nil {
		return llb.State{}, &Error{"read the frontend's own image", err}
	}
	if st == nil {
		return llb.State{}, &NoHelperError{}
	}
	return *st, nil
}
