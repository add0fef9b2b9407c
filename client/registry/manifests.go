package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	digest "github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// accepted are the media types of manifests.
var accepted = strings.Join([]string{
	ocispecs.MediaTypeImageIndex,
	ocispecs.MediaTypeImageManifest,
	"application/vnd.docker.distribution.manifest.list.v2+json",
	"application/vnd.docker.distribution.manifest.v2+json",
}, ", ")

const dockerContentDigest = "Docker-Content-Digest"

// checkReference takes what distribution-spec takes for a reference: a tag or a digest.
func (r *Repository) checkReference(ref string) (digest.Digest, error) {
	if strings.Contains(ref, ":") {
		d, err := digest.Parse(ref)
		if err != nil {
			return "", fmt.Errorf("%q is no digest: %w", plain(ref, 200), err)
		}
		return d, nil
	}
	if _, err := name.NewTag(r.name.Name()+":"+ref, name.StrictValidation); err != nil {
		return "", fmt.Errorf("%q is no tag: %w", plain(ref, 200), err)
	}
	return "", nil
}

// Head finds the descriptor of the manifest that a tag or digest names, without
// reading it: of a tag, the digest is what the registry says. The error is ErrNotFound
// when there is none.
func (r *Repository) Head(ctx context.Context, ref string) (ocispecs.Descriptor, error) {
	want, err := r.checkReference(ref)
	if err != nil {
		return ocispecs.Descriptor{}, err
	}
	u := r.url("manifests", ref)
	resp, err := r.do(ctx, request{method: http.MethodHead, url: u, header: http.Header{"Accept": {accepted}}}, http.StatusOK)
	if s := (*StatusError)(nil); errors.As(err, &s) && s.Status == http.StatusMethodNotAllowed {
		desc, _, err := r.Manifest(ctx, ref)
		return desc, err
	}
	if err != nil {
		return ocispecs.Descriptor{}, err
	}
	resp.Body.Close()
	got := want
	if h := resp.Header.Get(dockerContentDigest); h != "" {
		if got, err = digest.Parse(h); err != nil {
			return ocispecs.Descriptor{}, fmt.Errorf("HEAD %s: the answer's digest is none: %w", public(u), err)
		}
	}
	mediaType := mediaTypeOf(resp.Header)
	if got == "" || resp.ContentLength < 0 || mediaType == "" {
		// Not every registry says all that (ECR), or with HEAD.
		desc, _, err := r.Manifest(ctx, ref)
		return desc, err
	}
	if want != "" && got != want && got.Algorithm() == want.Algorithm() {
		return ocispecs.Descriptor{}, &DigestError{public(u), want, got}
	}
	if want != "" {
		got = want
	}
	if err := noTag(u, ref, got); err != nil {
		return ocispecs.Descriptor{}, err
	}
	return ocispecs.Descriptor{MediaType: mediaType, Digest: got, Size: resp.ContentLength}, nil
}

// DigestError says that a registry gave other content than was asked for.
type DigestError struct {
	// URL is where, without a query.
	URL string
	// Want and Got are digests.
	Want, Got digest.Digest
}

func (e *DigestError) Error() string {
	return fmt.Sprintf("%s: the content has the digest %s, not %s: it was damaged or exchanged", e.URL, e.Got, e.Want)
}

// noTag tells answers of registries that take the tag sha256-HEX for the digest
// sha256:HEX (GitLab). Whoever asks for that tag wants the list of what refers to that
// manifest; taken for it, the manifest's own children would be.
func noTag(u *url.URL, ref string, got digest.Digest) error {
	if strings.Contains(ref, ":") || ref != strings.Replace(got.String(), ":", "-", 1) {
		return nil
	}
	return fmt.Errorf("%s: the registry takes the tag for the digest: %w", public(u), ErrNotFound)
}

func mediaTypeOf(header http.Header) string {
	t, _, err := mime.ParseMediaType(header.Get("Content-Type"))
	if err != nil {
		return ""
	}
	return t
}

