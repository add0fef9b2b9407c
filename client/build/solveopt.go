package build

import (
	"fmt"
	"maps"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/platforms"
	"github.com/docker/cli/cli/config/configfile"
	"github.com/docker/go-units"
	bkclient "github.com/moby/buildkit/client"
	bcbuild "github.com/moby/buildkit/cmd/buildctl/build"
	"github.com/moby/buildkit/session/auth/authprovider"
	"github.com/moby/buildkit/session/sshforward/sshprovider"
	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/buildkit/util/entitlements"
	"github.com/temper-images/temper/client/frontend"
	"github.com/temper-images/temper/frontend/config"
	"github.com/tonistiigi/go-csvvalue"
)

// epochArg is the build argument that fixes all times in an image
// (reproducible-builds.org, SOURCE_DATE_EPOCH).
const epochArg = "SOURCE_DATE_EPOCH"

// solveOpt translates everything but the inputs and the outputs.
func solveOpt(r *Request) (*bkclient.SolveOpt, error) {
	so := &bkclient.SolveOpt{
		Frontend:      "gateway.v0",
		FrontendAttrs: map[string]string{},
		Internal:      r.Call != nil,
	}
	if r.Frontend != nil && r.Frontend.Ref == frontend.Stock {
		so.Frontend = frontend.Stock
	}
	so.Ref = r.Ref
	if so.Ref == "" && r.Provenance && r.Call == nil {
		so.Ref = newRef()
	}
	if r.EffectiveConfig {
		so.FrontendAttrs[config.EffectiveKey] = ""
	}
	for _, step := range []func(*Request, *bkclient.SolveOpt) error{
		addArgs, addPlatforms, addCaching, addAttestations, addRunOptions, addSession,
	} {
		if err := step(r, so); err != nil {
			return nil, err
		}
	}
	return so, nil
}

func addArgs(r *Request, so *bkclient.SolveOpt) error {
	args, err := keyValues("--build-arg", r.BuildArgs, os.LookupEnv)
	if err != nil {
		return err
	}
	if _, ok := args[epochArg]; !ok {
		if v := os.Getenv(epochArg); v != "" {
			args[epochArg] = v
		}
	}
	if v, ok := args["BUILDKIT_MULTI_PLATFORM"]; ok {
		if multi, err := strconv.ParseBool(v); err == nil && multi {
			so.FrontendAttrs["multi-platform"] = "true"
		}
	}
	for k, v := range args {
		so.FrontendAttrs["build-arg:"+k] = v
	}
	labels, err := keyValues("--label", r.Labels, nil)
	if err != nil {
		return err
	}
	for k, v := range labels {
		so.FrontendAttrs["label:"+k] = v
	}
	if r.Target != "" {
		so.FrontendAttrs["target"] = r.Target
	}
	return nil
}

// keyValues reads "KEY=VALUE". A key alone is looked up, and left out when it is
// not found; without lookup its value is empty.
func keyValues(flag string, specs []string, lookup func(string) (string, bool)) (map[string]string, error) {
	out := map[string]string{}
	for _, spec := range specs {
		key, value, ok := strings.Cut(spec, "=")
		if key == "" {
			return nil, inputErrorf("%s %s: the key is empty", flag, spec)
		}
		if !ok && lookup != nil {
			if value, ok = lookup(key); !ok {
				continue
			}
		}
		out[key] = value
	}
	return out, nil
}

func addPlatforms(r *Request, so *bkclient.SolveOpt) error {
	var out []string
	for _, spec := range r.Platforms {
		for s := range strings.SplitSeq(spec, ",") {
			if s = strings.TrimSpace(s); s == "" {
				continue
			}
			p := platforms.DefaultSpec()
			if s != "local" {
				var err error
				if p, err = platforms.Parse(s); err != nil {
					return inputErrorf("--platform %s: %w", s, err)
				}
			}
			if f := platforms.FormatAll(platforms.Normalize(p)); !slices.Contains(out, f) {
				out = append(out, f)
			}
		}
	}
	if len(out) > 0 {
		so.FrontendAttrs["platform"] = strings.Join(out, ",")
	}
	return nil
}

