package provenance

import (
	"maps"
	"slices"
	"strings"

	slsa "github.com/in-toto/attestation/go/predicates/provenance/v1"
	digest "github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/temper-images/temper/client/ci"
	"github.com/temper-images/temper/hardening/spec"
)

// Observed is what can be seen of an image that somebody else built, or that was
// built at another time. Nothing of it is vouched for but the image itself and
// the documents about it.
type Observed struct {
	Image Image
	// Reference is the image's full name, or empty.
	Reference string
	// Labels are those of the image's configuration (OCI image specification,
	// annotations.md).
	Labels map[string]string
	// Attached is the provenance that a BuildKit attached to the image, or nil.
	Attached *Build
	// Report is the hardening report that is attached to the image, or nil.
	Report *spec.Report
	// TemperVersion is the version of the client.
	TemperVersion string
	// Tools are what looked at the image, and Byproducts what they wrote.
	Tools      []Resource
	Byproducts []Byproduct
}

// The values of the annotation "saidBy", for what nobody vouches for.
const (
	saidByLabels   = "labels of the image, not signed"
	saidByAttached = "provenance attached to the image, not signed"
)

// Observe is the statement about such an image. It names no builder and no time of
// a build, since nobody saw it. What labels and attached documents say is marked as
// their word.
func Observe(in Observed) ([]byte, error) {
	image := map[string]any{"digest": anyMap(digestSet(in.Image.Digest))}
	setAny(image, "reference", in.Reference)
	external, err := newStruct(map[string]any{"image": image, "platform": in.Image.Platform})
	if err != nil {
		return nil, err
	}
	parameters := map[string]any{}
	setAny(parameters, "temper", in.TemperVersion)
	if in.Report != nil {
		parameters["hardening"] = map[string]any{"level": string(in.Report.Level), "saidBy": "report attached to the image, not signed"}
	}
	internal, err := newStruct(parameters)
	if err != nil {
		return nil, err
	}
	deps, err := descriptors(append(labelled(in.Labels), attached(in.Attached)...))
	if err != nil {
		return nil, err
	}
	tools, err := descriptors(in.Tools)
	if err != nil {
		return nil, err
	}
	byproducts, err := descriptors(byproductResources(in.Byproducts))
	if err != nil {
		return nil, err
	}
	return statement(in.Image, &slsa.Provenance{
		BuildDefinition: &slsa.BuildDefinition{
			BuildType: BuildTypeObserved, ExternalParameters: external, InternalParameters: internal, ResolvedDependencies: deps,
		},
		RunDetails: &slsa.RunDetails{
			Builder: &slsa.Builder{Id: BuilderUnknown, BuilderDependencies: tools}, Byproducts: byproducts,
		},
	})
}

// labelled are the source and the base image that the labels name.
func labelled(labels map[string]string) []Resource {
	said := map[string]string{"saidBy": saidByLabels}
	var out []Resource
	repository := ci.RepositoryURL(labels[ocispecs.AnnotationSource])
	commit := strings.ToLower(labels[ocispecs.AnnotationRevision])
	if checkDigests(commitDigest(commit)) != nil {
		commit = ""
	}
	if d := commitDigest(commit); repository != "" || d != nil {
		out = append(out, Resource{Kind: KindSource, URI: gitURI(repository, ""), Digest: d, Annotations: said})
	}
	name, d := labels[ocispecs.AnnotationBaseImageName], digest.Digest(labels[ocispecs.AnnotationBaseImageDigest])
	if d.Validate() != nil {
		d = ""
	}
	if len(name) > maxString {
		name = ""
	}
	if name != "" || d != "" {
		r := Resource{Kind: KindImage, Name: name, Digest: digestSet(d), Annotations: said}
		if name != "" {
			r.URI = "docker-image://" + name
		}
		out = append(out, r)
	}
	return out
}

func attached(b *Build) []Resource {
	if b == nil {
		return nil
	}
	list := slices.Clone(b.Dependencies)
	if b.Source.URI != "" {
		list = append(list, b.Source)
	}
	for i := range list {
		annotations := map[string]string{"saidBy": saidByAttached}
		maps.Copy(annotations, list[i].Annotations)
		list[i].Annotations = annotations
	}
	return list
}
