package referrer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	digest "github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/client/registry"
	"github.com/temper-images/temper/client/signing"
)

func TestRead(t *testing.T) {
	s, v := keyPair(t)
	all := signed(t, s)
	made, err := Manifests(subject, all, Existing{}, created, Formats{})
	require.NoError(t, err)
	a := newArchive()
	nothing, err := Read(t.Context(), a, subject.Digest)
	require.NoError(t, err)
	require.Equal(t, &Found{Subject: subject.Digest}, nothing)

	a.push(made...)
	a.listed = append(a.listed, a.listed[0], ocispecs.Descriptor{MediaType: ocispecs.MediaTypeImageManifest, Digest: digest.FromString("sbom"), ArtifactType: "application/sbom"})
	// The same bundle attached again at another time.
	later, err := Manifests(subject, all, Existing{}, created.AddDate(1, 0, 0), Formats{Bundle: true})
	require.NoError(t, err)
	a.push(later...)
	found, err := Read(t.Context(), a, subject.Digest)
	require.NoError(t, err)
	require.Empty(t, found.Broken)
	require.Len(t, found.Other, 1)
	require.Len(t, found.Entries, 3)
	var said []string
	for _, e := range found.Entries {
		forms := e.PredicateType
		for _, p := range e.Places {
			forms += " " + string(p.Form)
		}
		said = append(said, forms)
		result, err := e.Verify(t.Context(), v, subject.Digest)
		require.NoError(t, err)
		require.NotEmpty(t, result.KeyHint)
		_, err = e.Verify(t.Context(), v, digest.FromString("another image"))
		require.ErrorIs(t, err, signing.ErrTampered)
	}
	require.Equal(t, []string{SignPredicate + " bundle bundle", SignPredicate + " sig", provenance + " bundle bundle att"}, said)
	require.Equal(t, BundleMediaType, found.Entries[0].Places[0].Manifest.ArtifactType)
	require.NotEmpty(t, found.Entries[0].Places[0].Manifest.Annotations)

	none, err := Manifests(subject, all, found.Existing, created, Formats{})
	require.NoError(t, err)
	require.Empty(t, none)

	// Somebody else's is found too, and is not accepted.
	_, stranger := keyPair(t)
	for _, e := range found.Entries {
		_, err := e.Verify(t.Context(), stranger, subject.Digest)
		require.Error(t, err)
	}
}

// An attestation that is there in one form is written in the other.
func TestEntrySigned(t *testing.T) {
	s, _ := keyPair(t)
	made, err := Manifests(subject, signed(t, s), Existing{}, created, Formats{Bundle: true})
	require.NoError(t, err)
	a := newArchive()
	a.push(made...)
	found, err := Read(t.Context(), a, subject.Digest)
	require.NoError(t, err)
	made, err = Manifests(subject, []Signed{found.Entries[1].Signed()}, found.Existing, created, Formats{})
	require.NoError(t, err)
	require.Len(t, made, 1)
	require.Equal(t, AttestationTag(subject.Digest), made[0].Tag)
	a.push(made...)
	found, err = Read(t.Context(), a, subject.Digest)
	require.NoError(t, err)
	require.Len(t, found.Entries, 2)
	require.Len(t, found.Entries[1].Places, 2)
}

// Cosign can be told to write the older forms as referrers, and some clients list
// bundles with another type or none.
func TestReadOtherArtifactTypes(t *testing.T) {
	s, v := keyPair(t)
	all := signed(t, s)
	a := newArchive()
	for i, one := range all {
		l, err := one.older()
		require.NoError(t, err)
		desc := a.layer(l.mediaType, l.data)
		desc.Annotations = l.annotations
		a.put(t, []string{"application/vnd.dev.cosign.artifact.sig.v1+json", signing.PayloadType}[i], ocispecs.Manifest{Subject: &subject, Layers: []ocispecs.Descriptor{desc}})
	}
	other, err := Manifests(subject, signed(t, s), Existing{}, created, Formats{Bundle: true})
	require.NoError(t, err)
	a.push(other...)
	a.listed[2].ArtifactType, a.listed[3].ArtifactType = ocispecs.MediaTypeEmptyJSON, ""
	plain := a.put(t, "", ocispecs.Manifest{Subject: &subject, Layers: []ocispecs.Descriptor{a.layer("text/plain", []byte("x"))}})
	found, err := Read(t.Context(), a, subject.Digest)
	require.NoError(t, err)
	require.Empty(t, found.Broken)
	require.Len(t, found.Other, 1)
	require.Equal(t, plain.Digest, found.Other[0].Digest)
	require.Len(t, found.Entries, 4)
	for _, e := range found.Entries {
		_, err := e.Verify(t.Context(), v, subject.Digest)
		require.NoError(t, err)
	}
}

