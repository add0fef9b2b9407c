package secretstore_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/client/redact"
	"github.com/temper-images/temper/client/secretref"
	"github.com/temper-images/temper/client/secretstore"
)

const planted = "hunter22-and-more"

func resolver(t *testing.T, o secretstore.Options) *secretstore.Resolver {
	t.Helper()
	r := secretstore.NewResolver(o)
	t.Cleanup(r.Close)
	return r
}

func text(t *testing.T, r *secretstore.Resolver, s string) (string, error) {
	t.Helper()
	v, err := secretref.Parse(s)
	require.NoError(t, err)
	return r.Text(t.Context(), v)
}

func write(t *testing.T, content string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(file, []byte(content), 0o600))
	return file
}

func TestFilesAndEnvironment(t *testing.T) {
	file := write(t, "a: {b: "+planted+"}\nnumber: 12345\nyes: true\nfraction: 1.50\nnothing: null\nempty: ''\nlist: [1]\n")
	t.Setenv("TEMPER_TEST_VALUE", planted)
	t.Setenv("TEMPER_TEST_JSON", `{"inner": {"key": "`+planted+`"}}`)
	t.Setenv("TEMPER_TEST_EMPTY", "")
	known := &redact.Redactor{}
	r := resolver(t, secretstore.Options{Secrets: known})
	for in, want := range map[string]string{
		"ref+file://" + write(t, planted):                       planted,
		"ref+file://" + write(t, planted) + "?encode=base64":    base64.StdEncoding.EncodeToString([]byte(planted)),
		"ref+file://" + file + "#/a/b":                          planted,
		"ref+file://" + file + "#/number":                       "12345",
		"ref+file://" + file + "#/yes":                          "true",
		"ref+env://TEMPER_TEST_VALUE":                           planted,
		"ref+env://TEMPER_TEST_JSON#/inner/key":                 planted,
		"ref+envsubst://$TEMPER_TEST_VALUE":                     planted,
		"ref+envsubst://${TEMPER_TEST_VALUE}-x":                 planted + "-x",
		"Bearer ref+env://TEMPER_TEST_VALUE":                    "Bearer " + planted,
		"https://ref+env://TEMPER_TEST_VALUE+.example.com/path": "https://" + planted + ".example.com/path",
		"no reference": "no reference",
	} {
		got, err := text(t, r, in)
		require.NoError(t, err, in)
		require.Equal(t, want, got, in)
	}
	require.Equal(t, "it is «redacted»", known.String("it is "+planted))
	require.Equal(t, "no reference", known.String("no reference"))

	for in, want := range map[string]struct {
		kind error
		text string
	}{
		"ref+file:///nowhere/at/all":                            {secretstore.ErrNotFound, "resolve ref+file:///nowhere/at/all: /nowhere/at/all: no such file or directory"},
		"ref+file:///dev/zero":                                  {secretstore.ErrUnusable, "/dev/zero is not a regular file"},
		"ref+file://" + t.TempDir():                             {secretstore.ErrUnusable, "is not a regular file"},
		"ref+file://" + write(t, ""):                            {secretstore.ErrUnusable, "the secret is empty"},
		"ref+file://" + write(t, strings.Repeat("x", 64<<10+1)): {secretstore.ErrUnusable, "has 65537 bytes, and at most 65536 are read"},
		"ref+file://" + write(t, planted) + "#/a":               {secretstore.ErrUnusable, "no YAML or JSON mapping: leave out the part after #"},
		"ref+file://" + file + "#/a/c":                          {secretstore.ErrNotFound, "the secret has no such key"},
		"ref+file://" + file + "#/number/c":                     {secretstore.ErrNotFound, "there is no mapping at #/number"},
		"ref+file://" + file + "#/fraction":                     {secretstore.ErrUnusable, "a number with a fraction"},
		"ref+file://" + file + "#/nothing":                      {secretstore.ErrUnusable, "the secret is null"},
		"ref+file://" + file + "#/empty":                        {secretstore.ErrUnusable, "the secret is empty"},
		"ref+file://" + file + "#/a":                            {secretstore.ErrUnusable, "the secret is a mapping or a list: name a key in it"},
		"ref+file://" + file + "#/list":                         {secretstore.ErrUnusable, "the secret is a mapping or a list"},
		"ref+env://TEMPER_TEST_ABSENT":                          {secretstore.ErrNotFound, "the environment has no variable TEMPER_TEST_ABSENT: export it"},
		"ref+env://TEMPER_TEST_EMPTY":                           {secretstore.ErrUnusable, "the secret is empty"},
		"ref+envsubst://$TEMPER_TEST_ABSENT":                    {secretstore.ErrUnusable, "the secret is empty"},
	} {
		_, err := text(t, r, in)
		var e *secretstore.Error
		require.ErrorAs(t, err, &e, in)
		require.ErrorIs(t, err, want.kind, "%s: %v", in, err)
		require.Contains(t, err.Error(), want.text, in)
		require.NotContains(t, err.Error(), "hunter", in)
	}
}

