package ci

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/lestrrat-go/jwx/v3/jwk"
	"github.com/stretchr/testify/require"
)

var githubClaims = map[string]any{
	"iss": githubIssuer, "repository": "team/app", "repository_owner": "team", "sha": commitA, "ref": "refs/heads/main",
	"workflow_ref":     "team/app/.github/workflows/release.yml@refs/heads/main",
	"job_workflow_ref": "team/shared/.github/workflows/temper.yml@refs/tags/v1", "run_id": "9876543210", "run_attempt": "2",
	"event_name": "push", "runner_environment": "github-hosted",
}

func githubTokenEnv() map[string]string {
	return with(githubEnv, map[string]string{
		"ACTIONS_ID_TOKEN_REQUEST_URL":   "https://pipelines.actions.githubusercontent.com/token?api-version=2.0",
		"ACTIONS_ID_TOKEN_REQUEST_TOKEN": "request-secret",
	})
}

func TestGitHubToken(t *testing.T) {
	for _, key := range []string{"rs", "es"} {
		t.Run(key, func(t *testing.T) {
			p := newPlatformServer(t)
			p.token, p.fail = p.sign(t, key, githubClaims), 2
			got, err := Detect(t.Context(), p.options(githubTokenEnv()))
			require.NoError(t, err)
			want := &Facts{
				Platform: GitHub, Repository: "https://github.com/team/app", Commit: commitA, Ref: "refs/heads/main",
				Workflow: ".github/workflows/release.yml", RunID: "9876543210", Attempt: "2",
				RunURL: "https://github.com/team/app/actions/runs/9876543210/attempts/2", Runner: Hosted, Trigger: "push",
				BuilderID: "https://github.com/team/shared/.github/workflows/temper.yml@refs/tags/v1",
				Issuer:    githubIssuer, Subject: "the subject",
			}
			want.Origins = everything(want, FromClaims)
			require.Equal(t, want, got)
			require.Len(t, p.requests, 3, "two answers were errors of the server")
			last := p.requests[2]
			require.Equal(t, "temper", last.URL.Query().Get("audience"))
			require.Equal(t, "2.0", last.URL.Query().Get("api-version"))
			require.Equal(t, "Bearer request-secret", last.Header.Get("Authorization"))
		})
	}
	t.Run("an enterprise's issuer", func(t *testing.T) {
		p := newPlatformServer(t)
		p.token = p.sign(t, "rs", with2(githubClaims, "iss", githubIssuer+"/octo"))
		got, err := Detect(t.Context(), p.options(githubTokenEnv()))
		require.NoError(t, err)
		require.Equal(t, githubIssuer+"/octo", got.Issuer)
	})
	t.Run("a server of one's own", func(t *testing.T) {
		p := newPlatformServer(t)
		p.token = p.sign(t, "rs", with2(githubClaims, "iss", "https://ghes.example.com/_services/token"))
		got, err := Detect(t.Context(), p.options(with(githubTokenEnv(), map[string]string{"GITHUB_SERVER_URL": "https://ghes.example.com"})))
		require.NoError(t, err)
		require.Equal(t, "https://ghes.example.com/team/app", got.Repository)
		require.Equal(t, FromClaims, got.Origins[FactRepository])
	})
	t.Run("not asked", func(t *testing.T) {
		p := newPlatformServer(t)
		o := p.options(githubTokenEnv())
		o.NoToken = true
		got, err := Detect(t.Context(), o)
		require.NoError(t, err)
		require.Empty(t, got.Claimed())
		require.Empty(t, p.requests)
	})
}

func with2(claims map[string]any, key string, value any) map[string]any {
	out := map[string]any{}
	for k, v := range claims {
		out[k] = v
	}
	if value == nil {
		delete(out, key)
	} else {
		out[key] = value
	}
	return out
}

