package provenance

import (
	"cmp"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"maps"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"

	intoto "github.com/in-toto/attestation/go/v1"
	digest "github.com/opencontainers/go-digest"

	"github.com/temper-images/temper/client/ci"
)

// Kind says what part a resource had in the build. It stands in the annotation
// "kind".
type Kind string

// The kinds.
const (
	KindSource   Kind = "source"
	KindWorkflow Kind = "workflow"
	KindImage    Kind = "image"
	KindFrontend Kind = "frontend"
	KindGit      Kind = "git"
	KindHTTP     Kind = "http"
	KindPackage  Kind = "package"
	KindBuilder  Kind = "builder"
	KindTool     Kind = "tool"
	KindDatabase Kind = "database"
)

// Resource is one thing that a build used or made (in-toto attestation framework
// v1, ResourceDescriptor).
type Resource struct {
	Kind Kind
	Name string
	// URI says what it is: a package URL, a git URI, a URL.
	URI string
	// Digest are hexadecimal digests by algorithm: "sha256", "gitCommit",
	// "dirHash".
	Digest map[string]string
	// MediaType and Location (a URL) are of documents.
	MediaType, Location string
	Annotations         map[string]string
}

// Package is a package that was updated in the image. purl names the version that
// is now there (package-url/purl-spec), from the version that was replaced.
func Package(purl, from string) Resource {
	r := Resource{Kind: KindPackage, URI: purl}
	if from != "" {
		r.Annotations = map[string]string{"replaces": from}
	}
	return r
}

// Module is a Go module that is linked into the running program, with the
// checksum of its source (golang.org/x/mod/sumdb/dirhash, "h1:"). It reports
// false when the program does not have it.
func Module(info *debug.BuildInfo, path string) (Resource, bool) {
	if info == nil {
		return Resource{}, false
	}
	for _, m := range info.Deps {
		if m.Path != path {
			continue
		}
		if m.Replace != nil {
			m = m.Replace
		}
		r := Resource{Kind: KindTool, Name: path, URI: "pkg:golang/" + m.Path + "@" + m.Version}
		if sum, ok := strings.CutPrefix(m.Sum, "h1:"); ok {
			if dt, err := base64.StdEncoding.DecodeString(sum); err == nil {
				r.Digest = map[string]string{"dirHash": hex.EncodeToString(dt)}
			}
		}
		return r, true
	}
	return Resource{}, false
}

// dependencies are everything that the image was made of, by digest where there is
// one.
func (in *Input) dependencies(facts *ci.Facts, src *source) ([]*intoto.ResourceDescriptor, error) {
	var list []Resource
	if src != nil && (src.uri != "" || len(src.digest) > 0) {
		list = append(list, Resource{Kind: KindSource, URI: src.uri, Digest: src.digest})
	}
	// The commit that the workflow itself was read from, when something else was
	// checked out.
	if d := commitDigest(facts.Commit); facts.Platform != ci.Local && len(d) > 0 && (src == nil || !maps.Equal(d, src.digest)) {
		list = append(list, Resource{Kind: KindWorkflow, URI: gitURI(facts.Repository, facts.Ref), Digest: d})
	}
	if in.Build != nil {
		for _, d := range in.Build.Dependencies {
			// A remote context is the source itself.
			if src == nil || len(src.digest) == 0 || !maps.Equal(d.Digest, src.digest) {
				list = append(list, d)
			}
		}
	}
	if f := in.Frontend; f.URI != "" || len(f.Digest) > 0 {
		f.Kind = KindFrontend
		known := slices.ContainsFunc(list, func(r Resource) bool { return r.Kind == KindFrontend && maps.Equal(r.Digest, f.Digest) })
		if !known {
			list = append(list, f)
		}
	}
	return descriptors(append(list, in.Dependencies...))
}

