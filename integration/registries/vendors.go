package registries

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"cuelabs.dev/go/oci/ociregistry/ociserver"
	digest "github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// itself is for registries where each repository is made.
func itself(repo string) string { return repo }

// project is what a repository's name begins with, of so many parts.
func project(parts int) func(repo string) string {
	return func(repo string) string {
		p := strings.Split(repo, "/")
		return strings.Join(p[:min(parts, len(p))], "/")
	}
}

// ECR is like Amazon's: each repository has to be made; it says OCI-Subject without having
// the referrers API (sigstore-js issue 1183); the range in its answers to chunks stands
// still (containers-roadmap issue 2831); it takes pages of 1000 tags at most.
func ECR(t testing.TB, c Config) *Server {
	t.Helper()
	s := memory(t, c, ociserver.Options{MaxListPageSize: 1000, OmitDigestFromTagGetResponse: true})
	s.Wrap(func(h http.Handler) http.Handler {
		h = noReferrers(h, func(w http.ResponseWriter, r *http.Request) {
			reply(w, r, http.StatusNotFound, "NOT_FOUND", "404 page not found")
		})
		h = standingRange(h)
		h = immutable(h, http.StatusBadRequest, "TAG_INVALID", "The image tag 'TAG' already exists in the 'REPOSITORY' repository and cannot be overwritten because the tag is immutable.")
		h = existing(s, h, itself, http.StatusNotFound, "NAME_UNKNOWN", "The repository with name 'REPOSITORY' does not exist in the registry with id '123456789012'")
		return basic(s, h, "AWS", "ecr.amazonaws.com")
	})
	return s
}

// standingRange says of each chunk but the first that no more has arrived than with that.
func standingRange(next http.Handler) http.Handler {
	var first atomic.Value
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPatch {
			next.ServeHTTP(w, r)
			return
		}
		h := hold(next, r)
		if h.status == http.StatusAccepted {
			if !first.CompareAndSwap(nil, h.header.Get("Range")) {
				h.header.Set("Range", first.Load().(string))
			}
		}
		h.send(w)
	})
}

// GAR is like Google's Artifact Registry: what the first two parts of a name say has to be
// made; it has the referrers API, and tokens.
func GAR(t testing.TB, c Config) *Server {
	t.Helper()
	s := memory(t, c, ociserver.Options{})
	s.Wrap(func(h http.Handler) http.Handler {
		h = immutable(h, http.StatusBadRequest, "DENIED", "cannot update tag TAG. The repository has enabled tag immutability")
		h = existing(s, h, project(2), http.StatusNotFound, "NAME_UNKNOWN", `Repository "REPOSITORY" not found`)
		return bearer(s, h, "/v2/token", c)
	})
	return s
}

// ACR is like Azure's: it has the referrers API, in pages; a locked tag is a 405.
func ACR(t testing.TB, c Config) *Server {
	t.Helper()
	if c.PageSize == 0 {
		c.PageSize = 2
	}
	s := memory(t, c, ociserver.Options{})
	s.Wrap(func(h http.Handler) http.Handler {
		h = immutable(h, http.StatusMethodNotAllowed, "DENIED", "The operation is disallowed on this registry, repository or image. View troubleshooting steps for locked images")
		return bearer(s, h, "/oauth2/token", c)
	})
	return s
}

// ghcrChunk is the largest chunk that GHCR takes, in bytes.
const ghcrChunk = 4 << 20

// GHCR is like GitHub's: it has no referrers API and says so with a page of text; chunks
// above 4 MiB are refused, other requests are not.
func GHCR(t testing.TB, c Config) *Server {
	t.Helper()
	s := memory(t, c, ociserver.Options{})
	s.Wrap(func(h http.Handler) http.Handler {
		h = quiet(noReferrers(h, func(w http.ResponseWriter, r *http.Request) {
			http.Error(w, "404 page not found", http.StatusNotFound)
		}))
		h = immutable(h, http.StatusForbidden, "DENIED", "tag TAG is immutable")
		h = chunkLimit(h, ghcrChunk)
		return bearer(s, h, "/token", c)
	})
	return s
}

func chunkLimit(next http.Handler, limit int64) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Content-Range") != "" && r.ContentLength > limit {
			reply(w, r, http.StatusRequestedRangeNotSatisfiable, "REQUESTED_RANGE_NOT_SATISFIABLE", "the request body is too large and exceeds the maximum permissible limit of 4.00MiB")
			return
		}
		next.ServeHTTP(w, r)
	})
}

