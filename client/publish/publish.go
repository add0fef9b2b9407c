// Package publish pushes an image from an OCI layout to registries in an order in
// which no unsigned image is ever visible: blobs, then signatures and attestations
// about the digest that the image will have, then what a stranger does to verify
// them, then the manifests, and the tags last.
//
// Registries that refuse a manifest whose subject is not there (against the
// distribution-spec v1.1.1, "Pushing Manifests with Subject") get the manifests by
// digest before the referrers, and the tags last all the same.
//
// What is there already is left as it is, and signatures of the same signer are used
// again: a release that was killed is run again, and ends in the same state.
package publish

import (
	"context"
	"fmt"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	digest "github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/temper-images/temper/client/journal"
	"github.com/temper-images/temper/client/referrer"
	"github.com/temper-images/temper/client/registry"
	"github.com/temper-images/temper/client/signing"
	"github.com/temper-images/temper/client/stage"
)

// Order is what comes first: signatures or manifests.
type Order string

// The orders.
const (
	// OrderAuto is OrderSignatureFirst, and OrderDigestFirst where the registry
	// refuses that. The zero value stands for it.
	OrderAuto Order = "auto"
	// OrderSignatureFirst pushes signatures and attestations before the manifest
	// that they are about.
	OrderSignatureFirst Order = "signature-first"
	// OrderDigestFirst pushes manifests by digest, then signatures and attestations,
	// then tags.
	OrderDigestFirst Order = "digest-first"
)

// ParseOrder reads a setting.
func ParseOrder(s string) (Order, error) {
	switch o := Order(s); o {
	case "":
		return OrderAuto, nil
	case OrderAuto, OrderSignatureFirst, OrderDigestFirst:
		return o, nil
	}
	return "", fmt.Errorf("order of publishing %q: it is %s, %s or %s", s, OrderAuto, OrderSignatureFirst, OrderDigestFirst)
}

// Request says what is published, where, and how.
type Request struct {
	// Image is what is published. See Read.
	Image *Image
	// Tags are where it is published: at least one. The tag latest is refused. Tags
	// in several repositories make as many copies, each with its signatures.
	Tags []name.Tag
	// ArchTags adds for each platform of an index the tag TAG-ARCH ("1.2-amd64",
	// "1.2-arm-v7") for its manifest.
	ArchTags bool
	// MoveTags lets tags move that name another image.
	MoveTags bool
	Order    Order
	// Formats are the forms of signatures and attestations. The zero value is all.
	Formats referrer.Formats

	// Sign signs a manifest that may be called reference, a repository without tag.
	// It is asked for what nobody signed yet: see referrer.SignImage. It is called by
	// several goroutines at once.
	Sign func(ctx context.Context, reference string, manifest ocispecs.Descriptor) (referrer.Signed, error)
	// Attachments are the attestations by the manifest that they are about, signed.
	Attachments map[digest.Digest][]referrer.Signed
	// Verifier accepts what Sign signs and Attachments have. By it signatures that
	// are there already are known for the signer's own, and what is read back is
	// verified. It has to accept both forms: with a key and a transparency log of
	// version 2, whose entries the older form cannot tell, one that demands no log.
	Verifier *signing.Verifier
	// Verify says what else is demanded of what is read back about a manifest. Nil
	// demands nothing more.
	Verify func(ctx context.Context, manifest ocispecs.Descriptor, found *referrer.Found) error

	// Created is the time that referrers carry: that of the image, for the same
	// bytes each time.
	Created time.Time
	// Journal keeps signatures until they are pushed. Without it a release that was
	// killed between signing and pushing signs again.
	Journal *journal.Journal
	// Registry says how registries are asked. Its Notice is also told of fall-backs.
	Registry registry.Options
	// From are repositories where the image's layers may be already: those of its
	// base images. Only those in the same registry matter.
	From []name.Repository
	// Steps shows the work as one step, which is called Title.
	Steps *stage.Runner
	Title string
}

// Result says what became of a Request.
type Result struct {
	// Image is the digest that the tags name.
	Image digest.Digest `json:"image"`
	// Repositories are in the order in which the tags name them.
	Repositories []*Published `json:"repositories"`
}

// Published is an image in one repository.
type Published struct {
	Repository string `json:"repository"`
	// Order is the one that was used, and FellBack says why it is not the one that
	// was tried first.
	Order    Order  `json:"order"`
	FellBack string `json:"fellBack,omitempty"`
	// ReferrersAPI says whether the registry lists referrers itself.
	ReferrersAPI bool  `json:"referrersAPI"`
	Blobs        Blobs `json:"blobs"`
	// Signed counts the signatures and attestations that were pushed. Reused counts
	// those that were there.
	Signed int `json:"signed"`
	Reused int `json:"reused"`
	// Manifests counts the manifests of the image that were pushed.
	Manifests int `json:"manifests"`
	// Tags are in the order in which they were written.
	Tags []Tagged `json:"tags"`
}

// Blobs counts the blobs of the image, and of its signatures and attestations.
type Blobs struct {
	Pushed  int `json:"pushed"`
	Mounted int `json:"mounted"`
	Present int `json:"present"`
	// PushedBytes is the size of those that were pushed.
	PushedBytes int64 `json:"pushedBytes"`
}

// Tagged is a tag and what it names.
type Tagged struct {
	Tag    string        `json:"tag"`
	Digest digest.Digest `json:"digest"`
	// Was is what it named before: empty for a new tag, and Digest for one that was
	// right.
	Was digest.Digest `json:"was,omitempty"`
}

// TagExistsError says that a tag names another image, which stays.
type TagExistsError struct {
	Tag name.Tag
	// Has is what it names, and Want what it was to name.
	Has, Want digest.Digest
}

func (e *TagExistsError) Error() string {
	return fmt.Sprintf("%s names another image (%s, and not %s): what is published stays. Choose another tag, or move this one with --move-tag",
		e.Tag, e.Has, e.Want)
}

// RequestError says that a request cannot be carried out as it is.
type RequestError struct{ Err error }

func (e *RequestError) Error() string { return fmt.Sprintf("publish: %v", e.Err) }
func (e *RequestError) Unwrap() error { return e.Err }

// ReadBackError says that what was pushed is not what a stranger reads. No tag was
// written, and in OrderSignatureFirst no manifest of the image.
type ReadBackError struct {
	Repository string
	Manifest   digest.Digest
	Err        error
}

func (e *ReadBackError) Error() string {
	return fmt.Sprintf("read back what was pushed about %s@%s: %v. The image was not tagged; run the release again", e.Repository, e.Manifest, e.Err)
}
func (e *ReadBackError) Unwrap() error { return e.Err }
