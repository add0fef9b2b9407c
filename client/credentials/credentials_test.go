package credentials_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/client/credentials"
	"github.com/temper-images/temper/client/redact"
	"github.com/temper-images/temper/client/secretref"
	"github.com/temper-images/temper/client/secretstore"
)

func value(t *testing.T, s string) secretref.Value {
	t.Helper()
	v, err := secretref.Parse(s)
	require.NoError(t, err)
	return v
}

// dockerConfig makes Docker's configuration the only one there is.
func dockerConfig(t *testing.T, content string) {
	t.Helper()
	dir := t.TempDir()
	t.Setenv("HOME", dir)
	t.Setenv("DOCKER_CONFIG", dir)
	t.Setenv("XDG_RUNTIME_DIR", dir)
	t.Setenv("XDG_CONFIG_HOME", dir)
	t.Setenv("REGISTRY_AUTH_FILE", "")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "config.json"), []byte(content), 0o600))
}

// helper installs a credential helper that runs a script.
func helper(t *testing.T, script string) {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "docker-credential-test"), []byte("#!/bin/sh\n"+script), 0o700))
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
}

func authorization(t *testing.T, k *credentials.Keychain, repository string) (authn.AuthConfig, error) {
	t.Helper()
	repo, err := name.NewRepository(repository)
	require.NoError(t, err)
	auth, err := authn.Resolve(t.Context(), k, repo)
	if err != nil {
		return authn.AuthConfig{}, err
	}
	cfg, err := authn.Authorization(t.Context(), auth)
	require.NoError(t, err)
	return *cfg, nil
}

func TestLogins(t *testing.T) {
	t.Setenv("TEMPER_TEST_PASSWORD", "from-the-environment\n")
	dockerConfig(t, fmt.Sprintf(`{"auths": {
		"plain.example.com": {"auth": %q},
		"reference.example.com": {"username": "robot", "password": "ref+env://TEMPER_TEST_PASSWORD"},
		"both.example.com": {"auth": %q},
		"https://index.docker.io/v1/": {"auth": %q}}}`,
		base64.StdEncoding.EncodeToString([]byte("docker:in-the-file")),
		base64.StdEncoding.EncodeToString([]byte("robot:ref+env://TEMPER_TEST_PASSWORD")),
		base64.StdEncoding.EncodeToString([]byte("hub:in-the-hub"))))
	known := &redact.Redactor{}
	stores := secretstore.NewResolver(secretstore.Options{Secrets: known})
	defer stores.Close()
	k, err := credentials.New(credentials.Options{
		Secrets: known, Stores: stores,
		Logins: map[string]credentials.Login{
			"registry.example.com":      {Username: value(t, "ci"), Password: value(t, "ref+env://TEMPER_TEST_PASSWORD")},
			"registry.example.com/team": {Username: value(t, "team"), Password: value(t, "literal-password")},
			"token.example.com:5000":    {Token: value(t, "a-bearer-token")},
			"docker.io/library":         {Username: value(t, "l"), Password: value(t, "library-password")},
		},
	})
	require.NoError(t, err)
	for repository, want := range map[string]authn.AuthConfig{
		"registry.example.com/app":       {Username: "ci", Password: "from-the-environment"},
		"registry.example.com/teams/app": {Username: "ci", Password: "from-the-environment"},
		"registry.example.com/team/a/b":  {Username: "team", Password: "literal-password"},
		"token.example.com:5000/app":     {RegistryToken: "a-bearer-token"},
		"plain.example.com/app":          {Username: "docker", Password: "in-the-file"},
		"reference.example.com/app":      {Username: "robot", Password: "from-the-environment"},
		"both.example.com/app":           {Username: "robot", Password: "from-the-environment"},
		"debian":                         {Username: "l", Password: "library-password"},
		"someone/app":                    {Username: "hub", Password: "in-the-hub"},
		"unknown.example.com/app":        {},
	} {
		got, err := authorization(t, k, repository)
		require.NoError(t, err, repository)
		got.Auth = ""
		require.Equal(t, want, got, repository)
	}
	for _, secret := range []string{"from-the-environment", "literal-password", "a-bearer-token", "in-the-file", "in-the-hub"} {
		require.Equal(t, redact.Mark, known.String(secret))
	}
	require.NotContains(t, known.String("Basic "+base64.StdEncoding.EncodeToString([]byte("ci:from-the-environment"))), "Y2k6ZnJvbS10")
}

