// Package signing signs documents and images, and verifies signatures, in the
// forms that Cosign writes and reads: detached signatures in base64, Sigstore
// bundles v0.3 (protobuf-specs, sigstore_bundle.proto) and DSSE envelopes around
// in-toto statements.
//
// A Signer is opened once and signs many documents side by side: its key is
// decrypted once, and one certificate serves all that a keyless signer signs.
package signing

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/sigstore/sigstore-go/pkg/root"
)

// TLog says whether signatures are entered in a transparency log.
type TLog string

// The choices for the transparency log.
const (
	// TLogDefault is TLogOn for keyless signing and TLogOff with a key.
	TLogDefault TLog = ""
	TLogOn      TLog = "on"
	TLogOff     TLog = "off"
)

// ParseTLog reads a setting: "on", "off" or nothing.
func ParseTLog(s string) (TLog, error) {
	switch t := TLog(s); t {
	case TLogDefault, TLogOn, TLogOff:
		return t, nil
	}
	return "", fmt.Errorf("transparency log %q: it is on or off", s)
}

// Options say who signs and what is added to signatures. The zero value signs
// keyless with the public Sigstore deployment.
type Options struct {
	// Key names the key: a PEM file, env://NAME, k8s://NAMESPACE/SECRET, a
	// PKCS#11 URI (RFC 7512), or a key of a KMS: awskms://, gcpkms://,
	// azurekms://, hashivault://, or another scheme that a program
	// sigstore-kms-SCHEME on PATH serves. Without Key and KeyPEM signing is
	// keyless.
	Key string
	// KeyPEM reads the private key's PEM, for callers with references of their
	// own. It stands in for Key, which then only names the key in errors. The
	// bytes that it returns are wiped.
	KeyPEM func(context.Context) ([]byte, error)
	// Password is asked once, and only for an encrypted key. The bytes that it
	// returns are wiped. Nil stands for the empty password.
	Password func(context.Context) ([]byte, error)
	// PIN is asked for a PKCS#11 token whose URI has no PIN. The bytes that it
	// returns are wiped. Nil, and no bytes, stand for a token without login.
	PIN func(context.Context) ([]byte, error)

	TLog TLog
	// Sigstore is the deployment that is used, as far as one is needed.
	Sigstore Deployment

	// IDToken is the OpenID Connect token for keyless signing. Without it and
	// IDTokenFile the environment is asked: SIGSTORE_ID_TOKEN, GitHub Actions,
	// Buildkite, Google Cloud, SPIFFE, /var/run/sigstore/cosign/oidc-token.
	IDToken string
	// IDTokenFile is a file with the token; it is read anew for each certificate.
	IDTokenFile string

	// Timeout bounds each request to a service of Sigstore, retries included.
	// Zero is 30 seconds.
	Timeout time.Duration
}

const defaultTimeout = 30 * time.Second

// Signer signs documents. It can be used by several goroutines at once. It is to
// be closed, which wipes its key.
type Signer struct {
	// ref names the key in errors.
	ref      string
	key      *key
	services *services
	// certificates is nil when a key signs.
	certificates *certificates
	// trusted is what the finished bundles are checked against, or nil.
	trusted root.TrustedMaterial
	timeout time.Duration
	closed  atomic.Bool
}

// Open makes a signer. It reads the key, and with a keyless signer a token and a
// certificate, so that what is wrong with them is known before there is something
// to sign. Errors are *KeyError, *ServiceError, *IdentityError and
// *ConfigurationError, or of the context.
func Open(ctx context.Context, o Options) (*Signer, error) {
	if o.Timeout == 0 {
		o.Timeout = defaultTimeout
	}
	keyless := o.Key == "" && o.KeyPEM == nil
	tlog := o.TLog == TLogOn || o.TLog == TLogDefault && keyless
	s := &Signer{ref: printable(o.Key), timeout: o.Timeout}
	var err error
	if s.services, s.trusted, err = o.Sigstore.forSigning(ctx, keyless, tlog); err != nil {
		return nil, err
	}
	if keyless {
		return s.openKeyless(ctx, o)
	}
	if s.key, err = openPrivate(ctx, o); err != nil {
		return nil, err
	}
	if tlog && s.key.isEd25519() {
		s.key.close()
		return nil, &KeyError{Ref: printable(o.Key), Err: errors.New("Ed25519 keys and the transparency log do not go together: " +
			"the log wants another form of the signature than the one that Cosign verifies. Use an ECDSA key, or turn the log off (--tlog=off)")}
	}
	return s, nil
}

func (s *Signer) openKeyless(ctx context.Context, o Options) (*Signer, error) {
	var err error
	if s.key, err = ephemeralKey(); err != nil {
		return nil, err
	}
	s.certificates = &certificates{fulcio: s.services.fulcio, token: tokenSource{o.IDToken, o.IDTokenFile}, timeout: o.Timeout}
	if _, err := s.certificates.GetCertificate(ctx, newKeypair(s.key), nil); err != nil {
		s.key.close()
		return nil, err
	}
	return s, nil
}

// PublicKey is the PEM (SubjectPublicKeyInfo, RFC 5280) of the key that signs.
// Of a keyless signer it is the key that its certificate is about.
func (s *Signer) PublicKey() []byte { return []byte(s.key.pem) }

// Certificate is the DER of the certificate of a keyless signer, or nil.
func (s *Signer) Certificate() []byte {
	if s.certificates == nil {
		return nil
	}
	return s.certificates.current()
}

// Close wipes the key. The signer signs nothing more.
func (s *Signer) Close() error {
	if !s.closed.Swap(true) {
		s.key.close()
	}
	return nil
}
