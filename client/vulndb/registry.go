package vulndb

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	digest "github.com/opencontainers/go-digest"
)

// registrySource is an artifact in a registry (OCI distribution-spec v1.1).
type registrySource struct {
	Options
	ref name.Reference
}

func newRegistrySource(o Options, spec string) (source, error) {
	var opts []name.Option
	if o.Insecure {
		opts = append(opts, name.Insecure)
	}
	ref, err := name.ParseReference(spec, opts...)
	if err != nil {
		return nil, fmt.Errorf("the vulnerability database oci://%s: %w", spec, err)
	}
	if o.Keychain == nil {
		o.Keychain = authn.NewMultiKeychain()
	}
	return registrySource{o, ref}, nil
}

func (registrySource) local() bool { return false }

func (r registrySource) latest(ctx context.Context) (*release, error) {
	repo := r.ref.Context()
	auth, err := authn.Resolve(ctx, r.Keychain, repo)
	if err != nil {
		return nil, fmt.Errorf("credentials for %s: %w", repo.Registry, err)
	}
	rt, err := transport.NewWithContext(ctx, repo.Registry, auth, r.Transport, []string{repo.Scope(transport.PullScope)})
	if err != nil {
		return nil, fmt.Errorf("ask the registry for %s: %w", r.ref, err)
	}
	img, err := remote.Image(r.ref, remote.WithContext(ctx), remote.WithTransport(rt))
	if err != nil {
		return nil, fmt.Errorf("ask the registry for %s: %w", r.ref, err)
	}
	m, err := img.Manifest()
	if err != nil {
		return nil, fmt.Errorf("manifest of %s: %w", r.ref, err)
	}
	if len(m.Layers) != 1 {
		return nil, fmt.Errorf("%s has %d layers: an artifact with a vulnerability database has one, the archive", r.ref, len(m.Layers))
	}
	sum := digest.Digest(m.Layers[0].Digest.String())
	// The registry client cannot go on with a broken download; the protocol can.
	u := &url.URL{Scheme: repo.Scheme(), Host: repo.RegistryStr(), Path: fmt.Sprintf("/v2/%s/blobs/%s", repo.RepositoryStr(), sum)}
	g := getter{Options: r.Options, client: &http.Client{Transport: rt}}
	return &release{name: r.ref.String(), digest: sum, open: func(ctx context.Context) (io.ReadCloser, int64, error) {
		return g.archive(ctx, u, sum)
	}}, nil
}