// What a hostile registry serves is no signature, and stops nothing.
func TestReadHostile(t *testing.T) {
	s, _ := keyPair(t)
	all := signed(t, s)
	of := func(layers ...ocispecs.Descriptor) ocispecs.Manifest {
		return ocispecs.Manifest{Subject: &subject, Layers: layers}
	}
	good := func(a *archive) ocispecs.Descriptor { return a.layer(BundleMediaType, all[1].Bundle) }
	for name, c := range map[string]struct {
		make func(t *testing.T, a *archive)
		says string
	}{
		"another subject": {func(t *testing.T, a *archive) {
			a.put(t, BundleMediaType, ocispecs.Manifest{Subject: &ocispecs.Descriptor{Digest: digest.FromString("x")}, Layers: []ocispecs.Descriptor{good(a)}})
		}, "refers to something else"},
		"no subject": {func(t *testing.T, a *archive) {
			a.put(t, BundleMediaType, ocispecs.Manifest{Layers: []ocispecs.Descriptor{good(a)}})
		}, "refers to something else"},
		"two layers": {func(t *testing.T, a *archive) { a.put(t, BundleMediaType, of(good(a), good(a))) }, "2 layers"},
		"no layers":  {func(t *testing.T, a *archive) { a.put(t, BundleMediaType, of()) }, "0 layers"},
		"not there": {func(t *testing.T, a *archive) {
			delete(a.manifests, a.put(t, BundleMediaType, of(good(a))).Digest.String())
		}, "listed and not there"},
		"other bytes": {func(t *testing.T, a *archive) {
			d := a.put(t, BundleMediaType, of(good(a)))
			a.manifests[d.Digest.String()] = append(a.manifests[d.Digest.String()], ' ')
		}, "another digest"},
		"no JSON": {func(t *testing.T, a *archive) {
			a.manifests[a.put(t, BundleMediaType, of(good(a))).Digest.String()] = []byte("x")
		}, "its manifest"},
		"large manifest": {func(t *testing.T, a *archive) {
			a.manifests[a.put(t, BundleMediaType, of(good(a))).Digest.String()] = make([]byte, maxManifest+1)
		}, "more than"},
		"digest": {func(_ *testing.T, a *archive) {
			a.listed = []ocispecs.Descriptor{{MediaType: ocispecs.MediaTypeImageManifest, Digest: "sha256:../../x", ArtifactType: BundleMediaType}}
		}, "digest"},
		"layer's digest": {func(t *testing.T, a *archive) {
			d := good(a)
			d.Digest = "x"
			a.put(t, BundleMediaType, of(d))
		}, "digest"},
		"no blob": {func(t *testing.T, a *archive) {
			d := good(a)
			delete(a.blobs, d.Digest)
			a.put(t, BundleMediaType, of(d))
		}, "not found"},
		"other blob": {func(t *testing.T, a *archive) {
			d := good(a)
			a.blobs[d.Digest] = append([]byte(" "), all[1].Bundle[1:]...)
			a.put(t, BundleMediaType, of(d))
		}, "other bytes"},
		"longer blob": {func(t *testing.T, a *archive) {
			d := good(a)
			a.blobs[d.Digest] = append(all[1].Bundle, ' ')
			a.put(t, BundleMediaType, of(d))
		}, "other bytes"},
		"large blob": {func(t *testing.T, a *archive) {
			d := good(a)
			d.Size = maxBundle + 1
			a.put(t, BundleMediaType, of(d))
		}, "at most"},
		"negative blob": {func(t *testing.T, a *archive) {
			d := good(a)
			d.Size = -1
			a.put(t, BundleMediaType, of(d))
		}, "at most"},
		"no bundle": {func(t *testing.T, a *archive) { a.put(t, BundleMediaType, of(a.layer(BundleMediaType, []byte("{")))) }, "no Sigstore bundle"},
		"no statement": {func(t *testing.T, a *archive) {
			a.put(t, BundleMediaType, of(a.layer(BundleMediaType, all[0].PayloadBundle)))
		}, "no in-toto statement"},
		"tag, no JSON": {func(_ *testing.T, a *archive) { a.manifests[SignatureTag(subject.Digest)] = []byte("x") }, "the tag"},
		"tag, layers": {func(t *testing.T, a *archive) {
			data, err := json.Marshal(ocispecs.Manifest{Layers: make([]ocispecs.Descriptor, maxLayers+1)})
			require.NoError(t, err)
			a.manifests[AttestationTag(subject.Digest)] = data
		}, "more than 1000 layers"},
		"tag, no configuration": {func(_ *testing.T, a *archive) { a.manifests[AttestationTag(subject.Digest)] = []byte("{}") }, "the tag"},
		"tag, strange layer": {func(t *testing.T, a *archive) {
			data, err := json.Marshal(ocispecs.Manifest{Config: a.layer("c", []byte("{}")), Layers: []ocispecs.Descriptor{a.layer("text/plain", []byte("x"))}})
			require.NoError(t, err)
			a.manifests[SignatureTag(subject.Digest)] = data
		}, "is no signature"},
		"tag, no signature": {func(t *testing.T, a *archive) {
			data, err := json.Marshal(ocispecs.Manifest{Config: a.layer("c", []byte("{}")), Layers: []ocispecs.Descriptor{a.layer(signing.PayloadMediaType, []byte("x"))}})
			require.NoError(t, err)
			a.manifests[SignatureTag(subject.Digest)] = data
		}, "no signature in base64"},
	} {
		t.Run(name, func(t *testing.T) {
			a := newArchive()
			c.make(t, a)
			found, err := Read(t.Context(), a, subject.Digest)
			require.NoError(t, err)
			require.Empty(t, found.Entries)
			require.Len(t, found.Broken, 1)
			require.ErrorContains(t, found.Broken[0].Err, c.says)
		})
	}
}