func TestSecretIsWiped(t *testing.T) {
	known := &redact.Redactor{}
	r := secretstore.NewResolver(secretstore.Options{Secrets: known})
	v, err := secretref.Parse("a literal password")
	require.NoError(t, err)
	s, err := r.Secret(t.Context(), v)
	require.NoError(t, err)
	require.Equal(t, "a literal password", s.Reveal())
	require.Equal(t, "«redacted»", known.String("a literal password"), "secret as a whole")
	r.Close()
	require.Empty(t, s.Reveal())
	_, err = r.Secret(t.Context(), v)
	require.ErrorIs(t, err, secretstore.ErrClosed)
	_, err = text(t, r, "ref+env://PATH")
	require.ErrorIs(t, err, secretstore.ErrClosed)
	r.Close()
}

func TestAllowedProviders(t *testing.T) {
	t.Setenv("TEMPER_TEST_VALUE", planted)
	_, err := text(t, resolver(t, secretstore.Options{Providers: []string{"file"}}), "ref+env://TEMPER_TEST_VALUE")
	require.EqualError(t, err, "resolve ref+env://TEMPER_TEST_VALUE: this provider is not allowed here: allowed: file")
	_, err = text(t, resolver(t, secretstore.Options{Providers: []string{}}), "ref+env://TEMPER_TEST_VALUE")
	require.ErrorIs(t, err, secretstore.ErrSetup)
}

// vaultServer answers as the handler says, and counts reads of secrets.
func vaultServer(t *testing.T, handler http.HandlerFunc) (reads *atomic.Int32) {
	t.Helper()
	reads = &atomic.Int32{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/v1/sys/internal/ui/mounts/") {
			fmt.Fprint(w, `{"data": {"path": "kv/", "options": {"version": "1"}}}`)
			return
		}
		reads.Add(1)
		handler(w, r)
	}))
	t.Cleanup(s.Close)
	t.Setenv("VAULT_ADDR", s.URL)
	t.Setenv("VAULT_TOKEN", "token-"+planted)
	t.Setenv("VAULT_MAX_RETRIES", "0")
	return reads
}

