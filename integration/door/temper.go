package door

import "context"

// Temper is temper's own command line.
type Temper struct {
	// Binary is the path of temper, Addr the builder's address.
	Binary, Addr string
}

// Name implements Door.
func (Temper) Name() string { return "temper" }

// Build implements Door.
func (d Temper) Build(ctx context.Context, b Build) (string, error) {
	args := append([]string{"build", "--builder", d.Addr, "--progress", "plain"}, buildFlags(b)...)
	if b.Dockerfile != "" {
		args = append(args, "--file", b.Dockerfile)
	}
	switch {
	case b.Call != "":
	case b.Output == "":
		args = append(args, "--output", "type=cacheonly")
	default:
		args = append(args, "--output", b.Output)
	}
	return run(ctx, nil, d.Binary, append(args, b.Context))
}

// buildFlags are the flags that temper build shares with docker buildx build.
func buildFlags(b Build) []string {
	var args []string
	if b.Target != "" {
		args = append(args, "--target", b.Target)
	}
	for _, p := range b.Platforms {
		args = append(args, "--platform", p)
	}
	sorted(b.args(), func(k, v string) { args = append(args, "--build-arg", k+"="+v) })
	sorted(b.Contexts, func(k, v string) { args = append(args, "--build-context", k+"="+v) })
	sorted(b.Secrets, func(k, v string) { args = append(args, "--secret", "id="+k+",src="+v) })
	if b.CacheFrom != "" {
		args = append(args, "--cache-from", b.CacheFrom)
	}
	if b.CacheTo != "" {
		args = append(args, "--cache-to", b.CacheTo)
	}
	if b.NoCache {
		args = append(args, "--no-cache")
	}
	for _, a := range b.Attest {
		args = append(args, "--attest", a)
	}
	if b.Call != "" {
		args = append(args, "--call", b.Call)
	}
	return args
}
