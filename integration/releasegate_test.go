package integration

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/client/vulndb/vulndbtest"
	"github.com/temper-images/temper/integration/tools"
)

// harmful has a vulnerability of zlib, which nginx needs, that an update would fix.
var harmful = vulndbtest.Records{Debian: []vulndbtest.Record{
	{ID: "CVE-2026-2001", Package: "zlib", Fixed: "1:99", FixDate: "2026-01-10", Severity: "High"},
}}

const (
	exitUsage       = 2
	exitRefused     = 5
	exitWrongSigner = 7
	exitPolicy      = 8
	exitRegistry    = 9
)

// TestReleaseGate: a known vulnerability stops a release with words that say what and
// how to go on. An exception with a reason and a VEX statement let it through; an
// exception that has expired does not.
func TestReleaseGate(t *testing.T) {
	r := newReleases(t, harmful)
	app := contextDir(t, map[string]string{"Dockerfile": "FROM debian:bookworm-slim\nCMD [\"true\"]\n"})
	settings := func(text string) {
		require.NoError(t, os.WriteFile(filepath.Join(app, "temper.yaml"), []byte(text), 0o644))
	}
	store := filepath.Join(r.dir, "temper-evidence")

	code, out := r.release(t, app, "-t", r.host(t)+"/gate:1")
	require.Equal(t, exitRefused, code, out)
	for _, says := range []string{"CVE-2026-2001", "zlib1g", "1:99", "exceptions", "VEX"} {
		require.Contains(t, out, says)
	}
	require.NoDirExists(t, store, "nothing of a refused image is stored")
	refused := filepath.Join(r.dir, "gate.refused")
	require.Contains(t, string(readFile(t, filepath.Join(refused, "gate-gate-amd64.json"))), "CVE-2026-2001")
	require.FileExists(t, filepath.Join(refused, "scan-gate-amd64.json"))

	settings("scan: {exceptions: [{id: CVE-2026-2001, reason: not called, expires: 2020-01-31}]}\n")
	code, out = r.release(t, app, "-t", r.host(t)+"/gate:2")
	require.Equal(t, exitRefused, code, out)
	require.Contains(t, out, "expired")
	require.Contains(t, out, "2020-01-31")

	settings("scan: {exceptions: [{id: CVE-2026-2001, package: zlib1g, reason: not called, expires: 9999-12-31}]}\n")
	code, out = r.release(t, app, "-t", r.host(t)+"/gate:3")
	require.Zero(t, code, out)
	decision := string(readFile(t, r.stored(t)["gate-gate-amd64.json"]))
	require.Contains(t, decision, "not called")
	require.Contains(t, decision, `"excepted"`)

	require.NoError(t, os.RemoveAll(store))
	settings("scan: {vex: [vex.json]}\n")
	require.NoError(t, os.WriteFile(filepath.Join(app, "vex.json"), []byte(`{
  "@context": "https://openvex.dev/ns/v0.2.0", "@id": "https://example.com/vex/1", "author": "team", "timestamp": "2026-01-01T00:00:00Z", "version": 1,
  "statements": [{"vulnerability": {"name": "CVE-2026-2001"}, "products": [{"@id": "pkg:oci/gate"}], "status": "not_affected",
    "justification": "vulnerable_code_not_in_execute_path"}]}`), 0o644))
	code, out = r.release(t, app, "-t", r.host(t)+"/gate:4")
	require.Zero(t, code, out)
	decision = string(readFile(t, r.stored(t)["gate-gate-amd64.json"]))
	require.Contains(t, decision, `"excused"`)
	require.Contains(t, decision, "https://example.com/vex/1")

	settings("scan: {gate: warn}\n")
	require.NoError(t, os.RemoveAll(store))
	code, out = r.release(t, app, "-t", r.host(t)+"/gate:5")
	require.Zero(t, code, out)
	require.Contains(t, out, "passed with warnings")
}

