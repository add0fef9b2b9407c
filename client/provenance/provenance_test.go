package provenance

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	slsa "github.com/in-toto/attestation/go/predicates/provenance/v1"
	intoto "github.com/in-toto/attestation/go/v1"
	digest "github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/temper-images/temper/client/ci"
)

var update = flag.Bool("update", false, "rewrite the golden files")

const commit = "0123456789abcdef0123456789abcdef01234567"

// planted are the values of build arguments in testdata/buildkit.json.
const planted = "planted-secret-value"

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		require.NoError(t, os.WriteFile(file, got, 0o644))
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, string(want), string(got), "go test -update rewrites it")
}

func recorded(t testing.TB) []byte {
	t.Helper()
	dt, err := os.ReadFile(filepath.Join("testdata", "buildkit.json"))
	require.NoError(t, err)
	return dt
}

var document = []byte(`{"bomFormat":"CycloneDX"}`)

func image() Image {
	return Image{Name: "registry.example.com/team/app", Digest: digest.FromString("manifest"), Platform: "linux/amd64"}
}

func release(t testing.TB) Input {
	t.Helper()
	build, err := ReadBuild(recorded(t))
	require.NoError(t, err)
	return Input{
		Image: image(),
		CI: &ci.Facts{
			Platform: ci.GitHub, Repository: "https://github.com/team/app", Commit: commit, Ref: "refs/tags/v1", Workflow: ".github/workflows/release.yml",
			RunID: "1", Attempt: "2", RunURL: "https://github.com/team/app/actions/runs/1/attempts/2", Runner: ci.Hosted, Trigger: "push",
			BuilderID: "https://github.com/team/app/.github/workflows/release.yml@refs/tags/v1", Issuer: "https://token.actions.githubusercontent.com",
			Origins:  map[string]ci.Origin{ci.FactCommit: ci.FromClaims, ci.FactRepository: ci.FromClaims, ci.FactRef: ci.FromEnvironment},
			Checkout: &ci.Checkout{Commit: commit, Dirty: true, Dir: "services/app"},
		},
		Build:           build,
		Dockerfile:      File{Path: "services/app/Dockerfile"},
		Config:          File{Path: "services/app/temper.yaml", Digest: digest.FromString("config")},
		TemperVersion:   "v0.3.0",
		Frontend:        Resource{URI: "pkg:docker/temper/frontend@1", Digest: map[string]string{"sha256": "741829ba36576711c2b5ccb26ee9d18d3853b47d57c415c8fa20eb0f18cf4565"}},
		Hardening:       map[string]any{"level": "exclusive", "keep": []string{"/srv"}},
		GatePolicy:      digest.FromString("policy"),
		BuilderKind:     "own buildkitd",
		BuildKitVersion: "v0.34.2",
		Dependencies:    []Resource{Package("pkg:deb/debian/openssl@3.0.17-1~deb12u2?arch=amd64", "3.0.15-1~deb12u1")},
		Tools: []Resource{
			{Kind: KindTool, Name: "github.com/anchore/syft", URI: "pkg:golang/github.com/anchore/syft@v1.54.1", Digest: map[string]string{"dirHash": strings.Repeat("ab", 32)}},
			{Kind: KindDatabase, Name: "vulnerability database", Digest: digestSet(digest.FromString("db")), Annotations: map[string]string{"built": "2025-06-15T01:02:03Z"}},
		},
		Byproducts: []Byproduct{
			{Name: "scan-app-amd64.json", MediaType: "application/json", Digest: digest.FromString("scan")},
			{
				Name: "sbom-app-amd64.cdx.json", MediaType: "application/vnd.cyclonedx+json", Digest: digest.FromBytes(document),
				Location: "https://key:secret@store.example.com/sboms/amd64/x?X-Amz-Signature=abc", PredicateType: "https://cyclonedx.org/bom",
			},
		},
		Started: time.Unix(1_750_000_000, 5), Finished: time.Unix(1_750_000_100, 7),
	}
}

func TestRelease(t *testing.T) {
	got, err := Release(release(t))
	require.NoError(t, err)
	golden(t, "release.json", got)
	require.NotContains(t, string(got), planted)
	require.NotContains(t, string(got), "secret@")

	in := release(t)
	in.Tools[0], in.Tools[1] = in.Tools[1], in.Tools[0]
	in.Byproducts[0], in.Byproducts[1] = in.Byproducts[1], in.Byproducts[0]
	in.Dependencies = append(in.Dependencies, in.Dependencies...)
	for range 20 {
		again, err := Release(in)
		require.NoError(t, err)
		require.Equal(t, string(got), string(again))
	}
}

