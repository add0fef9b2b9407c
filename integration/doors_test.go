package integration

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/integration/door"
)

// The same Dockerfile gives the same image through every door: the same layer, the
// same configuration, the same report.
func TestDoorsAgree(t *testing.T) {
	for _, tt := range []struct {
		example string
		bases   []string
	}{
		{"nginx", []string{"debian:bookworm"}},
		{"python", []string{"debian:bookworm-slim"}},
		{"go", []string{"debian:bookworm-slim", "golang:1.26-bookworm"}},
	} {
		t.Run(tt.example, func(t *testing.T) {
			b := door.Build{Context: example(tt.example), Contexts: contexts(t, tt.bases...), Epoch: epoch}
			first := build(t, temper(), b)
			want, err := first.Digest()
			require.NoError(t, err)
			for _, d := range doors(t) {
				got := build(t, d, b)
				digest, err := got.Digest()
				require.NoError(t, err)
				if digest == want {
					continue
				}
				wantConfig, err := first.RawConfigFile()
				require.NoError(t, err)
				gotConfig, err := got.RawConfigFile()
				require.NoError(t, err)
				t.Errorf("%s gives another image than temper: configuration (-temper +%s):\n%s", d.Name(), d.Name(), cmp.Diff(string(wantConfig), string(gotConfig)))
			}
		})
	}
}

// Building everything anew, package installation included, gives the same bytes.
func TestBuildIsReproducible(t *testing.T) {
	b := door.Build{Context: example("nginx"), Contexts: contexts(t, "debian:bookworm"), Epoch: epoch}
	first, err := build(t, temper(), b).LayerDigests()
	require.NoError(t, err)
	b.NoCache = true
	second, err := build(t, temper(), b).LayerDigests()
	require.NoError(t, err)
	require.Equal(t, first, second)
}

// A second build with nothing changed does no work.
func TestUnchangedBuildIsCached(t *testing.T) {
	b := door.Build{Context: example("nginx"), Contexts: contexts(t, "debian:bookworm"), Epoch: epoch}
	build(t, temper(), b)
	for _, d := range doors(t) {
		_, log := buildLog(t, d, b)
		for _, v := range vertices(log) {
			// Reading what the client sends, naming what is there already, writing
			// a small file and the result are not work that a cache could save.
			if strings.HasPrefix(v.name, "[internal]") || strings.HasPrefix(v.name, "exporting ") || strings.HasPrefix(v.name, "resolve image config") ||
				strings.Contains(v.name, "load metadata") || strings.HasPrefix(v.name, "docker-image://") || strings.Contains(v.name, "OCI load from client") ||
				strings.HasPrefix(v.name, "oci-layout://") || strings.Contains(v.name, "write settings") {
				continue
			}
			require.True(t, v.cached, "%s: %s was not cached\n%s", d.Name(), v.name, log)
		}
		require.Contains(t, log, "[hardened 2/3]", d.Name())
	}
}

// vertex is a step of a build as plain progress shows it.
type vertex struct {
	name   string
	cached bool
}

// vertices reads plain progress: "#4 NAME", later "#4 CACHED". Number 0 says which
// builder it is.
func vertices(log string) []*vertex {
	byID := map[string]*vertex{}
	var all []*vertex
	for line := range strings.Lines(log) {
		id, rest, ok := strings.Cut(strings.TrimSpace(line), " ")
		if !ok || !strings.HasPrefix(id, "#") || id == "#0" {
			continue
		}
		if byID[id] == nil {
			byID[id] = &vertex{name: rest}
			all = append(all, byID[id])
		} else if rest == "CACHED" {
			byID[id].cached = true
		}
	}
	return all
}

func TestExternalCache(t *testing.T) {
	cache := filepath.Join(t.TempDir(), "cache")
	dir := contextDir(t, map[string]string{
		"Dockerfile": "FROM busybox\nRUN cat /proc/sys/kernel/random/uuid >/uuid\nCMD [\"cat\", \"/uuid\"]\n",
	})
	b := door.Build{Context: dir, Contexts: contexts(t, "busybox"), CacheTo: "type=local,mode=max,dest=" + cache}
	build(t, temper(), b)

	other := newDaemon(t)
	b.CacheTo, b.CacheFrom = "", "type=local,src="+cache
	_, log := buildLog(t, door.Temper{Binary: temper().(door.Temper).Binary, Addr: other}, b)
	for _, v := range vertices(log) {
		if strings.Contains(v.name, "RUN ") || strings.HasPrefix(v.name, "[hardened 2/3]") || strings.HasPrefix(v.name, "[hardened 3/3]") {
			require.True(t, v.cached, "%s was not cached\n%s", v.name, log)
		}
	}
	require.Contains(t, log, "[hardened 2/3]")
}
