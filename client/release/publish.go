package release

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	digest "github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sigstore/sigstore-go/pkg/fulcio/certificate"
	"golang.org/x/sync/errgroup"

	"github.com/temper-images/temper/client/artifact"
	"github.com/temper-images/temper/client/build"
	"github.com/temper-images/temper/client/ocilayout"
	"github.com/temper-images/temper/client/provenance"
	"github.com/temper-images/temper/client/publish"
	"github.com/temper-images/temper/client/referrer"
	"github.com/temper-images/temper/client/registry"
	"github.com/temper-images/temper/client/registry/ecr"
	"github.com/temper-images/temper/client/signing"
	"github.com/temper-images/temper/frontend/config"
)

// Push says how an image is published, besides the settings.
type Push struct {
	// MoveTags lets tags move that name another image.
	MoveTags bool
	// DryRun ends the release before anything is signed, stored or pushed, with a plan.
	DryRun bool
	// Insecure allows HTTP, and HTTPS with a certificate that nobody vouches for.
	Insecure bool
}

// publication is what is published, and where.
type publication struct {
	Options
	tags  []name.Tag
	dry   bool
	image *publish.Image

	published *publish.Result
	planned   *publish.Plan
}

// publication reads the tags that the image is to have. It is nil when it is to have
// none.
func (o Options) publication(r *build.Request) (*publication, error) {
	if o.Push == nil || len(r.Tags) == 0 {
		return nil, nil
	}
	p := &publication{Options: o, dry: o.Push.DryRun}
	var opts []name.Option
	if o.Push.Insecure {
		opts = append(opts, name.Insecure)
	}
	for _, list := range r.Tags {
		for t := range strings.SplitSeq(list, ",") {
			tag, err := name.NewTag(t, opts...)
			if err != nil {
				return nil, &build.InputError{Err: fmt.Errorf("tag %q: %w", t, err)}
			}
			if tag.TagStr() == name.DefaultTag {
				return nil, &build.InputError{Err: fmt.Errorf("tag %q: latest says nothing of what it names, and is not published; name a version, as %s:1.2.3", t, tag.Repository)}
			}
			p.tags = append(p.tags, tag)
		}
	}
	if o.Settings.Sign.Key == "" && !o.Settings.Remote {
		return nil, &build.InputError{Err: errors.New("an image that is published is signed: name a key with --key or sign.key (temper key generate makes one, keyless needs none), or give --no-push to only name the image in its layout")}
	}
	return p, nil
}

// open reads the image that was built.
func (p *publication) open(ctx context.Context, layout, top string) error {
	l, err := ocilayout.Open(layout)
	if err != nil {
		return err
	}
	desc, err := l.Resolve(top)
	if err := errors.Join(err, l.Close()); err != nil {
		return fmt.Errorf("publish %s: %w", layout, err)
	}
	p.image, err = publish.Read(ctx, layout, desc, p.Settings.Push.Plain)
	return err
}

// request is everything about a publication that needs no signer.
func (p *publication) request() *publish.Request {
	c := p.Settings.Push
	return &publish.Request{
		Image: p.image, Tags: p.tags, ArchTags: c.ArchTags, MoveTags: p.Push.MoveTags, Order: publish.Order(c.Order),
		Formats: referrer.Formats{
			Bundle: slices.Contains(c.Formats, config.FormatBundle), Cosign: slices.Contains(c.Formats, config.FormatCosign),
		},
		Attachments: map[digest.Digest][]referrer.Signed{},
		Registry:    registry.Options{Keychain: p.Keychain, Insecure: p.Push.Insecure, Create: ecr.Creator{}},
		Steps:       p.Steps, Title: "[publish] sign, push and tag",
	}
}

// plan says what would be done.
func (p *publication) plan(e *Evidence) (err error) {
	r := p.request()
	for _, img := range e.Images {
		on := []digest.Digest{img.Image.Digest}
		if index := p.index(img); index != "" {
			r.Attachments[index] = append(r.Attachments[index], referrer.Signed{PredicateType: provenance.PredicateType})
			if len(e.Images) == 1 {
				on = append(on, index)
			}
		}
		for _, d := range on {
			for _, a := range attested(img) {
				r.Attachments[d] = append(r.Attachments[d], referrer.Signed{PredicateType: a.PredicateType})
			}
		}
		r.Attachments[img.Image.Digest] = append(r.Attachments[img.Image.Digest], referrer.Signed{PredicateType: provenance.PredicateType})
	}
	p.planned, err = publish.NewPlan(r)
	return err
}

// index is the digest of the index that the tags name, or empty when they name the
// image.
func (p *publication) index(img *ImageEvidence) digest.Digest {
	if p.image.Top.Digest == img.Image.Digest {
		return ""
	}
	return p.image.Top.Digest
}

// run publishes.
func (p *publication) run(ctx context.Context, e *Evidence, signer *signing.Signer, past *past) (err error) {
	if signer == nil {
		return &build.InputError{Err: errors.New("an image that is published is signed: name a key with sign.key")}
	}
	r := p.request()
	if r.Verifier, err = p.verifier(ctx, signer); err != nil {
		return err
	}
	r.Sign = func(ctx context.Context, reference string, manifest ocispecs.Descriptor) (referrer.Signed, error) {
		return referrer.SignImage(ctx, signer, reference, manifest)
	}
	var created time.Time
	for _, img := range e.Images {
		if img.Image.Created.After(created) {
			created = img.Image.Created
		}
		if err := p.attest(ctx, r, signer, img, past, len(e.Images) == 1); err != nil {
			return err
		}
		r.From = append(r.From, bases(img)...)
	}
	r.Created, r.Journal = created, past.journalOf()
	p.published, err = publish.Run(ctx, r)
	return err
}

