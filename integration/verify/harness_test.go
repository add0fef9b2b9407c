// Package verify tests temper verify against real parts: docker-registry, through
// faults too, a Sigstore deployment, and images that cosign 2 and 3 signed.
package verify

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/client/registry"
	"github.com/temper-images/temper/client/signing"
	"github.com/temper-images/temper/integration/publish"
	registryserver "github.com/temper-images/temper/integration/registry"
	"github.com/temper-images/temper/integration/sigstore"
	"github.com/temper-images/temper/integration/tools"
)

const (
	password = "p4ss-w0rd-that-nobody-prints"
	person   = "someone@example.com"
	builder  = "https://github.com/team/release/.github/workflows/temper.yml@refs/tags/v1"
)

// limit bounds each program that a test runs.
const limit = 2 * time.Minute

// The exit codes, as they are documented.
const (
	passed      = 0
	usage       = 2
	unsigned    = 6
	wrongSigner = 7
	notMet      = 8
	unreachable = 9
)

// evidence are the predicates that the tests' images have.
var evidence = map[string]string{
	"https://slsa.dev/provenance/v1": `{"buildDefinition":{"buildType":"https://actions.github.io/buildtypes/workflow/v1",
		"externalParameters":{"workflow":{"ref":"refs/tags/v1","repository":"https://github.com/team/app","path":".github/workflows/release.yml"}},
		"internalParameters":{"github":{"runner_environment":"github-hosted"}},
		"resolvedDependencies":[{"uri":"git+https://github.com/team/app@refs/tags/v1","digest":{"gitCommit":"0123456789abcdef0123456789abcdef01234567"}}]},
		"runDetails":{"builder":{"id":"` + builder + `"}}}`,
	"https://cyclonedx.org/bom": `{"bomFormat":"CycloneDX","specVersion":"1.6","components":[]}`,
	"https://cosign.sigstore.dev/attestation/vuln/v1": `{"scanner":{"uri":"pkg:golang/github.com/anchore/grype@v0.120.1",
		"db":{"version":"v6.1.10-20260504030201"},"result":{}},"metadata":{"scanFinishedOn":"2026-05-05T00:00:00Z"}}`,
}

// outcome is what a program did.
type outcome struct {
	stdout, stderr string
	code           int
}

// run runs a program in dir, in an environment without credentials.
func run(t *testing.T, dir string, env []string, program string, args ...string) outcome {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, tools.Path(program), args...)
	cmd.Dir = dir
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "COSIGN_PASSWORD=" + password}, env...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		require.NoError(t, err)
	}
	require.NoError(t, ctx.Err(), "%s %s takes too long: %s", program, strings.Join(args, " "), stderr.String())
	require.NotContains(t, stdout.String()+stderr.String(), password)
	return outcome{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// must runs a program that has to succeed.
func must(t *testing.T, dir string, env []string, program string, args ...string) outcome {
	t.Helper()
	o := run(t, dir, env, program, args...)
	require.Zero(t, o.code, "%s %s: %s%s", program, strings.Join(args, " "), o.stdout, o.stderr)
	return o
}

// verified runs temper verify, which has to end with a code.
func verified(t *testing.T, dir string, code int, args ...string) outcome {
	t.Helper()
	o := run(t, dir, nil, "temper", append([]string{"verify", "--log-format", "none"}, args...)...)
	require.Equal(t, code, o.code, "temper verify %s: %s%s", strings.Join(args, " "), o.stdout, o.stderr)
	return o
}

func dockerRegistry(t *testing.T, users map[string]string) string {
	t.Helper()
	r, err := registryserver.StartWithUsers(t.Context(), t.TempDir(), users)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, r.Stop()) })
	return r.Host
}

// site is a directory with a key pair, and a registry.
type site struct {
	dir, host string
}

func newSite(t *testing.T) site {
	t.Helper()
	s := site{t.TempDir(), dockerRegistry(t, nil)}
	_, err := publish.NewKey(filepath.Join(s.dir, "release"))
	require.NoError(t, err)
	_, err = publish.NewKey(filepath.Join(s.dir, "other"))
	require.NoError(t, err)
	return s
}

// publish publishes an index of two images under a repository of its own, signed with
// the key, or as change says.
func (s site) publish(t *testing.T, repository string, attest map[string]string, change ...func(*publish.Release)) (string, *publish.Image) {
	t.Helper()
	img, err := publish.NewImage(t.TempDir(), t.Name(), false, "amd64", "arm64")
	require.NoError(t, err)
	ref := fmt.Sprintf("%s/%s:1", s.host, repository)
	r := &publish.Release{
		Image: img, Tags: []string{ref}, Key: filepath.Join(s.dir, "release.key"), Attest: attest,
		Retry: registry.Retry{Attempts: 5, Base: 10 * time.Millisecond, Cap: 200 * time.Millisecond},
	}
	for _, f := range change {
		f(r)
	}
	_, err = r.Run(t.Context())
	require.NoError(t, err)
	return ref, img
}

// rekor is a transparency log of one version, and what describes it.
type rekor struct {
	trustedRoot, signingConfig string
}

// logs are those of both versions.
func logs(t *testing.T, d *sigstore.Deployment) map[string]rekor {
	t.Helper()
	one, err := d.StartRekor1(t.Context(), t.TempDir())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, one.Stop()) })
	return map[string]rekor{"log 1": {one.TrustedRoot, one.SigningConfig}, "log 2": {d.TrustedRoot, d.SigningConfig}}
}

// keyless has a release signed by person.
func keyless(t *testing.T, d *sigstore.Deployment, l rekor) func(*publish.Release) {
	t.Helper()
	token, err := d.Token(person, time.Hour)
	require.NoError(t, err)
	deployment := signing.Deployment{SigningConfig: l.signingConfig, TrustedRoot: l.trustedRoot}
	return func(r *publish.Release) {
		r.Key = ""
		r.Signing = &signing.Options{IDToken: token, Sigstore: deployment}
		r.Verify = &signing.VerifyOptions{Identities: []signing.Identity{{Subject: person, Issuer: d.Issuer}}, Sigstore: deployment}
	}
}

func TestMain(m *testing.M) { sigstore.Main(m) }
