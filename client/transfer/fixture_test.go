package transfer_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"cuelabs.dev/go/oci/ociregistry/ocimem"
	"cuelabs.dev/go/oci/ociregistry/ociserver"
	"github.com/google/go-containerregistry/pkg/name"
	ggcr "github.com/google/go-containerregistry/pkg/registry"
	digest "github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/client/referrer"
	"github.com/temper-images/temper/client/registry"
	"github.com/temper-images/temper/client/signing"
	"github.com/temper-images/temper/client/transfer"
)

// withAPI is a registry with the referrers API, withoutAPI one without.
func withAPI() http.Handler    { return ociserver.New(ocimem.New(), nil) }
func withoutAPI() http.Handler { return ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0))) }

// serve starts a registry and opens a repository in it.
func serve(t testing.TB, h http.Handler, repository string) *registry.Repository {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return open(t, strings.TrimPrefix(s.URL, "http://"), repository)
}

func open(t testing.TB, host, repository string) *registry.Repository {
	t.Helper()
	repo, err := name.NewRepository(host + "/" + repository)
	require.NoError(t, err)
	r, err := registry.Open(t.Context(), repo, registry.Options{Retry: registry.Retry{Attempts: 4, Base: time.Millisecond, Cap: 20 * time.Millisecond}})
	require.NoError(t, err)
	return r
}

// signer signs and verifies with keys that all tests share.
type signer struct {
	*signing.Signer
	verifier *signing.Verifier
}

var signers = sync.OnceValues(func() ([2]signer, error) {
	var out [2]signer
	dir, err := os.MkdirTemp("", "temper-transfer-test-")
	if err != nil {
		return out, err
	}
	defer os.RemoveAll(dir)
	for i := range out {
		pair, err := signing.Generate("", []byte("secret"))
		if err != nil {
			return out, err
		}
		path := filepath.Join(dir, fmt.Sprint("key", i))
		if err := pair.Write(path); err != nil {
			return out, err
		}
		out[i].Signer, err = signing.Open(context.Background(), signing.Options{
			Key: path + ".key", Password: func(context.Context) ([]byte, error) { return []byte("secret"), nil },
		})
		if err != nil {
			return out, err
		}
		if out[i].verifier, err = out[i].Verifier(); err != nil {
			return out, err
		}
	}
	return out, nil
})

func signerNo(t testing.TB, i int) signer {
	t.Helper()
	all, err := signers()
	require.NoError(t, err)
	return all[i]
}

var errUnsigned = errors.New("nobody signed it who may")

// signedBy demands a signature of the image by a signer.
func signedBy(s signer) transfer.Verify {
	return func(ctx context.Context, src transfer.Source, subject ocispecs.Descriptor) error {
		found, err := referrer.Read(ctx, src, subject.Digest)
		if err != nil {
			return err
		}
		for _, e := range found.Entries {
			if _, err := e.Verify(ctx, s.verifier, subject.Digest); err == nil && e.PredicateType == referrer.SignPredicate {
				return nil
			}
		}
		return errUnsigned
	}
}

// origin is a repository with images in it.
type origin struct {
	testing.TB
	repo *registry.Repository
}

func (o origin) blob(mediaType string, data []byte) ocispecs.Descriptor {
	o.Helper()
	d := ocispecs.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
	_, err := o.repo.PushBlob(o.Context(), d, func(at int64) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data[at:])), nil }, registry.BlobOptions{})
	require.NoError(o, err)
	return d
}

// put pushes a document under a tag or, when that is empty, by digest.
func (o origin) put(tag, mediaType string, v any) ocispecs.Descriptor {
	o.Helper()
	data, err := json.Marshal(v)
	require.NoError(o, err)
	d := ocispecs.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
	if tag == "" {
		tag = d.Digest.String()
	}
	require.NoError(o, o.repo.PutManifest(o.Context(), tag, mediaType, data))
	return d
}

