package frontend

import (
	"context"

	"github.com/containerd/platforms"
	"github.com/moby/buildkit/client/llb"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// marshaler is what solve needs of an llb.State.
type marshaler interface {
	Marshal(context.Context, ...llb.ConstraintsOpt) (*llb.Definition, error)
}

// platformID is the key that a platform's parts have in a result.
func platformID(p *ocispecs.Platform) string {
	if p == nil {
		d := platforms.DefaultSpec()
		p = &d
	}
	return platforms.FormatAll(platforms.Normalize(*p))
}
