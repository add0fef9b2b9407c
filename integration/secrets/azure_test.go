package secrets

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/temper-images/temper/client/secretstore"
)

const (
	azureTenant = "11111111-2222-3333-4444-555555555555"
	azureSecret = "p1anted-azure-client-secret"
	azureToken  = "p1anted-azure-access-token"
)

// azure stands in for Entra ID's login and for Key Vault.
type azure struct{}

func answer(w http.ResponseWriter, code int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(body)
}

func (*azure) login(w http.ResponseWriter, r *http.Request) {
	base := "https://login.microsoftonline.com/" + azureTenant
	switch {
	case strings.HasSuffix(r.URL.Path, "/discovery/instance"):
		answer(w, http.StatusOK, object{
			"tenant_discovery_endpoint": base + "/v2.0/.well-known/openid-configuration",
			"metadata": []object{{
				"preferred_network": "login.microsoftonline.com", "preferred_cache": "login.windows.net",
				"aliases": []string{"login.microsoftonline.com", "login.windows.net", "login.microsoft.com"},
			}},
		})
	case strings.HasSuffix(r.URL.Path, "/openid-configuration"):
		answer(w, http.StatusOK, object{
			"authorization_endpoint": base + "/oauth2/v2.0/authorize", "token_endpoint": base + "/oauth2/v2.0/token", "issuer": base + "/v2.0",
		})
	case strings.HasSuffix(r.URL.Path, "/oauth2/v2.0/token"):
		if r.FormValue("client_id") != "release" || r.FormValue("client_secret") != azureSecret || r.FormValue("scope") != "https://vault.azure.net/.default openid offline_access profile" {
			answer(w, http.StatusUnauthorized, object{
				"error": "invalid_client", "error_description": "AADSTS7000215: Invalid client secret provided: " + r.FormValue("client_secret"),
			})
			return
		}
		answer(w, http.StatusOK, object{"token_type": "Bearer", "expires_in": 3600, "access_token": azureToken})
	default:
		http.NotFound(w, r)
	}
}

func (*azure) vault(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Authorization") != "Bearer "+azureToken {
		w.Header().Set("WWW-Authenticate", `Bearer authorization="https://login.microsoftonline.com/`+azureTenant+`", resource="https://vault.azure.net"`)
		answer(w, http.StatusUnauthorized, object{"error": object{"code": "Unauthorized", "message": "no token"}})
		return
	}
	fail := func(status int, code string) {
		answer(w, status, object{"error": object{"code": code, "message": "p1anted words of the server"}})
	}
	switch r.URL.Path {
	case "/secrets/plain/":
		answer(w, http.StatusOK, object{"value": planted, "id": "https://team.vault.azure.net/secrets/plain/2"})
	case "/secrets/plain/1":
		answer(w, http.StatusOK, object{"value": planted + "-old", "id": "https://team.vault.azure.net/secrets/plain/1"})
	case "/secrets/document/":
		answer(w, http.StatusOK, object{"value": "a: {b: " + planted + "}"})
	case "/secrets/null/":
		answer(w, http.StatusOK, object{"id": "x"})
	case "/secrets/secret/":
		fail(http.StatusForbidden, "Forbidden")
	case "/secrets/wrong/":
		fail(http.StatusBadRequest, "BadParameter")
	default:
		fail(http.StatusNotFound, "SecretNotFound")
	}
}

func TestAzure(t *testing.T) {
	t.Setenv("AZURE_TENANT_ID", azureTenant)
	t.Setenv("AZURE_CLIENT_ID", "release")
	t.Setenv("AZURE_CLIENT_SECRET", azureSecret)
	t.Setenv("AZKV_AUTH", "")
	for reference, want := range map[string]string{
		"ref+azurekeyvault://team/plain":                 planted,
		"ref+azurekeyvault://team/plain/1":               planted + "-old",
		"ref+azurekeyvault://team.vault.azure.net/plain": planted,
		"ref+azurekeyvault://team/document#/a/b":         planted,
	} {
		resolves(t, reference, want)
	}
	fails(t, "ref+azurekeyvault://team/absent", secretstore.ErrNotFound, "Azure answered 404 SecretNotFound: check the vault, the name and the version")
	fails(t, "ref+azurekeyvault://team/secret", secretstore.ErrDenied, "Azure answered 403 Forbidden: check that the identity has the role Key Vault Secrets User")
	fails(t, "ref+azurekeyvault://team/wrong", secretstore.ErrFailed, "Azure answered 400 BadParameter")
	fails(t, "ref+azurekeyvault://team/null", secretstore.ErrFailed, "the provider broke off")
	fails(t, "ref+azurekeyvault://team/plain#/key", secretstore.ErrUnusable, "no YAML or JSON mapping")
	t.Run("wrong secret", func(t *testing.T) {
		t.Setenv("AZURE_CLIENT_SECRET", "another-p1anted-secret")
		fails(t, "ref+azurekeyvault://team/plain", secretstore.ErrDenied, "the login at Azure failed: AADSTS7000215: check AZURE_TENANT_ID")
	})
	t.Run("no credentials", func(t *testing.T) {
		for _, name := range []string{"AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET"} {
			t.Setenv(name, "")
		}
		t.Setenv("AZKV_AUTH", "cli")
		fails(t, "ref+azurekeyvault://team/plain", secretstore.ErrSetup, "no Azure credential could log in")
		t.Setenv("AZKV_AUTH", "unheard-of")
		fails(t, "ref+azurekeyvault://team/plain", secretstore.ErrSetup, "AZKV_AUTH has a value that is not known")
	})
}
