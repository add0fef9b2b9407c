package publish

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	digest "github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/client/signing"
	"github.com/temper-images/temper/integration/sigstore"
	"github.com/temper-images/temper/integration/tools"
)

// judge runs another project's program, which may take two minutes.
func judge(t *testing.T, name string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, tools.Path(name), args...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir()}
	out, err := cmd.CombinedOutput()
	require.NoError(t, ctx.Err())
	return string(out), err
}

// agrees runs a judge that has to agree.
func agrees(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := judge(t, name, args...)
	require.NoError(t, err, "%s %s: %s", name, strings.Join(args, " "), out)
	return out
}

// kinds are the predicates by the names that cosign has for them.
var kinds = map[string]string{"slsaprovenance1": provenanceType, "vuln": scanType}

// judgeCosign has both versions of cosign verify the signatures of everything and
// the attestations of what has some, as flags say.
func judgeCosign(t *testing.T, repository string, img *Image, trusted string, flags, stranger []string) {
	t.Helper()
	for _, name := range []string{"cosign", "cosign3"} {
		// Both look for bundles first, and cosign 2 wants a trusted root for them even
		// with a key: without one it asks Sigstore for its own.
		with := append([]string{"--allow-http-registry", "--trusted-root", trusted}, flags...)
		for _, d := range img.All {
			agrees(t, name, append([]string{"verify", repository + "@" + d.String()}, with...)...)
		}
		agrees(t, name, append([]string{"verify", repository + ":1"}, with...)...)
		for _, d := range append([]digest.Digest{img.Top.Digest}, img.Platforms...) {
			for kind := range kinds {
				agrees(t, name, append([]string{"verify-attestation", "--type", kind, repository + "@" + d.String()}, with...)...)
			}
			out, err := judge(t, name, append([]string{"verify-attestation", "--type", "cyclonedx", repository + "@" + d.String()}, with...)...)
			require.Error(t, err, "there is none: %s", out)
		}
		out, err := judge(t, name, append([]string{"verify", repository + ":1", "--allow-http-registry", "--trusted-root", trusted}, stranger...)...)
		require.Error(t, err, "somebody else's: %s", out)
	}
}

// What is published, other people's programs find, verify and show.
func TestJudges(t *testing.T) {
	for _, start := range []func(*testing.T) server{dockerRegistry, listing} {
		s := start(t)
		t.Run(s.name, func(t *testing.T) {
			private, key := newKey(t)
			stranger, _ := newKey(t)
			rec := record(t, s, Rules{Key: key})
			img := newImage(t, "judged")
			r := &Release{Image: img, Tags: []string{rec.Addr + "/judged:1"}, Key: private, ArchTags: true, Attest: predicates, Retry: impatient}
			_, err := r.Run(t.Context())
			require.NoError(t, err)
			repository := s.host + "/judged"

			nobody := filepath.Join(t.TempDir(), "root.json")
			require.NoError(t, os.WriteFile(nobody, []byte(`{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1"}`), 0o600))
			by := func(private string) []string {
				return []string{"--key", strings.TrimSuffix(private, ".key") + ".pub", "--insecure-ignore-tlog"}
			}
			judgeCosign(t, repository, img, nobody, by(private), by(stranger))

			tree := agrees(t, "oras", "discover", "--plain-http", "--format", "json", repository+":1")
			for _, kind := range append([]string{signPredicate}, provenanceType, scanType) {
				require.Contains(t, tree, kind)
			}
			require.Equal(t, img.Top.Digest.String(), strings.TrimSpace(agrees(t, "crane", "digest", repository+":1")))
			require.Equal(t, img.Platforms[0].String(), strings.TrimSpace(agrees(t, "crane", "digest", repository+":1-amd64")))
			require.Contains(t, agrees(t, "crane", "ls", repository), "1-arm64")
			agrees(t, "crane", "validate", "--remote", repository+":1-amd64")
			var shown struct {
				Manifest struct {
					Digest digest.Digest `json:"digest"`
				} `json:"manifest"`
			}
			out := agrees(t, "buildx", "imagetools", "inspect", "--format", "{{json .}}", repository+":1")
			require.NoError(t, json.Unmarshal([]byte(out), &shown), out)
			require.Equal(t, img.Top.Digest, shown.Manifest.Digest)
			require.Contains(t, agrees(t, "buildx", "imagetools", "inspect", repository+":1"), "linux/arm64")
		})
	}
}

// The same without a key: certificates of a Sigstore deployment, its log and its
// timestamps.
func TestJudgesKeyless(t *testing.T) {
	const person = "someone@example.com"
	d, err := sigstore.Start(t.Context(), t.TempDir())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, d.Stop()) })
	token, err := d.Token(person, time.Hour)
	require.NoError(t, err)
	s := dockerRegistry(t)
	img, err := NewImage(t.TempDir(), "keyless", true, "amd64")
	require.NoError(t, err)
	r := &Release{
		Image: img, Tags: []string{s.host + "/keyless:1"}, Attest: predicates, Retry: impatient,
		Signing: &signing.Options{IDToken: token, Sigstore: signing.Deployment{SigningConfig: d.SigningConfig, TrustedRoot: d.TrustedRoot}},
		Verify: &signing.VerifyOptions{Identities: []signing.Identity{{Subject: person, Issuer: d.Issuer}},
			Sigstore: signing.Deployment{TrustedRoot: d.TrustedRoot}},
	}
	for range 2 {
		_, err := r.Run(t.Context())
		require.NoError(t, err)
	}
	who := func(person string) []string {
		return []string{"--certificate-identity", person, "--certificate-oidc-issuer", d.Issuer, "--insecure-ignore-sct", "--use-signed-timestamps"}
	}
	judgeCosign(t, s.host+"/keyless", img, d.TrustedRoot, who(person), who("else@example.com"))
	var tree struct {
		Referrers []json.RawMessage `json:"referrers"`
	}
	out := agrees(t, "oras", "discover", "--plain-http", "--format", "json", s.host+"/keyless:1")
	require.NoError(t, json.Unmarshal([]byte(out), &tree), out)
	require.Len(t, tree.Referrers, 1+len(predicates), "the second run added nothing")
}
