package provenance

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	digest "github.com/opencontainers/go-digest"
	"github.com/package-url/packageurl-go"
)

// argPrefix is how BuildKit's frontend options name build arguments.
const argPrefix = "build-arg:"

// What is read of BuildKit's provenance at most.
const (
	maxItems  = 10_000
	maxString = 16 << 10
	maxDepth  = 16
)

// Build is what BuildKit says about one platform of a build. The values of build
// arguments are not in it.
type Build struct {
	// Document is BuildKit's provenance without the values of build arguments and
	// without credentials in URLs, JSON with a final newline: what may be stored.
	Document []byte
	// PredicateType is the SLSA version of Document.
	PredicateType string
	// Platform is the target platform.
	Platform string
	// Source is where the main build context was fetched from, when the builder
	// did so: a URI and a digest.
	Source Resource
	// Dependencies are the images, files and repositories that were fetched.
	Dependencies []Resource
	// Dockerfile is its path in the context and the digest of its text.
	Dockerfile File
	Target     string
	// BuildArgs are the names of the build arguments, with the values of those
	// that are known to be no secrets.
	BuildArgs map[string]*string
	// Contexts are the further build contexts: "local", "oci-layout@sha256:…", an
	// image or a URL.
	Contexts map[string]string
	// Secrets and SSH are the identifiers of what the build was shown, never the
	// contents; Locals are the directories that the client sent.
	Secrets, SSH, Locals []string
	// BuilderID and InvocationID are BuildKit's own, often empty.
	BuilderID, InvocationID string
	Started, Finished       time.Time
	// Hermetic says that no step had a network; Complete that every dependency is
	// listed, which is never so with a local context.
	Hermetic, Complete bool
}

// predicate is what is read of BuildKit's provenance, SLSA v1 and v0.2 in one.
type predicate struct {
	BuildDefinition struct {
		ExternalParameters struct {
			ConfigSource configSource `json:"configSource"`
			Request      *request     `json:"request"`
		} `json:"externalParameters"`
		InternalParameters struct {
			BuilderPlatform string `json:"builderPlatform"`
			TargetPlatform  string `json:"targetPlatform"`
		} `json:"internalParameters"`
		ResolvedDependencies []material `json:"resolvedDependencies"`
	} `json:"buildDefinition"`
	RunDetails struct {
		Builder  builderID `json:"builder"`
		Metadata struct {
			InvocationID string           `json:"invocationId"`
			StartedOn    *time.Time       `json:"startedOn"`
			FinishedOn   *time.Time       `json:"finishedOn"`
			BuildKit     buildkitMetadata `json:"buildkit_metadata"`
			Hermetic     bool             `json:"buildkit_hermetic"`
			Completeness struct {
				Dependencies bool `json:"resolvedDependencies"`
			} `json:"buildkit_completeness"`
		} `json:"metadata"`
	} `json:"runDetails"`

	// SLSA v0.2.
	Builder    builderID `json:"builder"`
	Invocation struct {
		ConfigSource struct {
			URI        string            `json:"uri"`
			Digest     map[string]string `json:"digest"`
			EntryPoint string            `json:"entryPoint"`
		} `json:"configSource"`
		Parameters  *request `json:"parameters"`
		Environment struct {
			Platform string `json:"platform"`
		} `json:"environment"`
	} `json:"invocation"`
	Materials []material `json:"materials"`
	Metadata  struct {
		InvocationID string           `json:"buildInvocationID"`
		StartedOn    *time.Time       `json:"buildStartedOn"`
		FinishedOn   *time.Time       `json:"buildFinishedOn"`
		BuildKit     buildkitMetadata `json:"https://mobyproject.org/buildkit@v1#metadata"`
		Hermetic     bool             `json:"https://mobyproject.org/buildkit@v1#hermetic"`
		Completeness struct {
			Materials bool `json:"materials"`
		} `json:"completeness"`
	} `json:"metadata"`
}

type builderID struct {
	ID string `json:"id"`
}

type configSource struct {
	URI    string            `json:"uri"`
	Digest map[string]string `json:"digest"`
	Path   string            `json:"path"`
}

type material struct {
	URI    string            `json:"uri"`
	Digest map[string]string `json:"digest"`
}

type buildkitMetadata struct {
	Source struct {
		Infos []struct {
			Filename string `json:"filename"`
			Data     []byte `json:"data"`
		} `json:"infos"`
	} `json:"source"`
}

type request struct {
	Frontend string                `json:"frontend"`
	Args     map[string]string     `json:"args"`
	Secrets  []identified          `json:"secrets"`
	SSH      []identified          `json:"ssh"`
	Locals   []named               `json:"locals"`
	Inputs   map[string]*requested `json:"inputs"`
	Root     *requested            `json:"root"`
}

type requested struct {
	Request *request `json:"request"`
}

type identified struct {
	ID string `json:"id"`
}

type named struct {
	Name string `json:"name"`
}

