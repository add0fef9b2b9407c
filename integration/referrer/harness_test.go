// Package referrer tests client/referrer against real parts: registries with and
// without the referrers API, and the command lines of cosign 2 and 3, oras and crane.
package referrer

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"cuelabs.dev/go/oci/ociregistry/ocimem"
	"cuelabs.dev/go/oci/ociregistry/ociserver"
	"github.com/google/go-containerregistry/pkg/name"
	ggcrregistry "github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
	digest "github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/client/referrer"
	"github.com/temper-images/temper/client/registry"
	registryserver "github.com/temper-images/temper/integration/registry"
	"github.com/temper-images/temper/integration/sigstore"
	"github.com/temper-images/temper/integration/tools"
)

const (
	password = "p4ss-w0rd-that-nobody-prints"
	person   = "someone@example.com"
)

// limit bounds each program that a test runs.
const limit = 2 * time.Minute

// created is the time that referrers of the tests carry.
var created = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

// outcome is what a program did.
type outcome struct {
	stdout, stderr string
	code           int
}

// run runs a program in dir, in an environment without credentials and with the
// variables given as NAME=VALUE.
func run(t testing.TB, dir string, env []string, program string, args ...string) outcome {
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
	return outcome{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// must runs a program that has to succeed.
func must(t testing.TB, dir string, env []string, program string, args ...string) outcome {
	t.Helper()
	o := run(t, dir, env, program, args...)
	require.Zero(t, o.code, "%s %s: %s%s", program, strings.Join(args, " "), o.stdout, o.stderr)
	return o
}

// registries are the kinds of registries: each starts one, and returns its host.
var registries = map[string]func(t *testing.T) string{
	"distribution 2.8": func(t *testing.T) string {
		r, err := registryserver.Start(t.Context(), t.TempDir())
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, r.Stop()) })
		return r.Host
	},
	"referrers API": func(t *testing.T) string {
		s := httptest.NewServer(ociserver.New(ocimem.New(), nil))
		t.Cleanup(s.Close)
		return strings.TrimPrefix(s.URL, "http://")
	},
	// It lists referrers with the type of their configuration as artifact type.
	"wrong artifact types": func(t *testing.T) string {
		s := httptest.NewServer(ggcrregistry.New(ggcrregistry.WithReferrersSupport(true), ggcrregistry.Logger(log.New(io.Discard, "", 0))))
		t.Cleanup(s.Close)
		return strings.TrimPrefix(s.URL, "http://")
	},
}

// image is one that was pushed.
type image struct {
	repo *registry.Repository
	desc ocispecs.Descriptor
}

// ref names it by its digest.
func (i image) ref() string { return i.repo.Name().Name() + "@" + i.desc.Digest.String() }

// pushImage pushes an image, or an index with two.
func pushImage(t *testing.T, host string, index bool) image {
	t.Helper()
	repo, err := name.NewRepository(host + "/team/app")
	require.NoError(t, err)
	var pushed remote.Taggable
	one, err := random.Image(256, 1)
	require.NoError(t, err)
	one = mutate.ConfigMediaType(mutate.MediaType(one, types.OCIManifestSchema1), types.OCIConfigJSON)
	pushed = one
	if index {
		two, err := random.Image(256, 1)
		require.NoError(t, err)
		all := mutate.IndexMediaType(mutate.AppendManifests(empty.Index, mutate.IndexAddendum{Add: one}, mutate.IndexAddendum{Add: two}), types.OCIImageIndex)
		require.NoError(t, remote.WriteIndex(repo.Tag("1.0"), all, remote.WithContext(t.Context())))
		pushed = all
	} else {
		require.NoError(t, remote.Write(repo.Tag("1.0"), one, remote.WithContext(t.Context())))
	}
	raw, err := pushed.RawManifest()
	require.NoError(t, err)
	r, err := registry.Open(t.Context(), repo, registry.Options{})
	require.NoError(t, err)
	desc, data, err := r.Manifest(t.Context(), "1.0")
	require.NoError(t, err)
	require.Equal(t, string(raw), string(data))
	return image{r, desc}
}

// attach pushes manifests as a publisher does: blobs, manifests, and the index of
// referrers where the registry has no API for them.
func attach(t *testing.T, to image, manifests []referrer.Manifest) {
	t.Helper()
	ctx := t.Context()
	var listed []ocispecs.Descriptor
	for _, m := range manifests {
		for _, b := range m.Blobs {
			_, err := to.repo.PushBlob(ctx, b.Descriptor, func(offset int64) (io.ReadCloser, error) {
				return io.NopCloser(bytes.NewReader(b.Data[offset:])), nil
			}, registry.BlobOptions{})
			require.NoError(t, err)
		}
		ref := m.Tag
		if ref == "" {
			ref = m.Descriptor.Digest.String()
			listed = append(listed, m.Descriptor)
		}
		require.NoError(t, to.repo.PutManifest(ctx, ref, m.Descriptor.MediaType, m.Data))
	}
	api, err := to.repo.HasReferrersAPI(ctx)
	require.NoError(t, err)
	if api || len(listed) == 0 {
		return
	}
	tag := referrer.FallbackTag(to.desc.Digest)
	_, existing, err := to.repo.Manifest(ctx, tag)
	if !errors.Is(err, registry.ErrNotFound) {
		require.NoError(t, err)
	}
	merged, changed, err := referrer.MergeIndex(existing, listed)
	require.NoError(t, err)
	if changed {
		require.NoError(t, to.repo.PutManifest(ctx, tag, ocispecs.MediaTypeImageIndex, merged))
	}
}

// statement is an in-toto statement about a manifest.
func statement(t *testing.T, predicateType string, subject digest.Digest) []byte {
	t.Helper()
	data, err := json.Marshal(map[string]any{
		"_type":         "https://in-toto.io/Statement/v1",
		"subject":       []any{map[string]any{"name": "app", "digest": map[string]string{subject.Algorithm().String(): subject.Encoded()}}},
		"predicateType": predicateType,
		"predicate":     map[string]any{"made": "by a test"},
	})
	require.NoError(t, err)
	return data
}

func TestMain(m *testing.M) { sigstore.Main(m) }
