package verify

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/integration/tools"
)

// admission is a policy out of the examples for the site's registry and key.
func (s site) admission(t *testing.T, name string) string {
	t.Helper()
	dt, err := os.ReadFile(filepath.Join(tools.Root(), "examples", "policies", name))
	require.NoError(t, err)
	key, err := os.ReadFile(filepath.Join(s.dir, "release.pub"))
	require.NoError(t, err)
	text := strings.ReplaceAll(string(dt), "registry.example.com", s.host)
	lines := strings.Split(strings.TrimSpace(string(key)), "\n")
	inner := lines[1 : len(lines)-1]
	begin := strings.Index(text, "the lines of cosign.pub")
	require.Positive(t, begin)
	indent := text[strings.LastIndexByte(text[:begin], '\n')+1 : begin]
	text = strings.Replace(text, "the lines of cosign.pub", strings.Join(inner, "\n"+indent), 1)
	text = strings.ReplaceAll(text, "https://github.com/example/", "https://github.com/team/")
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

// Sigstore's policy-controller admits what a release published, and nothing else.
func TestPolicyController(t *testing.T) {
	s := newSite(t)
	_, img := s.publish(t, "team/app", evidence)
	policy := s.admission(t, "policy-controller-key.yaml")
	judge := func(image string) outcome {
		return run(t, s.dir, nil, "policy-tester", "--policy", policy, "--image", image)
	}
	at := s.host + "/team/app@" + img.Platforms[0].String()
	o := judge(at)
	require.Zero(t, o.code, "%s%s", o.stdout, o.stderr)

	_, bare := s.publish(t, "team/bare", nil)
	o = judge(s.host + "/team/bare@" + bare.Platforms[0].String())
	require.NotZero(t, o.code, "it has no attestations")
	must(t, s.dir, nil, "crane", "copy", at, s.host+"/team/unsigned:1")
	o = judge(s.host + "/team/unsigned:1")
	require.NotZero(t, o.code)
	require.NoError(t, os.Rename(filepath.Join(s.dir, "other.pub"), filepath.Join(s.dir, "release.pub")))
	policy = s.admission(t, "policy-controller-key.yaml")
	o = judge(at)
	require.NotZero(t, o.code, "it is signed by somebody else")
}
