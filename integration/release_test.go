package integration

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/client/provenance"
	"github.com/temper-images/temper/client/vulndb/vulndbtest"
	"github.com/temper-images/temper/integration/registry"
	"github.com/temper-images/temper/integration/sigstore"
	"github.com/temper-images/temper/integration/tools"
)

// password opens the keys of the tests.
const password = "a-password-of-the-tests"

// releases is a directory in which temper release runs.
type releases struct {
	dir  string
	db   *vulndbtest.Database
	args []string
	// storage is the directory of the registry, once host was asked for one.
	storage string
	address string
}

// host starts a registry, once, and returns its address.
func (r *releases) host(t testing.TB) string {
	t.Helper()
	if r.storage == "" {
		r.storage = t.TempDir()
		reg, err := registry.Start(bounded(t), r.storage)
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, reg.Stop()) })
		r.address = reg.Host
	}
	return r.address
}

// newReleases makes a directory with a key and a vulnerability database.
func newReleases(t testing.TB, records vulndbtest.Records) *releases {
	t.Helper()
	r := &releases{dir: t.TempDir()}
	var err error
	r.db, err = vulndbtest.Build(filepath.Join(t.TempDir(), "db"), time.Now().Add(-time.Hour), records)
	require.NoError(t, err)
	for name, ref := range contexts(t, "debian:bookworm", "debian:bookworm-slim", "golang:1.26-bookworm") {
		r.args = append(r.args, "--build-context", name+"="+ref)
	}
	code, out := r.temper(t, "key", "generate")
	require.Zero(t, code, out)
	return r
}

// temper runs the command in the directory.
func (r *releases) temper(t testing.TB, args ...string) (code int, out string) {
	t.Helper()
	return r.command(t, nil, tools.Path("temper"), append([]string{"--builder", shared.Addr}, args...)...)
}

// release releases an application of a directory.
func (r *releases) release(t testing.TB, app string, args ...string) (code int, out string) {
	t.Helper()
	all := append([]string{"release", "--progress", "plain", "--db", r.db.Archive, "--key", "cosign.key"}, r.args...)
	return r.temper(t, append(append(all, args...), app)...)
}

func (r *releases) command(t testing.TB, env []string, name string, args ...string) (code int, out string) {
	t.Helper()
	cmd := exec.CommandContext(bounded(t), name, args...)
	cmd.Dir = r.dir
	cmd.Env = append(append(os.Environ(), "COSIGN_PASSWORD="+password, "TEMPER_DB_DIR="+filepath.Join(r.dir, "cache"),
		"XDG_STATE_HOME="+filepath.Join(r.dir, "state"), "SYFT_CHECK_FOR_APP_UPDATE=false", "GRYPE_CHECK_FOR_APP_UPDATE=false"), env...)
	dt, err := cmd.CombinedOutput()
	if _, exited := err.(*exec.ExitError); err != nil && !exited { //nolint:errorlint // exec returns it unwrapped
		require.NoError(t, err)
	}
	require.NotContains(t, string(dt), "panic:")
	return cmd.ProcessState.ExitCode(), string(dt)
}

// must runs an outside judge, which must agree.
func (r *releases) must(t testing.TB, env []string, name string, args ...string) string {
	t.Helper()
	code, out := r.command(t, env, tools.Path(name), args...)
	require.Zero(t, code, "%s %s\n%s", name, strings.Join(args, " "), out)
	return out
}

// stored lists the files of the evidence store by their names, without the index.
func (r *releases) stored(t testing.TB) map[string]string {
	t.Helper()
	out := map[string]string{}
	root := filepath.Join(r.dir, "temper-evidence")
	require.NoError(t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if top, _, _ := strings.Cut(rel, "/"); top != "index" && top != "refs" {
			require.NotContains(t, out, filepath.Base(path), "two files of one name")
			out[filepath.Base(path)] = path
		}
		return err
	}))
	return out
}

// harmless has findings that the default gate lets pass.
var harmless = vulndbtest.Records{Debian: []vulndbtest.Record{
	{ID: "CVE-2026-1001", Package: "zlib", Severity: "Critical"},
	{ID: "CVE-2026-1002", Package: "openssl", Fixed: "99", Severity: "Low"},
	{ID: "CVE-2026-1003", Package: "glibc", Fixed: "99", Severity: "Medium", EPSS: 0.2},
}}