// verifier accepts what the signer signs, and nobody else.
func (p *publication) verifier(ctx context.Context, signer *signing.Signer) (*signing.Verifier, error) {
	if v, err := signer.Verifier(); v != nil || err != nil {
		return v, err
	}
	whom, err := identity(signer)
	if err != nil {
		return nil, err
	}
	o, err := p.signing(ctx)
	if err != nil {
		return nil, err
	}
	return signing.NewVerifier(ctx, signing.VerifyOptions{
		Identities: []signing.Identity{whom},
		TLog:       o.TLog, Sigstore: o.Sigstore,
	})
}

// identity is whom the certificates of a keyless signer name.
func identity(signer *signing.Signer) (signing.Identity, error) {
	cert, err := x509.ParseCertificate(signer.Certificate())
	if err != nil {
		return signing.Identity{}, fmt.Errorf("read the certificate of the signer: %w", err)
	}
	whom, err := certificate.SummarizeCertificate(cert)
	if err != nil {
		return signing.Identity{}, fmt.Errorf("read the certificate of the signer: %w", err)
	}
	return signing.Identity{Subject: whom.SubjectAlternativeName, Issuer: whom.Issuer}, nil
}

// attested are the documents that are attested beside the image. BuildKit's own
// provenance is none of them: what the builder says of itself is not signed as if we
// had seen it.
func attested(img *ImageEvidence) []artifact.Artifact {
	var out []artifact.Artifact
	for _, d := range img.Documents {
		if d.PredicateType != "" && !strings.HasPrefix(d.PredicateType, slsaPrefix) {
			out = append(out, d)
		}
	}
	return out
}

// attest signs the documents about an image as attestations, and the provenance, which
// is one already. Verifiers that are given a tag look at the index that it names, so the
// index has the provenance of each image; and everything, where it lists a single one.
func (p *publication) attest(ctx context.Context, r *publish.Request, signer *signing.Signer, img *ImageEvidence, past *past, single bool) error {
	index := p.index(img)
	single = single && index != ""
	subjects := []provenance.Image{image(img)}
	if single {
		subjects = append(subjects, provenance.Image{Name: image(img).Name, Digest: index})
	}
	documents, err := past.attestations(ctx, signer, attested(img), subjects)
	if err != nil {
		return err
	}
	list := r.Attachments[img.Image.Digest]
	list = append(list, documents...)
	for _, d := range img.Documents {
		if d.MediaType != artifact.TypeInToto {
			continue
		}
		signed, err := statement(ctx, signer, img, d)
		if err != nil {
			return fmt.Errorf("attest %s: %w", d.Name, err)
		}
		list = append(list, signed)
		if index == "" {
			continue
		}
		predicate, err := predicateOf(d)
		if err != nil {
			return fmt.Errorf("attest %s: %w", d.Name, err)
		}
		more, err := past.attestations(ctx, signer, []artifact.Artifact{predicate}, []provenance.Image{{Name: image(img).Name, Digest: index}})
		if err != nil {
			return err
		}
		r.Attachments[index] = append(r.Attachments[index], more...)
	}
	r.Attachments[img.Image.Digest] = list
	if single {
		r.Attachments[index] = append(r.Attachments[index], documents...)
	}
	return nil
}

// statement is a document that is a statement, signed; as it was signed for the
// evidence store, where it was.
func statement(ctx context.Context, signer *signing.Signer, img *ImageEvidence, d artifact.Artifact) (referrer.Signed, error) {
	i := slices.IndexFunc(img.signatures, func(s artifact.Artifact) bool { return s.Name == d.Name+artifact.EnvelopeSuffix })
	if i >= 0 {
		return referrer.Signed{PredicateType: provenance.PredicateType, Bundle: img.signatures[i].Data}, nil
	}
	return referrer.Attest(ctx, signer, d.Data)
}

// predicateOf is the predicate of a statement, to be said about another image.
func predicateOf(d artifact.Artifact) (artifact.Artifact, error) {
	var s struct {
		PredicateType string          `json:"predicateType"`
		Predicate     json.RawMessage `json:"predicate"`
	}
	if err := json.Unmarshal(d.Data, &s); err != nil {
		return d, err
	}
	d.PredicateType, d.Data = s.PredicateType, s.Predicate
	return d, nil
}

// attest signs documents as attestations about images.
func attest(ctx context.Context, signer *signing.Signer, documents []artifact.Artifact, images []provenance.Image) ([]referrer.Signed, error) {
	out := make([]referrer.Signed, len(documents))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(8)
	for i, d := range documents {
		group.Go(func() error {
			statement, err := provenance.Wrap(d.PredicateType, d.Data, images...)
			if err != nil {
				return fmt.Errorf("attest %s: %w", d.Name, err)
			}
			out[i], err = referrer.Attest(ctx, signer, statement)
			return err
		})
	}
	return out, group.Wait()
}

// bases are the repositories of the images that the build began with, whose layers
// a registry may have already.
func bases(img *ImageEvidence) []name.Repository {
	if img.buildkit == nil {
		return nil
	}
	var out []name.Repository
	for _, d := range img.buildkit.Dependencies {
		if d.Kind != provenance.KindImage {
			continue
		}
		if ref, err := name.ParseReference(d.Name); err == nil {
			out = append(out, ref.Context())
		}
	}
	return out
}
