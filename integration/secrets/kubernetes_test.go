package secrets

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/client/secretstore"
)

const kubeToken = "p1anted-kubernetes-token"

// kube stands in for a Kubernetes API server.
type kube struct{}

func (*kube) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	fail := func(code int, reason, message string) {
		answer(w, code, object{"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "message": message, "code": code})
	}
	if r.Header.Get("Authorization") != "Bearer "+kubeToken {
		fail(http.StatusUnauthorized, "Unauthorized", "Unauthorized")
		return
	}
	// Servers send warnings, which client-go prints unless told otherwise.
	w.Header().Set("Warning", `299 - "this API is deprecated"`)
	switch strings.TrimPrefix(r.URL.Path, "/api/v1/namespaces/") {
	case "release/secrets/app":
		answer(w, http.StatusOK, object{
			"kind": "Secret", "apiVersion": "v1", "metadata": object{"name": "app", "namespace": "release"},
			"data": object{"password": base64.StdEncoding.EncodeToString([]byte(planted))},
		})
	case "release/configmaps/app":
		answer(w, http.StatusOK, object{"kind": "ConfigMap", "apiVersion": "v1", "metadata": object{"name": "app"}, "data": object{"url": "https://example.com"}})
	case "other/secrets/app":
		fail(http.StatusForbidden, "Forbidden", `secrets "app" is forbidden: User "system:serviceaccount:release:ci" cannot get resource "secrets" in API group "" in the namespace "other"`)
	default:
		fail(http.StatusNotFound, "NotFound", `secrets "absent" not found`)
	}
}

// kubeconfig writes a configuration for a server, as kubectl has it.
func kubeconfig(t *testing.T, address, token string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "config")
	require.NoError(t, os.WriteFile(file, fmt.Appendf(nil, `apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "https://%s", certificate-authority: %s}}]
users: [{name: u, user: {token: %s}}, {name: nobody, user: {token: wrong}}]
contexts: [{name: ci, context: {cluster: c, user: u}}, {name: nobody, context: {cluster: c, user: nobody}}]
current-context: ci
`, address, shared.clouds.authority, token), 0o600))
	return file
}

func TestKubernetes(t *testing.T) {
	file := kubeconfig(t, shared.clouds.secure, kubeToken)
	t.Setenv("KUBECONFIG", file)
	for reference, want := range map[string]string{
		"ref+k8s://v1/Secret/release/app/password":                        planted,
		"ref+k8s://v1/Secret/release/app#/password":                       planted,
		"ref+k8s://v1/Secret/release/app":                                 `{"password":"` + planted + `"}`,
		"ref+k8s://v1/ConfigMap/release/app/url":                          "https://example.com",
		"ref+k8s://v1/Secret/release/app/password?kubeContext=ci":         planted,
		"ref+k8s://v1/Secret/release/app/password?kubeConfigPath=" + file: planted,
	} {
		resolves(t, reference, want)
	}
	fails(t, "ref+k8s://v1/Secret/release/absent/x", secretstore.ErrNotFound, `secrets "absent" not found: check the namespace and the name`)
	fails(t, "ref+k8s://v1/Secret/release/app/absent", secretstore.ErrNotFound, "the secret has no such key")
	fails(t, "ref+k8s://v1/Secret/release/app#/absent", secretstore.ErrNotFound, "the secret has no such key")
	fails(t, "ref+k8s://v1/Secret/other/app/password", secretstore.ErrDenied, `cannot get resource "secrets"`)
	fails(t, "ref+k8s://v1/Secret/release/app/password?kubeContext=nobody", secretstore.ErrDenied, "Unauthorized")
	fails(t, "ref+k8s://v1/Secret/release/app/password?kubeContext=absent", secretstore.ErrSetup, `context "absent" does not exist`)
	fails(t, "ref+k8s://v1/Secret/release/app/password?kubeConfigPath=/nowhere", secretstore.ErrSetup, "path /nowhere does not exist")
	fails(t, "ref+k8s://v1/Pod/release/app/x", secretstore.ErrSetup, "only v1/Secret and v1/ConfigMap can be read")
	fails(t, "ref+k8s://v1/Secret/release/app/password?inCluster=true", secretstore.ErrSetup, "")
	t.Setenv("KUBECONFIG", kubeconfig(t, "127.0.0.1:1", kubeToken))
	fails(t, "ref+k8s://v1/Secret/release/app/password", secretstore.ErrUnavailable, "the store cannot be reached: dial tcp 127.0.0.1:1: connect: connection refused")
}
