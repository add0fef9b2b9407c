// Package release carries out the pipeline: it builds an image, makes the evidence
// about it, asks the gates, signs and stores. The steps are those of the other
// packages; this one puts them in order and side by side.
//
// The order is: build, which patches and hardens inside the builder; test;
// evidence; publish. Tests of the image have their place in Run and are not built
// yet.
package release

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"

	"github.com/temper-images/temper/client/build"
	"github.com/temper-images/temper/client/builder"
	"github.com/temper-images/temper/client/catalogue"
	"github.com/temper-images/temper/client/ci"
	"github.com/temper-images/temper/client/output"
	"github.com/temper-images/temper/client/publish"
	"github.com/temper-images/temper/client/redact"
	"github.com/temper-images/temper/client/secretstore"
	"github.com/temper-images/temper/client/settings"
	"github.com/temper-images/temper/client/stage"
	"github.com/temper-images/temper/client/subject"
	"github.com/temper-images/temper/frontend/config"
)

// Options are what the steps of a release share.
type Options struct {
	// Settings are temper.yaml with its overrides.
	Settings *settings.Settings
	// Steps carries out the steps.
	Steps *stage.Runner
	// Secrets resolves references in the settings.
	Secrets *secretstore.Resolver
	// Keychain has the registries' credentials.
	Keychain authn.Keychain
	// Lookup finds a variable of the environment.
	Lookup func(string) (string, bool)
	// Now is the clock: for the age of the database, the end of exceptions and the
	// times in provenance. Documents otherwise bear the image's own time.
	Now func() time.Time
	// Version is Temper's own.
	Version string
	// Password and PIN ask the user for what opens the key, when neither the
	// settings nor the environment say it. What they return is wiped.
	Password, PIN func(context.Context) ([]byte, error)
	// Offline says that the vulnerability database is taken as it is.
	Offline bool
	// VEX are files with VEX documents, besides those of the settings.
	VEX []string
	// Report is a file for the HTML page, or empty.
	Report string
	// Build carries out the build; nil means build.Run. The command records it.
	Build func(context.Context, build.Request) (*build.Result, error)
	// AllowArgs are arguments and variables of the Dockerfile that are no secrets
	// although they look like some: names or globs. Known are the secrets of this run.
	AllowArgs []string
	Known     *redact.Redactor
	// NoToken leaves the CI platform's identity token alone.
	NoToken bool
	// Push says whether and how the image is published under the tags of the request.
	// Nil publishes nothing.
	Push *Push
	// Fresh has everything made anew that an earlier release with the same inputs
	// made already.
	Fresh bool
	// State is the directory of the releases' journals; see journal.DefaultDir.
	State string
}

// Result is what a release came to.
type Result struct {
	Build *build.Result
	// Layout is the directory of the image.
	Layout   string
	Evidence *Evidence
	// Published says where it was published; nil when it was not.
	Published *publish.Result
	// Plan says what would be published, when that was asked for.
	Plan *publish.Plan
}

// Run carries out a release with a builder. The output of the build must be a
// directory with an OCI layout; empty means the default, named after the context. A gate that refuses the image ends it
// with a *RefusedError, after the documents about the refusal were written.
func Run(ctx context.Context, b *builder.Builder, r build.Request, o Options) (res *Result, err error) {
	layout, err := layoutOf(&r)
	if err != nil {
		return nil, err
	}
	to, err := o.publication(&r)
	if err != nil {
		return nil, err
	}
	dockerfile := readDockerfile(&r, o.Settings)
	if err := o.preflight(ctx, dockerfile); err != nil {
		return nil, err
	}
	docs, err := o.vexDocuments()
	if err != nil {
		return nil, err
	}
	began := o.Now()
	// A build that carries out a step or takes longer than this has something new to
	// catalogue.
	warm := time.AfterFunc(unchanged, catalogue.Warm)
	defer warm.Stop()
	// The database is fetched while the image is built. Without one there is no
	// release, so the build ends with it.
	building, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	db := o.openDatabase(ctx, stop)
	defer func() { err = errors.Join(err, db.close()) }()
	r.Provenance, r.Working = true, catalogue.Warm
	if o.Settings.Remote {
		r.EffectiveConfig = true
	}
	r.Recompress = o.recompress(&r)
	res = &Result{Layout: layout}
	if o.Build == nil {
		o.Build = func(ctx context.Context, r build.Request) (*build.Result, error) { return build.Run(ctx, b, r) }
	}
	if res.Build, err = o.Build(building, r); err != nil {
		if building.Err() != nil && ctx.Err() == nil {
			return nil, context.Cause(building)
		}
		return nil, err
	}
	if l := res.Build.Recompressed; l != nil {
		defer func() { err = errors.Join(err, l.Close()) }()
	}
	if o, err = o.effective(res.Build); err != nil {
		return nil, err
	}
	set, err := subject.Open(ctx, layout, subject.Options{})
	if err != nil {
		return nil, fmt.Errorf("open the image that was built: %w", err)
	}
	defer set.Close()
	facts, err := o.detect(ctx, layout)
	if err != nil {
		return nil, err
	}
	src := &origin{
		request: &r, result: res.Build, ci: facts, began: began,
		builderKind: string(b.Kind), buildkit: b.Version, frontend: r.Frontend,
		dockerfile: dockerfile,
	}
	stages, remove, err := o.builderStages(ctx, b, r)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, remove()) }()
	src.stages = stages
	if to != nil {
		to.Options = o
		if err := to.open(ctx, layout, res.Build.Digest()); err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, to.image.Close()) }()
	}
	res.Evidence, err = o.make(ctx, set, db, docs, src, to)
	if to != nil {
		res.Published, res.Plan = to.published, to.planned
	}
	return res, err
}

