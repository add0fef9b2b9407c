// Package provenance writes in-toto statements about images: SLSA Provenance v1
// of what Temper built, what can honestly be said of an image that it did not
// build, and any other predicate. It reads BuildKit's own provenance, and checks
// statements.
//
// A statement is decided by its input alone: equal input gives equal bytes. The
// values of build arguments never get into it.
package provenance

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	slsa "github.com/in-toto/attestation/go/predicates/provenance/v1"
	digest "github.com/opencontainers/go-digest"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/temper-images/temper/client/ci"
)

// PredicateType is SLSA Provenance v1 (slsa.dev/spec/v1.1/provenance).
const PredicateType = "https://slsa.dev/provenance/v1"

// description is the published description of what is below.
const description = "https://github.com/temper-images/temper/blob/main/docs/provenance.md"

// The build types. docs/provenance.md describes their parameters.
const (
	// BuildType is an image that Temper built.
	BuildType = description + "#release-v1"
	// BuildTypeObserved is an image that somebody else built, and Temper looked at.
	BuildTypeObserved = description + "#observed-v1"
)

// The builder identities of builds whose CI platform has none.
const (
	// BuilderLocal is a machine that nobody vouches for.
	BuilderLocal = description + "#local-builder"
	// BuilderUnknown is whoever built an image that Temper only looked at.
	BuilderUnknown = description + "#unknown-builder"
)

// Image is what a statement is about.
type Image struct {
	// Name is the image's name without a tag, or any short name that it has.
	Name string
	// Digest is the image manifest's.
	Digest digest.Digest
	// Platform is "linux/amd64".
	Platform string
}

// File is a file that decided the build.
type File struct {
	// Path is relative to the top of the source, with slashes.
	Path   string
	Digest digest.Digest
}

// Input is everything that is known of a release. The zero value of every field
// but Image means that it is not known.
type Input struct {
	Image Image
	// CI says who builds and from what.
	CI *ci.Facts
	// Build is BuildKit's account of the build.
	Build *Build
	// Dockerfile and Config (temper.yaml) are what decided the build. A
	// Dockerfile without a path or digest is taken from Build.
	Dockerfile, Config File
	// Target is the stage that was asked for.
	Target string

	// TemperVersion is the version of the client.
	TemperVersion string
	// Frontend is the frontend image.
	Frontend Resource
	// Hardening are the settings that were carried out, anything that encodes as
	// a JSON object.
	Hardening any
	// GatePolicy is the digest of the rules that the gates applied.
	GatePolicy digest.Digest
	// BuilderKind says what sort of BuildKit built: "own buildkitd". An address
	// does not belong here: it may name a machine or hold credentials.
	BuilderKind string
	// BuildKitVersion is what the builder calls its version.
	BuildKitVersion string

	// Dependencies are further things that are in the image or decided it, such as
	// patched packages.
	Dependencies []Resource
	// Tools are what looked at the image and decided what became of it, such as
	// Syft, Grype and the vulnerability database.
	Tools []Resource
	// Byproducts are the documents of evidence.
	Byproducts []Byproduct

	// BuilderID is SLSA's builder.id. Empty means the CI platform's.
	BuilderID string
	// InvocationID names this run. Empty means the CI platform's, or BuildKit's.
	InvocationID string
	// Started and Finished bound the run. They are cut to seconds.
	Started, Finished time.Time
}

// Byproduct is a document of evidence.
type Byproduct struct {
	// Name is its file name, MediaType the type of its bytes.
	Name, MediaType string
	Digest          digest.Digest
	// Location is the URL under which it is stored, or empty.
	Location string
	// PredicateType is the in-toto predicate type under which it is attested, or
	// empty.
	PredicateType string
}

