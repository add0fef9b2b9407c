package integration

import (
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/client/artifact"
	"github.com/temper-images/temper/client/publish"
	"github.com/temper-images/temper/integration/registry"
	"github.com/temper-images/temper/integration/tools"
)

// repositories lists what the registry of a test has.
func (r *releases) repositories(t *testing.T) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(r.storage, "docker/registry/v2/repositories/*"))
	require.NoError(t, err)
	for i := range names {
		names[i] = filepath.Base(names[i])
	}
	return names
}

// TestDryRun: what is printed is what would be pushed, and nothing is.
func TestDryRun(t *testing.T) {
	r := newReleases(t, harmless)
	app := trivial(t, "")
	ref := r.host(t) + "/dry:1"
	code, out := r.release(t, app, "--dry-run", "-t", ref)
	require.Zero(t, code, out)
	require.Empty(t, r.repositories(t))
	require.NoDirExists(t, filepath.Join(r.dir, "temper-evidence"))
	require.NoDirExists(t, filepath.Join(r.dir, "state"))
	for _, says := range []string{"push signature", "push attestation", "https://slsa.dev/provenance/v1", "https://cyclonedx.org/bom", "1-amd64 = sha256:"} {
		require.Contains(t, out, says)
	}
	require.NoFileExists(t, filepath.Join(r.dir, "plan.json"))
	code, out = r.command(t, nil, "sh", "-c", `exec "$@" >plan.json`, "sh", tools.Path("temper"), "--builder", shared.Addr, "release", "--progress", "none",
		"--db", r.db.Archive, "--key", "cosign.key", "--dry-run", "--dry-run-output", "json", "-t", ref,
		"--build-context", r.args[1], "--build-context", r.args[3], "--build-context", r.args[5], app)
	require.Zero(t, code, out)
	var plan publish.Plan
	require.NoError(t, json.Unmarshal(readFile(t, filepath.Join(r.dir, "plan.json")), &plan))
	last := plan.Operations[len(plan.Operations)-1]
	require.Equal(t, publish.ActionCheck, last.Action)
	require.Equal(t, "1", last.Tag)
	require.Equal(t, plan.Image, last.Digest)
}

// TestReleaseAgain: a release that has nothing new to say writes nothing new; another
// image under its tag is refused, and moves it when that is asked for.
func TestReleaseAgain(t *testing.T) {
	r := newReleases(t, harmless)
	app := trivial(t, "")
	ref := r.host(t) + "/again:1"
	code, out := r.release(t, app, "-t", ref)
	require.Zero(t, code, out)
	blobs := func() []string {
		list, err := filepath.Glob(filepath.Join(r.storage, "docker/registry/v2/blobs/sha256/*/*"))
		require.NoError(t, err)
		return list
	}
	before := blobs()
	code, out = r.release(t, app, "-t", ref)
	require.Zero(t, code, out)
	require.Contains(t, out, "take documents of an unchanged release")
	require.Equal(t, before, blobs(), "nothing new is in the registry")
	// A machine without the journal finds its own signatures in the registry.
	require.NoError(t, os.RemoveAll(filepath.Join(r.dir, "state")))
	code, out = r.release(t, app, "-t", ref)
	require.Zero(t, code, out)
	out = r.must(t, nil, "oras", "discover", "--plain-http", "--format", "json", "--artifact-type", artifact.TypeBundle, ref)
	require.Equal(t, 1, strings.Count(out, `"dev.sigstore.bundle.predicateType": "https://sigstore.dev/cosign/sign/v1"`), out)
	out = r.must(t, nil, "crane", "manifest", r.host(t)+"/again:"+strings.Replace(r.must(t, nil, "crane", "digest", ref), ":", "-", 1)[:71]+".sig")
	require.Equal(t, 1, strings.Count(out, "dev.cosignproject.cosign/signature"), out)

	other := contextDir(t, map[string]string{"Dockerfile": "FROM debian:bookworm-slim\nCMD [\"false\"]\n"})
	code, out = r.release(t, other, "-t", ref)
	require.Equal(t, 1, code, out)
	require.Contains(t, out, "--move-tag")
	code, out = r.temper(t, "verify", ref, "--key", "cosign.pub")
	require.Zero(t, code, out)
	code, out = r.release(t, other, "-t", ref, "--move-tag")
	require.Zero(t, code, out)

	for _, tc := range []struct{ tag, says string }{
		{r.host(t) + "/again", "latest"}, {r.host(t) + "/again:latest", "latest"}, {"!:1", "tag"},
	} {
		code, out := r.release(t, app, "-t", tc.tag)
		require.Equal(t, exitUsage, code, out)
		require.Contains(t, out, tc.says)
	}
	code, out = r.temper(t, append(append([]string{"release", "--db", r.db.Archive, "-t", ref}, r.args...), app)...)
	require.Equal(t, exitUsage, code, out)
	require.Contains(t, out, "--no-push")
}

