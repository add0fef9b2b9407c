package build

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/distribution/reference"
	bkclient "github.com/moby/buildkit/client"
	"github.com/tonistiigi/go-csvvalue"
)

// Output is one place where the result of a build goes.
type Output struct {
	// Type is "oci", "docker", "image", "local", "tar" or "cacheonly".
	Type string
	// Dest is a path, "-" for standard output, or empty.
	Dest string
	// Attrs are the exporter's options.
	Attrs map[string]string
}

// Dir says that the output is an OCI layout directory.
func (o Output) Dir() bool {
	tar, err := strconv.ParseBool(o.Attrs["tar"])
	return (o.Type == bkclient.ExporterOCI || o.Type == bkclient.ExporterDocker) && err == nil && !tar
}

// TypeCacheOnly is the output that leaves the result in the build cache only.
const TypeCacheOnly = "cacheonly"

var outputTypes = []string{
	bkclient.ExporterOCI, bkclient.ExporterDocker, bkclient.ExporterImage,
	bkclient.ExporterLocal, bkclient.ExporterTar, TypeCacheOnly,
}

// ParseOutput reads what the option --output takes: "DIR" for an OCI layout
// directory, "-" for an OCI archive on standard output, or
// "type=TYPE[,KEY=VALUE]…" as in docker buildx build.
func ParseOutput(spec string) (Output, error) {
	if spec == "" {
		return Output{}, inputErrorf("--output: the destination is empty")
	}
	fields, err := csvvalue.Fields(spec, nil)
	if err != nil {
		return Output{}, inputErrorf("--output %s: %w", spec, err)
	}
	if len(fields) == 1 && fields[0] == spec && !strings.HasPrefix(spec, "type=") {
		if spec == "-" {
			return Output{Type: bkclient.ExporterOCI, Dest: "-", Attrs: map[string]string{}}, nil
		}
		return Output{Type: bkclient.ExporterOCI, Dest: spec, Attrs: map[string]string{"tar": "false"}}, nil
	}
	o := Output{Attrs: map[string]string{}}
	for _, field := range fields {
		key, value, ok := strings.Cut(field, "=")
		if !ok {
			return Output{}, inputErrorf("--output %s: %q is not KEY=VALUE", spec, field)
		}
		switch key = strings.TrimSpace(strings.ToLower(key)); key {
		case "type":
			o.Type = value
		case "dest":
			o.Dest = value
		default:
			o.Attrs[key] = value
		}
	}
	if err := o.check(); err != nil {
		return Output{}, inputErrorf("--output %s: %w", spec, err)
	}
	return o, nil
}

func (o Output) check() error {
	switch o.Type {
	case bkclient.ExporterOCI, bkclient.ExporterTar, bkclient.ExporterLocal:
		if o.Dest == "" {
			return fmt.Errorf("type=%s needs dest=PATH", o.Type)
		}
		if o.Dest == "-" && (o.Type == bkclient.ExporterLocal || o.Dir()) {
			return fmt.Errorf("a directory cannot be written to standard output")
		}
	case bkclient.ExporterDocker:
		if o.Dir() && (o.Dest == "" || o.Dest == "-") {
			return fmt.Errorf("tar=false needs dest=DIR")
		}
	case bkclient.ExporterImage:
		if o.Dest != "" {
			return fmt.Errorf("type=image goes to a registry or an image store and has no dest: did you mean name=%s?", o.Dest)
		}
		return o.checkPush()
	case TypeCacheOnly:
		if o.Dest != "" {
			return fmt.Errorf("type=cacheonly has no dest")
		}
	case "registry":
		return fmt.Errorf("type=registry would show the image under its tag before anybody has signed it; type=image,name=REPOSITORY,push=true pushes it by digest")
	case "":
		return fmt.Errorf("type is missing: it is one of %s", strings.Join(outputTypes, ", "))
	default:
		return fmt.Errorf("type %q is not one of %s", o.Type, strings.Join(outputTypes, ", "))
	}
	return nil
}

func (o Output) push() bool {
	push, _ := strconv.ParseBool(o.Attrs["push"])
	return push
}

func (o Output) checkPush() error {
	for _, key := range []string{"push", "push-by-digest"} {
		v, ok := o.Attrs[key]
		if !ok {
			continue
		}
		b, err := strconv.ParseBool(v)
		if err != nil {
			return fmt.Errorf("%s is true or false, not %q", key, v)
		}
		if key == "push-by-digest" && !b {
			return fmt.Errorf("push-by-digest=false would show the image under its tag before anybody has signed it")
		}
	}
	return nil
}

// DefaultOutput is where the image of a context goes when nothing else is said:
// an OCI layout in the current directory, named after the context directory with
// the ending ".oci"; image.oci for a context that is no directory.
func DefaultOutput(contextPath string) (Output, error) {
	name := "image"
	if contextPath == "" {
		contextPath = "."
	}
	if fi, err := os.Stat(contextPath); err == nil && fi.IsDir() {
		abs, err := filepath.Abs(contextPath)
		if err != nil {
			return Output{}, fmt.Errorf("name the output after the context: %w", err)
		}
		if base := filepath.Base(abs); base != "/" && base != "." {
			name = base
		}
	}
	return Output{Type: bkclient.ExporterOCI, Dest: name + ".oci", Attrs: map[string]string{"tar": "false"}}, nil
}

// names are the image names for an output: its own, or the tags.
func (o Output) names(tags []string) ([]string, error) {
	list := tags
	if v := o.Attrs["name"]; v != "" {
		list = strings.Split(v, ",")
	}
	var out []string
	for _, name := range list {
		ref, err := reference.ParseNormalizedNamed(name)
		if err != nil {
			return nil, inputErrorf("image name %q: %w", name, err)
		}
		if o.Type == bkclient.ExporterImage && o.push() {
			// A push by digest names the repository alone.
			out = append(out, ref.Name())
			continue
		}
		out = append(out, reference.TagNameOnly(ref).String())
	}
	return out, nil
}

// exportAttrs are the options of the exporter for o. Annotations are as
// parseAnnotations returns them; epoch says that SOURCE_DATE_EPOCH is set.
func (o Output) exportAttrs(tags []string, annotations map[string]string, epoch bool) (map[string]string, error) {
	attrs := maps.Clone(o.Attrs)
	switch o.Type {
	case bkclient.ExporterLocal, bkclient.ExporterTar:
		return attrs, nil
	}
	maps.Copy(attrs, annotations)
	names, err := o.names(tags)
	if err != nil {
		return nil, err
	}
	if len(names) > 0 {
		attrs["name"] = strings.Join(dedup(names), ",")
	}
	pushed := o.Type == bkclient.ExporterImage && o.push()
	if pushed {
		if len(names) == 0 {
			return nil, inputErrorf("--output type=image,push=true needs name=REPOSITORY or --tag")
		}
		attrs["push-by-digest"] = "true"
		if _, ok := attrs["unpack"]; !ok {
			attrs["unpack"] = "false"
		}
	}
	// BuildKit refuses to rewrite timestamps of what it unpacks.
	if _, ok := attrs["rewrite-timestamp"]; !ok && epoch && (pushed || o.Type != bkclient.ExporterImage) {
		attrs["rewrite-timestamp"] = "true"
	}
	return attrs, nil
}

func dedup(list []string) []string {
	seen := map[string]struct{}{}
	var out []string
	for _, s := range list {
		if _, ok := seen[s]; !ok {
			seen[s] = struct{}{}
			out = append(out, s)
		}
	}
	return out
}
