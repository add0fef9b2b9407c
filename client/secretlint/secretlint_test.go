package secretlint_test

import (
	"encoding/base64"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/client/redact"
	"github.com/temper-images/temper/client/secretlint"
)

// Made up of pieces, so that nobody takes this file for a leak.
var (
	githubToken = "ghp_" + "q8Zt3Lw0vX7rN5bY2kD9mH4jP6sF1gT0cR8e"
	awsKey      = "AKIA" + "Q3EGVMZ5TIPW7H2L"
	random      = base64.RawStdEncoding.EncodeToString([]byte("\x8a\x91\x03\xf7\x5c\x22\xe0\x19\x44\xbd\x6e\x01\x77\xca\x3f\x90\x58\x2d\xb4\xe6\x0f\x73"))
)

func TestRefuses(t *testing.T) {
	for _, c := range []struct{ name, value, reason string }{
		{"NPM_TOKEN", "something", "its name says so"},
		{"DB_PASSWORD", "p", "its name says so"},
		{"apiKey", "x", "its name says so"},
		{"SETTINGS", githubToken, "(github-pat)"},
		{"SETTINGS", "first " + awsKey + " last", "(aws-access-token)"},
		{"VERSION", random, "its value looks random"},
		{"CERT", "-----BEGIN RSA PRIVATE KEY-----\\nMII", "its value is a private key"},
		{"CERT", "a\n-----BEGIN PGP PRIVATE KEY BLOCK-----\n", "its value is a private key"},
		{"PIP_INDEX_URL", "https://user:" + "pass@pypi.example.com/simple", "a URL with a password"},
		{"GOPROXY", "https://a.example.com,https://u:" + "p@b.example.com", "a URL with a password"},
		{"DSN", "postgres://app:" + "pw@db/app", "a URL with a password"},
	} {
		err := secretlint.Check([]secretlint.Setting{{Source: secretlint.BuildArg, Name: c.name, Value: c.value}}, secretlint.Options{})
		var e *secretlint.Error
		require.ErrorAs(t, err, &e, c.name)
		require.Len(t, e.Findings, 1)
		require.Contains(t, e.Findings[0].Reason, c.reason)
		require.Contains(t, err.Error(), "build argument "+c.name+": ")
		require.Contains(t, err.Error(), "--secret id="+strings.ToLower(c.name)+",env="+c.name)
		require.Contains(t, err.Error(), "RUN --mount=type=secret,id="+strings.ToLower(c.name))
		if len(c.value) > 8 {
			require.NotContains(t, err.Error(), c.value)
		}
		require.NoError(t, secretlint.Check([]secretlint.Setting{{Source: secretlint.BuildArg, Name: c.name, Value: c.value}},
			secretlint.Options{Allow: []string{c.name[:2] + "*"}}), "the way out")
	}
}

func TestLetsThrough(t *testing.T) {
	for name, value := range map[string]string{
		"VERSION": "1.26.8-bookworm", "TOKENIZER": "sentencepiece", "PUBLIC_KEY": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ",
		"COMMIT": "8fa8189a0d1cf0bb20403a88ba419112ec08a357", "SHA256": strings.Repeat("0123456789abcdef", 4),
		"CHECKSUM": "sha256:" + strings.Repeat("0123456789abcdef", 4), "INTEGRITY": "sha512-" + random,
		"GPG_KEY": "E3FF2839C048B25C084DEBE9B26995E310250568", "MYSQL_ALLOW_EMPTY_PASSWORD": "yes", "PASSWORD": "",
		"USE_TOKEN": "true", "TOKEN_TTL": "3600s", "POSTGRES_PASSWORD_FILE": "/run/secrets/password",
		"GOPROXY": "https://proxy.example.com,direct", "HTTP_PROXY": "http://proxy:3128", "URL": "https://user@example.com/x",
		"PIP_INDEX_URL": "https://user:${PIP_PASSWORD}@pypi.example.com", "ID": "123e4567-e89b-42d3-a456-426614174000",
		"CLASS": "MyVeryLongApplicationFactoryBean2", "PATHS": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin",
		"TEMPER_EVIDENCE_SECRET": "ref+vault://secret/store#/key", "BUILDKIT_CONTEXT_KEEP_GIT_DIR": "1",
		"SOURCE_DATE_EPOCH": "1700000000", "BASE": "registry.example.com/team/base@sha256:" + strings.Repeat("0123456789abcdef", 4),
	} {
		require.NoError(t, secretlint.Check([]secretlint.Setting{{Source: secretlint.BuildArg, Name: name, Value: value}}, secretlint.Options{}), name)
	}
}