// Release is the statement about an image that Temper built, JSON with a final
// newline. Its predicate is SLSA Provenance v1.
func Release(in Input) ([]byte, error) {
	facts := in.CI
	if facts == nil {
		facts = &ci.Facts{Platform: ci.Local}
	}
	src := sourceOf(facts, in.Build)
	deps, err := in.dependencies(facts, src)
	if err != nil {
		return nil, err
	}
	external, err := in.external(facts, src)
	if err != nil {
		return nil, err
	}
	internal, err := in.internal(facts)
	if err != nil {
		return nil, err
	}
	tools, err := descriptors(in.tools())
	if err != nil {
		return nil, err
	}
	byproducts, err := descriptors(byproductResources(in.Byproducts))
	if err != nil {
		return nil, err
	}
	versions := map[string]string{}
	setIf(versions, "temper", in.TemperVersion)
	setIf(versions, "buildkit", in.BuildKitVersion)
	p := &slsa.Provenance{
		BuildDefinition: &slsa.BuildDefinition{
			BuildType: BuildType, ExternalParameters: external, InternalParameters: internal, ResolvedDependencies: deps,
		},
		RunDetails: &slsa.RunDetails{
			Builder:    &slsa.Builder{Id: in.builderID(facts), Version: versions, BuilderDependencies: tools},
			Metadata:   in.metadata(facts),
			Byproducts: byproducts,
		},
	}
	return statement(in.Image, p)
}

func (in *Input) builderID(facts *ci.Facts) string {
	switch {
	case in.BuilderID != "":
		return in.BuilderID
	case facts.BuilderID != "":
		return facts.BuilderID
	}
	return BuilderLocal
}

func (in *Input) metadata(facts *ci.Facts) *slsa.BuildMetadata {
	m := &slsa.BuildMetadata{InvocationId: in.InvocationID}
	if m.InvocationId == "" {
		m.InvocationId = facts.RunURL
	}
	if m.InvocationId == "" && in.Build != nil {
		m.InvocationId = in.Build.InvocationID
	}
	m.InvocationId = text(m.InvocationId)
	if !in.Started.IsZero() {
		m.StartedOn = timestamppb.New(in.Started.UTC().Truncate(time.Second))
	}
	if !in.Finished.IsZero() {
		m.FinishedOn = timestamppb.New(in.Finished.UTC().Truncate(time.Second))
	}
	return m
}

// source is what is built from.
type source struct {
	uri    string
	digest map[string]string
	dirty  bool
	dir    string
}

// sourceOf is the remote context, which the builder fetched itself, or else the
// checkout.
func sourceOf(facts *ci.Facts, build *Build) *source {
	if build != nil && build.Source.URI != "" {
		return &source{uri: build.Source.URI, digest: build.Source.Digest}
	}
	c := facts.Source()
	if c == nil {
		return nil
	}
	s := &source{uri: gitURI(c.Repository, c.Ref), digest: commitDigest(c.Commit), dirty: c.Dirty}
	if c.Dir != "." {
		s.dir = c.Dir
	}
	return s
}

// gitURI is "git+https://host/team/app@refs/heads/main" (SPDX 2.3, section 7.7).
func gitURI(repository, ref string) string {
	switch {
	case repository == "":
		return ""
	case ref == "":
		return "git+" + repository
	}
	return "git+" + repository + "@" + ref
}

// external are the parameters that whoever asked for the build has chosen.
func (in *Input) external(facts *ci.Facts, src *source) (*structpb.Struct, error) {
	m := map[string]any{"platform": in.Image.Platform}
	if src != nil {
		s := map[string]any{}
		setAny(s, "uri", src.uri)
		setAny(s, "directory", src.dir)
		if len(src.digest) > 0 {
			s["digest"] = anyMap(src.digest)
		}
		if src.dirty {
			s["dirty"] = true
		}
		m["source"] = s
	}
	if facts.Platform != ci.Local {
		w := map[string]any{"platform": string(facts.Platform)}
		setAny(w, "repository", facts.Repository)
		setAny(w, "ref", facts.Ref)
		setAny(w, "path", facts.Workflow)
		setAny(w, "trigger", facts.Trigger)
		m["workflow"] = w
	}
	setFile(m, "dockerfile", in.dockerfile())
	setFile(m, "configuration", in.Config)
	target := in.Target
	if b := in.Build; b != nil {
		if target == "" {
			target = b.Target
		}
		args := map[string]any{}
		for name, value := range b.BuildArgs {
			arg := map[string]any{}
			if value != nil {
				arg["value"] = *value
			}
			args[name] = arg
		}
		if len(args) > 0 {
			m["buildArgs"] = args
		}
		if len(b.Contexts) > 0 {
			m["contexts"] = anyMap(b.Contexts)
		}
		setList(m, "secrets", b.Secrets)
		setList(m, "ssh", b.SSH)
	}
	setAny(m, "target", target)
	return newStruct(m)
}

