package corpus

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/temper-images/temper/hardening/spec"
	"github.com/temper-images/temper/integration/base"
	"github.com/temper-images/temper/integration/daemon"
	"github.com/temper-images/temper/integration/door"
	"github.com/temper-images/temper/integration/image"
	"github.com/temper-images/temper/integration/tools"
)

const (
	// epoch is the SOURCE_DATE_EPOCH of every build.
	epoch = 1_750_000_000
	// buildLimit is how long a build may take, functionLimit a function of an application.
	buildLimit, functionLimit = 15 * time.Minute, 3 * time.Minute
)

// Bases are the images that applications build on, by the names under which
// registries have them.
var Bases = map[string]func(context.Context) (base.Layout, error){
	"debian:bookworm":      base.Debian,
	"debian:bookworm-slim": base.DebianSlim,
	"busybox":              base.Busybox,
	"golang:1.26-bookworm": base.Golang,
}

// Levels are the levels that a run compares.
var Levels = []spec.Level{spec.LevelOff, spec.LevelExclusive, spec.LevelMinimal}

// Options say how a Runner works.
type Options struct {
	// Dir is where the builder keeps its cache and images are unpacked; its path
	// must be short, because of sockets. What is there is used again.
	Dir string
	// Levels are the levels to build at; empty means Levels.
	Levels []spec.Level
	// Jobs is how many applications are worked on at a time; zero means one.
	Jobs int
	// Scanners also compares what Syft and Grype find with what is there.
	Scanners bool
	// Log gets a line for each thing that was done; nil means nobody.
	Log io.Writer
}

// Runner builds applications at several levels, calls their functions and
// measures their images.
type Runner struct {
	opt    Options
	daemon *daemon.Daemon
	door   door.Temper

	mu    sync.Mutex
	bases map[string]string
}

// NewRunner starts a builder. Close the runner to end it.
func NewRunner(ctx context.Context, opt Options) (*Runner, error) {
	if len(opt.Levels) == 0 {
		opt.Levels = Levels
	}
	if opt.Log == nil {
		opt.Log = io.Discard
	}
	r := &Runner{opt: opt, bases: map[string]string{}}
	var err error
	if err = os.MkdirAll(opt.Dir, 0o755); err == nil {
		r.daemon, err = daemon.Start(ctx, opt.Dir, daemon.Options{Binary: tools.Path("buildkitd")})
	}
	if err != nil {
		return nil, fmt.Errorf("prepare the corpus: %w", err)
	}
	r.door = door.Temper{Binary: tools.Path("temper"), Addr: r.daemon.Addr}
	return r, nil
}

// Close ends the builder. Its cache stays in Options.Dir.
func (r *Runner) Close() error { return r.daemon.Stop() }

// Run works on applications and returns a row for each, in the same order. What
// fails is in the rows.
func (r *Runner) Run(ctx context.Context, apps []App) []Row {
	rows := make([]Row, len(apps))
	var jobs errgroup.Group
	jobs.SetLimit(max(r.opt.Jobs, 1))
	for n, a := range apps {
		jobs.Go(func() error {
			rows[n] = r.app(ctx, a)
			return nil
		})
	}
	_ = jobs.Wait() // no job returns an error
	return rows
}

func (r *Runner) app(ctx context.Context, a App) Row {
	row := Row{App: a.Name, Levels: map[spec.Level]*Measure{}}
	dir, err := os.MkdirTemp(r.opt.Dir, a.Name+"-")
	if err != nil {
		row.Err = err.Error()
		return row
	}
	defer os.RemoveAll(dir)
	defer func() { row.scan.remove() }()
	b, err := r.context(ctx, a, filepath.Join(dir, "context"))
	if err != nil {
		row.Err = err.Error()
		return row
	}
	for _, level := range r.opt.Levels {
		m := r.level(ctx, a, b, level, filepath.Join(dir, string(level)), &row)
		row.Levels[level] = m
		fmt.Fprintf(r.opt.Log, "%s\n", m.line(a.Name, level))
	}
	return row
}

