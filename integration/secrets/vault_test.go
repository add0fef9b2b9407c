package secrets

import (
	"encoding/base64"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/client/secretstore"
	"github.com/temper-images/temper/integration/openbao"
)

func bao(t *testing.T, s *openbao.Server, method, path string, body any) map[string]any {
	t.Helper()
	data, err := s.Do(t.Context(), method, path, body)
	require.NoError(t, err)
	return data
}

// vaultEnv points the process at a server with the root token.
func vaultEnv(t *testing.T, s *openbao.Server) {
	t.Helper()
	for _, name := range []string{"VAULT_TOKEN_FILE", "VAULT_AUTH_METHOD", "VAULT_ROLE_ID", "VAULT_SECRET_ID", "VAULT_NAMESPACE"} {
		t.Setenv(name, "")
	}
	t.Setenv("VAULT_ADDR", s.Addr)
	t.Setenv("VAULT_TOKEN", openbao.Token)
}

type object = map[string]any

func TestVault(t *testing.T) {
	s := shared.vault
	vaultEnv(t, s)
	bao(t, s, "POST", "secret/data/team/app", object{"data": object{
		"password": planted, "pin": 12345678, "encoded": base64.StdEncoding.EncodeToString([]byte(planted)),
		"nested": object{"inner": planted + "-2"},
	}})
	bao(t, s, "POST", "secret/data/versions", object{"data": object{"password": planted + "-old"}})
	bao(t, s, "POST", "secret/data/versions", object{"data": object{"password": planted + "-new"}})
	bao(t, s, "POST", "secret/data/deleted", object{"data": object{"password": planted}})
	bao(t, s, "DELETE", "secret/data/deleted", nil)
	bao(t, s, "POST", "sys/mounts/kv1", object{"type": "kv", "options": object{"version": "1"}})
	bao(t, s, "POST", "kv1/app", object{"password": planted})

	for reference, want := range map[string]string{
		"ref+vault://secret/team/app#/password":                                         planted,
		"ref+vault://secret/team/app/password":                                          planted,
		"ref+vault://secret/team/app#/pin":                                              "12345678",
		"ref+vault://secret/team/app#/nested/inner":                                     planted + "-2",
		"ref+vault://secret/team/app/encoded?decode=base64":                             planted,
		"ref+vault://secret/versions#/password":                                         planted + "-new",
		"ref+vault://secret/versions?version=1#/password":                               planted + "-old",
		"ref+vault://kv1/app#/password":                                                 planted,
		"ref+vault://kv1/app?address=" + s.Addr + "#/password":                          planted,
		"ref+vault://kv1/app?proto=http&host=" + s.Addr[len("http://"):] + "#/password": planted,
		"Bearer ref+vault://kv1/app#/password":                                          "Bearer " + planted,
	} {
		resolves(t, reference, want)
	}
	fails(t, "ref+vault://secret/team/absent#/password", secretstore.ErrNotFound, "there is no secret at this path: check the mount and the path")
	fails(t, "ref+vault://secret/team/app#/absent", secretstore.ErrNotFound, "the secret has no such key")
	fails(t, "ref+vault://secret/team/app/absent", secretstore.ErrNotFound, "the secret has no such key")
	fails(t, "ref+vault://secret/team/app#/nested", secretstore.ErrUnusable, "the secret is a mapping or a list")
	fails(t, "ref+vault://secret/deleted#/password", secretstore.ErrNotFound, "the secret has no such key")
	fails(t, "ref+vault://secret/team/app/password?decode=base64", secretstore.ErrUnusable, "the value is not in base64")
	fails(t, "ref+vault://nomount/app#/password", secretstore.ErrDenied, "the server answered 403")
}

