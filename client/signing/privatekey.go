package signing

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/secure-systems-lab/go-securesystemslib/encrypted"
)

// maxKey bounds a key in PEM, in bytes.
const maxKey = 64 << 10

// The PEM types of private keys.
const (
	typeSigstore  = "ENCRYPTED SIGSTORE PRIVATE KEY"
	typeCosign    = "ENCRYPTED COSIGN PRIVATE KEY"
	typePKCS8     = "PRIVATE KEY"
	typeEC        = "EC PRIVATE KEY"
	typeRSA       = "RSA PRIVATE KEY"
	typeEncrypted = "ENCRYPTED PRIVATE KEY"
	typePublic    = "PUBLIC KEY"
)

// parsePrivate reads a private key in PEM: in Cosign's encrypted form, in its
// older spelling, or plain in PKCS #8 (RFC 5208), SEC 1 (RFC 5915) or PKCS #1
// (RFC 8017). The password is asked only for an encrypted one, and wiped.
func parsePrivate(data []byte, password func() ([]byte, error)) (crypto.Signer, error) {
	if len(data) > maxKey {
		return nil, fmt.Errorf("it is larger than %d bytes, which no key is", maxKey)
	}
	for rest := data; ; {
		var block *pem.Block
		block, rest = pem.Decode(rest)
		if block == nil {
			return nil, errors.New("it holds no private key in PEM")
		}
		if block.Type == "EC PARAMETERS" {
			continue
		}
		signer, err := parseBlock(block, password)
		clear(block.Bytes)
		return signer, err
	}
}

func parseBlock(block *pem.Block, password func() ([]byte, error)) (crypto.Signer, error) {
	var key any
	var err error
	switch block.Type {
	case typeSigstore, typeCosign:
		return decrypt(block.Bytes, password)
	case typePKCS8:
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case typeEC:
		key, err = x509.ParseECPrivateKey(block.Bytes)
	case typeRSA:
		if block.Headers["DEK-Info"] != "" {
			return nil, errors.New("PEM encryption (RFC 1423) is not safe; convert the key with: cosign import-key-pair")
		}
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	case typeEncrypted:
		return nil, errors.New("encrypted PKCS #8 is not read; convert the key with: openssl pkcs8 -topk8 -nocrypt, then cosign import-key-pair")
	case typePublic:
		return nil, errors.New("it is a public key; signing needs the private one")
	default:
		return nil, fmt.Errorf("PEM type %.40q is no private key", block.Type)
	}
	if err != nil {
		// What the parsers say can quote what they read.
		return nil, errors.New("its private key cannot be parsed")
	}
	return asSigner(key)
}

// decrypt opens Cosign's container: JSON with scrypt's parameters and a NaCl
// secret box, around PKCS #8.
func decrypt(container []byte, password func() ([]byte, error)) (crypto.Signer, error) {
	pass, err := password()
	defer clear(pass)
	if err != nil {
		return nil, fmt.Errorf("read its password: %w", err)
	}
	der, err := encrypted.Decrypt(container, pass)
	defer clear(der)
	if err != nil {
		if len(pass) == 0 {
			return nil, errors.New("it is encrypted, and the empty password does not open it: set COSIGN_PASSWORD")
		}
		return nil, errors.New("the password does not open it, or the file was damaged")
	}
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, errors.New("what it encrypts is no PKCS #8 private key")
	}
	return asSigner(key)
}

func asSigner(key any) (crypto.Signer, error) {
	switch k := key.(type) {
	case *ecdsa.PrivateKey:
		return k, nil
	case *rsa.PrivateKey:
		return k, nil
	case ed25519.PrivateKey:
		return k, nil
	}
	return nil, fmt.Errorf("keys of type %T do not sign; use ECDSA, RSA or Ed25519", key)
}

// wipe overwrites the private numbers of a key. Copies that the standard library
// made inside itself stay out of reach.
func wipe(key crypto.Signer) {
	switch k := key.(type) {
	case ed25519.PrivateKey:
		clear(k)
	case *ecdsa.PrivateKey:
		clear(k.D.Bits()) //nolint:staticcheck // the field is what there is to wipe
	case *rsa.PrivateKey:
		clear(k.D.Bits())
		for _, p := range k.Primes {
			clear(p.Bits())
		}
		if p := k.Precomputed; p.Dp != nil {
			clear(p.Dp.Bits())
			clear(p.Dq.Bits())
			clear(p.Qinv.Bits())
		}
	}
}