// GitLab is like GitLab's: it refuses manifests whose subject is not in the repository
// (buildkit issue 7007), has no referrers API, and takes a tag sha256-HEX that is not there
// for the digest sha256:HEX (oras-go issue 1396).
func GitLab(t testing.TB, c Config) *Server {
	t.Helper()
	s := memory(t, c, ociserver.Options{})
	s.Wrap(func(h http.Handler) http.Handler {
		h = quiet(presentSubject(noReferrers(h, func(w http.ResponseWriter, r *http.Request) {
			http.Error(w, "404 page not found", http.StatusNotFound)
		})))
		h = tagAsDigest(h)
		h = immutable(h, http.StatusBadRequest, "TAG_IMMUTABLE", "tag is immutable: the tag TAG matches a protection pattern")
		return bearer(s, h, "/jwt/auth", c)
	})
	return s
}

// tagAsDigest looks up what a tag like sha256-HEX may mean besides.
func tagAsDigest(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, ok := parse(r.URL)
		d := digest.Digest(strings.Replace(c.id, "-", ":", 1))
		if !ok || c.kind != "manifests" || r.Method == http.MethodPut || strings.Contains(c.id, ":") || d.Validate() != nil {
			next.ServeHTTP(w, r)
			return
		}
		h := hold(next, r)
		if h.status == http.StatusNotFound {
			r = r.Clone(r.Context())
			r.URL.Path = "/v2/" + c.repo + "/manifests/" + d.String()
			h = hold(next, r)
		}
		h.send(w)
	})
}

// presentSubject refuses a manifest whose subject is absent.
func presentSubject(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, ok := parse(r.URL)
		if !ok || c.kind != "manifests" || r.Method != http.MethodPut {
			next.ServeHTTP(w, r)
			return
		}
		data, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(data))
		var m struct {
			Subject *ocispecs.Descriptor `json:"subject"`
		}
		if json.Unmarshal(data, &m) == nil && m.Subject != nil {
			head := r.Clone(r.Context())
			head.Method, head.Body = http.MethodHead, http.NoBody
			head.URL.Path = "/v2/" + c.repo + "/manifests/" + m.Subject.Digest.String()
			if hold(next, head).status != http.StatusOK {
				reply(w, r, http.StatusNotFound, "MANIFEST_BLOB_UNKNOWN", "blob unknown to registry")
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

// Harbor is like Harbor: a project has to be made; an immutable tag is a 412; it has the
// referrers API.
func Harbor(t testing.TB, c Config) *Server {
	t.Helper()
	s := memory(t, c, ociserver.Options{})
	s.Wrap(func(h http.Handler) http.Handler {
		h = immutable(h, http.StatusPreconditionFailed, "PRECONDITION", "Failed to process request due to 'REPOSITORY:TAG' configured as immutable.")
		h = existing(s, h, project(1), http.StatusNotFound, "NOT_FOUND", "project REPOSITORY not found")
		return bearer(s, h, "/service/token", c)
	})
	return s
}

// Quay is like Quay: it has the referrers API, makes repositories by itself, and its tokens
// are short-lived.
func Quay(t testing.TB, c Config) *Server {
	t.Helper()
	if c.TokenUses == 0 {
		c.TokenUses = 5
	}
	s := memory(t, c, ociserver.Options{})
	s.Wrap(func(h http.Handler) http.Handler {
		h = immutable(h, http.StatusConflict, "TAG_IMMUTABLE", "Tag TAG is immutable and cannot be overwritten")
		return bearer(s, h, "/v2/auth", c)
	})
	return s
}

// hubPatience is how many requests Docker Hub lets pass between two that it throttles.
const hubPatience = 4

// DockerHub is like Docker Hub: each fifth request is throttled, with a Retry-After; it has
// no referrers API (docker/roadmap issue 724).
func DockerHub(t testing.TB, c Config) *Server {
	t.Helper()
	s := memory(t, c, ociserver.Options{})
	s.Wrap(func(h http.Handler) http.Handler {
		h = quiet(noReferrers(h, func(w http.ResponseWriter, r *http.Request) {
			reply(w, r, http.StatusNotFound, "NOT_FOUND", "not found")
		}))
		h = immutable(h, http.StatusForbidden, "DENIED", "requested access to the resource is denied: tag TAG is immutable")
		return throttle(bearer(s, h, "/token", c), hubPatience)
	})
	return s
}

func throttle(next http.Handler, patience int64) http.Handler {
	var n atomic.Int64
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if n.Add(1)%(patience+1) == 0 {
			w.Header().Set("Retry-After", "1")
			reply(w, r, http.StatusTooManyRequests, "TOOMANYREQUESTS", "You have reached your pull rate limit.")
			return
		}
		next.ServeHTTP(w, r)
	})
}
