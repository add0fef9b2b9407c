package examine

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	digest "github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/temper-images/temper/client/referrer"
	"github.com/temper-images/temper/client/registry"
	"github.com/temper-images/temper/client/subject"
	"github.com/temper-images/temper/hardening/spec"
)

// annotationPredicate is where a referrer says of what type its statement is
// (Cosign, specs/BUNDLE_SPEC.md).
const annotationPredicate = "dev.sigstore.bundle.predicateType"

// Report reads the hardening report that the build attached to an image or, where
// there is none, the one that a release published beside it. It is nil when there
// is neither. Published opens what stands beside the image, and may be nil; where it
// says registry.ErrNotFound, nothing does. Nobody vouches for the report: whether it
// is signed, and by whom, is for package verify.
func Report(ctx context.Context, img *subject.Image, published func() (referrer.Source, error)) (*spec.Report, error) {
	r, err := img.Report(ctx)
	if err != nil || r != nil || published == nil {
		return r, err
	}
	src, err := published()
	if errors.Is(err, registry.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look for a hardening report beside %s: %w", img.Digest, err)
	}
	// Documents can be large: those that say that they are something else are passed
	// over, and Cosign's tags, which have all in one, are read last.
	for _, s := range []referrer.Source{onlyReports{src}, src} {
		found, err := referrer.Read(ctx, s, img.Digest)
		if err != nil {
			return nil, err
		}
		for _, e := range found.Entries {
			if e.PredicateType != spec.PredicateType {
				continue
			}
			if r, err := readBundle(e.Bundle, img.Digest); err != nil || r != nil {
				return r, err
			}
		}
	}
	return nil, nil
}

// onlyReports is what is beside an image, without what cannot be a report.
type onlyReports struct{ referrer.Source }

func (o onlyReports) Referrers(ctx context.Context, d digest.Digest) ([]ocispecs.Descriptor, error) {
	list, err := o.Source.Referrers(ctx, d)
	if err != nil {
		return nil, err
	}
	var out []ocispecs.Descriptor
	for _, desc := range list {
		if desc.Annotations[annotationPredicate] == spec.PredicateType {
			out = append(out, desc)
		}
	}
	return out, nil
}

func (o onlyReports) Manifest(ctx context.Context, ref string) (ocispecs.Descriptor, []byte, error) {
	if !strings.Contains(ref, ":") {
		return ocispecs.Descriptor{}, nil, registry.ErrNotFound
	}
	return o.Source.Manifest(ctx, ref)
}

// readBundle reads the report out of the statement in a bundle. It is nil when the
// statement is about another image.
func readBundle(bundle []byte, about digest.Digest) (*spec.Report, error) {
	var b struct {
		Envelope struct {
			Payload []byte `json:"payload"`
		} `json:"dsseEnvelope"`
	}
	if err := json.Unmarshal(bundle, &b); err != nil {
		return nil, fmt.Errorf("hardening report of %s: its bundle: %w", about, err)
	}
	var st struct {
		Subject []struct {
			Digest map[string]string `json:"digest"`
		} `json:"subject"`
		Predicate json.RawMessage `json:"predicate"`
	}
	if err := json.Unmarshal(b.Envelope.Payload, &st); err != nil {
		return nil, fmt.Errorf("hardening report of %s: its statement: %w", about, err)
	}
	for _, s := range st.Subject {
		if s.Digest[about.Algorithm().String()] == about.Encoded() {
			return spec.ReadReport(bytes.NewReader(st.Predicate))
		}
	}
	return nil, nil
}
