// Package verify holds a published image against a policy: who signed it, where it
// comes from, and what is known of it. It reads everything by digest, and believes
// nothing that is not signed by one whom the policy names.
package verify

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/containerd/platforms"
	digest "github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/temper-images/temper/client/referrer"
	"github.com/temper-images/temper/client/registry"
	"github.com/temper-images/temper/client/signing"
)

// Options say how an image is verified.
type Options struct {
	// Policy is what the image must have.
	Policy Policy
	// Signers verify the signatures that count; any of them will do. They are
	// Policy.Verifiers where the caller has none of its own.
	Signers []*signing.Verifier
	// Image is what the report calls the image: its name without tag and digest.
	Image string
	// Now is the time against which ages are held.
	Now time.Time
	// Progress is told how many manifests are done. It may be nil. Calls may come from
	// several goroutines at once.
	Progress func(done, total int)
}

// Bounds of an index and of what is done side by side.
const (
	maxManifest = 4 << 20
	maxImages   = 1000
	parallel    = 8
)

// platformIndex stands for an index in Subject.Platform.
const platformIndex = "index"

// NotFoundError says that there is no such image.
type NotFoundError struct {
	// Ref is the digest or tag that was asked for.
	Ref string
	Err error
}

func (e *NotFoundError) Error() string {
	return fmt.Sprintf("%s: there is no such image: %v", e.Ref, e.Err)
}
func (e *NotFoundError) Unwrap() error { return e.Err }

// Resolve is the digest of the image that a tag or digest names now.
func Resolve(ctx context.Context, src referrer.Source, ref string) (digest.Digest, error) {
	desc, data, err := src.Manifest(ctx, ref)
	if err != nil {
		return "", missing(ref, err)
	}
	if got := desc.Digest.Algorithm().FromBytes(data); got != desc.Digest {
		return "", &registry.DigestError{Want: desc.Digest, Got: got}
	}
	return desc.Digest, nil
}

// missing is err as a *NotFoundError where it says that something is not there.
func missing(ref string, err error) error {
	if errors.Is(err, registry.ErrNotFound) {
		return &NotFoundError{Ref: ref, Err: err}
	}
	return err
}

