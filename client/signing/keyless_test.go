package signing

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestCheckToken(t *testing.T) {
	now := time.Now()
	require.NoError(t, checkToken(idToken(time.Hour), now))
	for name, c := range map[string]struct{ token, says string }{
		"expired":   {idToken(-time.Second), "it expired at"},
		"empty":     {"", "no signed JSON web token"},
		"no base64": {"a.!.c", "not base64url"},
		"no JSON":   {"a.YQ.c", "not JSON"},
		"no expiry": {"a.e30.c", "does not say when it expires"},
		"large":     {strings.Repeat("a", maxToken+1), "larger than"},
	} {
		t.Run(name, func(t *testing.T) {
			err := checkToken(c.token, now)
			require.ErrorContains(t, err, c.says)
			if len(c.token) > 10 {
				require.NotContains(t, err.Error(), c.token)
			}
		})
	}
}

func FuzzCheckToken(f *testing.F) {
	f.Add(idToken(time.Hour))
	f.Add("a.e30.c")
	f.Fuzz(func(t *testing.T, token string) {
		if err := checkToken(token, time.Now()); err != nil && len(token) > 40 {
			require.NotContains(t, err.Error(), token)
		}
	})
}

func TestTokenSource(t *testing.T) {
	for _, name := range []string{"SIGSTORE_ID_TOKEN", "ACTIONS_ID_TOKEN_REQUEST_TOKEN", "ACTIONS_ID_TOKEN_REQUEST_URL"} {
		t.Setenv(name, "")
		require.NoError(t, os.Unsetenv(name))
	}
	file := filepath.Join(t.TempDir(), "token")
	want := idToken(time.Hour)
	require.NoError(t, os.WriteFile(file, []byte(want+"\n"), 0o600))
	got, err := tokenSource{file: file}.get(t.Context())
	require.NoError(t, err)
	require.Equal(t, want, got)
	_, err = tokenSource{file: file + "s"}.get(t.Context())
	var identity *IdentityError
	require.ErrorAs(t, err, &identity)
	_, err = tokenSource{}.get(t.Context())
	require.ErrorAs(t, err, &identity)
	require.ErrorContains(t, err, "id-token: write")

	// GitHub Actions gives a token for a secret of the job.
	actions := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "bearer job-secret" || r.URL.Query().Get("audience") != "sigstore" {
			http.Error(w, "no", http.StatusForbidden)
			return
		}
		_, _ = w.Write([]byte(`{"value":"` + want + `"}`)) // the client went away
	}))
	t.Cleanup(actions.Close)
	t.Setenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "job-secret")
	t.Setenv("ACTIONS_ID_TOKEN_REQUEST_URL", actions.URL+"/?api-version=2")
	got, err = tokenSource{}.get(t.Context())
	require.NoError(t, err)
	require.Equal(t, want, got)
	t.Setenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "")
	t.Setenv("SIGSTORE_ID_TOKEN", want)
	got, err = tokenSource{}.get(t.Context())
	require.NoError(t, err)
	require.Equal(t, want, got)
}

// A certificate whose time is over is replaced before it ends, with a new token.
func TestCertificateIsRenewed(t *testing.T) {
	d := newVirtual(t)
	d.issued = 10*time.Minute - margin + time.Second
	s := d.open(t, d.options())
	require.EqualValues(t, 1, d.certified.Load())
	d.issued = 0
	for range 3 {
		_, err := s.SignBlob(t.Context(), []byte("x"))
		require.NoError(t, err)
	}
	require.EqualValues(t, 2, d.certified.Load())
}

func TestWrongClocks(t *testing.T) {
	for name, off := range map[string]time.Duration{"a day ahead": 24 * time.Hour, "a day behind": -24 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			d := newVirtual(t)
			d.issued = off
			_, err := Open(t.Context(), d.options())
			var service *ServiceError
			require.ErrorAs(t, err, &service)
			require.ErrorContains(t, err, "one of the clocks is wrong")
			require.ErrorContains(t, err, "certificate authority "+d.fulcio.URL)
		})
	}
}

// A log that answers nonsense, or another deployment's log, is found out before
// the bundle is handed out.
func TestLogThatLies(t *testing.T) {
	d := newVirtual(t)
	s := d.open(t, d.options())
	d.lies = `{"uuid":{}}`
	_, err := s.SignBlob(t.Context(), []byte("x"))
	require.ErrorContains(t, err, "transparency log "+d.rekor.URL)
	other := newVirtual(t)
	o := d.options()
	o.Sigstore.Rekor = other.rekor.URL
	d.lies = ""
	s = d.open(t, o)
	_, err = s.SignBlob(t.Context(), []byte("x"))
	var service *ServiceError
	require.ErrorAs(t, err, &service)
	require.ErrorContains(t, err, "does not verify what its servers made")
}

func TestDeploymentRefuses(t *testing.T) {
	t.Setenv("HOME", t.TempDir())
	token := idToken(time.Hour)
	for name, c := range map[string]struct {
		d    Deployment
		says string
	}{
		"no URL":        {Deployment{Fulcio: "fulcio.example.com", Rekor: "https://rekor.example.com"}, "is no address of a server"},
		"no such API":   {Deployment{Fulcio: "https://f.example.com", Rekor: "https://r.example.com", RekorVersion: 3}, "use 1 or 2"},
		"no time":       {Deployment{Fulcio: "https://f.example.com", Rekor: "https://r.example.com", RekorVersion: 2}, "a proof of its time"},
		"no config":     {Deployment{SigningConfig: "/nowhere/config.json"}, "no such file"},
		"bad config":    {Deployment{SigningConfig: rootFile(t, "{}")}, "signing configuration"},
		"TUF, no root":  {Deployment{TUFMirror: "https://tuf.example.com"}, "--tuf-root"},
		"TUF, bad root": {Deployment{TUFMirror: "http://127.0.0.1:1", TUFRoot: rootFile(t, "{}")}, "TUF repository http://127.0.0.1:1"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Open(t.Context(), Options{IDToken: token, Sigstore: c.d})
			require.ErrorContains(t, err, c.says)
		})
	}
	_, err := ParseTLog("maybe")
	require.Error(t, err)
}

func TestTransport(t *testing.T) {
	calls := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if calls++; calls < 3 {
			http.Error(w, "busy\nplease  wait", http.StatusTooManyRequests)
		}
	}))
	t.Cleanup(server.Close)
	client := &http.Client{Transport: newTransport(t.Context())}
	resp, err := client.Post(server.URL, "text/plain", strings.NewReader("x"))
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, 3, calls)
	calls = -10
	_, err = client.Post(server.URL, "text/plain", strings.NewReader("x"))
	require.ErrorContains(t, err, "429 Too Many Requests: busy please wait")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("enough"))
	_, err = call(ctx, time.Minute, "service", server.URL, func(ctx context.Context) (int, error) { return 0, ctx.Err() })
	require.ErrorContains(t, err, "enough")
}
