package provenance

import (
	"maps"
	"net/url"
	"slices"
	"strings"

	intoto "github.com/in-toto/attestation/go/v1"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/temper-images/temper/client/ci"
)

// The build types of others whose parameters Origin knows.
const (
	// BuildTypeGitHub is a GitHub Actions workflow
	// (actions.github.io/buildtypes/workflow/v1).
	BuildTypeGitHub = "https://actions.github.io/buildtypes/workflow/v1"
	// BuildTypeBuildKit is BuildKit's own, with SLSA v1
	// (moby/buildkit, docs/attestations/slsa-definitions.md).
	BuildTypeBuildKit = "https://github.com/moby/buildkit/blob/master/docs/attestations/slsa-definitions.md"
)

// Origin is what provenance says of who built an image from what, for those who
// compare it with what they expect. What it does not say is empty.
type Origin struct {
	BuilderID, BuildType string
	// Known says that the parameters of the build type are known. Otherwise only
	// BuilderID and BuildType are set.
	Known bool
	// Repository is the URL of the source repository, as ci.RepositoryURL writes it.
	Repository string
	// Ref is the branch or tag, "refs/heads/main", and Commit the source's commit.
	Ref, Commit string
	// Dirty says that the source had changes that no commit has.
	Dirty bool
	// Workflow is the path of the workflow's file, or the name of the job.
	Workflow string
	// Hosted says that a machine of the CI platform built, and Claimed which facts
	// of the run come from claims that the platform signed (ci.Fact…). Both are of
	// BuildType and BuildTypeGitHub only.
	Hosted  bool
	Claimed []string
}

// Origin reads where the image comes from. Without provenance there is nothing to
// read, and the zero value is returned.
func (s *Statement) Origin() Origin {
	def := s.Provenance.GetBuildDefinition()
	o := Origin{BuilderID: s.Provenance.GetRunDetails().GetBuilder().GetId(), BuildType: def.GetBuildType()}
	external, internal := fields(def.GetExternalParameters()), fields(def.GetInternalParameters())
	switch o.BuildType {
	case BuildType:
		o.release(external, internal)
	case BuildTypeGitHub:
		o.github(external, internal, def.GetResolvedDependencies())
	case BuildTypeBuildKit:
		source := external.sub("configSource")
		o.Known = true
		o.source(source.text("uri"))
		o.Commit = commitOf(source.sub("digest").strings())
	}
	return o
}

func (o *Origin) release(external, internal object) {
	source, workflow, run := external.sub("source"), external.sub("workflow"), internal.sub("run")
	o.Known = true
	o.source(source.text("uri"))
	o.Commit = commitOf(source.sub("digest").strings())
	o.Dirty = source["dirty"].GetBoolValue()
	o.Workflow = workflow.text("path")
	o.Hosted = run.text("runner") == ci.Hosted
	origins := run.sub("origins").strings()
	for _, name := range slices.Sorted(maps.Keys(origins)) {
		if origins[name] == string(ci.FromClaims) {
			o.Claimed = append(o.Claimed, name)
		}
	}
}

// github reads what the attestations of GitHub's own actions say. Their facts are
// all of the run's token.
func (o *Origin) github(external, internal object, dependencies []*intoto.ResourceDescriptor) {
	workflow := external.sub("workflow")
	o.Known = true
	o.Repository, o.Ref, o.Workflow = ci.RepositoryURL(workflow.text("repository")), workflow.text("ref"), workflow.text("path")
	o.Hosted = internal.sub("github").text("runner_environment") == "github-hosted"
	o.Claimed = []string{ci.FactBuilder, ci.FactCommit, ci.FactRef, ci.FactRepository, ci.FactRunner, ci.FactWorkflow}
	for _, d := range dependencies {
		if repository, _ := SplitSource(d.GetUri()); repository == o.Repository && repository != "" {
			o.Commit = commitOf(d.GetDigest())
			return
		}
	}
}

func (o *Origin) source(uri string) { o.Repository, o.Ref = SplitSource(uri) }

// SplitSource takes a source's URI apart: "git+https://host/team/app@refs/heads/main"
// (SPDX 2.3, section 7.7), or "https://host/team/app.git#v1", as BuildKit writes it.
// The repository is as ci.RepositoryURL writes it, and empty when there is none.
func SplitSource(uri string) (repository, ref string) {
	uri = strings.TrimPrefix(uri, "git+")
	uri, fragment, _ := strings.Cut(uri, "#")
	ref, _, _ = strings.Cut(fragment, ":")
	u, err := url.Parse(uri)
	if err != nil || u.Host == "" {
		return "", ""
	}
	if path, at, ok := strings.Cut(u.Path, "@"); ok {
		u.Path, u.RawPath, ref = path, "", at
	}
	return ci.RepositoryURL(u.String()), ref
}

// commitOf is the commit in a digest set, or empty.
func commitOf(set map[string]string) string {
	for _, name := range []string{"gitCommit", "sha1", "sha256"} {
		if set[name] != "" {
			return set[name]
		}
	}
	return ""
}

// object is a JSON object of a predicate.
type object map[string]*structpb.Value

func fields(s *structpb.Struct) object { return s.GetFields() }

func (o object) sub(key string) object  { return fields(o[key].GetStructValue()) }
func (o object) text(key string) string { return o[key].GetStringValue() }
func (o object) strings() map[string]string {
	out := make(map[string]string, len(o))
	for k := range o {
		out[k] = o.text(k)
	}
	return out
}