// Manifest reads the manifest that a tag or digest names, of at most MaxManifest
// bytes. Its digest is what was asked for or, by a tag, what the registry says it is;
// the error is a *DigestError otherwise, and ErrNotFound when there is none.
func (r *Repository) Manifest(ctx context.Context, ref string) (ocispecs.Descriptor, []byte, error) {
	want, err := r.checkReference(ref)
	if err != nil {
		return ocispecs.Descriptor{}, nil, err
	}
	u := r.url("manifests", ref)
	header, dt, err := r.fetch(ctx, u, accepted, MaxManifest)
	if err != nil {
		return ocispecs.Descriptor{}, nil, err
	}
	if want == "" {
		if want, err = digest.Parse(header.Get(dockerContentDigest)); err != nil {
			want = digest.FromBytes(dt) // not every registry says it
		}
	}
	if got := want.Algorithm().FromBytes(dt); got != want {
		return ocispecs.Descriptor{}, nil, &DigestError{public(u), want, got}
	}
	if err := noTag(u, ref, want); err != nil {
		return ocispecs.Descriptor{}, nil, err
	}
	mediaType, err := manifestType(dt, mediaTypeOf(header))
	if err != nil {
		return ocispecs.Descriptor{}, nil, fmt.Errorf("GET %s: %w", public(u), err)
	}
	return ocispecs.Descriptor{MediaType: mediaType, Digest: want, Size: int64(len(dt))}, dt, nil
}

// manifestType finds the media type of a manifest, which is its own word where it says
// one. A document that can be read as an image and as an index is refused
// (distribution-spec, GHSA-mc8v-mgrf-8f4m).
func manifestType(dt []byte, header string) (string, error) {
	var m struct {
		MediaType string          `json:"mediaType"`
		Manifests json.RawMessage `json:"manifests"`
		Config    json.RawMessage `json:"config"`
		Layers    json.RawMessage `json:"layers"`
	}
	if err := json.Unmarshal(dt, &m); err != nil {
		return "", errors.New("it is no manifest: it is not a JSON object")
	}
	if m.Manifests != nil && (m.Config != nil || m.Layers != nil) {
		return "", errors.New("it is neither an image nor an index, but something of both")
	}
	t := header
	if m.MediaType != "" {
		t = m.MediaType
	}
	if len(t) > 255 || t == "" {
		return "", errors.New("it is no manifest: it has no media type")
	}
	return t, nil
}

// PutManifest pushes a manifest of at most MaxManifest bytes under a tag or under its
// digest. When the answer is lost, or the registry fails after it took it, the registry
// is asked whether it has it. Pushing what is there already is no error, whatever the
// registry thinks of it; IsAbsentSubject and IsImmutableTag tell two common errors.
func (r *Repository) PutManifest(ctx context.Context, ref, mediaType string, data []byte) error {
	want, err := r.checkReference(ref)
	if err != nil {
		return err
	}
	if len(data) > MaxManifest {
		return fmt.Errorf("push manifest %s of %s: it has %d bytes, of which registries take %d at most", ref, r.name, len(data), MaxManifest)
	}
	if want == "" {
		want = digest.FromBytes(data)
	} else if got := want.Algorithm().FromBytes(data); got != want {
		return fmt.Errorf("push manifest %s of %s: its digest is %s", ref, r.name, got)
	}
	u := r.url("manifests", ref)
	q := request{
		method: http.MethodPut, url: u, push: true,
		header: http.Header{"Content-Type": {mediaType}},
		body:   func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil },
		size:   int64(len(data)),
	}
	for attempt := 1; ; attempt++ {
		resp, err := r.do(ctx, q, http.StatusCreated, http.StatusOK, http.StatusAccepted)
		if err == nil {
			return stored(resp, u, want)
		}
		if ctx.Err() != nil {
			return err
		}
		last := attempt >= r.o.Retry.Attempts
		switch {
		case lost(err):
			desc, herr := r.Head(ctx, ref)
			if herr == nil && desc.Digest == want {
				return nil
			}
			if last || lost(herr) {
				return err
			}
			if err := r.pause(ctx, attempt, err); err != nil {
				return err
			}
		case IsImmutableTag(err):
			if desc, herr := r.Head(ctx, ref); herr == nil && desc.Digest == want {
				return nil
			}
			return err
		case isNoRepository(err) && !last:
			if err := r.create(ctx, err); err != nil {
				return err
			}
		default:
			return err
		}
	}
}

// lost tells errors after which nobody knows what became of the request. Throttled
// requests were not served, and the transport has already waited for them.
func lost(err error) bool {
	var u *UnreachableError
	return errors.As(err, &u) && !throttled(err)
}

// throttled tells errors that the transport has already waited out.
func throttled(err error) bool {
	var s *StatusError
	return errors.As(err, &s) && s.Status == http.StatusTooManyRequests
}

// stored checks what a registry says that it stored.
func stored(resp *http.Response, u *url.URL, want digest.Digest) error {
	resp.Body.Close()
	got, err := digest.Parse(resp.Header.Get(dockerContentDigest))
	if err == nil && got.Algorithm() == want.Algorithm() && got != want {
		return &DigestError{public(u), want, got}
	}
	return nil
}
