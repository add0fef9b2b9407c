package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/client/catalogue/cataloguetest"
	"github.com/temper-images/temper/client/report/reporttest"
)

// planted is in the image that TestInspect inspects. It is put together so that no
// scanner takes this file for a leak.
const planted = "ghp_" + "q8Zt3Lw0vX7rN5bY2kD9mH4jP6sF1gT0cR8e"

// inspectedLayout writes an image with a secret in a variable and in a removed file.
func inspectedLayout(t *testing.T) string {
	t.Helper()
	img, err := cataloguetest.Of(
		[]cataloguetest.File{
			{Name: "etc/passwd", Data: "app:x:1000:1000::/:/bin/sh\n"}, {Name: "app/.env", Data: "TOKEN=" + planted + "\n"},
			{Name: "var/lib/dpkg/status", Data: "Package: x\nStatus: install ok installed\nVersion: 1\nArchitecture: amd64\n"},
		},
		[]cataloguetest.File{{Name: "app/.wh..env"}},
	)
	require.NoError(t, err)
	cfg, err := img.ConfigFile()
	require.NoError(t, err)
	cfg = cfg.DeepCopy()
	cfg.OS, cfg.Architecture = "linux", "amd64"
	cfg.Config.User, cfg.Config.Cmd, cfg.Config.Env = "1000", []string{"/app/run"}, []string{"GITHUB=" + planted}
	img, err = mutate.ConfigFile(img, cfg)
	require.NoError(t, err)
	dir := filepath.Join(t.TempDir(), "app.oci")
	_, err = layout.Write(dir, mutate.AppendManifests(empty.Index, mutate.IndexAddendum{Add: img}))
	require.NoError(t, err)
	return dir
}

func TestInspect(t *testing.T) {
	img := inspectedLayout(t)
	t.Chdir(t.TempDir())
	code, stdout, stderr := call(t, "inspect", img, "--progress", "plain", "-o", "out")
	require.Equal(t, exitRefused, code, stderr)
	require.Contains(t, stdout, "app, linux/amd64: refused, 2 failing")
	require.Contains(t, stdout, "config.secret   the variable GITHUB holds a secret (github-pat)")
	require.Contains(t, stdout, "secret.removed  /app/.env line 1 holds a secret (github-pat): the file was removed or replaced")
	document, err := os.ReadFile("out/inspect-app-amd64.json")
	require.NoError(t, err)
	require.NotContains(t, stdout+stderr+string(document), planted[4:])

	// The file's exceptions hold for the command too, and flags go before the file.
	require.NoError(t, os.WriteFile("temper.yaml", []byte(`
inspect:
  fail: [config.low-port]
  exceptions:
    - {rule: "*.secret", subject: GITHUB, reason: revoked, expires: 2099-12-31}
`), 0o644))
	code, stdout, stderr = call(t, "inspect", img, "--progress", "none")
	require.Equal(t, exitRefused, code, stderr)
	require.Contains(t, stdout, "1 failing, 1 excepted")
	ok(t, "inspect", img, "--progress", "none", "--off", "secret.removed", "--warn", "config.low-port")
	ok(t, "inspect", img, "--progress", "none", "--gate", "warn")
	require.Contains(t, ok(t, "inspect", img, "--progress", "none", "--gate", "warn", "--format", "json"), `"outcome": "warned"`)

	for want, args := range map[string][]string{
		`there is no rule "nope"`: {"inspect", img, "--fail", "nope"},
		`licence "GPLv2"`:         {"inspect", img, "--deny-licence", "GPLv2"},
		"--format yaml":           {"inspect", img, "--format", "yaml"},
		"there is no such file":   {"inspect", "/nowhere/app.oci"},
		"accepts 1 arg(s)":        {"inspect"},
		"gate is \"never\"":       {"inspect", img, "--gate", "never"},
		"unknown command":         {"inspect", "--rules", img},
	} {
		code, _, stderr := call(t, append(args, "--progress", "none")...)
		require.Equal(t, exitUsage, code, "%v: %s", args, stderr)
		require.Contains(t, stderr, want)
	}
	require.Contains(t, ok(t, "inspect", "--rules"), "secret.private-key")
}

func TestReport(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	require.NoError(t, os.Mkdir("documents", 0o755))
	for _, d := range reporttest.Release(t, 0, 0) {
		require.NoError(t, os.WriteFile(filepath.Join("documents", d.Name), d.Data, 0o644))
	}
	require.Equal(t, "report.html\n", ok(t, "report", "documents"))
	page, err := os.ReadFile("report.html")
	require.NoError(t, err)
	require.Contains(t, string(page), "registry.example.com/team/app:1.4")
	require.Equal(t, string(page), ok(t, "report", "documents", "-o", "-"))

	for want, args := range map[string][]string{
		"there is no such directory": {"report", "./nowhere"},
		"accepts 1 arg(s)":           {"report"},
		"give one of them":           {"report", "documents", "--evidence", "store"},
	} {
		code, _, stderr := call(t, args...)
		require.Equal(t, exitUsage, code, "%v: %s", args, stderr)
		require.Contains(t, stderr, want)
	}
	code, _, stderr := call(t, "report", t.TempDir())
	require.Equal(t, exitFailed, code)
	require.Contains(t, stderr, "there are no documents")
}

// What is in the store is reported by the image's name, signatures included.
func TestReportFromStore(t *testing.T) {
	signedDocuments(t, "amd64", "arm64")
	ok(t, "store", "app.oci", "sbom-app-amd64.cdx.json", "scan-app-amd64.json", "attestation-app-amd64.json", "sbom-app-arm64.cdx.json")
	page := ok(t, "report", "registry.example.com/team/app:1", "-o", "-")
	require.Contains(t, page, "linux/arm64")
	require.Contains(t, page, "temper evidence verify --evidence ")
	require.Contains(t, page, "all 3 documents; check them with the commands below")
	require.Equal(t, page, ok(t, "report", "app.oci", "-o", "-"))
	require.NotContains(t, ok(t, "report", "app.oci", "--platform", "linux/amd64", "-o", "-"), "linux/arm64")
}
