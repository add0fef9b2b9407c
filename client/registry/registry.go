// Package registry talks to one repository of an image registry, as the OCI
// distribution specification 1.1.1 says it and as registries really do it.
//
// Whatever a registry answers is bounded and checked against the digest that was
// asked for. Throttling, cut connections and servers that do not know whether they
// did what they were asked are dealt with here; what is left over is an error whose
// type says whether the registry could not be reached, denied it, or does not have it.
package registry

import (
	"context"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// Bounds on what is read of a registry's answers.
const (
	// MaxManifest is the size above which no manifest is read or pushed, in bytes:
	// distribution-spec recommends registries to take that much.
	MaxManifest = 4 << 20
	// maxReferrers is how many descriptors a list of referrers may have, and
	// maxTags how many tags a repository.
	maxReferrers = 10_000
	maxTags      = 100_000
	// maxPages is how many pages either list may come in.
	maxPages = 1000
)

// Options say how to reach a registry.
type Options struct {
	// Keychain finds the credentials; nil is anonymous. It is asked again in
	// long pushes, so that credentials may be short-lived.
	Keychain authn.Keychain
	// Insecure allows HTTP, and HTTPS with certificates that nobody vouches for.
	// Loopback hosts may speak HTTP without it.
	Insecure bool
	// Push asks for the right to push with the first request. Without it, that
	// right is asked for when something is first pushed.
	Push bool
	// Create makes the repository where a registry wants that done beforehand;
	// nil is nothing.
	Create Creator
	// Retry says how persistent to be; the zero value has sensible defaults.
	Retry Retry
	// Notice is told, in a line of plain text, of waits and of doing things another
	// way. It may be nil. Calls may come from several goroutines at once.
	Notice func(string)
}

// Creator makes repositories.
type Creator interface {
	// Create makes the repository. That it is there already is no error. It
	// returns an error that is errors.ErrUnsupported for registries that it
	// knows nothing of.
	Create(ctx context.Context, repo name.Repository) error
}

// Repository is one repository of a registry. It is safe for concurrent use.
type Repository struct {
	name name.Repository
	o    Options
	base http.RoundTripper // retries, and knows nothing of credentials

	mu      sync.Mutex
	client  *http.Client            // nil until the first request
	pushing bool                    // client has asked for the right to push
	lending map[string]*http.Client // for mounting, by the other repository
	created bool

	probing   sync.Mutex
	referrers *bool // whether there is a referrers API; nil when nobody asked

	chunk    int64 // chunkSize, save in tests
	noChunks chunkRefusal
}

// Open returns a repository. It makes no request: what is wrong with the registry
// or the credentials shows in the first call.
func Open(_ context.Context, repo name.Repository, o Options) (*Repository, error) {
	if o.Insecure && repo.Scheme() != "http" {
		var err error
		if repo, err = name.NewRepository(repo.Name(), name.Insecure); err != nil {
			return nil, err
		}
	}
	if o.Keychain == nil {
		o.Keychain = anonymous{}
	}
	if o.Notice == nil {
		o.Notice = func(string) {}
	}
	o.Retry = o.Retry.defaults()
	inner := secure
	if o.Insecure {
		inner = insecure
	}
	return &Repository{
		name:    repo,
		o:       o,
		chunk:   chunkSize,
		lending: map[string]*http.Client{},
		base:    &persistent{inner: inner, registry: repo.RegistryStr(), retry: o.Retry, notice: o.Notice},
	}, nil
}

// Name is the repository's name.
func (r *Repository) Name() name.Repository { return r.name }

// connect returns a client that is logged in, with the right to push if wanted.
func (r *Repository) connect(ctx context.Context, push bool) (*http.Client, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	push = push || r.o.Push
	if r.client != nil && (r.pushing || !push) {
		return r.client, nil
	}
	action := transport.PullScope
	if push {
		action = transport.PushScope
	}
	client, err := r.login(ctx, r.name.Scope(action))
	if err != nil {
		return nil, err
	}
	r.client, r.pushing = client, push
	return client, nil
}

// lender returns a client that may also pull from another repository. It is apart from
// the one for everything else, for whoever may not pull there may still push here.
func (r *Repository) lender(ctx context.Context, from name.Repository) (*http.Client, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c := r.lending[from.RepositoryStr()]; c != nil {
		return c, nil
	}
	client, err := r.login(ctx, r.name.Scope(transport.PushScope), from.Scope(transport.PullScope))
	if err != nil {
		return nil, err
	}
	r.lending[from.RepositoryStr()] = client
	return client, nil
}

// login asks the registry how to log in, and does.
func (r *Repository) login(ctx context.Context, scopes ...string) (*http.Client, error) {
	auth, err := newLogin(ctx, r.o.Keychain, r.name)
	if err != nil {
		return nil, err
	}
	t, err := transport.NewWithContext(ctx, r.name.Registry, auth, transport.NewUserAgent(r.base, "temper"), scopes)
	if err != nil {
		return nil, r.failed(ctx, err, http.MethodGet, r.endpoint())
	}
	return &http.Client{Transport: t, CheckRedirect: r.redirect}, nil
}

// endpoint is the root of the registry's API.
func (r *Repository) endpoint() *url.URL {
	return &url.URL{Scheme: r.name.Scheme(), Host: r.name.RegistryStr(), Path: "/v2/"}
}

// url is an address below the repository.
func (r *Repository) url(kind, id string) *url.URL {
	u := r.endpoint()
	u.Path += r.name.RepositoryStr() + "/" + kind + "/" + id
	return u
}

// pause waits before the given attempt, counted from 1, is repeated.
func (r *Repository) pause(ctx context.Context, attempt int, why error) error {
	d := r.o.Retry.delay(attempt, retryAfter(why))
	r.o.Notice(waiting(r.name.RegistryStr(), d, why))
	return sleep(ctx, d)
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return stopped(ctx)
	}
}
