package publish_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	digest "github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/client/journal"
	"github.com/temper-images/temper/client/publish"
	"github.com/temper-images/temper/client/referrer"
	"github.com/temper-images/temper/client/registry"
)

// signedOrAbsent demands that no manifest of the image can be read without its
// signature, in each form.
func signedOrAbsent(t *testing.T, r *publish.Request, tag name.Tag) {
	t.Helper()
	repo, err := registry.Open(t.Context(), tag.Repository, registry.Options{Retry: quick})
	require.NoError(t, err)
	for _, m := range r.Image.Manifests {
		d := m.Descriptor.Digest
		if _, err := repo.Head(t.Context(), d.String()); err != nil {
			require.ErrorIs(t, err, registry.ErrNotFound)
			continue
		}
		got := stranger(t, key{verifier: r.Verifier}, tag, d)
		require.Equal(t, 1, got["bundle "+referrer.SignPredicate], "%s is there without a signature: %v", d, got)
		require.Equal(t, 1, got["sig "+referrer.SignPredicate], "%s is there without a signature: %v", d, got)
	}
}

// A release is ended at each of its requests in turn, before the registry sees it or
// after it did what was asked, and run again: it ends complete, with one signature,
// and in between no unsigned manifest can be read.
func TestEndedAnywhere(t *testing.T) {
	l := newLayout(t)
	amd := l.image("amd64")
	top := l.index(amd, l.attestation(amd.Digest))
	img, err := publish.Read(t.Context(), l.dir, top, false)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, img.Close()) })
	for _, kind := range []struct {
		name   string
		start  func(*testing.T) *fake
		refuse bool
	}{{"referrers API", withAPI, false}, {"no referrers API", without, false}, {"absent subjects refused", withAPI, true}} {
		for _, lost := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, answer lost %v", kind.name, lost), func(t *testing.T) {
				t.Parallel()
				for n, ended := 1, true; ended; n += 1 + n/20 {
					f := kind.start(t)
					ctx, cancel := context.WithCancel(t.Context())
					var mu sync.Mutex
					count := 0
					at := func() bool {
						mu.Lock()
						defer mu.Unlock()
						count++
						if count >= n {
							cancel()
							return true
						}
						return false
					}
					refuse := func(req *http.Request) int {
						if kind.refuse && req.Header.Get("User-Agent") != "Go-http-client/1.1" {
							return refuseAbsent(f)(req)
						}
						return 0
					}
					if lost {
						f.set(refuse, func(*http.Request, int) int {
							if at() {
								return dropped
							}
							return 0
						})
					} else {
						f.set(func(req *http.Request) int {
							if at() {
								return dropped
							}
							return refuse(req)
						}, nil)
					}
					state := t.TempDir()
					attempt := func(ctx context.Context) (*publish.Request, error) {
						// Each run makes its own attestations, like a new process.
						r := request(t, img, f.tag(t, "team/app:1.2"))
						j, err := journal.Open(t.Context(), "release", journal.Options{Dir: state})
						require.NoError(t, err)
						r.Journal = j
						defer func() { require.NoError(t, j.Close()) }()
						_, err = publish.Run(ctx, r)
						return r, err
					}
					r, err := attempt(ctx)
					ended = count >= n
					if ended && err != nil {
						require.ErrorIs(t, err, context.Canceled)
					} else {
						require.NoError(t, err)
					}
					cancel()
					all := f.exchanges()
					f.set(refuse, nil)
					if !kind.refuse {
						signedOrAbsent(t, r, r.Tags[0])
					}
					r, err = attempt(t.Context())
					require.NoError(t, err)
					whole(t, r, 0)
					// What the first run signed is what the second one pushed.
					pushed := map[string]bool{}
					for _, e := range append(all, f.exchanges()...) {
						ref := filepath.Base(e.path)
						if e.method == http.MethodPut && strings.HasPrefix(ref, "sha256:") && img.Manifest(digest.Digest(ref)) == nil {
							pushed[ref] = true
						}
					}
					require.Len(t, pushed, len(img.Manifests)+len(r.Attachments[amd.Digest]), "referrers, whole and half pushed")
					f.Close()
				}
			})
		}
	}
}

// Registries lose connections, fail after they did what was asked, and throttle.
func TestFaults(t *testing.T) {
	img := read(t, false)
	for name, fault := range map[string]func() int{
		"connections cut":      func() int { return dropped },
		"failed":               func() int { return http.StatusInternalServerError },
		"throttled":            func() int { return http.StatusTooManyRequests },
		"bad gateway sometime": func() int { return []int{0, http.StatusBadGateway}[rand.IntN(2)] },
	} {
		for kind, start := range map[string]func(*testing.T) *fake{"referrers API": withAPI, "no referrers API": without} {
			for _, after := range []bool{false, true} {
				if after && name == "throttled" {
					continue // no registry does what it throttles
				}
				t.Run(fmt.Sprintf("%s, %s, after it was done %v", name, kind, after), func(t *testing.T) {
					f := start(t)
					var mu sync.Mutex
					seen := map[string]bool{}
					once := func(req *http.Request) int {
						mu.Lock()
						defer mu.Unlock()
						what := req.Method + req.URL.Path
						if dir, _, upload := strings.Cut(what, "/uploads/"); upload {
							what = dir + req.URL.Query().Get("digest")
						}
						if seen[what] {
							return 0
						}
						seen[what] = true
						return fault()
					}
					if after {
						f.set(nil, func(req *http.Request, _ int) int { return once(req) })
					} else {
						f.set(once, nil)
					}
					r := request(t, img, f.tag(t, "team/app:1.2"))
					_, err := publish.Run(t.Context(), r)
					require.NoError(t, err)
					f.set(nil, nil)
					whole(t, r, 0)
				})
			}
		}
	}
}