func TestVaultLogins(t *testing.T) {
	s := shared.vault
	vaultEnv(t, s)
	bao(t, s, "POST", "secret/data/allowed", object{"data": object{"password": planted}})
	bao(t, s, "POST", "secret/data/other", object{"data": object{"password": planted}})
	bao(t, s, "PUT", "sys/policies/acl/one", object{"policy": `path "secret/data/allowed" { capabilities = ["read"] }`})
	bao(t, s, "POST", "sys/auth/approle", object{"type": "approle"})
	bao(t, s, "POST", "auth/approle/role/ci", object{"token_policies": "one", "secret_id_num_uses": 1})
	role := bao(t, s, "GET", "auth/approle/role/ci/role-id", nil)["role_id"].(string)
	token := bao(t, s, "POST", "auth/token/create", object{"policies": []string{"one"}})["client_token"].(string)
	secretID := func() string {
		return bao(t, s, "POST", "auth/approle/role/ci/secret-id", nil)["secret_id"].(string)
	}

	t.Run("token", func(t *testing.T) {
		t.Setenv("VAULT_TOKEN", token)
		resolves(t, "ref+vault://secret/allowed#/password", planted)
		fails(t, "ref+vault://secret/other#/password", secretstore.ErrDenied, "permission denied")
	})
	t.Run("token of another variable", func(t *testing.T) {
		t.Setenv("VAULT_TOKEN", "")
		t.Setenv("TEMPER_TEST_VAULT", token)
		resolves(t, "ref+vault://secret/allowed?token_env=TEMPER_TEST_VAULT#/password", planted)
		fails(t, "ref+vault://secret/allowed?token_env=TEMPER_TEST_ABSENT#/password", secretstore.ErrSetup, `"TEMPER_TEST_ABSENT", but it isn't set`)
	})
	t.Run("token in a file", func(t *testing.T) {
		t.Setenv("VAULT_TOKEN", "")
		file := filepath.Join(t.TempDir(), "token")
		require.NoError(t, os.WriteFile(file, []byte(token), 0o600))
		resolves(t, "ref+vault://secret/allowed?token_file="+file+"#/password", planted)
		t.Setenv("VAULT_TOKEN_FILE", file)
		resolves(t, "ref+vault://secret/allowed#/password", planted)
		fails(t, "ref+vault://secret/allowed?token_file=/nowhere/token#/password", secretstore.ErrSetup, "/nowhere/token: no such file or directory")
	})
	t.Run("wrong token", func(t *testing.T) {
		t.Setenv("VAULT_TOKEN", "wrong-p1anted-token")
		fails(t, "ref+vault://secret/allowed#/password", secretstore.ErrDenied, "the server answered 403: permission denied")
	})
	t.Run("AppRole logs in once", func(t *testing.T) {
		t.Setenv("VAULT_TOKEN", "")
		t.Setenv("VAULT_AUTH_METHOD", "approle")
		t.Setenv("VAULT_ROLE_ID", role)
		t.Setenv("VAULT_SECRET_ID", secretID())
		r := store(t, secretstore.Options{})
		got, err := text(t, r, "ref+vault://secret/allowed#/password")
		require.NoError(t, err)
		require.Equal(t, planted, got)
		_, err = text(t, r, "ref+vault://secret/other#/password")
		require.ErrorIs(t, err, secretstore.ErrDenied)
		require.ErrorContains(t, err, "permission denied")
		// The secret ID was good for one login.
		fails(t, "ref+vault://secret/allowed#/password", secretstore.ErrDenied, "the login failed: the server answered 400: invalid role or secret ID: check VAULT_ROLE_ID, VAULT_SECRET_ID")
	})
	t.Run("AppRole by options", func(t *testing.T) {
		t.Setenv("VAULT_TOKEN", "")
		t.Setenv("VAULT_SECRET_ID", secretID())
		resolves(t, "ref+vault://secret/allowed?auth_method=approle&role_id="+role+"#/password", planted)
	})
}

func TestVaultFaults(t *testing.T) {
	s, err := openbao.Start(t.Context())
	require.NoError(t, err)
	defer s.Stop()
	vaultEnv(t, s)
	bao(t, s, "POST", "secret/data/app", object{"data": object{"password": planted}})
	const reference = "ref+vault://secret/app#/password"
	resolves(t, reference, planted)

	bao(t, s, http.MethodPut, "sys/seal", nil)
	fails(t, reference, secretstore.ErrUnavailable, "resolve "+reference+": Vault is sealed: unseal it, and run this again")
	require.NoError(t, s.Stop())
	fails(t, reference, secretstore.ErrUnavailable, "the store cannot be reached: dial tcp "+s.Addr[len("http://"):]+": connect: connection refused")

	t.Setenv("VAULT_ADDR", "http://no-such-host.invalid:8200")
	fails(t, reference, secretstore.ErrUnavailable, "no such host")
	t.Setenv("VAULT_ADDR", "https://"+shared.clouds.plain)
	fails(t, reference, secretstore.ErrUnavailable, "does not speak TLS")
	stranger := httptest.NewUnstartedServer(nil)
	stranger.Config.ErrorLog = log.New(io.Discard, "", 0)
	stranger.StartTLS()
	defer stranger.Close()
	t.Setenv("VAULT_ADDR", strings.Replace(stranger.URL, "127.0.0.1", "localhost", 1))
	fails(t, reference, secretstore.ErrUnavailable, "the store's certificate is not trusted: x509: ")
	t.Setenv("VAULT_ADDR", "http://"+shared.clouds.silent)
	_, err = text(t, store(t, secretstore.Options{Timeout: 100 * time.Millisecond}), reference)
	require.ErrorIs(t, err, secretstore.ErrTimeout)
	require.ErrorContains(t, err, "the store did not answer in time")
}
