package signing

import (
	"bytes"
	"context"
	"crypto"
	"crypto/elliptic"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	digest "github.com/opencontainers/go-digest"
	"github.com/sigstore/sigstore/pkg/signature/payload"
	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/client/artifact"
)

const provenance = `{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"app","digest":{"sha256":"ca3d163bab055381827226140568f3bef7eaac187cebd76878e0b63e9e442356"}}],"predicateType":"https://slsa.dev/provenance/v1","predicate":{}}`

// keyFiles writes a key pair and returns the paths of its halves.
func keyFiles(t testing.TB, algorithm string) (private, public string) {
	t.Helper()
	pair, err := Generate(algorithm, []byte(secretPassword))
	require.NoError(t, err)
	prefix := filepath.Join(t.TempDir(), "k")
	require.NoError(t, pair.Write(prefix))
	return prefix + ".key", prefix + ".pub"
}

func withPassword(key string) Options {
	return Options{Key: key, Password: func(context.Context) ([]byte, error) { return []byte(secretPassword), nil }}
}

func documents() []artifact.Artifact {
	var all []artifact.Artifact
	for i := range 10 {
		all = append(all, artifact.Artifact{Kind: artifact.SBOM, Name: fmt.Sprintf("sbom-%d.json", i), MediaType: artifact.TypeCycloneDX, Platform: "linux/amd64", Data: []byte(strings.Repeat("x", i))})
	}
	return append(all, artifact.Artifact{Kind: artifact.Attestation, Name: "attestation.json", MediaType: artifact.TypeInToto, Data: []byte(provenance)})
}

// One signer opens its key once and signs many documents side by side.
func TestSignArtifacts(t *testing.T) {
	for _, algorithm := range Algorithms() {
		t.Run(algorithm, func(t *testing.T) {
			private, public := keyFiles(t, algorithm)
			asked := 0
			s, err := Open(t.Context(), Options{Key: private, Password: func(context.Context) ([]byte, error) {
				asked++
				return []byte(secretPassword), nil
			}})
			require.NoError(t, err)
			made, err := s.SignArtifacts(t.Context(), documents())
			require.NoError(t, err)
			require.Equal(t, 1, asked)
			require.Len(t, made, 10*2+3)
			v, err := NewVerifier(t.Context(), VerifyOptions{Key: public})
			require.NoError(t, err)
			for i, d := range documents() {
				sig, bundle := made[2*i], made[2*i+1]
				require.Equal(t, d.Name+".sig", sig.Name)
				require.Equal(t, d.Name+".sigstore.json", bundle.Name)
				require.Equal(t, d.Kind, bundle.Kind)
				require.NoError(t, artifact.Artifact{Kind: d.Kind, Name: bundle.Name, MediaType: bundle.MediaType}.Validate())
				result, err := v.Verify(t.Context(), d.Data, sig.Data, bundle.Data)
				require.NoError(t, err)
				require.Equal(t, "key sha256:"+result.KeyHint, result.Signer)
				require.Contains(t, string(bundle.Data), string(sig.Data), "both are one signature")
			}
			result, err := v.VerifyStatement(t.Context(), made[22].Data, digest.FromString("{}\n"))
			require.NoError(t, err)
			require.Equal(t, provenance, string(result.Statement))
			_, err = v.VerifyStatement(t.Context(), made[22].Data, digest.FromString("other"))
			require.Error(t, err)

			// Where signatures are not drawn by lot, the same key gives the same bytes.
			if algorithm == "ed25519" || strings.HasPrefix(algorithm, "rsa") {
				again, err := s.SignArtifacts(t.Context(), documents())
				require.NoError(t, err)
				require.Equal(t, made, again)
			}
			require.NoError(t, s.Close())
			require.NoError(t, s.Close())
			_, err = s.SignBlob(t.Context(), nil)
			require.ErrorContains(t, err, "closed")
		})
	}
}

