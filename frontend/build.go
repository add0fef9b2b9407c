// Package frontend is a BuildKit gateway frontend for Dockerfiles. It converts a
// Dockerfile with BuildKit's own dockerfile2llb, does all that the stock
// Dockerfile frontend does, and adds the steps that harden the final stage.
package frontend

import (
	"context"
	"fmt"
	"maps"

	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/frontend/dockerfile/dockerfile2llb"
	"github.com/moby/buildkit/frontend/dockerui"
	gwclient "github.com/moby/buildkit/frontend/gateway/client"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/temper-images/temper/frontend/config"
)

// Frontend is a frontend with settings of the process that runs it. The zero
// value is ready to use.
type Frontend struct {
	// Environ may hold TEMPER_… variables, in the form of os.Environ, that change
	// the defaults below temper.yaml and build arguments. Others are ignored.
	Environ []string
}

// Build answers one build request or subrequest; it is a gwclient.BuildFunc. What
// is wrong in a Dockerfile or temper.yaml comes back as an error that carries the
// place (errdefs.Source). A panic below it comes back as a *PanicError.
func Build(ctx context.Context, c gwclient.Client) (*gwclient.Result, error) {
	return Frontend{}.Build(ctx, c)
}

// Build is the function Build with the frontend's settings.
func (f Frontend) Build(ctx context.Context, c gwclient.Client) (res *gwclient.Result, err error) {
	defer recovered(&err)
	b := &build{environ: f.Environ, unwrapped: c, client: &resolveCache{Client: c}}
	return b.run(ctx)
}

// build is one request.
type build struct {
	environ []string
	// unwrapped is the client as it came, for what only its own type offers.
	unwrapped gwclient.Client
	client    gwclient.Client
	ui        *dockerui.Client
	dockerfile
	stage   stage
	convert dockerfile2llb.ConvertOpt
	// hardener is nil when nothing is hardened.
	hardener *hardener
	scans    scans
	// configFile is temper.yaml, nil where there is none.
	configFile *llb.SourceMap
}

func (b *build) run(ctx context.Context) (_ *gwclient.Result, err error) {
	if b.ui, err = dockerui.NewClient(b.client); err != nil {
		return nil, err
	}
	opts := b.ui.BuildOpts().Opts
	if err := validateCaps(opts["frontend.caps"]); err != nil {
		return nil, err
	}
	cfg, err := b.overrides(config.Default())
	if err != nil {
		return nil, err
	}
	// What overrides temper.yaml is none of the Dockerfile's own arguments.
	maps.DeleteFunc(b.ui.BuildArgs, func(name, _ string) bool { return config.IsArg(name) })
	source, err := b.ui.ReadEntrypoint(ctx, "Dockerfile")
	if err != nil {
		return nil, err
	}
	b.dockerfile = dockerfile{source}
	if err := b.checkSyntax(opts); err != nil {
		return nil, err
	}
	b.stage = chooseStage(source.Data, b.ui.Target)
	b.convert = dockerfile2llb.ConvertOpt{
		Config:       b.ui.Config,
		Client:       b.ui,
		SourceMap:    source.SourceMap,
		MetaResolver: b.client,
		Warn:         b.warn(ctx),
	}
	b.convert.Target = b.stage.target
	if res, done, err := b.subrequest(ctx); err != nil || done {
		return res, err
	}
	_, asked := opts[config.EffectiveKey]
	harden := b.stage.harden && !b.pinnedOff(cfg)
	if harden || asked {
		if cfg, err = b.readConfig(ctx); err != nil {
			return nil, err
		}
	}
	if harden {
		if b.hardener, err = b.newHardener(ctx, cfg); err != nil {
			return nil, err
		}
	}
	res, err := b.image(ctx)
	if err == nil && asked {
		err = addConfig(res, cfg)
	}
	return res, b.locate(err)
}

// addConfig tells the client the effective configuration.
func addConfig(res *gwclient.Result, c config.Config) error {
	dt, err := c.Encode()
	if err != nil {
		return err
	}
	res.AddMeta(config.EffectiveKey, dt)
	return nil
}

// image answers a build request.
func (b *build) image(ctx context.Context) (*gwclient.Result, error) {
	scanner, err := b.scanner(ctx)
	if err != nil {
		return nil, err
	}
	rb, err := b.ui.Build(ctx, b.platform)
	if err != nil {
		return nil, err
	}
	if b.hardener != nil {
		if err := b.hardener.attach(rb); err != nil {
			return nil, err
		}
	}
	if scanner != nil {
		if err := rb.EachPlatform(ctx, b.scan(scanner, rb)); err != nil {
			return nil, err
		}
	}
	return rb.Finalize()
}

// platform builds the image for one platform, nil for the daemon's own. It is a
// dockerui.BuildFunc and runs concurrently with itself.
func (b *build) platform(ctx context.Context, platform *ocispecs.Platform, index int) (res *dockerui.BuildResult, err error) {
	defer recovered(&err)
	opt := b.convert
	// Resolving SOURCE_DATE_EPOCH writes to this map.
	opt.BuildArgs = maps.Clone(opt.BuildArgs)
	opt.TargetPlatform = platform
	if index != 0 {
		opt.Warn = nil
	}
	df, err := dockerfile2llb.Dockerfile2LLB(ctx, b.Data, opt)
	if err != nil {
		return nil, err
	}
	b.scans.Store(platformID(platform), df)
	// FROM scratch with nothing on it has nothing to harden.
	if b.hardener != nil && df.State.Output() != nil {
		return b.hardener.harden(ctx, df, platform)
	}
	ref, err := b.solve(ctx, df.State)
	if err != nil {
		return nil, err
	}
	return &dockerui.BuildResult{Reference: ref, Image: df.Image, BaseImage: df.BaseImage, Epoch: df.Epoch}, nil
}

// solve asks for a state, with the request's cache imports. BuildKit runs its
// steps when the result is first used.
func (b *build) solve(ctx context.Context, st marshaler) (gwclient.Reference, error) {
	def, err := st.Marshal(ctx)
	if err != nil {
		return nil, fmt.Errorf("marshal LLB definition: %w", err)
	}
	res, err := b.client.Solve(ctx, gwclient.SolveRequest{
		Definition:   def.ToPB(),
		CacheImports: b.ui.CacheImports,
	})
	if err != nil {
		return nil, err
	}
	return res.SingleRef()
}
