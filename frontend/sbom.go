package frontend

import (
	"context"
	"fmt"

	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/client/llb/sourceresolver"
	"github.com/moby/buildkit/frontend/attestations/sbom"
	"github.com/moby/buildkit/frontend/dockerfile/dockerfile2llb"
	"github.com/moby/buildkit/frontend/dockerui"
	gwclient "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/solver/result"
	"github.com/moby/buildkit/util/bkmaps"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// scans holds, by platform, what an SBOM is made of: the state that is exported
// and the extras (context, stages) that the Dockerfile asks for.
type scans = bkmaps.SyncMap[string, *dockerfile2llb.Result]

// scanner makes the SBOM scanner that the request asks for, or nil.
func (b *build) scanner(ctx context.Context) (sbom.Scanner, error) {
	if b.ui.SBOM == nil {
		return nil, nil
	}
	platform := b.ui.BuildPlatforms[0]
	return sbom.CreateSBOMScanner(ctx, b.client, b.ui.SBOM.Generator, platform, sourceresolver.Opt{
		ImageOpt: &sourceresolver.ResolveImageOpt{
			ResolveMode: b.ui.BuildOpts().Opts["image-resolve-mode"],
			Platform:    &platform,
		},
	}, b.ui.SBOM.Parameters)
}

// scan returns a function that adds one platform's SBOM to the result.
func (b *build) scan(scanner sbom.Scanner, rb *dockerui.ResultBuilder) func(context.Context, string, ocispecs.Platform) error {
	return func(ctx context.Context, id string, _ ocispecs.Platform) (err error) {
		defer recovered(&err)
		target, ok := b.scans.Load(id)
		if !ok {
			return fmt.Errorf("SBOM: nothing was built for %s", id)
		}
		var opts []llb.ConstraintsOpt
		if target.IsIgnoreCache {
			opts = append(opts, llb.IgnoreCache)
		}
		scanned, err := scanner(ctx, id, target.SBOM.Core, target.SBOM.Extras, opts...)
		if err != nil {
			return fmt.Errorf("SBOM for %s: %w", id, err)
		}
		att, err := result.ConvertAttestation(&scanned, func(st *llb.State) (gwclient.Reference, error) {
			return b.solve(ctx, st)
		})
		if err != nil {
			return fmt.Errorf("SBOM for %s: %w", id, err)
		}
		rb.AddAttestation(id, *att)
		return nil
	}
}
