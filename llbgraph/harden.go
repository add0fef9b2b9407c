// Package llbgraph builds the parts of the LLB graph that Temper adds to a
// Dockerfile's. Its functions are pure: states in, states out; they open no
// file, ask no network and read no clock.
package llbgraph

import (
	"errors"
	"fmt"
	"path"
	"time"

	"github.com/containerd/platforms"
	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/buildkit/util/apicaps"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/temper-images/temper/hardening/spec"
)

// HelperPath is where the helper's program lies in the frontend image.
const HelperPath = "/temper-frontend"

// Where the helper's container has its files.
const (
	settingsMount = "/settings"
	rootfsMount   = "/rootfs"
	outMount      = "/out"
	reportMount   = "/report"
	hardenedMount = "/hardened"
	pruningMount  = "/pruning"
	tmpMount      = "/tmp"

	settingsFile = "settings.json"
)

// Input is what Harden works on. All fields but the last three are required.
type Input struct {
	// Runtime is the root filesystem to harden. It must not be empty scratch.
	Runtime llb.State
	// Helper is the frontend's own image, for the Build platform.
	Helper llb.State
	// Settings says what to do; the helper reads it as a file.
	Settings spec.Settings
	// Target is the platform that Runtime is for, Build the one that the helper
	// runs on.
	Target, Build ocispecs.Platform
	// Caps are the LLB features that the daemon has.
	Caps apicaps.CapSet
	// IgnoreCache runs the steps even when their results are in the cache.
	IgnoreCache bool
	// MultiPlatform puts the target platform before each step's name, as a
	// Dockerfile's own steps have it in a build for several platforms.
	MultiPlatform bool
	// Location points the steps at a place in the Dockerfile, for error messages.
	Location llb.ConstraintsOpt
}

// Output is the result of Harden. Both states can be marshalled as they are.
type Output struct {
	// State is the hardened root filesystem in exactly one layer. It has the
	// environment, directory and user of the runtime state. It is not verified
	// before Report is there: a layer that a step only reads has no other way to
	// depend on it.
	State llb.State
	// Report holds the file spec.ReportFile, which the last step writes.
	Report llb.State
}

// Harden adds the steps that prune a root filesystem into one new layer, check
// the result, and verify it once more by other means: when a promise is broken,
// there is no report, and what asks for both outputs has no result.
func Harden(in Input) (Output, error) {
	if in.Runtime.Output() == nil {
		return Output{}, errors.New("the runtime stage is empty")
	}
	if in.Helper.Output() == nil {
		return Output{}, errors.New("the frontend image is empty")
	}
	dt, err := in.Settings.Marshal()
	if err != nil {
		return Output{}, err
	}
	settings := llb.Scratch().File(
		llb.Mkfile("/"+settingsFile, 0o444, dt, llb.WithCreatedTime(time.Unix(0, 0))),
		in.constraints(1, "write settings")...,
	)

	// One step prunes and checks: that check costs less than starting a container
	// for it, and no layer exists that was not checked.
	run := in.run(2, "prune, squash into one layer and check",
		"harden",
		"--settings", path.Join(settingsMount, settingsFile),
		"--rootfs", rootfsMount,
		"--out", outMount,
		"--report", reportMount,
	)
	run.AddMount(settingsMount, settings, llb.Readonly)
	in.mountTree(run, rootfsMount, in.Runtime)
	pruned := run.AddMount(outMount, llb.Scratch())
	pruning := run.AddMount(reportMount, llb.Scratch())

	// Another plays the dynamic loader on what was written. It sees the files as
	// the image will hold them, and nothing of what the first one knew.
	verify := in.run(3, "verify that every program and library still loads",
		"verify",
		"--settings", path.Join(settingsMount, settingsFile),
		"--rootfs", rootfsMount,
		"--hardened", hardenedMount,
		"--pruning", pruningMount,
		"--report", reportMount,
	)
	verify.AddMount(settingsMount, settings, llb.Readonly)
	in.mountTree(verify, rootfsMount, in.Runtime)
	in.mountTree(verify, hardenedMount, pruned)
	in.mountTree(verify, pruningMount, pruning)
	report := verify.AddMount(reportMount, llb.Scratch())

	// A state that is derived from another loses its marshal defaults, and one
	// that comes out of a step has that step's platform: set both again.
	state := in.Runtime.WithOutput(pruned.Output()).Platform(in.Target)
	return Output{
		State:  state.SetMarshalDefaults(llb.Platform(in.Target), llb.WithCaps(in.Caps)),
		Report: report.SetMarshalDefaults(llb.Platform(in.Build), llb.WithCaps(in.Caps)),
	}, nil
}

// steps is how many steps Harden adds.
const steps = 3

// run starts a step that runs the helper on the build platform, without network
// and on a read-only root.
func (in Input) run(step int, name string, args ...string) llb.ExecState {
	opts := []llb.RunOption{
		llb.Args(append([]string{HelperPath}, args...)),
		llb.Dir("/"),
		llb.With(llb.Network(llb.NetModeNone)),
		llb.ReadonlyRootFS(),
	}
	for _, c := range in.constraints(step, name) {
		opts = append(opts, c)
	}
	run := in.Helper.Run(opts...)
	run.AddMount(tmpMount, llb.Scratch(), llb.Tmpfs())
	return run
}

// mountTree mounts a root filesystem for reading. BuildKit would first hash
// every file of it, to find a step that ran on equal files before; that costs
// more than the step itself.
func (in Input) mountTree(run llb.ExecState, target string, tree llb.State) {
	opts := []llb.MountOption{llb.Readonly}
	if in.Caps.Supports(pb.CapExecMountContentCache) == nil {
		opts = append(opts, llb.ContentCache(llb.MountContentCacheOff))
	}
	run.AddMount(target, tree, opts...)
}

// constraints are what every step has.
func (in Input) constraints(step int, name string) []llb.ConstraintsOpt {
	prefix := ""
	if in.MultiPlatform {
		prefix = platforms.FormatAll(in.Target) + " "
	}
	opts := []llb.ConstraintsOpt{
		llb.Platform(in.Build),
		llb.WithCustomName(fmt.Sprintf("[%shardened %d/%d] %s", prefix, step, steps, name)),
	}
	if in.IgnoreCache {
		opts = append(opts, llb.IgnoreCache)
	}
	if in.Location != nil {
		opts = append(opts, in.Location)
	}
	return opts
}
