package publish

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	digest "github.com/opencontainers/go-digest"

	"github.com/temper-images/temper/client/finding"
	"github.com/temper-images/temper/client/referrer"
)

// Action is what an operation does.
type Action string

// The actions, in the order in which OrderSignatureFirst takes them.
const (
	// ActionCheck asks what a tag names.
	ActionCheck Action = "check tag"
	// ActionBlob pushes a blob, mounts it, or finds it there.
	ActionBlob Action = "push blob"
	// ActionSign pushes a signature as a referrer.
	ActionSign Action = "push signature"
	// ActionAttest pushes an attestation as a referrer.
	ActionAttest Action = "push attestation"
	// ActionMerge adds to an image of signatures or attestations under a tag of
	// Cosign's.
	ActionMerge Action = "add to tag"
	// ActionIndex adds to the index of referrers, where the registry has no referrers
	// API.
	ActionIndex Action = "add to index"
	// ActionVerify reads back what was pushed about a manifest, and verifies it.
	ActionVerify Action = "read back"
	// ActionManifest pushes a manifest by its digest.
	ActionManifest Action = "push manifest"
	// ActionTag writes a tag.
	ActionTag Action = "write tag"
)

// Operation is one thing that Run does. What is not known before, as the digest of
// a signature, is empty.
type Operation struct {
	Action     Action `json:"action"`
	Repository string `json:"repository"`
	// Digest, MediaType and Size (in bytes) are of what is pushed, or what a tag is to
	// name.
	Digest    digest.Digest `json:"digest,omitempty"`
	MediaType string        `json:"mediaType,omitempty"`
	Size      int64         `json:"size,omitempty"`
	Platform  string        `json:"platform,omitempty"`
	// Tag is one that is asked for or written.
	Tag string `json:"tag,omitempty"`
	// Subject is the manifest that a signature or attestation is about.
	Subject       digest.Digest `json:"subject,omitempty"`
	PredicateType string        `json:"predicateType,omitempty"`
}

// Plan is what Run does with a registry that has nothing of the image, in its order.
type Plan struct {
	Image      digest.Digest `json:"image"`
	Order      Order         `json:"order"`
	Operations []Operation   `json:"operations"`
}

// NewPlan says what Run will do. It asks no registry, and signs nothing: of
// Attachments only the predicate types matter. Errors are *RequestError.
func NewPlan(r *Request) (*Plan, error) {
	targets, err := r.targets()
	if err != nil {
		return nil, err
	}
	order, err := ParseOrder(string(r.Order))
	if err != nil {
		return nil, &RequestError{err}
	}
	p := &Plan{Image: r.Image.Top.Digest, Order: order}
	for _, t := range targets {
		p.repository(r, t)
	}
	for _, t := range targets {
		for _, g := range t.tags {
			p.add(t, of(ActionTag, g.manifest), func(o *Operation) { o.Tag = g.tag.TagStr() })
		}
	}
	for _, t := range targets {
		for _, g := range t.tags {
			p.add(t, of(ActionCheck, g.manifest), func(o *Operation) { o.Tag = g.tag.TagStr() })
		}
	}
	return p, nil
}

func (p *Plan) add(t target, o Operation, also ...func(*Operation)) {
	o.Repository = t.repo.String()
	for _, f := range also {
		f(&o)
	}
	p.Operations = append(p.Operations, o)
}

// of is an operation on a manifest.
func of(a Action, m *Manifest) Operation {
	d := m.Descriptor
	return Operation{Action: a, Digest: d.Digest, MediaType: d.MediaType, Size: d.Size, Platform: m.Platform}
}

// repository is what is done in one repository until its tags are written.
func (p *Plan) repository(r *Request, t target) {
	for _, g := range t.tags {
		p.add(t, Operation{Action: ActionCheck, Tag: g.tag.TagStr()})
	}
	for _, b := range blobs(r.Image.all()) {
		p.add(t, Operation{Action: ActionBlob, Digest: b.Digest, MediaType: b.MediaType, Size: b.Size})
	}
	manifests := func() {
		for i := range r.Image.Manifests {
			p.add(t, of(ActionManifest, &r.Image.Manifests[i]))
		}
	}
	formats := all(r.Formats)
	if formats.Cosign {
		p.cosign(r, t)
	}
	if p.Order == OrderDigestFirst {
		manifests()
	}
	if formats.Bundle {
		p.bundles(r, t)
	}
	for i := range r.Image.Manifests {
		p.add(t, of(ActionVerify, &r.Image.Manifests[i]))
	}
	if p.Order != OrderDigestFirst {
		manifests()
	}
}

func (p *Plan) cosign(r *Request, t target) {
	for _, m := range r.Image.Manifests {
		d := m.Descriptor.Digest
		p.add(t, Operation{Action: ActionMerge, Subject: d, Platform: m.Platform, Tag: referrer.SignatureTag(d)})
		if len(r.Attachments[d]) > 0 {
			p.add(t, Operation{Action: ActionMerge, Subject: d, Platform: m.Platform, Tag: referrer.AttestationTag(d)})
		}
	}
}

func (p *Plan) bundles(r *Request, t target) {
	for _, m := range r.Image.Manifests {
		d := m.Descriptor.Digest
		p.add(t, Operation{Action: ActionSign, Subject: d, Platform: m.Platform, PredicateType: referrer.SignPredicate})
		for _, s := range r.Attachments[d] {
			p.add(t, Operation{Action: ActionAttest, Subject: d, Platform: m.Platform, PredicateType: s.PredicateType})
		}
		p.add(t, Operation{Action: ActionIndex, Subject: d, Platform: m.Platform, Tag: referrer.FallbackTag(d)})
	}
}

// all puts every form in the place of none.
func all(f referrer.Formats) referrer.Formats {
	if f == (referrer.Formats{}) {
		return referrer.Formats{Bundle: true, Cosign: true}
	}
	return f
}

// JSON writes the plan for programs.
func (p *Plan) JSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(p)
}

// Table writes the plan for people: one line for each operation.
func (p *Plan) Table(w io.Writer) error {
	var b strings.Builder
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	at := ""
	for _, o := range p.Operations {
		if o.Repository != at {
			at = o.Repository
			fmt.Fprintf(t, "%s\n", finding.Plain(at))
		}
		fmt.Fprintf(t, "  %s\t%s\t%s\t%s\n", o.Action, o.what(), bytesText(o.Size), finding.Plain(o.about()))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if p.Order == OrderAuto {
		fmt.Fprintln(&b, "\nA registry that refuses signatures before their image gets its manifests first, and the tags last all the same.")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// what is what an operation pushes or writes.
func (o *Operation) what() string {
	switch {
	case o.Tag != "" && o.Digest != "":
		return finding.Plain(o.Tag) + " = " + o.Digest.String()
	case o.Tag != "":
		return finding.Plain(o.Tag)
	case o.Digest != "":
		return o.Digest.String()
	}
	return finding.Plain(o.PredicateType)
}

// about is what it is, or is about.
func (o *Operation) about() string {
	parts := make([]string, 0, 2)
	if o.Subject != "" {
		parts = append(parts, "about "+o.Subject.String())
	} else if o.MediaType != "" {
		parts = append(parts, o.MediaType)
	}
	if o.Platform != "" {
		parts = append(parts, "("+o.Platform+")")
	}
	return strings.Join(parts, " ")
}

func bytesText(n int64) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("%d", n)
}
