package signing

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"

	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/sigstore/sigstore/pkg/signature/options"
)

// key signs and knows its public half.
type key struct {
	public     crypto.PublicKey
	pem        string
	algorithms []algorithm
	// sign returns the signature of data. It may be called side by side.
	sign func(ctx context.Context, data []byte) ([]byte, error)
	// close wipes what there is to wipe.
	close func()
}

func newKey(public crypto.PublicKey, sign func(context.Context, []byte) ([]byte, error), close func()) (*key, error) {
	all, err := algorithms(public)
	if err != nil {
		return nil, err
	}
	text, err := cryptoutils.MarshalPublicKeyToPEM(public)
	if err != nil {
		return nil, err
	}
	return &key{public: public, pem: string(text), algorithms: all, sign: sign, close: close}, nil
}

// localKey signs in this process, and wipes the private key when it is closed.
func localKey(private crypto.Signer) (*key, error) {
	sv, err := signature.LoadDefaultSignerVerifier(private)
	if err != nil {
		wipe(private)
		return nil, err
	}
	sign := func(ctx context.Context, data []byte) ([]byte, error) {
		return sv.SignMessage(bytes.NewReader(data), options.WithContext(ctx))
	}
	k, err := newKey(private.Public(), sign, func() { wipe(private) })
	if err != nil {
		wipe(private)
	}
	return k, err
}

// ephemeralKey makes the key of a keyless signer.
func ephemeralKey() (*key, error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	return localKey(private)
}

func (k *key) isEd25519() bool {
	_, is := k.public.(ed25519.PublicKey)
	return is
}

// hint names a public key in a bundle: the SHA-256 of its SubjectPublicKeyInfo in
// base64, as Cosign has it.
func hint(public crypto.PublicKey) string {
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(der)
	return base64.StdEncoding.EncodeToString(sum[:])
}

// keypair is a key as sigstore-go wants it, for one signature: which digest goes
// into the bundle is known only when the key has signed.
type keypair struct {
	*key
	used algorithm
	sig  []byte
}

func newKeypair(k *key) *keypair { return &keypair{key: k, used: k.algorithms[0]} }

// SignData signs, and checks that the public key verifies the signature: a key
// management service can have another key, or another version of it, by now.
func (k *keypair) SignData(ctx context.Context, data []byte) (sig, digest []byte, err error) {
	if k.sig, err = interruptible(ctx, func() ([]byte, error) { return k.sign(ctx, data) }); err != nil {
		return nil, nil, err
	}
	if k.used, err = match(k.algorithms, data, k.sig); err != nil {
		return nil, nil, errors.New("the key returned a signature that its public key does not verify: was the key changed meanwhile?")
	}
	h := k.used.hash.New()
	h.Write(data)
	return k.sig, h.Sum(nil), nil
}

func (k *keypair) GetHashAlgorithm() protocommon.HashAlgorithm { return k.used.proto }

func (k *keypair) GetSigningAlgorithm() protocommon.PublicKeyDetails {
	// An error would have been one when the key was opened.
	details, _ := signature.GetDefaultPublicKeyDetails(k.public)
	return details
}

func (k *keypair) GetHint() []byte                  { return []byte(hint(k.public)) }
func (k *keypair) GetPublicKey() crypto.PublicKey   { return k.public }
func (k *keypair) GetPublicKeyPem() (string, error) { return k.pem, nil }

func (k *keypair) GetKeyAlgorithm() string {
	switch k.public.(type) {
	case *rsa.PublicKey:
		return "RSA"
	case ed25519.PublicKey:
		return "ED25519"
	}
	return "ECDSA"
}

// interruptible returns when f does or when the context is done. Some services'
// clients know no context; their requests end by themselves.
func interruptible[T any](ctx context.Context, f func() (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	go func() {
		v, err := f()
		done <- result{v, err}
	}()
	select {
	case r := <-done:
		return r.value, r.err
	case <-ctx.Done():
		var none T
		return none, context.Cause(ctx)
	}
}