// Two releases of the same image, each with its own signer, write at once: the
// signatures and attestations of both are there.
func TestTwoAtOnce(t *testing.T) {
	other, err := newKey(t.Context(), t.TempDir())
	require.NoError(t, err)
	img := read(t, false)
	for name, start := range map[string]func(*testing.T) *fake{"referrers API": withAPI, "no referrers API": without} {
		t.Run(name, func(t *testing.T) {
			for range 5 {
				f := start(t)
				f.set(func(*http.Request) int {
					time.Sleep(time.Duration(rand.IntN(3)) * time.Millisecond)
					return 0
				}, nil)
				both := []*publish.Request{
					requestBy(t, shared(t), img, f.tag(t, "team/app:1.2")),
					requestBy(t, other, img, f.tag(t, "team/app:1.2")),
				}
				errs := make([]error, len(both))
				var wg sync.WaitGroup
				for i, r := range both {
					wg.Go(func() { _, errs[i] = publish.Run(t.Context(), r) })
				}
				wg.Wait()
				for i, r := range both {
					require.NoError(t, errs[i])
					whole(t, r, 1)
				}
				f.Close()
			}
		})
	}
}

// A tag stays what it is, unless it may move.
func TestTagExists(t *testing.T) {
	f := without(t)
	first := request(t, read(t, false), f.tag(t, "team/app:1.2"))
	_, err := publish.Run(t.Context(), first)
	require.NoError(t, err)

	second := request(t, read(t, true), f.tag(t, "team/app:1.2"))
	f.set(nil, nil)
	_, err = publish.Run(t.Context(), second)
	var exists *publish.TagExistsError
	require.ErrorAs(t, err, &exists)
	require.Equal(t, first.Image.Top.Digest, exists.Has)
	require.Equal(t, second.Image.Top.Digest, exists.Want)
	require.ErrorContains(t, err, "--move-tag")
	require.Empty(t, f.writes(), "nothing is pushed")

	second.MoveTags = true
	result, err := publish.Run(t.Context(), second)
	require.NoError(t, err)
	whole(t, second, 0)
	last := result.Repositories[0].Tags[2]
	require.Equal(t, publish.Tagged{Tag: "1.2", Digest: second.Image.Top.Digest, Was: first.Image.Top.Digest}, last)
}

// Another release may write the tag while this one pushes.
func TestTagWrittenMeanwhile(t *testing.T) {
	f := without(t)
	other := request(t, read(t, true), f.tag(t, "team/app:1.2"))
	other.ArchTags = false
	r := request(t, read(t, false), f.tag(t, "team/app:1.2"))
	var once sync.Once
	sign := r.Sign
	r.Sign = func(ctx context.Context, reference string, d ocispecs.Descriptor) (referrer.Signed, error) {
		once.Do(func() {
			_, err := publish.Run(ctx, other)
			require.NoError(t, err)
		})
		return sign(ctx, reference, d)
	}
	_, err := publish.Run(t.Context(), r)
	var exists *publish.TagExistsError
	require.ErrorAs(t, err, &exists)
	repo, err := registry.Open(t.Context(), r.Tags[0].Repository, registry.Options{})
	require.NoError(t, err)
	d, err := repo.Head(t.Context(), "1.2")
	require.NoError(t, err)
	require.Equal(t, other.Image.Top.Digest, d.Digest)
}

// Nothing becomes visible that the caller does not accept.
func TestNotAccepted(t *testing.T) {
	for _, order := range []publish.Order{publish.OrderAuto, publish.OrderDigestFirst} {
		t.Run(string(order), func(t *testing.T) {
			f := withAPI(t)
			r := request(t, read(t, false), f.tag(t, "team/app:1.2"))
			r.Order = order
			seen := map[digest.Digest]bool{}
			var mu sync.Mutex
			r.Verify = func(_ context.Context, d ocispecs.Descriptor, found *referrer.Found) error {
				mu.Lock()
				defer mu.Unlock()
				seen[d.Digest] = true
				if d.Digest == r.Image.Top.Digest {
					return fmt.Errorf("not good enough: %d entries", len(found.Entries))
				}
				return nil
			}
			_, err := publish.Run(t.Context(), r)
			var back *publish.ReadBackError
			require.ErrorAs(t, err, &back)
			require.ErrorContains(t, err, "not good enough: 2 entries")
			for _, ref := range f.writes() {
				require.NotContains(t, ref, "1.2", "no tag")
				if order == publish.OrderAuto {
					require.Nil(t, r.Image.Manifest(digest.Digest(ref)), "no manifest")
				}
			}
			require.True(t, seen[r.Image.Top.Digest])
		})
	}
}

// A signer that signs with another key than the verifier accepts makes nothing
// visible.
func TestWrongSigner(t *testing.T) {
	other, err := newKey(t.Context(), t.TempDir())
	require.NoError(t, err)
	f := withAPI(t)
	r := request(t, read(t, false), f.tag(t, "team/app:1.2"))
	r.Verifier = other.verifier
	_, err = publish.Run(t.Context(), r)
	var bad *publish.RequestError
	require.ErrorAs(t, err, &bad, "attestations are by another key")

	r.Attachments = nil
	_, err = publish.Run(t.Context(), r)
	require.ErrorContains(t, err, "sign")
	for _, ref := range f.writes() {
		require.False(t, strings.HasPrefix(ref, "sha256:") && r.Image.Manifest(digest.Digest(ref)) != nil, "no manifest")
	}
}