// Random values are found, nearly all of them.
func TestRandomValues(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	missed := 0
	for range 500 {
		raw := make([]byte, 18+rnd.IntN(20))
		for i := range raw {
			raw[i] = byte(rnd.Uint32())
		}
		if secretlint.Check([]secretlint.Setting{{Name: "X", Value: base64.StdEncoding.EncodeToString(raw)}}, secretlint.Options{}) == nil {
			missed++
		}
	}
	require.Less(t, missed, 25)
}

func TestKnownSecrets(t *testing.T) {
	known := &redact.Redactor{}
	known.Add([]byte("hunter22"))
	for name, s := range map[string]secretlint.Setting{
		"its value is kept in a store of secrets": {Name: "ANY", Value: "x", Reference: true},
		"its value holds a secret of this run":    {Name: "ANY", Value: "a-hunter22-b"},
	} {
		err := secretlint.Check([]secretlint.Setting{s}, secretlint.Options{Known: known, Allow: []string{"*"}})
		require.ErrorContains(t, err, name)
		require.NotContains(t, err.Error(), "hunter22")
	}
}

func TestDockerfile(t *testing.T) {
	found, err := secretlint.Dockerfile([]byte(`# syntax=docker/dockerfile:1
ARG BASE=debian:bookworm
FROM $BASE
ARG NPM_TOKEN VERSION="1.2"
ENV A=1 DB_PASSWORD="x y" \
    C='3'
ENV OLD form of it
ONBUILD ENV LATER_SECRET=x
RUN <<EOF
ENV NOT_ONE=1
EOF
env lower=case
`))
	require.NoError(t, err)
	require.Equal(t, []secretlint.Setting{
		{Source: secretlint.Arg, Name: "BASE", Value: "debian:bookworm", Line: 2},
		{Source: secretlint.Arg, Name: "NPM_TOKEN", NoValue: true, Line: 4},
		{Source: secretlint.Arg, Name: "VERSION", Value: "1.2", Line: 4},
		{Source: secretlint.Env, Name: "A", Value: "1", Line: 5},
		{Source: secretlint.Env, Name: "DB_PASSWORD", Value: "x y", Line: 5},
		{Source: secretlint.Env, Name: "C", Value: "3", Line: 5},
		{Source: secretlint.Env, Name: "OLD", Value: "form of it", Line: 7},
		{Source: secretlint.Env, Name: "LATER_SECRET", Value: "x", Line: 8},
		{Source: secretlint.Env, Name: "lower", Value: "case", Line: 12},
	}, found)

	err = secretlint.Check(found, secretlint.Options{})
	require.ErrorContains(t, err, "\n  ARG NPM_TOKEN (line 4): its name says so\n  ENV DB_PASSWORD (line 5): its name says so\n  ENV LATER_SECRET (line 8): its name says so\n")
	_, err = secretlint.Dockerfile(nil)
	require.ErrorContains(t, err, "parse the Dockerfile")
	require.Error(t, secretlint.Check(nil, secretlint.Options{Allow: []string{"["}}))
}

func FuzzDockerfile(f *testing.F) {
	f.Add([]byte("FROM x\nARG A=1 B\nENV C=2 D=3\nENV E f\nONBUILD ARG X"))
	f.Add([]byte("FROM x\nENV A\nONBUILD\nARG"))
	f.Fuzz(func(t *testing.T, dt []byte) {
		found, err := secretlint.Dockerfile(dt)
		if err != nil {
			require.Nil(t, found)
		}
	})
}
