package registries

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	digest "github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/client/registry"
	"github.com/temper-images/temper/integration/fault"
)

// large is more than two chunks of a blob.
const large = 2*(16<<20) + 12345

var quick = registry.Retry{Attempts: 5, Base: time.Millisecond, Cap: 50 * time.Millisecond}

func open(t *testing.T, s *Server, repo string, o registry.Options) *registry.Repository {
	t.Helper()
	if o.Keychain == nil {
		o.Keychain = s
	}
	o.Retry = quick
	r, err := registry.Open(t.Context(), s.Repository(t, repo), o)
	require.NoError(t, err)
	return r
}

func blob(t *testing.T, size int) (ocispecs.Descriptor, []byte, registry.Content) {
	t.Helper()
	dt := make([]byte, size)
	_, err := rand.Read(dt)
	require.NoError(t, err)
	return ocispecs.Descriptor{MediaType: "application/octet-stream", Digest: digest.FromBytes(dt), Size: int64(size)}, dt, of(dt)
}

func of(dt []byte) registry.Content {
	return func(offset int64) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(dt[offset:])), nil }
}

func manifest(t *testing.T, config, layer ocispecs.Descriptor, subject *ocispecs.Descriptor, note string) (ocispecs.Descriptor, []byte) {
	t.Helper()
	dt, err := json.Marshal(ocispecs.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispecs.MediaTypeImageManifest, ArtifactType: "application/x.test",
		Config: config, Layers: []ocispecs.Descriptor{layer}, Subject: subject, Annotations: map[string]string{"note": note},
	})
	require.NoError(t, err)
	return ocispecs.Descriptor{MediaType: ocispecs.MediaTypeImageManifest, Digest: digest.FromBytes(dt), Size: int64(len(dt))}, dt
}

func pull(t *testing.T, r *registry.Repository, desc ocispecs.Descriptor, want []byte) {
	t.Helper()
	rc, err := r.Blob(t.Context(), desc)
	require.NoError(t, err)
	defer rc.Close()
	got, err := io.ReadAll(rc)
	require.NoError(t, err)
	require.True(t, bytes.Equal(want, got), "the content is another")
}

// hasAPI are the registries with the referrers API.
var hasAPI = map[string]bool{"plain": true, "gar": true, "acr": true, "harbor": true, "quay": true}

// Each registry takes an image with a large layer and a referrer that comes before it, and
// gives it back, with what is peculiar to it.
func TestEachRegistry(t *testing.T) {
	for kind, start := range All() {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			s := start(t, Config{})
			const repo = "project/team/app"
			r := open(t, s, repo, registry.Options{Create: s})

			_, err := r.Head(t.Context(), "v1")
			require.ErrorIs(t, err, registry.ErrNotFound)
			config, configData, openConfig := blob(t, 300)
			layer, layerData, openLayer := blob(t, large)
			for desc, open := range map[*ocispecs.Descriptor]registry.Content{&config: openConfig, &layer: openLayer} {
				got, err := r.PushBlob(t.Context(), *desc, open, registry.BlobOptions{})
				require.NoError(t, err)
				require.Equal(t, registry.Pushed, got)
			}
			pull(t, r, config, configData)
			pull(t, r, layer, layerData)

			has, err := r.HasReferrersAPI(t.Context())
			require.NoError(t, err)
			require.Equal(t, hasAPI[kind], has)

			image, data := manifest(t, config, layer, nil, "image")
			var referrers []string
			for i := range 5 {
				desc, dt := manifest(t, config, config, &image, fmt.Sprint(i))
				err := r.PutManifest(t.Context(), desc.Digest.String(), desc.MediaType, dt)
				if kind == "gitlab" {
					require.True(t, registry.IsAbsentSubject(err), "%v", err)
					require.NoError(t, r.PutManifest(t.Context(), image.Digest.String(), image.MediaType, data))
					err = r.PutManifest(t.Context(), desc.Digest.String(), desc.MediaType, dt)
				}
				require.NoError(t, err)
				referrers = append(referrers, desc.Digest.String())
				if kind == "gitlab" {
					break
				}
			}
			list, err := r.Referrers(t.Context(), image.Digest)
			require.NoError(t, err)
			if has {
				got := []string{}
				for _, d := range list {
					got = append(got, d.Digest.String())
				}
				require.ElementsMatch(t, referrers, got)
			} else {
				require.Empty(t, list, "nobody has written the fallback tag")
			}

			require.NoError(t, r.PutManifest(t.Context(), "v1", image.MediaType, data))
			desc, got, err := r.Manifest(t.Context(), "v1")
			require.NoError(t, err)
			require.Equal(t, image, desc)
			require.Equal(t, data, got)
			desc, err = r.Head(t.Context(), "v1")
			require.NoError(t, err)
			require.Equal(t, image, desc)
			tags, err := r.Tags(t.Context())
			require.NoError(t, err)
			require.Equal(t, []string{"v1"}, tags)
		})
	}
}

