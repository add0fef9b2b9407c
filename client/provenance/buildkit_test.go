package provenance

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"

	digest "github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/require"
)

// The recording is of a real build with a named layout, a local context, a git
// repository, a downloaded file, a secret, and planted values of build arguments
// that end up in a command's environment, a path, a URL and a file's content.
func TestReadBuild(t *testing.T) {
	b, err := ReadBuild(recorded(t))
	require.NoError(t, err)
	require.Equal(t, PredicateType, b.PredicateType)
	require.Equal(t, "linux/amd64", b.Platform)
	require.Equal(t, map[string]*string{"TOKEN": nil, "URL": nil}, b.BuildArgs)
	require.Equal(t, []string{"word"}, b.Secrets)
	require.Equal(t, []string{"context", "dockerfile", "named"}, b.Locals)
	require.Equal(t, "Dockerfile", b.Dockerfile.Path)
	require.NoError(t, b.Dockerfile.Digest.Validate())
	require.False(t, b.Complete)
	require.Equal(t, "local", b.Contexts["named"])
	require.Regexp(t, `^oci-layout@sha256:[0-9a-f]{64}$`, b.Contexts["busybox"])
	require.Regexp(t, `^http://127\.0\.0\.1:\d+/lib\.git#main$`, b.Contexts["lib"])
	require.Len(t, b.Contexts, 3, "the frontend is no context of the user's")
	require.False(t, b.Started.IsZero())
	require.True(t, b.Finished.After(b.Started))

	byKind := map[Kind]Resource{}
	for _, d := range b.Dependencies {
		require.NotContains(t, byKind, d.Kind)
		byKind[d.Kind] = d
	}
	require.Equal(t, "busybox", byKind[KindImage].Name)
	require.Equal(t, map[string]string{"context": "busybox"}, byKind[KindImage].Annotations)
	require.Equal(t, "temper/frontend:1", byKind[KindFrontend].Name)
	require.Equal(t, map[string]string{"gitCommit": "c2cdff7d13e35a033f72be23a550ef57c525fc00"}, byKind[KindGit].Digest)
	require.Equal(t, map[string]string{"context": "lib"}, byKind[KindGit].Annotations)
	require.Equal(t, digestSet(digest.FromString("data")), byKind[KindHTTP].Digest)
	require.Len(t, byKind, 4)
}

// base64Pattern finds what may be encoded text.
var base64Pattern = regexp.MustCompile(`[A-Za-z0-9+/]{12,}={0,2}`)

// requireAbsent looks for words as they are, and in whatever is base64.
func requireAbsent(t *testing.T, dt []byte, words ...string) {
	t.Helper()
	for _, word := range words {
		require.NotContains(t, string(dt), word)
		for _, run := range base64Pattern.FindAll(dt, -1) {
			if plain, err := base64.StdEncoding.DecodeString(string(run)); err == nil {
				require.NotContains(t, string(plain), word)
			}
		}
	}
}

func TestRedact(t *testing.T) {
	dt := recorded(t)
	require.Contains(t, string(dt), planted)
	b, err := ReadBuild(dt)
	require.NoError(t, err)
	requireAbsent(t, b.Document, planted)
	text := string(b.Document)
	for _, kept := range []string{
		`"build-arg:TOKEN": "REDACTED"`, `"TOKEN=REDACTED"`, `"id": "word"`, `"builderPlatform": "linux/amd64"`, `"/x-REDACTED/"`,
		base64.StdEncoding.EncodeToString([]byte("REDACTED in a heredoc\n")), "c2cdff7d13e35a033f72be23a550ef57c525fc00",
	} {
		require.Contains(t, text, kept)
	}
	again, err := ReadBuild(dt)
	require.NoError(t, err)
	require.Equal(t, text, string(again.Document))

	t.Run("twice", func(t *testing.T) {
		twice, err := ReadBuild(b.Document)
		require.NoError(t, err)
		require.Equal(t, text, string(twice.Document))
		require.Equal(t, b.Dependencies, twice.Dependencies)
	})
}

// predicateWith is a provenance with build arguments and one more string.
func predicateWith(t *testing.T, args map[string]string, anywhere string) []byte {
	t.Helper()
	dt, err := json.Marshal(map[string]any{
		"buildDefinition": map[string]any{
			"externalParameters": map[string]any{"request": map[string]any{"args": args}},
			"internalParameters": map[string]any{"buildConfig": map[string]any{"llbDefinition": []any{anywhere}}},
		},
	})
	require.NoError(t, err)
	return dt
}

