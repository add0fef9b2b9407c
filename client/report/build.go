package report

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/temper-images/temper/client/provenance"
)

// build is what the provenance says.
type build struct {
	Builder, Type, Invocation string
	Started, Finished         string
	// Parameters are the external parameters, flat, sorted by name.
	Parameters []parameter
	MoreParams int
	Materials  []material
	MoreMats   int
	Byproducts int
}

type parameter struct{ Name, Value string }

type material struct{ Kind, Name, URI, Digest string }

// maxParameters bounds the parameters that are shown.
const maxParameters = 60

func newBuild(s *provenance.Statement) *build {
	if s == nil || s.Provenance == nil {
		return nil
	}
	def, run := s.Provenance.GetBuildDefinition(), s.Provenance.GetRunDetails()
	b := &build{
		Builder: run.GetBuilder().GetId(), Type: def.GetBuildType(), Invocation: run.GetMetadata().GetInvocationId(),
		Started: timeOf(run.GetMetadata().GetStartedOn()), Finished: timeOf(run.GetMetadata().GetFinishedOn()),
		Byproducts: len(run.GetByproducts()),
	}
	flatten("", structpb.NewStructValue(def.GetExternalParameters()), &b.Parameters)
	if n := len(b.Parameters) - maxParameters; n > 0 {
		b.Parameters, b.MoreParams = b.Parameters[:maxParameters], n
	}
	for _, d := range def.GetResolvedDependencies() {
		if len(b.Materials) == maxMaterials {
			b.MoreMats++
			continue
		}
		m := material{Name: d.GetName(), URI: d.GetUri(), Kind: d.GetAnnotations().GetFields()["kind"].GetStringValue()}
		for _, algorithm := range slices.Sorted(maps.Keys(d.GetDigest())) {
			m.Digest = cmp.Or(m.Digest, algorithm+":"+d.GetDigest()[algorithm])
		}
		b.Materials = append(b.Materials, m)
	}
	return b
}

func timeOf(t *timestamppb.Timestamp) string {
	if t == nil || !t.IsValid() {
		return ""
	}
	return t.AsTime().UTC().Format(time.RFC3339)
}

// flatten lists the values of a structure by their paths.
func flatten(prefix string, v *structpb.Value, out *[]parameter) {
	switch k := v.GetKind().(type) {
	case *structpb.Value_StructValue:
		fields := k.StructValue.GetFields()
		if len(fields) == 0 && prefix != "" {
			*out = append(*out, parameter{prefix, "(value not stated)"})
		}
		for _, name := range slices.Sorted(maps.Keys(fields)) {
			flatten(strings.TrimPrefix(prefix+"."+name, "."), fields[name], out)
		}
	case *structpb.Value_ListValue:
		var words []string
		for i, e := range k.ListValue.GetValues() {
			if _, ok := e.GetKind().(*structpb.Value_StringValue); !ok {
				flatten(fmt.Sprintf("%s[%d]", prefix, i), e, out)
				continue
			}
			words = append(words, e.GetStringValue())
		}
		if len(words) > 0 {
			*out = append(*out, parameter{prefix, shorten(strings.Join(words, ", "), 400)})
		}
	case *structpb.Value_StringValue:
		*out = append(*out, parameter{prefix, shorten(k.StringValue, 400)})
	case *structpb.Value_NumberValue, *structpb.Value_BoolValue:
		*out = append(*out, parameter{prefix, fmt.Sprint(v.AsInterface())})
	}
}
