package signing

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/secure-systems-lab/go-securesystemslib/encrypted"
	"github.com/sigstore/sigstore/pkg/cryptoutils"
)

// DefaultAlgorithm is what Generate makes when it is not told.
const DefaultAlgorithm = "ecdsa-p256"

var generators = map[string]func() (crypto.Signer, error){
	"ecdsa-p256": func() (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) },
	"ecdsa-p384": func() (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P384(), rand.Reader) },
	"ecdsa-p521": func() (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P521(), rand.Reader) },
	"ed25519": func() (crypto.Signer, error) {
		_, k, err := ed25519.GenerateKey(rand.Reader)
		return k, err
	},
	"rsa-2048": func() (crypto.Signer, error) { return rsa.GenerateKey(rand.Reader, 2048) },
	"rsa-3072": func() (crypto.Signer, error) { return rsa.GenerateKey(rand.Reader, 3072) },
	"rsa-4096": func() (crypto.Signer, error) { return rsa.GenerateKey(rand.Reader, 4096) },
}

// Algorithms are the names of what Generate can make.
func Algorithms() []string {
	names := make([]string, 0, len(generators))
	for name := range generators {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// KeyPair is a new key. Private is in Cosign's encrypted form, Public is a
// SubjectPublicKeyInfo; both are PEM.
type KeyPair struct{ Private, Public []byte }

// Generate makes a key pair and encrypts it with the password, which stays the
// caller's to wipe. The error is a *KeyError when there is no such algorithm.
func Generate(algorithm string, password []byte) (*KeyPair, error) {
	if algorithm == "" {
		algorithm = DefaultAlgorithm
	}
	generate := generators[algorithm]
	if generate == nil {
		return nil, &KeyError{Err: fmt.Errorf("no algorithm is called %q; choose among %s", algorithm, strings.Join(Algorithms(), ", "))}
	}
	private, err := generate()
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	defer wipe(private)
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, errors.New("make a key: it cannot be encoded")
	}
	defer clear(der)
	container, err := encrypted.Encrypt(der, password)
	if err != nil {
		return nil, errors.New("make a key: it cannot be encrypted")
	}
	public, err := marshalPublic(private.Public())
	if err != nil {
		return nil, err
	}
	return &KeyPair{
		Private: pem.EncodeToMemory(&pem.Block{Type: typeSigstore, Bytes: container}),
		Public:  public,
	}, nil
}

// Write writes PREFIX.key (mode 0600) and PREFIX.pub. Nothing is overwritten: the
// error then wraps fs.ErrExist, and neither file is left of this key.
func (p *KeyPair) Write(prefix string) error {
	if err := writeNew(prefix+".key", p.Private, 0o600); err != nil {
		return err
	}
	if err := WritePublic(prefix, p.Public); err != nil {
		return errors.Join(err, os.Remove(prefix+".key"))
	}
	return nil
}

// WritePublic writes PREFIX.pub and overwrites nothing.
func WritePublic(prefix string, public []byte) error { return writeNew(prefix+".pub", public, 0o644) }

func writeNew(path string, data []byte, mode fs.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s is there already, and keys are never overwritten: move it away or choose another prefix: %w", filepath.Clean(path), fs.ErrExist)
	}
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}

func marshalPublic(pub crypto.PublicKey) ([]byte, error) {
	data, err := cryptoutils.MarshalPublicKeyToPEM(pub)
	if err != nil {
		return nil, fmt.Errorf("encode the public key: %w", err)
	}
	return data, nil
}
