package door

import (
	"context"
	"path/filepath"
	"strconv"
	"strings"
)

// Buildctl is BuildKit's own command line, with the frontend as a gateway frontend.
type Buildctl struct {
	// Binary is the path of buildctl, Addr the builder's address.
	Binary, Addr string
	Frontend     Layout
}

// Name implements Door.
func (Buildctl) Name() string { return "buildctl" }

// Build implements Door.
func (d Buildctl) Build(ctx context.Context, b Build) (string, error) {
	dockerfile := b.Dockerfile
	if dockerfile == "" {
		dockerfile = filepath.Join(b.Context, "Dockerfile")
	}
	args := []string{"--addr", d.Addr, "build", "--progress", "plain", "--frontend", "gateway.v0",
		"--local", "context=" + b.Context, "--local", "dockerfile=" + filepath.Dir(dockerfile), "--opt", "filename=" + filepath.Base(dockerfile),
		"--opt", "source=" + Frontend}
	contexts := map[string]string{Frontend: "oci-layout://" + d.Frontend.Dir + "@" + d.Frontend.Digest}
	sorted(b.Contexts, func(k, v string) { contexts[k] = v })
	n := 0
	sorted(contexts, func(k, v string) {
		id := "context" + strconv.Itoa(n)
		n++
		if layout, ok := strings.CutPrefix(v, "oci-layout://"); ok {
			dir, digest, _ := strings.Cut(layout, "@")
			args = append(args, "--oci-layout", id+"="+dir, "--opt", "context:"+k+"=oci-layout://"+id+"@"+digest)
		} else {
			args = append(args, "--local", id+"="+v, "--opt", "context:"+k+"=local:"+id)
		}
	})
	if b.Target != "" {
		args = append(args, "--opt", "target="+b.Target)
	}
	if len(b.Platforms) > 0 {
		args = append(args, "--opt", "platform="+strings.Join(b.Platforms, ","))
	}
	sorted(b.args(), func(k, v string) { args = append(args, "--opt", "build-arg:"+k+"="+v) })
	sorted(b.Secrets, func(k, v string) { args = append(args, "--secret", "id="+k+",src="+v) })
	if b.CacheFrom != "" {
		args = append(args, "--import-cache", b.CacheFrom)
	}
	if b.CacheTo != "" {
		args = append(args, "--export-cache", b.CacheTo)
	}
	if b.NoCache {
		args = append(args, "--no-cache")
	}
	for _, a := range b.Attest {
		kind, rest, _ := strings.Cut(strings.TrimPrefix(a, "type="), ",")
		args = append(args, "--opt", "attest:"+kind+"="+rest)
	}
	if b.Call != "" {
		request := "frontend." + b.Call
		if b.Call == "check" {
			request = "frontend.lint"
		}
		args = append(args, "--opt", "requestid="+request)
	}
	if b.Call == "" && b.Output != "" {
		args = append(args, "--output", b.output())
	}
	return run(ctx, nil, d.Binary, args)
}
