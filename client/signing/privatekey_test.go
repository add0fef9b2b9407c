package signing

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"testing"

	"github.com/secure-systems-lab/go-securesystemslib/encrypted"
	"github.com/stretchr/testify/require"
)

const secretPassword = "p4ss-w0rd-that-nobody-prints"

// fixture is a private key in some form, and what must not be seen of it.
type fixture struct {
	pem     []byte
	signer  crypto.Signer
	secrets [][]byte
}

func newFixture(t testing.TB, signer crypto.Signer, kind string) fixture {
	t.Helper()
	pkcs8, err := x509.MarshalPKCS8PrivateKey(signer)
	require.NoError(t, err)
	der := pkcs8
	switch kind {
	case typeEC:
		der, err = x509.MarshalECPrivateKey(signer.(*ecdsa.PrivateKey))
	case typeRSA:
		der = x509.MarshalPKCS1PrivateKey(signer.(*rsa.PrivateKey))
	case typeSigstore, typeCosign:
		der, err = encrypted.EncryptWithCustomKDFParameters(pkcs8, []byte(secretPassword), encrypted.Legacy)
	}
	require.NoError(t, err)
	text := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	secrets := [][]byte{[]byte(secretPassword), pkcs8, der}
	// Any line of the PEM, and any longer part of the DER in base64.
	lines := bytes.Split(text, []byte("\n"))
	for _, line := range lines[1 : len(lines)-2] {
		if len(line) > 20 {
			secrets = append(secrets, line[:20])
		}
	}
	secrets = append(secrets, []byte(base64.StdEncoding.EncodeToString(pkcs8)))
	return fixture{text, signer, secrets}
}

func (f fixture) requireSilent(t *testing.T, err error) {
	t.Helper()
	require.Error(t, err)
	for _, secret := range f.secrets {
		require.NotContains(t, err.Error(), string(secret))
	}
}

func ecKey(t testing.TB, curve elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(curve, rand.Reader)
	require.NoError(t, err)
	return k
}

func fixtures(t testing.TB) map[string]fixture {
	t.Helper()
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	p256 := ecKey(t, elliptic.P256())
	sec1 := newFixture(t, p256, typeEC)
	sec1.pem = append(pem.EncodeToMemory(&pem.Block{Type: "EC PARAMETERS", Bytes: []byte{6, 8}}), sec1.pem...)
	return map[string]fixture{
		"sigstore":     newFixture(t, p256, typeSigstore),
		"cosign":       newFixture(t, ecKey(t, elliptic.P384()), typeCosign),
		"pkcs8 ec":     newFixture(t, ecKey(t, elliptic.P521()), typePKCS8),
		"pkcs8 ed":     newFixture(t, ed, typePKCS8),
		"pkcs8 rsa":    newFixture(t, rsaKey, typePKCS8),
		"pkcs1":        newFixture(t, rsaKey, typeRSA),
		"sec1 openssl": sec1,
	}
}

func TestParsePrivate(t *testing.T) {
	for name, f := range fixtures(t) {
		t.Run(name, func(t *testing.T) {
			handed := []byte(secretPassword)
			got, err := parsePrivate(f.pem, func() ([]byte, error) { return handed, nil })
			require.NoError(t, err)
			require.Equal(t, f.signer.Public(), got.Public())
			if bytes.Contains(f.pem, []byte("ENCRYPTED")) {
				require.Equal(t, make([]byte, len(secretPassword)), handed, "the password is wiped")
			}

			// Broken in every way, it says nothing of what is in it.
			ask := func() ([]byte, error) { return []byte(secretPassword), nil }
			block, _ := pem.Decode(f.pem[max(0, bytes.LastIndex(f.pem, []byte("-----BEGIN"))):])
			for _, broken := range [][]byte{
				block.Bytes[:len(block.Bytes)/2], append([]byte{0}, block.Bytes...), bytes.Replace(block.Bytes, []byte{2, 1}, []byte{2, 9}, 1)[1:], nil,
			} {
				_, err := parsePrivate(pem.EncodeToMemory(&pem.Block{Type: block.Type, Bytes: broken}), ask)
				f.requireSilent(t, err)
			}
			for _, kind := range []string{typeSigstore, typePKCS8, typeEC, typeRSA, typeEncrypted, typePublic, "CERTIFICATE"} {
				if kind != block.Type {
					if _, err := parsePrivate(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: block.Bytes}), ask); err != nil {
						f.requireSilent(t, err)
					}
				}
			}
			_, err = parsePrivate(f.pem[:len(f.pem)-10], ask)
			f.requireSilent(t, err)
		})
	}
}

func TestParsePrivateRefuses(t *testing.T) {
	f := newFixture(t, ecKey(t, elliptic.P256()), typeSigstore)
	for name, c := range map[string]struct {
		password string
		err      error
		says     string
	}{
		"wrong password": {"other", nil, "the password does not open it"},
		"no password":    {"", nil, "set COSIGN_PASSWORD"},
		"no answer":      {"", errors.New("nobody is there"), "nobody is there"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := parsePrivate(f.pem, func() ([]byte, error) { return []byte(c.password), c.err })
			f.requireSilent(t, err)
			require.ErrorContains(t, err, c.says)
		})
	}
	_, err := localKey(ecKey(t, elliptic.P224()))
	require.ErrorContains(t, err, "unsupported")
	_, err = parsePrivate(bytes.Repeat([]byte("x"), maxKey+1), nil)
	require.ErrorContains(t, err, "which no key is")
}

func TestWipe(t *testing.T) {
	for name, f := range fixtures(t) {
		t.Run(name, func(t *testing.T) {
			wipe(f.signer)
			switch k := f.signer.(type) {
			case *ecdsa.PrivateKey:
				for _, word := range k.D.Bits() { //nolint:staticcheck // the field is what was wiped
					require.Zero(t, word)
				}
			case ed25519.PrivateKey:
				require.Equal(t, make(ed25519.PrivateKey, ed25519.PrivateKeySize), k)
			case *rsa.PrivateKey:
				for _, word := range k.D.Bits() {
					require.Zero(t, word)
				}
			}
		})
	}
}

func FuzzParsePrivate(f *testing.F) {
	for _, x := range fixtures(f) {
		f.Add(x.pem)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		// Without a password nothing is decrypted, which takes its time on purpose.
		signer, err := parsePrivate(data, func() ([]byte, error) { return nil, errors.New("no password") })
		if err == nil {
			_, err := localKey(signer)
			_ = err
		}
		if pub, err := parsePublic(data); err == nil {
			require.NotEmpty(t, hint(pub))
		}
	})
}
