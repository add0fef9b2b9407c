package transfer

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
	digest "github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/client/registry"
	"github.com/temper-images/temper/client/transfer"
	"github.com/temper-images/temper/integration/registries"
	server "github.com/temper-images/temper/integration/registry"
	"github.com/temper-images/temper/integration/tools"
)

const password = "p4ss-w0rd-that-nobody-prints"

// limit bounds each program that a test runs.
const limit = 2 * time.Minute

// outcome is what a program did.
type outcome struct {
	stdout, stderr string
	code           int
}

// command is a program in dir, in an environment without credentials. A name without
// a built program of that name is one of the system's.
func command(ctx context.Context, dir, program string, args ...string) *exec.Cmd {
	path := tools.Path(program)
	if _, err := os.Stat(path); err != nil {
		path = program
	}
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Dir = dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "COSIGN_PASSWORD=" + password}
	return cmd
}

func run(t testing.TB, dir, program string, args ...string) outcome {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	cmd := command(ctx, dir, program, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		require.NoError(t, err)
	}
	require.NoError(t, ctx.Err(), "%s %s takes too long: %s", program, strings.Join(args, " "), stderr.String())
	return outcome{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// must runs a program that has to succeed, and returns what it prints.
func must(t testing.TB, dir, program string, args ...string) string {
	t.Helper()
	o := run(t, dir, program, args...)
	require.Zero(t, o.code, "%s %s: %s%s", program, strings.Join(args, " "), o.stdout, o.stderr)
	return o.stdout
}

// distribution starts Debian's docker-registry, which has no referrers API.
func distribution(t testing.TB) string {
	t.Helper()
	r, err := server.Start(t.Context(), t.TempDir())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, r.Stop()) })
	return r.Host
}

// pushIndex pushes an index with two images, with two layers of so many bytes each.
// It is written as BuildKit and skopeo write it: skopeo 1.9 does not keep the digest
// of one whose fields are in another order.
func pushIndex(t testing.TB, ref string, size int64) digest.Digest {
	t.Helper()
	tag, err := name.NewTag(ref)
	require.NoError(t, err)
	index := ocispecs.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispecs.MediaTypeImageIndex}
	for _, arch := range []string{"amd64", "arm64"} {
		img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
		img, err := mutate.ConfigFile(img, &v1.ConfigFile{OS: "linux", Architecture: arch})
		require.NoError(t, err)
		for range 2 {
			layer, err := random.Layer(size, types.OCILayer)
			require.NoError(t, err)
			img, err = mutate.AppendLayers(img, layer)
			require.NoError(t, err)
		}
		sum, err := img.Digest()
		require.NoError(t, err)
		bytes, err := img.Size()
		require.NoError(t, err)
		require.NoError(t, remote.Write(tag.Digest(sum.String()), img, remote.WithContext(t.Context())))
		index.Manifests = append(index.Manifests, ocispecs.Descriptor{
			MediaType: ocispecs.MediaTypeImageManifest, Digest: digest.Digest(sum.String()), Size: bytes,
			Platform: &ocispecs.Platform{OS: "linux", Architecture: arch},
		})
	}
	data, err := json.Marshal(index)
	require.NoError(t, err)
	require.NoError(t, open(t, tag.RegistryStr(), tag.RepositoryStr(), nil).PutManifest(t.Context(), tag.TagStr(), index.MediaType, data))
	return digest.FromBytes(data)
}

// signers are the versions of cosign, with the flags to sign without a log.
var signers = map[string][]string{
	"cosign":  {"--tlog-upload=false"},
	"cosign3": {"--tlog-upload=false", "--use-signing-config=false"},
}

// signed is a directory with the keys release and stranger, and an image that
// versions of cosign signed and attested with the first.
type signed struct {
	dir   string
	ref   string
	dgst  digest.Digest
	flags []string
}

// pushSigned pushes an index, in which each image is signed too. Version 2 of cosign
// keeps signatures under its tags, version 3 as referrers.
func pushSigned(t testing.TB, host string, size int64, by ...string) signed {
	t.Helper()
	s := signed{dir: t.TempDir(), ref: host + "/team/app:1.2", flags: []string{"--insecure-ignore-tlog", "--allow-http-registry"}}
	require.NoError(t, os.WriteFile(filepath.Join(s.dir, "empty-root.json"), []byte(`{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1"}`), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(s.dir, "sbom.json"), []byte(`{"bomFormat":"CycloneDX","specVersion":"1.6"}`), 0o600))
	s.dgst = pushIndex(t, s.ref, size)
	at := host + "/team/app@" + s.dgst.String()
	must(t, s.dir, "cosign", "generate-key-pair", "--output-key-prefix", "release")
	must(t, s.dir, "cosign", "generate-key-pair", "--output-key-prefix", "stranger")
	for _, who := range by {
		flags := append([]string{"--yes", "--key", "release.key", "--allow-http-registry"}, signers[who]...)
		must(t, s.dir, who, append(append([]string{"sign", "--recursive"}, flags...), at)...)
		must(t, s.dir, who, append(append([]string{"attest", "--type", "cyclonedx", "--predicate", "sbom.json"}, flags...), at)...)
		if who == "cosign3" {
			// For bundles it wants a trusted root, even to verify with a key.
			s.flags = append(s.flags, "--trusted-root", "empty-root.json")
		}
	}
	return s
}

// requireVerified has both versions of cosign verify signature and attestation.
func (s signed) requireVerified(t testing.TB, ref string) {
	t.Helper()
	for program := range signers {
		for _, args := range [][]string{{"verify"}, {"verify-attestation", "--type", "cyclonedx"}} {
			must(t, s.dir, program, slices.Concat(args, s.flags, []string{"--key", "release.pub", ref})...)
			require.NotZero(t, run(t, s.dir, program, slices.Concat(args, s.flags, []string{"--key", "stranger.pub", ref})...).code)
		}
	}
}

// open opens a repository with a server's own account, and makes it where that is
// wanted.
func open(t testing.TB, host, repository string, account *registries.Server) *registry.Repository {
	t.Helper()
	repo, err := name.NewRepository(host + "/" + repository)
	require.NoError(t, err)
	o := registry.Options{Retry: registry.Retry{Base: 10 * time.Millisecond, Cap: 50 * time.Millisecond}}
	if account != nil {
		o.Keychain, o.Create = account, account
	}
	r, err := registry.Open(t.Context(), repo, o)
	require.NoError(t, err)
	return r
}

// closure is what is found beside an image.
func closure(t testing.TB, ref string, dgst digest.Digest) *transfer.Closure {
	t.Helper()
	parsed, err := name.ParseReference(ref)
	require.NoError(t, err)
	r, err := registry.Open(t.Context(), parsed.Context(), registry.Options{})
	require.NoError(t, err)
	c, err := transfer.Collect(t.Context(), r, ocispecs.Descriptor{Digest: dgst}, "")
	require.NoError(t, err)
	return c
}

// requireSame compares what was found in two places.
func requireSame(t testing.TB, want, got *transfer.Closure) {
	t.Helper()
	for dgst := range want.Manifests {
		require.Contains(t, got.Manifests, dgst)
	}
	require.Len(t, got.Manifests, len(want.Manifests))
	require.Equal(t, want.Blobs, got.Blobs)
	require.Equal(t, want.Tags, got.Tags)
}

func decode(t testing.TB, text string, v any) {
	t.Helper()
	require.NoError(t, json.Unmarshal([]byte(text), v), text)
}