// The published protobuf definitions and validators are the outside judge of the
// form: strictly, so that a field with a wrong name is found.
func TestReleaseAgainstThePublishedSchema(t *testing.T) {
	for name, make := range map[string]func() ([]byte, error){
		"release":  func() ([]byte, error) { return Release(release(t)) },
		"least":    func() ([]byte, error) { return Release(Input{Image: image()}) },
		"observed": func() ([]byte, error) { return Observe(Observed{Image: image()}) },
	} {
		t.Run(name, func(t *testing.T) {
			dt, err := make()
			require.NoError(t, err)
			st := &intoto.Statement{}
			require.NoError(t, protojson.Unmarshal(dt, st))
			require.NoError(t, st.Validate())
			inner, err := protojson.Marshal(st.Predicate)
			require.NoError(t, err)
			p := &slsa.Provenance{}
			require.NoError(t, protojson.Unmarshal(inner, p))
			require.NoError(t, p.Validate())
			require.False(t, proto.Equal(p, &slsa.Provenance{}))
		})
	}
}

func TestLeast(t *testing.T) {
	got, err := Release(Input{Image: image()})
	require.NoError(t, err)
	golden(t, "least.json", got)
}

func TestRemoteContextIsTheSource(t *testing.T) {
	in := release(t)
	in.Build.Source = Resource{Kind: KindSource, URI: "https://github.com/other/app.git#main", Digest: map[string]string{"gitCommit": strings.Repeat("f", 40)}}
	in.Build.Dependencies = append(in.Build.Dependencies, Resource{Kind: KindGit, URI: "https://github.com/other/app.git", Digest: in.Build.Source.Digest})
	got, err := Release(in)
	require.NoError(t, err)
	st, err := Read(got)
	require.NoError(t, err)
	kinds := map[string]string{}
	for _, d := range st.Provenance.BuildDefinition.ResolvedDependencies {
		if c := d.Digest["gitCommit"]; c != "" {
			kinds[c] += d.Annotations.Fields["kind"].GetStringValue()
		}
	}
	require.Equal(t, "source", kinds[strings.Repeat("f", 40)])
	require.Equal(t, "workflow", kinds[commit], "the commit of the workflow is not what was built")
	src := st.Provenance.BuildDefinition.ExternalParameters.Fields["source"].GetStructValue()
	require.Equal(t, "https://github.com/other/app.git#main", src.Fields["uri"].GetStringValue())
	require.Nil(t, src.Fields["dirty"])
}

func TestReleaseRefuses(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*Input)
		want   string
	}{
		"no digest":         {func(in *Input) { in.Image.Digest = "" }, `statement about "registry.example.com/team/app"`},
		"builder":           {func(in *Input) { in.BuilderID = "me" }, `builder.id "me" is not a URI`},
		"times":             {func(in *Input) { in.Finished = in.Started.Add(-time.Hour) }, "is before startedOn"},
		"byproduct":         {func(in *Input) { in.Byproducts[0].Digest = "" }, "scan-app-amd64.json"},
		"dependency":        {func(in *Input) { in.Dependencies[0].URI = "" }, "neither a URI nor a digest"},
		"digest of one":     {func(in *Input) { in.Tools[0].Digest["dirHash"] = "AB" }, "not lower-case hexadecimal"},
		"digest's length":   {func(in *Input) { in.Tools[0].Digest["dirHash"] = "ab" }, "has 2 digits, not 64"},
		"hardening is text": {func(in *Input) { in.Hardening = "strict" }, "hardening settings"},
	} {
		t.Run(name, func(t *testing.T) {
			in := release(t)
			tc.change(&in)
			_, err := Release(in)
			require.ErrorContains(t, err, tc.want)
		})
	}
}

