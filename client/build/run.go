package build

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"

	bkclient "github.com/moby/buildkit/client"
	"github.com/moby/buildkit/exporter/containerimage/exptypes"
	bkfrontend "github.com/moby/buildkit/frontend"
	gwclient "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/buildkit/util/grpcerrors"
	"github.com/moby/buildkit/util/progress/progresswriter"
	"github.com/temper-images/temper/client/builder"
	"github.com/temper-images/temper/client/engine"
	"github.com/temper-images/temper/client/frontend"
	"github.com/temper-images/temper/client/output"
	"github.com/temper-images/temper/client/recompress"
	"github.com/temper-images/temper/frontend/config"
	"github.com/temper-images/temper/hardening/spec"
	"google.golang.org/grpc/codes"
)

// Result is what a build gave.
type Result struct {
	// Exporter is what BuildKit's exporters said, by the keys of package
	// exptypes.
	Exporter map[string]string
	// Metadata is what the frontend said.
	Metadata map[string][]byte
	// Reports are the hardening reports by platform, "linux/amd64".
	Reports map[string]*spec.Report
	// Written are the destinations of outputs, as the request named them.
	Written []string
	// Recompressed has the layers as the builder sent them, for requests that ask for
	// that. It is to be closed; nil for others.
	Recompressed *recompress.Layout
	// Messages are what a Docker engine said to an image that it took.
	Messages []string
	// Dockerfile is how the user names the Dockerfile.
	Dockerfile string
	// Provenance is what the builder itself says of the build, by platform: the
	// predicate of SLSA provenance with everything in it, also the values of
	// build arguments. It must not be kept as it is; package provenance takes
	// the values out. It is empty when the request did not ask for it.
	Provenance map[string]json.RawMessage
	// NoProvenance says why there is no Provenance although the request asked for
	// it. It is a *NoProvenanceError or nil.
	NoProvenance error
}

// Digest is the digest of the image's manifest or index, or empty when no output
// makes one.
func (r *Result) Digest() string { return r.Exporter[exptypes.ExporterImageDigestKey] }

// ImageID is what docker buildx build calls the image's ID: the digest of its
// configuration, or of the index when there is none.
func (r *Result) ImageID() string {
	if v := r.Exporter[exptypes.ExporterImageConfigDigestKey]; v != "" {
		return v
	}
	return r.Digest()
}

// Platforms lists the platforms of Reports, sorted.
func (r *Result) Platforms() []string { return slices.Sorted(maps.Keys(r.Reports)) }

// Run builds r on b. Outputs are in place when it returns without an error, and
// untouched when it does not. Errors that are the request's fault are an
// *InputError.
func Run(ctx context.Context, b *builder.Builder, r Request) (_ *Result, err error) {
	status := &sink{ch: r.Status, working: r.Working}
	defer status.close()

	so, err := solveOpt(&r)
	if err != nil {
		return nil, err
	}
	if b.Engine != nil && !r.Pull {
		so.FrontendAttrs["image-resolve-mode"] = pb.AttrImageResolveModePreferLocal
	}
	ex, err := outputs(ctx, b, &r, so)
	if err != nil {
		return nil, err
	}
	// The cause of an abort is the error that Run returns.
	defer func() { err = errors.Join(err, ex.abort(err)) }()
	withoutAttestation(so, ex)

	in, err := load(ctx, &r, ex.paths())
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, in.close()) }()
	in.solveOpt(so)
	so.Exports = ex.entries

	res, err := solve(ctx, b.Client, so, r.Call, status)
	if err != nil {
		return nil, explain(ctx, b, ex, err)
	}
	res.Dockerfile = in.dockerfile
	if err := ex.compress(ctx, res); err != nil {
		return nil, explain(ctx, b, ex, err)
	}
	if res.Messages, err = ex.commit(); err != nil {
		return nil, explain(ctx, b, ex, err)
	}
	res.Written = ex.written
	res.Recompressed, ex.layout = ex.layout, nil
	if r.Provenance && r.Call == nil {
		if res.Provenance, err = fetchProvenance(ctx, b.Client, so.Ref); err != nil {
			res.NoProvenance = &NoProvenanceError{Builder: b.Address, Err: err}
		}
	}
	return res, nil
}

// withoutAttestation leaves the hardening report out of a build that makes a
// Docker archive: with an attestation it would be an index, which docker load
// refuses before Docker 25, and an archive has no use for it.
func withoutAttestation(so *bkclient.SolveOpt, ex *exports) {
	key := "build-arg:" + config.ArgName("harden.report")
	if _, said := so.FrontendAttrs[key]; said || so.Frontend == frontend.Stock {
		return
	}
	if slices.ContainsFunc(ex.entries, func(e bkclient.ExportEntry) bool { return e.Type == output.TypeDocker }) {
		so.FrontendAttrs[key] = string(config.ReportNone)
	}
}

