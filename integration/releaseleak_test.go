package integration

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/integration/leak"
	"github.com/temper-images/temper/integration/records"
	"github.com/temper-images/temper/integration/tools"
)

// collector keeps everything that is sent to it over OTLP.
type collector struct {
	mu     sync.Mutex
	bodies map[string][]byte
}

func (c *collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	dt, err := io.ReadAll(io.LimitReader(r.Body, 64<<20))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.bodies[r.URL.Path] = append(c.bodies[r.URL.Path], dt...)
	w.Header().Set("Content-Type", "application/x-protobuf")
}

// TestReleaseKeepsSecrets plants secrets wherever a release meets them, and then
// searches everything that it printed, recorded, sent and stored, byte by byte and
// in every encoding.
func TestReleaseKeepsSecrets(t *testing.T) {
	r := newReleases(t, harmless)
	secrets := map[string]string{
		"build argument": "ghp_" + strings.Repeat("a1B2", 9),
		"ENV":            "correct-horse-battery-staple-7",
		"layer":          "AKIA" + "Q3EGRMZ7VJ5KZTQX",
		"build secret":   "mounted-only-for-one-command-42",
		"referenced":     "the-password-behind-a-reference",
		"environment":    "a-password-in-a-variable-xyz",
		"header":         "Bearer-of-the-collector-12345",
	}
	var planted []leak.Secret
	for name, value := range secrets {
		planted = append(planted, leak.Secret{Name: name, Value: value})
	}
	app := contextDir(t, map[string]string{
		"Dockerfile": `FROM debian:bookworm-slim
ARG API_TOKEN
ENV DB_PASSWORD=` + secrets["ENV"] + `
COPY credentials /root/.aws/credentials
RUN --mount=type=secret,id=build test -s /run/secrets/build && test -n "$API_TOKEN"
CMD ["true"]
`,
		"credentials":   "[default]\naws_access_key_id = " + secrets["layer"] + "\naws_secret_access_key = wJalrXUtnFEMIK7MDENGbPxRfiCYzzzzzzzzzzzz\n",
		".dockerignore": "temper.yaml\n",
		"temper.yaml": `inspect: {gate: warn}
sign: {password: "ref+file://` + filepath.Join(r.dir, "password") + `"}
log: {headers: ["authorization=ref+env://COLLECTOR_TOKEN"]}
`,
	})
	require.NoError(t, os.WriteFile(filepath.Join(r.dir, "password"), []byte(secrets["referenced"]+"\n"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(r.dir, "build-secret"), []byte(secrets["build secret"]), 0o600))
	// The key is encrypted with the password behind the reference.
	require.NoError(t, os.Remove(filepath.Join(r.dir, "cosign.key")))
	require.NoError(t, os.Remove(filepath.Join(r.dir, "cosign.pub")))
	code, out := r.command(t, []string{"COSIGN_PASSWORD=" + secrets["referenced"]}, tools.Path("temper"), "key", "generate")
	require.Zero(t, code, out)
	key := string(readFile(t, filepath.Join(r.dir, "cosign.key")))
	planted = append(planted, leak.Secret{Name: "key", Value: strings.Split(key, "\n")[3]})

	sink := &collector{bodies: map[string][]byte{}}
	srv := httptest.NewServer(sink)
	defer srv.Close()
	env := []string{
		"COSIGN_PASSWORD=" + secrets["environment"], "COLLECTOR_TOKEN=" + secrets["header"],
	}
	arg := "API_TOKEN=" + secrets["build argument"]
	search, err := leak.New(planted...)
	require.NoError(t, err)

	base := append([]string{"--builder", shared.Addr, "release", "--db", r.db.Archive, "--key", "cosign.key", "--secret", "id=build,src=build-secret"}, r.args...)
	runs := map[string][]string{
		"refused": {"--build-arg", arg, "--progress", "plain"},
		// Without a cache the image is another one, which a tag and a layout of its own show.
		"plain":      {"--build-arg", arg, "--allow-build-arg", "*", "--progress", "plain", "--report", "report.html", "-o", "type=oci,tar=false,dest=image", "-t", r.host(t) + "/leak:1"},
		"raw":        {"--build-arg", arg, "--allow-build-arg", "*", "--progress", "rawjson"},
		"records":    {"--build-arg", arg, "--allow-build-arg", "*", "--log-format", "json", "--log-level", "debug", "--otlp-endpoint", srv.URL, "--no-cache", "-o", "type=oci,tar=false,dest=rebuilt", "-t", r.host(t) + "/leak:2"},
		"wrong key":  {"--build-arg", arg, "--allow-build-arg", "*", "--progress", "plain", "--config", "wrong.yaml"},
		"bad config": {"--config", "bad.yaml", "--progress", "plain"},
	}
	require.NoError(t, os.WriteFile(filepath.Join(r.dir, "wrong.yaml"), []byte("inspect: {gate: warn}\n"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(r.dir, "bad.yaml"), []byte("sign: {password: "+secrets["environment"]+"}\n"), 0o600))
	want := map[string]int{"refused": exitUsage, "wrong key": 1, "bad config": exitUsage}
	for name, args := range runs {
		code, out := r.command(t, env, tools.Path("temper"), append(append(base, args...), app)...)
		require.Equal(t, want[name], code, "%s: %s", name, search.Report()+clean(out, secrets))
		search.Bytes(name, []byte(out))
		if name == "records" {
			events, err := records.Check(out)
			require.NoError(t, err)
			for _, event := range []string{"pipeline", "build", "database", "catalogue", "sbom", "scan", "gate", "inspect", "sign", "store", "provenance", "journal", "publish"} {
				require.Contains(t, events, event+".completed")
			}
		}
	}
	search.Bytes("crash", crash(t, r, env, append(append(base, "--build-arg", arg, "--allow-build-arg", "*", "--progress", "plain"), app)))
	sink.mu.Lock()
	require.Contains(t, sink.bodies, "/v1/traces")
	require.Contains(t, sink.bodies, "/v1/logs")
	for path, dt := range sink.bodies {
		search.Bytes("OTLP "+path, dt)
	}
	sink.mu.Unlock()
	require.NoError(t, search.Path(filepath.Join(r.dir, "temper-evidence")))
	require.NoError(t, search.Path(filepath.Join(r.dir, "report.html")))
	require.NoError(t, search.Path(filepath.Join(r.dir, "state")))
	// The image itself has what its Dockerfile put there; what stands beside it has not.
	searchReferrers(t, r, search)
	require.Empty(t, search.Report())

	// The search does find what is there.
	found, err := leak.New(planted...)
	require.NoError(t, err)
	require.NoError(t, found.Path(app))
	require.Contains(t, found.Report(), "ENV")
	stored, err := filepath.Glob(filepath.Join(r.dir, "temper-evidence", "scans", "amd64", "*", "inspect-leak-amd64.json"))
	require.NoError(t, err)
	require.NotEmpty(t, stored)
	inspection := string(readFile(t, stored[0]))
	require.Contains(t, inspection, "DB_PASSWORD", "the secrets were seen")
	require.Contains(t, inspection, "/root/.aws/credentials")
}

// searchReferrers searches what the registry has besides what the layouts have.
func searchReferrers(t *testing.T, r *releases, search *leak.Search) {
	t.Helper()
	blobs, err := filepath.Glob(filepath.Join(r.storage, "docker/registry/v2/blobs/sha256/*/*/data"))
	require.NoError(t, err)
	searched := 0
	for _, blob := range blobs {
		hex := filepath.Base(filepath.Dir(blob))
		images, err := filepath.Glob(filepath.Join(r.dir, "*", "blobs", "sha256", hex))
		require.NoError(t, err)
		if len(images) > 0 {
			continue
		}
		search.Bytes("registry "+hex, readFile(t, blob))
		searched++
	}
	require.Greater(t, searched, 10, "attestations and signatures")
}

// crash has the runtime end a release in the middle, and returns all that it says.
func crash(t *testing.T, r *releases, env, args []string) []byte {
	t.Helper()
	cmd := exec.CommandContext(bounded(t), tools.Path("temper"), args...)
	cmd.Dir = r.dir
	cmd.Env = append(append(os.Environ(), "COSIGN_PASSWORD="+password, "TEMPER_DB_DIR="+filepath.Join(r.dir, "cache"),
		"XDG_STATE_HOME="+filepath.Join(r.dir, "state"), "GOTRACEBACK=all"), env...)
	var out lockedBuffer
	cmd.Stdout, cmd.Stderr = &out, &out
	require.NoError(t, cmd.Start())
	require.Eventually(t, func() bool { return strings.Contains(out.String(), "[evidence 1/8]") }, 5*time.Minute, 10*time.Millisecond)
	require.NoError(t, cmd.Process.Signal(syscall.SIGQUIT))
	require.Error(t, cmd.Wait())
	require.Contains(t, out.String(), "goroutine ")
	return []byte(out.String())
}

// lockedBuffer is written by a command while a test reads it.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// clean takes the planted secrets out of what a failed test prints.
func clean(out string, secrets map[string]string) string {
	for _, s := range secrets {
		out = strings.ReplaceAll(out, s, "(planted)")
	}
	return out
}
