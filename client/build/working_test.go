package build

import (
	"testing"
	"time"

	bkclient "github.com/moby/buildkit/client"
	digest "github.com/opencontainers/go-digest"
)

// A step that is carried out is told once; what is in the cache, and what BuildKit
// does each time, is not.
func TestWorking(t *testing.T) {
	calls := 0
	s := &sink{working: func() { calls++ }}
	now := time.Now()
	for _, step := range []struct {
		v    bkclient.Vertex
		want int
	}{
		{bkclient.Vertex{Name: "[internal] load build context", Started: &now}, 0},
		{bkclient.Vertex{Name: "[context debian:bookworm] load metadata for debian", Started: &now}, 0},
		{bkclient.Vertex{Name: "exporting to oci image format", Started: &now}, 0},
		{bkclient.Vertex{Name: "[1/2] RUN make"}, 0},
		{bkclient.Vertex{Name: "[1/2] RUN make", Started: &now, Cached: true}, 0},
		{bkclient.Vertex{Name: "[linux/arm64 runtime 2/2] COPY . /app", Started: &now}, 1},
		{bkclient.Vertex{Name: "[hardened 2/3] prune, squash into one layer and check", Started: &now}, 1},
	} {
		step.v.Digest = digest.FromString(step.v.Name)
		s.send(&bkclient.SolveStatus{Vertexes: []*bkclient.Vertex{&step.v}})
		if calls != step.want {
			t.Fatalf("%s: %d calls, want %d", step.v.Name, calls, step.want)
		}
	}
}