func (o origin) image(arch string) ocispecs.Descriptor {
	o.Helper()
	p := &ocispecs.Platform{OS: "linux", Architecture: arch}
	config, err := json.Marshal(p)
	require.NoError(o, err)
	d := o.put("", ocispecs.MediaTypeImageManifest, ocispecs.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispecs.MediaTypeImageManifest,
		Config: o.blob(ocispecs.MediaTypeImageConfig, config),
		Layers: []ocispecs.Descriptor{
			o.blob(ocispecs.MediaTypeImageLayerGzip, bytes.Repeat([]byte("base"), 50_000)),
			o.blob(ocispecs.MediaTypeImageLayerGzip, []byte("layer for "+arch)),
		},
	})
	d.Platform = p
	return d
}

func (o origin) index(tag string, of ...ocispecs.Descriptor) ocispecs.Descriptor {
	o.Helper()
	return o.put(tag, ocispecs.MediaTypeImageIndex, ocispecs.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispecs.MediaTypeImageIndex, Manifests: of})
}

// artifact is an artifact with one blob: a referrer of subject if there is one.
func (o origin) artifact(tag, kind, content string, subject *ocispecs.Descriptor, annotations map[string]string) ocispecs.Descriptor {
	o.Helper()
	m := ocispecs.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispecs.MediaTypeImageManifest, ArtifactType: kind,
		Config: o.blob(ocispecs.MediaTypeEmptyJSON, []byte("{}")), Layers: []ocispecs.Descriptor{o.blob(kind, []byte(content))}, Annotations: annotations,
	}
	if subject != nil {
		of := ocispecs.Descriptor{MediaType: subject.MediaType, Digest: subject.Digest, Size: subject.Size}
		m.Subject = &of
	}
	d := o.put(tag, ocispecs.MediaTypeImageManifest, m)
	d.ArtifactType, d.Annotations = kind, annotations
	if subject != nil {
		o.list(subject.Digest, d)
	}
	return d
}

// list does what a client does where there is no referrers API.
func (o origin) list(subject digest.Digest, descs ...ocispecs.Descriptor) {
	o.Helper()
	api, err := o.repo.HasReferrersAPI(o.Context())
	require.NoError(o, err)
	if !api {
		o.fallback(subject, descs...)
	}
}

func (o origin) fallback(subject digest.Digest, descs ...ocispecs.Descriptor) {
	o.Helper()
	_, existing, err := o.repo.Manifest(o.Context(), referrer.FallbackTag(subject))
	if err != nil {
		require.ErrorIs(o, err, registry.ErrNotFound)
	}
	data, _, err := referrer.MergeIndex(existing, descs)
	require.NoError(o, err)
	require.NoError(o, o.repo.PutManifest(o.Context(), referrer.FallbackTag(subject), ocispecs.MediaTypeImageIndex, data))
}

// sign signs in both forms, added to what is there.
func (o origin) sign(s signer, subject ocispecs.Descriptor) {
	o.Helper()
	signed, err := referrer.SignImage(o.Context(), s.Signer, o.repo.Name().Name(), ocispecs.Descriptor{MediaType: subject.MediaType, Digest: subject.Digest, Size: subject.Size})
	require.NoError(o, err)
	found, err := referrer.Read(o.Context(), o.repo, subject.Digest)
	require.NoError(o, err)
	manifests, err := referrer.Manifests(subject, []referrer.Signed{signed}, found.Existing, time.Unix(1, 0), referrer.Formats{})
	require.NoError(o, err)
	for _, m := range manifests {
		for _, b := range m.Blobs {
			o.blob(b.Descriptor.MediaType, b.Data)
		}
		ref := m.Tag
		if ref == "" {
			ref = m.Descriptor.Digest.String()
		}
		require.NoError(o, o.repo.PutManifest(o.Context(), ref, m.Descriptor.MediaType, m.Data))
		if m.Tag == "" {
			o.list(subject.Digest, m.Descriptor)
		}
	}
}

// published is an image with one of everything attached.
type published struct {
	origin
	top, amd, arm, attestation ocispecs.Descriptor
	// all are the manifests, by what they are.
	all map[string]digest.Digest
}

