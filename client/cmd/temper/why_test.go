package main

import (
	"encoding/json"
	"path/filepath"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/client/examine/examinetest"
	"github.com/temper-images/temper/client/explain"
	"github.com/temper-images/temper/client/imagediff"
	"github.com/temper-images/temper/hardening/spec"
)

// examinedLayouts writes before.oci and after.oci into a new current directory, and
// plain.oci and plain.tar, which are after.oci without its report.
func examinedLayouts(t *testing.T) {
	t.Helper()
	t.Chdir(t.TempDir())
	before, err := examinetest.Before()
	require.NoError(t, err)
	require.NoError(t, examinetest.Layout("before.oci", before, nil))
	after, err := examinetest.After()
	require.NoError(t, err)
	require.NoError(t, examinetest.Layout("after.oci", after, examinetest.Report(spec.LevelMinimal)))
	require.NoError(t, examinetest.Layout("plain.oci", after, nil))
	require.NoError(t, examinetest.Layout("exclusive.oci", after, examinetest.Report(spec.LevelExclusive)))
	tag, err := name.NewTag("registry.example.com/team/app:1")
	require.NoError(t, err)
	require.NoError(t, tarball.WriteToFile("plain.tar", tag, after))
}

func TestWhy(t *testing.T) {
	examinedLayouts(t)
	out := ok(t, "why", "after.oci", "/usr/lib/libfoo.so.1.2", "/usr/bin/gpgv", "--progress", "none")
	require.Contains(t, out, "/usr/bin/server is the command\n  └─ links to /usr/lib/libfoo.so.1\n     └─ is a link to /usr/lib/libfoo.so.1.2\n")
	require.Contains(t, out, "keep: [/usr/bin/gpgv]")

	var doc explain.Document
	require.NoError(t, json.Unmarshal([]byte(ok(t, "why", "after.oci", "/bin/sh", "--json", "--progress", "none")), &doc))
	require.Equal(t, spec.LevelMinimal, doc.Level)
	require.Equal(t, explain.Kept, doc.Answers[0].State)
	require.Equal(t, "/usr/bin/dash", doc.Answers[0].Path)

	require.Contains(t, ok(t, "why", "after.oci", "--tree", "--depth", "1", "server", "--progress", "none"), "it pulls in 5 files")

	for _, tc := range []struct {
		code int
		says string
		args []string
	}{
		{exitFailed, "", []string{"after.oci", "/usr/bin/sever", "/usr/bin/server"}},
		{exitFailed, "plain.oci (linux/amd64) has no hardening report", []string{"plain.oci", "/x"}},
		{exitFailed, "plain.tar (linux/amd64) has no hardening report", []string{"plain.tar", "/x"}},
		{exitFailed, "the hardening report has no reasons", []string{"exclusive.oci", "--tree", "/x"}},
		{exitRegistry, "ask the registry", []string{"127.0.0.1:1/team/app:1", "/x"}},
		{exitUsage, "requires at least 2 arg(s)", []string{"after.oci"}},
		{exitUsage, "there is no such file", []string{"./nowhere", "/x"}},
		{exitUsage, "goes with --tree", []string{"after.oci", "/x", "--depth", "2"}},
		{exitUsage, "1 or more", []string{"after.oci", "/x", "--tree", "--depth", "-2"}},
		{exitUsage, "is malformed", []string{"after.oci", "/usr/[z"}},
		{exitUsage, "there is no image for linux/arm64", []string{"after.oci", "/x", "--platform", "linux/arm64"}},
	} {
		code, stdout, stderr := call(t, append([]string{"why", "--progress", "none"}, tc.args...)...)
		require.Equal(t, tc.code, code, "%v: %s%s", tc.args, stdout, stderr)
		require.Contains(t, stderr, tc.says)
	}
	_, stdout, _ := call(t, "why", "after.oci", "/usr/bin/sever", "--progress", "none")
	require.Contains(t, stdout, "similar:\n    /usr/bin/server\n")
}

func TestDiff(t *testing.T) {
	examinedLayouts(t)
	out := ok(t, "diff", "before.oci", "after.oci", "--progress", "none")
	require.Contains(t, out, "packages: 1 removed")
	require.Contains(t, out, "hardened at level minimal")
	out = ok(t, "diff", "before.oci", "after.oci", "--files", "--progress", "none")
	require.Contains(t, out, "-  /usr/bin/gpgv")
	require.NotContains(t, out, "packages:")

	var d imagediff.Diff
	require.NoError(t, json.Unmarshal([]byte(ok(t, "diff", "before.oci", "after.oci", "--json", "--progress", "none")), &d))
	require.Equal(t, 4, d.A.Totals.Packages)

	require.Contains(t, ok(t, "diff", "after.oci", "plain.tar", "--exit-code", "--progress", "none"), "packages and configuration are the same")
	require.Empty(t, ok(t, "diff", "after.oci", "plain.oci", "-q"))
	for _, tc := range []struct {
		code int
		says string
		args []string
	}{
		{exitFailed, "", []string{"before.oci", "after.oci", "-q"}},
		{exitFailed, "", []string{"before.oci", "after.oci", "--exit-code"}},
		{exitUsage, "accepts 2 arg(s)", []string{"before.oci"}},
		{exitUsage, "there is no such file", []string{"before.oci", "./nowhere"}},
		{exitUsage, "goes without --files", []string{"before.oci", "after.oci", "--json", "--files"}},
	} {
		code, stdout, stderr := call(t, append([]string{"diff", "--progress", "none"}, tc.args...)...)
		require.Equal(t, tc.code, code, "%v: %s%s", tc.args, stdout, stderr)
		require.Contains(t, stderr, tc.says)
	}
}

// Images for several platforms: those for the same one are compared.
func TestDiffPlatforms(t *testing.T) {
	observedLayout(t, "amd64", "arm64")
	several, err := filepath.Abs("app.oci")
	require.NoError(t, err)
	out := ok(t, "diff", several, several, "--progress", "none")
	require.Contains(t, out, "linux/arm64")
	require.Contains(t, out, "linux/amd64")
	code, _, stderr := call(t, "diff", several, several, "--json", "--progress", "none")
	require.Equal(t, exitUsage, code)
	require.Contains(t, stderr, "choose with --platform")
	ok(t, "diff", several, several, "--json", "--platform", "linux/arm64", "--progress", "none")
	observedLayout(t, "riscv64", "s390x")
	other, err := filepath.Abs("app.oci")
	require.NoError(t, err)
	observedLayout(t, "amd64", "arm64")
	code, _, stderr = call(t, "diff", "app.oci", other, "--progress", "none")
	require.Equal(t, exitUsage, code)
	require.Contains(t, stderr, "no platform is in both: app.oci has linux/amd64, linux/arm64, ")
}
