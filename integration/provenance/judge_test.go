package provenance

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	digest "github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/client/build"
	"github.com/temper-images/temper/client/provenance"
	"github.com/temper-images/temper/client/subject"
	"github.com/temper-images/temper/integration/tools"
)

// program runs a built program in dir, without the machine's own secrets.
func program(t *testing.T, dir, name string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, tools.Path(name), args...)
	cmd.Dir = dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "COSIGN_PASSWORD=a password"}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// Both command lines of cosign read the statements of temper release and temper
// attest, as provenance of the image's manifest.
func TestCosignReadsTheStatements(t *testing.T) {
	ctx := bounded(t)
	c := connect(t, shared.Addr)
	dir := t.TempDir()
	res, err := c.Build(ctx, build.Request{
		Context:    directory(t, map[string]string{"Dockerfile": "FROM scratch\nARG WORD\nCOPY Dockerfile /\nCMD [\"/x\"]\n"}),
		BuildArgs:  []string{"WORD=" + planted},
		Outputs:    []string{filepath.Join(dir, "app.oci")},
		Attest:     []string{"type=provenance,mode=max,version=v1"},
		Provenance: true,
	})
	require.NoError(t, err)
	set, err := subject.Open(ctx, filepath.Join(dir, "app.oci"), subject.Options{})
	require.NoError(t, err)
	defer func() { require.NoError(t, set.Close()) }()
	img := set.Images[0]
	b, err := provenance.ReadBuild(res.Provenance[img.Platform])
	require.NoError(t, err)
	released, err := provenance.Release(provenance.Input{
		Image: provenance.Image{Name: img.Name, Digest: img.Digest, Platform: img.Platform}, Build: b,
		Byproducts: []provenance.Byproduct{{Name: "buildkit.json", MediaType: "application/json", Digest: digest.FromBytes(b.Document)}},
		Started:    time.Unix(1_750_000_000, 0), Finished: time.Unix(1_750_000_001, 0),
	})
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "released.json"), released, 0o600))
	out, err := program(t, dir, "temper", "attest", "app.oci", "-o", "observed.json")
	require.NoError(t, err, out)
	observed, err := os.ReadFile(filepath.Join(dir, "observed.json"))
	require.NoError(t, err)
	requireNoSecrets(t, "what is observed", observed)
	st, err := provenance.Read(observed)
	require.NoError(t, err)
	require.Contains(t, dependencies(st), "frontend", "out of the attached provenance")

	require.NoError(t, os.WriteFile(filepath.Join(dir, "trust.json"), []byte(`{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1"}`), 0o600))
	out, err = program(t, dir, "temper", "key", "generate")
	require.NoError(t, err, out)
	out, err = program(t, dir, "temper", "sign", "--key", "cosign.key", "released.json", "observed.json")
	require.NoError(t, err, out)
	manifest := filepath.Join(dir, "app.oci", "blobs", "sha256", img.Digest.Encoded())
	for _, judge := range []string{"cosign", "cosign3"} {
		for _, file := range []string{"released.json", "observed.json"} {
			t.Run(judge+" "+file, func(t *testing.T) {
				verify := func(bundle, typ, blob string) (string, error) {
					return program(t, dir, judge, "verify-blob-attestation", "--key", "cosign.pub", "--bundle", bundle, "--new-bundle-format",
						"--trusted-root", "trust.json", "--insecure-ignore-tlog", "--type", typ, blob)
				}
				bundle := file + ".dsse.sigstore.json"
				out, err := verify(bundle, "slsaprovenance1", manifest)
				require.NoError(t, err, out)
				_, err = verify(bundle, "slsaprovenance", manifest)
				require.Error(t, err, "another version of SLSA")
				_, err = verify(bundle, "slsaprovenance1", filepath.Join(dir, "cosign.pub"))
				require.Error(t, err, "another image")
				dt, err := os.ReadFile(filepath.Join(dir, bundle))
				require.NoError(t, err)
				// One letter of the payload, which is in base64.
				at := strings.Index(string(dt), `"payload":"`) + 100
				require.Greater(t, at, 100)
				if dt[at] == 'A' {
					dt[at] = 'B'
				} else {
					dt[at] = 'A'
				}
				require.NoError(t, os.WriteFile(filepath.Join(dir, "changed.json"), dt, 0o600))
				_, err = verify("changed.json", "slsaprovenance1", manifest)
				require.Error(t, err, "a changed statement")
			})
		}
	}
	require.Equal(t, "linux/"+runtime.GOARCH, img.Platform)
}
