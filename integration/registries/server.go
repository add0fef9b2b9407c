// Package registries runs registries on loopback that behave as the common ones do
// where they differ: what they refuse, what they want done beforehand, which answers
// they give.
//
// The in-process ones are a correct registry in memory with each one's oddities put
// before it; Distribution2 and Distribution3 are the real programs. All of them record
// what they were asked, and can be told to fail.
package registries

import (
	"context"
	"io"
	"log"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"cuelabs.dev/go/oci/ociregistry/ocimem"
	"cuelabs.dev/go/oci/ociregistry/ociserver"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/integration/fault"
)

// Config says how a registry is set up.
type Config struct {
	// ImmutableTags has the registry refuse to move a tag, in its own words.
	ImmutableTags bool
	// TokenUses is after how many requests a token expires; 0 is never. It counts for
	// registries that hand out tokens.
	TokenUses int
	// Public lets everybody pull. Otherwise only who logs in may.
	Public bool
	// Exists are repositories, or projects, that were made beforehand, where a
	// registry wants that.
	Exists []string
	// PageSize is how many referrers are listed in one page; 0 is all.
	PageSize int
}

// Server is a running registry.
type Server struct {
	// Host is its address, "127.0.0.1:PORT", for plain HTTP.
	Host string
	// Username and Password are what to log in with; both are empty when nobody has to.
	Username, Password string

	mu       sync.Mutex
	handler  http.Handler
	choose   func(r *http.Request) fault.Fault
	requests []string
	exists   map[string]bool
	into     func(repo string) string // what has to have been made for a repository
}

// serve runs a handler until the test ends.
func serve(t testing.TB, handler http.Handler) *Server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s := &Server{Host: l.Addr().String(), handler: handler, exists: map[string]bool{}, into: itself}
	srv := &http.Server{Handler: s, ReadHeaderTimeout: time.Minute, ErrorLog: log.New(io.Discard, "", 0)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = srv.Serve(l) // Close ends it
	}()
	t.Cleanup(func() {
		_ = srv.Close()
		<-done
	})
	return s
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.requests = append(s.requests, r.Method+" "+r.URL.RequestURI())
	var f fault.Fault
	if s.choose != nil {
		f = s.choose(r)
	}
	h := s.handler
	s.mu.Unlock()
	if f != nil {
		f(w, r, h)
		return
	}
	h.ServeHTTP(w, r)
}

// Wrap puts a handler before the registry, and behind the faults of Set.
func (s *Server) Wrap(wrap func(registry http.Handler) http.Handler) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.handler = wrap(s.handler)
}

// Set has choose say what befalls each request; nil is nothing. It is called for one
// request at a time. What was recorded before is forgotten.
func (s *Server) Set(choose func(r *http.Request) fault.Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.choose, s.requests = choose, nil
}

// Requests are the requests since Set, "METHOD /PATH?QUERY", in order.
func (s *Server) Requests() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}

// Count is how many requests there were since Set whose text begins so: "PUT" or
// "PUT /v2/a/manifests/".
func (s *Server) Count(prefix string) int {
	n := 0
	for _, r := range s.Requests() {
		if strings.HasPrefix(r, prefix) {
			n++
		}
	}
	return n
}

// Repository is a repository of the registry by its name there.
func (s *Server) Repository(t testing.TB, repo string) name.Repository {
	t.Helper()
	r, err := name.NewRepository(s.Host + "/" + repo)
	require.NoError(t, err)
	return r
}

// Resolve makes a Server a keychain with its own account.
func (s *Server) Resolve(target authn.Resource) (authn.Authenticator, error) {
	if target.RegistryStr() != s.Host || s.Username == "" {
		return authn.Anonymous, nil
	}
	return &authn.Basic{Username: s.Username, Password: s.Password}, nil
}

// Create makes a repository, or a project, where the registry wants that. It is a
// registry.Creator.
func (s *Server) Create(_ context.Context, repo name.Repository) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.exists[s.into(repo.RepositoryStr())] = true
	return nil
}

// made tells whether a repository, or what it lies in, was made.
func (s *Server) made(repo string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.exists[s.into(repo)]
}

// Plain is a registry with nothing odd about it: it has the referrers API, and wants no login.
func Plain(t testing.TB, c Config) *Server {
	t.Helper()
	return memory(t, c, ociserver.Options{})
}

// memory is a registry in memory.
func memory(t testing.TB, c Config, o ociserver.Options) *Server {
	t.Helper()
	backend := ocimem.NewWithConfig(&ocimem.Config{ImmutableTags: c.ImmutableTags, LaxChildReferences: true})
	s := serve(t, upload(paged(ociserver.New(backend, &o), c.PageSize)))
	for _, repo := range c.Exists {
		s.exists[repo] = true
	}
	return s
}