func TestGitLabToken(t *testing.T) {
	p := newPlatformServer(t)
	token := p.sign(t, "rs", map[string]any{
		"iss": "https://gitlab.example.com", "project_path": "team/app", "ref": "v1.0", "ref_type": "tag", "ref_path": "refs/tags/v1.0",
		"sha": commitA, "pipeline_id": "1001", "pipeline_source": "push", "job_id": "2002", "runner_id": 12, "runner_environment": "self-hosted",
		"ci_config_ref_uri": "gitlab.example.com/team/app//.gitlab-ci.yml@refs/tags/v1.0",
	})
	got, err := Detect(t.Context(), p.options(with(gitlabEnv, map[string]string{gitlabToken: token})))
	require.NoError(t, err)
	want := &Facts{
		Platform: GitLab, Repository: "https://gitlab.example.com/team/app", Commit: commitA, Ref: "refs/tags/v1.0",
		Workflow: ".gitlab-ci.yml", RunID: "1001", Attempt: "2002", RunURL: "https://gitlab.example.com/team/app/-/jobs/2002",
		Trigger: "push", Runner: SelfHosted, BuilderID: "https://gitlab.example.com/team/app//.gitlab-ci.yml@refs/tags/v1.0",
		Issuer: "https://gitlab.example.com", Subject: "the subject",
	}
	want.Origins = everything(want, FromClaims)
	require.Equal(t, want, got)
}

func TestBuildkiteToken(t *testing.T) {
	p := newPlatformServer(t)
	p.token = p.sign(t, "rs", map[string]any{
		"iss": buildkiteIssuer, "organization_slug": "acme", "pipeline_slug": "app", "build_number": 17, "build_branch": "main",
		"build_commit": commitA, "build_source": "webhook", "runner_environment": "self-hosted", "job_id": buildkiteEnv["BUILDKITE_JOB_ID"],
	})
	got, err := Detect(t.Context(), p.options(with(buildkiteEnv, map[string]string{"BUILDKITE_AGENT_ACCESS_TOKEN": "agent-secret"})))
	require.NoError(t, err)
	require.Equal(t, []string{FactBuilder, FactCommit, FactRef, FactRunID, FactRunURL, FactRunner, FactTrigger, FactWorkflow}, got.Claimed())
	require.Equal(t, FromEnvironment, got.Origins[FactRepository], "Buildkite's tokens do not name the repository")
	require.Equal(t, "ssh://git@github.com/team/app", got.Repository)
	require.Equal(t, "/v3/jobs/"+buildkiteEnv["BUILDKITE_JOB_ID"]+"/oidc/tokens", p.requests[0].URL.Path)
	require.Equal(t, http.MethodPost, p.requests[0].Method)
	require.Equal(t, "Token agent-secret", p.requests[0].Header.Get("Authorization"))
	require.JSONEq(t, `{"audience":"temper"}`, p.bodies[0])
}

func TestContradictions(t *testing.T) {
	for name, tc := range map[string]struct{ variable, value, fact string }{
		"commit":     {"GITHUB_SHA", commitB, FactCommit},
		"repository": {"GITHUB_REPOSITORY", "team/other", FactRepository},
		"ref":        {"GITHUB_REF", "refs/tags/v9", FactRef},
		"workflow":   {"GITHUB_WORKFLOW_REF", "team/app/.github/workflows/other.yml@refs/heads/main", FactWorkflow},
		"run":        {"GITHUB_RUN_ID", "1", FactRunID},
		"by hand":    {"TEMPER_CI_COMMIT", commitB, FactCommit},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlatformServer(t)
			p.token = p.sign(t, "es", githubClaims)
			_, err := Detect(t.Context(), p.options(with(githubTokenEnv(), map[string]string{tc.variable: tc.value})))
			var contradiction *ContradictionError
			require.ErrorAs(t, err, &contradiction)
			require.Equal(t, tc.fact, contradiction.Fact)
			require.ErrorContains(t, err, "the signed token says that the "+tc.fact+" is")
		})
	}
	t.Run("the same in other letters", func(t *testing.T) {
		p := newPlatformServer(t)
		p.token = p.sign(t, "es", githubClaims)
		got, err := Detect(t.Context(), p.options(with(githubTokenEnv(), map[string]string{"GITHUB_REPOSITORY": "Team/App"})))
		require.NoError(t, err)
		require.Equal(t, "https://github.com/team/app", got.Repository)
	})
}

