package signing

import (
	"bytes"
	"context"
	"crypto"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/sigstore/sigstore/pkg/cryptoutils"
)

// The schemes of key references that are not a KMS's.
const (
	schemeEnv        = "env://"
	schemeKubernetes = "k8s://"
	schemePKCS11     = "pkcs11:"
	schemeFile       = "file://"
)

// KeyName is a key's reference fit to be shown: without a PIN.
func KeyName(ref string) string { return printable(ref) }

// printable is a reference without what may be secret in it: a PKCS#11 URI's PIN,
// or the key itself in the place of its name.
func printable(ref string) string {
	if isKeyItself(ref) {
		return "given as PEM"
	}
	if !strings.HasPrefix(ref, schemePKCS11) {
		return ref
	}
	path, query, found := strings.Cut(ref, "?")
	if !found {
		return ref
	}
	var kept []string
	for _, attribute := range strings.FieldsFunc(query, func(r rune) bool { return r == '&' || r == ';' }) {
		if !strings.HasPrefix(attribute, "pin-") {
			kept = append(kept, attribute)
		}
	}
	if len(kept) == 0 {
		return path
	}
	return path + "?" + strings.Join(kept, "&")
}

// isKeyItself says that somebody wrote a key where its name belongs.
func isKeyItself(ref string) bool {
	return strings.ContainsAny(ref, "\r\n") || strings.Contains(ref, "-----BEGIN")
}

var errKeyItself = errors.New("name the key instead of writing it: its file, or env://NAME for a variable that holds it")

// openPrivate opens the key that o names. Errors are *KeyError and *ServiceError.
func openPrivate(ctx context.Context, o Options) (*key, error) {
	k, err := o.openPrivate(ctx)
	if err != nil {
		var service *ServiceError
		if ctx.Err() != nil || errors.As(err, &service) {
			return nil, err
		}
		return nil, &KeyError{Ref: printable(o.Key), Err: err}
	}
	return k, nil
}

func (o Options) openPrivate(ctx context.Context) (*key, error) {
	switch {
	case o.KeyPEM != nil:
		data, err := o.KeyPEM(ctx)
		if err != nil {
			return nil, err
		}
		return o.fromPEM(ctx, data)
	case strings.HasPrefix(o.Key, schemePKCS11):
		return openPKCS11(ctx, o.Key, o.PIN)
	case strings.HasPrefix(o.Key, schemeKubernetes):
		secret, err := readSecret(ctx, o.Key)
		if err != nil {
			return nil, err
		}
		o.Password = func(context.Context) ([]byte, error) { return secret.password, nil }
		return o.fromPEM(ctx, secret.key)
	}
	data, err := readPEM(o.Key)
	if err != nil {
		return nil, err
	}
	if data == nil {
		return openKMS(ctx, o.Key)
	}
	return o.fromPEM(ctx, data)
}

func (o Options) fromPEM(ctx context.Context, data []byte) (*key, error) {
	defer clear(data)
	private, err := parsePrivate(data, func() ([]byte, error) {
		if o.Password == nil {
			return nil, nil
		}
		return o.Password(ctx)
	})
	if err != nil {
		return nil, err
	}
	return localKey(private)
}

// readPEM reads a key from the environment or a file. It returns nothing for the
// references of other services.
func readPEM(ref string) ([]byte, error) {
	if name, is := strings.CutPrefix(ref, schemeEnv); is {
		value, set := os.LookupEnv(name)
		if !set || value == "" {
			return nil, errors.New("the environment variable is not set")
		}
		return []byte(value), nil
	}
	if isKeyItself(ref) {
		return nil, errKeyItself
	}
	path, is := strings.CutPrefix(ref, schemeFile)
	if !is && strings.Contains(ref, "://") {
		return nil, nil
	}
	return readFile(path, maxKey)
}

// readFile reads a file of at most limit bytes.
func readFile(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil {
		return nil, err
	} else if info.IsDir() {
		return nil, fmt.Errorf("%s is a directory", path)
	}
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		clear(data)
		return nil, fmt.Errorf("%s is larger than %d bytes", path, limit)
	}
	return data, nil
}

// PublicKey reads the public key that ref names, as PEM (SubjectPublicKeyInfo). A
// reference to a private key in a file or the environment gives its public half;
// o says how to open it. Errors are those of Open.
func PublicKey(ctx context.Context, o Options) ([]byte, error) {
	pub, err := publicKey(ctx, o, true)
	if err != nil {
		return nil, err
	}
	return cryptoutils.MarshalPublicKeyToPEM(pub)
}

// publicKey reads a public key. Private keys in PEM are opened only when private
// is set: who verifies needs none, and should hold none.
func publicKey(ctx context.Context, o Options, private bool) (crypto.PublicKey, error) {
	pub, err := o.publicKey(ctx, private)
	if err != nil {
		var service *ServiceError
		if ctx.Err() != nil || errors.As(err, &service) {
			return nil, err
		}
		return nil, &KeyError{Ref: printable(o.Key), Err: err}
	}
	return pub, nil
}

func (o Options) publicKey(ctx context.Context, private bool) (crypto.PublicKey, error) {
	if strings.HasPrefix(o.Key, schemeKubernetes) {
		secret, err := readSecret(ctx, o.Key)
		if err != nil {
			return nil, err
		}
		secret.wipe()
		return parsePublic(secret.public)
	}
	if !strings.HasPrefix(o.Key, schemePKCS11) && o.KeyPEM == nil {
		data, err := readPEM(o.Key)
		if err != nil {
			return nil, err
		}
		if data != nil {
			defer clear(data)
			if !bytes.Contains(data, []byte(" PRIVATE KEY-----")) {
				return parsePublic(data)
			}
			if !private {
				return nil, errors.New("it is a private key; verifying needs only the public one, which temper key public prints")
			}
		}
	}
	k, err := o.openPrivate(ctx)
	if err != nil {
		return nil, err
	}
	defer k.close()
	return k.public, nil
}

// parsePublic reads a public key in PEM (SubjectPublicKeyInfo or PKCS #1).
func parsePublic(data []byte) (crypto.PublicKey, error) {
	if len(data) > maxKey {
		return nil, fmt.Errorf("it is larger than %d bytes, which no key is", maxKey)
	}
	pub, err := cryptoutils.UnmarshalPEMToPublicKey(data)
	if err != nil {
		return nil, errors.New("it holds no public key in PEM")
	}
	if _, err := algorithms(pub); err != nil {
		return nil, err
	}
	return pub, nil
}
