package build

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/content/proxy"
	controlapi "github.com/moby/buildkit/api/services/control"
	bkclient "github.com/moby/buildkit/client"
	"github.com/moby/buildkit/identity"
	digest "github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// What bounds the reading of a build's record: the largest document in bytes,
// the number of documents, and the time.
const (
	maxProvenance      = 40 << 20
	maxProvenanceCount = 64
	provenanceTimeout  = time.Minute
)

// The attestations in a build's record that are SLSA provenance (BuildKit,
// docs/attestations/attestation-storage.md).
const (
	inTotoMediaType         = "application/vnd.in-toto+json"
	predicateTypeAnnotation = "in-toto.io/predicate-type"
	provenancePrefix        = "https://slsa.dev/provenance/"
)

// NoProvenanceError says why the builder's own provenance is not there. The build
// itself succeeded.
type NoProvenanceError struct {
	// Builder is its address.
	Builder string
	Err     error
}

func (e *NoProvenanceError) Error() string {
	return fmt.Sprintf("builder %s has no provenance of the build: %v; a BuildKit of version 0.11 or newer with a build history has it", e.Builder, e.Err)
}

func (e *NoProvenanceError) Unwrap() error { return e.Err }

// newRef names a solve, so that its record is found again.
func newRef() string { return identity.NewID() }

// fetchProvenance reads the provenance that c made of the solve ref, by platform.
// It is the predicate alone, and holds the values of build arguments.
func fetchProvenance(ctx context.Context, c *bkclient.Client, ref string) (map[string]json.RawMessage, error) {
	ctx, cancel := context.WithTimeout(ctx, provenanceTimeout)
	defer cancel()
	events, err := c.ControlClient().ListenBuildHistory(ctx, &controlapi.BuildHistoryRequest{Ref: ref, EarlyExit: true})
	if err != nil {
		return nil, fmt.Errorf("ask for the build's record: %w", err)
	}
	found := map[string]ocispecs.Descriptor{}
	for {
		ev, err := events.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("read the build's record: %w", err)
		}
		if ev.Record == nil || ev.Record.Ref != ref {
			continue
		}
		if desc, ok := provenanceOf(ev.Record.Result); ok {
			found[""] = desc
		}
		for platform, res := range ev.Record.Results {
			if desc, ok := provenanceOf(res); ok {
				found[platform] = desc
			}
		}
	}
	if len(found) == 0 {
		return nil, errors.New("there is no record of the build, or no provenance in it")
	}
	if len(found) > maxProvenanceCount {
		return nil, fmt.Errorf("the build's record names %d documents, more than %d", len(found), maxProvenanceCount)
	}
	store := proxy.NewContentStore(c.ContentClient())
	out := map[string]json.RawMessage{}
	for platform, desc := range found {
		dt, err := readProvenance(ctx, store, desc)
		if err != nil {
			return nil, fmt.Errorf("read provenance %s: %w", desc.Digest, err)
		}
		if platform == "" {
			platform = platformOf(dt)
		}
		out[platform] = dt
	}
	return out, nil
}

// platformOf is the platform that a build was for whose record names none.
func platformOf(predicate json.RawMessage) string {
	var p struct {
		BuildDefinition struct {
			InternalParameters struct {
				BuilderPlatform string `json:"builderPlatform"`
				TargetPlatform  string `json:"targetPlatform"`
			} `json:"internalParameters"`
		} `json:"buildDefinition"`
	}
	if json.Unmarshal(predicate, &p) != nil {
		return ""
	}
	return cmp.Or(p.BuildDefinition.InternalParameters.TargetPlatform, p.BuildDefinition.InternalParameters.BuilderPlatform)
}

func provenanceOf(res *controlapi.BuildResultInfo) (ocispecs.Descriptor, bool) {
	for _, a := range res.GetAttestations() {
		if a.MediaType == inTotoMediaType && strings.HasPrefix(a.Annotations[predicateTypeAnnotation], provenancePrefix) {
			return ocispecs.Descriptor{MediaType: a.MediaType, Digest: digest.Digest(a.Digest), Size: a.Size}, true
		}
	}
	return ocispecs.Descriptor{}, false
}

func readProvenance(ctx context.Context, store content.Provider, desc ocispecs.Descriptor) (_ json.RawMessage, err error) {
	if err := desc.Digest.Validate(); err != nil {
		return nil, err
	}
	if desc.Size < 0 || desc.Size > maxProvenance {
		return nil, fmt.Errorf("it has %d bytes, more than %d", desc.Size, maxProvenance)
	}
	ra, err := store.ReaderAt(ctx, desc)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, ra.Close()) }()
	dt, err := io.ReadAll(io.NewSectionReader(ra, 0, desc.Size))
	if err != nil {
		return nil, err
	}
	if desc.Digest.Algorithm().FromBytes(dt) != desc.Digest {
		return nil, errors.New("it has other content than its name says")
	}
	if !json.Valid(dt) {
		return nil, errors.New("it is not JSON")
	}
	return dt, nil
}