func TestObserve(t *testing.T) {
	build, err := ReadBuild(recorded(t))
	require.NoError(t, err)
	got, err := Observe(Observed{
		Image: image(), Reference: "registry.example.com/team/app:1", Attached: build, TemperVersion: "v0.3.0",
		Labels: map[string]string{
			"org.opencontainers.image.source": "https://u:p@github.com/team/app", "org.opencontainers.image.revision": commit,
			"org.opencontainers.image.base.name": "docker.io/library/debian:bookworm", "org.opencontainers.image.base.digest": string(digest.FromString("base")),
		},
		Byproducts: []Byproduct{{Name: "sbom-app-amd64.cdx.json", MediaType: "application/vnd.cyclonedx+json", Digest: digest.FromBytes(document)}},
	})
	require.NoError(t, err)
	golden(t, "observed.json", got)
	st, err := Read(got)
	require.NoError(t, err)
	p := st.Provenance
	require.Equal(t, BuilderUnknown, p.RunDetails.Builder.Id)
	require.Nil(t, p.RunDetails.Metadata, "nobody saw the build")
	for _, d := range p.BuildDefinition.ResolvedDependencies {
		require.Contains(t, d.Annotations.Fields["saidBy"].GetStringValue(), "not signed")
	}

	t.Run("labels that mean nothing", func(t *testing.T) {
		got, err := Observe(Observed{Image: image(), Labels: map[string]string{
			"org.opencontainers.image.source": "../x", "org.opencontainers.image.revision": strings.Repeat("z", 40), "org.opencontainers.image.base.digest": "sha256:1",
		}})
		require.NoError(t, err)
		require.NotContains(t, string(got), "saidBy")
	})
}

func TestWrap(t *testing.T) {
	got, err := Wrap("https://example.com/test-result/v1", []byte(`{"passed": true, "large": 12345678901234567890, "x": "<&>"}`), image())
	require.NoError(t, err)
	require.Equal(t, `{
  "_type": "https://in-toto.io/Statement/v1",
  "predicate": {
    "passed": true,
    "large": 12345678901234567890,
    "x": "<&>"
  },
  "predicateType": "https://example.com/test-result/v1",
  "subject": [
    {
      "digest": {
        "sha256": "`+image().Digest.Encoded()+`"
      },
      "name": "registry.example.com/team/app"
    }
  ]
}
`, string(got))
	st, err := Read(got)
	require.NoError(t, err)
	require.True(t, st.IsAbout(image().Digest))
	require.False(t, st.IsAbout(digest.FromString("other")))
	require.Nil(t, st.Provenance)

	for name, tc := range map[string]struct{ typ, predicate string }{
		"no type":      {"", "{}"},
		"no URI":       {"spdx", "{}"},
		"no object":    {"https://example.com/x", "[]"},
		"null":         {"https://example.com/x", "null"},
		"no JSON":      {"https://example.com/x", "{"},
		"two together": {"https://example.com/x", "{}{}"},
	} {
		_, err := Wrap(tc.typ, []byte(tc.predicate), image())
		require.Error(t, err, name)
	}
	_, err = Wrap("https://example.com/x", []byte("{}"))
	require.Error(t, err)
}

func TestModule(t *testing.T) {
	info := &debug.BuildInfo{Deps: []*debug.Module{
		{Path: "github.com/anchore/syft", Version: "v1.54.1", Sum: "h1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="},
		{Path: "example.com/replaced", Version: "v1", Replace: &debug.Module{Path: "../here", Version: ""}},
	}}
	r, ok := Module(info, "github.com/anchore/syft")
	require.True(t, ok)
	require.Equal(t, Resource{
		Kind: KindTool, Name: "github.com/anchore/syft", URI: "pkg:golang/github.com/anchore/syft@v1.54.1",
		Digest: map[string]string{"dirHash": strings.Repeat("0", 64)},
	}, r)
	_, err := r.descriptor()
	require.NoError(t, err)
	_, ok = Module(info, "github.com/anchore/grype")
	require.False(t, ok)
	_, ok = Module(nil, "x")
	require.False(t, ok)
}

