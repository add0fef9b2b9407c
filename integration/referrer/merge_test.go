package referrer

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/integration/sigstore"
	"google.golang.org/protobuf/encoding/protojson"

	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"

	"github.com/temper-images/temper/client/referrer"
)

// The referrer that cosign 3 pushes, and the statement that it signs, are byte for byte
// what client/referrer makes of the same.
func TestBytesOfCosign(t *testing.T) {
	dir := t.TempDir()
	s, _ := keyPair(t, dir)
	i := pushImage(t, registries["referrers API"](t), false)
	must(t, dir, nil, "cosign3", "sign", "--yes", "--key", "cosign.key", "--tlog-upload=false", "--use-signing-config=false", "--allow-http-registry", i.ref())
	found, err := referrer.Read(t.Context(), i.repo, i.desc.Digest)
	require.NoError(t, err)
	require.Len(t, found.Entries, 1)
	at := found.Entries[0].Places[0]
	_, want, err := i.repo.Manifest(t.Context(), at.Manifest.Digest.String())
	require.NoError(t, err)
	when, err := time.Parse(time.RFC3339, at.Manifest.Annotations[ocispecs.AnnotationCreated])
	require.NoError(t, err)
	made, err := referrer.Manifests(i.desc, []referrer.Signed{found.Entries[0].Signed()}, referrer.Existing{}, when, referrer.Formats{Bundle: true})
	require.NoError(t, err)
	require.Len(t, made, 1)
	require.Equal(t, string(want), string(made[0].Data))

	ours, err := referrer.SignImage(t.Context(), s, i.repo.Name().Name(), i.desc)
	require.NoError(t, err)
	compact := func(bundle []byte) string {
		var b protobundle.Bundle
		require.NoError(t, protojson.Unmarshal(bundle, &b))
		// The library that cosign uses puts in blanks by chance.
		var v json.RawMessage
		require.NoError(t, json.Unmarshal(b.GetDsseEnvelope().GetPayload(), &v))
		text, err := json.Marshal(v)
		require.NoError(t, err)
		return string(text)
	}
	require.Equal(t, compact(found.Entries[0].Bundle), compact(ours.Bundle))

	// The older form's document.
	must(t, dir, nil, "cosign", "sign", "--yes", "--key", "cosign.key", "--tlog-upload=false", "--allow-http-registry", i.ref())
	found, err = referrer.Read(t.Context(), i.repo, i.desc.Digest)
	require.NoError(t, err)
	require.Len(t, found.Entries, 2)
	require.Equal(t, string(ours.Payload), string(found.Entries[1].Payload))

	// And the image under the tag, made from the same signature.
	theirs := found.Existing.Signatures
	signed := found.Entries[1].Signed()
	made, err = referrer.Manifests(i.desc, []referrer.Signed{signed}, referrer.Existing{}, when, referrer.Formats{Cosign: true})
	require.NoError(t, err)
	require.Len(t, made, 1)
	require.Equal(t, string(theirs.Manifest), string(made[0].Data))
	require.Equal(t, string(theirs.Config), string(made[0].Blobs[0].Data))
}

