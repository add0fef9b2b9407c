// Package door builds one thing in the three ways that people have: with temper's
// own command line, with docker buildx build and a syntax line in the Dockerfile,
// and with buildctl.
package door

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
)

// Frontend is the reference under which builds know the frontend.
const Frontend = "temper/frontend:1"

// Build says what to build. The zero value of each field but Context is usable.
type Build struct {
	// Context is a directory, Dockerfile a file; empty means Dockerfile in Context.
	Context, Dockerfile string
	Target              string
	Platforms           []string
	Args                map[string]string
	// Contexts are named contexts: directories, or oci-layout://DIR@DIGEST.
	Contexts map[string]string
	// Secrets are files by ID.
	Secrets map[string]string
	// CacheFrom and CacheTo are external caches, "type=…,…".
	CacheFrom, CacheTo string
	NoCache            bool
	// Attest are attestations for the builder to make, "type=…,…".
	Attest []string
	// Epoch is SOURCE_DATE_EPOCH; zero means none.
	Epoch int64
	// Call asks a question ("outline", "targets", "check") in place of a build.
	Call string
	// Output is the directory that gets an OCI image layout. Empty means that the
	// result stays in the cache.
	Output string
}

// Door is a way to build.
type Door interface {
	Name() string
	// Build returns everything that the command printed, also with an error.
	Build(ctx context.Context, b Build) (string, error)
}

// Layout is an OCI image layout directory with the digest of the image that is meant.
type Layout struct{ Dir, Digest string }

// run runs a door's command.
func run(ctx context.Context, env []string, name string, args []string) (string, error) {
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, out.String())
	}
	return out.String(), nil
}

// sorted calls f for each entry in the order of the keys.
func sorted(m map[string]string, f func(key, value string)) {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		f(k, m[k])
	}
}

// args are the build arguments with the epoch among them.
func (b Build) args() map[string]string {
	args := map[string]string{}
	for k, v := range b.Args {
		args[k] = v
	}
	if b.Epoch != 0 {
		args["SOURCE_DATE_EPOCH"] = strconv.FormatInt(b.Epoch, 10)
	}
	return args
}

// output is the exporter for an OCI image layout directory.
func (b Build) output() string {
	out := "type=oci,tar=false,dest=" + b.Output
	if b.Epoch != 0 {
		out += ",rewrite-timestamp=true"
	}
	return out
}
