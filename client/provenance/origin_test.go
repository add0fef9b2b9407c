package provenance

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestOriginOfRelease(t *testing.T) {
	dt, err := os.ReadFile("testdata/release.json")
	require.NoError(t, err)
	s, err := Read(dt)
	require.NoError(t, err)
	require.Equal(t, Origin{
		BuilderID: "https://github.com/team/app/.github/workflows/release.yml@refs/tags/v1", BuildType: BuildType, Known: true,
		Repository: "https://github.com/team/app", Ref: "refs/tags/v1", Commit: "0123456789abcdef0123456789abcdef01234567", Dirty: true,
		Workflow: ".github/workflows/release.yml", Hosted: true, Claimed: []string{"commit", "repository"},
	}, s.Origin())
}

// The documents are shortened ones of actions/attest-build-provenance and of
// BuildKit 0.34 with mode=max,version=v1.
func TestOriginOfOthers(t *testing.T) {
	const head = `{"_type": "https://in-toto.io/Statement/v1", "predicateType": "https://slsa.dev/provenance/v1",
		"subject": [{"name": "app", "digest": {"sha256": "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"}}], "predicate": `
	for name, tc := range map[string]struct {
		predicate string
		want      Origin
	}{
		"github": {`{"buildDefinition": {"buildType": "https://actions.github.io/buildtypes/workflow/v1",
			"externalParameters": {"workflow": {"ref": "refs/heads/main", "repository": "https://github.com/team/app", "path": ".github/workflows/build.yml"}},
			"internalParameters": {"github": {"event_name": "push", "runner_environment": "github-hosted"}},
			"resolvedDependencies": [{"uri": "git+https://github.com/team/app@refs/heads/main", "digest": {"gitCommit": "0123456789abcdef0123456789abcdef01234567"}}]},
			"runDetails": {"builder": {"id": "https://github.com/team/app/.github/workflows/build.yml@refs/heads/main"}}}`, Origin{
			BuilderID: "https://github.com/team/app/.github/workflows/build.yml@refs/heads/main", BuildType: BuildTypeGitHub, Known: true,
			Repository: "https://github.com/team/app", Ref: "refs/heads/main", Commit: "0123456789abcdef0123456789abcdef01234567",
			Workflow: ".github/workflows/build.yml", Hosted: true,
			Claimed: []string{"builderId", "commit", "ref", "repository", "runner", "workflow"},
		}},
		"buildkit": {`{"buildDefinition": {"buildType": "https://github.com/moby/buildkit/blob/master/docs/attestations/slsa-definitions.md",
			"externalParameters": {"configSource": {"uri": "https://github.com/team/app.git#refs/heads/main", "digest": {"sha1": "0123456789abcdef0123456789abcdef01234567"}, "path": "Dockerfile"}}},
			"runDetails": {"builder": {"id": "https://github.com/team/app/actions/runs/1"}}}`, Origin{
			BuilderID: "https://github.com/team/app/actions/runs/1", BuildType: BuildTypeBuildKit, Known: true,
			Repository: "https://github.com/team/app", Ref: "refs/heads/main", Commit: "0123456789abcdef0123456789abcdef01234567",
		}},
		"unknown": {`{"buildDefinition": {"buildType": "https://example.com/type", "externalParameters": {"source": {"uri": "git+https://github.com/team/app"}}},
			"runDetails": {"builder": {"id": "https://example.com/builder"}}}`, Origin{BuilderID: "https://example.com/builder", BuildType: "https://example.com/type"}},
	} {
		s, err := Read([]byte(head + tc.predicate + "}"))
		require.NoError(t, err, name)
		require.Equal(t, tc.want, s.Origin(), name)
	}
	require.Equal(t, Origin{}, (&Statement{}).Origin())
}

func TestSplitSource(t *testing.T) {
	for uri, want := range map[string][2]string{
		"git+https://github.com/team/app@refs/heads/main": {"https://github.com/team/app", "refs/heads/main"},
		"git+https://github.com/team/app.git":             {"https://github.com/team/app", ""},
		"https://github.com/team/app.git#v1:sub/dir":      {"https://github.com/team/app", "v1"},
		"git+ssh://git@host/team/app@refs/tags/v1":        {"ssh://git@host/team/app", "refs/tags/v1"},
		"git+https://user:hunter2@host/team/app@main":     {"https://host/team/app", "main"},
		"":                     {"", ""},
		"oci-layout@sha256:00": {"", ""},
		"%zz":                  {"", ""},
	} {
		repository, ref := SplitSource(uri)
		require.Equal(t, want, [2]string{repository, ref}, uri)
	}
}