// documents are the kinds of documents of a release, by how their names begin and end.
var documents = []string{
	"attestation-%s-amd64.json", "buildkit-%s-amd64.provenance.json", "gate-%s-amd64.json", "hardening-%s-amd64.json",
	"inspect-%s-amd64.json", "sbom-%s-amd64.cdx.json", "sbom-%s-amd64.spdx.json",
	"scan-%s-amd64.json", "scan-%s-amd64.sarif", "vuln-%s-amd64.json",
}

// TestRelease: everything that a release of each example writes is there, is
// signed, and satisfies the command lines of others.
func TestRelease(t *testing.T) {
	for _, name := range []string{"nginx", "python", "go"} {
		t.Run(name, func(t *testing.T) {
			r := newReleases(t, harmless)
			ref := r.host(t) + "/team/" + name + ":1"
			code, out := r.release(t, example(name), "-t", ref)
			require.Zero(t, code, out)
			require.Contains(t, out, "[evidence 1/8] catalogue amd64", "the steps stand in the display of the build")
			files := r.stored(t)
			for _, pattern := range documents {
				require.Contains(t, files, fmt.Sprintf(pattern, name), out)
			}
			t.Run("cosign", func(t *testing.T) { judgeSignatures(t, r, files, name) })
			t.Run("grype", func(t *testing.T) { judgeFindings(t, r, files, name) })
			t.Run("provenance", func(t *testing.T) { judgeProvenance(t, files, name) })
			t.Run("verify", func(t *testing.T) { judgeStore(t, r, files, ref) })
			t.Run("published", func(t *testing.T) { judgePublished(t, r, ref) })
		})
	}
}

// judgeSignatures has both versions of cosign verify every signature and bundle.
func judgeSignatures(t *testing.T, r *releases, files map[string]string, name string) {
	root := sigstore.EmptyRoot(t, t.TempDir())
	offline := []string{"--key", "cosign.pub", "--insecure-ignore-tlog"}
	signed := 0
	for _, file := range slices.Sorted(maps.Values(files)) {
		if strings.HasSuffix(file, ".sig") || strings.HasSuffix(file, ".sigstore.json") {
			continue
		}
		signed++
		for _, judge := range []string{"cosign", "cosign3"} {
			r.must(t, nil, judge, append([]string{"verify-blob", "--signature", file + ".sig", file}, offline...)...)
			r.must(t, nil, judge, append([]string{
				"verify-blob", "--bundle", file + ".sigstore.json", "--new-bundle-format", "--trusted-root", root, file,
			}, offline...)...)
		}
	}
	require.GreaterOrEqual(t, signed, len(documents))
	require.NotContains(t, files, "sbom-"+name+"-amd64.cdx.json.dsse.sigstore.json", "an SBOM is no statement")
	statement := files["attestation-"+name+"-amd64.json"]
	digest := strings.TrimPrefix(filepath.Base(filepath.Dir(statement)), "sha256-")
	for _, judge := range []string{"cosign", "cosign3"} {
		r.must(t, nil, judge, append([]string{
			"verify-blob-attestation", "--bundle", statement + ".dsse.sigstore.json", "--new-bundle-format", "--trusted-root", root,
			"--type", "slsaprovenance1", "--digest", digest, "--digestAlg", "sha256",
		}, offline...)...)
	}
	// A byte more, and they do not.
	sbom := files["sbom-"+name+"-amd64.cdx.json"]
	changed := filepath.Join(t.TempDir(), "changed")
	dt, err := os.ReadFile(sbom)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(changed, append(dt, ' '), 0o644))
	for _, judge := range []string{"cosign", "cosign3"} {
		code, _ := r.command(t, nil, tools.Path(judge), "verify-blob", "--key", "cosign.pub", "--insecure-ignore-tlog", "--signature", sbom+".sig", changed)
		require.NotZero(t, code)
	}
}

// judgeFindings has grype's command line scan the SBOMs: it finds what temper found.
func judgeFindings(t *testing.T, r *releases, files map[string]string, name string) {
	cache := []string{"GRYPE_DB_CACHE_DIR=" + t.TempDir(), "GRYPE_DB_AUTO_UPDATE=false", "GRYPE_DB_VALIDATE_AGE=false"}
	r.must(t, cache, "grype", "db", "import", r.db.Archive)
	ours := matches(t, readFile(t, files["scan-"+name+"-amd64.json"]))
	if name != "go" {
		require.NotEmpty(t, ours)
	}
	for _, ending := range []string{".cdx.json", ".spdx.json"} {
		theirs := filepath.Join(t.TempDir(), "grype.json")
		r.must(t, cache, "grype", "sbom:"+files["sbom-"+name+"-amd64"+ending], "-o", "json", "--file", theirs)
		require.Equal(t, ours, matches(t, readFile(t, theirs)), ending)
	}
}

