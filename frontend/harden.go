package frontend

import (
	"context"
	"fmt"

	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/frontend/dockerfile/dockerfile2llb"
	"github.com/moby/buildkit/frontend/dockerui"
	"github.com/moby/buildkit/util/bkmaps"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/temper-images/temper/frontend/config"
	"github.com/temper-images/temper/frontend/installs"
	"github.com/temper-images/temper/hardening/spec"
	"github.com/temper-images/temper/llbgraph"
)

// hardener hardens the stage of one request, for each of its platforms.
type hardener struct {
	*build
	config  config.Harden
	helper  llb.State
	reports bkmaps.SyncMap[string, *report]
}

// newHardener finds the helper; it returns nil when the level is off.
func (b *build) newHardener(ctx context.Context, c config.Config) (*hardener, error) {
	if c.Harden.Level == spec.LevelOff {
		return nil, nil
	}
	helper, err := b.helper(ctx)
	if err != nil {
		return nil, err
	}
	return &hardener{build: b, config: c.Harden, helper: helper}, nil
}

// harden hardens what the Dockerfile gave for one platform, nil for the daemon's
// own, and runs the steps as far as the report needs: which is all of them.
func (h *hardener) harden(ctx context.Context, df *dockerfile2llb.Result, platform *ocispecs.Platform) (*dockerui.BuildResult, error) {
	build := h.ui.BuildPlatforms[0]
	target := build
	if platform != nil {
		target = *platform
	}
	id := platformID(platform)
	op := "harden " + id
	if target.OS != "linux" {
		return nil, &Error{op, fmt.Errorf("only Linux images can be hardened; build this platform with --build-arg %s=%s",
			config.ArgName("harden.level"), spec.LevelOff)}
	}
	installed := installs.Packages(installs.Dockerfile{
		Stages: h.stage.stages, Args: h.stage.args, Escape: h.stage.escape, BuildArgs: h.convert.BuildArgs,
	}, h.stage.index)
	out, err := llbgraph.Harden(llbgraph.Input{
		Runtime:       df.State,
		Helper:        h.helper,
		Settings:      settings(h.config, df.Image, installed),
		Target:        target,
		Build:         build,
		Caps:          h.ui.BuildOpts().LLBCaps,
		IgnoreCache:   df.IsIgnoreCache,
		MultiPlatform: h.ui.MultiPlatformRequested,
		Location:      h.SourceMap.Location(ranges(h.stage.location())),
	})
	if err != nil {
		return nil, &Error{op, err}
	}
	df.SBOM.Core = out.State
	ref, err := h.solve(ctx, out.State)
	if err != nil {
		return nil, &Error{op, err}
	}
	reportRef, err := h.solve(ctx, out.Report)
	if err != nil {
		return nil, &Error{op, err}
	}
	if err := reportRef.Evaluate(ctx); err != nil {
		return nil, h.explain(ctx, op, err)
	}
	r, err := readReport(ctx, reportRef)
	if err != nil {
		return nil, &Error{op, err}
	}
	h.reports.Store(id, r)
	return &dockerui.BuildResult{
		Reference: ref,
		Image:     hardenedImage(df.Image, h.config, r.User.Config),
		// No layer of the base image is left, so there is no base to spare.
		BaseImage: nil,
		Epoch:     df.Epoch,
	}, nil
}

// hardenedImage is the image configuration of the hardened stage: that of the
// runtime stage with the new user and one layer.
func hardenedImage(img *dockerspec.DockerOCIImage, c config.Harden, user string) *dockerspec.DockerOCIImage {
	out := *img
	if c.User != spec.UserKeep {
		out.Config.User = user
	}
	// The exporter fills in the layer and the time.
	out.RootFS = ocispecs.RootFS{Type: "layers"}
	out.History = []ocispecs.History{{
		CreatedBy: fmt.Sprintf("temper harden --level=%s", c.Level),
		Comment:   "temper",
	}}
	return &out
}
