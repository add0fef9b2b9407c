package scan

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/client/vulndb"
	"github.com/temper-images/temper/client/vulndb/vulndbtest"
	"github.com/temper-images/temper/integration/tools"
)

// temper runs the command line in a directory of its own.
func temper(t *testing.T, dir, cache string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	cmd := exec.CommandContext(bounded(t), tools.Path("temper"), args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), vulndb.EnvDir+"="+cache)
	var out, log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &log
	err := cmd.Run()
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		require.NoError(t, err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), log.String()
}

// An application with a known vulnerable package is stopped, by a message that
// names it and the ways out; a VEX statement or an exception that has not expired
// lets it through, and an expired one does not.
func TestGate(t *testing.T) {
	d := ready(t)
	img := d.set.Images[0]
	db, err := vulndbtest.Build(t.TempDir(), built, vulndbtest.Records{Debian: []vulndbtest.Record{
		{ID: "CVE-2026-0001", Package: "zlib", Fixed: "1:99", FixDate: "2026-04-01", Severity: "High"},
	}})
	require.NoError(t, err)
	cache := filepath.Join(t.TempDir(), "cache")
	bill := filepath.Join(t.TempDir(), "app.cdx.json")
	code, _, log := temper(t, t.TempDir(), cache, "sbom", d.layout.Dir, "--format", "cyclonedx", "-o", bill, "--progress", "plain")
	require.Zero(t, code, "%s", log)
	run := func(t *testing.T, what string, files map[string]string, args ...string) (int, string, string) {
		t.Helper()
		dir := t.TempDir()
		for name, text := range files {
			require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
		}
		code, out, log := temper(t, dir, cache, append([]string{"scan", what, "--db", db.Archive, "--db-max-age", "-1", "--offline", "--progress", "plain", "-o", "."}, args...)...)
		t.Log(log)
		return code, out, dir
	}
	decisions := func(t *testing.T, dir string) []struct{ Verdict, Rule string } {
		t.Helper()
		var doc struct {
			Decisions []struct{ Verdict, Rule string }
		}
		list, err := filepath.Glob(filepath.Join(dir, "gate-*.json"))
		require.NoError(t, err)
		require.Len(t, list, 1)
		dt, err := os.ReadFile(list[0])
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal(dt, &doc))
		return doc.Decisions
	}
	exception := func(expires string) map[string]string {
		return map[string]string{"temper.yaml": "scan:\n  exceptions:\n  - id: CVE-2026-0001\n    package: zlib\n    reason: not reachable\n    expires: " + expires + "\n"}
	}
	vex := fmt.Sprintf(`{"@context": "https://openvex.dev/ns/v0.2.0", "@id": "https://example.com/vex", "author": "Ada", "timestamp": "2026-04-01T00:00:00Z", "version": 1,
		"statements": [{"vulnerability": {"name": "CVE-2026-0001"}, "products": [{"@id": "pkg:oci/%s@%s"}], "status": "not_affected", "justification": "vulnerable_code_not_in_execute_path"}]}`, img.Name, img.Digest)

	t.Run("refused", func(t *testing.T) {
		dir := t.TempDir()
		code, out, log := temper(t, dir, cache, "scan", d.layout.Dir, "--db", db.Archive, "--db-max-age", "-1", "--offline", "--progress", "plain")
		require.Equal(t, 5, code, "%s", log)
		require.Contains(t, out, "CVE-2026-0001")
		for _, word := range []string{"CVE-2026-0001 in zlib1g ", "fixed in 1:99", "its severity is HIGH", "--vex", "scan.exceptions"} {
			require.Contains(t, log, word)
		}
	})
	t.Run("documents", func(t *testing.T) {
		code, _, dir := run(t, d.layout.Dir, nil)
		require.Equal(t, 5, code)
		require.Equal(t, []struct{ Verdict, Rule string }{{"counts", "severity"}}, decisions(t, dir))
		_, _, again := run(t, d.layout.Dir, nil)
		list, err := os.ReadDir(dir)
		require.NoError(t, err)
		require.Len(t, list, 4)
		for _, e := range list {
			a, err := os.ReadFile(filepath.Join(dir, e.Name()))
			require.NoError(t, err)
			b, err := os.ReadFile(filepath.Join(again, e.Name()))
			require.NoError(t, err)
			require.Equal(t, string(a), string(b), "%s", e.Name())
		}
	})
	t.Run("VEX", func(t *testing.T) {
		code, out, dir := run(t, d.layout.Dir, map[string]string{"app.openvex.json": vex}, "--vex", "app.openvex.json")
		require.Zero(t, code)
		require.Contains(t, out, "excused by VEX")
		require.Equal(t, []struct{ Verdict, Rule string }{{"excused", "vex"}}, decisions(t, dir))
	})
	t.Run("VEX for the image of an SBOM", func(t *testing.T) {
		code, out, _ := run(t, bill, map[string]string{"app.openvex.json": vex}, "--vex", "app.openvex.json")
		require.Zero(t, code)
		require.Contains(t, out, "excused by VEX")
	})
	t.Run("exception", func(t *testing.T) {
		code, _, dir := run(t, bill, exception("2099-01-01"))
		require.Zero(t, code)
		require.Equal(t, []struct{ Verdict, Rule string }{{"excepted", "exception"}}, decisions(t, dir))
	})
	t.Run("expired exception", func(t *testing.T) {
		code, _, dir := run(t, bill, exception("2020-01-01"))
		require.Equal(t, 5, code)
		require.Equal(t, []struct{ Verdict, Rule string }{{"counts", "severity"}}, decisions(t, dir))
	})
	t.Run("flags", func(t *testing.T) {
		code, _, _ := run(t, bill, nil, "--fail-on", "critical")
		require.Zero(t, code)
		code, _, _ = run(t, bill, nil, "--gate", "warn")
		require.Zero(t, code)
		code, _, _ = run(t, bill, nil, "--fail-on", "fatal")
		require.Equal(t, 2, code)
		code, _, _ = run(t, bill, nil, "--vex", "none.json")
		require.Equal(t, 2, code)
	})
	t.Run("old database", func(t *testing.T) {
		code, _, log := temper(t, t.TempDir(), cache, "scan", d.layout.Dir, "--db", db.Archive, "--progress", "plain")
		require.Equal(t, 1, code)
		require.Contains(t, log, "the limit is 5 days")
		require.Contains(t, log, "temper db update")
	})
	t.Run("SBOM", func(t *testing.T) {
		code, out, _ := run(t, bill, nil)
		require.Equal(t, 5, code)
		require.Contains(t, out, "CVE-2026-0001")
	})
}
