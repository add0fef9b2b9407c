package signing

import (
	"bytes"
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	digest "github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/require"
)

// signed is a document signed with a new key.
func signed(t testing.TB, algorithm, text string) (sig *Signature, public string) {
	t.Helper()
	private, public := keyFiles(t, algorithm)
	s, err := Open(t.Context(), withPassword(private))
	require.NoError(t, err)
	sig, err = s.SignBlob(t.Context(), []byte(text))
	require.NoError(t, err)
	require.NoError(t, s.Close())
	return sig, public
}

func TestVerifyByKey(t *testing.T) {
	sig, public := signed(t, "", "document")
	other, _ := signed(t, "", "document")
	another, _ := signed(t, "", "another document")
	v, err := NewVerifier(t.Context(), VerifyOptions{Key: public})
	require.NoError(t, err)
	good, doc := sig.Base64(), []byte("document")
	flipped := bytes.Clone(sig.Raw)
	flipped[len(flipped)-1] ^= 1
	broken := []byte(base64.StdEncoding.EncodeToString(flipped))
	brokenBundle := bytes.Replace(sig.Bundle, good, broken, 1)
	require.NotEqual(t, sig.Bundle, brokenBundle)

	for name, c := range map[string]struct {
		data, sig, bundle []byte
		want              []error
	}{
		"both":                   {doc, good, sig.Bundle, nil},
		"detached":               {doc, good, nil, nil},
		"detached with line end": {doc, append(bytes.Clone(good), '\r', '\n'), nil, nil},
		"bundle":                 {doc, nil, sig.Bundle, nil},
		"none":                   {doc, nil, nil, []error{ErrNotSigned}},
		"changed, detached":      {[]byte("documenT"), good, nil, []error{ErrTampered, ErrWrongSigner}},
		"changed, bundle":        {[]byte("documenT"), nil, sig.Bundle, []error{ErrTampered}},
		"empty, bundle":          {nil, nil, sig.Bundle, []error{ErrTampered}},
		"other's detached":       {doc, other.Base64(), nil, []error{ErrTampered, ErrWrongSigner}},
		"other's bundle":         {doc, nil, other.Bundle, []error{ErrWrongSigner}},
		"broken signature":       {doc, broken, nil, []error{ErrTampered}},
		"broken bundle":          {doc, nil, brokenBundle, []error{ErrTampered}},
		"other's beside ours":    {doc, other.Base64(), sig.Bundle, []error{ErrTampered}},
		"another document's":     {doc, another.Base64(), another.Bundle, []error{ErrTampered}},
		"no base64":              {doc, []byte("§"), nil, []error{ErrTampered}},
		"no bundle":              {doc, nil, []byte("{}"), []error{ErrTampered}},
		"no JSON":                {doc, nil, []byte("{"), []error{ErrTampered}},
		"large signature":        {doc, bytes.Repeat([]byte("A"), maxSignature+1), nil, []error{ErrTampered}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := v.Verify(t.Context(), c.data, c.sig, c.bundle)
			if c.want == nil {
				require.NoError(t, err)
			}
			for _, want := range c.want {
				require.ErrorIs(t, err, want)
			}
		})
	}

	// A signature that the bundle does not have, but that is as good.
	private, public := keyFiles(t, "")
	s, err := Open(t.Context(), withPassword(private))
	require.NoError(t, err)
	one, err := s.SignBlob(t.Context(), doc)
	require.NoError(t, err)
	two, err := s.SignBlob(t.Context(), doc)
	require.NoError(t, err)
	v, err = NewVerifier(t.Context(), VerifyOptions{Key: public})
	require.NoError(t, err)
	_, err = v.Verify(t.Context(), doc, one.Base64(), two.Bundle)
	require.NoError(t, err)
	bundle, err := s.SignStatement(t.Context(), []byte(provenance))
	require.NoError(t, err)
	_, err = v.Verify(t.Context(), []byte(provenance), nil, bundle)
	require.ErrorIs(t, err, ErrNotSigned)
	_, err = v.VerifyStatement(t.Context(), one.Bundle, digest.FromString("x"))
	require.ErrorIs(t, err, ErrNotSigned)
	_, err = v.VerifyEnvelope(t.Context(), []byte(provenance), bundle)
	require.NoError(t, err)
	_, err = v.VerifyEnvelope(t.Context(), []byte(provenance+" "), bundle)
	require.ErrorIs(t, err, ErrTampered)
}

