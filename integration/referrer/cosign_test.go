package referrer

import (
	"context"
	"maps"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/integration/sigstore"
	"golang.org/x/sync/errgroup"

	"github.com/temper-images/temper/client/inspect"
	"github.com/temper-images/temper/client/referrer"
	"github.com/temper-images/temper/client/signing"
	"github.com/temper-images/temper/hardening/spec"
)

// predicates are those of the documents of a release, by the name that cosign has
// for them.
var predicates = map[string]string{
	"https://slsa.dev/provenance/v1":                  "slsaprovenance1",
	"https://cyclonedx.org/bom":                       "cyclonedx",
	"https://spdx.dev/Document":                       "spdx",
	"https://cosign.sigstore.dev/attestation/vuln/v1": "vuln",
	"https://openvex.dev/ns":                          "openvex",
	spec.PredicateType:                                spec.PredicateType,
	inspect.PredicateType:                             inspect.PredicateType,
}

// formats are the forms alone and together.
var formats = map[string]referrer.Formats{"bundle": {Bundle: true}, "tags": {Cosign: true}, "both": {}}

// keyPair makes a key of cosign's, and opens it.
func keyPair(t *testing.T, dir string) (*signing.Signer, *signing.Verifier) {
	t.Helper()
	must(t, dir, nil, "cosign", "generate-key-pair")
	s, err := signing.Open(t.Context(), signing.Options{Key: filepath.Join(dir, "cosign.key"),
		Password: func(context.Context) ([]byte, error) { return []byte(password), nil }})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	v, err := s.Verifier()
	require.NoError(t, err)
	return s, v
}

// sign signs an image and attests every predicate type.
func sign(t *testing.T, s *signing.Signer, i image) []referrer.Signed {
	t.Helper()
	signature, err := referrer.SignImage(t.Context(), s, i.repo.Name().Name(), i.desc)
	require.NoError(t, err)
	signed := make([]referrer.Signed, 1+len(predicates))
	signed[0] = signature
	group, ctx := errgroup.WithContext(t.Context())
	for n, predicate := range slices.Sorted(maps.Keys(predicates)) {
		group.Go(func() error {
			var err error
			signed[1+n], err = referrer.Attest(ctx, s, statement(t, predicate, i.desc.Digest))
			return err
		})
	}
	require.NoError(t, group.Wait())
	return signed
}

// withKey are the flags for cosign to verify with a key and without a log.
func withKey(dir string) []string {
	return []string{"--key", filepath.Join(dir, "cosign.pub"), "--insecure-ignore-tlog", "--allow-http-registry"}
}

// What client/referrer writes, both command lines of cosign verify, in each form, on
// registries with and without the referrers API.
func TestCosignVerifies(t *testing.T) {
	for kind, start := range registries {
		for form, f := range formats {
			t.Run(kind+"/"+form, func(t *testing.T) {
				dir := t.TempDir()
				trust := sigstore.EmptyRoot(t, dir)
				s, _ := keyPair(t, dir)
				must(t, dir, nil, "cosign", "generate-key-pair", "--output-key-prefix", "other")
				for _, index := range []bool{false, true} {
					i := pushImage(t, start(t), index)
					manifests, err := referrer.Manifests(i.desc, sign(t, s, i), referrer.Existing{}, created, f)
					require.NoError(t, err)
					attach(t, i, manifests)
					for _, judge := range []string{"cosign", "cosign3"} {
						flags := withKey(dir)
						if form != "tags" {
							flags = append(flags, "--trusted-root", trust)
						}
						must(t, dir, nil, judge, append(append([]string{"verify"}, flags...), i.ref())...)
						other := append(slices.Clone(flags), "--key", filepath.Join(dir, "other.pub"))
						require.NotZero(t, run(t, dir, nil, judge, append(append([]string{"verify"}, other...), i.ref())...).code)
						for _, name := range predicates {
							o := must(t, dir, nil, judge, append(append([]string{"verify-attestation", "--type", name}, flags...), i.ref())...)
							require.Contains(t, o.stdout, "payload")
							require.NotZero(t, run(t, dir, nil, judge, append(append([]string{"verify-attestation", "--type", name}, other...), i.ref())...).code)
						}
					}
				}
			})
		}
	}
}
