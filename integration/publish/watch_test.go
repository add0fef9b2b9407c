package publish

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	digest "github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/client/publish"
)

// Nobody ever sees an image without its signatures: not in what the registry was
// sent and answered, in its order, and not a watcher who looks all the time.
func TestNothingUnsignedIsEverVisible(t *testing.T) {
	for _, tt := range []struct {
		start    func(*testing.T) server
		order    publish.Order
		releases int
	}{
		{dockerRegistry, publish.OrderSignatureFirst, 50},
		{dockerRegistry, publish.OrderDigestFirst, 5},
		{distribution, publish.OrderSignatureFirst, 10},
		{listing, publish.OrderSignatureFirst, 20},
		{listing, publish.OrderDigestFirst, 5},
	} {
		s := tt.start(t)
		t.Run(s.name+" "+string(tt.order), func(t *testing.T) {
			private, key := newKey(t)
			digestFirst := tt.order == publish.OrderDigestFirst
			rec := record(t, s, Rules{Key: key, DigestFirst: digestFirst})
			rec.Before(insist(t, s, key, digestFirst))
			w := Watch(t.Context(), rec.Addr, "watched", key, digestFirst)
			images := map[string]*Image{}
			for i := range tt.releases {
				tag := fmt.Sprint(i)
				img := newImage(t, "release "+tag)
				w.Expect(img.All...)
				r := &Release{Image: img, Tags: []string{rec.Addr + "/watched:" + tag}, Key: private, Order: tt.order, ArchTags: true, Attest: one, Retry: impatient}
				result, err := r.Run(t.Context())
				require.NoError(t, err)
				require.Equal(t, tt.order, result.Repositories[0].Order)
				require.Equal(t, s.lists, result.Repositories[0].ReferrersAPI)
				images[tag] = img
			}
			w.Look(1)
			report := w.Stop()
			require.NoError(t, report.Err)
			require.Empty(t, report.Broken)
			// The index's tag and one for each platform, and four manifests.
			require.Equal(t, tt.releases*(3+4), report.Seen)
			t.Logf("%d releases, %d requests, %d rounds of the watcher", tt.releases, len(rec.Exchanges()), report.Rounds)
			for tag, img := range images {
				requireOnce(t, Read(t.Context(), s.host, "watched"), key, img, tag, len(one))
			}
		})
	}
}

// insist asks the registry itself, right before it gets a manifest of an image,
// whether the signatures can be read by then.
func insist(t *testing.T, s server, key Key, digestFirst bool) func(*Exchange) {
	return func(e *Exchange) {
		repository, ref, ok := e.manifest()
		if !ok || e.Method != http.MethodPut || beside.MatchString(ref) || strings.Contains(string(e.Body), bundleType) || isDigest(ref) && digestFirst {
			return
		}
		r, d := Read(t.Context(), s.host, repository), digest.FromBytes(e.Body)
		if found := r.Signatures(key, d); r.Err != nil || !found.complete() {
			t.Errorf("%s is about to be readable as %s with %d bundles and %d signatures (%v)", d, ref, found.Bundles, found.Payloads, r.Err)
		}
	}
}
