package publish

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"

	"github.com/google/go-containerregistry/pkg/name"
	digest "github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/singleflight"

	"github.com/temper-images/temper/client/journal"
	"github.com/temper-images/temper/client/referrer"
	"github.com/temper-images/temper/client/registry"
	"github.com/temper-images/temper/client/stage"
)

// parallel is how many requests are under way at once in one repository.
const parallel = 8

// Run publishes. When it returns without an error, every tag names the image, and
// all signatures and attestations were read back and verified. After an error, or
// the end of the process at any point, it can be run again with the same request.
// Errors are *RequestError, *TagExistsError, *ReadBackError, those of package
// registry and of Sign, or of the context.
func Run(ctx context.Context, r *Request) (*Result, error) {
	targets, err := r.targets()
	if err != nil {
		return nil, err
	}
	if r.Sign == nil || r.Verifier == nil {
		return nil, &RequestError{errors.New("nobody signs the image: name a key (sign.key, --sign-key), for what is published is signed")}
	}
	result := &Result{Image: r.Image.Top.Digest}
	err = r.Steps.Run(ctx, r.Title, stage.Publish, func(ctx context.Context, s *stage.Step) error {
		if err := r.run(ctx, targets, s, result); err != nil {
			return err
		}
		s.Set(result.facts()...)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return result, nil
}

func (r *Request) run(ctx context.Context, targets []target, s *stage.Step, result *Result) error {
	all := make([]*publication, 0, len(targets))
	for _, t := range targets {
		p, err := r.open(ctx, t, s)
		if err != nil {
			return err
		}
		all = append(all, p)
		result.Repositories = append(result.Repositories, p.out)
	}
	// Every repository is ready before the first tag is written. Blobs that are in
	// one are mounted into the next.
	for i, p := range all {
		for _, before := range all[:i] {
			p.from = append(p.from, before.repo.Name())
		}
		if err := p.prepare(ctx); err != nil {
			return err
		}
	}
	for _, p := range all {
		if err := p.writeTags(ctx); err != nil {
			return err
		}
	}
	for _, p := range all {
		if err := p.finish(ctx); err != nil {
			return err
		}
	}
	return nil
}

// publication is the work in one repository.
type publication struct {
	r    *Request
	t    target
	repo *registry.Repository
	step *stage.Step
	out  *Published
	// formats are the forms that are written.
	formats referrer.Formats
	// from are repositories that blobs are mounted from.
	from     []name.Repository
	subjects []*subject
	// verified are the results of what was verified, by the digest of the bundle, and
	// there are the digests of the blobs that the registry has. flights has each done
	// once at a time.
	verified, there sync.Map
	flights         singleflight.Group
}

// subject is a manifest of the image, and what is to stand beside it.
type subject struct {
	*Manifest
	// present says that the registry has the manifest.
	present bool
	items   []*item
	// found is what was read last, and wrote says that something was written since
	// the subject was first read.
	found *referrer.Found
	wrote bool
	// tagged says that what is missing under Cosign's tags was written since found
	// was read, and pushed has the referrers that were.
	tagged bool
	pushed map[digest.Digest]bool
	// tags are what the tags beside the manifest named before found was read, by tag.
	tags map[string]string
}

// descriptor is the manifest's as signatures have it.
func (s *subject) descriptor() ocispecs.Descriptor {
	d := s.Manifest.Descriptor
	return ocispecs.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size}
}

func (r *Request) open(ctx context.Context, t target, s *stage.Step) (*publication, error) {
	o := r.Registry
	notice := o.Notice
	o.Notice = func(text string) {
		s.Log(text)
		if notice != nil {
			notice(text)
		}
	}
	repo, err := registry.Open(ctx, t.repo, o)
	if err != nil {
		return nil, err
	}
	order, err := ParseOrder(string(r.Order))
	if err != nil {
		return nil, &RequestError{err}
	}
	p := &publication{
		r: r, t: t, repo: repo, step: s, formats: all(r.Formats), from: r.mounts(),
		out: &Published{Repository: t.repo.String(), Order: order, Tags: []Tagged{}},
	}
	if order == OrderAuto {
		p.out.Order = OrderSignatureFirst
	}
	for i := range r.Image.Manifests {
		p.subjects = append(p.subjects, &subject{Manifest: &r.Image.Manifests[i]})
	}
	return p, nil
}

// prepare does everything but the tags.
func (p *publication) prepare(ctx context.Context) error {
	if err := p.checkTags(ctx); err != nil {
		return err
	}
	api, err := p.repo.HasReferrersAPI(ctx)
	if err != nil {
		return err
	}
	p.out.ReferrersAPI = api
	if err := p.each(ctx, p.subjects, p.head); err != nil {
		return err
	}
	// To look into what is signed takes processors, signing asks other services, and
	// pushing the registry.
	group, both := errgroup.WithContext(ctx)
	group.Go(func() error {
		if err := p.each(both, p.subjects, p.look); err != nil {
			return err
		}
		return p.each(both, p.subjects, p.sign)
	})
	group.Go(func() error { return p.pushBlobs(both) })
	if err := group.Wait(); err != nil {
		return err
	}
	// Of a repository that did not exist some registries do not tell.
	if p.out.ReferrersAPI, err = p.repo.HasReferrersAPI(ctx); err != nil {
		return err
	}
	return p.pushManifests(ctx)
}

// head finds out whether the registry has a manifest.
func (p *publication) head(ctx context.Context, s *subject) error {
	_, err := p.repo.Head(ctx, s.Descriptor.Digest.String())
	switch {
	case err == nil:
		s.present = true
	case !errors.Is(err, registry.ErrNotFound):
		return err
	}
	return nil
}

// look finds out what is to stand beside a manifest, and what does.
func (p *publication) look(ctx context.Context, s *subject) error {
	if err := p.expect(ctx, s); err != nil {
		return err
	}
	return p.read(ctx, s)
}

// pushManifests pushes what was signed and the manifests, in the order that was
// asked for.
func (p *publication) pushManifests(ctx context.Context) error {
	if p.out.Order == OrderSignatureFirst {
		err := p.signatureFirst(ctx)
		reason := p.refusal(err)
		switch {
		case reason != "":
		case registry.IsAbsentSubject(err):
			return fmt.Errorf("%w. It takes no signatures of a manifest that is not there: publish in the order %s or %s", err, OrderAuto, OrderDigestFirst)
		default:
			return err
		}
		p.out.Order, p.out.FellBack = OrderDigestFirst, reason
		p.say("%s: %s: the manifests are pushed by digest first, then what is signed about them, then the tags", p.out.Repository, reason)
	}
	return p.digestFirst(ctx)
}

// refusal says why signatures cannot come first here, when an error means that and
// the order may be changed.
func (p *publication) refusal(err error) string {
	var unlisted *unlistedError
	switch {
	case err == nil || p.r.Order == OrderSignatureFirst:
		return ""
	case errors.As(err, &unlisted):
		return "the registry does not list signatures of a manifest that is not there"
	case registry.IsAbsentSubject(err):
		return fmt.Sprintf("the registry takes no signatures of a manifest that is not there (%v)", err)
	}
	return ""
}

func (p *publication) signatureFirst(ctx context.Context) error {
	if err := p.each(ctx, p.subjects, p.complete); err != nil {
		return err
	}
	return p.inOrder(ctx, p.pushManifest)
}

// digestFirst pushes each manifest and right after it what is signed about it.
// Cosign's tags need no subject, and come before it here too.
func (p *publication) digestFirst(ctx context.Context) error {
	err := p.each(ctx, p.subjects, func(ctx context.Context, s *subject) error { return p.attachTagged(ctx, s) })
	if err != nil {
		return err
	}
	return p.inOrder(ctx, func(ctx context.Context, s *subject) error {
		if err := p.pushManifest(ctx, s); err != nil {
			return err
		}
		return p.complete(ctx, s)
	})
}

// inOrder does something with every manifest, and with an index after what it
// lists.
func (p *publication) inOrder(ctx context.Context, f func(context.Context, *subject) error) error {
	var images []*subject
	for _, s := range p.subjects {
		if !s.IsIndex() {
			images = append(images, s)
		}
	}
	if err := p.each(ctx, images, f); err != nil {
		return err
	}
	for _, s := range p.subjects {
		if s.IsIndex() {
			if err := f(ctx, s); err != nil {
				return err
			}
		}
	}
	return nil
}

// each does something with manifests, several at once.
func (p *publication) each(ctx context.Context, list []*subject, f func(context.Context, *subject) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for _, s := range list {
		group.Go(func() error { return f(ctx, s) })
	}
	return group.Wait()
}

// pushManifest pushes a manifest by its digest.
func (p *publication) pushManifest(ctx context.Context, s *subject) error {
	if s.present {
		return nil
	}
	d := s.Descriptor
	err := p.note("manifest", d.Digest.String(), func() error {
		return p.repo.PutManifest(ctx, d.Digest.String(), d.MediaType, s.Data)
	})
	if err != nil {
		return fmt.Errorf("push the manifest %s: %w", d.Digest, err)
	}
	s.present = true
	p.count(func(out *Published) { out.Manifests++ })
	return nil
}

// note does something that changes the registry, and has the journal say so before
// and after it: for people, since another run asks the registry what it has.
func (p *publication) note(op, on string, f func() error) error {
	if p.r.Journal == nil {
		return f()
	}
	record := journal.Record{Op: op, On: p.out.Repository + " " + on, State: "started"}
	if err := p.r.Journal.Note(record); err != nil {
		return err
	}
	if err := f(); err != nil {
		return err
	}
	record.State = "done"
	return p.r.Journal.Note(record)
}

func (p *publication) say(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	p.step.Log(text)
	if p.r.Registry.Notice != nil {
		p.r.Registry.Notice(text)
	}
}

// facts are those of the step's record.
func (r *Result) facts() []slog.Attr {
	var names, orders []string
	var b Blobs
	signed, reused, tags := 0, 0, 0
	for _, p := range r.Repositories {
		names, orders = append(names, p.Repository), append(orders, string(p.Order))
		b.Pushed += p.Blobs.Pushed
		b.Mounted += p.Blobs.Mounted
		b.Present += p.Blobs.Present
		b.PushedBytes += p.Blobs.PushedBytes
		signed, reused = signed+p.Signed, reused+p.Reused
		tags += len(p.Tags)
	}
	return []slog.Attr{
		slog.String("image", r.Image.String()), slog.String("repository", strings.Join(names, ", ")),
		slog.String("order", strings.Join(orders, ", ")), slog.Int("uploaded", b.Pushed), slog.Int("mounted", b.Mounted),
		slog.Int("unchanged", b.Present), slog.Int64("size_bytes", b.PushedBytes),
		slog.Int("signatures", signed), slog.Int("reused", reused), slog.Int("tags", tags),
	}
}
