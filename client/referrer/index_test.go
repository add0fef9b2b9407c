package referrer

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	digest "github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"
)

func bundleDescriptor(of string) ocispecs.Descriptor {
	return ocispecs.Descriptor{MediaType: ocispecs.MediaTypeImageManifest, Digest: digest.FromString(of), Size: int64(len(of)),
		ArtifactType: BundleMediaType, Annotations: map[string]string{annotationPredicate: of}}
}

func TestMergeIndex(t *testing.T) {
	all := []ocispecs.Descriptor{bundleDescriptor("a"), bundleDescriptor("b"), bundleDescriptor("c")}
	one, changed, err := MergeIndex(nil, all)
	require.NoError(t, err)
	require.True(t, changed)
	var idx ocispecs.Index
	require.NoError(t, json.Unmarshal(one, &idx))
	require.Equal(t, ocispecs.MediaTypeImageIndex, idx.MediaType)
	require.Len(t, idx.Manifests, 3)
	require.True(t, slices.IsSortedFunc(idx.Manifests, func(a, b ocispecs.Descriptor) int { return strings.Compare(a.Digest.String(), b.Digest.String()) }))
	for _, m := range idx.Manifests {
		require.Contains(t, all, m)
	}

	same, changed, err := MergeIndex(one, all[1:])
	require.NoError(t, err)
	require.False(t, changed)
	require.Equal(t, one, same)

	// Two writers end with the same bytes, whoever was first.
	left, _, err := MergeIndex(nil, all[:1])
	require.NoError(t, err)
	left, _, err = MergeIndex(left, all[1:])
	require.NoError(t, err)
	right, _, err := MergeIndex(nil, []ocispecs.Descriptor{all[2], all[1]})
	require.NoError(t, err)
	right, _, err = MergeIndex(right, []ocispecs.Descriptor{all[0], all[1]})
	require.NoError(t, err)
	require.Equal(t, string(one), string(left))
	require.Equal(t, string(one), string(right))

	empty, changed, err := MergeIndex(nil, nil)
	require.NoError(t, err)
	require.True(t, changed)
	require.JSONEq(t, `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`, string(empty))
}

// What others wrote stays, fields included that nobody here knows.
func TestMergeIndexKeepsOthers(t *testing.T) {
	theirs := digest.FromString("theirs")
	existing := []byte(fmt.Sprintf(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[`+
		`{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":%q,"size":7,"artifactType":"application/x","future":{"a":1}}],"annotations":{"k":"v"}}`, theirs))
	data, changed, err := MergeIndex(existing, []ocispecs.Descriptor{bundleDescriptor("a")})
	require.NoError(t, err)
	require.True(t, changed)
	require.Contains(t, string(data), `"future":{"a":1}`)
	require.Contains(t, string(data), `"annotations":{"k":"v"}`)
	require.Contains(t, string(data), theirs.String())
}

// go-containerregistry before 0.22 lists a referrer with its configuration's type and
// without annotations, which filters do not find.
func TestMergeIndexRepairs(t *testing.T) {
	desc := bundleDescriptor("a")
	wrong := desc
	wrong.ArtifactType, wrong.Annotations = ocispecs.MediaTypeEmptyJSON, map[string]string{"their": "own"}
	existing, _, err := MergeIndex(nil, []ocispecs.Descriptor{wrong})
	require.NoError(t, err)
	data, changed, err := MergeIndex(existing, []ocispecs.Descriptor{desc})
	require.NoError(t, err)
	require.True(t, changed)
	var idx ocispecs.Index
	require.NoError(t, json.Unmarshal(data, &idx))
	require.Len(t, idx.Manifests, 1)
	require.Equal(t, BundleMediaType, idx.Manifests[0].ArtifactType)
	require.Equal(t, map[string]string{"their": "own", annotationPredicate: "a"}, idx.Manifests[0].Annotations)
}

func TestMergeIndexRefuses(t *testing.T) {
	add := []ocispecs.Descriptor{bundleDescriptor("a")}
	other := add[0]
	other.Size++
	sized, _, err := MergeIndex(nil, []ocispecs.Descriptor{other})
	require.NoError(t, err)
	for name, c := range map[string]struct {
		existing []byte
		add      []ocispecs.Descriptor
		says     string
	}{
		"no JSON":      {[]byte("x"), add, "holds something else"},
		"no index":     {[]byte(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json"}`), add, "media type"},
		"version":      {[]byte(`{"schemaVersion":1}`), add, "schema version 1"},
		"digest":       {[]byte(`{"schemaVersion":2,"manifests":[{"digest":"sha256:x"}]}`), add, "digest"},
		"no object":    {[]byte(`{"schemaVersion":2,"manifests":[7]}`), add, "holds something else"},
		"large":        {[]byte(strings.Repeat(" ", maxManifest+1)), add, "more than"},
		"many":         {[]byte(`{"schemaVersion":2,"manifests":[1` + strings.Repeat(",1", maxReferrers) + `]}`), add, "more than"},
		"added digest": {nil, []ocispecs.Descriptor{{Digest: "sha256:x"}}, "digest"},
		"another size": {sized, add, "another size"},
	} {
		t.Run(name, func(t *testing.T) {
			data, changed, err := MergeIndex(c.existing, c.add)
			require.ErrorContains(t, err, c.says)
			require.False(t, changed)
			require.Nil(t, data)
		})
	}
}

func TestFallbackTag(t *testing.T) {
	require.Equal(t, "sha256-"+subject.Digest.Encoded(), FallbackTag(subject.Digest))
	require.Equal(t, "sha256-"+subject.Digest.Encoded()+".sig", SignatureTag(subject.Digest))
	require.Equal(t, "sha256-"+subject.Digest.Encoded()+".att", AttestationTag(subject.Digest))
	require.Equal(t, "nonsense-", FallbackTag("nonsense"))
}

func FuzzMergeIndex(f *testing.F) {
	one, _, err := MergeIndex(nil, []ocispecs.Descriptor{bundleDescriptor("a"), bundleDescriptor("b")})
	require.NoError(f, err)
	f.Add(one)
	f.Add([]byte(`{"schemaVersion":2,"manifests":null}`))
	f.Add([]byte(`{"schemaVersion":2,"mediaType":"","manifests":[{"digest":"sha256:` + strings.Repeat("a", 64) + `","annotations":null,"size":-1}]}`))
	f.Fuzz(func(t *testing.T, existing []byte) {
		add := []ocispecs.Descriptor{bundleDescriptor("c")}
		data, changed, err := MergeIndex(existing, add)
		if err != nil {
			return
		}
		if !changed {
			require.Equal(t, existing, data)
			return
		}
		again, changed, err := MergeIndex(data, add)
		require.NoError(t, err)
		require.False(t, changed)
		require.Equal(t, data, again)
	})
}