// Whoever asks, at whatever time, a document is fetched once.
func TestFetchedOnce(t *testing.T) {
	reads := vaultServer(t, func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"data": {"a": "first value", "b": "second value", "pin": 12345678901234567890}}`)
	})
	r := resolver(t, secretstore.Options{})
	var group sync.WaitGroup
	for range 8 {
		for key, want := range map[string]string{"a": "first value", "b": "second value", "pin": "12345678901234567890"} {
			group.Go(func() {
				got, err := text(t, r, "ref+vault://kv/app#/"+key)
				if err != nil || got != want {
					t.Errorf("%s: %q, %v", key, got, err)
				}
			})
		}
	}
	group.Wait()
	require.EqualValues(t, 1, reads.Load())
}

func TestFailureIsNotKept(t *testing.T) {
	down := true
	reads := vaultServer(t, func(w http.ResponseWriter, _ *http.Request) {
		if down {
			http.Error(w, `{"errors": ["internal error of token-`+planted+`"]}`, http.StatusInternalServerError)
			return
		}
		fmt.Fprint(w, `{"data": {"a": "`+planted+`"}}`)
	})
	r := resolver(t, secretstore.Options{})
	_, err := text(t, r, "ref+vault://kv/app#/a")
	require.EqualError(t, err, "resolve ref+vault://kv/app#/a: the server answered 500: internal error of «redacted»: check the server's own log")
	down = false
	got, err := text(t, r, "ref+vault://kv/app#/a")
	require.NoError(t, err)
	require.Equal(t, planted, got)
	require.EqualValues(t, 2, reads.Load())
}

// A provider that panics, here on a login without an answer, fails like any other.
func TestProviderPanics(t *testing.T) {
	vaultServer(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	_, err := text(t, resolver(t, secretstore.Options{}), "ref+vault://kv/app?auth_method=approle&role_id=x#/a")
	require.ErrorIs(t, err, secretstore.ErrFailed)
	require.ErrorContains(t, err, "the provider broke off")

	// vals panics with the error when AWS' configuration cannot be read.
	t.Setenv("AWS_CONFIG_FILE", write(t, "[profile broken\n"))
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	_, err = text(t, resolver(t, secretstore.Options{}), "ref+awssecrets://x?region=eu-west-1&profile=absent")
	require.ErrorIs(t, err, secretstore.ErrSetup)
}

func TestTimeoutAndCancellation(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer silent.Close()
	t.Setenv("VAULT_ADDR", "http://"+silent.Addr().String())
	t.Setenv("VAULT_TOKEN", planted)

	_, err = text(t, resolver(t, secretstore.Options{Timeout: 50 * time.Millisecond}), "ref+vault://kv/app#/a")
	require.ErrorIs(t, err, secretstore.ErrTimeout)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.EqualError(t, err, "resolve ref+vault://kv/app#/a: the store did not answer in time: check that it runs and can be reached from here")

	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(20*time.Millisecond, cancel)
	v, err := secretref.Parse("ref+vault://kv/app#/a")
	require.NoError(t, err)
	_, err = resolver(t, secretstore.Options{}).Text(ctx, v)
	require.ErrorIs(t, err, context.Canceled)
}

func TestSurroundings(t *testing.T) {
	t.Setenv("HOME", t.TempDir())
	for _, name := range []string{"VAULT_ADDR", "VAULT_AGENT_ADDR", "KUBECONFIG", "AWS_CONFIG_FILE", "GOOGLE_APPLICATION_CREDENTIALS", "GCP_PROJECT"} {
		t.Setenv(name, "")
	}
	r := resolver(t, secretstore.Options{})
	for in, want := range map[string]string{
		"ref+vault://kv/app#/a": "no address of Vault is set: set VAULT_ADDR",
		"ref+vault://kv/app?address=https://127.0.0.1.example.com#/a": "has 127.0.0.1 in it but is another machine's",
		"ref+vault://kv/app?host=127.0.0.1.example.com#/a":            "has 127.0.0.1 in it but is another machine's",
		"ref+vault://kv/app?address=https://u:hunter22@vault#/a":      "Vault's address holds a user or a password",
		"ref+awssecrets://x?profile=absent":                           `there is no AWS profile "absent"`,
		"ref+k8s://v1/Secret/a/b/c":                                   "set KUBECONFIG",
		"ref+gcpsecrets://x":                                          "the reference names no project",
	} {
		_, err := text(t, r, in)
		require.ErrorIs(t, err, secretstore.ErrSetup, in)
		require.ErrorContains(t, err, want, in)
		require.NotContains(t, err.Error(), "hunter22")
	}
	t.Setenv("AWS_SDK_GO_LOG_LEVEL", "verbose")
	_, err := text(t, r, "ref+awsssm://a/b")
	require.ErrorContains(t, err, "AWS_SDK_GO_LOG_LEVEL would have the AWS SDK print secrets: unset it")
}