// tools are what decided about the image without being part of its build.
func (in *Input) tools() []Resource {
	list := slices.Clone(in.Tools)
	if in.BuildKitVersion != "" {
		list = append(list, Resource{Kind: KindBuilder, Name: "BuildKit", URI: "pkg:github/moby/buildkit@" + in.BuildKitVersion})
	}
	return list
}

// descriptors are the resources without repetition, in an order that depends on
// nothing else.
func descriptors(list []Resource) ([]*intoto.ResourceDescriptor, error) {
	type entry struct {
		key string
		rd  *intoto.ResourceDescriptor
	}
	var entries []entry
	for _, r := range list {
		rd, err := r.descriptor()
		if err != nil {
			return nil, err
		}
		key := strings.Join([]string{string(r.Kind), rd.Name, rd.Uri, rd.DownloadLocation, fmt.Sprint(rd.Digest)}, "\x00")
		entries = append(entries, entry{key, rd})
	}
	slices.SortStableFunc(entries, func(a, b entry) int { return cmp.Compare(a.key, b.key) })
	entries = slices.CompactFunc(entries, func(a, b entry) bool { return a.key == b.key })
	var out []*intoto.ResourceDescriptor
	for _, e := range entries {
		out = append(out, e.rd)
	}
	return out, nil
}

func (r Resource) descriptor() (*intoto.ResourceDescriptor, error) {
	rd := &intoto.ResourceDescriptor{
		Name: text(r.Name), Uri: text(r.URI), MediaType: text(r.MediaType), DownloadLocation: text(r.Location),
	}
	for alg, hex := range r.Digest {
		if rd.Digest == nil {
			rd.Digest = map[string]string{}
		}
		rd.Digest[text(alg)] = text(hex)
	}
	annotations := map[string]any{}
	if r.Kind != "" {
		annotations["kind"] = string(r.Kind)
	}
	for k, v := range r.Annotations {
		annotations[k] = v
	}
	if len(annotations) > 0 {
		s, err := newStruct(annotations)
		if err != nil {
			return nil, err
		}
		rd.Annotations = s
	}
	if rd.Uri == "" && len(rd.Digest) == 0 {
		return nil, fmt.Errorf("provenance: %s %q has neither a URI nor a digest", r.Kind, r.Name)
	}
	if err := checkDigests(rd.Digest); err != nil {
		return nil, fmt.Errorf("provenance: %s %q: %w", r.Kind, cmp.Or(rd.Uri, rd.Name), err)
	}
	return rd, nil
}

// digestSet is a digest as in-toto writes it (in-toto attestation framework v1,
// DigestSet). An empty digest gives none.
func digestSet(d digest.Digest) map[string]string {
	if alg, hex, ok := strings.Cut(string(d), ":"); ok {
		return map[string]string{alg: hex}
	}
	return nil
}

// commitDigest is the digest of a git commit. in-toto's gitCommit is SHA-1; a
// repository of git's newer kind has SHA-256.
func commitDigest(commit string) map[string]string {
	switch len(commit) {
	case 40:
		return map[string]string{"gitCommit": commit}
	case 64:
		return map[string]string{"sha256": commit}
	}
	return nil
}

var (
	hexPattern = regexp.MustCompile(`^[0-9a-f]+$`)
	algPattern = regexp.MustCompile(`^[A-Za-z0-9_]{1,32}$`)
)

// checkDigests checks a digest set: known algorithms have their length, and all are
// lower-case hexadecimal.
func checkDigests(set map[string]string) error {
	for _, alg := range slices.Sorted(maps.Keys(set)) {
		value := set[alg]
		if !algPattern.MatchString(alg) {
			return fmt.Errorf("%.40q is not the name of a digest algorithm", alg)
		}
		if !hexPattern.MatchString(value) {
			return fmt.Errorf("its %s digest %.80q is not lower-case hexadecimal", alg, value)
		}
		if n := intoto.HashAlgorithm(alg).HexLength() * 2; n > 0 && len(value) != n {
			return fmt.Errorf("its %s digest has %d digits, not %d", alg, len(value), n)
		}
	}
	return nil
}
