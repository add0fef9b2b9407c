package publish

import (
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/client/publish"
	"github.com/temper-images/temper/client/registry"
	"github.com/temper-images/temper/integration/fault"
	"github.com/temper-images/temper/integration/registries"
)

// Each registry that behaves as a common one does gets the image whole, and never
// shows it unsigned.
func TestEachRegistry(t *testing.T) {
	for kind, start := range registries.All() {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			const repository = "team/project/app"
			s := start(t, registries.Config{Exists: []string{"team", "team/project", repository}, TokenUses: 100, PageSize: 2})
			private, key := newKey(t)
			var rec *Recorder
			s.Wrap(func(registry http.Handler) http.Handler {
				rec = RecordHandler(registry)
				return rec
			})
			img := newImage(t, kind)
			var mu sync.Mutex
			var notices []string
			r := &Release{Image: img, Tags: []string{s.Host + "/" + repository + ":1"}, Key: private, ArchTags: true, Attest: predicates, Retry: impatient,
				User: s.Username, Secret: s.Password, Notices: func(line string) {
					mu.Lock()
					defer mu.Unlock()
					notices = append(notices, line)
				}}
			result, err := r.Run(t.Context())
			require.NoError(t, err)
			published := result.Repositories[0]
			rules := Rules{Key: key, DigestFirst: published.Order == publish.OrderDigestFirst, Lists: published.ReferrersAPI}
			require.Empty(t, rules.Check(rec.Exchanges()))
			read, err := ReadAs(t.Context(), s.Host, repository, s.Username, s.Password)
			require.NoError(t, err)
			requireOnce(t, read, key, img, "1", len(predicates))
			if kind == "gitlab" {
				require.Equal(t, publish.OrderDigestFirst, published.Order)
				require.NotEmpty(t, published.FellBack)
				require.Contains(t, strings.Join(notices, "\n"), "by digest first", "a fall-back is told")
			} else {
				require.Equal(t, publish.OrderSignatureFirst, published.Order)
				require.Empty(t, published.FellBack)
			}
			for _, line := range notices {
				require.NotContains(t, line, "assword")
			}
		})
	}
}

// An order that is pinned is kept: where the registry refuses it, the release fails,
// and nothing of the image is there.
func TestPinnedOrder(t *testing.T) {
	s := registries.GitLab(t, registries.Config{Exists: []string{"team"}})
	private, _ := newKey(t)
	img := newImage(t, "pinned")
	r := &Release{Image: img, Tags: []string{s.Host + "/team/app:1"}, Key: private, Order: publish.OrderSignatureFirst, Retry: impatient,
		User: s.Username, Secret: s.Password}
	_, err := r.Run(t.Context())
	require.ErrorContains(t, err, "digest-first", "it says what to do")
	read, err := ReadAs(t.Context(), s.Host, "team/app", s.Username, s.Password)
	require.NoError(t, err)
	for _, d := range img.All {
		require.Empty(t, read.Digest(d.String()))
	}
	require.Empty(t, read.Tags())
	require.NoError(t, read.Err)
}

// first has what is asked for the first time fail: every manifest and every blob
// that is asked for or pushed, and of the first uploads that are begun so few that
// none fails more often than it is tried.
func first(f fault.Fault, methods string) func(*http.Request) fault.Fault {
	seen, uploads := map[string]bool{}, 0
	return func(r *http.Request) fault.Fault {
		what := r.Method + " " + r.URL.Path
		if d := r.URL.Query().Get("digest"); d != "" {
			what = r.Method + " " + d
		}
		failed := seen[what]
		if r.Method == http.MethodPost {
			uploads++
			failed = uploads%2 == 0 || uploads > 8
		}
		if failed || !strings.Contains(methods, r.Method) {
			return nil
		}
		seen[what] = true
		return f
	}
}

// accepted has the registry do what is asked, and answers that it failed.
func accepted(w http.ResponseWriter, r *http.Request, forward http.Handler) {
	forward.ServeHTTP(&answer{header: http.Header{}}, r)
	w.WriteHeader(http.StatusInternalServerError)
}

// Networks and servers fail in the middle, again and again: the release ends, and
// nothing is there twice.
func TestFaults(t *testing.T) {
	const writes, all = "POST PATCH PUT", "HEAD GET POST PATCH PUT"
	faults := map[string]func() func(*http.Request) fault.Fault{
		"hangs up":               func() func(*http.Request) fault.Fault { return first(fault.HangUp(0), all) },
		"hangs up in the middle": func() func(*http.Request) fault.Fault { return first(fault.HangUp(100), writes) },
		"loses answers":          func() func(*http.Request) fault.Fault { return first(fault.LoseAnswer, writes) },
		"cuts answers":           func() func(*http.Request) fault.Fault { return first(fault.CutAnswer, "GET") },
		"fails after accepting":  func() func(*http.Request) fault.Fault { return first(accepted, writes) },
		"fails": func() func(*http.Request) fault.Fault {
			return first(fault.Reply(http.StatusBadGateway, nil, "<html>"), all)
		},
		"throttles": func() func(*http.Request) fault.Fault {
			return first(fault.Reply(http.StatusTooManyRequests, http.Header{"Retry-After": {"1"}}, ""), all)
		},
	}
	for _, start := range []func(*testing.T) server{dockerRegistry, distribution, listing} {
		s := start(t)
		for name, choose := range faults {
			t.Run(s.name+" "+name, func(t *testing.T) {
				private, key := newKey(t)
				rec := record(t, s, Rules{Key: key})
				p := inFront(t, rec)
				p.Set(choose())
				img := newImage(t, name)
				repository := strings.ReplaceAll(name, " ", "-")
				r := &Release{Image: img, Tags: []string{p.Addr + "/" + repository + ":1"}, Key: private, Attest: predicates, Retry: impatient}
				_, err := r.Run(t.Context())
				require.NoError(t, err)
				requireOnce(t, Read(t.Context(), s.host, repository), key, img, "1", len(predicates))
			})
		}
	}
}

// A registry that throttles for good, or is gone in the middle, is unreachable, which
// is not the same as unsigned; and the next run ends the release.
func TestGoneInTheMiddle(t *testing.T) {
	s := dockerRegistry(t)
	private, key := newKey(t)
	for name, f := range map[string]fault.Fault{
		"throttled": fault.Reply(http.StatusTooManyRequests, nil, ""),
		"gone":      fault.HangUp(0),
	} {
		t.Run(name, func(t *testing.T) {
			rec := record(t, s, Rules{Key: key})
			p := inFront(t, rec)
			n := 0
			p.Set(func(*http.Request) fault.Fault {
				if n++; n > 60 {
					return f
				}
				return nil
			})
			img := newImage(t, name)
			r := &Release{Image: img, Tags: []string{p.Addr + "/" + name + ":1"}, Key: private, Attest: predicates, Retry: registry.Retry{Attempts: 2, Base: 1, Cap: 1}}
			_, err := r.Run(t.Context())
			var unreachable *registry.UnreachableError
			require.True(t, errors.As(err, &unreachable), "%v", err)
			require.Empty(t, Read(t.Context(), s.host, name).Tags())
			p.Set(nil)
			_, err = r.Run(t.Context())
			require.NoError(t, err)
			requireOnce(t, Read(t.Context(), s.host, name), key, img, "1", len(predicates))
		})
	}
}
