// Package kyverno has the command line of Kyverno judge pods whose images were
// published, by the policies of examples/policies.
package kyverno

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/client/referrer"
	"github.com/temper-images/temper/integration/publish"
	"github.com/temper-images/temper/integration/registries"
	"github.com/temper-images/temper/integration/tools"
)

// limit bounds one run of Kyverno.
const limit = time.Minute

const (
	provenance = "https://slsa.dev/provenance/v1"
	scan       = "https://cosign.sigstore.dev/attestation/vuln/v1"

	ours   = `{"buildDefinition":{"buildType":"https://example.com/test"},"runDetails":{"builder":{"id":"https://github.com/example/app"}}}`
	theirs = `{"buildDefinition":{"buildType":"https://example.com/test"},"runDetails":{"builder":{"id":"https://github.com/else/app"}}}`
)

// scanned is a scan that ended at some time.
func scanned(at time.Time) string {
	return `{"scanner":{"uri":"pkg:golang/example.com/scanner","result":{}},"metadata":{"scanFinishedOn":"` + at.UTC().Format(time.RFC3339) + `"}}`
}

// placeholder is the key in the policies.
var placeholder = regexp.MustCompile(`( *)-----BEGIN PUBLIC KEY-----\n.*\n *-----END PUBLIC KEY-----`)

// policies are those of the examples, for images of any registry on loopback that a
// key signed, by their names.
func policies(t *testing.T, public string) map[string]string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(tools.Root(), "examples", "policies", "kyverno-*.yaml"))
	require.NoError(t, err)
	require.Len(t, files, 3)
	key, err := os.ReadFile(public)
	require.NoError(t, err)
	made, dir := map[string]string{}, t.TempDir()
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		require.Regexp(t, placeholder, string(text))
		policy := placeholder.ReplaceAllStringFunc(string(text), func(s string) string {
			indent := placeholder.FindStringSubmatch(s)[1]
			return indent + strings.ReplaceAll(strings.TrimSpace(string(key)), "\n", "\n"+indent)
		})
		policy = strings.ReplaceAll(policy, "registry.example.com/*", "127.0.0.1:*/*")
		name := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(file), "kyverno-"), ".yaml")
		made[name] = filepath.Join(dir, filepath.Base(file))
		require.NoError(t, os.WriteFile(made[name], []byte(policy), 0o600))
	}
	return made
}

// apply asks whether a policy lets a pod with an image in, and what it says.
func apply(t *testing.T, policy, image string) (accepted bool, said string) {
	t.Helper()
	dir := t.TempDir()
	pod := filepath.Join(dir, "pod.yaml")
	require.NoError(t, os.WriteFile(pod, []byte("apiVersion: v1\nkind: Pod\nmetadata: {name: app, namespace: default}\nspec:\n  containers:\n    - {name: app, image: \""+image+"\"}\n"), 0o600))
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, tools.Path("kyverno"), "apply", policy, "--resource", pod, "--registry")
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir}
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		require.NoError(t, err, "run .ci/kyverno")
	}
	require.NoError(t, ctx.Err())
	// It has to have judged: a policy that does not match lets everything in.
	result := regexp.MustCompile(`pass: (\d), fail: (\d), warn: 0, error: 0, skip: 0`).FindStringSubmatch(string(out))
	require.NotNil(t, result, "%s", out)
	require.NotEqual(t, result[1] == "0", result[2] == "0", "%s", out)
	return err == nil && result[2] == "0", string(out)
}

// release publishes an image under the tag 1 and returns its name by digest.
type release struct {
	content    string
	attest     map[string]string
	formats    referrer.Formats
	repository string
}

func (r release) publish(t *testing.T, host, key string, plain bool) string {
	t.Helper()
	img, err := publish.NewImage(t.TempDir(), r.content, plain, "amd64")
	require.NoError(t, err)
	do := &publish.Release{Image: img, Tags: []string{host + "/" + r.repository + ":1"}, Key: key, Attest: r.attest, Formats: r.formats}
	_, err = do.Run(t.Context())
	require.NoError(t, err)
	return host + "/" + r.repository + ":1@" + img.Top.Digest.String()
}

