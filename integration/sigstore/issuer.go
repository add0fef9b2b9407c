package sigstore

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/lestrrat-go/jwx/v3/jwa"
	"github.com/lestrrat-go/jwx/v3/jwk"
	"github.com/lestrrat-go/jwx/v3/jwt"
)

// issuer is an OpenID Connect provider that vouches for whomever it is told.
type issuer struct {
	url    string
	server *http.Server
	key    jwk.Key
}

func startIssuer() (*issuer, error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	i := &issuer{}
	if i.key, err = jwk.Import(private); err != nil {
		return nil, err
	}
	if err := i.key.Set(jwk.KeyIDKey, "test"); err != nil {
		return nil, err
	}
	if err := i.key.Set(jwk.AlgorithmKey, jwa.ES256()); err != nil {
		return nil, err
	}
	public, err := i.key.PublicKey()
	if err != nil {
		return nil, err
	}
	keys := jwk.NewSet()
	if err := keys.AddKey(public); err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	i.url = "http://" + l.Addr().String()
	mux := http.NewServeMux()
	answer := func(document any) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(document) // the client went away
		}
	}
	mux.HandleFunc("/.well-known/openid-configuration", answer(map[string]any{
		"issuer": i.url, "jwks_uri": i.url + "/keys", "authorization_endpoint": i.url + "/auth", "token_endpoint": i.url + "/token",
		"response_types_supported": []string{"id_token"}, "subject_types_supported": []string{"public"},
		"id_token_signing_alg_values_supported": []string{"ES256"},
	}))
	mux.HandleFunc("/keys", answer(keys))
	i.server = &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}
	go func() { _ = i.server.Serve(l) }() // Close ends it
	return i, nil
}

// token vouches for an e-mail address from now for as long as is given.
func (i *issuer) token(email string, lifetime time.Duration) (string, error) {
	t, err := jwt.NewBuilder().Issuer(i.url).Subject(email).Audience([]string{"sigstore"}).
		IssuedAt(time.Now().Add(-time.Minute)).Expiration(time.Now().Add(lifetime)).
		Claim("email", email).Claim("email_verified", true).Build()
	if err != nil {
		return "", fmt.Errorf("make a token: %w", err)
	}
	signed, err := jwt.Sign(t, jwt.WithKey(jwa.ES256(), i.key))
	if err != nil {
		return "", fmt.Errorf("make a token: %w", err)
	}
	return string(signed), nil
}