func TestOpenKeyReferences(t *testing.T) {
	private, public := keyFiles(t, "")
	text, err := os.ReadFile(private)
	require.NoError(t, err)
	t.Setenv("THE_KEY", string(text))
	want, err := os.ReadFile(public)
	require.NoError(t, err)

	handed := bytes.Clone(text)
	inMemory := withPassword("ref+vault://keys/cosign")
	inMemory.KeyPEM = func(context.Context) ([]byte, error) { return handed, nil }
	for name, o := range map[string]Options{
		"file": withPassword(private), "url": withPassword("file://" + private), "environment": withPassword("env://THE_KEY"), "memory": inMemory,
	} {
		t.Run(name, func(t *testing.T) {
			s, err := Open(t.Context(), o)
			require.NoError(t, err)
			require.Equal(t, string(want), string(s.PublicKey()))
			require.NoError(t, s.Close())
			got, err := PublicKey(t.Context(), withPassword(private))
			require.NoError(t, err)
			require.Equal(t, string(want), string(got))
		})
	}
	require.Equal(t, make([]byte, len(text)), handed, "the key's PEM is wiped")

	for name, c := range map[string]struct {
		o    Options
		says string
	}{
		"no file":       {withPassword("/nowhere/cosign.key"), "no such file"},
		"a directory":   {withPassword(t.TempDir()), "is a directory"},
		"no variable":   {withPassword("env://NO_SUCH_KEY"), "is not set"},
		"public":        {withPassword(public), "signing needs the private one"},
		"no scheme":     {withPassword("nokms://x"), "nothing serves the scheme nokms"},
		"no password":   {Options{Key: private}, "set COSIGN_PASSWORD"},
		"nobody's":      {Options{Key: "ref", KeyPEM: func(context.Context) ([]byte, error) { return nil, errors.New("the vault is shut") }}, "the vault is shut"},
		"itself":        {withPassword(string(text)), "name the key instead of writing it"},
		"kubernetes":    {withPassword("k8s://x"), "k8s://NAMESPACE/SECRET"},
		"no program":    {withPassword("pkcs11:token=x;object=y?pin-value=" + secretPassword), "sigstore-kms-pkcs11"},
		"bad pin query": {withPassword("pkcs11:token=x;object=y?pin-value=%zz" + secretPassword), ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("PATH", "")
			_, err := Open(t.Context(), c.o)
			var key *KeyError
			require.ErrorAs(t, err, &key)
			require.ErrorContains(t, err, c.says)
			require.NotContains(t, err.Error(), secretPassword)
			require.NotContains(t, err.Error(), string(text[60:80]))
		})
	}
}

func TestPrintable(t *testing.T) {
	for ref, want := range map[string]string{
		"cosign.key": "cosign.key", "awskms:///alias/x?pin-value=1": "awskms:///alias/x?pin-value=1",
		"-----BEGIN PRIVATE KEY-----":                                "given as PEM",
		"pkcs11:token=t;object=o":                                    "pkcs11:token=t;object=o",
		"pkcs11:token=t?pin-value=1":                                 "pkcs11:token=t",
		"pkcs11:token=t?module-path=/m&pin-value=1":                  "pkcs11:token=t?module-path=/m",
		"pkcs11:token=t?pin-source=file:/p;module-path=/m&module-x=": "pkcs11:token=t?module-path=/m&module-x=",
	} {
		require.Equal(t, want, printable(ref))
	}
}

func FuzzPrintable(f *testing.F) {
	f.Add("token=t", "1234")
	const module = "module-path=/m"
	f.Fuzz(func(t *testing.T, path, pin string) {
		if strings.ContainsAny(pin, "&;") || isKeyItself(path+pin) || len(pin) < 4 || strings.Contains(path, pin) || strings.Contains(module, pin) {
			return
		}
		shown := printable(schemePKCS11 + path + "?" + module + "&pin-value=" + pin)
		require.NotContains(t, shown, "pin-value=")
		require.NotContains(t, shown[len(schemePKCS11):], pin)
	})
}

// A key that signs with another than its public half is found out.
func TestKeyThatChanged(t *testing.T) {
	good, err := localKey(ecKey(t, elliptic.P256()))
	require.NoError(t, err)
	other, err := localKey(ecKey(t, elliptic.P256()))
	require.NoError(t, err)
	mixed, err := newKey(good.public, other.sign, func() {})
	require.NoError(t, err)
	s := &Signer{ref: "awskms:///alias/x", key: mixed, services: &services{}, timeout: time.Second}
	_, err = s.SignBlob(t.Context(), []byte("x"))
	var key *KeyError
	require.ErrorAs(t, err, &key)
	require.ErrorContains(t, err, "was the key changed meanwhile?")
}

// A key that does not answer does not hold up who gave up.
func TestCancel(t *testing.T) {
	k, err := localKey(ecKey(t, elliptic.P256()))
	require.NoError(t, err)
	started := make(chan struct{})
	stuck, err := newKey(k.public, func(context.Context, []byte) ([]byte, error) {
		close(started)
		select {}
	}, func() {})
	require.NoError(t, err)
	s := &Signer{key: stuck, services: &services{}, timeout: time.Second}
	ctx, cancel := context.WithCancelCause(t.Context())
	go func() {
		<-started
		cancel(errors.New("enough"))
	}()
	_, err = s.SignArtifacts(ctx, documents()[:1])
	require.ErrorContains(t, err, "enough")
}

// Which digest a service's key signs is found out from its signature.
func TestServiceChoosesHash(t *testing.T) {
	private := ecKey(t, elliptic.P384())
	k, err := newKey(private.Public(), func(_ context.Context, data []byte) ([]byte, error) {
		h := crypto.SHA256.New()
		h.Write(data)
		return private.Sign(nil, h.Sum(nil), crypto.SHA256)
	}, func() {})
	require.NoError(t, err)
	s := &Signer{key: k, services: &services{}, timeout: time.Second}
	signature, err := s.SignBlob(t.Context(), []byte("x"))
	require.NoError(t, err)
	require.Contains(t, string(signature.Bundle), `"SHA2_256"`)
	sum := digest.FromString("x").Encoded()
	require.Contains(t, string(signature.Bundle), base64.StdEncoding.EncodeToString(unhex(t, sum)))
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	var out []byte
	_, err := fmt.Sscanf(s, "%x", &out)
	require.NoError(t, err)
	return out
}

// The payload is Cosign's, byte for byte.
func TestImagePayload(t *testing.T) {
	d := digest.FromString("manifest")
	ref, err := name.NewDigest("registry.example.com/team/app@" + d.String())
	require.NoError(t, err)
	for _, annotations := range []map[string]string{nil, {"build": "7", "a": "<b>"}} {
		theirs := payload.Cosign{Image: ref}
		for k, v := range annotations {
			if theirs.Annotations == nil {
				theirs.Annotations = map[string]any{}
			}
			theirs.Annotations[k] = v
		}
		want, err := theirs.MarshalJSON()
		require.NoError(t, err)
		got, err := ImagePayload("registry.example.com/team/app", d, annotations)
		require.NoError(t, err)
		require.Equal(t, string(want), string(got))
	}
	_, err = ImagePayload("x", "sha256:short", nil)
	require.Error(t, err)
}

func TestGenerate(t *testing.T) {
	_, err := Generate("dsa", nil)
	var key *KeyError
	require.ErrorAs(t, err, &key)
	dir := t.TempDir()
	pair, err := Generate("", nil)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "a.pub"), nil, 0o600))
	require.ErrorIs(t, pair.Write(filepath.Join(dir, "a")), os.ErrExist)
	require.NoFileExists(t, filepath.Join(dir, "a.key"))
	require.NoError(t, pair.Write(filepath.Join(dir, "b")))
	require.ErrorIs(t, pair.Write(filepath.Join(dir, "b")), os.ErrExist)
	require.FileExists(t, filepath.Join(dir, "b.key"))
	_, err = CreateKMS(t.Context(), "pkcs11:token=t;object=o?pin-value=1234")
	require.ErrorAs(t, err, &key)
	require.NotContains(t, err.Error(), "1234")
}

func TestSignFiles(t *testing.T) {
	private, public := keyFiles(t, "")
	s, err := Open(t.Context(), withPassword(private))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	v, err := NewVerifier(t.Context(), VerifyOptions{Key: public})
	require.NoError(t, err)
	dir := t.TempDir()
	var files []string
	for _, f := range []string{"a/x.json", "b/x.json"} {
		path := filepath.Join(dir, f)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(f), 0o600))
		files = append(files, path)
	}
	_, err = s.SignFiles(t.Context(), files, filepath.Join(dir, "out"))
	var settings *ConfigurationError
	require.ErrorAs(t, err, &settings)
	require.NoDirExists(t, filepath.Join(dir, "out"))
	written, err := s.SignFiles(t.Context(), files, "")
	require.NoError(t, err)
	require.Equal(t, []string{files[0] + ".sig", files[0] + ".sigstore.json", files[1] + ".sig", files[1] + ".sigstore.json"}, written)
	for _, f := range files {
		_, err := v.VerifyFile(t.Context(), f, "")
		require.NoError(t, err)
		require.NoError(t, os.Remove(f+".sigstore.json"))
		_, err = v.VerifyFile(t.Context(), f, "")
		require.NoError(t, err)
		require.NoError(t, os.Remove(f+".sig"))
		_, err = v.VerifyFile(t.Context(), f, "")
		require.ErrorIs(t, err, ErrNotSigned)
	}
	_, err = s.SignFiles(t.Context(), []string{files[0], filepath.Join(dir, "none")}, "")
	require.ErrorAs(t, err, &settings)
	require.NoFileExists(t, files[0]+".sig")
}

func TestSignStatementRefuses(t *testing.T) {
	private, _ := keyFiles(t, "")
	s, err := Open(t.Context(), withPassword(private))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	for _, bad := range []string{"", "[]", "{}", `{"_type":"https://in-toto.io/Statement/v1"}`, `{"_type":"other","subject":[{}]}`} {
		_, err := s.SignStatement(t.Context(), []byte(bad))
		require.Error(t, err, bad)
	}
}