// outputs prepares what the request asks for, or its default.
func outputs(ctx context.Context, b *builder.Builder, r *Request, so *bkclient.SolveOpt) (*exports, error) {
	if r.Call != nil {
		return &exports{}, nil
	}
	annotations, err := parseAnnotations(r.Annotations)
	if err != nil {
		return nil, err
	}
	var list []output.Output
	for _, s := range r.Outputs {
		o, err := output.Parse(s)
		if err != nil {
			return nil, asInputError("--output "+s, err)
		}
		list = append(list, o)
	}
	if len(list) == 0 {
		o, err := output.Default(r.Context)
		if err != nil {
			return nil, err
		}
		list = append(list, o)
	}
	return prepare(ctx, list, r, annotations, hasEpoch(so), engineFinder{
		inEngine: b.Engine != nil,
		connect:  func(ctx context.Context) (*engine.Engine, error) { return engine.Connect(ctx, "") },
	})
}

// solve runs the frontend through a build function, since only that sees what
// the frontend says besides the image.
func solve(ctx context.Context, c *bkclient.Client, so *bkclient.SolveOpt, call *Call, status *sink) (*Result, error) {
	req := gwclient.SolveRequest{Frontend: so.Frontend, FrontendOpt: frontendOpts(so, call)}
	for _, e := range so.CacheImports {
		req.CacheImports = append(req.CacheImports, bkfrontend.CacheOptionsEntry{Type: e.Type, Attrs: e.Attrs})
	}
	for _, a := range so.Session {
		if l, ok := a.(interface{ SetLogger(progresswriter.Logger) }); ok {
			l.SetLogger(status.send)
		}
	}
	res := &Result{}
	ch := make(chan *bkclient.SolveStatus)
	forwarded := make(chan struct{})
	go func() {
		defer close(forwarded)
		for s := range ch {
			status.send(s)
		}
	}()
	resp, err := c.Build(ctx, *so, "temper", func(ctx context.Context, gw gwclient.Client) (*gwclient.Result, error) {
		r, err := gw.Solve(ctx, req)
		if err != nil {
			return nil, err
		}
		res.Metadata = r.Metadata
		return r, nil
	}, ch)
	<-forwarded
	if err != nil {
		return nil, err
	}
	if res.Exporter = resp.ExporterResponse; res.Exporter == nil {
		res.Exporter = map[string]string{}
	}
	if res.Reports, err = reports(res.Metadata); err != nil {
		return nil, err
	}
	return res, nil
}

func reports(meta map[string][]byte) (map[string]*spec.Report, error) {
	out := map[string]*spec.Report{}
	for key, dt := range meta {
		platform, ok := strings.CutPrefix(key, config.ReportKey+"/")
		if !ok {
			continue
		}
		report, err := spec.ReadReport(bytes.NewReader(dt))
		if err != nil {
			return nil, fmt.Errorf("the frontend's report on %s: %w", platform, err)
		}
		out[platform] = report
	}
	return out, nil
}

// explain adds to err what the user needs to know to mend it.
func explain(ctx context.Context, b *builder.Builder, ex *exports, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("the build was stopped: %w", context.Cause(ctx))
	}
	if strings.Contains(err.Error(), "no space left on device") {
		for _, s := range ex.staged {
			if full(s.tmp) {
				return fmt.Errorf("the disk of the output %s is full: %w", s.dest, err)
			}
		}
		return fmt.Errorf("the disk of the builder, %s, is full: %w", b.Address, err)
	}
	if grpcerrors.Code(err) == codes.Unavailable {
		if log := b.Log(); log != "" {
			return fmt.Errorf("the builder went away: %w; the end of its log:\n%s", err, log)
		}
		return fmt.Errorf("the builder went away: %w", err)
	}
	return err
}

// sink sends progress to a channel that may be nil, from several goroutines,
// until it is closed.
type sink struct {
	mu      sync.Mutex
	ch      chan *bkclient.SolveStatus
	closed  bool
	working func()
}

// numbered are the names of steps of the Dockerfile and of hardening: what BuildKit
// does besides, such as to read the context, it does each time.
var numbered = regexp.MustCompile(`^\[[^\]]*\b\d+/\d+\] `)

func (s *sink) send(st *bkclient.SolveStatus) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, v := range st.Vertexes {
		if s.working != nil && v.Started != nil && !v.Cached && numbered.MatchString(v.Name) {
			s.working()
			s.working = nil
		}
	}
	if s.ch != nil && !s.closed {
		s.ch <- st
	}
}

func (s *sink) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ch != nil && !s.closed {
		close(s.ch)
	}
	s.closed = true
}
