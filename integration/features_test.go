package integration

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/hardening/spec"
	"github.com/temper-images/temper/integration/daemon"
	"github.com/temper-images/temper/integration/door"
	"github.com/temper-images/temper/integration/image"
	"github.com/temper-images/temper/integration/registry"
	"github.com/temper-images/temper/integration/tools"
)

// newDaemon starts a builder with an empty cache, for one test, and returns its
// address.
func newDaemon(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp(scratch, "d") //nolint:usetesting // its socket must have a short path
	require.NoError(t, err)
	d, err := daemon.Start(t.Context(), dir, daemon.Options{Binary: tools.Path("buildkitd")})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, d.Stop()) })
	return d.Addr
}

func TestDockerfileFeatures(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(secret, []byte("hush"), 0o600))
	named := contextDir(t, map[string]string{"greeting": "hello from a named context"})
	dir := contextDir(t, map[string]string{
		".dockerignore": "ignored\n",
		"ignored":       "",
		"kept":          "kept",
		"Dockerfile": `ARG BASE=busybox
FROM ${BASE} AS one
ARG WHO=nobody
RUN --mount=type=secret,id=word test "$(cat /run/secrets/word)" = hush && echo "$WHO" >/who
COPY --from=named greeting /greeting

FROM busybox AS two
RUN <<END
echo two >/two
END
COPY . /context/

FROM busybox
COPY --from=one /who /greeting /data/
COPY --from=two /two /context /data/
LABEL org.example=label
ENV GREETING=hello
WORKDIR /data
VOLUME /data/volume
EXPOSE 1234/udp
STOPSIGNAL SIGINT
HEALTHCHECK --interval=3s CMD ["true"]
ENTRYPOINT ["sh", "-c"]
CMD ["cat /data/who"]
`,
	})
	for _, d := range doors(t) {
		t.Run(d.Name(), func(t *testing.T) {
			contexts := contexts(t, "busybox")
			contexts["named"] = named
			img := build(t, d, door.Build{
				Context: dir, Contexts: contexts, Args: map[string]string{"WHO": "somebody"}, Secrets: map[string]string{"word": secret},
			})
			files, err := img.Files()
			require.NoError(t, err)
			require.Equal(t, "somebody\n", string(files["/data/who"].Content))
			require.Equal(t, "hello from a named context", string(files["/data/greeting"].Content))
			require.Equal(t, "two\n", string(files["/data/two"].Content))
			require.Contains(t, files, "/data/kept")
			require.NotContains(t, files, "/data/ignored")

			file, err := img.ConfigFile()
			require.NoError(t, err)
			cfg := file.Config
			require.Equal(t, "65532:65532", cfg.User)
			require.Equal(t, []string{"sh", "-c"}, cfg.Entrypoint)
			require.Equal(t, []string{"cat /data/who"}, cfg.Cmd)
			require.Equal(t, "/data", cfg.WorkingDir)
			require.Equal(t, "label", cfg.Labels["org.example"])
			require.Equal(t, "SIGINT", cfg.StopSignal)
			require.Contains(t, cfg.Env, "GREETING=hello")
			require.Contains(t, cfg.Volumes, "/data/volume")
			require.Contains(t, cfg.ExposedPorts, "1234/udp")
			for _, e := range cfg.Env {
				require.NotContains(t, e, "TEMPER_")
			}
		})
	}
}

// No emulation: nothing runs in these images, on either platform.
func TestMultiPlatform(t *testing.T) {
	dir := contextDir(t, map[string]string{
		"Dockerfile": "FROM scratch\nARG TARGETARCH\nCOPY ${TARGETARCH} /data\nCMD [\"/data\"]\n", "amd64": "AMD", "arm64": "ARM",
	})
	for _, d := range doors(t) {
		t.Run(d.Name(), func(t *testing.T) {
			out := filepath.Join(t.TempDir(), "image")
			_, err := d.Build(bounded(t), door.Build{Context: dir, Platforms: []string{"linux/amd64", "linux/arm64"}, Output: out})
			require.NoError(t, err)
			images, err := image.Open(out)
			require.NoError(t, err)
			require.Len(t, images, 2)
			for platform, want := range map[string]string{"linux/amd64": "AMD", "linux/arm64": "ARM"} {
				img := images[platform]
				require.NotNil(t, img, platform)
				files, err := img.Files()
				require.NoError(t, err)
				require.Equal(t, want, string(files["/data"].Content))
				require.Contains(t, img.Statements, spec.PredicateType)
			}
		})
	}
}

