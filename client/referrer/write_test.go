package referrer

import (
	"encoding/json"
	"fmt"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	digest "github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/client/signing"
)

func TestManifests(t *testing.T) {
	s, _ := keyPair(t)
	all := signed(t, s)
	made, err := Manifests(subject, all, Existing{}, created, Formats{})
	require.NoError(t, err)
	require.Len(t, made, 4)
	again, err := Manifests(subject, all, Existing{}, created, Formats{Bundle: true, Cosign: true})
	require.NoError(t, err)
	require.Equal(t, made, again)
	for i, m := range made {
		require.Equal(t, subject.Digest, m.Subject)
		require.Equal(t, digest.FromBytes(m.Data), m.Descriptor.Digest)
		var manifest ocispecs.Manifest
		require.NoError(t, json.Unmarshal(m.Data, &manifest))
		want := map[digest.Digest]bool{manifest.Config.Digest: true}
		for _, l := range manifest.Layers {
			want[l.Digest] = true
		}
		have := map[digest.Digest]bool{}
		for _, b := range m.Blobs {
			require.Equal(t, digest.FromBytes(b.Data), b.Descriptor.Digest)
			have[b.Descriptor.Digest] = true
		}
		require.Equal(t, want, have)
		if i >= 2 {
			continue
		}
		require.Empty(t, m.Tag)
		require.Equal(t, subject, *manifest.Subject)
		require.Equal(t, BundleMediaType, m.Descriptor.ArtifactType)
		require.Equal(t, map[string]string{
			"org.opencontainers.image.created":  "2026-11-01T11:00:00Z",
			"dev.sigstore.bundle.content":       "dsse-envelope",
			"dev.sigstore.bundle.predicateType": all[i].PredicateType,
		}, m.Descriptor.Annotations)
	}
	require.Equal(t, SignatureTag(subject.Digest), made[2].Tag)
	require.Equal(t, AttestationTag(subject.Digest), made[3].Tag)

	bundles, err := Manifests(subject, all, Existing{}, created, Formats{Bundle: true})
	require.NoError(t, err)
	require.Equal(t, made[:2], bundles)
	tags, err := Manifests(subject, all, Existing{}, created, Formats{Cosign: true})
	require.NoError(t, err)
	require.Equal(t, made[2:], tags)

	// The same twice, and what is there already, is written once.
	twice, err := Manifests(subject, append(all, all...), Existing{}, created, Formats{})
	require.NoError(t, err)
	require.Equal(t, made, twice)
	none, err := Manifests(subject, all, Existing{
		Bundles:      []digest.Digest{digest.FromBytes(all[0].Bundle), digest.FromBytes(all[1].Bundle)},
		Signatures:   TagImage{made[2].Descriptor.Digest, made[2].Data, made[2].Blobs[0].Data},
		Attestations: TagImage{made[3].Descriptor.Digest, made[3].Data, made[3].Blobs[0].Data},
	}, created, Formats{})
	require.NoError(t, err)
	require.Empty(t, none)
}