func TestMountAcrossRepositories(t *testing.T) {
	for kind, start := range All() {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			s := start(t, Config{Exists: []string{"project/base", "project/app", "project"}})
			base, app := open(t, s, "project/base", registry.Options{}), open(t, s, "project/app", registry.Options{})
			desc, dt, content := blob(t, 5000)
			_, err := base.PushBlob(t.Context(), desc, content, registry.BlobOptions{})
			require.NoError(t, err)
			got, err := app.PushBlob(t.Context(), desc, content, registry.BlobOptions{From: []name.Repository{base.Name()}})
			require.NoError(t, err)
			require.Equal(t, registry.Mounted, got)
			pull(t, app, desc, dt)
		})
	}
}

// Tokens that are good for three requests expire in the middle of everything.
func TestTokensExpire(t *testing.T) {
	for kind, start := range All() {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			s := start(t, Config{TokenUses: 3, Exists: []string{"project"}})
			r := open(t, s, "project/app", registry.Options{Create: s})
			layer, dt, content := blob(t, large)
			_, err := r.PushBlob(t.Context(), layer, content, registry.BlobOptions{})
			require.NoError(t, err)
			config, _, content := blob(t, 10)
			_, err = r.PushBlob(t.Context(), config, content, registry.BlobOptions{})
			require.NoError(t, err)
			image, data := manifest(t, config, layer, nil, "")
			for i := range 4 {
				require.NoError(t, r.PutManifest(t.Context(), fmt.Sprintf("v%d", i), image.MediaType, data))
			}
			pull(t, r, layer, dt)
		})
	}
}

func TestWrongCredentials(t *testing.T) {
	for kind, start := range All() {
		if kind == "plain" {
			continue
		}
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			s := start(t, Config{Exists: []string{"project"}})
			for _, k := range []authn.Keychain{fixed{&authn.Basic{Username: user, Password: "wrong-password-of-mine"}}, fixed{authn.Anonymous}} {
				r := open(t, s, "project/app", registry.Options{Keychain: k})
				_, err := r.Referrers(t.Context(), digest.FromString("x"))
				var denied *registry.DeniedError
				require.ErrorAs(t, err, &denied)
				require.NotContains(t, err.Error(), "wrong-password-of-mine")
				desc, _, content := blob(t, 10)
				_, err = r.PushBlob(t.Context(), desc, content, registry.BlobOptions{})
				require.ErrorAs(t, err, &denied)
			}
		})
	}
}

type fixed struct{ auth authn.Authenticator }

func (f fixed) Resolve(authn.Resource) (authn.Authenticator, error) { return f.auth, nil }

func TestImmutableTags(t *testing.T) {
	for kind, start := range All() {
		if kind == "distribution2" || kind == "distribution3" {
			continue // they have none
		}
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			s := start(t, Config{ImmutableTags: true, Exists: []string{"project/app", "project"}})
			r := open(t, s, "project/app", registry.Options{})
			config, _, content := blob(t, 10)
			_, err := r.PushBlob(t.Context(), config, content, registry.BlobOptions{})
			require.NoError(t, err)
			first, data := manifest(t, config, config, nil, "1")
			require.NoError(t, r.PutManifest(t.Context(), "v1", first.MediaType, data))
			require.NoError(t, r.PutManifest(t.Context(), "v1", first.MediaType, data), "the same again")
			second, other := manifest(t, config, config, nil, "2")
			err = r.PutManifest(t.Context(), "v1", second.MediaType, other)
			require.True(t, registry.IsImmutableTag(err) || kind == "plain", "%v", err)
			require.Error(t, err)
			require.False(t, registry.IsAbsentSubject(err))
			desc, err := r.Head(t.Context(), "v1")
			require.NoError(t, err)
			require.Equal(t, first.Digest, desc.Digest)
		})
	}
}

