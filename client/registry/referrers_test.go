package registry

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"cuelabs.dev/go/oci/ociregistry/ociserver"
	digest "github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"
)

func digests(descs []ocispecs.Descriptor) []string {
	out := []string{}
	for _, d := range descs {
		out = append(out, d.Digest.String())
	}
	return out
}

func TestReferrersOfTheAPI(t *testing.T) {
	s := newServer(t, nil)
	r := s.open(t, "a", Options{})
	subject := ocispecs.Descriptor{MediaType: ocispecs.MediaTypeImageManifest, Digest: digest.FromString("not there"), Size: 9}

	// A repository that is not there has none.
	list, err := r.Referrers(t.Context(), subject.Digest)
	require.NoError(t, err)
	require.Empty(t, list)

	var want []string
	for i := range 5 {
		desc, dt := artifact(t, r, &subject, fmt.Sprint(i))
		push(t, r, "", desc, dt)
		want = append(want, desc.Digest.String())
	}
	has, err := r.HasReferrersAPI(t.Context())
	require.NoError(t, err)
	require.True(t, has)
	s.put(nil)
	for range 2 {
		list, err = r.Referrers(t.Context(), subject.Digest)
		require.NoError(t, err)
		require.ElementsMatch(t, want, digests(list))
		require.Equal(t, "application/x.test", list[0].ArtifactType)
	}
	require.Equal(t, 2, s.count("GET"), "whether there is an API is asked once")
	list, err = r.Referrers(t.Context(), digest.FromString("nobody"))
	require.NoError(t, err)
	require.Empty(t, list)

	// What was listed under the tag before there was an API is found.
	a, dt := artifact(t, r, nil, "a")
	push(t, r, "", a, dt)
	idx, err := json.Marshal(ocispecs.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispecs.MediaTypeImageIndex, Manifests: []ocispecs.Descriptor{a}})
	require.NoError(t, err)
	require.NoError(t, r.PutManifest(t.Context(), fallbackTag(nobody), ocispecs.MediaTypeImageIndex, idx))
	list, err = r.Referrers(t.Context(), nobody)
	require.NoError(t, err)
	require.Equal(t, []string{a.Digest.String()}, digests(list))
	_, err = r.Referrers(t.Context(), "sha256:12")
	require.Error(t, err)
}

// Ways in which registries have no referrers API.
func TestReferrersOfTheFallbackTag(t *testing.T) {
	for name, answer := range map[string]http.HandlerFunc{
		"404 with text": func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "404 page not found", http.StatusNotFound) },
		"404 with codes": func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, `{"errors":[{"code":"NOT_FOUND"}]}`, http.StatusNotFound)
		},
		"400":                 func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadRequest) },
		"405":                 func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusMethodNotAllowed) },
		"406":                 func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotAcceptable) },
		"501":                 func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotImplemented) },
		"a page, as a 200":    func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>what?</html>") },
		"an object, as a 200": func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"manifests":[]}`) },
		"a page elsewhere": func(w http.ResponseWriter, r *http.Request) {
			if strings.HasPrefix(r.URL.Path, "/v2/") {
				http.Redirect(w, r, "/welcome", http.StatusSeeOther)
				return
			}
			_, _ = io.WriteString(w, "<html>welcome</html>")
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t, nil)
			r := s.open(t, "a", Options{})
			s.put(func(w http.ResponseWriter, req *http.Request, next http.Handler) {
				if strings.Contains(req.URL.Path, "/referrers/") || req.URL.Path == "/welcome" {
					answer(w, req)
					return
				}
				next.ServeHTTP(w, req)
			})
			subject := digest.FromString("x")
			has, err := r.HasReferrersAPI(t.Context())
			require.NoError(t, err)
			require.False(t, has)
			list, err := r.Referrers(t.Context(), subject)
			require.NoError(t, err)
			require.Empty(t, list)

			a, dt := artifact(t, r, nil, "a")
			push(t, r, "", a, dt)
			idx, err := json.Marshal(ocispecs.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispecs.MediaTypeImageIndex, Manifests: []ocispecs.Descriptor{a, a}})
			require.NoError(t, err)
			require.NoError(t, r.PutManifest(t.Context(), fallbackTag(subject), ocispecs.MediaTypeImageIndex, idx))
			list, err = r.Referrers(t.Context(), subject)
			require.NoError(t, err)
			require.Equal(t, []string{a.Digest.String()}, digests(list), "each once")

			other := digest.FromString("y")
			push(t, r, fallbackTag(other), a, dt)
			_, err = r.Referrers(t.Context(), other)
			require.ErrorContains(t, err, "no image index")
		})
	}
}

// pagesOf serves referrers in pages; link makes the Link header of a page, "" is none.
func pagesOf(t *testing.T, pages int, link func(page int) string) *Repository {
	t.Helper()
	s := newServer(t, nil)
	s.put(func(w http.ResponseWriter, req *http.Request, _ http.Handler) {
		if !strings.Contains(req.URL.Path, "/referrers/") {
			return
		}
		idx := ocispecs.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispecs.MediaTypeImageIndex}
		if !strings.HasSuffix(req.URL.Path, nobody.String()) {
			page, _ := strconv.Atoi(req.URL.Query().Get("page"))
			idx.Manifests = append(idx.Manifests, ocispecs.Descriptor{MediaType: ocispecs.MediaTypeImageManifest, Digest: digest.FromString(fmt.Sprint(page)), Size: 1})
			if l := link(page); l != "" && page+1 < pages {
				w.Header().Set("Link", strings.ReplaceAll(l, "PATH", req.URL.Path))
			}
		}
		w.Header().Set("Content-Type", ocispecs.MediaTypeImageIndex)
		_ = json.NewEncoder(w).Encode(idx)
	})
	return s.open(t, "a", Options{})
}

func TestPagesOfReferrers(t *testing.T) {
	for name, c := range map[string]struct {
		pages int
		link  func(page int) string
		want  string
	}{
		"absolute paths": {5, func(p int) string { return fmt.Sprintf(`<PATH?page=%d>; rel="next"`, p+1) }, ""},
		"a query alone":  {5, func(p int) string { return fmt.Sprintf(`<?page=%d>;rel=next`, p+1) }, ""},
		"a circle":       {5, func(int) string { return `<PATH?page=1>; rel="next"` }, "in a circle"},
		"elsewhere":      {5, func(int) string { return `<http://169.254.169.254/latest>; rel="next"` }, "elsewhere"},
		"another path":   {5, func(int) string { return `</v2/other/referrers/x>; rel="next"` }, "elsewhere"},
		"no address":     {5, func(int) string { return `<http://%zz>; rel="next"` }, "address"},
		"without end":    {1 << 30, func(p int) string { return fmt.Sprintf(`<PATH?page=%d>; rel="next"`, p+1) }, "more than 1000 pages"},
	} {
		t.Run(name, func(t *testing.T) {
			list, err := pagesOf(t, c.pages, c.link).Referrers(t.Context(), digest.FromString("x"))
			if c.want != "" {
				require.ErrorContains(t, err, c.want)
				require.Nil(t, list, "no part of a list")
				return
			}
			require.NoError(t, err)
			require.Len(t, list, c.pages)
		})
	}
}

