package integration

import (
	"archive/tar"
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/integration/objectstore"
	"github.com/temper-images/temper/integration/sigstore"
	"github.com/temper-images/temper/integration/tools"
)

// trivial is an application that is quickly built.
func trivial(t testing.TB, settings string) string {
	t.Helper()
	return contextDir(t, map[string]string{"Dockerfile": "FROM debian:bookworm-slim\nCMD [\"true\"]\n", "temper.yaml": settings})
}

// TestReleaseToObjectStore: the store of temper.yaml is opened with credentials behind
// references, and read back by the image's name.
func TestReleaseToObjectStore(t *testing.T) {
	r := newReleases(t, harmless)
	server, err := objectstore.Start(bounded(t), objectstore.S3, t.TempDir())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Kill()) })
	url := server.URL(server.Addr)
	app := trivial(t, `evidence: {url: "`+url+`", account: ref+env://STORE_ACCOUNT, secret: ref+env://STORE_SECRET}`+"\n")
	env := []string{"STORE_ACCOUNT=" + server.Account, "STORE_SECRET=" + server.Secret}
	// The key is behind a reference too.
	args := append([]string{
		"--builder", shared.Addr, "release", "--progress", "plain", "--db", r.db.Archive, "--key", "ref+file://" + filepath.Join(r.dir, "cosign.key"),
	}, r.args...)
	ref := r.host(t) + "/stored:1"
	for range 2 {
		code, out := r.command(t, env, tools.Path("temper"), append(args, "-t", ref, app)...)
		require.Zero(t, code, out)
		require.NotContains(t, out, server.Secret)
	}
	store := []string{"--evidence", url, "--evidence-account", "ref+env://STORE_ACCOUNT", "--evidence-secret", "ref+env://STORE_SECRET"}
	code, out := r.command(t, env, tools.Path("temper"), append([]string{"evidence", "verify", ref, "--key", "cosign.pub"}, store...)...)
	require.Zero(t, code, out)
	code, out = r.command(t, env, tools.Path("temper"), append([]string{"evidence", "list", ref, "--all"}, store...)...)
	require.Zero(t, code, out)
	// The second run found its documents and signatures, the provenance too.
	require.Equal(t, 1, strings.Count(out, "/sbom-stored-amd64.cdx.json"), out)
	require.Equal(t, 1, strings.Count(out, "/attestation-stored-amd64.json"), out)
	code, out = r.command(t, []string{"STORE_ACCOUNT=" + server.Account, "STORE_SECRET=wrong-secret-of-the-store"}, tools.Path("temper"), append(args, app)...)
	require.Equal(t, 1, code, out)
	require.Contains(t, out, "evidence store")
	require.NotContains(t, out, "wrong-secret-of-the-store")
}

// TestReleaseKeyless: the CI platform's token, a certificate and a log of a private
// deployment, as temper.yaml names them.
func TestReleaseKeyless(t *testing.T) {
	r := newReleases(t, harmless)
	d, err := sigstore.Start(bounded(t), t.TempDir())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, d.Stop()) })
	token, err := d.Token("release@example.com", time.Hour)
	require.NoError(t, err)
	app := trivial(t, "sign: {key: keyless, token: ref+env://RELEASE_TOKEN, root: "+d.TrustedRoot+", services: "+d.SigningConfig+"}\n")
	args := append([]string{"--builder", shared.Addr, "release", "--progress", "plain", "--db", r.db.Archive, "-t", r.host(t) + "/keyless:1"}, r.args...)
	code, out := r.command(t, []string{"RELEASE_TOKEN=" + token}, tools.Path("temper"), append(args, app)...)
	require.Zero(t, code, out)
	require.NotContains(t, out, token)
	verify := []string{"evidence", "verify", r.host(t) + "/keyless:1", "--certificate-oidc-issuer", d.Issuer, "--trusted-root", d.TrustedRoot, "--certificate-identity"}
	code, out = r.temper(t, append(verify, "release@example.com")...)
	require.Zero(t, code, out)
	code, out = r.temper(t, append(verify, "else@example.com")...)
	require.NotZero(t, code, out)
	sbom := r.stored(t)["sbom-keyless-amd64.cdx.json"]
	for _, judge := range []string{"cosign", "cosign3"} {
		r.must(t, nil, judge, "verify-blob", "--bundle", sbom+".sigstore.json", "--new-bundle-format", "--trusted-root", d.TrustedRoot,
			"--certificate-identity", "release@example.com", "--certificate-oidc-issuer", d.Issuer, "--insecure-ignore-sct", "--use-signed-timestamps", sbom)
	}
}

