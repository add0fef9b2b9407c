package registries

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/integration/registry"
	"github.com/temper-images/temper/integration/tools"
)

// Distribution2 is Debian's docker-registry, version 2.8, with a login by name and
// password. It has no referrers API. Of the configuration only Public counts.
func Distribution2(t testing.TB, c Config) *Server {
	t.Helper()
	rc := registry.Config{Storage: t.TempDir()}
	if !c.Public {
		rc.Users = map[string]string{user: password}
	}
	s := serve(t, front(start(t, rc)))
	if !c.Public {
		s.Username, s.Password = user, password
	}
	return s
}

// Distribution3 is distribution's registry, version 3, with tokens that really expire. It
// has no referrers API. Of the configuration TokenUses and Public count; Public is for
// everybody and everything.
func Distribution3(t testing.TB, c Config) *Server {
	t.Helper()
	rc := registry.Config{Program: tools.Path("distribution"), Storage: t.TempDir()}
	if c.Public {
		return serve(t, front(start(t, rc)))
	}
	// The realm names the server's own address, which is known once it listens.
	s := serve(t, http.NotFoundHandler())
	s.Username, s.Password = user, password
	issuer := newIssuer(t, s.Host, c.TokenUses)
	rc.Tokens = &registry.Tokens{Realm: "http://" + s.Host + "/token", Service: s.Host, Issuer: issuerName, JWKS: issuer.jwks(t)}
	registry := front(start(t, rc))
	s.Wrap(func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/token" {
				issuer.give(w, r)
				return
			}
			issuer.age(r)
			registry.ServeHTTP(w, r)
		})
	})
	return s
}

// start runs a registry until the test ends, and returns its address.
func start(t testing.TB, c registry.Config) string {
	t.Helper()
	r, err := registry.StartWith(t.Context(), c)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, r.Stop()) })
	return r.Host
}

// front passes requests on to a registry, which believes to be at the front's address.
func front(addr string) http.Handler {
	return &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: "http", Host: addr})
			r.Out.Host = r.In.Host
		},
		// A registry that is gone looks to clients as if it hung up.
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
		Transport:    &http.Transport{DisableCompression: true},
	}
}

const (
	issuerName = "temper-test"
	keyID      = "test"
)

// issuer signs tokens for a registry (RFC 7519; distribution's "Token Authentication
// Implementation").
type issuer struct {
	key     ed25519.PrivateKey
	service string
	uses    int

	mu   sync.Mutex
	left map[string]*signed
}

type signed struct {
	left    int
	expired string // the same token, when its time is over
}

func newIssuer(t testing.TB, service string, uses int) *issuer {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	return &issuer{key: key, service: service, uses: uses, left: map[string]*signed{}}
}

func b64(data []byte) string { return base64.RawURLEncoding.EncodeToString(data) }

func (i *issuer) jwks(t testing.TB) []byte {
	t.Helper()
	data, err := json.Marshal(map[string]any{"keys": []map[string]string{{
		"kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": keyID,
		"x": b64(i.key.Public().(ed25519.PublicKey)),
	}}})
	require.NoError(t, err)
	return data
}

// access is what a token allows.
type access struct {
	Type    string   `json:"type"`
	Name    string   `json:"name"`
	Actions []string `json:"actions"`
}

func (i *issuer) give(w http.ResponseWriter, r *http.Request) {
	if name, pass, _ := r.BasicAuth(); name != user || pass != password {
		reply(w, r, http.StatusUnauthorized, "UNAUTHORIZED", "incorrect username or password")
		return
	}
	allowed := []access{}
	for _, scope := range strings.Fields(strings.Join(r.URL.Query()["scope"], " ")) {
		rest, ok := strings.CutPrefix(scope, "repository:")
		if at := strings.LastIndexByte(rest, ':'); ok && at > 0 {
			allowed = append(allowed, access{"repository", rest[:at], strings.Split(rest[at+1:], ",")})
		}
	}
	now := time.Now()
	fresh := i.sign(allowed, now.Add(time.Hour))
	i.mu.Lock()
	i.left[fresh] = &signed{i.uses, i.sign(allowed, now.Add(-time.Hour))}
	i.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"token": fresh, "expires_in": 3600})
}

func (i *issuer) sign(allowed []access, until time.Time) string {
	header, _ := json.Marshal(map[string]string{"typ": "JWT", "alg": "EdDSA", "kid": keyID})
	claims, _ := json.Marshal(map[string]any{
		"iss": issuerName, "sub": user, "aud": i.service, "jti": rand.Text(), "access": allowed,
		"iat": until.Add(-2 * time.Hour).Unix(), "nbf": until.Add(-2 * time.Hour).Unix(), "exp": until.Unix(),
	})
	text := b64(header) + "." + b64(claims)
	return text + "." + b64(ed25519.Sign(i.key, []byte(text)))
}

// age makes a token that was used so often an expired one, which the registry finds out
// for itself.
func (i *issuer) age(r *http.Request) {
	text, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok || i.uses == 0 {
		return
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	s := i.left[text]
	switch {
	case s == nil:
	case s.left == 0:
		r.Header.Set("Authorization", "Bearer "+s.expired)
	default:
		s.left--
	}
}

// All are the constructors by the registries' names, for tests that are about each.
func All() map[string]func(t testing.TB, c Config) *Server {
	return map[string]func(t testing.TB, c Config) *Server{
		"plain": Plain, "ecr": ECR, "gar": GAR, "acr": ACR, "ghcr": GHCR, "gitlab": GitLab, "harbor": Harbor, "quay": Quay,
		"dockerhub": DockerHub, "distribution2": Distribution2, "distribution3": Distribution3,
	}
}