// unchanged is how long a build takes, with some room, that changes nothing.
const unchanged = time.Second

// layoutOf is the directory that the build's output goes to.
func layoutOf(r *build.Request) (string, error) {
	if len(r.Outputs) == 0 {
		o, err := output.Default(r.Context)
		if err != nil {
			return "", err
		}
		r.Outputs = []string{o.Dest}
		return o.Dest, nil
	}
	if len(r.Outputs) > 1 {
		return "", &build.InputError{Err: errors.New("a release has one output, the directory of its OCI layout")}
	}
	o, err := output.Parse(r.Outputs[0])
	if err != nil {
		return "", &build.InputError{Err: fmt.Errorf("--output %s: %w", r.Outputs[0], err)}
	}
	if o.Type != output.TypeOCI || !o.Dir() || o.Dest == "-" {
		return "", &build.InputError{Err: fmt.Errorf("--output %s: a release is written to a directory with an OCI layout; temper build writes other outputs", r.Outputs[0])}
	}
	return o.Dest, nil
}

// effective takes the settings that the frontend read, when only it could.
func (o Options) effective(res *build.Result) (Options, error) {
	dt, ok := res.Metadata[config.EffectiveKey]
	if !ok || !o.Settings.Remote {
		return o, nil
	}
	c, err := config.Decode(dt)
	if err != nil {
		return o, err
	}
	s := *o.Settings
	s.Config = c
	o.Settings = &s
	return o, nil
}

// detect finds out who builds, and from what source.
func (o Options) detect(ctx context.Context, layout string) (*ci.Facts, error) {
	opts := ci.Options{Lookup: o.Lookup, NoToken: o.NoToken, Now: o.Now}
	if o.Settings.Dir != "" {
		opts.Dir = o.Settings.Dir
		opts.Ignore = []string{layout}
		if url := o.Settings.Evidence.URL; !strings.Contains(url, "://") {
			opts.Ignore = append(opts.Ignore, url)
		}
	}
	return ci.Detect(ctx, opts)
}

// stageLayout is a builder stage that is to be catalogued.
type stageLayout struct{ name, dir string }

// builderStages builds the stages that the settings name into temporary layouts,
// which the builder has in its cache already. The function removes them.
func (o Options) builderStages(ctx context.Context, b *builder.Builder, r build.Request) (stages []stageLayout, remove func() error, err error) {
	names := slices.Compact(slices.Sorted(slices.Values(o.Settings.SBOM.Stages)))
	if len(names) == 0 {
		return nil, func() error { return nil }, nil
	}
	tmp, err := os.MkdirTemp("", "temper-stages-")
	if err != nil {
		return nil, nil, fmt.Errorf("make room for builder stages: %w", err)
	}
	remove = func() error { return os.RemoveAll(tmp) }
	for i, name := range names {
		dir := filepath.Join(tmp, strconv.Itoa(i))
		r.Target, r.Outputs, r.Tags, r.Provenance, r.EffectiveConfig, r.Status = name, []string{dir}, nil, false, false, nil
		r.Recompress = nil
		if _, err := build.Run(ctx, b, r); err != nil {
			return nil, nil, errors.Join(fmt.Errorf("build stage %s to catalogue it (sbom.stages): %w", name, err), remove())
		}
		stages = append(stages, stageLayout{name, dir})
	}
	return stages, remove, nil
}
