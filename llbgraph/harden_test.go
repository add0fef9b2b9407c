package llbgraph

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/solver/pb"
	digest "github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/temper-images/temper/hardening/spec"
)

var update = flag.Bool("update", false, "rewrite the golden files")

var (
	amd64 = ocispecs.Platform{OS: "linux", Architecture: "amd64"}
	arm64 = ocispecs.Platform{OS: "linux", Architecture: "arm64"}
)

func input() Input {
	return Input{
		Runtime: llb.Image("docker.io/library/debian:bookworm", llb.Platform(amd64)).
			AddEnv("PATH", "/bin").Dir("/srv").
			File(llb.Mkfile("/app", 0o755, []byte("app"))),
		Helper: llb.Image("registry.test/temper/frontend:1", llb.Platform(amd64)),
		Settings: spec.Settings{
			Level: spec.LevelExclusive, Shell: spec.ShellKeep, User: spec.UserAuto,
			Installed: []string{"nginx"},
			Image:     spec.ImageConfig{Entrypoint: []string{"/app"}},
		},
		Target: amd64,
		Build:  amd64,
		Caps:   pb.Caps.CapSet(pb.Caps.All()),
	}
}

// op is one decoded vertex, with its inputs by position in the graph.
type op struct {
	Name   string          `json:"name,omitempty"`
	Inputs []string        `json:"inputs,omitempty"`
	Op     json.RawMessage `json:"op"`
	proto  *pb.Op
	meta   llb.OpMetadata
}

func decode(t *testing.T, st llb.State, co ...llb.ConstraintsOpt) []op {
	t.Helper()
	def, err := st.Marshal(t.Context(), co...)
	if err != nil {
		t.Fatal(err)
	}
	index := map[string]int{}
	var ops []op
	for i, dt := range def.Def {
		var p pb.Op
		if err := p.UnmarshalVT(dt); err != nil {
			t.Fatal(err)
		}
		dgst := digest.FromBytes(dt)
		index[dgst.String()] = i
		o := op{proto: &p, meta: def.Metadata[dgst]}
		o.Name = o.meta.Description["llb.customname"]
		for _, in := range p.Inputs {
			o.Inputs = append(o.Inputs, fmt.Sprintf("%d output %d", index[in.Digest], in.Index))
		}
		shown := p.CloneVT()
		shown.Inputs = nil
		raw, err := protojson.Marshal(shown)
		if err != nil {
			t.Fatal(err)
		}
		o.Op = raw
		ops = append(ops, o)
	}
	return ops
}

func execs(ops []op) []op {
	return slices.DeleteFunc(slices.Clone(ops), func(o op) bool { return o.proto.GetExec() == nil })
}

func golden(t *testing.T, name string, ops []op) {
	t.Helper()
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	if err := enc.Encode(ops); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, buf.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), buf.String()); diff != "" {
		t.Errorf("%s (-update rewrites it): -want +got\n%s", file, diff)
	}
}

func TestHardenGolden(t *testing.T) {
	for name, change := range map[string]func(*Input){
		"harden.json":     func(*Input) {},
		"harden-old.json": func(in *Input) { in.Caps = pb.Caps.CapSet(nil) },
		"harden-arm64-no-cache.json": func(in *Input) {
			in.Target, in.MultiPlatform, in.IgnoreCache = arm64, true, true
			in.Runtime = llb.Image("docker.io/library/debian:bookworm", llb.Platform(arm64))
		},
	} {
		t.Run(name, func(t *testing.T) {
			in := input()
			change(&in)
			out, err := Harden(in)
			if err != nil {
				t.Fatal(err)
			}
			if name == "harden-old.json" {
				out.Report = out.Report.SetMarshalDefaults(llb.Platform(in.Build))
			}
			golden(t, name, decode(t, out.Report))
		})
	}
}

// TestHardenState proves what the exported state is: one layer that comes from
// the helper alone, for the target platform, with the runtime's metadata.
func TestHardenState(t *testing.T) {
	in := input()
	in.Target = arm64
	in.Runtime = llb.Image("docker.io/library/debian:bookworm", llb.Platform(arm64)).AddEnv("A", "b").Dir("/srv")
	out, err := Harden(in)
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	if p, err := out.State.GetPlatform(ctx); err != nil || p.Architecture != "arm64" {
		t.Errorf("platform %v, %v", p, err)
	}
	if dir, err := out.State.GetDir(ctx); err != nil || dir != "/srv" {
		t.Errorf("dir %q, %v", dir, err)
	}
	if v, ok, err := out.State.GetEnv(ctx, "A"); err != nil || !ok || v != "b" {
		t.Errorf("env %q, %v", v, err)
	}
	ops := decode(t, out.State)
	last := ops[len(ops)-1]
	if got := last.Inputs; len(got) != 1 {
		t.Fatalf("inputs %v", got)
	}
	runs := execs(ops)
	if len(runs) != 1 {
		t.Fatalf("%d steps run for the state alone, want 1", len(runs))
	}
	exec := runs[0].proto.GetExec()
	for _, m := range exec.Mounts {
		if m.Dest == outMount && (m.Input != int64(pb.Empty) || fmt.Sprintf("%d output %d", len(ops)-2, m.Output) != last.Inputs[0]) {
			t.Errorf("the state is not the scratch mount %s: %v, %v", outMount, m, last.Inputs)
		}
		if m.Dest != outMount && m.Dest != reportMount && m.Dest != tmpMount && !m.Readonly {
			t.Errorf("mount %s is writable", m.Dest)
		}
	}
}