func TestValidate(t *testing.T) {
	good, err := Release(release(t))
	require.NoError(t, err)
	require.NoError(t, Validate(good))
	change := func(path string, value any) []byte {
		var st map[string]any
		require.NoError(t, json.Unmarshal(good, &st))
		keys := strings.Split(path, ".")
		at := st
		for _, k := range keys[:len(keys)-1] {
			at = at[k].(map[string]any)
		}
		if value == nil {
			delete(at, keys[len(keys)-1])
		} else {
			at[keys[len(keys)-1]] = value
		}
		dt, err := json.Marshal(st)
		require.NoError(t, err)
		return dt
	}
	type m = map[string]any
	for name, tc := range map[string]struct {
		data []byte
		want string
	}{
		"not JSON":              {[]byte("{"), "not an in-toto statement"},
		"empty":                 {[]byte("{}"), "_type"},
		"another type":          {change("_type", "https://in-toto.io/Statement/v0.1"), "_type"},
		"no subject":            {change("subject", []any{}), "subject required"},
		"a subject undigested":  {change("subject", []any{m{"name": "x"}}), "digest required"},
		"a weak subject":        {change("subject", []any{m{"name": "x", "digest": m{"sha1": commit}}}), "no SHA-2 digest"},
		"a short digest":        {change("subject", []any{m{"name": "x", "digest": m{"sha256": "ab"}}}), "digest"},
		"an upper-case digest":  {change("subject", []any{m{"name": "x", "digest": m{"sha256": strings.Repeat("AB", 32)}}}), "lower-case"},
		"another predicate":     {change("predicateType", "https://slsa.dev/provenance/v0.2"), "predicateType"},
		"no build definition":   {change("predicate.buildDefinition", nil), "buildDefinition required"},
		"no build type":         {change("predicate.buildDefinition.buildType", nil), "buildType required"},
		"a build type in words": {change("predicate.buildDefinition.buildType", "docker build"), "not a URI"},
		"no parameters":         {change("predicate.buildDefinition.externalParameters", m{}), "externalParameters required"},
		"no builder":            {change("predicate.runDetails.builder", m{}), "builder required"},
		"no builder id":         {change("predicate.runDetails.builder.id", nil), "builder.id required"},
		"an empty dependency":   {change("predicate.buildDefinition.resolvedDependencies", []any{m{"name": "x"}}), "has no URI, no digest"},
		"a wrong dependency":    {change("predicate.buildDefinition.resolvedDependencies", []any{m{"digest": m{"gitCommit": "abc"}}}), "digest"},
		"a wrong byproduct":     {change("predicate.runDetails.byproducts", []any{m{"name": "x", "uri": "u:x"}}), "no SHA-2 digest"},
		"a wrong time":          {change("predicate.runDetails.metadata.startedOn", "yesterday"), "not SLSA provenance"},
		"times in the wrong order": {
			change("predicate.runDetails.metadata.finishedOn", "2001-01-01T00:00:00Z"), "is before startedOn",
		},
		"a field that SLSA has not": {change("predicate.runDetails.builder.name", "x"), "unknown field"},
	} {
		t.Run(name, func(t *testing.T) {
			err := Validate(tc.data)
			require.ErrorContains(t, err, tc.want)
			var invalid *InvalidError
			require.ErrorAs(t, err, &invalid)
		})
	}
	t.Run("what others write", func(t *testing.T) {
		_, err := Read(change("predicate.runDetails.builder.vendor_field", "x"))
		require.NoError(t, err)
	})
}

func TestCheckByproduct(t *testing.T) {
	dt, err := Release(release(t))
	require.NoError(t, err)
	st, err := Read(dt)
	require.NoError(t, err)
	require.Len(t, st.Byproducts(), 2)
	require.NoError(t, st.CheckByproduct("sbom-app-amd64.cdx.json", document))
	for i := range document {
		changed := append([]byte(nil), document...)
		changed[i] ^= 1
		var mismatch *MismatchError
		require.ErrorAs(t, st.CheckByproduct("sbom-app-amd64.cdx.json", changed), &mismatch)
	}
	require.ErrorIs(t, st.CheckByproduct("other", document), ErrNotNamed)
}

// A statement with one byte changed is refused or says something else: it is never
// taken for the same.
func FuzzRead(f *testing.F) {
	f.Add([]byte(`{"_type":"https://in-toto.io/Statement/v1","subject":[{"digest":{"sha512":"` + strings.Repeat("a", 128) + `"}}],"predicateType":"x:y","predicate":{"a":1}}`))
	f.Add([]byte(`{"_type":"https://in-toto.io/Statement/v1","subject":[{"digest":{"sha256":"x"}}],"predicateType":"https://slsa.dev/provenance/v1","predicate":{}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		st, err := Read(data)
		if err != nil {
			return
		}
		require.NotEmpty(t, st.Subjects)
		for _, b := range st.Byproducts() {
			require.NoError(t, b.Digest.Validate())
		}
		_ = Validate(data)
	})
}