func publish(t testing.TB, repo *registry.Repository, tag string) published {
	t.Helper()
	o := origin{t, repo}
	p := published{origin: o, amd: o.image("amd64"), arm: o.image("arm64"), all: map[string]digest.Digest{}}
	// As BuildKit makes them: part of the index, and with a subject.
	p.attestation = o.artifact("", "application/vnd.docker.attestation.manifest.v1+json", "attestation", &p.amd, nil)
	p.attestation.Platform = &ocispecs.Platform{OS: "unknown", Architecture: "unknown"}
	p.top = o.index(tag, p.amd, p.arm, p.attestation)
	o.sign(signerNo(t, 0), p.top)
	o.sign(signerNo(t, 0), p.amd)
	sbom := o.artifact("", "application/vnd.cyclonedx+json", "sbom", &p.amd, map[string]string{ocispecs.AnnotationRefName: "a name that is not its own"})
	onSBOM := o.artifact("", "application/vnd.cncf.notary.signature", "signature of the sbom", &sbom, nil)
	onSignature := o.artifact("", "text/plain", "remark on the signature of the sbom", &onSBOM, nil)
	attachedSBOM := o.artifact(referrer.FallbackTag(p.amd.Digest)+".sbom", "text/spdx+json", "spdx", nil, nil)
	ofAttached := o.artifact(referrer.FallbackTag(attachedSBOM.Digest)+".sig", "application/vnd.dev.cosign.simplesigning.v1+json", "signature of the attached sbom", nil, nil)
	att := o.artifact(referrer.FallbackTag(p.top.Digest)+".att", "application/vnd.dsse.envelope.v1+json", "attestation of the index", nil, nil)
	// An index can be attached, too.
	part := o.artifact("", "application/x-part", "part of an attached index", nil, nil)
	set := o.put("", ocispecs.MediaTypeImageIndex, ocispecs.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispecs.MediaTypeImageIndex, ArtifactType: "application/x-set",
		Manifests: []ocispecs.Descriptor{part}, Subject: &ocispecs.Descriptor{MediaType: p.top.MediaType, Digest: p.top.Digest, Size: p.top.Size},
	})
	set.ArtifactType = "application/x-set"
	o.list(p.top.Digest, set)
	// Some list what has no subject.
	loose := o.artifact("", "application/x-loose", "listed only", nil, nil)
	o.fallback(p.arm.Digest, loose)
	for what, d := range map[string]ocispecs.Descriptor{
		"index": p.top, "amd64": p.amd, "arm64": p.arm, "attestation manifest": p.attestation, "sbom": sbom, "signature of the sbom": onSBOM,
		"remark": onSignature, "sbom tag": attachedSBOM, "signature of the sbom tag": ofAttached, "att tag": att, "set": set, "part": part, "loose": loose,
	} {
		p.all[what] = d.Digest
	}
	for _, d := range []ocispecs.Descriptor{p.top, p.amd} {
		sig, _, err := repo.Manifest(t.Context(), referrer.SignatureTag(d.Digest))
		require.NoError(t, err)
		p.all["sig tag of "+d.Digest.String()] = sig.Digest
		list, err := repo.Referrers(t.Context(), d.Digest)
		require.NoError(t, err)
		for _, r := range list {
			if r.ArtifactType == referrer.BundleMediaType {
				p.all["bundle of "+d.Digest.String()] = r.Digest
			}
		}
	}
	require.Len(t, p.all, 17)
	return p
}

func (p published) image() transfer.Image {
	return transfer.Image{Source: p.repo, Top: p.top, Name: p.repo.Name().Name() + ":1.0"}
}

// requireArrived checks with nothing but a digest what a stranger finds.
func (p published) requireArrived(t testing.TB, at transfer.Source) {
	t.Helper()
	c, err := transfer.Collect(t.Context(), at, p.top, "")
	require.NoError(t, err)
	for what, dgst := range p.all {
		require.Contains(t, c.Manifests, dgst, what)
	}
	require.Len(t, c.Manifests, len(p.all))
	for _, desc := range c.Blobs {
		rc, err := at.Blob(t.Context(), desc)
		require.NoError(t, err)
		data, err := io.ReadAll(rc)
		require.NoError(t, err)
		require.NoError(t, rc.Close())
		require.Equal(t, desc.Digest, digest.FromBytes(data))
	}
	require.NoError(t, signedBy(signerNo(t, 0))(t.Context(), at, p.top))
	require.NoError(t, signedBy(signerNo(t, 0))(t.Context(), at, p.amd))
}