func TestBadTokens(t *testing.T) {
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	for name, tc := range map[string]struct {
		make func(t *testing.T, p *platformServer) string
		want string
	}{
		"expired": {func(t *testing.T, p *platformServer) string {
			return p.sign(t, "rs", with2(with2(githubClaims, "exp", now.Add(-time.Minute)), "nbf", now.Add(-time.Hour)))
		}, "expired"},
		"not yet valid": {func(t *testing.T, p *platformServer) string {
			return p.sign(t, "rs", with2(githubClaims, "nbf", now.Add(time.Hour)))
		}, "before the nbf"},
		"for another audience": {func(t *testing.T, p *platformServer) string {
			return p.sign(t, "rs", with2(githubClaims, "aud", "sigstore"))
		}, `expected audience "temper"`},
		"of another issuer": {func(t *testing.T, p *platformServer) string {
			return p.sign(t, "rs", with2(githubClaims, "iss", "https://evil.example.com"))
		}, `it was issued by "https://evil.example.com"`},
		"of an issuer with the same beginning": {func(t *testing.T, p *platformServer) string {
			return p.sign(t, "rs", with2(githubClaims, "iss", githubIssuer+".example.com"))
		}, "it was issued by"},
		"signed with another key": {func(t *testing.T, p *platformServer) string {
			key, err := jwk.Import(other)
			require.NoError(t, err)
			require.NoError(t, key.Set(jwk.KeyIDKey, "es"))
			good := p.keys["es"]
			p.keys["es"] = key
			defer func() { p.keys["es"] = good }()
			return p.sign(t, "es", githubClaims)
		}, "failed to verify signature"},
		"changed": {func(t *testing.T, p *platformServer) string {
			parts := strings.Split(p.sign(t, "rs", githubClaims), ".")
			dt, err := base64.RawURLEncoding.DecodeString(parts[1])
			require.NoError(t, err)
			parts[1] = base64.RawURLEncoding.EncodeToString([]byte(strings.Replace(string(dt), "team/app", "evil/app", 1)))
			return strings.Join(parts, ".")
		}, "failed to verify signature"},
		"unsigned": {func(t *testing.T, _ *platformServer) string {
			dt, err := json.Marshal(with2(with2(githubClaims, "aud", "temper"), "exp", now.Add(time.Hour).Unix()))
			require.NoError(t, err)
			return base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`)) + "." + base64.RawURLEncoding.EncodeToString(dt) + "."
		}, "unexpected signature algorithm"},
		"no token": {func(*testing.T, *platformServer) string { return "certainly-not-a-token" }, "it is not a signed token"},
		"empty":    {func(*testing.T, *platformServer) string { return "" }, "gave none"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlatformServer(t)
			p.token = tc.make(t, p)
			facts, err := Detect(t.Context(), p.options(githubTokenEnv()))
			require.Nil(t, facts)
			var bad *TokenError
			require.ErrorAs(t, err, &bad)
			require.Equal(t, GitHub, bad.Platform)
			require.ErrorContains(t, err, tc.want)
			if p.token != "" {
				for part := range strings.SplitSeq(p.token, ".") {
					if part != "" {
						require.NotContains(t, err.Error(), part)
					}
				}
			}
			require.NotContains(t, err.Error(), "request-secret")
		})
	}
}

func TestTokenServiceFails(t *testing.T) {
	p := newPlatformServer(t)
	p.fail = 100
	_, err := Detect(t.Context(), p.options(githubTokenEnv()))
	require.ErrorContains(t, err, "identity token of GitHub Actions: the token service at pipelines.actions.githubusercontent.com answered 503")
	require.NotContains(t, err.Error(), "secret")
	require.Len(t, p.requests, tokenTries)

	for name, tc := range map[string]struct{ address, want string }{
		"not https":   {"http://pipelines.actions.githubusercontent.com/token", "is not https"},
		"not a URL":   {"%", "is not a URL"},
		"not a place": {"https://pipelines.actions.githubusercontent.com/elsewhere", "404"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Detect(t.Context(), p.options(with(githubTokenEnv(), map[string]string{"ACTIONS_ID_TOKEN_REQUEST_URL": tc.address})))
			require.ErrorContains(t, err, tc.want)
		})
	}
}
