package ci

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/lestrrat-go/jwx/v3/jwa"
	"github.com/lestrrat-go/jwx/v3/jwk"
	"github.com/lestrrat-go/jwx/v3/jwt"
	"github.com/stretchr/testify/require"
)

// now is the time of all tests.
var now = time.Unix(1_750_000_000, 0)

// platformServer is every host of the platforms at once, on loopback: the issuers
// with real keys, and the services that give tokens.
type platformServer struct {
	*httptest.Server
	keys map[string]jwk.Key
	// token is what the services give.
	token string
	// fail is how many requests for a token the services still fail.
	fail int
	// requests are what was asked of the services.
	requests []*http.Request
	bodies   []string
}

// algs are the algorithms of the issuers' keys.
var algs = map[string]jwa.SignatureAlgorithm{"rs": jwa.RS256(), "es": jwa.ES256()}

func newPlatformServer(t *testing.T) *platformServer {
	t.Helper()
	p := &platformServer{keys: map[string]jwk.Key{}}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	for id, raw := range map[string]any{"rs": rsaKey, "es": ecKey} {
		key, err := jwk.Import(raw)
		require.NoError(t, err)
		require.NoError(t, key.Set(jwk.KeyIDKey, id))
		require.NoError(t, key.Set(jwk.AlgorithmKey, algs[id]))
		p.keys[id] = key
	}
	p.Server = httptest.NewTLSServer(p)
	t.Cleanup(p.Close)
	return p
}

func (p *platformServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path, issuerPath := r.URL.Path, ""
	if before, ok := strings.CutSuffix(path, "/.well-known/openid-configuration"); ok {
		path, issuerPath = "/.well-known/openid-configuration", before
	}
	switch {
	case path == "/.well-known/openid-configuration":
		issuer := "https://" + r.Host + issuerPath
		_ = json.NewEncoder(w).Encode(map[string]any{
			"issuer": issuer, "jwks_uri": "https://" + r.Host + "/keys", "authorization_endpoint": issuer, "token_endpoint": issuer,
			"id_token_signing_alg_values_supported": []string{"RS256", "ES256"},
		})
	case path == "/keys":
		set := jwk.NewSet()
		for _, key := range p.keys {
			public, err := key.PublicKey()
			if err == nil {
				_ = set.AddKey(public)
			}
		}
		_ = json.NewEncoder(w).Encode(set)
	case path == "/token", strings.HasSuffix(path, "/oidc/tokens"):
		body := make([]byte, 1000)
		n, _ := r.Body.Read(body)
		p.requests, p.bodies = append(p.requests, r), append(p.bodies, string(body[:n]))
		if p.fail > 0 {
			p.fail--
			http.Error(w, "secret words of the server", http.StatusServiceUnavailable)
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]string{"value": p.token, "token": p.token})
	default:
		http.NotFound(w, r)
	}
}

// client reaches the server under every name.
func (p *platformServer) client() *http.Client {
	roots := x509.NewCertPool()
	roots.AddCert(p.Certificate())
	return &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, p.Listener.Addr().String())
		},
		TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: "example.com"},
	}}
}

// sign makes a token that is good for ten minutes. Claims that are given win.
func (p *platformServer) sign(t *testing.T, key string, claims map[string]any) string {
	t.Helper()
	b := jwt.NewBuilder().Audience([]string{DefaultAudience}).IssuedAt(now).NotBefore(now).Expiration(now.Add(10 * time.Minute)).Subject("the subject")
	for k, v := range claims {
		b = b.Claim(k, v)
	}
	token, err := b.Build()
	require.NoError(t, err)
	signed, err := jwt.Sign(token, jwt.WithKey(algs[key], p.keys[key]))
	require.NoError(t, err)
	return string(signed)
}

// options are those of a test with that environment.
func (p *platformServer) options(vars map[string]string) Options {
	o := Options{Lookup: lookup(vars), Now: func() time.Time { return now }}
	if p != nil {
		o.HTTPClient = p.client()
	}
	return o
}

func lookup(vars map[string]string) func(string) (string, bool) {
	return func(name string) (string, bool) { v, ok := vars[name]; return v, ok }
}