// A source that fails is not one that has nothing.
func TestReadFails(t *testing.T) {
	s, _ := keyPair(t)
	made, err := Manifests(subject, signed(t, s), Existing{}, created, Formats{})
	require.NoError(t, err)
	refused := errors.New("too many requests")
	for name, ref := range map[string]string{
		"list": "referrers", "referrer": made[0].Descriptor.Digest.String(), "bundle": made[0].Blobs[1].Descriptor.Digest.String(),
		"signatures": SignatureTag(subject.Digest), "attestations": AttestationTag(subject.Digest),
		"configuration": made[2].Blobs[0].Descriptor.Digest.String(), "payload": made[2].Blobs[1].Descriptor.Digest.String(),
	} {
		t.Run(name, func(t *testing.T) {
			a := newArchive()
			a.push(made...)
			a.fail[ref] = refused
			found, err := Read(t.Context(), a, subject.Digest)
			require.ErrorIs(t, err, refused)
			require.Nil(t, found)
		})
	}
	_, err = Read(t.Context(), newArchive(), "sha256:x")
	require.Error(t, err)

	many := newArchive()
	many.listed = make([]ocispecs.Descriptor, maxReferrers+1)
	_, err = Read(t.Context(), many, subject.Digest)
	require.ErrorContains(t, err, "manifests refer to it")
	many.listed = nil
	for i := range maxSigned + 1 {
		many.listed = append(many.listed, ocispecs.Descriptor{MediaType: ocispecs.MediaTypeImageManifest, Digest: digest.FromString(fmt.Sprint(i)), ArtifactType: BundleMediaType})
	}
	_, err = Read(t.Context(), many, subject.Digest)
	require.ErrorContains(t, err, "signatures and attestations refer to it")

	// Together they are too large, which their descriptors say.
	large := newArchive()
	for i := range maxTotal/maxBundle + 1 {
		l := large.layer(BundleMediaType, []byte(fmt.Sprint(i)))
		l.Size = maxBundle
		large.put(t, BundleMediaType, ocispecs.Manifest{Subject: &subject, Layers: []ocispecs.Descriptor{l}})
	}
	_, err = Read(t.Context(), large, subject.Digest)
	require.ErrorContains(t, err, "more than 512 MiB")
}

// waiting is a source that answers when nobody waits any more.
type waiting struct{ *archive }

func (w waiting) Manifest(ctx context.Context, _ string) (ocispecs.Descriptor, []byte, error) {
	<-ctx.Done()
	return ocispecs.Descriptor{}, nil, context.Cause(ctx)
}

func TestReadIsCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := Read(ctx, waiting{newArchive()}, subject.Digest)
	require.ErrorIs(t, err, context.Canceled)
}

// everything is a source that answers every question with the same bytes.
type everything struct{ manifest, blob []byte }

func (e everything) Manifest(context.Context, string) (ocispecs.Descriptor, []byte, error) {
	return ocispecs.Descriptor{MediaType: ocispecs.MediaTypeImageManifest, Digest: digest.FromBytes(e.manifest), Size: int64(len(e.manifest))}, e.manifest, nil
}

func (e everything) Blob(context.Context, ocispecs.Descriptor) (io.ReadCloser, error) {
	if len(e.blob) == 0 {
		return nil, registry.ErrNotFound
	}
	return io.NopCloser(strings.NewReader(string(e.blob))), nil
}

func (e everything) Referrers(context.Context, digest.Digest) ([]ocispecs.Descriptor, error) {
	return []ocispecs.Descriptor{{MediaType: ocispecs.MediaTypeImageManifest, Digest: digest.FromBytes(e.manifest), Size: int64(len(e.manifest))}}, nil
}

func FuzzRead(f *testing.F) {
	s, _ := keyPair(f)
	made, err := Manifests(subject, signed(f, s), Existing{}, created, Formats{})
	require.NoError(f, err)
	for _, m := range made {
		for _, b := range m.Blobs {
			f.Add(m.Data, b.Data)
		}
	}
	f.Add([]byte("{}"), []byte{})
	f.Fuzz(func(t *testing.T, manifest, blob []byte) {
		found, err := Read(t.Context(), everything{manifest, blob}, subject.Digest)
		if err != nil {
			return
		}
		for _, e := range found.Entries {
			require.NotEmpty(t, e.PredicateType)
			require.NotEmpty(t, e.Places)
			_, err := parseBundle(e.Bundle)
			require.NoError(t, err)
		}
		_, _ = Manifests(subject, nil, found.Existing, created, Formats{}) // what is there may be anything
	})
}
