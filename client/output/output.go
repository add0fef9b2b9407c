// Package output reads where the result of a build is to go, as the option
// --output states it.
package output

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/distribution/reference"
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

// The types of output. All but TypeCacheOnly are names of BuildKit's exporters.
const (
	TypeOCI    = "oci"
	TypeDocker = "docker"
	TypeImage  = "image"
	TypeLocal  = "local"
	TypeTar    = "tar"
	// TypeCacheOnly leaves the result in the build cache only.
	TypeCacheOnly = "cacheonly"
)

// Dir says that the output is an OCI layout directory.
func (o Output) Dir() bool {
	tar, err := strconv.ParseBool(o.Attrs["tar"])
	return (o.Type == TypeOCI || o.Type == TypeDocker) && err == nil && !tar
}

var outputTypes = []string{
	TypeOCI, TypeDocker, TypeImage,
	TypeLocal, TypeTar, TypeCacheOnly,
}

// Parse reads what the option --output takes: "DIR" for an OCI layout
// directory, "-" for an OCI archive on standard output, or
// "type=TYPE[,KEY=VALUE]…" as in docker buildx build.
func Parse(spec string) (Output, error) {
	if spec == "" {
		return Output{}, errors.New("the destination is empty")
	}
	fields, err := csvvalue.Fields(spec, nil)
	if err != nil {
		return Output{}, err
	}
	if len(fields) == 1 && fields[0] == spec && !strings.HasPrefix(spec, "type=") {
		if spec == "-" {
			return Output{Type: TypeOCI, Dest: "-", Attrs: map[string]string{}}, nil
		}
		return Output{Type: TypeOCI, Dest: spec, Attrs: map[string]string{"tar": "false"}}, nil
	}
	o := Output{Attrs: map[string]string{}}
	for _, field := range fields {
		key, value, ok := strings.Cut(field, "=")
		if !ok {
			return Output{}, fmt.Errorf("%q is not KEY=VALUE", field)
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
		return Output{}, err
	}
	return o, nil
}

func (o Output) check() error {
	switch o.Type {
	case TypeOCI, TypeTar, TypeLocal:
		if o.Dest == "" {
			return fmt.Errorf("type=%s needs dest=PATH", o.Type)
		}
		if o.Dest == "-" && (o.Type == TypeLocal || o.Dir()) {
			return errors.New("a directory cannot be written to standard output")
		}
	case TypeDocker:
		if o.Dir() && (o.Dest == "" || o.Dest == "-") {
			return errors.New("tar=false needs dest=DIR")
		}
	case TypeImage:
		if o.Dest != "" {
			return fmt.Errorf("type=image goes to a registry or an image store and has no dest: did you mean name=%s?", o.Dest)
		}
		return o.checkPush()
	case TypeCacheOnly:
		if o.Dest != "" {
			return errors.New("type=cacheonly has no dest")
		}
	case "registry":
		return errors.New("type=registry would show the image under its tag before anybody has signed it; type=image,name=REPOSITORY,push=true pushes it by digest")
	case "":
		return fmt.Errorf("type is missing: it is one of %s", strings.Join(outputTypes, ", "))
	default:
		return fmt.Errorf("type %q is not one of %s", o.Type, strings.Join(outputTypes, ", "))
	}
	return nil
}

// Push says that the image goes to a registry.
func (o Output) Push() bool {
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
			return errors.New("push-by-digest=false would show the image under its tag before anybody has signed it")
		}
	}
	return nil
}

// Default is where the image of a context goes when nothing else is said:
// an OCI layout in the current directory, named after the context directory with
// the ending ".oci"; image.oci for a context that is no directory.
func Default(contextPath string) (Output, error) {
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
	return Output{Type: TypeOCI, Dest: name + ".oci", Attrs: map[string]string{"tar": "false"}}, nil
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
			return nil, fmt.Errorf("image name %q: %w", name, err)
		}
		if o.Type == TypeImage && o.Push() {
			// A push by digest names the repository alone.
			ref = reference.TrimNamed(ref)
		} else {
			ref = reference.TagNameOnly(ref)
		}
		if s := ref.String(); !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out, nil
}

// ExporterAttrs are the options of the exporter for o. Tags name the image when o
// does not. Annotations are options of an exporter already; epoch says that
// SOURCE_DATE_EPOCH is set.
func (o Output) ExporterAttrs(tags []string, annotations map[string]string, epoch bool) (map[string]string, error) {
	attrs := maps.Clone(o.Attrs)
	switch o.Type {
	case TypeLocal, TypeTar:
		return attrs, nil
	}
	maps.Copy(attrs, annotations)
	names, err := o.names(tags)
	if err != nil {
		return nil, err
	}
	if len(names) > 0 {
		attrs["name"] = strings.Join(names, ",")
	}
	pushed := o.Type == TypeImage && o.Push()
	if pushed {
		if len(names) == 0 {
			return nil, errors.New("type=image,push=true needs name=REPOSITORY or --tag")
		}
		attrs["push-by-digest"] = "true"
		if _, ok := attrs["unpack"]; !ok {
			attrs["unpack"] = "false"
		}
	}
	// BuildKit refuses to rewrite timestamps of what it unpacks.
	if _, ok := attrs["rewrite-timestamp"]; !ok && epoch && (pushed || o.Type != TypeImage) {
		attrs["rewrite-timestamp"] = "true"
	}
	return attrs, nil
}