func TestRedactForms(t *testing.T) {
	for name, tc := range map[string]struct {
		value, anywhere, want string
		public                []string
		arg                   string
	}{
		"as it is":               {value: "hunter2 & co", anywhere: "x hunter2 & co y", want: "x REDACTED y"},
		"in a query":             {value: "hunter2 & co", anywhere: "https://h/?a=hunter2+%26+co", want: "https://h/?a=REDACTED"},
		"in a path":              {value: "hunter2 & co", anywhere: "https://h/hunter2%20&%20co/x", want: "https://h/REDACTED/x"},
		"in JSON":                {value: "hunter2\n\"x", anywhere: `{"a":"hunter2\n\"x"}`, want: `{"a":"REDACTED"}`},
		"in base64":              {value: "hunter2-x", anywhere: base64.StdEncoding.EncodeToString([]byte("a hunter2-x\n")), want: base64.StdEncoding.EncodeToString([]byte("a REDACTED\n"))},
		"in an environment":      {value: "x", anywhere: "ARG=x", want: "ARG=REDACTED"},
		"a URL":                  {value: "https://h:1/x/secret", anywhere: "https://h:1/x/secret", want: "https://h:1/REDACTED"},
		"a URL with credentials": {value: "https://u:p@h/x?token=a", anywhere: "fetch https://u:p@h/x?token=a", want: "fetch https://h/REDACTED"},
		"short":                  {value: "x", anywhere: "next", want: "next"},
		"in an image's name":     {value: "bookworm", anywhere: "docker-image://docker.io/library/debian:bookworm", want: "docker-image://docker.io/library/debian:bookworm"},
		"allowed":                {value: "release", anywhere: "release", want: "release", public: []string{"ARG"}},
		"of Temper":              {arg: "TEMPER_HARDEN_LEVEL", value: "exclusive", anywhere: "exclusive", want: "exclusive"},
		"of BuildKit":            {arg: "SOURCE_DATE_EPOCH", value: "1750000000", anywhere: "1750000000", want: "1750000000"},
		"an account in a URL":    {value: "-", anywhere: "clone https://user:pass@h/x and ssh://git:pass@h/y", want: "clone https://h/x and ssh://git@h/y"},
		"a signed URL":           {value: "-", anywhere: "https://h/x?a=1&X-Amz-Signature=abc&b=2", want: "https://h/x?a=1&X-Amz-Signature=REDACTED&b=2"},
		"a layout is no account": {value: "-", anywhere: "oci-layout://store@sha256:abc", want: "oci-layout://store@sha256:abc"},
	} {
		t.Run(name, func(t *testing.T) {
			arg := tc.arg
			if arg == "" {
				arg = "ARG"
			}
			b, err := ReadBuild(predicateWith(t, map[string]string{argPrefix + arg: tc.value}, tc.anywhere), tc.public...)
			require.NoError(t, err)
			var got struct {
				BuildDefinition struct {
					ExternalParameters struct {
						Request struct{ Args map[string]string }
					}
					InternalParameters struct {
						BuildConfig struct{ LLBDefinition []string }
					}
				}
			}
			require.NoError(t, json.Unmarshal(b.Document, &got))
			require.Equal(t, []string{tc.want}, got.BuildDefinition.InternalParameters.BuildConfig.LLBDefinition)
			if isPublic(arg, tc.public) {
				require.Equal(t, tc.value, *b.BuildArgs[arg])
				require.Equal(t, tc.value, got.BuildDefinition.ExternalParameters.Request.Args[argPrefix+arg])
			} else {
				require.Nil(t, b.BuildArgs[arg])
				require.Equal(t, removed, got.BuildDefinition.ExternalParameters.Request.Args[argPrefix+arg])
			}
		})
	}
}

// A value can differ between the request and the requests that it is made of.
func TestRedactNestedRequests(t *testing.T) {
	b, err := ReadBuild([]byte(`{"buildDefinition":{"externalParameters":{"request":{
		"args":{"build-arg:A":"first-secret"},
		"inputs":{"x":{"request":{"args":{"build-arg:A":"second-secret","build-arg:B":"third-secret"}}}},
		"root":{"request":{"args":{"build-arg:C":"fourth-secret"}}}
	}}},"anything":["first-secret second-secret third-secret fourth-secret"]}`))
	require.NoError(t, err)
	requireAbsent(t, b.Document, "first-secret", "second-secret", "third-secret", "fourth-secret")
	require.Len(t, b.BuildArgs, 3)
}

