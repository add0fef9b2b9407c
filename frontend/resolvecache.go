package frontend

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/moby/buildkit/client/llb/sourceresolver"
	gwclient "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/util/flightcontrol"
	digest "github.com/opencontainers/go-digest"
)

// resolveCache asks for each image's configuration once, however many stages and
// platforms need it. An error is remembered too: the whole build fails on it.
type resolveCache struct {
	gwclient.Client
	flights flightcontrol.CachedGroup[resolved]
}

type resolved struct {
	ref    string
	digest digest.Digest
	config []byte
}

// ResolveImageConfig is that of gwclient.Client.
func (c *resolveCache) ResolveImageConfig(ctx context.Context, ref string, opt sourceresolver.Opt) (string, digest.Digest, []byte, error) {
	c.flights.CacheError = true
	key, err := json.Marshal(struct {
		Ref string
		Opt sourceresolver.Opt
	}{ref, opt})
	if err != nil {
		return "", "", nil, fmt.Errorf("resolve %s: encode options: %w", ref, err)
	}
	r, err := c.flights.Do(ctx, string(key), func(ctx context.Context) (resolved, error) {
		ref, dgst, config, err := c.Client.ResolveImageConfig(ctx, ref, opt)
		return resolved{ref, dgst, config}, err
	})
	if err != nil {
		return "", "", nil, err
	}
	return r.ref, r.digest, r.config, nil
}
