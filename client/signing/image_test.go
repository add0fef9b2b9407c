package signing

import (
	"strings"
	"testing"

	digest "github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/require"
)

// The older form of an image's signature, with a key and by an identity.
func TestVerifyImage(t *testing.T) {
	manifest := digest.FromString("an image")
	document, err := ImagePayload("registry.example.com/team/app", manifest, map[string]string{"commit": "abc"})
	require.NoError(t, err)
	d := newVirtual(t)
	private, _ := keyFiles(t, "ecdsa-p256")
	withKey, err := Open(t.Context(), withPassword(private))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, withKey.Close()) })
	byKey, err := withKey.Verifier()
	require.NoError(t, err)
	for name, c := range map[string]struct {
		signer   *Signer
		verifier *Verifier
	}{
		"key":      {withKey, byKey},
		"identity": {d.open(t, d.options()), d.verifier(t, VerifyOptions{Identities: []Identity{{Subject: someone, Issuer: vouches}}})},
	} {
		t.Run(name, func(t *testing.T) {
			sign := func(document string) []byte {
				s, err := c.signer.SignBlob(t.Context(), []byte(document))
				require.NoError(t, err)
				return s.Bundle
			}
			bundle := sign(string(document))
			result, err := c.verifier.VerifyImage(t.Context(), document, bundle, manifest)
			require.NoError(t, err)
			require.Equal(t, "registry.example.com/team/app", result.Reference)
			require.NotEmpty(t, result.Signer)

			otherType := strings.Replace(string(document), "cosign container image signature", "atomic container signature", 1)
			for name, wrong := range map[string]struct {
				document string
				bundle   []byte
				manifest digest.Digest
				is       error
				says     string
			}{
				"another image":  {string(document), bundle, digest.FromString("another image"), ErrTampered, "of another image"},
				"changed":        {string(document) + " ", bundle, manifest, ErrTampered, ""},
				"no bundle":      {string(document), nil, manifest, ErrNotSigned, "no bundle"},
				"no document":    {"x", sign("x"), manifest, ErrNotSigned, "no simple signing document"},
				"another type":   {otherType, sign(otherType), manifest, ErrNotSigned, "is of type"},
				"another bundle": {string(document), sign("x"), manifest, ErrTampered, ""},
				"large":          {strings.Repeat("x", maxPayload+1), bundle, manifest, ErrTampered, "larger than"},
				"a statement's":  {provenance, statementBundle(t, c.signer), manifest, ErrNotSigned, "signs a statement"},
			} {
				t.Run(name, func(t *testing.T) {
					result, err := c.verifier.VerifyImage(t.Context(), []byte(wrong.document), wrong.bundle, wrong.manifest)
					require.ErrorIs(t, err, wrong.is)
					require.ErrorContains(t, err, wrong.says)
					require.Nil(t, result)
				})
			}
			_, err = c.verifier.VerifyImage(t.Context(), document, bundle, "sha256:x")
			var configuration *ConfigurationError
			require.ErrorAs(t, err, &configuration)
		})
	}
}

func statementBundle(t *testing.T, s *Signer) []byte {
	t.Helper()
	bundle, err := s.SignStatement(t.Context(), []byte(provenance))
	require.NoError(t, err)
	return bundle
}
