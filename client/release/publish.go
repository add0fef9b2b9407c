package release

import (
	"context"
	"crypto/x509"
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
		for _, d := range attested(img) {
			r.Attachments[img.Image.Digest] = append(r.Attachments[img.Image.Digest], referrer.Signed{PredicateType: d.PredicateType})
		}
		r.Attachments[img.Image.Digest] = append(r.Attachments[img.Image.Digest], referrer.Signed{PredicateType: provenance.PredicateType})
	}
	p.planned, err = publish.NewPlan(r)
	return err
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
		if r.Attachments[img.Image.Digest], err = past.attestations(ctx, signer, img); err != nil {
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

// attest signs the documents about an image as attestations, and the provenance,
// which is one already.
func attest(ctx context.Context, signer *signing.Signer, img *ImageEvidence) ([]referrer.Signed, error) {
	documents := attested(img)
	out := make([]referrer.Signed, len(documents), len(documents)+1)
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(8)
	for i, d := range documents {
		group.Go(func() error {
			statement, err := provenance.Wrap(d.PredicateType, d.Data, image(img))
			if err != nil {
				return fmt.Errorf("attest %s: %w", d.Name, err)
			}
			out[i], err = referrer.Attest(gctx, signer, statement)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	for _, d := range img.Documents {
		if d.MediaType != artifact.TypeInToto {
			continue
		}
		i := slices.IndexFunc(img.signatures, func(s artifact.Artifact) bool { return s.Name == d.Name+artifact.EnvelopeSuffix })
		if i >= 0 {
			out = append(out, referrer.Signed{PredicateType: provenance.PredicateType, Bundle: img.signatures[i].Data})
			continue
		}
		signed, err := referrer.Attest(ctx, signer, d.Data)
		if err != nil {
			return nil, fmt.Errorf("attest %s: %w", d.Name, err)
		}
		out = append(out, signed)
	}
	return out, nil
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