// TestReleaseOfRemoteContext: the settings in a context that only the builder sees
// count too.
func TestReleaseOfRemoteContext(t *testing.T) {
	r := newReleases(t, harmful)
	archive := func(settings string) []byte {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		require.NoError(t, w.AddFS(os.DirFS(trivial(t, settings))))
		require.NoError(t, w.Close())
		return b.Bytes()
	}
	for settings, want := range map[string]int{"scan: {gate: warn}\n": 0, "sbom: {spdx: 2.3}\n": exitRefused} {
		cmd := exec.CommandContext(bounded(t), tools.Path("temper"), append(append([]string{
			"--builder", shared.Addr, "release", "--progress", "plain", "--db", r.db.Archive, "--key", "cosign.key", "-o", filepath.Join(t.TempDir(), "remote.oci"),
		}, r.args...), "-")...)
		cmd.Dir, cmd.Stdin = r.dir, bytes.NewReader(archive(settings))
		cmd.Env = append(os.Environ(), "COSIGN_PASSWORD="+password, "TEMPER_DB_DIR="+filepath.Join(r.dir, "cache"), "XDG_STATE_HOME="+filepath.Join(r.dir, "state"))
		out, err := cmd.CombinedOutput()
		require.Equal(t, want, cmd.ProcessState.ExitCode(), "%v\n%s", err, out)
	}
}

// TestReleaseOfStages: builder stages and the build context are in the SBOMs when they
// are asked for, as what took part in the build.
func TestReleaseOfStages(t *testing.T) {
	r := newReleases(t, harmless)
	app := contextDir(t, map[string]string{
		"Dockerfile":   "FROM debian:bookworm AS tools\nRUN touch /made\nFROM debian:bookworm-slim\nCOPY --from=tools /made /made\nCMD [\"true\"]\n",
		"package.json": `{"name": "app", "version": "1.0.0"}`,
		"package-lock.json": `{"name": "app", "version": "1.0.0", "lockfileVersion": 3, "packages": {"": {"name": "app", "version": "1.0.0"},
			"node_modules/left-pad": {"version": "1.3.0"}}}`,
		"temper.yaml": "sbom: {stages: [tools], context: true}\n",
	})
	code, out := r.release(t, app, "--no-push", "-t", "example.com/staged:1")
	require.Zero(t, code, out)
	files := r.stored(t)
	for _, ending := range []string{".cdx.json", ".spdx.json"} {
		sbom := string(readFile(t, files["sbom-staged-amd64"+ending]))
		require.Contains(t, sbom, "left-pad", "a package of the build context")
		require.Contains(t, sbom, "pkg:deb/debian/apt@", "a package of the stage that the image does not have")
		require.Contains(t, sbom, "debian:bookworm-slim", "the base image")
	}
	// What took part in the build is not in the image, so it is not scanned as such.
	require.NotContains(t, string(readFile(t, files["scan-staged-amd64.json"])), "left-pad")

	code, out = r.release(t, contextDir(t, map[string]string{
		"Dockerfile": "FROM debian:bookworm-slim\nCMD [\"true\"]\n", "temper.yaml": "sbom: {stages: [nowhere]}\n",
	}))
	require.Equal(t, 1, code, out)
	require.Contains(t, out, "sbom.stages")
}
