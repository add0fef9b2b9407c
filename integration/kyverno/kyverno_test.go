package kyverno

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/client/referrer"
	"github.com/temper-images/temper/integration/publish"
	"github.com/temper-images/temper/integration/registries"
)

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

// policies are those of the examples for a key.
func policies(t *testing.T, public string) map[string]string {
	t.Helper()
	made, err := Policies(t.TempDir(), public, "")
	require.NoError(t, err)
	return made
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
				Cosign: foreign, Bundle: "no matching signatures found", ImageValidatingPolicy: "is not signed by the release key"}},
			"an image re-signed with another key": {release{"re-signed", good, referrer.Formats{}, "resigned"}.publish(t, host, stranger+".key", true), map[string]string{
				Cosign: "invalid signature", Bundle: "no matching signatures found", ImageValidatingPolicy: "is not signed by the release key"}},
			"an image of another builder": {release{"builder", map[string]string{provenance: theirs, scan: scanned(now)}, referrer.Formats{}, "builder"}.publish(t, host, key+".key", true), map[string]string{
				Cosign: builder, Bundle: builder, ImageValidatingPolicy: "built by somebody else"}},
			"an image scanned long ago": {release{"old", map[string]string{provenance: ours, scan: scanned(now.AddDate(0, 0, -40))}, referrer.Formats{}, "old"}.publish(t, host, key+".key", true), map[string]string{
				Cosign: old, Bundle: old, ImageValidatingPolicy: "not scanned within 30 days"}},
		}
		for policy, file := range policies(t, key+".pub") {
			for name, tt := range tests {
				t.Run(registry+" "+policy+" "+name, func(t *testing.T) {
					t.Parallel()
					accepted, said, err := Apply(t.Context(), file, tt.image)
					require.NoError(t, err)
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
		{Bundle, bundles, true}, {Bundle, tags, false},
		{Cosign, bundles, false}, {Cosign, tags, true},
		{ImageValidatingPolicy, bundles, true},
		// As the policy's comment says: attestations under .att want a log.
		{ImageValidatingPolicy, tags, false},
	} {
		accepted, said, err := Apply(t.Context(), all[tt.policy], tt.image)
		require.NoError(t, err)
		require.Equal(t, tt.accepted, accepted, "%s of %s: %s", tt.policy, tt.image, said)
	}
}