func TestReadBuildOfOldVersion(t *testing.T) {
	b, err := ReadBuild([]byte(`{"predicateType":"https://slsa.dev/provenance/v0.2","predicate":{
		"builder":{"id":"https://builder.example.com"},
		"materials":[{"uri":"pkg:docker/debian@bookworm?platform=linux%2Famd64","digest":{"sha256":"` + strings.Repeat("ab", 32) + `"}},
			{"uri":"https://u:p@github.com/team/app.git#main","digest":{"sha1":"` + commit + `"}}],
		"invocation":{"configSource":{"uri":"https://u:p@github.com/team/app.git#main","digest":{"sha1":"` + commit + `"},"entryPoint":"Dockerfile"},
			"parameters":{"args":{"build-arg:A":"planted-value","target":"run"},"ssh":[{"id":"default"}]},
			"environment":{"platform":"linux/arm64"}},
		"metadata":{"buildInvocationID":"i","completeness":{"materials":true},"https://mobyproject.org/buildkit@v1#hermetic":true}}}`))
	require.NoError(t, err)
	require.Equal(t, "linux/arm64", b.Platform)
	require.Equal(t, "run", b.Target)
	require.Equal(t, []string{"default"}, b.SSH)
	require.True(t, b.Complete)
	require.True(t, b.Hermetic)
	require.Equal(t, Resource{Kind: KindSource, URI: "https://github.com/team/app.git#main", Digest: map[string]string{"gitCommit": commit}}, b.Source)
	require.Len(t, b.Dependencies, 2)
	requireAbsent(t, b.Document, "planted-value", "u:p@")
}

func TestReadBuildRefuses(t *testing.T) {
	deep := strings.Repeat(`{"request":{"root":`, 20) + "null" + strings.Repeat("}}", 20)
	many := make([]string, maxItems+1)
	for i := range many {
		many[i] = fmt.Sprintf(`{"uri":"https://h/%d"}`, i)
	}
	for name, tc := range map[string]struct{ data, want string }{
		"not JSON":            {"{", "unexpected end"},
		"no object":           {"[]", "cannot unmarshal"},
		"null":                {"null", "not a JSON object"},
		"text for a list":     {`{"buildDefinition":{"resolvedDependencies":"x"}}`, "cannot unmarshal"},
		"a wrong digest":      {`{"materials":[{"uri":"https://h/x","digest":{"sha256":"zz"}}]}`, "not lower-case hexadecimal"},
		"a short digest":      {`{"materials":[{"uri":"https://h/x","digest":{"sha256":"ab"}}]}`, "has 2 digits"},
		"a strange digest":    {`{"materials":[{"uri":"https://h/x","digest":{"../x":"ab"}}]}`, "not the name of a digest algorithm"},
		"a long name":         {`{"materials":[{"uri":"https://h/` + strings.Repeat("x", maxString) + `"}]}`, "longer than"},
		"many":                {`{"materials":[` + strings.Join(many, ",") + `]}`, "more than 10000"},
		"nested requests":     {`{"buildDefinition":{"externalParameters":{"request":{"root":` + deep + `}}}}`, "nested too deeply"},
		"larger than a limit": {`{"x":"` + strings.Repeat("x", maxDocument) + `"}`, "more than"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ReadBuild([]byte(tc.data))
			require.ErrorContains(t, err, tc.want)
			var invalid *InvalidError
			require.ErrorAs(t, err, &invalid)
		})
	}
}

func FuzzReadBuild(f *testing.F) {
	// Small ones: the fuzzer spends its time on making inputs smaller.
	f.Add([]byte(`{"predicate":{"materials":[{"uri":"pkg:docker/a@b","digest":{"sha1":"x"}}]}}`))
	f.Add([]byte(`{"buildDefinition":{"externalParameters":{"configSource":{"uri":"https://h/x.git","path":"D"},"request":{"args":{"build-arg:A":"secret1","context:b":"local:b","source":"f"},"root":{"request":{}}}},"resolvedDependencies":[{"uri":"pkg:oci/f","digest":{"sha256":"ab"}}]},"x":"c2VjcmV0MQ=="}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		b, err := ReadBuild(data)
		if err != nil {
			return
		}
		require.True(t, json.Valid(b.Document))
		// Whatever it says, a statement can be made of it.
		st, err := Release(Input{Image: image(), Build: b})
		if err == nil {
			require.NoError(t, Validate(st))
		}
		again, err := ReadBuild(b.Document)
		require.NoError(t, err)
		require.Equal(t, b.Dependencies, again.Dependencies)
	})
}
