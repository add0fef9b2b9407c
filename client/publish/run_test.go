package publish_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/client/publish"
	"github.com/temper-images/temper/client/referrer"
)

// What is put goes in this order: signatures and attestations about a manifest
// before the manifest, what an index lists before it, and tags last.
func TestSignatureFirst(t *testing.T) {
	for _, kind := range []struct {
		name string
		new  func(*testing.T) *fake
		api  bool
	}{{"referrers API", withAPI, true}, {"no referrers API", without, false}} {
		t.Run(kind.name, func(t *testing.T) {
			f := kind.new(t)
			img := read(t, false)
			r := request(t, img, f.tag(t, "team/app:1.2"))
			result, err := publish.Run(t.Context(), r)
			require.NoError(t, err)
			whole(t, r, 0)

			require.Equal(t, img.Top.Digest, result.Image)
			require.Len(t, result.Repositories, 1)
			out := result.Repositories[0]
			require.Equal(t, publish.OrderSignatureFirst, out.Order)
			require.Empty(t, out.FellBack)
			require.Equal(t, kind.api, out.ReferrersAPI)
			require.Equal(t, 5, out.Manifests)
			require.Equal(t, 5+2*2, out.Signed)
			var tags []string
			for _, tag := range out.Tags {
				require.Empty(t, tag.Was)
				tags = append(tags, tag.Tag)
			}
			require.Equal(t, []string{"1.2-amd64", "1.2-arm-v7", "1.2"}, tags)

			order := f.writes()
			position := func(ref string) int {
				n := slices.Index(order, ref)
				require.GreaterOrEqual(t, n, 0, "%s in %v", ref, order)
				return n
			}
			require.Equal(t, tags, order[len(order)-3:], "tags are last")
			for _, m := range img.Manifests {
				d := m.Descriptor.Digest
				require.Greater(t, position(d.String()), position(referrer.SignatureTag(d)))
				require.LessOrEqual(t, position(d.String()), position(img.Top.Digest.String()))
				if !kind.api {
					require.Greater(t, position(d.String()), position(referrer.FallbackTag(d)))
				}
			}
			first := slices.IndexFunc(order, func(ref string) bool {
				return slices.ContainsFunc(img.Manifests, func(m publish.Manifest) bool { return m.Descriptor.Digest.String() == ref })
			})
			require.Equal(t, len(order)-5-3, first, "everything else is before the image's manifests: %v", order)

			// What is there already is not written again.
			f.set(nil, nil)
			again, err := publish.Run(t.Context(), r)
			require.NoError(t, err)
			for _, e := range f.exchanges() {
				require.Contains(t, []string{http.MethodGet, http.MethodHead}, e.method, e.path)
			}
			require.Equal(t, 5+2*2, again.Repositories[0].Reused)
			require.Zero(t, again.Repositories[0].Signed)
			require.Zero(t, again.Repositories[0].Blobs)
		})
	}
}

// refuseAbsent answers as a registry that takes no manifest whose subject is absent.
func refuseAbsent(f *fake) func(*http.Request) int {
	return func(req *http.Request) int {
		if req.Method != http.MethodPut || !strings.Contains(req.URL.Path, "/manifests/") {
			return 0
		}
		subject := subjectOf(req)
		if subject == "" {
			return 0
		}
		dir, _, _ := strings.Cut(req.URL.Path, "/manifests/")
		resp, err := http.Head(f.URL + dir + "/manifests/" + subject)
		if err == nil {
			defer resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return 0
			}
		}
		return unknownSubject
	}
}

// A registry that refuses signatures before the image gets the manifests first, and
// the tags last all the same.
func TestAbsentSubjectRefused(t *testing.T) {
	for name, start := range map[string]func(*testing.T) *fake{"referrers API": withAPI, "no referrers API": without} {
		t.Run(name, func(t *testing.T) {
			f := start(t)
			f.set(refuseAbsent(f), nil)
			img := read(t, false)
			r := request(t, img, f.tag(t, "team/app:1.2"))
			var notices []string
			r.Registry.Notice = func(s string) { notices = append(notices, s) }
			result, err := publish.Run(t.Context(), r)
			require.NoError(t, err)
			whole(t, r, 0)
			require.Equal(t, publish.OrderDigestFirst, result.Repositories[0].Order)
			require.Contains(t, result.Repositories[0].FellBack, "takes no signatures")
			require.Contains(t, strings.Join(notices, "\n"), "pushed by digest first")
			order := f.writes()
			require.Equal(t, []string{"1.2-amd64", "1.2-arm-v7", "1.2"}, order[len(order)-3:])

			r.Order = publish.OrderSignatureFirst
			r.Tags = append(r.Tags[:0:0], f.tag(t, "team/other:1.2"))
			_, err = publish.Run(t.Context(), r)
			require.ErrorContains(t, err, "blob unknown")
		})
	}
}

// A registry may take signatures of an absent manifest and not list them.
func TestAbsentSubjectNotListed(t *testing.T) {
	f := withAPI(t)
	f.set(func(req *http.Request) int {
		dir, subject, ok := strings.Cut(req.URL.Path, "/referrers/")
		if !ok {
			return 0
		}
		resp, err := http.Head(f.URL + dir + "/manifests/" + subject)
		if err != nil {
			return 0
		}
		defer resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			return 0
		}
		return emptyIndex
	}, nil)
	r := request(t, read(t, false), f.tag(t, "team/app:1.2"))
	result, err := publish.Run(t.Context(), r)
	require.NoError(t, err)
	whole(t, r, 0)
	require.Equal(t, publish.OrderDigestFirst, result.Repositories[0].Order)
	require.Contains(t, result.Repositories[0].FellBack, "does not list")
}