func TestNewVerifierRefuses(t *testing.T) {
	private, public := keyFiles(t, "")
	someID := []Identity{{Subject: someone, Issuer: vouches}}
	missing := Deployment{TrustedRoot: "/nowhere/root.json"}
	for name, c := range map[string]struct {
		o    VerifyOptions
		says string
	}{
		"nobody":            {VerifyOptions{}, "say whose signatures are accepted"},
		"both":              {VerifyOptions{Key: public, Identities: someID}, "not both"},
		"private":           {VerifyOptions{Key: private}, "verifying needs only the public one"},
		"no issuer":         {VerifyOptions{Identities: []Identity{{Subject: someone}}, Sigstore: Deployment{TrustedRoot: rootFile(t, "{}")}}, ""},
		"no proof of time":  {VerifyOptions{Identities: someID, TLog: TLogOff}, "a proof of their time"},
		"no root":           {VerifyOptions{Identities: someID, Sigstore: missing}, "no such file"},
		"root with a key":   {VerifyOptions{Key: public, TLog: TLogOn, Sigstore: missing}, "no such file"},
		"TUF without root":  {VerifyOptions{Identities: someID, Sigstore: Deployment{TUFMirror: "http://127.0.0.1:1"}}, "--tuf-root"},
		"root is no JSON":   {VerifyOptions{Identities: someID, Sigstore: Deployment{TrustedRoot: rootFile(t, "{")}}, "trusted root"},
		"key is no key":     {VerifyOptions{Key: rootFile(t, "x")}, "no public key"},
		"key is not there":  {VerifyOptions{Key: "/nowhere/cosign.pub"}, "no such file"},
		"unknown scheme":    {VerifyOptions{Key: "nokms://x"}, "nothing serves"},
		"environment empty": {VerifyOptions{Key: "env://NO_SUCH_KEY"}, "not set"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := NewVerifier(t.Context(), c.o)
			require.ErrorContains(t, err, c.says)
		})
	}
}

func rootFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "root.json")
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