// matches are the vulnerabilities in a document of grype's.
func matches(t *testing.T, dt []byte) []string {
	t.Helper()
	var doc struct {
		Matches []struct {
			Vulnerability struct {
				ID       string `json:"id"`
				Severity string `json:"severity"`
				Fix      struct {
					Versions []string `json:"versions"`
				} `json:"fix"`
			} `json:"vulnerability"`
			Artifact struct {
				Name    string `json:"name"`
				Version string `json:"version"`
			} `json:"artifact"`
		} `json:"matches"`
	}
	require.NoError(t, json.Unmarshal(dt, &doc))
	var out []string
	for _, m := range doc.Matches {
		out = append(out, fmt.Sprint(m.Vulnerability, " ", m.Artifact))
	}
	slices.Sort(out)
	return out
}

// judgeProvenance: the statement is valid, names the base image by its digest, and
// every other document.
func judgeProvenance(t *testing.T, files map[string]string, name string) {
	dt := readFile(t, files["attestation-"+name+"-amd64.json"])
	require.NoError(t, provenance.Validate(dt))
	text := string(dt)
	for _, pattern := range documents[1:] {
		require.Contains(t, text, fmt.Sprintf(pattern, name))
	}
	require.Contains(t, text, `"Dockerfile"`)
	require.Regexp(t, `bookworm`, text, "the base image is a dependency")
	require.NotContains(t, text, filepath.Dir(files["attestation-"+name+"-amd64.json"]), "no path of this machine")
}

// judgeStore: temper evidence verify agrees, and does not when a byte of any file
// is another.
func judgeStore(t *testing.T, r *releases, files map[string]string, ref string) {
	code, out := r.temper(t, "evidence", "verify", ref, "--key", "cosign.pub")
	require.Zero(t, code, out)
	for name, file := range files {
		dt := readFile(t, file)
		changed := bytes.Clone(dt)
		changed[len(changed)/2] ^= 1
		require.NoError(t, os.WriteFile(file, changed, 0o644))
		code, out := r.temper(t, "evidence", "verify", ref, "--key", "cosign.pub")
		require.NotZero(t, code, "%s was changed", name)
		require.Contains(t, out, name)
		require.NoError(t, os.WriteFile(file, dt, 0o644))
	}
	code, out = r.temper(t, "evidence", "verify", ref, "--key", "cosign.pub")
	require.Zero(t, code, out)
}

// judgePublished: what is in the registry is what others verify.
func judgePublished(t *testing.T, r *releases, ref string) {
	code, out := r.temper(t, "verify", ref, "--key", "cosign.pub", "--require", "signature,provenance,sbom,scan,gate,hardening,inspection")
	require.Zero(t, code, out)
	offline := []string{"--key", "cosign.pub", "--insecure-ignore-tlog", "--allow-http-registry", "--trusted-root", sigstore.EmptyRoot(t, t.TempDir())}
	for _, tag := range []string{ref, ref + "-amd64"} {
		for _, judge := range []string{"cosign", "cosign3"} {
			r.must(t, nil, judge, append([]string{"verify", tag}, offline...)...)
		}
	}
	for _, predicate := range []string{"slsaprovenance1", "cyclonedx", "spdxjson", "vuln"} {
		// The tag names an index, and the other one the image in it.
		for _, tag := range []string{ref, ref + "-amd64"} {
			for _, judge := range []string{"cosign", "cosign3"} {
				r.must(t, nil, judge, append([]string{"verify-attestation", "--type", predicate, tag}, offline...)...)
			}
		}
	}
	code, out = r.command(t, nil, tools.Path("cosign"), "generate-key-pair", "--output-key-prefix", "other")
	require.Zero(t, code, out)
	code, out = r.temper(t, "verify", ref, "--key", "other.pub")
	require.Equal(t, exitWrongSigner, code, out)
}

func readFile(t testing.TB, file string) []byte {
	t.Helper()
	dt, err := os.ReadFile(file)
	require.NoError(t, err)
	return dt
}