// TestPublishExisting: an image that exists is published with what the evidence store
// has about it.
func TestPublishExisting(t *testing.T) {
	r := newReleases(t, harmless)
	code, out := r.temper(t, append(append([]string{"build", "-o", "app.oci"}, r.args...), trivial(t, ""))...)
	require.Zero(t, code, out)
	bare, attested := r.host(t)+"/bare:1", r.host(t)+"/attested:1"
	code, out = r.temper(t, "publish", "app.oci", "-t", bare, "--key", "cosign.key")
	require.Zero(t, code, out)
	require.Contains(t, out, "nothing is attested")
	code, out = r.temper(t, "verify", bare, "--key", "cosign.pub", "--require", "signature")
	require.Zero(t, code, out)
	code, out = r.temper(t, "verify", bare, "--key", "cosign.pub")
	require.Equal(t, exitPolicy, code, out)
	code, out = r.temper(t, "evidence", "create", "app.oci", "--db", r.db.Archive, "--key", "cosign.key")
	require.Zero(t, code, out)
	code, out = r.temper(t, "publish", "app.oci", "-t", attested, "--key", "cosign.key")
	require.Zero(t, code, out)
	code, out = r.temper(t, "verify", attested, "--key", "cosign.pub", "--require", "signature,sbom,scan,gate,hardening,inspection")
	require.Zero(t, code, out)
	code, out = r.temper(t, "verify", attested, "--key", "cosign.pub")
	require.Equal(t, exitPolicy, code, out)
	require.Contains(t, out, "somebody looked at the finished image")
	code, out = r.temper(t, "publish", "app.oci", "--key", "cosign.key")
	require.Equal(t, exitUsage, code, out)
}

// TestReleaseWithLogin: the credentials of temper.yaml are behind references, and a
// registry that does not take them is no image without a signature.
func TestReleaseWithLogin(t *testing.T) {
	r := newReleases(t, harmless)
	reg, err := registry.StartWithUsers(bounded(t), t.TempDir(), map[string]string{"ci": "a-password-of-the-registry"})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, reg.Stop()) })
	app := trivial(t, "push: {logins: [{registry: '"+reg.Host+"', username: ci, password: ref+env://REGISTRY_PASSWORD}]}\n")
	args := append([]string{
		"--builder", shared.Addr, "release", "--progress", "plain", "--db", r.db.Archive, "--key", "cosign.key", "-t", reg.Host + "/team/app:1",
	}, r.args...)
	code, out := r.command(t, []string{"REGISTRY_PASSWORD=wrong-password-of-the-registry"}, tools.Path("temper"), append(args, app)...)
	require.Equal(t, exitRegistry, code, out)
	require.Contains(t, out, reg.Host)
	require.NotContains(t, out, "wrong-password-of-the-registry")
	code, out = r.command(t, []string{"REGISTRY_PASSWORD=a-password-of-the-registry"}, tools.Path("temper"), append(args, app)...)
	require.Zero(t, code, out)
	require.NotContains(t, out, "a-password-of-the-registry")
	code, out = r.command(t, []string{"DOCKER_CONFIG=" + t.TempDir()}, tools.Path("temper"), "verify", reg.Host+"/team/app:1", "--key", "cosign.pub")
	require.Equal(t, exitRegistry, code, out)
	config := t.TempDir()
	auth := base64.StdEncoding.EncodeToString([]byte("ci:a-password-of-the-registry"))
	require.NoError(t, os.WriteFile(filepath.Join(config, "config.json"), []byte(`{"auths": {"`+reg.Host+`": {"auth": "`+auth+`"}}}`), 0o600))
	code, out = r.command(t, []string{"DOCKER_CONFIG=" + config}, tools.Path("temper"), "verify", reg.Host+"/team/app:1", "--key", "cosign.pub")
	require.Zero(t, code, out)
}

// TestReleaseOfPlatforms: each platform's image has a tag and attestations of its own,
// and the index over them is signed and has the provenance of each.
func TestReleaseOfPlatforms(t *testing.T) {
	r := newReleases(t, harmless)
	app := contextDir(t, map[string]string{
		"Dockerfile": "FROM scratch\nARG TARGETARCH\nCOPY $TARGETARCH /srv/data\nUSER 65532:65532\nCMD [\"/srv/data\"]\n",
		"amd64":      "for one\n", "arm64": "for the other\n",
	})
	ref := r.host(t) + "/team/both:1"
	code, out := r.release(t, app, "-t", ref, "--platform", "linux/amd64,linux/arm64")
	require.Zero(t, code, out)
	for _, tag := range []string{ref, ref + "-amd64", ref + "-arm64"} {
		code, out := r.temper(t, "verify", tag, "--key", "cosign.pub", "--require", "signature,provenance,sbom,scan,gate,inspection")
		require.Zero(t, code, out)
	}
	types := func(tag string) []string {
		var out []string
		for _, m := range regexp.MustCompile(`"dev.sigstore.bundle.predicateType": "([^"]+)"`).FindAllStringSubmatch(
			r.must(t, nil, "oras", "discover", "--plain-http", "--format", "json", "--artifact-type", artifact.TypeBundle, tag), -1) {
			out = append(out, m[1])
		}
		return out
	}
	require.ElementsMatch(t, []string{"https://sigstore.dev/cosign/sign/v1", "https://slsa.dev/provenance/v1", "https://slsa.dev/provenance/v1"}, types(ref))
	require.Contains(t, types(ref+"-arm64"), "https://cyclonedx.org/bom")
	// Without BuildKit's attestation manifests, the index lists the two images alone.
	code, out = r.release(t, app, "-t", r.host(t)+"/team/plain:1", "--platform", "linux/amd64,linux/arm64", "--build-arg", "TEMPER_PUSH_PLAIN=true")
	require.Zero(t, code, out)
	require.Equal(t, 2, strings.Count(r.must(t, nil, "crane", "manifest", r.host(t)+"/team/plain:1"), `"architecture"`))
	require.NotContains(t, r.must(t, nil, "crane", "manifest", r.host(t)+"/team/plain:1"), "attestation-manifest")
	code, out = r.temper(t, "verify", r.host(t)+"/team/plain:1", "--key", "cosign.pub")
	require.Zero(t, code, out)
}
