package signing

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/sigstore/cosign/v2/pkg/providers"
	"github.com/sigstore/sigstore-go/pkg/sign"

	// All of Cosign's sources of tokens.
	_ "github.com/sigstore/cosign/v2/pkg/providers/all"
)

const (
	serviceFulcio = "certificate authority"
	// audience is whom tokens for Sigstore are made out to.
	audience = "sigstore"
	// maxToken bounds an identity token, in bytes.
	maxToken = 32 << 10
	// margin is how long before its end a certificate is renewed, and how wrong
	// clocks may be.
	margin = time.Minute
)

// tokenSource finds identity tokens.
type tokenSource struct{ token, file string }

// get returns a token that has not expired. Errors are *IdentityError.
func (s tokenSource) get(ctx context.Context) (string, error) {
	token, err := s.find(ctx)
	if err == nil {
		token = strings.TrimSpace(token)
		err = checkToken(token, time.Now())
	}
	if err != nil {
		if ctx.Err() != nil {
			return "", context.Cause(ctx)
		}
		return "", &IdentityError{Err: err}
	}
	return token, nil
}

func (s tokenSource) find(ctx context.Context) (string, error) {
	if s.token != "" {
		return s.token, nil
	}
	if s.file != "" {
		data, err := readFile(s.file, maxToken)
		return string(data), err
	}
	return interruptible(ctx, func() (string, error) {
		if !providers.Enabled(ctx) {
			return "", errors.New("none was given, and this environment gives none: set SIGSTORE_ID_TOKEN, allow the workflow id-token: write (GitHub Actions), " +
				"ask for id_tokens with aud sigstore (GitLab CI), or sign with --key")
		}
		return providers.Provide(ctx, audience)
	})
}

// checkToken looks at what a token says of itself. Only the certificate authority
// verifies it.
func checkToken(token string, now time.Time) error {
	if len(token) > maxToken {
		return fmt.Errorf("it is larger than %d bytes", maxToken)
	}
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return errors.New("it is no signed JSON web token (RFC 7519)")
	}
	// Errors of the decoders would quote the token.
	claims, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return errors.New("it is no signed JSON web token (RFC 7519): its claims are not base64url")
	}
	var c struct {
		Expires float64 `json:"exp"`
	}
	if err := json.Unmarshal(claims, &c); err != nil {
		return errors.New("it is no signed JSON web token (RFC 7519): its claims are not JSON")
	}
	if c.Expires <= 0 || c.Expires > 1e11 {
		return errors.New("it does not say when it expires")
	}
	if expires := time.Unix(int64(c.Expires), 0); now.After(expires) {
		return fmt.Errorf("it expired at %s, and it is %s by this machine's clock", utc(expires), utc(now))
	}
	return nil
}

func utc(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// certificates gets the certificate for the key of a keyless signer, and a new one
// before it ends. It implements sign.CertificateProvider.
type certificates struct {
	fulcio  string
	token   tokenSource
	timeout time.Duration

	mu   sync.Mutex
	der  []byte
	ends time.Time
}

func (c *certificates) current() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.der
}

// GetCertificate implements sign.CertificateProvider.
func (c *certificates) GetCertificate(ctx context.Context, k sign.Keypair, _ *sign.CertificateProviderOptions) ([]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Now().Add(margin).Before(c.ends) {
		return c.der, nil
	}
	token, err := c.token.get(ctx)
	if err != nil {
		return nil, err
	}
	der, err := call(ctx, c.timeout, serviceFulcio, c.fulcio, func(ctx context.Context) ([]byte, error) {
		fulcio := sign.NewFulcio(&sign.FulcioOptions{BaseURL: strings.TrimSuffix(c.fulcio, "/"), Timeout: -1, Transport: newTransport(ctx)})
		return fulcio.GetCertificate(ctx, k, &sign.CertificateProviderOptions{IDToken: token})
	})
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, &ServiceError{Service: serviceFulcio, URL: c.fulcio, Err: fmt.Errorf("its certificate: %w", err)}
	}
	if now := time.Now(); now.Add(margin).Before(cert.NotBefore) || now.After(cert.NotAfter) {
		return nil, &ServiceError{Service: serviceFulcio, URL: c.fulcio, Err: fmt.Errorf(
			"its certificate is valid from %s to %s, and it is %s by this machine's clock: one of the clocks is wrong",
			utc(cert.NotBefore), utc(cert.NotAfter), utc(now))}
	}
	c.der, c.ends = der, cert.NotAfter
	return der, nil
}