// ReadBuild reads BuildKit's provenance: a predicate of SLSA provenance v1 or v0.2,
// or a statement around one. It is the word of a builder and may be anything.
// public are build arguments whose values may be told besides BuildKit's and
// Temper's own. Errors are an *InvalidError.
func ReadBuild(data []byte, public ...string) (*Build, error) {
	b, err := readBuild(data, public)
	if err != nil {
		return nil, &InvalidError{Err: fmt.Errorf("BuildKit's document: %w", err)}
	}
	return b, nil
}

func readBuild(data []byte, public []string) (*Build, error) {
	if len(data) > maxDocument {
		return nil, fmt.Errorf("it has %d bytes, more than %d", len(data), maxDocument)
	}
	var statement struct {
		PredicateType string          `json:"predicateType"`
		Predicate     json.RawMessage `json:"predicate"`
	}
	if err := json.Unmarshal(data, &statement); err != nil {
		return nil, err
	}
	if len(statement.Predicate) > 0 {
		data = statement.Predicate
	}
	var p predicate
	if err := json.Unmarshal(data, &p); err != nil {
		return nil, err
	}
	document, err := decode(data)
	if err != nil {
		return nil, err
	}
	if _, ok := document.(map[string]any); !ok {
		return nil, errors.New("it is not a JSON object")
	}
	b := p.build()
	req := p.request()
	args := map[string][]string{}
	if err := req.collect(args, 0); err != nil {
		return nil, err
	}
	r := newRedactor(args, public)
	b.BuildArgs = map[string]*string{}
	for name, values := range args {
		b.BuildArgs[name] = nil
		if isPublic(name, public) {
			b.BuildArgs[name] = &values[0]
		}
	}
	b.request(req, r)
	if err := b.materials(append(p.BuildDefinition.ResolvedDependencies, p.Materials...), req, r); err != nil {
		return nil, err
	}
	if err := b.check(); err != nil {
		return nil, err
	}
	b.Document, err = encode(r.document(document))
	return b, err
}

// build takes the fields that are the same in both versions but for their names.
func (p *predicate) build() *Build {
	d, run := &p.BuildDefinition, &p.RunDetails
	if len(p.Materials) > 0 || p.Invocation.Parameters != nil {
		cs, m := p.Invocation.ConfigSource, p.Metadata
		return &Build{
			PredicateType: "https://slsa.dev/provenance/v0.2", Platform: p.Invocation.Environment.Platform,
			Source:     Resource{URI: cs.URI, Digest: cs.Digest},
			Dockerfile: dockerfileOf(cs.EntryPoint, m.BuildKit), BuilderID: p.Builder.ID, InvocationID: m.InvocationID,
			Started: timeOf(m.StartedOn), Finished: timeOf(m.FinishedOn), Hermetic: m.Hermetic, Complete: m.Completeness.Materials,
		}
	}
	platform := d.InternalParameters.TargetPlatform
	if platform == "" {
		platform = d.InternalParameters.BuilderPlatform
	}
	cs, m := d.ExternalParameters.ConfigSource, run.Metadata
	return &Build{
		PredicateType: PredicateType, Platform: platform, Source: Resource{URI: cs.URI, Digest: cs.Digest},
		Dockerfile: dockerfileOf(cs.Path, m.BuildKit), BuilderID: run.Builder.ID, InvocationID: m.InvocationID,
		Started: timeOf(m.StartedOn), Finished: timeOf(m.FinishedOn), Hermetic: m.Hermetic, Complete: m.Completeness.Dependencies,
	}
}

func (p *predicate) request() *request {
	for _, r := range []*request{p.BuildDefinition.ExternalParameters.Request, p.Invocation.Parameters} {
		if r != nil {
			return r
		}
	}
	return &request{}
}

func timeOf(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.UTC()
}

// dockerfileOf is the Dockerfile of that path, whose text BuildKit keeps.
func dockerfileOf(path string, m buildkitMetadata) File {
	f := File{Path: path}
	for _, info := range m.Source.Infos {
		if len(info.Data) > 0 && (info.Filename == path || path == "") {
			f.Path, f.Digest = info.Filename, digest.FromBytes(info.Data)
			break
		}
	}
	return f
}

// collect puts the build arguments of a request and of the requests inside it, the
// request's own value first.
func (r *request) collect(args map[string][]string, depth int) error {
	if r == nil {
		return nil
	}
	if depth > maxDepth {
		return errors.New("its requests are nested too deeply")
	}
	for key, value := range r.Args {
		if name, ok := strings.CutPrefix(key, argPrefix); ok && !slices.Contains(args[name], value) {
			args[name] = append(args[name], value)
		}
	}
	if len(args) > maxItems {
		return fmt.Errorf("it has more than %d build arguments", maxItems)
	}
	for _, key := range slices.Sorted(maps.Keys(r.Inputs)) {
		if in := r.Inputs[key]; in != nil {
			if err := in.Request.collect(args, depth+1); err != nil {
				return err
			}
		}
	}
	if r.Root != nil {
		return r.Root.Request.collect(args, depth+1)
	}
	return nil
}

