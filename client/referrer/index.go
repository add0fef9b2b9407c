package referrer

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	digest "github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

const (
	// maxManifest bounds a manifest and an index, in bytes.
	maxManifest = 4 << 20
	// maxReferrers bounds how many manifests may refer to one.
	maxReferrers = 10_000
)

// FallbackTag is the tag of the index that lists a manifest's referrers where a
// registry has no referrers API (distribution-spec v1.1, "Referrers Tag Schema").
func FallbackTag(subject digest.Digest) string {
	algorithm, encoded, _ := strings.Cut(subject.String(), ":")
	return algorithm + "-" + encoded
}

// index is an image index whose manifests are kept as they are.
type index struct {
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     string            `json:"mediaType,omitempty"`
	ArtifactType  string            `json:"artifactType,omitempty"`
	Manifests     []json.RawMessage `json:"manifests"`
	Subject       json.RawMessage   `json:"subject,omitempty"`
	Annotations   json.RawMessage   `json:"annotations,omitempty"`
}

// MergeIndex adds referrers to the index under the fallback tag, which is nil where
// there is none. What is there stays; a descriptor that is there without the right
// artifact type or annotations, as some clients write them, gets them. Changed is
// false, and data are the existing bytes, when nothing was to be done. The order is
// that of the digests, so that writers who add the same make the same index.
func MergeIndex(existing []byte, add []ocispecs.Descriptor) (data []byte, changed bool, err error) {
	in, listed, err := parseIndex(existing)
	if err != nil {
		return nil, false, err
	}
	for _, desc := range add {
		if err := desc.Digest.Validate(); err != nil {
			return nil, false, fmt.Errorf("add a referrer to the index: digest %q: %w", desc.Digest, err)
		}
		old, there := listed[desc.Digest]
		made, same, err := describe(old, desc)
		if err != nil {
			return nil, false, fmt.Errorf("add %s to the index of referrers: %w", desc.Digest, err)
		}
		if there && same {
			continue
		}
		listed[desc.Digest], changed = made, true
	}
	if !changed && existing != nil {
		return existing, false, nil
	}
	if len(listed) > maxReferrers {
		return nil, false, fmt.Errorf("the index of referrers would have %d entries, and at most %d are written", len(listed), maxReferrers)
	}
	digests := make([]digest.Digest, 0, len(listed))
	for d := range listed {
		digests = append(digests, d)
	}
	slices.Sort(digests)
	in.Manifests = make([]json.RawMessage, len(digests))
	for i, d := range digests {
		in.Manifests[i] = listed[d]
	}
	if data, err = json.Marshal(in); err != nil {
		return nil, false, fmt.Errorf("write the index of referrers: %w", err)
	}
	if len(data) > maxManifest {
		return nil, false, fmt.Errorf("the index of referrers would have %d bytes, and registries take no manifest above %d", len(data), maxManifest)
	}
	return data, true, nil
}

// parseIndex reads an index, and its descriptors by their digests. One that is
// listed twice is kept once.
func parseIndex(data []byte) (*index, map[digest.Digest]json.RawMessage, error) {
	listed := map[digest.Digest]json.RawMessage{}
	if data == nil {
		return &index{SchemaVersion: 2, MediaType: ocispecs.MediaTypeImageIndex}, listed, nil
	}
	wrong := func(err error) error {
		return fmt.Errorf("the tag for the index of referrers holds something else, which is not replaced: %w", err)
	}
	if len(data) > maxManifest {
		return nil, nil, wrong(fmt.Errorf("it has more than %d bytes", maxManifest))
	}
	in := &index{}
	if err := json.Unmarshal(data, in); err != nil {
		return nil, nil, wrong(err)
	}
	if in.SchemaVersion != 2 || in.MediaType != ocispecs.MediaTypeImageIndex && in.MediaType != "" {
		return nil, nil, wrong(fmt.Errorf("schema version %d, media type %.100q", in.SchemaVersion, in.MediaType))
	}
	in.MediaType = ocispecs.MediaTypeImageIndex
	if len(in.Manifests) > maxReferrers {
		return nil, nil, wrong(fmt.Errorf("it has more than %d entries", maxReferrers))
	}
	for _, raw := range in.Manifests {
		var desc ocispecs.Descriptor
		if err := json.Unmarshal(raw, &desc); err != nil {
			return nil, nil, wrong(err)
		}
		if err := desc.Digest.Validate(); err != nil {
			return nil, nil, wrong(fmt.Errorf("digest %.100q: %w", desc.Digest, err))
		}
		if _, twice := listed[desc.Digest]; !twice {
			listed[desc.Digest] = raw
		}
	}
	return in, listed, nil
}

// describe writes a descriptor into an index, over the one that is there: whatever
// else that says is kept.
func describe(old json.RawMessage, desc ocispecs.Descriptor) (made json.RawMessage, same bool, err error) {
	if old == nil {
		made, err = json.Marshal(desc)
		return made, false, err
	}
	var was ocispecs.Descriptor
	if err := json.Unmarshal(old, &was); err != nil {
		return nil, false, err
	}
	if was.Size != desc.Size {
		return nil, false, errors.New("it is there with another size")
	}
	same = was.ArtifactType == desc.ArtifactType && was.MediaType == desc.MediaType
	for k, v := range desc.Annotations {
		if had, ok := was.Annotations[k]; !ok || had != v {
			same = false
		}
	}
	if same {
		return old, true, nil
	}
	was.ArtifactType, was.MediaType = desc.ArtifactType, desc.MediaType
	if was.Annotations == nil {
		was.Annotations = map[string]string{}
	}
	for k, v := range desc.Annotations {
		was.Annotations[k] = v
	}
	made, err = json.Marshal(was)
	return made, false, err
}
