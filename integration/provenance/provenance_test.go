package provenance

import (
	"context"
	"encoding/base64"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	digest "github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/client"
	"github.com/temper-images/temper/client/build"
	"github.com/temper-images/temper/client/builder"
	"github.com/temper-images/temper/client/ci"
	"github.com/temper-images/temper/client/frontend"
	"github.com/temper-images/temper/client/provenance"
	"github.com/temper-images/temper/client/subject"
	"github.com/temper-images/temper/integration/base"
	"github.com/temper-images/temper/integration/daemon"
	"github.com/temper-images/temper/integration/tools"
)

// planted must be seen nowhere.
const planted = "planted-S3cret/value=1"

// connect is a client of the builder at addr.
func connect(t testing.TB, addr string) *client.Client {
	t.Helper()
	c, err := client.New(bounded(t), client.Options{
		Builder: builder.Options{Address: addr}, Frontend: frontend.Options{Spec: tools.Path("frontend")},
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close(context.Background())) })
	return c
}

// sources are the origins of a build, with the digests that it must name.
type sources struct {
	request                             build.Request
	base, lib, file, dockerfile, commit string
}

// everySource is the nginx example with, besides its base as a named context, a
// file from a server, a repository and a directory as further contexts, a secret,
// and build arguments that end up in every sort of place.
func everySource(t testing.TB) *sources {
	t.Helper()
	debian, err := base.Debian(bounded(t))
	require.NoError(t, err)
	lib, libCommit := repository(t, map[string]string{"lib.txt": "a library"})
	example, err := os.ReadFile(filepath.Join(tools.Root(), "examples", "nginx", "Dockerfile"))
	require.NoError(t, err)
	text := strings.Replace(string(example), "COPY nginx.conf", `ARG TOKEN
ARG FILE
ENV FROM_ARG=${TOKEN}
RUN --mount=type=secret,id=word test "$(cat /run/secrets/word)" = hush && test -n "$TOKEN"
ADD ${FILE} /srv/data/
COPY --from=lib lib.txt /srv/lib/
COPY --from=named greeting /srv/named/
COPY <<END /srv/heredoc
${TOKEN} is in here
END
COPY nginx.conf`, 1)
	require.NotEqual(t, string(example), text)
	files := map[string]string{"Dockerfile": text}
	for _, name := range []string{"nginx.conf", "site/index.html"} {
		dt, err := os.ReadFile(filepath.Join(tools.Root(), "examples", "nginx", name))
		require.NoError(t, err)
		files[name] = string(dt)
	}
	dir, commit := repository(t, files)
	git(t, dir, "remote", "add", "origin", "https://bot:hunter2@git.example.com/team/nginx.git")
	secret := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(secret, []byte("hush"), 0o600))
	return &sources{
		base: debian.Digest, lib: libCommit, file: digest.FromString("downloaded").Encoded(), dockerfile: digest.FromString(text).Encoded(), commit: commit,
		request: build.Request{
			Context: dir, Outputs: []string{filepath.Join(t.TempDir(), "nginx.oci")}, Provenance: true,
			Contexts: []string{
				"debian:bookworm=" + debian.Ref(), "lib=" + serveGit(t, lib) + "#main", "named=" + directory(t, map[string]string{"greeting": "hello"}),
			},
			BuildArgs: []string{
				"TOKEN=" + planted, "FILE=" + serveFile(t, "data.txt", "downloaded") + "?token=" + planted,
				"SOURCE_DATE_EPOCH=1750000000", "TEMPER_HARDEN_LEVEL=exclusive",
			},
			Secrets: []string{"id=word,src=" + secret},
		},
	}
}

var base64Pattern = regexp.MustCompile(`[A-Za-z0-9+/]{12,}={0,2}`)

// requireNoSecrets looks for what must not be told, as it is and in whatever is
// base64.
func requireNoSecrets(t *testing.T, what string, dt []byte) {
	t.Helper()
	for _, word := range []string{planted, "planted-S3cret", "hunter2", "\"hush"} {
		require.NotContains(t, string(dt), word, what)
		for _, run := range base64Pattern.FindAll(dt, -1) {
			if plain, err := base64.StdEncoding.DecodeString(string(run)); err == nil {
				require.NotContains(t, string(plain), word, what)
			}
		}
	}
}

// dependencies are the digests of a statement's dependencies by kind and context.
func dependencies(st *provenance.Statement) map[string]map[string]string {
	out := map[string]map[string]string{}
	for _, d := range st.Provenance.BuildDefinition.ResolvedDependencies {
		key := d.Annotations.Fields["kind"].GetStringValue()
		if c := d.Annotations.Fields["context"].GetStringValue(); c != "" {
			key += " " + c
		}
		out[key] = d.Digest
	}
	return out
}

