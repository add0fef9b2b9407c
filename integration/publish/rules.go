package publish

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	digest "github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// Rules are what must hold of a record.
type Rules struct {
	Key Key
	// DigestFirst allows manifests to be readable by digest before they are signed.
	DigestFirst bool
	// Crowded says that several write at the same time. No registry compares before
	// it writes a tag: a list may lose what one of them then puts back.
	Crowded bool
	// Lists says that the registry has an API for referrers.
	Lists bool
}

// Break is an exchange that breaks a rule.
type Break struct {
	Exchange *Exchange
	Rule     string
}

func (b Break) String() string { return b.Exchange.String() + ": " + b.Rule }

// event is one end of an exchange.
type event struct {
	place int
	*Exchange
	answer bool
}

// Check replays a record from an empty registry, and returns what breaks a rule:
//
//   - a manifest is sent by tag, or by digest, or is shown to anybody, before a
//     signature of it could be read and verified in every form,
//   - a tag is given to another manifest,
//   - signatures, attestations or referrers that were listed are listed no longer,
//   - anything is deleted.
func (r Rules) Check(exchanges []*Exchange) []Break {
	var events []event
	for _, e := range exchanges {
		events = append(events, event{e.Sent, e, false})
		if e.Answered > 0 {
			events = append(events, event{e.Answered, e, true})
		}
	}
	slices.SortFunc(events, func(a, b event) int { return a.place - b.place })
	repositories := map[string]*history{}
	var broken []Break
	for _, e := range events {
		repository, ref, ok := e.manifest()
		if !ok {
			repository, _, ok = split(e.Path, "/blobs/")
		}
		if !ok {
			continue
		}
		h := repositories[repository]
		if h == nil {
			h = newHistory(r.Lists)
			repositories[repository] = h
		}
		say := func(format string, args ...any) {
			broken = append(broken, Break{e.Exchange, fmt.Sprintf(format, args...)})
		}
		switch {
		case e.Method == http.MethodDelete && !e.answer && !strings.Contains(e.Path, "/blobs/uploads/"):
			say("something is deleted")
		case e.Method == http.MethodPut && ref != "" && !e.answer:
			r.sent(h, ref, e.Exchange, say)
		case e.answer && ref != "" && e.ok() && (e.Method == http.MethodGet || e.Method == http.MethodHead):
			r.shown(h, ref, e.Exchange, say)
		}
		if e.answer {
			h.accept(e.Exchange)
		}
	}
	return broken
}

// sent judges a manifest on its way to the registry.
func (r Rules) sent(h *history, ref string, e *Exchange, say func(string, ...any)) {
	if beside.MatchString(ref) {
		if missing := lost(h.manifest(ref), e.Body); len(missing) > 0 && !r.Crowded {
			say("%s no longer lists %v", ref, missing)
		}
		return
	}
	if before, ok := h.tags[ref]; ok && before != digest.FromBytes(e.Body) {
		say("the tag %s is taken from %s", ref, before)
	}
	r.signed(h, ref, e.Body, say)
}

// shown judges a manifest that somebody reads.
func (r Rules) shown(h *history, ref string, e *Exchange, say func(string, ...any)) {
	d := digest.Digest(e.Header.Get("Docker-Content-Digest"))
	data := e.Answer
	if e.Method == http.MethodHead {
		// The content came by this way, too.
		data = h.manifests[d]
	}
	if data == nil || beside.MatchString(ref) {
		return
	}
	r.signed(h, ref, data, say)
}

// signed judges a manifest that is, or may be from now on, readable by ref.
func (r Rules) signed(h *history, ref string, data []byte, say func(string, ...any)) {
	var m struct {
		ArtifactType string                `json:"artifactType"`
		Subject      *ocispecs.Descriptor  `json:"subject"`
		Manifests    []ocispecs.Descriptor `json:"manifests"`
	}
	if err := json.Unmarshal(data, &m); err != nil {
		say("it is no manifest: %v", err)
		return
	}
	if m.Subject != nil && strings.HasPrefix(m.ArtifactType, bundleType) {
		return // it is a signature
	}
	d := digest.FromBytes(data)
	if isDigest(ref) && r.DigestFirst {
		return
	}
	if h.isBeside(d) {
		return // what has a tag of its own beside an image can be read by digest, too
	}
	if f := r.Key.find(h, d); !f.complete() {
		say("%s is readable as %s with %d bundles and %d signatures", d, ref, f.Bundles, f.Payloads)
	}
	for _, child := range m.Manifests {
		if f := r.Key.find(h, child.Digest); !f.complete() {
			say("%s, part of %s, is readable with %d bundles and %d signatures", child.Digest, ref, f.Bundles, f.Payloads)
		}
	}
}

// isBeside says that a manifest was tagged as one of those that stand beside images.
func (h *history) isBeside(d digest.Digest) bool {
	for tag, tagged := range h.tags {
		if tagged == d && beside.MatchString(tag) {
			return true
		}
	}
	return false
}

// lost are the entries of a manifest or an index that its successor does not have.
func lost(before, after []byte) []digest.Digest {
	entries := func(data []byte) []digest.Digest {
		var m struct {
			Layers    []ocispecs.Descriptor `json:"layers"`
			Manifests []ocispecs.Descriptor `json:"manifests"`
		}
		_ = json.Unmarshal(data, &m) // nothing was there before
		var all []digest.Digest
		for _, d := range append(m.Layers, m.Manifests...) {
			all = append(all, d.Digest)
		}
		return all
	}
	kept := entries(after)
	return slices.DeleteFunc(entries(before), func(d digest.Digest) bool { return slices.Contains(kept, d) })
}
