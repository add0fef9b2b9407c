package cloudkms

import (
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"maps"
	"math/big"
	"net/http"
	"strings"
)

// AzureKey names the key for temper and cosign.
const AzureKey = "azurekms://" + azureVault + "/k"

const (
	azureVault  = "temper.vault.azure.net"
	azureTenant = "11111111-2222-3333-4444-555555555555"
)

func (c *Cloud) setUpAzure() {
	maps.Copy(c.env, map[string]string{"AZURE_TENANT_ID": azureTenant, "AZURE_CLIENT_ID": "client", "AZURE_CLIENT_SECRET": "azure-secret-that-nobody-prints"})
}

func reply(w http.ResponseWriter, code int, document any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(document) // the client went away
}

// azureLogin answers as Microsoft Entra ID does.
func azureLogin(w http.ResponseWriter, r *http.Request) {
	const host = "https://login.microsoftonline.com/"
	tenant := host + azureTenant
	switch {
	case strings.HasSuffix(r.URL.Path, "/discovery/instance"):
		reply(w, http.StatusOK, map[string]any{"tenant_discovery_endpoint": tenant + "/v2.0/.well-known/openid-configuration", "metadata": []map[string]any{{
			"preferred_network": "login.microsoftonline.com", "preferred_cache": "login.windows.net", "aliases": []string{"login.microsoftonline.com"},
		}}})
	case strings.HasSuffix(r.URL.Path, "/openid-configuration"):
		reply(w, http.StatusOK, map[string]any{"token_endpoint": tenant + "/oauth2/v2.0/token", "authorization_endpoint": tenant + "/oauth2/v2.0/authorize", "issuer": tenant + "/v2.0"})
	case strings.HasSuffix(r.URL.Path, "/token") && r.FormValue("client_secret") == "azure-secret-that-nobody-prints":
		reply(w, http.StatusOK, map[string]any{"access_token": "azure-token", "token_type": "Bearer", "expires_in": 3600})
	default:
		reply(w, http.StatusUnauthorized, map[string]any{"error": "invalid_client", "error_description": "no"})
	}
}

// azure answers as Key Vault does (7.x).
func (c *Cloud) azure(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Authorization") != "Bearer azure-token" {
		w.Header().Set("WWW-Authenticate", `Bearer authorization="https://login.microsoftonline.com/`+azureTenant+`", resource="https://vault.azure.net"`)
		reply(w, http.StatusUnauthorized, map[string]any{"error": map[string]string{"code": "Unauthorized", "message": "no token"}})
		return
	}
	if c.isDown() {
		reply(w, http.StatusForbidden, map[string]any{"error": map[string]string{"code": "Forbidden", "message": "out of order"}})
		return
	}
	const id = "https://" + azureVault + "/keys/k/1"
	if r.Method == http.MethodGet && strings.HasPrefix(r.URL.Path, "/keys/k") {
		point, err := c.Key.PublicKey.Bytes()
		if err != nil {
			reply(w, http.StatusInternalServerError, nil)
			return
		}
		reply(w, http.StatusOK, map[string]any{"key": map[string]any{
			"kid": id, "kty": "EC", "crv": "P-256", "key_ops": []string{"sign", "verify"},
			"x": base64.RawURLEncoding.EncodeToString(point[1:33]), "y": base64.RawURLEncoding.EncodeToString(point[33:]),
		}, "attributes": map[string]any{"enabled": true}})
		return
	}
	var in struct{ Alg, Value string }
	digest := []byte(nil)
	err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20)).Decode(&in)
	if err == nil {
		digest, err = base64.RawURLEncoding.DecodeString(in.Value)
	}
	if err != nil || !strings.HasSuffix(r.URL.Path, "/sign") || in.Alg != "ES256" {
		reply(w, http.StatusBadRequest, map[string]any{"error": map[string]string{"code": "BadParameter", "message": "no"}})
		return
	}
	sig, err := c.sign("azure", digest)
	var numbers struct{ R, S *big.Int }
	if err == nil {
		_, err = asn1.Unmarshal(sig, &numbers)
	}
	if err != nil {
		reply(w, http.StatusInternalServerError, nil)
		return
	}
	// RFC 7518, section 3.4: the two numbers one after the other.
	raw := append(numbers.R.FillBytes(make([]byte, 32)), numbers.S.FillBytes(make([]byte, 32))...)
	reply(w, http.StatusOK, map[string]any{"kid": id, "value": base64.RawURLEncoding.EncodeToString(raw)})
}
