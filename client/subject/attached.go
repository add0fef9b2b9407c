package subject

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	digest "github.com/opencontainers/go-digest"

	"github.com/temper-images/temper/hardening/spec"
)

// Annotations of an attestation manifest and of its layers (BuildKit,
// docs/attestations/attestation-storage.md).
const (
	annotationReferenceType   = "vnd.docker.reference.type"
	annotationReferenceDigest = "vnd.docker.reference.digest"
	annotationPredicateType   = "in-toto.io/predicate-type"

	attestationManifest = "attestation-manifest"
)

func isAttestation(annotations map[string]string) bool {
	return annotations[annotationReferenceType] == attestationManifest
}

// attachment is an attestation manifest: each layer is one in-toto statement.
type attachment struct{ manifest v1.Image }

// Statement is an in-toto statement that is attached to an image. Nobody vouches
// for it: it is not signed.
type Statement struct {
	PredicateType string
	// Data is the statement, JSON.
	Data []byte
}

// Statements reads the statements that attestation manifests in the image's index
// attach to it. Statements above 40 MiB are an error.
func (i *Image) Statements(ctx context.Context) ([]Statement, error) {
	var out []Statement
	for _, a := range i.attached {
		m, err := a.manifest.Manifest()
		if err != nil {
			return nil, err
		}
		for _, desc := range m.Layers {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			t := desc.Annotations[annotationPredicateType]
			if t == "" {
				continue
			}
			dt, err := readStatement(a.manifest, desc)
			if err != nil {
				return nil, fmt.Errorf("attestation %s (%s) of %s: %w", desc.Digest, t, i.Digest, err)
			}
			out = append(out, Statement{PredicateType: t, Data: dt})
		}
	}
	return out, nil
}

func readStatement(img v1.Image, desc v1.Descriptor) (_ []byte, err error) {
	l, err := img.LayerByDigest(desc.Digest)
	if err != nil {
		return nil, err
	}
	rc, err := l.Compressed()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rc.Close()) }()
	dt, err := io.ReadAll(io.LimitReader(rc, maxStatement+1))
	if err != nil {
		return nil, err
	}
	if len(dt) > maxStatement {
		return nil, fmt.Errorf("it is larger than %d bytes", maxStatement)
	}
	if digest.FromBytes(dt) != digest.Digest(desc.Digest.String()) {
		return nil, errors.New("it has other content than its name says")
	}
	return dt, nil
}

// Report reads the hardening report that is attached to the image. It is nil when
// there is none.
func (i *Image) Report(ctx context.Context) (*spec.Report, error) {
	list, err := i.Statements(ctx)
	if err != nil {
		return nil, err
	}
	for _, s := range list {
		if s.PredicateType != spec.PredicateType {
			continue
		}
		var statement struct {
			Predicate json.RawMessage `json:"predicate"`
		}
		if err := json.Unmarshal(s.Data, &statement); err != nil {
			return nil, fmt.Errorf("hardening report of %s: %w", i.Digest, err)
		}
		return spec.ReadReport(bytes.NewReader(statement.Predicate))
	}
	return nil, nil
}