// TestHardenReport proves that the report comes out of a step that reads, and
// only reads, the layer of the image and the stage that it was made from.
func TestHardenReport(t *testing.T) {
	out, err := Harden(input())
	if err != nil {
		t.Fatal(err)
	}
	state := decode(t, out.State)
	ops := decode(t, out.Report)
	runs := execs(ops)
	if len(runs) != 2 || runs[1].proto.GetExec().Meta.Args[1] != "verify" {
		t.Fatalf("steps %v", runs)
	}
	verify := runs[1].proto
	if last := ops[len(ops)-1]; last.proto.Inputs[0].Digest != digestOf(t, verify) {
		t.Errorf("the report is not of the last step: %v", last.Inputs)
	}
	for _, m := range verify.GetExec().Mounts {
		if m.Dest == hardenedMount {
			layer := state[len(state)-1].proto.Inputs[0]
			if in := verify.Inputs[m.Input]; in.Digest != layer.Digest || in.Index != layer.Index {
				t.Errorf("%s is not the layer of the image: %v, want %v", m.Dest, in, layer)
			}
		}
		if m.Dest != reportMount && m.Dest != tmpMount && !m.Readonly {
			t.Errorf("mount %s is writable", m.Dest)
		}
	}
}

func digestOf(t *testing.T, op *pb.Op) string {
	t.Helper()
	dt, err := op.MarshalVT()
	if err != nil {
		t.Fatal(err)
	}
	return digest.FromBytes(dt).String()
}

func TestHardenPlatform(t *testing.T) {
	in := input()
	in.Target = arm64
	in.MultiPlatform = true
	out, err := Harden(in)
	if err != nil {
		t.Fatal(err)
	}
	// What the helper runs on must not follow what the graph is marshalled for.
	for _, o := range execs(decode(t, out.Report, llb.Platform(arm64))) {
		if o.proto.Platform.Architecture != "amd64" {
			t.Errorf("%s runs on %s", o.Name, o.proto.Platform.Architecture)
		}
		if !strings.HasPrefix(o.Name, "[linux/arm64 hardened ") {
			t.Errorf("name %q", o.Name)
		}
		if o.proto.GetExec().Network != pb.NetMode_NONE {
			t.Errorf("%s has a network", o.Name)
		}
	}
}

func TestHardenIgnoreCache(t *testing.T) {
	in := input()
	in.IgnoreCache = true
	out, err := Harden(in)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range execs(decode(t, out.Report)) {
		if !o.meta.IgnoreCache {
			t.Errorf("%s uses the cache", o.Name)
		}
	}
}

func TestHardenDeterministic(t *testing.T) {
	var first [][]byte
	for i := range 25 {
		out, err := Harden(input())
		if err != nil {
			t.Fatal(err)
		}
		var all [][]byte
		for _, st := range []llb.State{out.State, out.Report} {
			def, err := st.Marshal(context.WithoutCancel(t.Context()))
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, def.Def...)
		}
		if i == 0 {
			first = all
		} else if diff := cmp.Diff(first, all); diff != "" {
			t.Fatalf("marshal %d differs: %s", i, diff)
		}
	}
}

// TestHardenShares proves that settings which mean the same give the same graph.
func TestHardenShares(t *testing.T) {
	a, b := input(), input()
	a.Settings.Keep = []string{"/a", "/b"}
	b.Settings.Keep = []string{"/b", "/a", "/b"}
	outA, errA := Harden(a)
	outB, errB := Harden(b)
	if errA != nil || errB != nil {
		t.Fatal(errA, errB)
	}
	defA, _ := outA.Report.Marshal(t.Context())
	defB, _ := outB.Report.Marshal(t.Context())
	if diff := cmp.Diff(defA.Def, defB.Def); diff != "" {
		t.Error(diff)
	}
}

func TestHardenRefusesEmpty(t *testing.T) {
	for name, change := range map[string]func(*Input){
		"the runtime stage is empty":  func(in *Input) { in.Runtime = llb.Scratch() },
		"the frontend image is empty": func(in *Input) { in.Helper = llb.Scratch() },
	} {
		in := input()
		change(&in)
		if _, err := Harden(in); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