func addCaching(r *Request, so *bkclient.SolveOpt) error {
	if r.NoCache && len(r.NoCacheFilter) > 0 {
		return inputErrorf("--no-cache and --no-cache-filter exclude each other")
	}
	if r.NoCache {
		so.FrontendAttrs["no-cache"] = ""
	}
	if len(r.NoCacheFilter) > 0 {
		so.FrontendAttrs["no-cache"] = strings.Join(r.NoCacheFilter, ",")
	}
	if r.Pull {
		so.FrontendAttrs["image-resolve-mode"] = pb.AttrImageResolveModeForcePull
	}
	from, err := cacheSpecs(r.CacheFrom)
	if err == nil {
		so.CacheImports, err = bcbuild.ParseImportCache(from)
	}
	if err != nil {
		return asInputError("--cache-from", err)
	}
	to, err := cacheSpecs(r.CacheTo)
	if err == nil {
		so.CacheExports, err = bcbuild.ParseExportCache(to)
	}
	if err != nil {
		return asInputError("--cache-to", err)
	}
	if inline, err := strconv.ParseBool(so.FrontendAttrs["build-arg:BUILDKIT_INLINE_CACHE"]); err == nil && inline {
		so.CacheExports = append(so.CacheExports, bkclient.CacheOptionsEntry{Type: "inline", Attrs: map[string]string{}})
	}
	return nil
}

// cacheSpecs writes image references out in full, as docker buildx build allows
// them alone and several with commas between.
func cacheSpecs(specs []string) ([]string, error) {
	var out []string
	for _, spec := range specs {
		if strings.Contains(spec, "=") {
			if !strings.Contains(spec, "type=") {
				return nil, fmt.Errorf("%q has no type=", spec)
			}
			out = append(out, spec)
			continue
		}
		fields, err := csvvalue.Fields(spec, nil)
		if err != nil {
			return nil, err
		}
		for _, ref := range fields {
			out = append(out, "type=registry,ref="+ref)
		}
	}
	return out, nil
}

func addAttestations(r *Request, so *bkclient.SolveOpt) error {
	seen := map[string]bool{}
	for _, spec := range r.Attest {
		fields, err := csvvalue.Fields(spec, nil)
		if err != nil {
			return inputErrorf("--attest %s: %w", spec, err)
		}
		var typ string
		disabled := false
		rest := []string{}
		for _, field := range fields {
			key, value, ok := strings.Cut(field, "=")
			if !ok {
				return inputErrorf("--attest %s: %q is not KEY=VALUE", spec, field)
			}
			switch strings.ToLower(strings.TrimSpace(key)) {
			case "type":
				typ = value
			case "disabled":
				if disabled, err = strconv.ParseBool(value); err != nil {
					return inputErrorf("--attest %s: disabled is true or false", spec)
				}
			default:
				rest = append(rest, quoteCSV(field))
			}
		}
		if typ != "sbom" && typ != "provenance" {
			return inputErrorf("--attest %s: type is sbom or provenance", spec)
		}
		if seen[typ] || disabled {
			seen[typ] = true
			continue
		}
		seen[typ] = true
		slices.Sort(rest)
		so.FrontendAttrs["attest:"+typ] = strings.Join(append([]string{"type=" + typ}, rest...), ",")
	}
	return nil
}

func quoteCSV(field string) string {
	if !strings.ContainsAny(field, `,"`) {
		return field
	}
	return `"` + strings.ReplaceAll(field, `"`, `""`) + `"`
}

// AttestSpec turns the value of --sbom or --provenance into one of --attest.
func AttestSpec(typ, value string) string {
	if enabled, err := strconv.ParseBool(value); err == nil {
		return fmt.Sprintf("type=%s,disabled=%t", typ, !enabled)
	}
	return "type=" + typ + "," + value
}

