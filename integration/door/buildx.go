package door

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
)

// Buildx is docker buildx build: a Dockerfile with a syntax line, and nothing else
// that tells it from any other build. It reaches the frontend by a named context,
// as it would reach a registry.
type Buildx struct {
	command  []string
	env      []string
	dir      string
	frontend Layout
}

// builder is the name under which buildx knows the daemon.
const builder = "temper-test"

// NewBuildx makes a buildx configuration below dir that knows the builder at addr.
// command is "buildx", or "docker buildx".
func NewBuildx(ctx context.Context, dir, addr string, frontend Layout, command ...string) (*Buildx, error) {
	d := &Buildx{command: command, dir: dir, frontend: frontend, env: []string{
		"BUILDX_CONFIG=" + filepath.Join(dir, "buildx"), "BUILDX_NO_DEFAULT_ATTESTATIONS=1",
	}}
	if _, err := d.run(ctx, "create", "--name", builder, "--driver", "remote", addr); err != nil {
		return nil, fmt.Errorf("make a buildx builder: %w", err)
	}
	return d, nil
}

// AsDockerPlugin makes the standalone program buildx a plugin of the docker
// command, in a configuration directory below the door's own.
func (d *Buildx) AsDockerPlugin(docker, buildx string) (*Buildx, error) {
	config := filepath.Join(d.dir, "docker")
	plugins := filepath.Join(config, "cli-plugins")
	if err := os.MkdirAll(plugins, 0o755); err != nil {
		return nil, fmt.Errorf("install buildx as a plugin: %w", err)
	}
	if err := os.Symlink(buildx, filepath.Join(plugins, "docker-buildx")); err != nil {
		return nil, fmt.Errorf("install buildx as a plugin: %w", err)
	}
	plugin := *d
	plugin.command = []string{docker, "--config", config, "buildx"}
	return &plugin, nil
}

// Name implements Door.
func (d *Buildx) Name() string {
	if len(d.command) > 1 {
		return "docker buildx"
	}
	return "buildx"
}

func (d *Buildx) run(ctx context.Context, args ...string) (string, error) {
	return run(ctx, d.env, d.command[0], append(append([]string{}, d.command[1:]...), args...))
}

// Command is docker buildx with other arguments, for the same builder; the first of
// them is "build".
func (d *Buildx) Command(ctx context.Context, args ...string) *exec.Cmd {
	all := append(slices.Clone(d.command[1:]), args[0], "--builder", builder)
	cmd := exec.CommandContext(ctx, d.command[0], append(all, args[1:]...)...)
	cmd.Env = append(os.Environ(), d.env...)
	return cmd
}

// Build implements Door.
func (d *Buildx) Build(ctx context.Context, b Build) (string, error) {
	file, err := d.withSyntax(b)
	if err != nil {
		return "", fmt.Errorf("add a syntax line: %w", err)
	}
	defer os.RemoveAll(filepath.Dir(file))
	args := append([]string{"build", "--builder", builder, "--progress", "plain"}, buildFlags(b)...)
	args = append(args, "--file", file, "--build-context", Frontend+"=oci-layout://"+d.frontend.Dir+"@"+d.frontend.Digest)
	switch {
	case b.Call != "":
	case b.Output == "":
		args = append(args, "--output", "type=cacheonly")
	default:
		args = append(args, "--output", b.output())
	}
	return d.run(ctx, append(args, b.Context)...)
}

// withSyntax writes the Dockerfile with a syntax line to a directory of its own.
func (d *Buildx) withSyntax(b Build) (string, error) {
	from := b.Dockerfile
	if from == "" {
		from = filepath.Join(b.Context, "Dockerfile")
	}
	dt, err := os.ReadFile(from)
	if err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp(d.dir, "dockerfile-")
	if err != nil {
		return "", err
	}
	file := filepath.Join(dir, "Dockerfile")
	return file, os.WriteFile(file, append([]byte("# syntax="+Frontend+"\n"), dt...), 0o644)
}
