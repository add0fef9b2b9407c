package registry

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/stretchr/testify/require"
)

// Certificates that nobody vouches for are taken with Insecure only, as is HTTP from
// hosts that are not this one.
func TestInsecure(t *testing.T) {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v2/" {
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	n, err := name.NewRepository(strings.TrimPrefix(s.URL, "https://") + "/a")
	require.NoError(t, err)
	r, err := Open(t.Context(), n, Options{Retry: quick})
	require.NoError(t, err)
	_, err = r.Head(t.Context(), "v1")
	unreachable(t, err)
	r, err = Open(t.Context(), n, Options{Retry: quick, Insecure: true})
	require.NoError(t, err)
	_, err = r.Head(t.Context(), "v1")
	require.ErrorIs(t, err, ErrNotFound)

	n, err = name.NewRepository("registry.example.com/a")
	require.NoError(t, err)
	r, err = Open(t.Context(), n, Options{Insecure: true})
	require.NoError(t, err)
	require.Equal(t, "http", r.Name().Scheme())
	require.Equal(t, n.Name(), r.Name().Name())
}

// Blobs often lie elsewhere, at addresses with signatures: credentials do not go there,
// and the signatures do not come into errors.
func TestRedirects(t *testing.T) {
	const signature = "signature-of-storage"
	var status atomic.Int64
	var authorization atomic.Value
	status.Store(http.StatusOK)
	desc, dt, _ := content(t, 1000)
	storage := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		authorization.Store(r.Header.Get("Authorization"))
		w.WriteHeader(int(status.Load()))
		_, _ = w.Write(dt)
	}))
	t.Cleanup(storage.Close)
	s := newServer(t, nil)
	s.put(func(w http.ResponseWriter, req *http.Request, _ http.Handler) {
		if _, _, ok := req.BasicAuth(); !ok {
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		if strings.Contains(req.URL.Path, "/blobs/") {
			// Another name of the same machine, which is another host to clients.
			http.Redirect(w, req, strings.Replace(storage.URL, "127.0.0.1", "localhost", 1)+"/blob?sig="+signature, http.StatusTemporaryRedirect)
		}
	})
	r := s.open(t, "a", Options{Keychain: keychain{auth: &authn.Basic{Username: "u", Password: "p"}}})
	rc, err := r.Blob(t.Context(), desc)
	require.NoError(t, err)
	got, err := io.ReadAll(rc)
	require.NoError(t, err)
	require.Equal(t, dt, got)
	require.Empty(t, authorization.Load())

	for _, code := range []int64{http.StatusForbidden, http.StatusInternalServerError, http.StatusNotFound, http.StatusTeapot} {
		status.Store(code)
		_, err = r.Blob(t.Context(), desc)
		require.Error(t, err)
		require.NotContains(t, err.Error(), signature)
	}
	storage.Close()
	_, err = r.Blob(t.Context(), desc)
	unreachable(t, err)
	require.NotContains(t, err.Error(), signature)
}

type keychain struct {
	auth authn.Authenticator
	err  error
}

func (k keychain) Resolve(authn.Resource) (authn.Authenticator, error) { return k.auth, k.err }

func TestCredentialsThatCannotBeHad(t *testing.T) {
	s := newServer(t, nil)
	broken := errors.New("the helper is broken")
	_, err := s.open(t, "a", Options{Keychain: keychain{err: broken}}).Head(t.Context(), "v1")
	require.ErrorIs(t, err, broken)
	require.Zero(t, s.count(""), "nothing was asked without them")
}

