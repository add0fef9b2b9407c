package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/client/transfer"
)

func TestTransferNames(t *testing.T) {
	const sum = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	var f transferFlags
	for spec, want := range map[string]struct{ name, tag string }{
		"registry.example.com:5000/team/app:1.2":  {"registry.example.com:5000/team/app:1.2", "1.2"},
		"registry.example.com/app:1.2@" + sum:     {"registry.example.com/app:1.2", "1.2"},
		"registry.example.com:5000/app@" + sum:    {"registry.example.com:5000/app@" + sum, ""},
		"nginx":                                   {"docker.io/library/nginx:latest", "latest"},
		"registry.example.com:5000/team/app":      {"registry.example.com:5000/team/app:latest", "latest"},
		"registry.example.com/team/app:1-2_3.amd": {"registry.example.com/team/app:1-2_3.amd", "1-2_3.amd"},
	} {
		ref, tag, err := f.source(spec)
		require.NoError(t, err)
		require.Equal(t, want.tag, tag, spec)
		require.Equal(t, want.name, fullName(ref, tag), spec)
	}
	var input *transfer.InputError
	_, _, err := f.source("Registry/UPPER:1")
	require.ErrorAs(t, err, &input)
	file := filepath.Join(t.TempDir(), "app.tar")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	_, _, err = f.source(file)
	require.ErrorAs(t, err, &input)
	require.ErrorContains(t, err, "temper load")

	for spec, want := range map[string]struct{ repo, tag string }{
		"registry.example.com:5000/team/app":     {"registry.example.com:5000/team/app", ""},
		"registry.example.com:5000/team/app:1.2": {"registry.example.com:5000/team/app", "1.2"},
	} {
		repo, tag, err := f.destination(spec)
		require.NoError(t, err)
		require.Equal(t, want.repo, repo.Name())
		require.Equal(t, want.tag, tag)
	}
	_, _, err = f.destination("registry.example.com/app@" + sum)
	require.ErrorAs(t, err, &input)

	for saved, tag := range map[string]string{
		"registry.example.com/team/app:1.2": "1.2", "registry.example.com/app@" + sum: "", "1.2": "1.2", "": "", "not a name/": "",
	} {
		require.Equal(t, tag, savedTag(saved), saved)
	}
}

// What is asked of signatures names a signer.
func TestTransferNeedsSigner(t *testing.T) {
	code, _, stderr := call(t, "copy", "--tlog", "on", "registry.example.com/a:1", "registry.example.com/b:1")
	require.Equal(t, exitUsage, code)
	require.Contains(t, stderr, "say whose signature is demanded")
}
