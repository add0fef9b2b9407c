package main

import (
	"context"
	"fmt"
	"os"
	"strings"

	dockerconfig "github.com/docker/cli/cli/config"
	"github.com/docker/go-units"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/temper-images/temper/client"
	"github.com/temper-images/temper/client/build"
	"github.com/temper-images/temper/client/frontend"
	"github.com/temper-images/temper/client/secretlint"
	"github.com/temper-images/temper/frontend/config"
)

// requestFlags say what to build; the commands that build have them.
type requestFlags struct {
	progressFlags
	req        build.Request
	frontend   string
	shmSize    string
	sbom       string
	provenance string
	allowArgs  []string
}

// add defines the flags that say what to build, as docker buildx build has them.
func (f *requestFlags) add(flags *pflag.FlagSet) {
	var platform []string
	if v := os.Getenv("DOCKER_DEFAULT_PLATFORM"); v != "" {
		platform = []string{v}
	}
	r := &f.req
	flags.StringVarP(&r.Dockerfile, "file", "f", "", "Dockerfile, or - for standard input (default: Dockerfile in CONTEXT)")
	flags.StringVar(&r.Target, "target", "", "Stage to build; a stage that is not the last is built without hardening")
	flags.StringArrayVar(&r.Platforms, "platform", platform, "Target platforms, for example linux/amd64,linux/arm64")
	flags.StringArrayVar(&r.BuildArgs, "build-arg", nil, "Build argument, KEY=VALUE, or KEY for a variable of the environment; TEMPER_<FIELD> overrides a field of temper.yaml")
	flags.StringArrayVar(&f.allowArgs, "allow-build-arg", nil, "Build argument that is no secret although it looks like one: a name or glob")
	flags.StringArrayVar(&r.Contexts, "build-context", nil, "Further build context, NAME=VALUE: a directory, a URL, docker-image://REF or oci-layout://DIR")
	flags.StringArrayVar(&r.Secrets, "secret", nil, "Secret for the build, id=ID[,src=FILE|,env=VARIABLE]")
	flags.StringArrayVar(&r.SSH, "ssh", nil, "SSH agent or keys for the build, default|ID[=SOCKET|KEY[,KEY]]")
	flags.BoolVar(&r.NoCache, "no-cache", false, "Do not use the build cache")
	flags.StringArrayVar(&r.NoCacheFilter, "no-cache-filter", nil, "Do not use the build cache for these stages")
	flags.BoolVar(&r.Pull, "pull", false, "Ask the registry for newer versions of all images")
	flags.StringArrayVar(&r.CacheFrom, "cache-from", nil, "External cache to read, REF or type=TYPE[,KEY=VALUE]")
	flags.StringArrayVar(&r.CacheTo, "cache-to", nil, "External cache to write, REF or type=TYPE[,KEY=VALUE]")
	flags.StringArrayVar(&r.Labels, "label", nil, "Label of the image, KEY=VALUE")
	flags.StringArrayVar(&r.Annotations, "annotation", nil, "Annotation, [TYPE[PLATFORM]:]KEY=VALUE with the types index, manifest, index-descriptor, manifest-descriptor")
	flags.StringArrayVarP(&r.Tags, "tag", "t", nil, "Name of the image, recorded in OCI layouts and archives")
	flags.StringArrayVarP(&r.Outputs, "output", "o", nil, "Where the image goes; see above")
	flags.StringVar(&f.frontend, "frontend", "", "Temper frontend: a registry reference, oci-layout://DIR, a path of a layout or of the binary temper-frontend, or "+frontend.Stock+" for no hardening (environment: "+frontend.Env+"; default: what lies beside temper)")
	flags.StringArrayVar(&r.AddHosts, "add-host", nil, "Further host for RUN instructions, HOST:IP")
	flags.StringVar(&r.Network, "network", "default", "Network for RUN instructions: default, none, host")
	flags.StringArrayVar(&r.Allow, "allow", nil, "Entitlement for the build: network.host, security.insecure, device")
	flags.StringVar(&f.shmSize, "shm-size", "", "Size of /dev/shm for RUN instructions, for example 64m")
	flags.StringArrayVar(&r.Ulimits, "ulimit", nil, "Limit for RUN instructions, TYPE=SOFT[:HARD]")
	flags.StringArrayVar(&r.Attest, "attest", nil, "Attestation that BuildKit is to make, type=sbom|provenance[,KEY=VALUE]")
	flags.StringVar(&f.sbom, "sbom", "", "Short for --attest=type=sbom")
	flags.StringVar(&f.provenance, "provenance", "", "Short for --attest=type=provenance")
	f.progressFlags.add(flags)
}

// complete turns the flags that have a form of their own into the request.
func (f *requestFlags) complete() (err error) {
	if f.sbom != "" {
		f.req.Attest = append(f.req.Attest, build.AttestSpec("sbom", f.sbom))
	}
	if f.provenance != "" {
		f.req.Attest = append(f.req.Attest, build.AttestSpec("provenance", f.provenance))
	}
	if f.shmSize != "" {
		if f.req.ShmSize, err = units.RAMInBytes(f.shmSize); err != nil {
			return &build.InputError{Err: fmt.Errorf("--shm-size %s: %w", f.shmSize, err)}
		}
	}
	return nil
}

// checkArgs refuses build arguments that are likely secrets: they stay in the
// build's history and cache.
func (f *requestFlags) checkArgs(cmd *cobra.Command) error {
	var settings []secretlint.Setting
	for _, arg := range f.req.BuildArgs {
		name, value, ok := strings.Cut(arg, "=")
		if !ok {
			value = os.Getenv(name)
		}
		// A setting of temper.yaml says itself where it takes references only.
		if config.IsArg(name) {
			continue
		}
		settings = append(settings, secretlint.Setting{Source: secretlint.BuildArg, Name: name, Value: value})
	}
	if len(settings) == 0 {
		return nil
	}
	// Whatever is let through is not to be printed all the same. What is known
	// already is judged before.
	if err := secretlint.Check(settings, secretlint.Options{Allow: f.allowArgs, Known: redactor(cmd)}); err != nil {
		return &build.InputError{Err: err}
	}
	return secretlint.Learn(settings, redactor(cmd))
}

// connect finds a builder and gives the request what it has of this process. The
// client is to be closed.
func (f *requestFlags) connect(ctx context.Context, cmd *cobra.Command, bf *builderFlags) (*client.Client, error) {
	opts := client.Options{Frontend: frontend.Options{Spec: f.frontend}}
	err := f.checkArgs(cmd)
	if err != nil {
		return nil, err
	}
	if opts.Builder, err = bf.options(); err != nil {
		return nil, err
	}
	f.req.Stdin, f.req.Stdout = cmd.InOrStdin(), cmd.OutOrStdout()
	f.req.Auth = dockerconfig.LoadDefaultConfigFile(cmd.ErrOrStderr())
	return client.New(ctx, opts)
}
