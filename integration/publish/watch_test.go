package publish

import (
	"fmt"
	"strings"
	"testing"

	digest "github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/client/publish"
)

// releases is how many are published under the eyes of the watcher.
const releases = 50

// Nobody ever sees an image without its signatures: not in what the registry was
// sent and answered, in its order, and not a watcher who looks all the time.
func TestNothingUnsignedIsEverVisible(t *testing.T) {
	for _, s := range servers(t) {
		for _, order := range []publish.Order{publish.OrderSignatureFirst, publish.OrderDigestFirst} {
			t.Run(s.name+" "+string(order), func(t *testing.T) {
				private, key := newKey(t)
				digestFirst := order == publish.OrderDigestFirst
				rec := record(t, s, Rules{Key: key, DigestFirst: digestFirst})
				repository := "watched/" + string(order)
				rec.Before(insist(t, s, key, digestFirst))
				w := Watch(t.Context(), rec.Addr, repository, key, digestFirst)
				// Half as many the other way round: the rule is the stricter one.
				n := releases
				if digestFirst {
					n /= 5
				}
				images := make([]*Image, n)
				for i := range images {
					images[i] = newImage(t, fmt.Sprint("release ", i))
				}
				for i, img := range images {
					w.Expect(img.All...)
					r := &Release{Image: img, Tags: []string{fmt.Sprintf("%s/%s:%d", rec.Addr, repository, i)}, Key: private,
						Order: order, ArchTags: true, Attest: predicates, Retry: impatient}
					result, err := r.Run(t.Context())
					require.NoError(t, err)
					require.Equal(t, order, result.Repositories[0].Order)
					require.Equal(t, s.lists, result.Repositories[0].ReferrersAPI)
				}
				w.Look(1)
				report := w.Stop()
				require.NoError(t, report.Err)
				require.Empty(t, report.Broken)
				// The index's tag and one for each platform, and four manifests.
				require.Equal(t, n*(3+4), report.Seen)
				t.Logf("%d releases, %d requests, %d rounds of the watcher", n, len(rec.Exchanges()), report.Rounds)
				for i, img := range images {
					requireOnce(t, Read(t.Context(), s.host, repository), key, img, fmt.Sprint(i), len(predicates))
				}
			})
		}
	}
}

// insist asks the registry itself, right before it gets a manifest of an image,
// whether the signatures can be read by then.
func insist(t *testing.T, s server, key Key, digestFirst bool) func(*Exchange) {
	return func(e *Exchange) {
		repository, ref, ok := e.manifest()
		if !ok || e.Method != "PUT" || beside.MatchString(ref) || strings.Contains(string(e.Body), bundleType) || isDigest(ref) && digestFirst {
			return
		}
		r, d := Read(t.Context(), s.host, repository), digest.FromBytes(e.Body)
		if found := r.Signatures(key, d); r.Err != nil || !found.complete() {
			t.Errorf("%s is about to be readable as %s with %d bundles and %d signatures (%v)", d, ref, found.Bundles, found.Payloads, r.Err)
		}
	}
}
