package vex

import (
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	digest "github.com/opencontainers/go-digest"
	openvex "github.com/openvex/go-vex/pkg/vex"
	"github.com/package-url/packageurl-go"

	"github.com/temper-images/temper/client/finding"
)

// Image is what is known of the image that was scanned. All of it is optional.
type Image struct {
	// Name is short: "nginx".
	Name string
	// References are its names in registries, "registry.example.com/team/app:1",
	// with or without tag and digest.
	References []string
	// Digests are those of the manifest, of the index that it is in, and of the
	// configuration.
	Digests []digest.Digest
	// Platform is "linux/amd64".
	Platform string
}

var bareDigest = regexp.MustCompile(`^[0-9a-fA-F]{64}$`)

// is says that an identifier names the image.
func (img Image) is(id string) bool {
	switch {
	case bareDigest.MatchString(id):
		return img.hasDigest("sha256:" + id)
	case strings.HasPrefix(id, "sha256:"):
		return img.hasDigest(id)
	case strings.HasPrefix(id, "pkg:"):
		p, err := packageurl.FromString(id)
		return err == nil && img.isPURL(p)
	}
	for _, scheme := range []string{"docker://", "oci://", "docker-image://"} {
		id = strings.TrimPrefix(id, scheme)
	}
	return img.isReference(id)
}

func (img Image) hasDigest(s string) bool {
	// One tool doubles the algorithm (anchore/grype#1589).
	s = strings.ToLower(strings.Replace(s, "sha256:sha256:", "sha256:", 1))
	return slices.Contains(img.Digests, digest.Digest(s))
}

// isReference compares registry references: what the statement names must be
// there, and what it leaves open may be anything.
func (img Image) isReference(id string) bool {
	if !strings.ContainsAny(id, "/:@") {
		return img.Name != "" && id == img.Name
	}
	repo, tag, dgst, ok := splitReference(id)
	if !ok || dgst != "" && !img.hasDigest(dgst) {
		return false
	}
	for _, ref := range img.References {
		r, t, _, ok := splitReference(ref)
		if ok && r == repo && (tag == "" || tag == t) {
			return true
		}
	}
	return false
}

// splitReference takes a reference apart; Docker Hub has one spelling afterwards.
func splitReference(s string) (repo, tag, dgst string, ok bool) {
	s, dgst, _ = strings.Cut(s, "@")
	if i := strings.LastIndexByte(s, ':'); i > strings.LastIndexByte(s, '/') {
		s, tag = s[:i], s[i+1:]
	}
	r, err := name.NewRepository(s, name.WeakValidation)
	if err != nil {
		return "", "", "", false
	}
	return normalRepository(r), tag, dgst, true
}

func normalRepository(r name.Repository) string {
	host := r.RegistryStr()
	full := r.RepositoryStr()
	switch host {
	case "docker.io", "registry-1.docker.io", name.DefaultRegistry:
		host = name.DefaultRegistry
		if !strings.Contains(full, "/") {
			full = "library/" + full
		}
	}
	return host + "/" + full
}

// isPURL compares with a package URL of type oci, docker or generic (purl-spec,
// types/oci-definition and docker-definition).
func (img Image) isPURL(p packageurl.PackageURL) bool {
	q := p.Qualifiers.Map()
	tag, proven := q["tag"], false
	switch v := p.Version; {
	case v == "":
	case strings.HasPrefix(v, "sha256:") || bareDigest.MatchString(v):
		if proven = img.hasDigest("sha256:" + strings.TrimPrefix(v, "sha256:")); !proven {
			return false
		}
	case tag != "" && tag != v:
		return false
	default:
		tag = v
	}
	for key, want := range q {
		switch key {
		case "repository_url", "tag":
		case "arch":
			if _, arch, _ := strings.Cut(img.Platform, "/"); !sameArch(arch, want) {
				return false
			}
		case "os":
			if system, _, _ := strings.Cut(img.Platform, "/"); system != want {
				return false
			}
		default:
			// It restricts the product in a way that cannot be checked.
			return false
		}
	}
	switch p.Type {
	case "oci":
		// The digest says what the image is, wherever and by whatever name it lies.
		return proven || img.inRepository(p.Name, q["repository_url"], "", tag)
	case "docker":
		return proven || img.inRepository(p.Name, q["repository_url"], p.Namespace, tag)
	case "generic":
		return strings.EqualFold(p.Name, img.Name) && p.Version != "" && (tag == "" || img.hasTag(tag))
	}
	return false
}

// sameArch compares "arm/v7" and "armv7", "amd64" and "x86_64".
func sameArch(have, want string) bool {
	normal := strings.NewReplacer("/", "", "x86_64", "amd64", "aarch64", "arm64").Replace
	return normal(have) == normal(want)
}

// inRepository compares name and place with the image's references. The place may
// be written with or without the image's own name at its end; both are in use.
func (img Image) inRepository(base, place, namespace, tag string) bool {
	if len(img.References) == 0 {
		// A local image has a short name and no place.
		return place == "" && namespace == "" && strings.EqualFold(base, img.Name) && tag == ""
	}
	for _, ref := range img.References {
		repo, t, _, ok := splitReference(ref)
		if !ok || !strings.EqualFold(path.Base(repo), base) || tag != "" && tag != t {
			continue
		}
		if img.placed(repo, base, place, namespace) {
			return true
		}
	}
	return false
}

func (img Image) placed(repo, base, place, namespace string) bool {
	if place == "" {
		if namespace == "" {
			return true
		}
		return strings.HasSuffix(repo, "/"+namespace+"/"+base)
	}
	place = strings.TrimSuffix(place, "/")
	if u, err := url.Parse(place); err == nil && u.Host != "" {
		place = strings.TrimSuffix(u.Host+u.Path, "/")
	}
	candidates := []string{place, place + "/" + base}
	if namespace != "" {
		candidates = append(candidates, place+"/"+namespace+"/"+base)
	}
	for _, c := range candidates {
		if r, err := name.NewRepository(c, name.WeakValidation); err == nil && normalRepository(r) == repo {
			return true
		}
	}
	return false
}

func (img Image) hasTag(tag string) bool {
	return slices.ContainsFunc(img.References, func(ref string) bool {
		_, t, _, ok := splitReference(ref)
		return ok && t == tag
	})
}

// isPackage says that one of the identifiers names the package, or the source
// package that it was built from.
func isPackage(names []string, p finding.Package) (string, bool) {
	candidates := packageURLs(p)
	for _, n := range names {
		if !strings.HasPrefix(n, "pkg:") {
			continue
		}
		for _, c := range candidates {
			if n == c || openvex.PurlMatches(n, c) {
				return n, true
			}
		}
	}
	return "", false
}

// packageURLs are the package's own URL and those of its sources.
func packageURLs(p finding.Package) []string {
	if p.PURL == "" {
		return nil
	}
	out := []string{p.PURL}
	own, err := packageurl.FromString(p.PURL)
	if err != nil {
		return out
	}
	for _, source := range p.Sources {
		q := own.Qualifiers.Map()
		q["arch"] = "source"
		delete(q, "upstream")
		src := own
		src.Name, src.Qualifiers = source, packageurl.QualifiersFromMap(q)
		out = append(out, src.ToString())
	}
	return out
}