// A list whose second page is throttled is an error, and no shorter list.
func TestThrottledListIsNoShorterOne(t *testing.T) {
	r := pagesOf(t, 3, func(p int) string { return fmt.Sprintf(`<PATH?page=%d>; rel="next"`, p+1) })
	s := newServer(t, nil)
	s.put(func(w http.ResponseWriter, req *http.Request, _ http.Handler) {
		if req.URL.Query().Get("page") == "2" {
			w.WriteHeader(http.StatusTooManyRequests)
			return
		}
		resp, err := http.Get("http://" + r.Name().RegistryStr() + req.URL.RequestURI())
		if err != nil {
			panic(err)
		}
		defer resp.Body.Close()
		for k, v := range resp.Header {
			w.Header()[k] = v
		}
		_, _ = io.Copy(w, resp.Body)
	})
	list, err := s.open(t, "a", Options{}).Referrers(t.Context(), digest.FromString("x"))
	unreachable(t, err)
	require.Nil(t, list)
}

func TestBrokenLists(t *testing.T) {
	for name, body := range map[string]string{
		"cut":          `{"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[`,
		"other types":  `{"mediaType":"application/vnd.oci.image.index.v1+json","manifests":{}}`,
		"no digest":    `{"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{"size":1}]}`,
		"false digest": `{"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{"digest":"sha256:../..","size":1}]}`,
		"no size":      `{"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{"digest":"` + nobody.String() + `","size":-1}]}`,
		"too large":    `{"mediaType":"application/vnd.oci.image.index.v1+json","x":"` + strings.Repeat("x", MaxManifest) + `"}`,
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t, &ociserver.Options{})
			s.put(func(w http.ResponseWriter, req *http.Request, next http.Handler) {
				w.Header().Set("Content-Type", ocispecs.MediaTypeImageIndex)
				if strings.Contains(req.URL.Path, "/referrers/") && !strings.HasSuffix(req.URL.Path, nobody.String()) {
					_, _ = io.WriteString(w, body)
					return
				}
				_, _ = io.WriteString(w, `{"mediaType":"application/vnd.oci.image.index.v1+json"}`)
			})
			list, err := s.open(t, "a", Options{}).Referrers(t.Context(), digest.FromString("x"))
			require.Error(t, err)
			require.Nil(t, list)
		})
	}
}

// GitLab's registry takes the fallback tag for the digest, and so gives the manifest
// itself, whose children are not its referrers.
func TestTagTakenForDigest(t *testing.T) {
	s := newServer(t, &ociserver.Options{DisableReferrersAPI: true})
	r := s.open(t, "a", Options{})
	a, dt := artifact(t, r, nil, "a")
	push(t, r, "", a, dt)
	idx, err := json.Marshal(ocispecs.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispecs.MediaTypeImageIndex, Manifests: []ocispecs.Descriptor{a}})
	require.NoError(t, err)
	subject := digest.FromBytes(idx)
	require.NoError(t, r.PutManifest(t.Context(), subject.String(), ocispecs.MediaTypeImageIndex, idx))
	s.put(func(w http.ResponseWriter, req *http.Request, next http.Handler) {
		req.URL.Path = strings.Replace(req.URL.Path, "/sha256-", "/sha256:", 1)
		next.ServeHTTP(w, req)
	})
	_, err = r.Head(t.Context(), fallbackTag(subject))
	require.ErrorIs(t, err, ErrNotFound)
	_, _, err = r.Manifest(t.Context(), fallbackTag(subject))
	require.ErrorIs(t, err, ErrNotFound)
	list, err := r.Referrers(t.Context(), subject)
	require.NoError(t, err)
	require.Empty(t, list)
	_, err = r.Head(t.Context(), subject.String())
	require.NoError(t, err)
}

func TestFallbackTag(t *testing.T) {
	require.Equal(t, "sha256-2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881", fallbackTag(digest.FromString("x")))
	long := fallbackTag(digest.SHA512.FromString("x"))
	require.Len(t, long, len("sha512-")+64)
}