// Two write beside the same image: nothing of either is lost or there twice.
func TestMergesWithCosign(t *testing.T) {
	for kind, start := range registries {
		t.Run(kind, func(t *testing.T) {
			first, second := t.TempDir(), t.TempDir()
			s, v := keyPair(t, first)
			_, other := keyPair(t, second)
			i := pushImage(t, start(t), false)
			require.NoError(t, os.WriteFile(filepath.Join(second, "predicate.json"), []byte(`{"buildDefinition":{},"runDetails":{}}`), 0o600))
			theirs := func(program string, flags ...string) {
				common := append([]string{"--yes", "--key", "cosign.key", "--tlog-upload=false", "--allow-http-registry"}, flags...)
				must(t, second, nil, program, append(append([]string{"sign"}, common...), i.ref())...)
				must(t, second, nil, program, append(append([]string{"attest", "--type", "slsaprovenance1", "--predicate", "predicate.json"}, common...), i.ref())...)
			}
			theirs("cosign")
			theirs("cosign3", "--use-signing-config=false")

			signed := sign(t, s, i)
			write := func() []referrer.Manifest {
				found, err := referrer.Read(t.Context(), i.repo, i.desc.Digest)
				require.NoError(t, err)
				made, err := referrer.Manifests(i.desc, signed, found.Existing, created, referrer.Formats{})
				require.NoError(t, err)
				attach(t, i, made)
				return made
			}
			require.Len(t, write(), len(signed)+2)
			require.Empty(t, write(), "all is there already")
			theirs("cosign")
			require.Empty(t, write())

			found, err := referrer.Read(t.Context(), i.repo, i.desc.Digest)
			require.NoError(t, err)
			require.Empty(t, found.Broken)
			ours, others := 0, 0
			for _, e := range found.Entries {
				if _, err := e.Verify(t.Context(), v, i.desc.Digest); err == nil {
					ours++
					if e.PredicateType != referrer.SignPredicate {
						require.Len(t, e.Places, 2, "an attestation in both forms is one")
					}
					continue
				}
				_, err := e.Verify(t.Context(), other, i.desc.Digest)
				require.NoError(t, err)
				others++
			}
			require.Equal(t, len(signed)+1, ours)
			require.GreaterOrEqual(t, others, 4)
			for _, dir := range []string{first, second} {
				for _, judge := range []string{"cosign", "cosign3"} {
					flags := append(withKey(dir), "--trusted-root", sigstore.EmptyRoot(t, dir))
					must(t, dir, nil, judge, append(append([]string{"verify"}, flags...), i.ref())...)
					must(t, dir, nil, judge, append(append([]string{"verify-attestation", "--type", "slsaprovenance1"}, flags...), i.ref())...)
				}
			}
		})
	}
}

// oras and crane read what is written, and show it for what it is.
func TestOrasAndCrane(t *testing.T) {
	for _, kind := range []string{"distribution 2.8", "referrers API"} {
		t.Run(kind, func(t *testing.T) {
			dir := t.TempDir()
			s, _ := keyPair(t, dir)
			i := pushImage(t, registries[kind](t), true)
			made, err := referrer.Manifests(i.desc, sign(t, s, i), referrer.Existing{}, created, referrer.Formats{})
			require.NoError(t, err)
			attach(t, i, made)

			tree := must(t, dir, nil, "oras", "discover", "--plain-http", "--format", "tree", i.ref()).stdout
			require.Equal(t, 1, strings.Count(tree, referrer.BundleMediaType), tree)
			listed := must(t, dir, nil, "oras", "discover", "--plain-http", "--format", "json", "--artifact-type", referrer.BundleMediaType, i.ref()).stdout
			var list struct{ Referrers, Manifests []ocispecs.Descriptor }
			require.NoError(t, json.Unmarshal([]byte(listed), &list))
			list.Referrers = append(list.Referrers, list.Manifests...)
			require.Len(t, list.Referrers, 1+len(predicates), listed)
			seen := map[string]bool{}
			for _, desc := range list.Referrers {
				require.Equal(t, referrer.BundleMediaType, desc.ArtifactType)
				seen[desc.Annotations["dev.sigstore.bundle.predicateType"]] = true
				require.Contains(t, tree, desc.Digest.String())
			}
			require.True(t, seen[referrer.SignPredicate])
			require.Len(t, seen, 1+len(predicates))

			repo := i.repo.Name().Name()
			tags := must(t, dir, nil, "crane", "ls", repo).stdout
			require.Contains(t, tags, referrer.SignatureTag(i.desc.Digest))
			require.Contains(t, tags, referrer.AttestationTag(i.desc.Digest))
			for _, m := range made {
				ref := repo + "@" + m.Descriptor.Digest.String()
				if m.Tag != "" {
					ref = repo + ":" + m.Tag
				}
				require.Equal(t, string(m.Data), must(t, dir, nil, "crane", "manifest", ref).stdout)
			}
		})
	}
}
