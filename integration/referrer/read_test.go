package referrer

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/client/referrer"
)

// What the command lines of cosign write with a key, Read finds and signing verifies.
func TestReadsCosign(t *testing.T) {
	offline := map[string][]string{
		"cosign":  {"--yes", "--tlog-upload=false", "--allow-http-registry"},
		"cosign3": {"--yes", "--tlog-upload=false", "--use-signing-config=false", "--allow-http-registry"},
	}
	for kind, start := range registries {
		for _, c := range []struct {
			judge, form string
			forms       []referrer.Form
			flags       []string
		}{
			{"cosign", "tags", []referrer.Form{referrer.FormSignature, referrer.FormAttestation}, nil},
			{"cosign", "bundle", []referrer.Form{referrer.FormSignature, referrer.FormBundle}, []string{"--new-bundle-format"}},
			{"cosign3", "tags", []referrer.Form{referrer.FormSignature, referrer.FormAttestation}, []string{"--new-bundle-format=false"}},
			{"cosign3", "bundle", []referrer.Form{referrer.FormBundle, referrer.FormBundle}, nil},
		} {
			t.Run(kind+"/"+c.judge+"/"+c.form, func(t *testing.T) {
				dir := t.TempDir()
				_, v := keyPair(t, dir)
				i := pushImage(t, start(t), false)
				require.NoError(t, os.WriteFile(filepath.Join(dir, "predicate.json"), []byte(`{"buildDefinition":{},"runDetails":{}}`), 0o600))
				flags := append(append([]string{"--key", "cosign.key"}, offline[c.judge]...), c.flags...)
				signFlags := flags
				if c.judge == "cosign" {
					// cosign 2 signs images in the older form only.
					signFlags = append([]string{"--key", "cosign.key"}, offline[c.judge]...)
				}
				must(t, dir, nil, c.judge, append(append([]string{"sign"}, signFlags...), i.ref())...)
				must(t, dir, nil, c.judge, append(append([]string{"attest", "--type", "slsaprovenance1", "--predicate", "predicate.json"}, flags...), i.ref())...)

				found, err := referrer.Read(t.Context(), i.repo, i.desc.Digest)
				require.NoError(t, err)
				require.Empty(t, found.Broken)
				require.Empty(t, found.Other)
				require.Len(t, found.Entries, 2)
				var forms []referrer.Form
				for _, e := range found.Entries {
					forms = append(forms, e.Places[0].Form)
					result, err := e.Verify(t.Context(), v, i.desc.Digest)
					require.NoError(t, err, e.PredicateType)
					require.NotEmpty(t, result.KeyHint)
				}
				require.Equal(t, c.forms, forms)
				require.Equal(t, referrer.SignPredicate, found.Entries[0].PredicateType)
				require.Equal(t, "https://slsa.dev/provenance/v1", found.Entries[1].PredicateType)
			})
		}
	}
}
