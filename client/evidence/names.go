package evidence

import (
	"errors"
	"fmt"
	"path"
	"regexp"
	"strconv"
	"strings"

	"github.com/distribution/reference"
	digest "github.com/opencontainers/go-digest"

	"github.com/temper-images/temper/client/artifact"
)

// The directories beside those of the kinds.
const (
	indexDir = "index"
	refsDir  = "refs"
)

// shortDigest is how many hexadecimal digits of a digest stand in a name.
const shortDigest = 12

var (
	recordName = regexp.MustCompile(`^([0-9]{4,9})-([0-9a-f]{12})\.json$`)
	archName   = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,63}$`)
	extraDir   = regexp.MustCompile(`^[0-9a-f]{12}$`)
)

func checkDigest(d digest.Digest) error {
	if err := d.Validate(); err != nil {
		return fmt.Errorf("digest %q: %w", d, err)
	}
	if d.Algorithm() != digest.SHA256 {
		return fmt.Errorf("digest %s: only sha256 has a place in the store", d)
	}
	return nil
}

func digestDir(d digest.Digest) string { return "sha256-" + d.Encoded() }

func short(data []byte) string { return digest.FromBytes(data).Encoded()[:shortDigest] }

// Arch is a platform without Linux, as it stands in paths: "amd64" of
// "linux/amd64", "arm-v7" of "linux/arm/v7".
func Arch(platform string) string {
	return strings.ReplaceAll(strings.TrimPrefix(platform, "linux/"), "/", "-")
}

// documentPath is where a document is kept, unless there is another of its name.
func documentPath(img Image, kind artifact.Kind, name string) string {
	return path.Join(kind.Dir(), Arch(img.Platform), digestDir(img.Digest), name)
}

// besidePath is where a document is kept whose place is taken by another of the
// same name: in a directory that is called by the document's content.
func besidePath(taken string, data []byte) string {
	dir, name := path.Split(taken)
	return path.Join(dir, short(data), name)
}

// checkPath says whether path is a place for a document about an image. The index
// is hostile: it must not lead elsewhere.
func checkPath(p string, d digest.Digest) error {
	parts := strings.Split(p, "/")
	if len(parts) < 4 || len(parts) > 6 {
		return fmt.Errorf("path %q has not the form of one", p)
	}
	known := false
	for _, kind := range artifact.Kinds() {
		known = known || kind.Dir() == parts[0]
	}
	if !known || !archName.MatchString(parts[1]) || parts[2] != digestDir(d) {
		return fmt.Errorf("path %q is not one of %s", p, d)
	}
	for _, extra := range parts[3 : len(parts)-1] {
		if !extraDir.MatchString(extra) {
			return fmt.Errorf("path %q has not the form of one", p)
		}
	}
	return artifact.CheckName(parts[len(parts)-1])
}

// parseRecordName takes the name of an index document apart.
func parseRecordName(name string) (sequence int, sum string, ok bool) {
	m := recordName.FindStringSubmatch(name)
	if m == nil {
		return 0, "", false
	}
	n, err := strconv.Atoi(m[1])
	return n, m[2], err == nil && n > 0
}

func formatRecordName(sequence int, data []byte) string {
	return fmt.Sprintf("%04d-%s.json", sequence, short(data))
}

// canonical is the full form of an image's name: "docker.io/library/nginx:latest"
// of "nginx".
func canonical(name string) (reference.Named, error) {
	named, err := reference.ParseDockerRef(name)
	if err != nil {
		return nil, fmt.Errorf("image name %q: %w", name, err)
	}
	return named, nil
}

// tagDir is the directory of what a tag names.
func tagDir(named reference.Named) (string, error) {
	tagged, ok := named.(reference.Tagged)
	if !ok {
		return "", errors.New("it has no tag")
	}
	host := strings.ReplaceAll(reference.Domain(named), ":", "_")
	// No part of a repository begins with an underscore.
	return path.Join(refsDir, host, reference.Path(named), "_tags", tagged.Tag()), nil
}

// indexRefDir is the directory of what an image index lists.
func indexRefDir(d digest.Digest) string { return path.Join(refsDir, "_index", digestDir(d)) }