// Image verifies the image whose manifest or index has that digest, with all images
// of an index that the policy wants. What is wrong with the image is in the report,
// see Report.Err. Errors are of the source (a listing that was throttled or refused is
// one), a *NotFoundError, a *PolicyError, or of the context.
func Image(ctx context.Context, src referrer.Source, top digest.Digest, o Options) (*Report, error) {
	if err := o.Policy.Check(); err != nil {
		return nil, err
	}
	if len(o.Signers) == 0 {
		return nil, &PolicyError{Field: "signers", Err: errors.New("say whose signatures are accepted: a key, or an identity and its issuer")}
	}
	policy, err := o.Policy.Digest()
	if err != nil {
		return nil, err
	}
	r := &Report{Image: o.Image, Digest: top, Time: o.Now.UTC(), Policy: policy, Required: o.Policy.Required(), Attestations: []Attestation{}}
	subjects, err := o.subjects(ctx, src, top)
	if err != nil {
		return nil, err
	}
	r.Subjects = make([]Subject, len(subjects))
	counted := make([][]Attestation, len(subjects))
	var done atomic.Int32
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for i, s := range subjects {
		group.Go(func() (err error) {
			s.top = top
			if r.Subjects[i], counted[i], err = o.subject(gctx, src, s); err != nil {
				return fmt.Errorf("verify %s: %w", s.desc.Digest, err)
			}
			if o.Progress != nil {
				o.Progress(int(done.Add(1)), len(subjects))
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	r.Attestations = append(r.Attestations, slices.Concat(counted...)...)
	r.conclude()
	return r, nil
}

// target is a manifest that is to be verified.
type target struct {
	desc     ocispecs.Descriptor
	platform string
	// top is the digest of what was asked for.
	top digest.Digest
	// absent says that the index lists it and the source does not have it.
	absent bool
}

// manifest is what is read of a manifest or an index.
type manifest struct {
	MediaType string                `json:"mediaType"`
	Config    *ocispecs.Descriptor  `json:"config"`
	Layers    []ocispecs.Descriptor `json:"layers"`
	Manifests []ocispecs.Descriptor `json:"manifests"`
}

// read gets a manifest and checks that it is the one.
func read(ctx context.Context, src referrer.Source, want digest.Digest) (ocispecs.Descriptor, *manifest, error) {
	if err := want.Validate(); err != nil {
		return ocispecs.Descriptor{}, nil, fmt.Errorf("digest %q: %w", want, err)
	}
	desc, data, err := src.Manifest(ctx, want.String())
	if err != nil {
		return desc, nil, missing(want.String(), err)
	}
	if got := want.Algorithm().FromBytes(data); got != want || desc.Digest != want {
		return desc, nil, &registry.DigestError{Want: want, Got: got}
	}
	if len(data) > maxManifest {
		return desc, nil, fmt.Errorf("manifest %s has more than %d bytes", want, maxManifest)
	}
	var m manifest
	if err := json.Unmarshal(data, &m); err != nil {
		return desc, nil, fmt.Errorf("manifest %s is none: %w", want, err)
	}
	if m.Manifests != nil == (m.Config != nil || m.Layers != nil) {
		// What reads as both is deployed as one and verified as the other.
		return desc, nil, fmt.Errorf("manifest %s is neither an image nor an index", want)
	}
	desc.MediaType = cmp.Or(m.MediaType, desc.MediaType)
	return desc, &m, nil
}

// subjects are the manifests to verify: the index, and the images in it that are
// wanted.
func (o *Options) subjects(ctx context.Context, src referrer.Source, top digest.Digest) ([]target, error) {
	desc, m, err := read(ctx, src, top)
	if err != nil {
		return nil, err
	}
	if m.Manifests == nil {
		t := target{desc: desc}
		if len(o.Policy.Platforms) > 0 && m.Config != nil {
			if t.platform, err = platformOf(ctx, src, *m.Config); err != nil {
				return nil, err
			}
		}
		return o.chosen([]target{t})
	}
	if len(m.Manifests) > maxImages {
		return nil, fmt.Errorf("index %s lists %d manifests, more than %d", top, len(m.Manifests), maxImages)
	}
	var images []target
	for _, d := range m.Manifests {
		if isAttached(d) || slices.ContainsFunc(images, func(t target) bool { return t.desc.Digest == d.Digest }) {
			continue
		}
		images = append(images, target{desc: d, platform: platformName(d.Platform)})
	}
	if len(images) == 0 {
		return nil, fmt.Errorf("index %s lists no image", top)
	}
	if images, err = o.chosen(images); err != nil {
		return nil, err
	}
	for i := range images {
		if err := images[i].look(ctx, src); err != nil {
			return nil, err
		}
	}
	return append([]target{{desc: desc, platform: platformIndex}}, images...), nil
}

// look reads an image's manifest, which whoever deploys it will read, too.
func (t *target) look(ctx context.Context, src referrer.Source) error {
	desc, m, err := read(ctx, src, t.desc.Digest)
	switch {
	case errors.Is(err, registry.ErrNotFound):
		t.absent = true
		return nil
	case err != nil:
		return err
	case m.Manifests != nil:
		return fmt.Errorf("index in an index: %s is one, and only images are verified", t.desc.Digest)
	}
	t.desc.MediaType = desc.MediaType
	return nil
}

// maxConfig bounds the configuration of an image, in bytes.
const maxConfig = 8 << 20

// platformOf is the platform in an image's configuration, or empty.
func platformOf(ctx context.Context, src referrer.Source, config ocispecs.Descriptor) (_ string, err error) {
	rd, err := src.Blob(ctx, config)
	if err != nil {
		return "", fmt.Errorf("configuration of the image: %w", err)
	}
	defer func() { err = errors.Join(err, rd.Close()) }()
	dt, err := io.ReadAll(io.LimitReader(rd, maxConfig+1))
	switch {
	case err != nil:
		return "", fmt.Errorf("configuration of the image: %w", err)
	case len(dt) > maxConfig:
		return "", fmt.Errorf("configuration of the image has more than %d bytes", maxConfig)
	case config.Digest.Validate() != nil:
		return "", fmt.Errorf("configuration of the image: digest %q", config.Digest)
	}
	if got := config.Digest.Algorithm().FromBytes(dt); got != config.Digest {
		return "", &registry.DigestError{Want: config.Digest, Got: got}
	}
	var p ocispecs.Platform
	if err := json.Unmarshal(dt, &p); err != nil {
		return "", fmt.Errorf("configuration of the image is none: %w", err)
	}
	return platformName(&p), nil
}

// isAttached says that an entry of an index is no image but what BuildKit attached
// to one (moby/buildkit, docs/attestations/attestation-storage.md). The index's
// signature covers it.
func isAttached(d ocispecs.Descriptor) bool {
	return d.Annotations["vnd.docker.reference.type"] == "attestation-manifest"
}

// platformName is "linux/amd64".
func platformName(p *ocispecs.Platform) string {
	if p == nil || p.OS == "" || p.Architecture == "" {
		return ""
	}
	return platforms.Format(platforms.Normalize(*p))
}

// chosen are the targets of the platforms that the policy wants.
func (o *Options) chosen(all []target) ([]target, error) {
	if len(o.Policy.Platforms) == 0 {
		return all, nil
	}
	var out []target
	for i, name := range o.Policy.Platforms {
		p, err := platforms.Parse(name)
		if err != nil {
			return nil, &PolicyError{Field: fmt.Sprintf("platforms[%d]", i), Err: err}
		}
		want := platforms.Format(platforms.Normalize(p))
		found := slices.IndexFunc(all, func(t target) bool { return t.platform == want })
		if found < 0 {
			var have []string
			for _, t := range all {
				have = append(have, cmp.Or(t.platform, "one without a platform"))
			}
			return nil, &NotFoundError{Ref: want, Err: fmt.Errorf("it has %s", strings.Join(have, ", "))}
		}
		if !slices.ContainsFunc(out, func(t target) bool { return t.desc.Digest == all[found].desc.Digest }) {
			out = append(out, all[found])
		}
	}
	return out, nil
}