func (in *Input) dockerfile() File {
	f := in.Dockerfile
	if in.Build == nil {
		return f
	}
	if f.Path == "" {
		f.Path = in.Build.Dockerfile.Path
	}
	if f.Digest == "" {
		f.Digest = in.Build.Dockerfile.Digest
	}
	return f
}

// internal are the parameters that Temper has chosen, and what is known of the run.
func (in *Input) internal(facts *ci.Facts) (*structpb.Struct, error) {
	m := map[string]any{}
	setAny(m, "temper", in.TemperVersion)
	if in.Frontend.URI != "" || len(in.Frontend.Digest) > 0 {
		f := map[string]any{"digest": anyMap(in.Frontend.Digest)}
		setAny(f, "uri", in.Frontend.URI)
		m["frontend"] = f
	}
	if in.Hardening != nil {
		h, err := jsonObject(in.Hardening)
		if err != nil {
			return nil, fmt.Errorf("provenance: hardening settings: %w", err)
		}
		m["hardening"] = h
	}
	if in.GatePolicy != "" {
		m["gate"] = map[string]any{"digest": anyMap(digestSet(in.GatePolicy))}
	}
	builder := map[string]any{}
	setAny(builder, "kind", in.BuilderKind)
	if b := in.Build; b != nil {
		builder["hermetic"] = b.Hermetic
		builder["completeDependencies"] = b.Complete
		setList(builder, "localSources", b.Locals)
	}
	if len(builder) > 0 {
		m["builder"] = builder
	}
	if run := runParameters(facts); len(run) > 0 {
		m["run"] = run
	}
	return newStruct(m)
}

// runParameters say how far the facts of the run can be believed.
func runParameters(facts *ci.Facts) map[string]any {
	run := map[string]any{}
	setAny(run, "id", facts.RunID)
	setAny(run, "attempt", facts.Attempt)
	setAny(run, "runner", facts.Runner)
	setAny(run, "issuer", facts.Issuer)
	setAny(run, "subject", facts.Subject)
	if facts.Platform != ci.Local && facts.Commit != "" {
		run["commit"] = facts.Commit
	}
	origins := map[string]any{}
	for name, origin := range facts.Origins {
		origins[name] = string(origin)
	}
	if len(origins) > 0 {
		run["origins"] = origins
	}
	return run
}

func byproductResources(list []Byproduct) []Resource {
	var out []Resource
	for _, b := range list {
		r := Resource{Name: b.Name, MediaType: b.MediaType, Location: scrubURL(b.Location), Digest: digestSet(b.Digest)}
		if b.PredicateType != "" {
			r.Annotations = map[string]string{"predicateType": b.PredicateType}
		}
		out = append(out, r)
	}
	return out
}

func setIf(m map[string]string, key, value string) {
	if value != "" {
		m[key] = text(value)
	}
}

func setAny(m map[string]any, key, value string) {
	if value != "" {
		m[key] = value
	}
}

func setList(m map[string]any, key string, list []string) {
	if len(list) == 0 {
		return
	}
	var out []any
	for _, s := range slices.Sorted(slices.Values(list)) {
		out = append(out, s)
	}
	m[key] = out
}

func setFile(m map[string]any, key string, f File) {
	file := map[string]any{}
	setAny(file, "path", f.Path)
	if f.Digest != "" {
		file["digest"] = anyMap(digestSet(f.Digest))
	}
	if len(file) > 0 {
		m[key] = file
	}
}

func anyMap(m map[string]string) map[string]any {
	out := map[string]any{}
	for k, v := range maps.All(m) {
		out[k] = v
	}
	return out
}

// text is s as JSON and protobuf can carry it.
func text(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }
