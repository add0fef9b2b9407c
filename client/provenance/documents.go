package provenance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strings"

	digest "github.com/opencontainers/go-digest"

	"github.com/temper-images/temper/client/artifact"
	"github.com/temper-images/temper/hardening/spec"
)

// What is read of a directory of evidence at most: documents, and bytes of one.
const (
	maxDocuments    = 1000
	maxDocumentFile = 1 << 30
)

// Types are the short names of predicate types, which are Cosign's.
var Types = map[string]string{
	"slsaprovenance":   "https://slsa.dev/provenance/v0.2",
	"slsaprovenance02": "https://slsa.dev/provenance/v0.2",
	"slsaprovenance1":  PredicateType,
	"spdx":             "https://spdx.dev/Document",
	"spdxjson":         "https://spdx.dev/Document",
	"cyclonedx":        "https://cyclonedx.org/bom",
	"vuln":             "https://cosign.sigstore.dev/attestation/vuln/v1",
	"openvex":          "https://openvex.dev/ns",
	"link":             "https://in-toto.io/Link/v1",
}

// endings say what a document is, the first that fits.
var endings = []struct{ prefix, ending, mediaType, predicateType string }{
	{"", ".cdx.json", artifact.TypeCycloneDX, Types["cyclonedx"]},
	{"", ".spdx.json", artifact.TypeSPDX, Types["spdx"]},
	{"", ".sarif", artifact.TypeSARIF, ""},
	{"", ".openvex.json", artifact.TypeJSON, Types["openvex"]},
	{"buildkit-", ".provenance.json", artifact.TypeJSON, PredicateType},
	{"vuln-", ".json", artifact.TypeJSON, Types["vuln"]},
	{"hardening-", ".json", artifact.TypeJSON, spec.PredicateType},
	{"", ".json", artifact.TypeJSON, ""},
}

// Documents are the documents of evidence in dir about the image, by their names:
// KIND-NAME-ARCH.ENDING. Attestations and signatures are none, since they come
// after. A statement about another image is an error.
func Documents(ctx context.Context, dir, name, arch string, image digest.Digest) (_ []Byproduct, err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("evidence: %w", err)
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	entries, err := fs.ReadDir(root.FS(), ".")
	if err != nil {
		return nil, fmt.Errorf("evidence: read %s: %w", dir, err)
	}
	ours := regexp.MustCompile(`^[a-z]+-` + regexp.QuoteMeta(name+"-"+arch) + `\.`)
	var out []Byproduct
	for _, e := range entries {
		b, ok := documentOf(e, ours)
		if !ok {
			continue
		}
		if len(out) == maxDocuments {
			return nil, fmt.Errorf("evidence: %s has more than %d documents about one image", dir, maxDocuments)
		}
		if b.Digest, err = digestOf(ctx, root, b.Name, image); err != nil {
			return nil, fmt.Errorf("evidence %s: %w", b.Name, err)
		}
		out = append(out, b)
	}
	return out, nil
}

// documentOf says what a directory's entry is.
func documentOf(e fs.DirEntry, ours *regexp.Regexp) (Byproduct, bool) {
	name := e.Name()
	switch {
	case !e.Type().IsRegular(), !ours.MatchString(name), artifact.CheckName(name) != nil,
		strings.HasSuffix(name, artifact.SignatureSuffix), strings.HasSuffix(name, artifact.BundleSuffix),
		strings.HasPrefix(name, "attestation-"), strings.HasPrefix(name, "signature-"):
		return Byproduct{}, false
	}
	for _, w := range endings {
		if strings.HasPrefix(name, w.prefix) && strings.HasSuffix(name, w.ending) {
			return Byproduct{Name: name, MediaType: w.mediaType, PredicateType: w.predicateType}, true
		}
	}
	return Byproduct{}, false
}

// digestOf reads a document, and checks that it is about the image where it says so.
func digestOf(ctx context.Context, root *os.Root, name string, image digest.Digest) (_ digest.Digest, err error) {
	f, err := root.Open(name)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	sum := digest.Canonical.Digester()
	n, err := io.Copy(sum.Hash(), io.LimitReader(reader{ctx, f}, maxDocumentFile+1))
	switch {
	case err != nil:
		return "", err
	case n > maxDocumentFile:
		return "", fmt.Errorf("it has more than %d bytes", maxDocumentFile)
	}
	if n > maxDocument {
		return sum.Digest(), nil
	}
	dt := make([]byte, n)
	if _, err := f.ReadAt(dt, 0); err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	return sum.Digest(), checkSubject(dt, image)
}

// checkSubject refuses an in-toto statement about another image.
func checkSubject(dt []byte, image digest.Digest) error {
	var head struct {
		Type    string `json:"_type"`
		Subject []struct {
			Digest map[string]string `json:"digest"`
		} `json:"subject"`
	}
	isStatement := json.Unmarshal(dt, &head) == nil && strings.HasPrefix(head.Type, "https://in-toto.io/Statement/")
	if !isStatement {
		return nil
	}
	for _, s := range head.Subject {
		if s.Digest[image.Algorithm().String()] == image.Encoded() {
			return nil
		}
	}
	return fmt.Errorf("it is a statement about another image than %s", image)
}

// reader stops when its context does.
type reader struct {
	ctx context.Context
	r   io.Reader
}

// Read implements io.Reader.
func (r reader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}

// TypeNames are the short names of predicate types, sorted.
func TypeNames() []string {
	var out []string
	for name := range Types {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

// ResolveType is the predicate type that a short name or a URI stands for.
func ResolveType(name string) (string, error) {
	if t, ok := Types[name]; ok {
		return t, nil
	}
	if err := checkURI("predicate type", name); err != nil {
		return "", fmt.Errorf("%w, and none of %s", err, strings.Join(TypeNames(), ", "))
	}
	return name, nil
}