func addRunOptions(r *Request, so *bkclient.SolveOpt) error {
	for _, v := range r.Allow {
		if _, _, err := entitlements.Parse(v); err != nil {
			return inputErrorf("--allow %s: %w", v, err)
		}
	}
	so.AllowedEntitlements = slices.Clone(r.Allow)
	switch r.Network {
	case "", "default":
	case "none":
		so.FrontendAttrs["force-network-mode"] = r.Network
	case "host":
		so.FrontendAttrs["force-network-mode"] = r.Network
		so.AllowedEntitlements = append(so.AllowedEntitlements, entitlements.EntitlementNetworkHost.String())
	default:
		return inputErrorf("--network %s: it is one of default, none, host", r.Network)
	}
	hosts, err := extraHosts(r.AddHosts)
	if err != nil {
		return err
	}
	if hosts != "" {
		so.FrontendAttrs["add-hosts"] = hosts
	}
	if r.ShmSize > 0 {
		so.FrontendAttrs["shm-size"] = strconv.FormatInt(r.ShmSize, 10)
	}
	var limits []string
	for _, spec := range r.Ulimits {
		u, err := units.ParseUlimit(spec)
		if err != nil {
			return inputErrorf("--ulimit %s: %w", spec, err)
		}
		limits = append(limits, u.String())
	}
	if len(limits) > 0 {
		so.FrontendAttrs["ulimit"] = strings.Join(limits, ",")
	}
	return nil
}

// extraHosts reads "HOST:IP" or "HOST=IP"; an IPv6 address may be in brackets.
func extraHosts(specs []string) (string, error) {
	var out []string
	for _, spec := range specs {
		host, ip, ok := strings.Cut(spec, "=")
		if !ok {
			host, ip, ok = strings.Cut(spec, ":")
		}
		ip = strings.TrimSuffix(strings.TrimPrefix(ip, "["), "]")
		if !ok || host == "" || net.ParseIP(ip) == nil {
			return "", inputErrorf("--add-host %s: want HOST:IP", spec)
		}
		out = append(out, host+"="+ip)
	}
	return strings.Join(out, ","), nil
}

func addSession(r *Request, so *bkclient.SolveOpt) error {
	auth := r.Auth
	if auth == nil {
		auth = configfile.New("")
	}
	so.Session = append(so.Session, authprovider.NewDockerAuthProvider(authprovider.DockerAuthProviderConfig{
		AuthConfigProvider: authprovider.LoadAuthConfig(auth),
	}))
	if len(r.Secrets) > 0 {
		secrets, err := bcbuild.ParseSecret(r.Secrets)
		if err != nil {
			return asInputError("--secret", err)
		}
		so.Session = append(so.Session, secrets)
	}
	ssh := r.SSH
	if len(ssh) == 0 && strings.HasPrefix(r.Context, "git@") {
		ssh = []string{"default"}
	}
	if len(ssh) > 0 {
		configs, err := bcbuild.ParseSSH(ssh)
		if err != nil {
			return asInputError("--ssh", err)
		}
		agents, err := sshprovider.NewSSHAgentProvider(configs)
		if err != nil {
			return asInputError("--ssh", err)
		}
		so.Session = append(so.Session, agents)
	}
	return nil
}

// hasEpoch says whether SOURCE_DATE_EPOCH is part of the build.
func hasEpoch(so *bkclient.SolveOpt) bool {
	return so.FrontendAttrs["build-arg:"+epochArg] != ""
}

// frontendOpts are the options that go to the frontend.
func frontendOpts(so *bkclient.SolveOpt, call *Call) map[string]string {
	opts := maps.Clone(so.FrontendAttrs)
	if call != nil {
		const subrequests = "moby.buildkit.frontend.subrequests+forward"
		if caps := opts["frontend.caps"]; caps != "" {
			opts["frontend.caps"] = caps + "," + subrequests
		} else {
			opts["frontend.caps"] = subrequests
		}
		opts["requestid"] = "frontend." + call.Name
	}
	return opts
}