// Every policy lets in what the release published, an index as well as a plain
// manifest, and nothing else; with the referrers API and without.
func TestPolicies(t *testing.T) {
	now := time.Now()
	good := map[string]string{provenance: ours, scan: scanned(now)}
	for registry, host := range map[string]string{
		"docker-registry": registries.Distribution2(t, registries.Config{Public: true}).Host,
		"referrers API":   registries.Plain(t, registries.Config{}).Host,
	} {
		key, stranger := filepath.Join(t.TempDir(), "cosign"), filepath.Join(t.TempDir(), "other")
		for _, prefix := range []string{key, stranger} {
			_, err := publish.NewKey(prefix)
			require.NoError(t, err)
		}
		unsigned, err := publish.NewImage(t.TempDir(), "unsigned", true, "amd64")
		require.NoError(t, err)
		require.NoError(t, unsigned.PushUnsigned(t.Context(), host+"/unsigned:1"))
		type test struct {
			image string
			// says has what each policy says of a refused image.
			says map[string]string
		}
		builder, old, foreign := "and predicate "+provenance, "and predicate "+scan, "no signatures found"
		tests := map[string]test{
			"a released index":    {release{"index", good, referrer.Formats{}, "index"}.publish(t, host, key+".key", false), nil},
			"a released manifest": {release{"manifest", good, referrer.Formats{}, "manifest"}.publish(t, host, key+".key", true), nil},
			"an unsigned image": {host + "/unsigned:1@" + unsigned.Top.Digest.String(), map[string]string{
				"cosign": foreign, "bundle": "no matching signatures found", "imagevalidatingpolicy": "is not signed by the release key"}},
			"an image re-signed with another key": {release{"re-signed", good, referrer.Formats{}, "resigned"}.publish(t, host, stranger+".key", true), map[string]string{
				"cosign": "invalid signature", "bundle": "no matching signatures found", "imagevalidatingpolicy": "is not signed by the release key"}},
			"an image of another builder": {release{"builder", map[string]string{provenance: theirs, scan: scanned(now)}, referrer.Formats{}, "builder"}.publish(t, host, key+".key", true), map[string]string{
				"cosign": builder, "bundle": builder, "imagevalidatingpolicy": "built by somebody else"}},
			"an image scanned long ago": {release{"old", map[string]string{provenance: ours, scan: scanned(now.AddDate(0, 0, -40))}, referrer.Formats{}, "old"}.publish(t, host, key+".key", true), map[string]string{
				"cosign": old, "bundle": old, "imagevalidatingpolicy": "not scanned within 30 days"}},
		}
		for policy, file := range policies(t, key+".pub") {
			for name, tt := range tests {
				t.Run(registry+" "+policy+" "+name, func(t *testing.T) {
					t.Parallel()
					accepted, said := apply(t, file, tt.image)
					require.Equal(t, tt.says == nil, accepted, said)
					if tt.says != nil {
						require.Contains(t, said, tt.says[policy])
					}
				})
			}
		}
	}
}

// Each form by itself is enough for the policy that reads it.
func TestForms(t *testing.T) {
	host := registries.Distribution2(t, registries.Config{Public: true}).Host
	key := filepath.Join(t.TempDir(), "cosign")
	_, err := publish.NewKey(key)
	require.NoError(t, err)
	good := map[string]string{provenance: ours, scan: scanned(time.Now())}
	bundles := release{"bundles", good, referrer.Formats{Bundle: true}, "bundles"}.publish(t, host, key+".key", true)
	tags := release{"tags", good, referrer.Formats{Cosign: true}, "tags"}.publish(t, host, key+".key", true)
	all := policies(t, key+".pub")
	for _, tt := range []struct {
		policy, image string
		accepted      bool
	}{
		{"bundle", bundles, true}, {"bundle", tags, false},
		{"cosign", bundles, false}, {"cosign", tags, true},
		{"imagevalidatingpolicy", bundles, true},
		// As the policy's comment says: attestations under .att want a log.
		{"imagevalidatingpolicy", tags, false},
	} {
		accepted, said := apply(t, all[tt.policy], tt.image)
		require.Equal(t, tt.accepted, accepted, "%s of %s: %s", tt.policy, tt.image, said)
	}
}