// The builder's own catalogue is made of the hardened root filesystem. The scanner
// lists the files that it is shown, in the form that BuildKit asks for.
func TestSBOMDescribesTheHardenedImage(t *testing.T) {
	scannerDir := contextDir(t, map[string]string{
		"Dockerfile": "FROM busybox\nCOPY scan /scan\nENTRYPOINT [\"sh\", \"/scan\"]\n",
		"scan": `set -e
cd "$BUILDKIT_SCAN_SOURCE"
files=$(find . -type f | sed 's/.*/{"name":"&"},/')
printf '{"_type":"https://in-toto.io/Statement/v0.1","predicateType":"https://spdx.dev/Document","predicate":{"files":[%s{"name":"end"}]}}' "$files" >"$BUILDKIT_SCAN_DESTINATION/scan.spdx.json"
`,
	})
	// The scanner is a tool that runs as root: it is built without hardening. The
	// builder takes it from a registry only.
	scanner := build(t, temper(), door.Build{
		Context: scannerDir, Contexts: contexts(t, "busybox"), Args: map[string]string{"TEMPER_HARDEN_LEVEL": "off"},
	})
	reg, err := registry.Start(t.Context(), t.TempDir())
	require.NoError(t, err)
	defer reg.Stop()
	ref, err := name.ParseReference(reg.Host + "/scanner:1")
	require.NoError(t, err)
	require.NoError(t, remote.Write(ref, scanner, remote.WithContext(t.Context())))

	dir := contextDir(t, map[string]string{
		"Dockerfile": "FROM busybox\nRUN mkdir -p /usr/share/doc/x && echo x >/usr/share/doc/x/README && echo y >/kept\nCMD [\"cat\", \"/kept\"]\n",
	})
	img := build(t, temper(), door.Build{Context: dir, Contexts: contexts(t, "busybox"), Attest: []string{"type=sbom,generator=" + ref.String()}})
	var sbom struct{ Files []struct{ Name string } }
	require.NoError(t, img.Predicate("https://spdx.dev/Document", &sbom))
	var names []string
	for _, f := range sbom.Files {
		names = append(names, f.Name)
	}
	require.Contains(t, names, "./kept")
	require.NotContains(t, names, "./usr/share/doc/x/README")
}

func TestCalls(t *testing.T) {
	dir := contextDir(t, map[string]string{"Dockerfile": `FROM busybox AS first
ARG FLAVOUR=plain
RUN --mount=type=secret,id=word true

FROM first as second
COPY --from=first /bin/busybox /copied
`})
	for _, d := range doors(t) {
		t.Run(d.Name(), func(t *testing.T) {
			b := door.Build{Context: dir, Contexts: contexts(t, "busybox"), Call: "outline"}
			log, err := d.Build(bounded(t), b)
			require.NoError(t, err)
			require.Contains(t, log, "FLAVOUR")
			require.Contains(t, log, "word")

			b.Call = "targets"
			log, err = d.Build(bounded(t), b)
			require.NoError(t, err)
			require.Contains(t, log, "first")
			require.Contains(t, log, "second")

			b.Call = "check"
			log, _ = d.Build(bounded(t), b) // some doors fail when there are warnings
			require.Contains(t, log, "FromAsCasing")
		})
	}
}

// Lint warnings reach the user once, however many platforms are built.
func TestWarningsOnce(t *testing.T) {
	dir := contextDir(t, map[string]string{"Dockerfile": "FROM scratch as one\nCOPY file /\nCMD [\"/file\"]\n", "file": ""})
	for _, d := range doors(t) {
		log, err := d.Build(bounded(t), door.Build{Context: dir, Platforms: []string{"linux/amd64", "linux/arm64"}})
		require.NoError(t, err)
		// In the progress of the step, and again in a summary at the end.
		require.LessOrEqual(t, strings.Count(log, " WARN: FromAsCasing"), 1, log)
		require.LessOrEqual(t, strings.Count(log, "\n - FromAsCasing"), 1, log)
		// buildctl shows a warning only when the step it belongs to has more to
		// say (BuildKit, util/progress/progressui, display.go, trace.update).
		if d.Name() != "buildctl" {
			require.Contains(t, log, "FromAsCasing", d.Name())
		}
	}
}

// Hardening solves the runtime stage for the image and for the report; its steps
// run once all the same, also when nothing may come from the cache.
func TestNoCacheRunsEveryStepOnce(t *testing.T) {
	var runs atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { runs.Add(1) }))
	defer server.Close()
	dir := contextDir(t, map[string]string{
		"Dockerfile": "FROM busybox\nRUN wget -q -O /answer " + server.URL + "\n",
	})
	for want := range int32(3) {
		build(t, temper(), door.Build{Context: dir, Contexts: contexts(t, "busybox"), NoCache: true})
		require.Equal(t, want+1, runs.Load())
	}
}