// Where repositories have to be made, the error says how.
func TestRepositoriesAreToBeMade(t *testing.T) {
	for kind, start := range map[string]func(t testing.TB, c Config) *Server{"ecr": ECR, "gar": GAR, "harbor": Harbor} {
		t.Run(kind, func(t *testing.T) {
			s := start(t, Config{})
			desc, _, content := blob(t, 10)
			r := open(t, s, "project/team/app", registry.Options{})
			_, err := r.PushBlob(t.Context(), desc, content, registry.BlobOptions{})
			var none *registry.NoRepositoryError
			require.ErrorAs(t, err, &none)
			require.Equal(t, s.Host+"/project/team/app", none.Repository)

			list, err := r.Referrers(t.Context(), desc.Digest)
			require.NoError(t, err, "what is not there has no referrers")
			require.Empty(t, list)

			// Many at a time make it once.
			r = open(t, s, "project/team/app", registry.Options{Create: s})
			var wg sync.WaitGroup
			for range 4 {
				desc, _, content := blob(t, 1000)
				wg.Go(func() {
					if _, err := r.PushBlob(t.Context(), desc, content, registry.BlobOptions{}); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
		})
	}
}

// What befalls the requests of a push, at real registries.
func TestRealRegistriesThroughFaults(t *testing.T) {
	once := func(method string, nth int, f fault.Fault) func() func(r *http.Request) fault.Fault {
		return func() func(r *http.Request) fault.Fault {
			n := 0
			return func(r *http.Request) fault.Fault {
				if r.Method == method && r.URL.Path != "/v2/" && r.URL.Path != "/token" {
					if n++; n == nth {
						return f
					}
				}
				return nil
			}
		}
	}
	unavailable := fault.Reply(http.StatusServiceUnavailable, http.Header{"Retry-After": {"1"}}, "")
	failed := func(w http.ResponseWriter, r *http.Request, forward http.Handler) {
		hold(forward, r)
		w.WriteHeader(http.StatusInternalServerError)
	}
	for kind, start := range map[string]func(t testing.TB, c Config) *Server{"distribution2": Distribution2, "distribution3": Distribution3} {
		t.Run(kind, func(t *testing.T) {
			s := start(t, Config{})
			for what, faults := range map[string]func() func(r *http.Request) fault.Fault{
				"login is cut":                        once(http.MethodHead, 1, fault.HangUp(0)),
				"upload cannot begin":                 once(http.MethodPost, 1, unavailable),
				"upload begins unseen":                once(http.MethodPost, 1, fault.LoseAnswer),
				"chunk is cut":                        once(http.MethodPatch, 2, fault.HangUp(1<<20)),
				"chunk is cut behind a proxy":         once(http.MethodPatch, 2, cutOnItsWay(5<<20)),
				"chunk arrives unseen":                once(http.MethodPatch, 2, fault.LoseAnswer),
				"chunk arrives and is a 500":          once(http.MethodPatch, 2, failed),
				"chunk is damaged":                    once(http.MethodPatch, 2, fault.Flip),
				"blob is done unseen":                 once(http.MethodPut, 1, fault.LoseAnswer),
				"blob is done and is a 500":           once(http.MethodPut, 1, failed),
				"small blob arrives unseen":           once(http.MethodPut, 2, fault.LoseAnswer),
				"manifest arrives unseen":             once(http.MethodPut, 3, fault.LoseAnswer),
				"manifest arrives and is a 500":       once(http.MethodPut, 3, failed),
				"manifest is throttled":               once(http.MethodPut, 3, unavailable),
				"blob is cut on its way back":         once(http.MethodGet, 1, fault.CutAnswer),
				"second part of it is cut as well":    once(http.MethodGet, 2, fault.CutAnswer),
				"small blob's beginning is throttled": once(http.MethodPost, 2, fault.Reply(http.StatusTooManyRequests, nil, "")),
			} {
				t.Run(what, func(t *testing.T) {
					s.Set(faults())
					r := open(t, s, fmt.Sprintf("project/app-%d", time.Now().UnixNano()), registry.Options{})
					layer, dt, content := blob(t, large)
					_, err := r.PushBlob(t.Context(), layer, content, registry.BlobOptions{})
					require.NoError(t, err)
					config, _, content := blob(t, 10)
					_, err = r.PushBlob(t.Context(), config, content, registry.BlobOptions{})
					require.NoError(t, err)
					image, data := manifest(t, config, layer, nil, "")
					require.NoError(t, r.PutManifest(t.Context(), "v1", image.MediaType, data))
					pull(t, r, layer, dt)
					desc, _, err := r.Manifest(t.Context(), "v1")
					require.NoError(t, err)
					require.Equal(t, image, desc)
					if kind == "distribution3" && goesOn[what] {
						require.Equal(t, 2, s.Count("POST"), "one upload for each blob")
					}
				})
			}
		})
	}
}

// goesOn are the faults after which distribution 3 says how far an upload has got, so that
// it goes on. Version 2.8 does not say it, and the upload begins anew.
var goesOn = map[string]bool{
	"chunk is cut": true, "chunk is cut behind a proxy": true, "chunk arrives unseen": true, "chunk arrives and is a 500": true,
}

// cutOnItsWay passes n bytes of a request's body on and then cuts both connections.
func cutOnItsWay(n int64) fault.Fault {
	return func(_ http.ResponseWriter, r *http.Request, forward http.Handler) {
		r.Body = io.NopCloser(io.MultiReader(io.LimitReader(r.Body, n), broken{}))
		defer func() {
			_ = recover() // the proxy's own way to hang up
			panic(http.ErrAbortHandler)
		}()
		hold(forward, r)
	}
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }
