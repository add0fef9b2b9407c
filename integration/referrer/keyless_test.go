package referrer

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/client/referrer"
	"github.com/temper-images/temper/client/signing"
	"github.com/temper-images/temper/integration/sigstore"
)

// rekor is a transparency log of one version, and what describes it. Environment is
// how cosign 2 is told of it where it takes no trusted root.
type rekor struct {
	url, trustedRoot, signingConfig string
	environment                     []string
}

// logs are those of both versions.
func logs(t *testing.T, d *sigstore.Deployment) map[string]rekor {
	t.Helper()
	one, err := d.StartRekor1(t.Context(), t.TempDir())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, one.Stop()) })
	return map[string]rekor{
		"log 1": {one.URL, one.TrustedRoot, one.SigningConfig, []string{"SIGSTORE_REKOR_PUBLIC_KEY=" + one.PublicKey, "SIGSTORE_ROOT_FILE=" + d.Authority}},
		"log 2": {d.Rekor, d.TrustedRoot, d.SigningConfig, nil},
	}
}

func token(t *testing.T, d *sigstore.Deployment) string {
	t.Helper()
	value, err := d.Token(person, time.Hour)
	require.NoError(t, err)
	return value
}

// byIdentity are the flags for cosign to verify a signature of person's. The
// deployment has no certificate transparency log.
func byIdentity(d *sigstore.Deployment, l rekor) []string {
	return []string{"--certificate-identity", person, "--certificate-oidc-issuer", d.Issuer, "--trusted-root", l.trustedRoot,
		"--use-signed-timestamps", "--insecure-ignore-sct", "--allow-http-registry"}
}

// withoutRoot leaves out the trusted root, and what it is needed for: cosign 2 takes
// none for the older form of attestations.
func withoutRoot(flags []string) []string {
	at := slices.Index(flags, "--trusted-root")
	return slices.DeleteFunc(slices.Delete(slices.Clone(flags), at, at+2), func(f string) bool { return f == "--use-signed-timestamps" })
}

// Keyless signatures in the log of each version. Cosign's tags cannot tell an entry of
// version 2: nothing is written under them then.
func TestCosignVerifiesKeyless(t *testing.T) {
	d := sigstore.Shared(t)
	for version, l := range logs(t, d) {
		s, err := signing.Open(t.Context(), signing.Options{IDToken: token(t, d), Sigstore: signing.Deployment{SigningConfig: l.signingConfig, TrustedRoot: l.trustedRoot}})
		require.NoError(t, err)
		defer s.Close()
		v, err := signing.NewVerifier(t.Context(), signing.VerifyOptions{Identities: []signing.Identity{{Subject: person, Issuer: d.Issuer}},
			Sigstore: signing.Deployment{TrustedRoot: l.trustedRoot}})
		require.NoError(t, err)
		for _, kind := range []string{"distribution 2.8", "referrers API"} {
			start := registries[kind]
			for form, f := range formats {
				t.Run(version+"/"+kind+"/"+form, func(t *testing.T) {
					dir := t.TempDir()
					i := pushImage(t, start(t), false)
					signed := sign(t, s, i)
					manifests, err := referrer.Manifests(i.desc, signed, referrer.Existing{}, created, f)
					require.NoError(t, err)
					attach(t, i, manifests)
					told := 0
					for _, one := range signed {
						if err := one.OlderForm(); !errors.Is(err, referrer.ErrNoOlderForm) {
							require.NoError(t, err)
							told++
						}
					}
					if version == "log 2" {
						require.Zero(t, told)
						require.Nil(t, signed[0].Payload, "signed in vain")
						if form == "tags" {
							require.Empty(t, manifests)
							return
						}
					} else {
						require.Len(t, signed, told)
					}
					for _, judge := range []string{"cosign", "cosign3"} {
						must(t, dir, nil, judge, append(append([]string{"verify"}, byIdentity(d, l)...), i.ref())...)
						flags, env := byIdentity(d, l), []string(nil)
						if judge == "cosign" && form == "tags" {
							flags, env = withoutRoot(flags), l.environment
						}
						for _, name := range predicates {
							must(t, dir, env, judge, append(append([]string{"verify-attestation", "--type", name}, flags...), i.ref())...)
						}
						stranger := append([]string{"verify", "--certificate-identity", "else@example.com"}, byIdentity(d, l)[2:]...)
						require.NotZero(t, run(t, dir, nil, judge, append(stranger, i.ref())...).code)
					}
					verifyAll(t, v, i)
				})
			}
		}
	}
}

// verifyAll reads what is signed about an image, and verifies all of it.
func verifyAll(t *testing.T, v *signing.Verifier, i image) *referrer.Found {
	t.Helper()
	found, err := referrer.Read(t.Context(), i.repo, i.desc.Digest)
	require.NoError(t, err)
	require.Empty(t, found.Broken)
	require.Empty(t, found.Other)
	require.NotEmpty(t, found.Entries)
	for _, e := range found.Entries {
		_, err := e.Verify(t.Context(), v, i.desc.Digest)
		require.NoError(t, err, "%s %v", e.PredicateType, e.Places)
	}
	return found
}

// commands are what cosign is told to sign.
type commands struct {
	judge        string
	sign, attest []string
}

// What cosign signs keyless, Read finds and signing verifies.
func TestReadsCosignKeyless(t *testing.T) {
	d := sigstore.Shared(t)
	for version, l := range logs(t, d) {
		v, err := signing.NewVerifier(t.Context(), signing.VerifyOptions{Identities: []signing.Identity{{Subject: person, Issuer: d.Issuer}},
			Sigstore: signing.Deployment{TrustedRoot: l.trustedRoot}})
		require.NoError(t, err)
		config := []string{"--signing-config", l.signingConfig, "--trusted-root", l.trustedRoot}
		addresses := []string{"--fulcio-url", d.Fulcio, "--rekor-url", l.url, "--tlog-upload=true"}
		tests := map[string]commands{
			"cosign 3 bundle": {"cosign3", config, config},
			"cosign 2 bundle": {"cosign", append(slices.Clone(config), "--new-bundle-format"), append(slices.Clone(config), "--new-bundle-format")},
		}
		if version == "log 1" {
			tests["cosign 2 tags"] = commands{"cosign", append(slices.Clone(addresses), "--insecure-skip-verify"), append(slices.Clone(addresses), "--insecure-skip-verify")}
			older := append(slices.Clone(addresses), "--new-bundle-format=false", "--use-signing-config=false", "--trusted-root", l.trustedRoot)
			tests["cosign 3 tags"] = commands{"cosign3", older, older}
		}
		for name, c := range tests {
			t.Run(version+"/"+name, func(t *testing.T) {
				dir := t.TempDir()
				i := pushImage(t, registries["distribution 2.8"](t), false)
				require.NoError(t, os.WriteFile(filepath.Join(dir, "predicate.json"), []byte(`{"buildDefinition":{},"runDetails":{}}`), 0o600))
				env := append([]string{"SIGSTORE_ID_TOKEN=" + token(t, d)}, l.environment...)
				common := []string{"--yes", "--allow-http-registry"}
				must(t, dir, env, c.judge, append(append(append([]string{"sign"}, common...), c.sign...), i.ref())...)
				must(t, dir, env, c.judge, append(append(append([]string{"attest", "--type", "slsaprovenance1", "--predicate", "predicate.json"}, common...), c.attest...), i.ref())...)
				found := verifyAll(t, v, i)
				require.Len(t, found.Entries, 2)
			})
		}
	}
}
