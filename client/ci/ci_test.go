package ci

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	commitA = "0123456789abcdef0123456789abcdef01234567"
	commitB = "89abcdef0123456789abcdef0123456789abcdef"
)

// The environments are as the platforms' documentation and jobs show them.
var (
	githubEnv = map[string]string{
		"CI": "true", "GITHUB_ACTIONS": "true", "GITHUB_SERVER_URL": "https://github.com", "GITHUB_REPOSITORY": "team/app",
		"GITHUB_SHA": commitA, "GITHUB_REF": "refs/heads/main", "GITHUB_REF_NAME": "main", "GITHUB_EVENT_NAME": "push",
		"GITHUB_RUN_ID": "9876543210", "GITHUB_RUN_ATTEMPT": "2", "GITHUB_WORKFLOW": "Release",
		"GITHUB_WORKFLOW_REF": "team/app/.github/workflows/release.yml@refs/heads/main", "RUNNER_ENVIRONMENT": "github-hosted",
	}
	gitlabEnv = map[string]string{
		"CI": "true", "GITLAB_CI": "true", "CI_SERVER_URL": "https://gitlab.example.com", "CI_PROJECT_URL": "https://gitlab.example.com/team/app",
		"CI_PROJECT_PATH": "team/app", "CI_REPOSITORY_URL": "https://gitlab-ci-token:glcbt-secret@gitlab.example.com/team/app.git",
		"CI_COMMIT_SHA": commitA, "CI_COMMIT_REF_NAME": "v1.0", "CI_COMMIT_TAG": "v1.0", "CI_CONFIG_PATH": ".gitlab-ci.yml",
		"CI_PIPELINE_ID": "1001", "CI_JOB_ID": "2002", "CI_JOB_URL": "https://gitlab.example.com/team/app/-/jobs/2002",
		"CI_PIPELINE_SOURCE": "push", "CI_RUNNER_ID": "12",
	}
	buildkiteEnv = map[string]string{
		"BUILDKITE": "true", "BUILDKITE_REPO": "git@github.com:team/app.git", "BUILDKITE_COMMIT": commitA, "BUILDKITE_BRANCH": "main",
		"BUILDKITE_TAG": "", "BUILDKITE_ORGANIZATION_SLUG": "acme", "BUILDKITE_PIPELINE_SLUG": "app", "BUILDKITE_BUILD_NUMBER": "17",
		"BUILDKITE_BUILD_URL": "https://buildkite.com/acme/app/builds/17", "BUILDKITE_RETRY_COUNT": "0", "BUILDKITE_SOURCE": "webhook",
		"BUILDKITE_JOB_ID": "0190046e-e199-453b-a302-a21a4d649d31", "BUILDKITE_COMPUTE_TYPE": "self-hosted",
	}
	jenkinsEnv = map[string]string{
		"JENKINS_URL": "https://jenkins.example.com/", "BUILD_NUMBER": "42", "JOB_NAME": "team/app/main",
		"JOB_URL": "https://jenkins.example.com/job/team/job/app/job/main/", "BUILD_URL": "https://jenkins.example.com/job/team/job/app/job/main/42/",
		"GIT_URL": "https://bot:hunter2@git.example.com/team/app.git", "GIT_COMMIT": commitA, "GIT_BRANCH": "origin/main",
	}
)

// everything gives all facts one origin.
func everything(f *Facts, o Origin) map[string]Origin {
	out := map[string]Origin{}
	for name, value := range map[string]string{
		FactRepository: f.Repository, FactCommit: f.Commit, FactRef: f.Ref, FactWorkflow: f.Workflow, FactRunID: f.RunID,
		FactAttempt: f.Attempt, FactRunURL: f.RunURL, FactRunner: f.Runner, FactTrigger: f.Trigger, FactBuilder: f.BuilderID,
	} {
		if value != "" {
			out[name] = o
		}
	}
	return out
}