func TestEverySourceByDigest(t *testing.T) {
	ctx := bounded(t)
	c := connect(t, shared.Addr)
	s := everySource(t)
	facts, err := ci.Detect(ctx, ci.Options{Lookup: func(string) (string, bool) { return "", false }, Dir: s.request.Context})
	require.NoError(t, err)
	started := time.Now()
	res, err := c.Build(ctx, s.request)
	require.NoError(t, err)
	require.NoError(t, res.NoProvenance)
	platform := "linux/" + runtime.GOARCH
	require.Len(t, res.Provenance, 1)
	require.Contains(t, string(res.Provenance[platform]), planted, "BuildKit's own document has the values: otherwise this tests nothing")

	b, err := provenance.ReadBuild(res.Provenance[platform])
	require.NoError(t, err)
	requireNoSecrets(t, "BuildKit's document", b.Document)
	set, err := subject.Open(ctx, s.request.Outputs[0], subject.Options{})
	require.NoError(t, err)
	defer func() { require.NoError(t, set.Close()) }()
	img := set.Images[0]
	report := []byte(`{"a":"document"}`)
	in := provenance.Input{
		Image: provenance.Image{Name: img.Name, Digest: img.Digest, Platform: img.Platform},
		CI:    facts, Build: b, TemperVersion: "v0", BuilderKind: string(c.Builder().Kind), BuildKitVersion: c.Builder().Version,
		Frontend: provenance.Resource{Digest: map[string]string{"sha256": c.Frontend().Digest.Encoded()}},
		Byproducts: []provenance.Byproduct{
			{Name: "buildkit-nginx.provenance.json", MediaType: "application/json", Digest: digest.FromBytes(b.Document)},
			{Name: "report.json", MediaType: "application/json", Digest: digest.FromBytes(report)},
		},
		Started: started, Finished: time.Now(),
	}
	dt, err := provenance.Release(in)
	require.NoError(t, err)
	again, err := provenance.Release(in)
	require.NoError(t, err)
	require.Equal(t, string(dt), string(again))
	requireNoSecrets(t, "the statement", dt)
	st, err := provenance.Read(dt)
	require.NoError(t, err)

	require.Equal(t, map[string]map[string]string{
		"source":                {"gitCommit": s.commit},
		"frontend":              {"sha256": c.Frontend().Digest.Encoded()},
		"image debian:bookworm": {"sha256": strings.TrimPrefix(s.base, "sha256:")},
		"git lib":               {"gitCommit": s.lib},
		"http":                  {"sha256": s.file},
	}, dependencies(st))
	external := st.Provenance.BuildDefinition.ExternalParameters.AsMap()
	require.Equal(t, map[string]any{
		"uri": "git+https://git.example.com/team/nginx@refs/heads/main", "digest": map[string]any{"gitCommit": s.commit},
	}, external["source"])
	require.Equal(t, map[string]any{"path": "Dockerfile", "digest": map[string]any{"sha256": s.dockerfile}}, external["dockerfile"])
	require.Equal(t, map[string]any{
		"TOKEN": map[string]any{}, "FILE": map[string]any{},
		"SOURCE_DATE_EPOCH": map[string]any{"value": "1750000000"}, "TEMPER_HARDEN_LEVEL": map[string]any{"value": "exclusive"},
	}, external["buildArgs"])
	require.Equal(t, []any{"word"}, external["secrets"])
	require.Equal(t, "local", external["contexts"].(map[string]any)["named"])

	t.Run("tampering is found", func(t *testing.T) {
		require.True(t, st.IsAbout(img.Digest))
		require.NoError(t, st.CheckByproduct("report.json", report))
		var mismatch *provenance.MismatchError
		require.ErrorAs(t, st.CheckByproduct("report.json", []byte(`{"a":"Document"}`)), &mismatch)
		other, err := provenance.Read([]byte(strings.ReplaceAll(string(dt), img.Digest.Encoded(), digest.FromString("x").Encoded())))
		require.NoError(t, err)
		require.False(t, other.IsAbout(img.Digest))
		require.Error(t, provenance.Validate([]byte(strings.Replace(string(dt), s.lib, s.lib[1:], 1))))
	})
}