// The right to push is asked for when it is needed.
func TestScopes(t *testing.T) {
	s := newServer(t, nil)
	var mu sync.Mutex
	var scopes []string
	s.put(func(w http.ResponseWriter, req *http.Request, next http.Handler) {
		switch {
		case req.URL.Path == "/token":
			mu.Lock()
			scopes = append(scopes, req.URL.Query()["scope"]...)
			mu.Unlock()
			fmt.Fprintf(w, `{"token":%q}`, base64.StdEncoding.EncodeToString([]byte(strings.Join(req.URL.Query()["scope"], " "))))
		case req.Header.Get("Authorization") == "":
			w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="http://%s/token",service="s"`, req.Host))
			w.WriteHeader(http.StatusUnauthorized)
		default:
			next.ServeHTTP(w, req)
		}
	})
	r := s.open(t, "a", Options{})
	_, err := r.HasBlob(t.Context(), nobody)
	require.NoError(t, err)
	desc, _, open := content(t, 10)
	_, err = r.PushBlob(t.Context(), desc, open, BlobOptions{})
	require.NoError(t, err)
	require.Equal(t, []string{"repository:a:pull", "repository:a:push,pull"}, scopes)

	scopes = nil
	r = s.open(t, "a", Options{Push: true})
	_, err = r.HasBlob(t.Context(), nobody)
	require.NoError(t, err)
	_, err = r.PushBlob(t.Context(), desc, open, BlobOptions{})
	require.NoError(t, err)
	require.Equal(t, []string{"repository:a:push,pull"}, scopes)
}

// A token server may fail as a registry may, and its answers are secret.
func TestTokenServers(t *testing.T) {
	for what, c := range map[string]struct {
		status int
		body   string
		check  func(t *testing.T, err error)
	}{
		"denied":           {http.StatusUnauthorized, `{"errors":[{"code":"UNAUTHORIZED","message":"incorrect username or password"}]}`, denied},
		"throttled":        {http.StatusTooManyRequests, "", unreachable},
		"broken":           {http.StatusInternalServerError, "", unreachable},
		"elsewhere":        {http.StatusNotFound, "", unreachable},
		"odd":              {http.StatusBadRequest, `{"errors":[{"code":"MANIFEST_UNKNOWN"}]}`, unreachable},
		"without a token":  {http.StatusOK, `{"refresh_token":"refresh-token-of-the-test"}`, unreachable},
		"not even an json": {http.StatusOK, `<refresh-token-of-the-test>`, unreachable},
	} {
		t.Run(what, func(t *testing.T) {
			s := newServer(t, nil)
			s.put(func(w http.ResponseWriter, req *http.Request, _ http.Handler) {
				if req.URL.Path == "/token" {
					w.WriteHeader(c.status)
					_, _ = io.WriteString(w, c.body)
					return
				}
				w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="http://%s/token",service="s"`, req.Host))
				w.WriteHeader(http.StatusUnauthorized)
			})
			r := s.open(t, "a", Options{})
			_, err := r.Referrers(t.Context(), nobody)
			c.check(t, err)
			require.NotContains(t, err.Error(), "refresh-token-of-the-test")
			require.NotContains(t, err.Error(), "?")
			require.NotErrorIs(t, err, ErrNotFound)
			require.False(t, IsAbsentSubject(err))
		})
	}
}

// Where no registry is, nothing is said of what it has.
func TestNoRegistry(t *testing.T) {
	s := newServer(t, nil)
	s.put(func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		http.Error(w, "404 page not found", http.StatusNotFound)
	})
	r := s.open(t, "a", Options{})
	_, err := r.Head(t.Context(), "v1")
	unreachable(t, err)
	require.NotErrorIs(t, err, ErrNotFound)
	_, err = r.Referrers(t.Context(), nobody)
	unreachable(t, err)
}

// Short-lived credentials are asked for again.
func TestLoginIsRenewed(t *testing.T) {
	n, err := name.NewRepository("registry.example.com/a")
	require.NoError(t, err)
	var asked atomic.Int64
	k := counting{&asked}
	auth, err := newLogin(t.Context(), k, n)
	require.NoError(t, err)
	for range 3 {
		cfg, err := authn.Authorization(t.Context(), auth)
		require.NoError(t, err)
		require.Equal(t, "1", cfg.Password)
	}
	auth.(*login).at = time.Now().Add(-2 * loginLife)
	cfg, err := authn.Authorization(t.Context(), auth)
	require.NoError(t, err)
	require.Equal(t, "2", cfg.Password)
}

type counting struct{ n *atomic.Int64 }

func (c counting) Resolve(authn.Resource) (authn.Authenticator, error) {
	return authn.FromConfig(authn.AuthConfig{Username: "u", Password: fmt.Sprint(c.n.Add(1))}), nil
}

// Who is told to wait has everybody wait, as long as was said.
func TestRetryAfterIsObeyed(t *testing.T) {
	s := newServer(t, nil)
	var mu sync.Mutex
	var quiet time.Time
	early := 0
	s.put(func(w http.ResponseWriter, req *http.Request, next http.Handler) {
		mu.Lock()
		defer mu.Unlock()
		switch {
		case req.URL.Path == "/v2/":
		case quiet.IsZero():
			quiet = time.Now().Add(time.Second)
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusTooManyRequests)
			return
		case time.Now().Before(quiet.Add(-50 * time.Millisecond)):
			early++
		}
		next.ServeHTTP(w, req)
	})
	var notices atomic.Int64
	r := s.open(t, "a", Options{Retry: Retry{Attempts: 3, Cap: time.Minute}, Notice: func(string) { notices.Add(1) }})
	_, err := r.HasBlob(t.Context(), nobody)
	require.NoError(t, err)
	require.Zero(t, early)
	require.EqualValues(t, 1, notices.Load())
}

func TestCancelledWhileWaiting(t *testing.T) {
	s := newServer(t, nil)
	s.put(func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		w.Header().Set("Retry-After", "3600")
		w.WriteHeader(http.StatusTooManyRequests)
	})
	ctx, cancel := context.WithCancel(t.Context())
	r := s.open(t, "a", Options{Retry: Retry{Attempts: 3, Cap: time.Hour}, Notice: func(string) { cancel() }})
	_, err := r.Tags(ctx)
	require.ErrorIs(t, err, context.Canceled)
}
