// Package secrets tests secret references and logins against servers: OpenBao,
// a registry, and stand-ins for the clouds' stores that check who asks.
package secrets

import (
	"context"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/client/redact"
	"github.com/temper-images/temper/client/secretref"
	"github.com/temper-images/temper/client/secretstore"
	"github.com/temper-images/temper/integration/openbao"
)

// planted is in every secret. Nothing but the one who asked may see it.
const planted = "p1anted-53cret/with+chars"

var shared struct {
	vault  *openbao.Server
	clouds *clouds
}

// The stores' libraries read proxies and certificate authorities once for each
// process, so they are there before anything runs.
func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	fail := func(err error) int {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	dir, err := os.MkdirTemp("", "temper-secrets-")
	if err != nil {
		return fail(err)
	}
	defer os.RemoveAll(dir)
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	if shared.clouds, err = startClouds(dir); err != nil {
		return fail(err)
	}
	defer shared.clouds.stop()
	for name, value := range map[string]string{
		"HOME": dir, "HTTPS_PROXY": shared.clouds.proxy, "SSL_CERT_FILE": shared.clouds.authority, "SSL_CERT_DIR": dir,
		"NO_PROXY": "", "no_proxy": "", "VAULT_MAX_RETRIES": "0", "AWS_EC2_METADATA_DISABLED": "true", "AWS_MAX_ATTEMPTS": "1",
	} {
		if err := os.Setenv(name, value); err != nil {
			return fail(err)
		}
	}
	if shared.vault, err = openbao.Start(ctx); err != nil {
		return fail(err)
	}
	defer shared.vault.Stop()

	// What a provider prints goes past every filter, so none may print anything.
	printed, err := os.CreateTemp(dir, "stderr-")
	if err != nil {
		return fail(err)
	}
	before, err := syscall.Dup(2)
	if err != nil {
		return fail(err)
	}
	if err := syscall.Dup3(int(printed.Fd()), 2, 0); err != nil {
		return fail(err)
	}
	code := m.Run()
	if err := syscall.Dup3(before, 2, 0); err != nil {
		return fail(err)
	}
	dt, err := os.ReadFile(printed.Name())
	if err != nil {
		return fail(err)
	}
	if len(dt) > 0 {
		return fail(fmt.Errorf("the stores' libraries printed to standard error:\n%s", dt))
	}
	return code
}

// store is a resolver, and what it must keep quiet about.
func store(t *testing.T, o secretstore.Options) *secretstore.Resolver {
	t.Helper()
	if o.Secrets == nil {
		o.Secrets = &redact.Redactor{}
	}
	if o.Timeout == 0 {
		o.Timeout = 20 * time.Second
	}
	r := secretstore.NewResolver(o)
	t.Cleanup(r.Close)
	return r
}

func text(t *testing.T, r *secretstore.Resolver, reference string) (string, error) {
	t.Helper()
	v, err := secretref.Parse(reference)
	require.NoError(t, err)
	return r.Text(t.Context(), v)
}

// resolves checks that a reference gives the value, and that the run's redactor knows it.
func resolves(t *testing.T, reference, want string) {
	t.Helper()
	known := &redact.Redactor{}
	got, err := text(t, store(t, secretstore.Options{Secrets: known}), reference)
	require.NoError(t, err, reference)
	require.Equal(t, want, got, reference)
	require.True(t, known.Contains("it is "+got), reference)
}

// fails checks how a reference fails, and that the error holds no secret.
func fails(t *testing.T, reference string, kind error, want string) {
	t.Helper()
	_, err := text(t, store(t, secretstore.Options{}), reference)
	require.Error(t, err, reference)
	require.ErrorIs(t, err, kind, "%s: %v", reference, err)
	require.Contains(t, err.Error(), want, reference)
	require.NotContains(t, err.Error(), "p1anted", reference)
	require.NotContains(t, err.Error(), "\n", reference)
	require.Less(t, len(err.Error()), 500, reference)
	require.True(t, strings.HasPrefix(err.Error(), "resolve ref+"), err.Error())
}
