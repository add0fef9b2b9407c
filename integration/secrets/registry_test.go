package secrets

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/client/credentials"
	"github.com/temper-images/temper/client/redact"
	"github.com/temper-images/temper/client/secretref"
	"github.com/temper-images/temper/client/secretstore"
	"github.com/temper-images/temper/integration/registry"
)

// A registry with passwords lets in who has one by a reference, from Docker's
// configuration or from a credential helper, and nobody else.
func TestRegistryLogin(t *testing.T) {
	vaultEnv(t, shared.vault)
	bao(t, shared.vault, "POST", "secret/data/registry", object{"data": object{"password": planted}})
	reg, err := registry.StartWithUsers(t.Context(), t.TempDir(), map[string]string{"robot": planted})
	require.NoError(t, err)
	defer reg.Stop()
	img, err := random.Image(512, 1)
	require.NoError(t, err)
	ref, err := name.ParseReference(reg.Host + "/team/app:1")
	require.NoError(t, err)

	empty := t.TempDir()
	for _, n := range []string{"DOCKER_CONFIG", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME"} {
		t.Setenv(n, empty)
	}
	config := func(t *testing.T, content string) {
		dir := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(dir, "config.json"), []byte(content), 0o600))
		t.Setenv("DOCKER_CONFIG", dir)
	}
	push := func(t *testing.T, logins map[string]credentials.Login) (*redact.Redactor, error) {
		known := &redact.Redactor{}
		k, err := credentials.New(credentials.Options{Logins: logins, Stores: store(t, secretstore.Options{Secrets: known}), Secrets: known})
		require.NoError(t, err)
		return known, remote.Write(ref, img, remote.WithContext(t.Context()), remote.WithAuthFromKeychain(k))
	}
	parse := func(t *testing.T, s string) secretref.Value {
		v, err := secretref.Parse(s)
		require.NoError(t, err)
		return v
	}

	t.Run("nobody", func(t *testing.T) {
		_, err := push(t, nil)
		var refused *transport.Error
		require.ErrorAs(t, err, &refused)
		require.Equal(t, http.StatusUnauthorized, refused.StatusCode)
	})
	t.Run("reference", func(t *testing.T) {
		known, err := push(t, map[string]credentials.Login{reg.Host: {Username: parse(t, "robot"), Password: parse(t, "ref+vault://secret/registry#/password")}})
		require.NoError(t, err)
		require.True(t, known.Contains("Authorization: Basic "+base64.StdEncoding.EncodeToString([]byte("robot:"+planted))))
	})
	t.Run("wrong reference", func(t *testing.T) {
		_, err := push(t, map[string]credentials.Login{reg.Host: {Username: parse(t, "robot"), Password: parse(t, "ref+vault://secret/registry#/absent")}})
		require.ErrorIs(t, err, secretstore.ErrNotFound)
		require.ErrorContains(t, err, "credentials for "+reg.Host)
	})
	t.Run("Docker's configuration", func(t *testing.T) {
		config(t, fmt.Sprintf(`{"auths": {%q: {"auth": %q}}}`, reg.Host, base64.StdEncoding.EncodeToString([]byte("robot:"+planted))))
		known, err := push(t, nil)
		require.NoError(t, err)
		require.True(t, known.Contains(planted))
	})
	t.Run("reference in Docker's configuration", func(t *testing.T) {
		config(t, fmt.Sprintf(`{"auths": {%q: {"auth": %q}}}`, reg.Host, base64.StdEncoding.EncodeToString([]byte("robot:ref+vault://secret/registry#/password"))))
		_, err := push(t, nil)
		require.NoError(t, err)
	})
	t.Run("credential helper", func(t *testing.T) {
		config(t, fmt.Sprintf(`{"credHelpers": {%q: "temper-test"}}`, reg.Host))
		dir := t.TempDir()
		script := fmt.Sprintf("#!/bin/sh\n[ \"$1\" = get ] && [ \"$(cat)\" = %q ] && echo '{\"Username\": \"robot\", \"Secret\": %q}'\n", reg.Host, planted)
		require.NoError(t, os.WriteFile(filepath.Join(dir, "docker-credential-temper-test"), []byte(script), 0o700))
		t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
		known, err := push(t, nil)
		require.NoError(t, err)
		require.True(t, known.Contains(planted))
	})
}