func TestCredentialHelper(t *testing.T) {
	dockerConfig(t, `{"credHelpers": {"helped.example.com": "test", "token.example.com": "test", "absent.example.com": "not-there"}}`)
	helper(t, `read host
case $host in
helped*) echo '{"Username": "user", "Secret": "from-the-helper"}';;
*) echo '{"Username": "<token>", "Secret": "an-identity-token"}';;
esac
`)
	known := &redact.Redactor{}
	k, err := credentials.New(credentials.Options{Secrets: known})
	require.NoError(t, err)
	got, err := authorization(t, k, "helped.example.com/app")
	require.NoError(t, err)
	require.Equal(t, "user from-the-helper", got.Username+" "+got.Password)
	got, err = authorization(t, k, "token.example.com/app")
	require.NoError(t, err)
	require.Equal(t, "an-identity-token", got.IdentityToken)
	require.Equal(t, redact.Mark+" "+redact.Mark, known.String("from-the-helper an-identity-token"))

	_, err = authorization(t, k, "absent.example.com/app")
	var e *credentials.Error
	require.ErrorAs(t, err, &e)
	require.Contains(t, err.Error(), "credentials for absent.example.com/app: Docker's credential helper failed: ")
	require.Contains(t, err.Error(), "docker-credential-not-there")
}

// What a failing helper printed may be the password.
func TestHelperFails(t *testing.T) {
	dockerConfig(t, `{"credHelpers": {"helped.example.com": "test"}}`)
	helper(t, "echo hunter22-printed; exit 1\n")
	k, err := credentials.New(credentials.Options{})
	require.NoError(t, err)
	_, err = authorization(t, k, "helped.example.com/app")
	require.ErrorContains(t, err, "Docker's credential helper failed: exit status 1: run docker-credential-HELPER get by hand")
	require.NotContains(t, err.Error(), "hunter22")
}

func TestHelperHangs(t *testing.T) {
	dockerConfig(t, `{"credHelpers": {"helped.example.com": "test"}}`)
	helper(t, "exec sleep 3\n")
	k, err := credentials.New(credentials.Options{})
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	registry, err := name.NewRegistry("helped.example.com")
	require.NoError(t, err)
	_, err = k.ResolveContext(ctx, registry)
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

func TestRefuses(t *testing.T) {
	for want, login := range map[string]credentials.Login{
		"credentials for r.example.com: give a user name and a password, or a token": {Username: value(t, "only")},
	} {
		_, err := credentials.New(credentials.Options{Logins: map[string]credentials.Login{"r.example.com": login}})
		require.EqualError(t, err, want)
	}
	_, err := credentials.New(credentials.Options{Logins: map[string]credentials.Login{"not a host": {Token: value(t, "x")}}})
	require.ErrorContains(t, err, `credentials for "not a host"`)
	both := credentials.Login{Username: value(t, "u"), Password: value(t, "p")}
	_, err = credentials.New(credentials.Options{Logins: map[string]credentials.Login{"docker.io": both, "index.docker.io": both}})
	require.ErrorContains(t, err, "given twice")

	dockerConfig(t, `{"auths": {"r.example.com": {"username": "u", "password": "ref+nowhere://x"}, "s.example.com": {"username": "u", "password": "ref+env://X"}}}`)
	k, err := credentials.New(credentials.Options{})
	require.NoError(t, err)
	_, err = authorization(t, k, "r.example.com/app")
	require.ErrorContains(t, err, `credentials for r.example.com/app: in Docker's configuration: secret reference: the provider "nowhere" is not known`)
	_, err = authorization(t, k, "s.example.com/app")
	require.ErrorContains(t, err, "ref+env://X: no store of secrets is asked here")

	dockerConfig(t, `{"auths": `)
	_, err = authorization(t, k, "r.example.com/app")
	require.ErrorContains(t, err, "read Docker's configuration")
}
