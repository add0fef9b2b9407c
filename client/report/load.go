package report

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"

	digest "github.com/opencontainers/go-digest"

	"github.com/temper-images/temper/client/artifact"
)

// Bounds of what is read.
const (
	maxFiles    = 5_000
	maxDocument = 256 << 20
	maxTotal    = 1 << 30
	maxDepth    = 8
)

// Load reads the documents in a directory, those in its subdirectories included, as
// an evidence store in a folder has them. Files whose names are no documents' are
// passed over.
func Load(ctx context.Context, dir string) (*Release, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("read the evidence: %w", err)
	}
	defer root.Close()
	var docs []artifact.Artifact
	total := int64(0)
	err = fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case ctx.Err() != nil:
			return ctx.Err()
		case d.IsDir() && strings.Count(name, "/") >= maxDepth:
			return fs.SkipDir
		case !d.Type().IsRegular() || !isDocument(path.Base(name)):
			return nil
		case len(docs) == maxFiles:
			return fmt.Errorf("there are more than %d documents", maxFiles)
		}
		dt, err := readFile(root, name, min(maxDocument, maxTotal-total))
		if err != nil {
			return err
		}
		total += int64(len(dt))
		docs = append(docs, artifact.Artifact{Name: path.Base(name), Data: dt})
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the evidence in %s: %w", dir, err)
	}
	if len(docs) == 0 {
		return nil, fmt.Errorf("read the evidence in %s: there are no documents, such as sbom-NAME-ARCH.cdx.json", dir)
	}
	return Read(docs)
}

func readFile(root *os.Root, name string, most int64) (_ []byte, err error) {
	f, err := root.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	dt, err := io.ReadAll(io.LimitReader(f, most+1))
	if err != nil {
		return nil, err
	}
	if int64(len(dt)) > most {
		return nil, fmt.Errorf("%s: it is larger than %d bytes, or all documents together are larger than %d", name, int64(maxDocument), int64(maxTotal))
	}
	return dt, nil
}

// suffixes are the endings of documents' names that belong to no image's name.
var suffixes = []string{
	".cdx.json", ".spdx.json", ".openvex.json", ".csaf.json", ".provenance.json", ".intoto.json", ".sarif", ".json", ".xml",
}

var prefixes = regexp.MustCompile(`^(sbom|scan|vuln|vex|gate|inspect|hardening|buildkit|attestation|tests?|junit|signature)-(.+)$`)

// imageOf is the part of a document's name that names the image, "nginx-amd64".
func imageOf(name string) (string, bool) {
	m := prefixes.FindStringSubmatch(name)
	if m == nil {
		return "", false
	}
	for _, s := range suffixes {
		if rest, ok := strings.CutSuffix(m[2], s); ok && rest != "" {
			return rest, true
		}
	}
	return "", false
}

// signedBy takes the ending of a signature or a bundle off.
func signedBy(name string) (base, suffix string) {
	for _, s := range []string{artifact.EnvelopeSuffix, artifact.BundleSuffix, artifact.SignatureSuffix} {
		if base, ok := strings.CutSuffix(name, s); ok {
			return base, s
		}
	}
	return name, ""
}

func isDocument(name string) bool {
	base, _ := signedBy(name)
	_, ok := imageOf(base)
	return ok
}

// Read reads documents, with signatures and bundles among them. A document that
// cannot be read does not fail the page: it is listed with what is wrong.
func Read(docs []artifact.Artifact) (*Release, error) {
	r := &Release{}
	byImage := map[string]*Image{}
	byName := map[string]*Document{}
	var signatures []artifact.Artifact
	for _, a := range docs {
		base, suffix := signedBy(a.Name)
		key, ok := imageOf(base)
		if !ok {
			continue
		}
		if suffix != "" {
			signatures = append(signatures, a)
			continue
		}
		img := byImage[key]
		if img == nil {
			img = &Image{}
			byImage[key] = img
			r.Images = append(r.Images, img)
		}
		if seen := byName[a.Name]; seen != nil {
			if seen.Digest != a.Digest() {
				img.Problems = append(img.Problems, fmt.Sprintf("there are two documents of the name %s, and only the first is shown", a.Name))
			}
			continue
		}
		d := &Document{Name: a.Name, Kind: a.Kind, MediaType: a.MediaType, Digest: a.Digest(), Size: int64(len(a.Data))}
		byName[a.Name] = d
		img.Documents = append(img.Documents, d)
		img.decode(d, a.Data)
	}
	if len(r.Images) == 0 {
		return nil, errors.New("there are no documents of evidence, such as sbom-NAME-ARCH.cdx.json")
	}
	for _, a := range signatures {
		base, suffix := signedBy(a.Name)
		d := byName[base]
		switch {
		case d == nil:
		case suffix == artifact.SignatureSuffix:
			d.Signature = true
		default:
			b, err := readBundle(a.Data)
			if err != nil {
				d.Problem = fmt.Sprintf("the bundle %s cannot be read: %v", a.Name, err)
			} else if d.Bundle == nil || suffix == artifact.BundleSuffix {
				d.Bundle = b
			}
		}
	}
	for key, img := range byImage {
		img.finish(key)
	}
	slices.SortFunc(r.Images, func(a, b *Image) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Platform, b.Platform), cmp.Compare(a.Arch, b.Arch))
	})
	return r, nil
}

// finish settles what image the documents are about.
func (img *Image) finish(key string) {
	slices.SortFunc(img.Documents, func(a, b *Document) int { return strings.Compare(a.Name, b.Name) })
	about := map[digest.Digest][]string{}
	say := func(what string, d digest.Digest) {
		if d != "" {
			about[d] = append(about[d], what)
			img.Digest = cmp.Or(img.Digest, d)
		}
	}
	if g := img.Gate; g != nil {
		say("the vulnerability gate", digest.Digest(g.Subject.Digest))
		img.Platform = cmp.Or(img.Platform, g.Subject.Platform)
	}
	if d := img.Inspection; d != nil {
		say("the inspection", digest.Digest(d.Image.Digest))
		img.Platform = cmp.Or(img.Platform, d.Image.Platform)
		img.Reference = cmp.Or(img.Reference, d.Image.Reference)
		img.Name = d.Image.Name
	}
	if s := img.Provenance; s != nil && len(s.Subjects) > 0 {
		if hex := s.Subjects[0].GetDigest()["sha256"]; hex != "" {
			say("the provenance", digest.NewDigestFromEncoded(digest.SHA256, hex))
		}
		if img.Reference == "" && strings.Contains(s.Subjects[0].GetName(), "/") {
			img.Reference = s.Subjects[0].GetName()
		}
	}
	if c := img.component(); c != nil && c.Hashes != nil {
		for _, h := range *c.Hashes {
			if h.Algorithm == "SHA-256" {
				say("the SBOM", digest.NewDigestFromEncoded(digest.SHA256, h.Value))
			}
		}
	}
	if len(about) > 1 {
		var parts []string
		for d, who := range about {
			parts = append(parts, strings.Join(who, " and ")+": "+string(d))
		}
		slices.Sort(parts)
		img.Problems = append(img.Problems, "the documents are about different images: "+strings.Join(parts, "; "))
	}
	img.nameAfter(key)
	for _, d := range img.Documents {
		if d.Problem != "" {
			img.Problems = append(img.Problems, d.Name+": "+d.Problem)
		}
	}
}

// nameAfter splits the part of file names that names the image: the architecture
// is behind the last dash, or behind the one before.
func (img *Image) nameAfter(key string) {
	arch := strings.ReplaceAll(strings.TrimPrefix(img.Platform, "linux/"), "/", "-")
	if name, ok := strings.CutSuffix(key, "-"+arch); ok && arch != "" {
		img.Arch, img.Name = arch, cmp.Or(img.Name, name)
		return
	}
	at := strings.LastIndexByte(key, '-')
	if at > 0 && regexp.MustCompile(`^v[0-9]+$`).MatchString(key[at+1:]) {
		at = strings.LastIndexByte(key[:at], '-')
	}
	if at <= 0 {
		img.Name = cmp.Or(img.Name, key)
		return
	}
	img.Arch, img.Name = key[at+1:], cmp.Or(img.Name, key[:at])
	img.Platform = cmp.Or(img.Platform, "linux/"+strings.ReplaceAll(img.Arch, "-", "/"))
}