// request takes the parameters that are no build arguments.
func (b *Build) request(req *request, r *redactor) {
	b.Target = r.text(req.Args["target"])
	b.Contexts = map[string]string{}
	for key, value := range req.Args {
		name, ok := strings.CutPrefix(key, "context:")
		if !ok || name == req.Args["source"] {
			continue
		}
		b.Contexts[name] = contextOf(value, r)
	}
	for _, s := range req.Secrets {
		// BuildKit offers these to every build that fetches from git.
		if s.ID != "GIT_AUTH_TOKEN" && s.ID != "GIT_AUTH_HEADER" {
			b.Secrets = append(b.Secrets, s.ID)
		}
	}
	for _, s := range req.SSH {
		b.SSH = append(b.SSH, s.ID)
	}
	for _, l := range req.Locals {
		b.Locals = append(b.Locals, l.Name)
	}
}

var storePattern = regexp.MustCompile(`^oci-layout://[^@]*@`)

// contextOf is a named context without what only names a place on one machine.
func contextOf(value string, r *redactor) string {
	switch {
	case strings.HasPrefix(value, "local:"):
		return "local"
	case storePattern.MatchString(value):
		return storePattern.ReplaceAllString(value, "oci-layout@")
	}
	return r.text(value)
}

// materials takes the dependencies.
func (b *Build) materials(list []material, req *request, r *redactor) error {
	if len(list) > maxItems {
		return fmt.Errorf("it has %d dependencies, more than %d", len(list), maxItems)
	}
	frontend := req.Args["source"]
	if b.Source.Digest = gitDigest(b.Source.Digest); b.Source.URI != "" {
		b.Source.Kind, b.Source.URI = KindSource, r.text(b.Source.URI)
	}
	seen := map[string]int{}
	for _, m := range list {
		d := Resource{Kind: KindHTTP, URI: r.text(m.URI), Digest: gitDigest(m.Digest)}
		key := d.URI
		if p, err := packageurl.FromString(m.URI); err == nil {
			d.Kind, d.Name = KindImage, imageName(p)
			if sameImage(d.Name, frontend) {
				d.Kind = KindFrontend
			}
			// The same image for two platforms is the same image.
			key = d.Name + "\x00" + fmt.Sprint(d.Digest)
		} else if d.Digest["gitCommit"] != "" {
			d.Kind = KindGit
		}
		if name := b.contextWith(m, req); name != "" {
			d.Annotations = map[string]string{"context": name}
		}
		if i, ok := seen[key]; ok {
			if len(d.URI) > len(b.Dependencies[i].URI) {
				b.Dependencies[i].URI = d.URI
			}
			continue
		}
		seen[key] = len(b.Dependencies)
		b.Dependencies = append(b.Dependencies, d)
	}
	return nil
}

// gitDigest writes BuildKit's "sha1", which it gives to commits only, as in-toto
// does.
func gitDigest(set map[string]string) map[string]string {
	if set["sha1"] == "" {
		return set
	}
	out := maps.Clone(set)
	out["gitCommit"] = out["sha1"]
	delete(out, "sha1")
	return out
}

func imageName(p packageurl.PackageURL) string {
	name := p.Name
	if p.Namespace != "" {
		name = p.Namespace + "/" + name
	}
	if p.Version != "" && !strings.Contains(p.Version, ":") {
		name += ":" + p.Version
	}
	return name
}

// sameImage compares a name of BuildKit's with one of the request's.
func sameImage(name, ref string) bool {
	ref, _, _ = strings.Cut(ref, "@")
	return ref != "" && (name == ref || strings.TrimPrefix(name, "docker.io/") == ref || strings.TrimPrefix(ref, "docker.io/") == name)
}

// contextWith names the context that the material was given as.
func (b *Build) contextWith(m material, req *request) string {
	for _, name := range slices.Sorted(maps.Keys(b.Contexts)) {
		value := req.Args["context:"+name]
		_, d, _ := strings.Cut(value, "@sha256:")
		if value == m.URI || d != "" && d == m.Digest["sha256"] {
			return name
		}
	}
	return ""
}

// check bounds what goes into a statement.
func (b *Build) check() error {
	for _, d := range append([]Resource{b.Source}, b.Dependencies...) {
		if err := checkDigests(d.Digest); err != nil {
			return fmt.Errorf("dependency %.200q: %w", d.URI, err)
		}
		if len(d.URI) > maxString {
			return fmt.Errorf("dependency %.200q: its name is longer than %d bytes", d.URI, maxString)
		}
		if len(d.Digest) > 16 {
			return fmt.Errorf("dependency %.200q: it has %d digests", d.URI, len(d.Digest))
		}
	}
	if n := len(b.Contexts) + len(b.Secrets) + len(b.SSH) + len(b.Locals); n > maxItems {
		return fmt.Errorf("it has %d contexts and secrets, more than %d", n, maxItems)
	}
	return nil
}
