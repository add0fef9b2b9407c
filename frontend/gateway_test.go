package frontend

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/containerd/platforms"
	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/client/llb/sourceresolver"
	gwclient "github.com/moby/buildkit/frontend/gateway/client"
	gwpb "github.com/moby/buildkit/frontend/gateway/pb"
	"github.com/moby/buildkit/solver/pb"
	digest "github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	fstypes "github.com/tonistiigi/fsutil/types"

	"github.com/temper-images/temper/hardening/spec"
)

// gateway is the daemon's side of a build that runs nothing: it serves local
// directories and image configurations, and records what it is asked to solve.
type gateway struct {
	t      *testing.T
	opts   map[string]string
	locals map[string]string // name: directory
	helper *llb.State
	report *spec.Report
	failed error // of the hardening steps

	mu       sync.Mutex
	solves   []solved
	resolves []string
	warnings []string
}

type solved struct {
	Def   [][]byte
	Names []string // of the steps
	Cache []gwclient.CacheOptionsEntry
}

var amd64 = ocispecs.Platform{OS: "linux", Architecture: "amd64"}

// newGateway serves a context whose files are given, which is also where the
// Dockerfile is.
func newGateway(t *testing.T, files map[string]string) *gateway {
	dir := t.TempDir()
	for name, text := range files {
		if err := os.MkdirAll(path.Join(dir, path.Dir(name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	helper := llb.Image("registry.test/temper/frontend@sha256:"+strings.Repeat("a", 64), llb.Platform(amd64))
	return &gateway{
		t: t, opts: map[string]string{}, locals: map[string]string{"context": dir, "dockerfile": dir}, helper: &helper,
		report: &spec.Report{
			Level: spec.LevelExclusive, User: spec.User{Config: "65532:65532", UID: 65532, GID: 65532},
			Removed: []spec.Group{{Class: "log", Name: "/var/log", Paths: []string{"/var/log/"}}},
			Checks:  []spec.Check{{Name: spec.CheckLinks, Passed: true}},
		},
	}
}

func (g *gateway) CurrentFrontend() (*llb.State, error) { return g.helper, nil }

func (g *gateway) BuildOpts() gwclient.BuildOpts {
	return gwclient.BuildOpts{
		Opts: g.opts, SessionID: "session", LLBCaps: pb.Caps.CapSet(pb.Caps.All()), Caps: gwpb.Caps.CapSet(gwpb.Caps.All()),
		Workers: []gwclient.WorkerInfo{{Platforms: []ocispecs.Platform{amd64}}},
	}
}

func (g *gateway) Solve(_ context.Context, req gwclient.SolveRequest) (*gwclient.Result, error) {
	s := solved{Def: req.Definition.Def, Cache: req.CacheImports}
	var last *pb.Op
	for i, dt := range req.Definition.Def {
		var op pb.Op
		if err := op.UnmarshalVT(dt); err != nil {
			return nil, err
		}
		if i < len(req.Definition.Def)-1 {
			last = &op
		}
		if md := req.Definition.Metadata[digest.FromBytes(dt).String()]; md != nil {
			s.Names = append(s.Names, md.Description["llb.customname"])
		}
	}
	g.mu.Lock()
	g.solves = append(g.solves, s)
	g.mu.Unlock()

	res := gwclient.NewResult()
	r := &ref{}
	switch {
	case last == nil:
		return res, nil
	case last.GetSource() != nil && strings.HasPrefix(last.GetSource().Identifier, "local://"):
		dir, ok := g.locals[strings.TrimPrefix(last.GetSource().Identifier, "local://")]
		if !ok {
			return nil, fmt.Errorf("no local %s", last.GetSource().Identifier)
		}
		r.dir = dir
		if v := last.GetSource().Attrs[pb.AttrFollowPaths]; v != "" {
			if err := json.Unmarshal([]byte(v), &r.only); err != nil {
				return nil, err
			}
		}
	case last.GetExec() != nil && slices.Contains(last.GetExec().Meta.Args, "verify"):
		dt, err := g.report.Marshal()
		if err != nil {
			return nil, err
		}
		r.dir, r.failed = g.t.TempDir(), g.failed
		if err := os.WriteFile(path.Join(r.dir, spec.ReportFile), dt, 0o444); err != nil {
			return nil, err
		}
	}
	res.SetRef(r)
	return res, nil
}

func (g *gateway) ResolveImageConfig(_ context.Context, name string, opt sourceresolver.Opt) (string, digest.Digest, []byte, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	p := amd64
	if opt.ImageOpt != nil && opt.ImageOpt.Platform != nil {
		p = *opt.ImageOpt.Platform
	}
	g.resolves = append(g.resolves, name+" "+platforms.Format(p))
	img := ocispecs.Image{
		Platform: p,
		Config:   ocispecs.ImageConfig{Env: []string{"PATH=/bin"}, Cmd: []string{"sh"}, Labels: map[string]string{"base": "yes"}},
		RootFS:   ocispecs.RootFS{Type: "layers", DiffIDs: []digest.Digest{digest.FromString("layer")}},
		History:  []ocispecs.History{{CreatedBy: "base"}},
	}
	dt, err := json.Marshal(img)
	return name, digest.FromString(name), dt, err
}

func (g *gateway) ResolveSourceMetadata(ctx context.Context, op *pb.SourceOp, opt sourceresolver.Opt) (*sourceresolver.MetaResponse, error) {
	name, dgst, config, err := g.ResolveImageConfig(ctx, strings.TrimPrefix(op.Identifier, "docker-image://"), opt)
	if err != nil {
		return nil, err
	}
	op = op.CloneVT()
	op.Identifier = "docker-image://" + name + "@" + dgst.String()
	return &sourceresolver.MetaResponse{Op: op, Image: &sourceresolver.ResolveImageResponse{Digest: dgst, Config: config}}, nil
}

func (g *gateway) Inputs(context.Context) (map[string]llb.State, error) { return nil, nil }

func (g *gateway) NewContainer(context.Context, gwclient.NewContainerRequest) (gwclient.Container, error) {
	return nil, errors.New("no containers here")
}

func (g *gateway) Warn(_ context.Context, _ digest.Digest, msg string, _ gwclient.WarnOpts) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.warnings = append(g.warnings, msg)
	return nil
}

// names returns the names of all steps that were asked for, sorted, each once.
func (g *gateway) names() []string {
	all := map[string]bool{}
	for _, s := range g.solves {
		for _, n := range s.Names {
			all[n] = true
		}
	}
	return slices.Sorted(maps.Keys(all))
}

// ref is a result. One without a directory cannot be read.
type ref struct {
	dir    string
	only   []string
	failed error
}

func (r *ref) ToState() (llb.State, error)    { return llb.Scratch(), nil }
func (r *ref) Evaluate(context.Context) error { return r.failed }

func (r *ref) visible(name string) bool {
	name = strings.Trim(name, "/")
	return r.only == nil || name == "" || slices.ContainsFunc(r.only, func(o string) bool {
		return o == name || strings.HasPrefix(o, name+"/")
	})
}

func (r *ref) StatFile(_ context.Context, req gwclient.StatRequest) (*fstypes.Stat, error) {
	if !r.visible(req.Path) {
		return nil, os.ErrNotExist
	}
	fi, err := os.Lstat(path.Join(r.dir, req.Path))
	if err != nil {
		return nil, err
	}
	return &fstypes.Stat{Path: req.Path, Mode: uint32(fi.Mode()), Size: fi.Size()}, nil
}

func (r *ref) ReadFile(_ context.Context, req gwclient.ReadRequest) ([]byte, error) {
	if !r.visible(req.Filename) {
		return nil, os.ErrNotExist
	}
	dt, err := os.ReadFile(path.Join(r.dir, req.Filename))
	if err != nil || req.Range == nil {
		return dt, err
	}
	dt = dt[min(req.Range.Offset, len(dt)):]
	return dt[:min(req.Range.Length, len(dt))], nil
}

func (r *ref) ReadDir(_ context.Context, req gwclient.ReadDirRequest) ([]*fstypes.Stat, error) {
	entries, err := os.ReadDir(path.Join(r.dir, req.Path))
	if err != nil {
		return nil, err
	}
	var out []*fstypes.Stat
	for _, e := range entries {
		if r.visible(path.Join(req.Path, e.Name())) {
			out = append(out, &fstypes.Stat{Path: e.Name()})
		}
	}
	return out, nil
}