func TestKeyless(t *testing.T) {
	d := newVirtual(t)
	s := d.open(t, d.options())
	require.Nil(t, (&Signer{}).Certificate())
	require.NotEmpty(t, s.Certificate())
	made, err := s.SignArtifacts(t.Context(), documents())
	require.NoError(t, err)
	require.EqualValues(t, 1, d.certified.Load(), "one certificate serves all")
	require.EqualValues(t, 12, d.logged.Load())
	doc, sig, bundle := documents()[3].Data, made[6].Data, made[7].Data

	me := VerifyOptions{Identities: []Identity{{Subject: "else@example.com", Issuer: vouches}, {SubjectPattern: `[a-z]+@example\.com`, IssuerPattern: "https://issuer\\..*"}}}
	v := d.verifier(t, me)
	result, err := v.Verify(t.Context(), doc, sig, bundle)
	require.NoError(t, err)
	require.Equal(t, someone, result.Subject)
	require.Equal(t, vouches, result.Issuer)
	require.True(t, result.Logged)
	require.Len(t, result.Times, 1)
	require.WithinDuration(t, time.Now(), result.Times[0], time.Minute)
	result, err = v.VerifyStatement(t.Context(), made[22].Data, digest.FromString("{}\n"))
	require.NoError(t, err)
	require.Equal(t, provenance, string(result.Statement))

	cut := func(field string) []byte {
		text := string(bundle)
		begin := strings.Index(text, `"`+field+`":`)
		require.Positive(t, begin)
		end := begin + strings.Index(text[begin:], `"`+[]string{"messageSignature"}[0]+`"`)
		return []byte(text[:begin-1] + "}," + text[end:])
	}
	_, public := keyFiles(t, "")
	for name, c := range map[string]struct {
		o      VerifyOptions
		data   []byte
		bundle []byte
		want   error
	}{
		"changed":         {me, []byte("?"), bundle, ErrTampered},
		"stranger":        {VerifyOptions{Identities: []Identity{{Subject: "else@example.com", Issuer: vouches}}}, doc, bundle, ErrWrongSigner},
		"part of a name":  {VerifyOptions{Identities: []Identity{{SubjectPattern: "some", IssuerPattern: ".*"}}}, doc, bundle, ErrWrongSigner},
		"other issuer":    {VerifyOptions{Identities: []Identity{{Subject: someone, Issuer: "https://else.example.com"}}}, doc, bundle, ErrWrongSigner},
		"key expected":    {VerifyOptions{Key: public}, doc, bundle, ErrWrongSigner},
		"not logged":      {me, doc, cut("tlogEntries"), ErrNotInLog},
		"no timestamp":    {VerifyOptions{Identities: me.Identities, Timestamp: true}, doc, bundle, ErrNotInLog},
		"detached alone":  {me, doc, nil, ErrNotSigned},
		"other deploment": {me, doc, otherBundle(t, doc), ErrNotInLog},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := d.verifier(t, c.o).Verify(t.Context(), c.data, sig, c.bundle)
			require.ErrorIs(t, err, c.want)
		})
	}
}

// otherBundle is signed by the same person by the word of another deployment.
func otherBundle(t *testing.T, doc []byte) []byte {
	t.Helper()
	d := newVirtual(t)
	signature, err := d.open(t, d.options()).SignBlob(t.Context(), doc)
	require.NoError(t, err)
	return signature.Bundle
}

// A key's signatures in the log.
func TestKeyInLog(t *testing.T) {
	d := newVirtual(t)
	private, public := keyFiles(t, "")
	o := withPassword(private)
	o.Sigstore, o.TLog = d.options().Sigstore, TLogOn
	s := d.open(t, o)
	signature, err := s.SignBlob(t.Context(), []byte("x"))
	require.NoError(t, err)
	require.Zero(t, d.certified.Load())
	v := d.verifier(t, VerifyOptions{Key: public, TLog: TLogOn})
	result, err := v.Verify(t.Context(), []byte("x"), signature.Base64(), signature.Bundle)
	require.NoError(t, err)
	require.True(t, result.Logged)
	_, err = v.Verify(t.Context(), []byte("x"), signature.Base64(), nil)
	require.ErrorIs(t, err, ErrNotInLog)
	unlogged, public := signed(t, "", "x")
	_, err = d.verifier(t, VerifyOptions{Key: public, TLog: TLogOn}).Verify(t.Context(), []byte("x"), nil, unlogged.Bundle)
	require.ErrorIs(t, err, ErrNotInLog)

	ed, _ := keyFiles(t, "ed25519")
	o.Key = ed
	_, err = Open(t.Context(), o)
	require.ErrorContains(t, err, "Use an ECDSA key")
}

func FuzzVerify(f *testing.F) {
	sig, public := signed(f, "", "document")
	f.Add([]byte("document"), sig.Base64(), sig.Bundle)
	f.Add([]byte("document"), []byte(nil), []byte(`{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","verificationMaterial":{},"dsseEnvelope":{}}`))
	v, err := NewVerifier(f.Context(), VerifyOptions{Key: public})
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, data, sig, bundle []byte) {
		result, err := v.Verify(t.Context(), data, sig, bundle)
		if err == nil {
			require.Equal(t, "document", string(data))
			require.NotEmpty(t, result.Signer)
		}
		_, _ = v.VerifyStatement(t.Context(), bundle, digest.FromBytes(data))
		_, _ = v.VerifyEnvelope(t.Context(), data, bundle)
	})
}