// BuildKit's attestation in an image is another way to the same facts.
func TestSameAsTheAttachedProvenance(t *testing.T) {
	ctx := bounded(t)
	c := connect(t, shared.Addr)
	busybox, err := base.Busybox(ctx)
	require.NoError(t, err)
	lib, _ := repository(t, map[string]string{"lib.txt": "a library"})
	req := build.Request{
		Context: directory(t, map[string]string{"Dockerfile": "FROM busybox\nARG WORD\nRUN echo $WORD >/word\nCOPY --from=lib lib.txt /\nADD " +
			serveFile(t, "data.txt", "downloaded") + " /data.txt\nCMD [\"cat\", \"/lib.txt\", \"/data.txt\"]\n"}),
		Contexts:   []string{"busybox=" + busybox.Ref(), "lib=" + serveGit(t, lib) + "#main"},
		BuildArgs:  []string{"WORD=" + planted},
		Outputs:    []string{filepath.Join(t.TempDir(), "app.oci")},
		Attest:     []string{"type=provenance,mode=max,version=v1"},
		Provenance: true,
	}
	res, err := c.Build(ctx, req)
	require.NoError(t, err)
	require.NoError(t, res.NoProvenance)
	fetched, err := provenance.ReadBuild(res.Provenance["linux/"+runtime.GOARCH])
	require.NoError(t, err)
	require.Len(t, fetched.Dependencies, 4)

	set, err := subject.Open(ctx, req.Outputs[0], subject.Options{})
	require.NoError(t, err)
	defer func() { require.NoError(t, set.Close()) }()
	statements, err := set.Images[0].Statements(ctx)
	require.NoError(t, err)
	found := false
	for _, s := range statements {
		if s.PredicateType != provenance.PredicateType {
			continue
		}
		found = true
		attached, err := provenance.ReadBuild(s.Data)
		require.NoError(t, err)
		require.ElementsMatch(t, attached.Dependencies, fetched.Dependencies)
		require.Equal(t, attached.BuildArgs, fetched.BuildArgs)
		require.Equal(t, attached.Dockerfile, fetched.Dockerfile)
		requireNoSecrets(t, "the attached document", attached.Document)
	}
	require.True(t, found)
}

func TestSeveralPlatforms(t *testing.T) {
	c := connect(t, shared.Addr)
	dir := directory(t, map[string]string{
		"Dockerfile": "FROM scratch\nARG TARGETARCH\nCOPY ${TARGETARCH} /data\nCMD [\"/data\"]\n", "amd64": "AMD", "arm64": "ARM",
	})
	res, err := c.Build(bounded(t), build.Request{
		Context: dir, Platforms: []string{"linux/amd64,linux/arm64"}, Outputs: []string{filepath.Join(t.TempDir(), "app.oci")}, Provenance: true,
	})
	require.NoError(t, err)
	require.NoError(t, res.NoProvenance)
	require.Len(t, res.Provenance, 2)
	for _, platform := range []string{"linux/amd64", "linux/arm64"} {
		b, err := provenance.ReadBuild(res.Provenance[platform])
		require.NoError(t, err)
		require.Equal(t, platform, b.Platform)
	}
}

func TestRemoteContext(t *testing.T) {
	c := connect(t, shared.Addr)
	repo, commit := repository(t, map[string]string{"Dockerfile": "FROM scratch\nCOPY hello /\nCMD [\"/hello\"]\n", "hello": "hi"})
	res, err := c.Build(bounded(t), build.Request{
		Context: serveGit(t, repo) + "#main", Outputs: []string{filepath.Join(t.TempDir(), "app.oci")}, Provenance: true,
	})
	require.NoError(t, err)
	require.NoError(t, res.NoProvenance)
	b, err := provenance.ReadBuild(res.Provenance["linux/"+runtime.GOARCH])
	require.NoError(t, err)
	require.Equal(t, map[string]string{"gitCommit": commit}, b.Source.Digest)
	require.True(t, b.Complete, "everything was fetched by the builder")
	dt, err := provenance.Release(provenance.Input{
		Image: provenance.Image{Name: "app", Digest: digest.Digest(res.Digest()), Platform: b.Platform}, Build: b,
	})
	require.NoError(t, err)
	st, err := provenance.Read(dt)
	require.NoError(t, err)
	require.Equal(t, map[string]string{"gitCommit": commit}, dependencies(st)["source"])
	require.NotContains(t, dependencies(st), "git", "the source is listed once")
}

// A builder that keeps no history builds as well as another.
func TestBuilderWithoutHistory(t *testing.T) {
	dir, err := os.MkdirTemp("", "temper-") //nolint:usetesting // its socket must have a short path
	require.NoError(t, err)
	defer os.RemoveAll(dir)
	d, err := daemon.Start(bounded(t), dir, daemon.Options{Binary: tools.Path("buildkitd"), Config: "[history]\n  maxEntries = 0\n"})
	require.NoError(t, err)
	defer func() { require.NoError(t, d.Stop()) }()
	c := connect(t, d.Addr)
	req := build.Request{
		Context: directory(t, map[string]string{"Dockerfile": "FROM scratch\nCOPY Dockerfile /\nCMD [\"/x\"]\n"}),
		Outputs: []string{filepath.Join(t.TempDir(), "app.oci")}, Provenance: true,
	}
	res, err := c.Build(bounded(t), req)
	require.NoError(t, err)
	require.NotEmpty(t, res.Digest())
	require.Empty(t, res.Provenance)
	var none *build.NoProvenanceError
	require.ErrorAs(t, res.NoProvenance, &none)
	require.Contains(t, none.Error(), d.Addr)
}