// TestReleaseRefusesFaults: the gate on the image itself, and settings and arguments
// that cannot be meant.
func TestReleaseRefusesFaults(t *testing.T) {
	r := newReleases(t, harmless)
	root := contextDir(t, map[string]string{
		"Dockerfile":  "FROM debian:bookworm-slim\nENV DB_PASSWORD=correct-horse-battery-staple\nCMD [\"true\"]\n",
		"temper.yaml": "harden: {user: keep}\n",
	})
	code, out := r.release(t, root, "--build-arg", "TEMPER_HARDEN_LEVEL=off")
	require.Equal(t, exitUsage, code, out)
	require.Contains(t, out, "ENV DB_PASSWORD (line 2)")
	require.NotContains(t, out, "correct-horse", "a refusal does not repeat the secret")
	code, out = r.release(t, root, "--build-arg", "TEMPER_HARDEN_LEVEL=off", "--allow-build-arg", "DB_PASSWORD")
	require.Equal(t, exitRefused, code, out)
	for _, says := range []string{"config.root", "DB_PASSWORD"} {
		require.Contains(t, out, says)
	}
	require.NotContains(t, out, "correct-horse", "a refusal does not repeat the secret")

	plain := contextDir(t, map[string]string{"Dockerfile": "FROM debian:bookworm-slim\nCMD [\"true\"]\n"})
	for _, tc := range []struct {
		name string
		args []string
		code int
		says string
	}{
		{"secret as a build argument", []string{"--build-arg", "API_TOKEN=hunter2hunter2"}, exitUsage, "build argument API_TOKEN"},
		{"no such gate", []string{"--gate", "maybe"}, exitUsage, "it is one of fail, warn, off"},
		{"an archive", []string{"-o", "type=oci,dest=x.tar"}, exitUsage, "a directory with an OCI layout"},
		{"two outputs", []string{"-o", "a", "-o", "b"}, exitUsage, "one output"},
		{"no such settings", []string{"--config", "nowhere.yaml"}, exitUsage, "nowhere.yaml"},
		{"no such key", []string{"--key", "nowhere.key"}, exitUsage, "nowhere.key"},
		{"no such VEX document", []string{"--vex", "nowhere.json"}, exitUsage, "nowhere.json"},
		{"no such store", []string{"--evidence", "ftp://example.com/x"}, exitUsage, "ftp"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			code, out := r.release(t, plain, tc.args...)
			require.Equal(t, tc.code, code, out)
			require.Contains(t, out, tc.says)
			require.NotContains(t, out, "hunter2")
			require.NotContains(t, out, "[evidence", "nothing was made before it was found out")
		})
	}
	require.NoDirExists(t, filepath.Join(r.dir, "temper-evidence"))

	// Without a database a long build is not waited for.
	slow := contextDir(t, map[string]string{"Dockerfile": "FROM debian:bookworm-slim\nRUN sleep 300\n"})
	began := time.Now()
	code, out = r.release(t, slow, "--db", "nowhere.tar.zst")
	require.Equal(t, 1, code, out)
	require.Contains(t, out, "nowhere.tar.zst")
	require.Less(t, time.Since(began), 4*time.Minute)
}

// TestEvidenceCreate: the same for an image that exists, here one that somebody else
// made, and with the documents of two runs byte by byte the same.
func TestEvidenceCreate(t *testing.T) {
	r := newReleases(t, harmless)
	layout := filepath.Join(r.dir, "app.oci")
	code, out := r.command(t, nil, tools.Path("temper"), append([]string{
		"--builder", shared.Addr, "build", "-o", layout, "--progress", "plain",
	}, append(r.args, contextDir(t, map[string]string{"Dockerfile": "FROM debian:bookworm-slim\nCMD [\"true\"]\n"}))...)...)
	require.Zero(t, code, out)
	first := map[string]string{}
	for i, dir := range []string{"one", "two"} {
		code, out := r.temper(t, "evidence", "create", layout, "--evidence", dir, "--db", r.db.Archive)
		require.Zero(t, code, out)
		require.Contains(t, out, "not signed")
		require.NoError(t, filepath.Walk(filepath.Join(r.dir, dir), func(path string, fi os.FileInfo, err error) error {
			if err != nil || fi.IsDir() || strings.HasPrefix(filepath.Base(path), "attestation-") {
				return err
			}
			rel := strings.TrimPrefix(path, filepath.Join(r.dir, dir))
			if strings.HasPrefix(rel, "/index") || strings.HasPrefix(rel, "/refs") {
				return nil
			}
			if i == 0 {
				first[rel] = string(readFile(t, path))
			} else {
				require.Equal(t, first[rel], string(readFile(t, path)), rel)
			}
			return nil
		}))
	}
	require.Greater(t, len(first), 6)
}