func TestEnvironments(t *testing.T) {
	for name, tc := range map[string]struct {
		env  map[string]string
		want Facts
	}{
		"nothing": {map[string]string{"HOME": "/root"}, Facts{Platform: Local}},
		"GitHub Actions": {githubEnv, Facts{
			Platform: GitHub, Repository: "https://github.com/team/app", Commit: commitA, Ref: "refs/heads/main",
			Workflow: ".github/workflows/release.yml", RunID: "9876543210", Attempt: "2",
			RunURL: "https://github.com/team/app/actions/runs/9876543210/attempts/2", Runner: Hosted, Trigger: "push",
			BuilderID: "https://github.com/team/app/.github/workflows/release.yml@refs/heads/main",
		}},
		"GitLab CI": {gitlabEnv, Facts{
			Platform: GitLab, Repository: "https://gitlab.example.com/team/app", Commit: commitA, Ref: "refs/tags/v1.0",
			Workflow: ".gitlab-ci.yml", RunID: "1001", Attempt: "2002", RunURL: "https://gitlab.example.com/team/app/-/jobs/2002",
			Trigger: "push", BuilderID: "https://gitlab.example.com/team/app//.gitlab-ci.yml@refs/tags/v1.0",
		}},
		"Buildkite": {buildkiteEnv, Facts{
			Platform: Buildkite, Repository: "ssh://git@github.com/team/app", Commit: commitA, Ref: "refs/heads/main", Workflow: "app",
			RunID: "17", Attempt: "0", RunURL: "https://buildkite.com/acme/app/builds/17", Runner: SelfHosted, Trigger: "webhook",
			BuilderID: "https://buildkite.com/acme/app",
		}},
		"Buildkite before the checkout": {map[string]string{"BUILDKITE": "true", "BUILDKITE_COMMIT": "HEAD"}, Facts{Platform: Buildkite}},
		"Jenkins": {jenkinsEnv, Facts{
			Platform: Jenkins, Repository: "https://git.example.com/team/app", Commit: commitA, Ref: "refs/heads/main", Workflow: "team/app/main",
			RunID: "42", RunURL: "https://jenkins.example.com/job/team/job/app/job/main/42/", Runner: SelfHosted,
			BuilderID: "https://jenkins.example.com/job/team/job/app/job/main/",
		}},
		"said by hand": {map[string]string{
			"TEMPER_CI_REPOSITORY": "https://git.example.com/team/app", "TEMPER_CI_COMMIT": strings.ToUpper(commitB), "TEMPER_CI_REF": "refs/heads/x",
			"TEMPER_CI_BUILDER_ID": "https://ci.example.com/builder", "TEMPER_CI_RUN_URL": "https://u:p@ci.example.com/1", "TEMPER_CI_RUNNER": "moon",
		}, Facts{
			Platform: Local, Repository: "https://git.example.com/team/app", Commit: commitB, Ref: "refs/heads/x",
			BuilderID: "https://ci.example.com/builder", RunURL: "https://ci.example.com/1",
		}},
		"what no platform sets": {with(githubEnv, map[string]string{
			"GITHUB_SHA": "main; rm", "GITHUB_REF": "refs/heads/\x1b[31m", "GITHUB_REPOSITORY": strings.Repeat("x", maxFact+1),
			"GITHUB_WORKFLOW_REF": "", "GITHUB_RUN_ID": "1\n2", "GITHUB_RUN_ATTEMPT": "", "RUNNER_ENVIRONMENT": "moon",
		}), Facts{Platform: GitHub, Trigger: "push"}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Detect(t.Context(), (*platformServer)(nil).options(tc.env))
			require.NoError(t, err)
			origin := FromEnvironment
			if name == "said by hand" {
				origin = FromOption
			}
			tc.want.Origins = everything(&tc.want, origin)
			got.Notices = nil
			require.Equal(t, &tc.want, got)
			require.Empty(t, got.Claimed())
		})
	}
}

