package publish

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/client/registry"
	"github.com/temper-images/temper/integration/registries"
)

// The predicates that a release attests, and what stands for them.
const (
	provenanceType = "https://slsa.dev/provenance/v1"
	scanType       = "https://cosign.sigstore.dev/attestation/vuln/v1"
)

var predicates = map[string]string{
	provenanceType: `{"buildDefinition":{"buildType":"https://example.com/test"},"runDetails":{"builder":{"id":"https://github.com/example/app"}}}`,
	scanType:       `{"scanner":{"uri":"pkg:golang/example.com/scanner","result":{}},"metadata":{"scanStartedOn":"2026-01-02T03:04:05Z","scanFinishedOn":"2026-01-02T03:04:05Z"}}`,
}

// impatient makes a failing test fail soon.
var impatient = registry.Retry{Attempts: 5, Base: 10 * time.Millisecond, Cap: 20 * time.Millisecond}

// childVariable has the release that a process of this program is to carry out.
const childVariable = "TEMPER_TEST_RELEASE"

func TestMain(m *testing.M) {
	if job := os.Getenv(childVariable); job != "" {
		os.Exit(child(job))
	}
	os.Exit(m.Run())
}

// child publishes in a process of its own, that can be killed.
func child(job string) int {
	var r Release
	err := json.Unmarshal([]byte(job), &r)
	if err == nil {
		r.Notices = func(line string) { fmt.Fprintln(os.Stderr, line) }
		_, err = r.Run(context.Background())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// command is a process that carries out a release.
func command(t *testing.T, r *Release) *exec.Cmd {
	t.Helper()
	job, err := json.Marshal(r)
	require.NoError(t, err)
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Env = append(os.Environ(), childVariable+"="+string(job), "HOME="+filepath.Dir(r.Journal), "DOCKER_CONFIG="+filepath.Dir(r.Journal))
	return cmd
}

// server is a registry to publish to, that is empty at first.
type server struct {
	name string
	host string
	// lists says that it has an API for referrers.
	lists bool
}

// dockerRegistry starts docker-registry 2.8, which has no API for referrers.
func dockerRegistry(t *testing.T) server {
	t.Helper()
	return server{"docker-registry", registries.Distribution2(t, registries.Config{Public: true}).Host, false}
}

// distribution starts distribution 3, which has no API for referrers.
func distribution(t *testing.T) server {
	t.Helper()
	return server{"distribution", registries.Distribution3(t, registries.Config{Public: true}).Host, false}
}

// listing starts a registry with an API for referrers.
func listing(t *testing.T) server {
	t.Helper()
	return server{"referrers API", registries.Plain(t, registries.Config{}).Host, true}
}

// record runs a recorder before a registry, and at the end checks that all rules
// held.
func record(t *testing.T, s server, rules Rules) *Recorder {
	t.Helper()
	r, err := Record(s.host)
	require.NoError(t, err)
	rules.Lists = s.lists
	t.Cleanup(func() {
		require.NoError(t, r.Close())
		for _, b := range rules.Check(r.Exchanges()) {
			t.Error(b)
		}
	})
	return r
}

// newKey makes a key pair, and returns the file of the private key.
func newKey(t *testing.T) (string, Key) {
	t.Helper()
	prefix := filepath.Join(t.TempDir(), "cosign")
	key, err := NewKey(prefix)
	require.NoError(t, err)
	return prefix + ".key", key
}

// newImage makes an image of two platforms.
func newImage(t *testing.T, content string) *Image {
	t.Helper()
	img, err := NewImage(t.TempDir(), content, false, "amd64", "arm64")
	require.NoError(t, err)
	return img
}

// requireOnce demands that an image is published whole, that everything of it has
// exactly one signature in each form, and platforms and the index each attestation
// once.
func requireOnce(t *testing.T, r *Repository, key Key, img *Image, tag string, attestations int) {
	t.Helper()
	require.Equal(t, img.Top.Digest, r.Digest(tag))
	attested := append([]string{}, img.Top.Digest.String())
	for _, d := range img.Platforms {
		attested = append(attested, d.String())
	}
	for _, d := range img.All {
		require.Equal(t, d, r.Digest(d.String()))
		found := r.Signatures(key, d)
		require.NoError(t, r.Err)
		require.Equal(t, [2]int{1, 1}, [2]int{found.Bundles, found.Payloads}, "%s", d)
		want := 0
		for _, a := range attested {
			if a == d.String() {
				want = attestations
			}
		}
		require.Len(t, found.Attestations, want, "%s", d)
		require.Len(t, found.Attached, want, "%s", d)
	}
	require.NoError(t, r.Err)
}