func TestManifestsRefuse(t *testing.T) {
	s, _ := keyPair(t)
	all := signed(t, s)
	first, err := Manifests(subject, all, Existing{}, created, Formats{Cosign: true})
	require.NoError(t, err)
	there := func(manifest, config string) Existing {
		return Existing{Signatures: TagImage{Manifest: []byte(manifest), Config: []byte(config)}}
	}
	more := signed(t, s)
	full := v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1, Config: hashed(blob(string(types.OCIConfigJSON), []byte("{}")).Descriptor)}
	for i := range maxLayers {
		full.Layers = append(full.Layers, hashed(blob(signing.PayloadMediaType, []byte(fmt.Sprint(i))).Descriptor))
	}
	fullData, err := json.Marshal(full)
	require.NoError(t, err)
	for name, c := range map[string]struct {
		subject  ocispecs.Descriptor
		signed   []Signed
		existing Existing
		says     string
	}{
		"digest":            {ocispecs.Descriptor{Digest: "sha256:x"}, more, Existing{}, "digest"},
		"no bundle":         {subject, []Signed{{PredicateType: provenance, Bundle: []byte("{")}}, Existing{}, "no Sigstore bundle"},
		"empty bundle":      {subject, []Signed{{PredicateType: provenance, Bundle: []byte("{}")}}, Existing{}, "no Sigstore bundle"},
		"no envelope":       {subject, []Signed{{PredicateType: provenance, Bundle: more[0].PayloadBundle}}, Existing{}, "no envelope"},
		"payload bundle":    {subject, []Signed{{PredicateType: SignPredicate, Bundle: more[0].Bundle, Payload: []byte("x"), PayloadBundle: more[0].Bundle}}, Existing{}, "has no signature"},
		"large bundle":      {subject, []Signed{{PredicateType: provenance, Bundle: make([]byte, maxBundle+1)}}, Existing{}, "at most"},
		"tag, no JSON":      {subject, more, there("x", ""), "something else"},
		"tag, index":        {subject, more, there(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json"}`, ""), "something else"},
		"tag, other config": {subject, more, there(string(first[0].Data), "{}"), "another one"},
		"tag, full":         {subject, more, there(string(fullData), "{}"), "at most 1000"},
	} {
		t.Run(name, func(t *testing.T) {
			made, err := Manifests(c.subject, c.signed, c.existing, created, Formats{})
			require.ErrorContains(t, err, c.says)
			require.Nil(t, made)
		})
	}
}

// Others' signatures under the tag come first, as they were; a configuration that is
// no image's stays as it is.
func TestTagImageKeepsOthers(t *testing.T) {
	s, _ := keyPair(t)
	first, err := Manifests(subject, signed(t, s), Existing{}, created, Formats{Cosign: true})
	require.NoError(t, err)
	image := TagImage{Manifest: first[0].Data, Config: first[0].Blobs[0].Data}
	second, err := Manifests(subject, signed(t, s), Existing{Signatures: image}, created, Formats{Cosign: true})
	require.NoError(t, err)
	var before, after v1.Manifest
	require.NoError(t, json.Unmarshal(first[0].Data, &before))
	require.NoError(t, json.Unmarshal(second[0].Data, &after))
	require.Len(t, after.Layers, 2)
	require.Equal(t, before.Layers[0], after.Layers[0])
	var config v1.ConfigFile
	require.NoError(t, json.Unmarshal(second[0].Blobs[0].Data, &config))
	require.Len(t, config.RootFS.DiffIDs, 2)

	before.Config = hashed(blob("application/x", []byte("their own")).Descriptor)
	data, err := json.Marshal(before)
	require.NoError(t, err)
	third, err := Manifests(subject, signed(t, s), Existing{Signatures: TagImage{Manifest: data, Config: []byte("their own")}}, created, Formats{Cosign: true})
	require.NoError(t, err)
	require.Equal(t, "their own", string(third[0].Blobs[0].Data))
	require.NoError(t, json.Unmarshal(third[0].Data, &after))
	require.Equal(t, before.Config, after.Config)
}

func TestSignImage(t *testing.T) {
	s, v := keyPair(t)
	one, err := SignImage(t.Context(), s, "", subject)
	require.NoError(t, err)
	require.Nil(t, one.Payload)
	require.ErrorIs(t, one.OlderForm(), ErrNoOlderForm)
	result, err := v.VerifyStatement(t.Context(), one.Bundle, subject.Digest)
	require.NoError(t, err)
	require.Equal(t, `{"_type":"https://in-toto.io/Statement/v1","subject":[{"digest":{"sha256":"`+subject.Digest.Encoded()+
		`"},"annotations":{}}],"predicateType":"https://sigstore.dev/cosign/sign/v1","predicate":{}}`, string(result.Statement))
	made, err := Manifests(subject, []Signed{one}, Existing{}, created, Formats{})
	require.NoError(t, err)
	require.Len(t, made, 1)

	_, err = SignImage(t.Context(), s, "r", ocispecs.Descriptor{Digest: "sha256:x"})
	require.ErrorContains(t, err, "digest")
	_, err = Attest(t.Context(), s, []byte("x"))
	require.Error(t, err)
	_, err = Attest(t.Context(), s, []byte(`{"_type":"https://in-toto.io/Statement/v1"}`))
	require.ErrorContains(t, err, "no predicate type")
}

// A copy brings signatures to a tag that may have others, and the same.
func TestTagImageMerge(t *testing.T) {
	s, _ := keyPair(t)
	image := func(all []Signed) TagImage {
		made, err := Manifests(subject, all, Existing{}, created, Formats{Cosign: true})
		require.NoError(t, err)
		return TagImage{made[0].Descriptor.Digest, made[0].Data, made[0].Blobs[0].Data}
	}
	first, second := signed(t, s), signed(t, s)
	there, both := image(first), image(append(first[:1:1], second[0]))
	merged, err := there.Merge(both)
	require.NoError(t, err)
	require.Equal(t, string(both.Manifest), string(merged.Data))
	require.Len(t, merged.Blobs, 1, "the configuration")
	for _, other := range []TagImage{there, {}} {
		merged, err = there.Merge(other)
		require.NoError(t, err)
		require.Nil(t, merged)
	}
	_, err = there.Merge(TagImage{Manifest: []byte("x")})
	require.ErrorContains(t, err, "what is to be added")
}
