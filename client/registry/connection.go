package registry

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
)

// All repositories share connections.
var (
	secure   = newTransport(false)
	insecure = newTransport(true)
)

func newTransport(insecure bool) http.RoundTripper {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.MaxIdleConnsPerHost = 16
	t.MaxResponseHeaderBytes = 256 << 10
	// Registries check large blobs before they answer.
	t.ResponseHeaderTimeout = 10 * time.Minute
	if insecure {
		t.TLSClientConfig = &tls.Config{InsecureSkipVerify: true} //nolint:gosec // what the caller asked for
	}
	return t
}

// redirect follows addresses that a registry hands on to, such as a blob's storage,
// but not out of an encrypted connection.
func (r *Repository) redirect(req *http.Request, via []*http.Request) error {
	if len(via) >= 10 {
		return errors.New("it redirected ten times")
	}
	if req.URL.Scheme != "https" && via[0].URL.Scheme == "https" && !r.o.Insecure {
		return fmt.Errorf("it redirects to %s without encryption", public(req.URL))
	}
	return nil
}

// request is one request to a registry.
type request struct {
	method string
	url    *url.URL
	header http.Header
	push   bool         // needs the right to push
	client *http.Client // nil is the repository's own
	// body opens what is sent, of that size, as often as needed. nil is nothing.
	body func() (io.ReadCloser, error)
	size int64
}

// do sends a request and returns an answer with one of the given statuses. Other
// answers are errors. The body of the answer is to be closed, and is not bounded.
func (r *Repository) do(ctx context.Context, q request, want ...int) (*http.Response, error) {
	client := q.client
	if client == nil {
		var err error
		if client, err = r.connect(ctx, q.push); err != nil {
			return nil, err
		}
	}
	req, err := http.NewRequestWithContext(ctx, q.method, q.url.String(), nil)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", q.method, public(q.url), err)
	}
	for k, v := range q.header {
		req.Header[k] = v
	}
	if q.body != nil {
		req.Body, req.GetBody, req.ContentLength = replaced{}, q.body, q.size
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, r.failed(ctx, err, q.method, q.url)
	}
	if !slices.Contains(want, resp.StatusCode) {
		return nil, r.refused(resp, q.method, q.url)
	}
	return resp, nil
}

// replaced stands for the body that the transport opens anew for each attempt.
type replaced struct{}

func (replaced) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }
func (replaced) Close() error             { return nil }

// read reads a body of at most limit bytes, and closes it.
func (r *Repository) read(ctx context.Context, resp *http.Response, u *url.URL, limit int64) ([]byte, error) {
	defer resp.Body.Close()
	dt, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	if err != nil {
		return nil, r.failed(ctx, err, http.MethodGet, u)
	}
	if int64(len(dt)) > limit {
		return nil, fmt.Errorf("GET %s: the answer is larger than %d bytes", public(u), limit)
	}
	return dt, nil
}

// fetch gets a document of at most limit bytes. It asks again when the connection is
// cut in the middle of the answer, which the transport does not see.
func (r *Repository) fetch(ctx context.Context, u *url.URL, accept string, limit int64) (http.Header, []byte, error) {
	for attempt := 1; ; attempt++ {
		resp, err := r.do(ctx, request{method: http.MethodGet, url: u, header: http.Header{"Accept": {accept}}}, http.StatusOK)
		if err != nil {
			return nil, nil, err
		}
		dt, err := r.read(ctx, resp, u, limit)
		var cut *UnreachableError
		if err == nil || attempt >= r.o.Retry.Attempts || !errors.As(err, &cut) {
			return resp.Header, dt, err
		}
		if err := r.pause(ctx, attempt, err); err != nil {
			return nil, nil, err
		}
	}
}

// loginLife is how long credentials are kept before the keychain is asked again. It
// is shorter than any that registries' credential helpers hand out, which is an hour.
const loginLife = 10 * time.Minute

// login asks a keychain again after a while.
type login struct {
	keychain authn.Keychain
	target   name.Repository

	mu   sync.Mutex
	auth authn.Authenticator
	at   time.Time
}

func newLogin(ctx context.Context, k authn.Keychain, target name.Repository) (authn.Authenticator, error) {
	auth, err := authn.Resolve(ctx, k, target)
	if err != nil {
		return nil, err
	}
	if auth == authn.Anonymous {
		return auth, nil
	}
	return &login{keychain: k, target: target, auth: auth, at: time.Now()}, nil
}

// Authorization is for callers without a context, of which there are none.
func (l *login) Authorization() (*authn.AuthConfig, error) {
	return l.AuthorizationContext(context.Background()) //nolint:forbidigo // authn.Authenticator has no context
}

// AuthorizationContext returns the credentials.
func (l *login) AuthorizationContext(ctx context.Context) (*authn.AuthConfig, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if time.Since(l.at) > loginLife {
		auth, err := authn.Resolve(ctx, l.keychain, l.target)
		if err != nil {
			return nil, err
		}
		l.auth, l.at = auth, time.Now()
	}
	return authn.Authorization(ctx, l.auth)
}

type anonymous struct{}

func (anonymous) Resolve(authn.Resource) (authn.Authenticator, error) { return authn.Anonymous, nil }

// resolve makes an address that a registry gave absolute, as seen from that of the
// request. Addresses without encryption are only taken from such.
func resolve(base *url.URL, location string) (*url.URL, error) {
	if location == "" || len(location) > 16<<10 {
		return nil, errors.New("the registry's answer names no address")
	}
	u, err := base.Parse(location)
	if err != nil {
		return nil, errors.New("the registry's answer names an address that is none")
	}
	u.User, u.Fragment = nil, ""
	if u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || strings.ContainsAny(u.Host, " \t\r\n") {
		return nil, errors.New("the registry's answer names an address that is none")
	}
	if u.Scheme == "http" && base.Scheme == "https" {
		if u.Host != base.Host {
			return nil, fmt.Errorf("the registry names an address without encryption: %s", public(u))
		}
		// Registries behind a proxy often do not know that it encrypts.
		u.Scheme = "https"
	}
	return u, nil
}
