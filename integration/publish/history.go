package publish

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	digest "github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// history is a repository as the record shows it at some place: what the registry
// has accepted by then.
type history struct {
	manifests map[digest.Digest][]byte
	// tags point to manifests.
	tags  map[string]digest.Digest
	blobs map[digest.Digest][]byte
	// sent is what was sent and not acknowledged. A registry may have it all the same:
	// it counts once somebody was told so.
	sent map[digest.Digest][]byte
	// uploads are the pieces of blobs, by the path that they are sent to.
	uploads map[string][]byte
	// lists says that the registry has an API for referrers.
	lists bool
}

func newHistory(lists bool) *history {
	return &history{
		manifests: map[digest.Digest][]byte{}, tags: map[string]digest.Digest{}, blobs: map[digest.Digest][]byte{},
		sent: map[digest.Digest][]byte{}, uploads: map[string][]byte{}, lists: lists,
	}
}

func (h *history) manifest(ref string) []byte {
	if tagged, ok := h.tags[ref]; ok {
		ref = tagged.String()
	}
	return h.manifests[digest.Digest(ref)]
}

func (h *history) blob(d digest.Digest) []byte { return h.blobs[d] }

func (h *history) referrers(subject digest.Digest) []ocispecs.Descriptor {
	if !h.lists {
		var index ocispecs.Index
		if json.Unmarshal(h.manifest(tagOf(subject, "")), &index) != nil {
			return nil
		}
		return index.Manifests
	}
	var found []ocispecs.Descriptor
	for d, data := range h.manifests {
		var m ocispecs.Manifest
		if json.Unmarshal(data, &m) == nil && m.Subject != nil && m.Subject.Digest == subject {
			found = append(found, ocispecs.Descriptor{MediaType: m.MediaType, Digest: d, Size: int64(len(data)), ArtifactType: m.ArtifactType})
		}
	}
	return found
}

// accept enters what an answered request has done or shown.
func (h *history) accept(e *Exchange) {
	if _, ref, ok := e.manifest(); ok {
		h.acceptManifest(e, ref)
		return
	}
	if _, ref, ok := split(e.Path, "/blobs/"); ok && isDigest(ref) {
		if data, ok := h.sent[digest.Digest(ref)]; ok && e.ok() {
			h.blobs[digest.Digest(ref)] = data
		}
		return
	}
	_, upload, ok := split(e.Path, "/blobs/uploads/")
	if !ok {
		return
	}
	d := digest.Digest(e.Query.Get("digest"))
	if !e.ok() {
		if data := slices.Concat(h.uploads[e.Path], e.Body); e.Method == http.MethodPut && d == digest.FromBytes(data) {
			h.sent[d] = data
		}
		return
	}
	switch {
	case e.Method == http.MethodPost && d != "":
		h.finish(d, e.Body)
	case e.Method == http.MethodPost && e.Query.Get("mount") != "" && e.Status == http.StatusCreated:
		// Blobs of signatures are never mounted, and the content of others does not matter.
		h.blobs[digest.Digest(e.Query.Get("mount"))] = nil
	case e.Method == http.MethodPost:
		h.uploads[location(e)] = nil
	case e.Method == http.MethodPatch:
		sent := slices.Concat(h.uploads[e.Path], e.Body)
		h.uploads[e.Path], h.uploads[location(e)] = sent, sent
	case e.Method == http.MethodPut && upload != "" && d != "":
		h.finish(d, slices.Concat(h.uploads[e.Path], e.Body))
	}
}

func (h *history) acceptManifest(e *Exchange, ref string) {
	d, data := digest.FromBytes(e.Body), e.Body
	switch {
	case e.Method == http.MethodPut && !e.ok():
		h.sent[d] = data
		return
	case e.Method != http.MethodPut:
		d = digest.Digest(e.Header.Get("Docker-Content-Digest"))
		if data = h.sent[d]; data == nil || !e.ok() {
			return
		}
	}
	h.manifests[d] = data
	if !isDigest(ref) {
		h.tags[ref] = d
	}
}

func (h *history) finish(d digest.Digest, data []byte) {
	if d == digest.FromBytes(data) {
		h.blobs[d] = data
	}
}

// location is the path that the answer says to go on at.
func location(e *Exchange) string {
	path, _, _ := strings.Cut(e.Header.Get("Location"), "?")
	if i := strings.Index(path, "/v2/"); i > 0 {
		path = path[i:]
	}
	return path
}