// context copies the build context and finds what the build needs besides.
func (r *Runner) context(ctx context.Context, a App, dir string) (door.Build, error) {
	b := door.Build{Context: dir, Contexts: map[string]string{}, Args: map[string]string{}, Epoch: epoch}
	if err := os.CopyFS(dir, os.DirFS(filepath.Join(tools.Root(), "integration", "corpus", "apps", a.Name))); err != nil {
		return b, fmt.Errorf("copy the build context: %w", err)
	}
	if a.Prepare != nil {
		if err := a.Prepare(ctx, dir); err != nil {
			return b, fmt.Errorf("prepare the build context: %w", err)
		}
	}
	for _, name := range a.Bases {
		ref, err := r.base(ctx, name)
		if err != nil {
			return b, err
		}
		b.Contexts[name] = ref
	}
	return b, nil
}

// base returns a base as a build context and gives the builder all of it. A build
// that fails or ends early while BuildKit copies a layout's blob leaves a part of
// it, and BuildKit cannot go on from there: later builds say "unsupported offset".
func (r *Runner) base(ctx context.Context, name string) (string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if ref, ok := r.bases[name]; ok {
		return ref, nil
	}
	open, ok := Bases[name]
	if !ok {
		return "", fmt.Errorf("no base image is called %s", name)
	}
	layout, err := open(ctx)
	if err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp(r.opt.Dir, "base-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	if err := os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte("FROM "+name+"\nRUN true\n"), 0o644); err != nil {
		return "", err
	}
	if _, err := r.door.Build(ctx, door.Build{
		Context: dir, Contexts: map[string]string{name: layout.Ref()}, Args: map[string]string{"TEMPER_HARDEN_LEVEL": string(spec.LevelOff)},
	}); err != nil {
		return "", err
	}
	r.bases[name] = layout.Ref()
	return layout.Ref(), nil
}

// level builds an application at a level, measures the image and calls the
// application's functions.
func (r *Runner) level(ctx context.Context, a App, b door.Build, level spec.Level, dir string, row *Row) *Measure {
	m := &Measure{}
	defer os.RemoveAll(dir)
	img, log, err := r.build(ctx, b, level, filepath.Join(dir, "image"))
	if err != nil {
		m.Build = err.Error()
		return m
	}
	m.Hardening = hardeningTime(log)
	for _, f := range []struct {
		name   string
		call   func(*Instance)
		result *string
	}{{"works", a.Works, &m.Works}, {"others", a.Others, &m.Others}} {
		// The first function's instance is measured, before the function changes it.
		err := r.instance(ctx, img, filepath.Join(dir, f.name), func(i *Instance) error {
			if f.result == &m.Works {
				if err := r.measure(ctx, i, b, level, m, row); err != nil {
					m.Build = err.Error()
				}
			}
			return i.call(f.call)
		})
		if err != nil {
			*f.result = err.Error()
		}
	}
	return m
}

func (r *Runner) build(ctx context.Context, b door.Build, level spec.Level, output string) (*image.Image, string, error) {
	ctx, cancel := context.WithTimeout(ctx, buildLimit)
	defer cancel()
	b.Output = output
	b.Args = map[string]string{"TEMPER_HARDEN_LEVEL": string(level)}
	log, err := r.door.Build(ctx, b)
	if err != nil {
		return nil, log, err
	}
	img, err := image.OpenOne(output)
	return img, log, err
}

// instance unpacks an image, hands it to f and removes it.
func (r *Runner) instance(ctx context.Context, img *image.Image, dir string, f func(*Instance) error) (err error) {
	i, err := newInstance(ctx, dir, img)
	if err != nil {
		return fmt.Errorf("unpack the image: %w", err)
	}
	// How long unpacking takes is no matter of the application's.
	limited, cancel := context.WithTimeout(ctx, functionLimit)
	defer cancel()
	i.ctx = limited
	defer func() { err = errors.Join(err, i.network.Close(), os.RemoveAll(dir)) }()
	return f(i)
}
