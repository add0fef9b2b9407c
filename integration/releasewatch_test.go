package integration

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	digest "github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/client/provenance"
	"github.com/temper-images/temper/integration/fault"
	"github.com/temper-images/temper/integration/image"
	"github.com/temper-images/temper/integration/kyverno"
	"github.com/temper-images/temper/integration/publish"
	"github.com/temper-images/temper/integration/tools"
)

// TestReleaseKilled: the whole command is killed at requests all through its
// publishing, and run again. It ends complete, with one signature and each
// attestation once; and whoever looks at the registry meanwhile, or reads the record
// of it, never sees the image without its signatures.
func TestReleaseKilled(t *testing.T) {
	const kills = 3
	r := newReleases(t, harmless)
	app := trivial(t, "")
	public, err := os.ReadFile(filepath.Join(r.dir, "cosign.pub"))
	require.NoError(t, err)
	key, err := publish.ParseKey(public)
	require.NoError(t, err)
	rec, err := publish.Record(r.host(t))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, rec.Close()) })
	front, err := fault.Start(rec.Addr, "")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, front.Close()) })
	release := func(repository string, output ...string) *exec.Cmd {
		args := append([]string{"--builder", shared.Addr, "release", "--progress", "plain", "--db", r.db.Archive, "--key", "cosign.key",
			"-t", front.Addr + "/" + repository + ":1", "--evidence", filepath.Join(r.dir, "evidence-"+repository)}, r.args...)
		cmd := exec.CommandContext(bounded(t), tools.Path("temper"), append(append(args, output...), app)...)
		cmd.Dir = r.dir
		cmd.Env = append(os.Environ(), "COSIGN_PASSWORD="+password, "TEMPER_DB_DIR="+filepath.Join(r.dir, "cache"), "XDG_STATE_HOME="+filepath.Join(r.dir, "state"))
		return cmd
	}
	layout := filepath.Join(r.dir, "first.oci")
	out, err := release("never", "-o", layout).CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.NotContains(t, string(out), "by digest first", "this registry takes signatures first")
	// All are of the same image, so that the watcher knows what will come.
	img, err := image.OpenOne(layout)
	require.NoError(t, err)
	manifest, err := img.Digest()
	require.NoError(t, err)
	platform := digest.Digest(manifest.String())
	requests := 0
	for _, e := range rec.Exchanges() {
		if strings.Contains(e.Path, "/never/") {
			requests++
		}
	}
	want := publish.Read(t.Context(), r.host(t), "never").Signatures(key, platform)
	require.Equal(t, [2]int{1, 1}, [2]int{want.Bundles, want.Payloads})
	require.Len(t, want.Attached, len(want.Attestations))
	t.Run("Kyverno", func(t *testing.T) {
		policies, err := kyverno.Policies(t.TempDir(), filepath.Join(r.dir, "cosign.pub"), provenance.BuilderLocal)
		require.NoError(t, err)
		r.must(t, nil, "cosign", "generate-key-pair", "--output-key-prefix", "other")
		others, err := kyverno.Policies(t.TempDir(), filepath.Join(r.dir, "other.pub"), provenance.BuilderLocal)
		require.NoError(t, err)
		index := r.host(t) + "/never:1@" + publish.Read(t.Context(), r.host(t), "never").Digest("1").String()
		for _, ref := range []string{index, r.host(t) + "/never:1-amd64@" + platform.String()} {
			for name := range policies {
				accepted, said, err := kyverno.Apply(t.Context(), policies[name], ref)
				require.NoError(t, err)
				require.True(t, accepted, "%s: %s", name, said)
				accepted, said, err = kyverno.Apply(t.Context(), others[name], ref)
				require.NoError(t, err)
				require.False(t, accepted, "%s: %s", name, said)
			}
		}
	})

	for k := range kills {
		// How many there are differs a little from run to run.
		n := 1 + k*(requests*9/10)/(kills-1)
		repository := fmt.Sprint("killed-", n)
		t.Run(repository, func(t *testing.T) {
			w := publish.Watch(t.Context(), rec.Addr, repository, key, false)
			w.Expect(platform)
			cmd := release(repository)
			seen := 0
			var once sync.Once
			front.Set(func(*http.Request) fault.Fault {
				if seen++; seen < n {
					return nil
				}
				return func(w http.ResponseWriter, q *http.Request, forward http.Handler) {
					// What is asked is done, and nobody hears of it.
					once.Do(func() {
						_ = cmd.Process.Kill() // it is gone if this fails
						fault.LoseAnswer(w, q, forward)
					})
					panic(http.ErrAbortHandler)
				}
			})
			out, err := cmd.CombinedOutput()
			require.ErrorContains(t, err, "killed", "%s", out)
			front.Set(nil)
			out, err = release(repository).CombinedOutput()
			require.NoError(t, err, "%s", out)
			w.Look(1)
			report := w.Stop()
			require.NoError(t, report.Err)
			require.Empty(t, report.Broken)
			require.GreaterOrEqual(t, report.Seen, 3, "the manifest, its tag, and the index's")
			got := publish.Read(t.Context(), r.host(t), repository).Signatures(key, platform)
			require.Equal(t, want.Bundles, got.Bundles)
			require.Equal(t, want.Payloads, got.Payloads)
			require.ElementsMatch(t, want.Attestations, got.Attestations)
			require.ElementsMatch(t, want.Attached, got.Attached)
		})
	}
	for _, b := range (publish.Rules{Key: key}).Check(rec.Exchanges()) {
		t.Error(b)
	}
}