// with is env with changes.
func with(env, changes map[string]string) map[string]string {
	out := maps.Clone(env)
	maps.Copy(out, changes)
	return out
}

func TestTekton(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "labels"), []byte(`app.kubernetes.io/managed-by="tekton-pipelines"
pipelinesascode.tekton.dev/event-type="push"
pipelinesascode.tekton.dev/sha="`+commitA+`"
tekton.dev/pipeline="release"
tekton.dev/pipelineRunUID="7a9c2c1e-0000-0000-0000-000000000001"
tekton.dev/taskRun="release-x1-build"
`), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "annotations"), []byte(`pipelinesascode.tekton.dev/repo-url="https://github.com/team/app"
pipelinesascode.tekton.dev/branch="main"
pipelinesascode.tekton.dev/log-url="https://dash.example.com/ns/x"
pipelinesascode.tekton.dev/sha-title="a \"quoted\" title\n"
nonsense
x="unterminated
`), 0o600))
	got, err := Detect(t.Context(), Options{Lookup: lookup(map[string]string{"TEMPER_CI_PODINFO": dir})})
	require.NoError(t, err)
	want := &Facts{
		Platform: Tekton, Repository: "https://github.com/team/app", Commit: commitA, Ref: "refs/heads/main", Workflow: "release",
		RunID: "7a9c2c1e-0000-0000-0000-000000000001", RunURL: "https://dash.example.com/ns/x", Runner: SelfHosted, Trigger: "push",
		Notices: got.Notices,
	}
	want.Origins = everything(want, FromEnvironment)
	require.Equal(t, want, got)

	t.Run("by variables", func(t *testing.T) {
		got, err := Detect(t.Context(), Options{Lookup: lookup(map[string]string{
			"TEMPER_CI": "tekton", "TEMPER_CI_PODINFO": t.TempDir(), "TEMPER_CI_RUN_ID": "run-1", "TEMPER_CI_WORKFLOW": "release",
		})})
		require.NoError(t, err)
		require.Equal(t, Tekton, got.Platform)
		require.Equal(t, "run-1", got.RunID)
		require.Equal(t, FromOption, got.Origins[FactRunID])
	})
}

func TestRepositoryURL(t *testing.T) {
	for remote, want := range map[string]string{
		"https://github.com/team/app.git":               "https://github.com/team/app",
		"https://user:token@github.com/team/app.git/":   "https://github.com/team/app",
		"https://token@github.com/team/app?x=secret#y":  "https://github.com/team/app",
		"git@github.com:team/app.git":                   "ssh://git@github.com/team/app",
		"ssh://git:secret@host.example.com:2222/team/a": "ssh://git@host.example.com:2222/team/a",
		"git://127.0.0.1:9418/app.git":                  "git://127.0.0.1:9418/app",
		"/srv/git/app.git":                              "",
		"file:///srv/git/app.git":                       "",
		"../app":                                        "",
		"https://[::1/x":                                "",
		"":                                              "",
	} {
		require.Equal(t, want, RepositoryURL(remote), remote)
	}
}

func FuzzParsePodInfo(f *testing.F) {
	f.Add("a=\"b\"\nc=\"d\\n\"\n")
	f.Add("=\"\"\n\"=\n")
	f.Fuzz(func(t *testing.T, text string) {
		for _, v := range parsePodInfo(strings.NewReader(text)) {
			require.Equal(t, clean(v), v)
		}
	})
}

func FuzzRepositoryURL(f *testing.F) {
	f.Add("https://user:secretsecret@host/path.git?q=1#f")
	f.Add("git@host:path")
	f.Fuzz(func(t *testing.T, remote string) {
		got := RepositoryURL(remote)
		require.Equal(t, got, RepositoryURL(got), "it is its own URL")
		require.NotContains(t, got, "?")
	})
}
