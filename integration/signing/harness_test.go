// Package signing tests client/signing and its commands against real parts: the
// command lines of cosign 2 and 3, a Sigstore deployment, key management services
// and tokens.
package signing

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/integration/sigstore"
	"github.com/temper-images/temper/integration/tools"
)

const (
	// password is searched for in everything that programs say.
	password = "p4ss-w0rd-that-nobody-prints"
	person   = "someone@example.com"
)

// limit bounds each program that a test runs.
const limit = 2 * time.Minute

// outcome is what a program did.
type outcome struct {
	stdout, stderr string
	code           int
}

// run runs a program in dir, with variables added to an environment that has no
// secrets of ours.
func run(t testing.TB, dir string, env map[string]string, name string, args ...string) outcome {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, tools.Path(name), args...)
	cmd.Dir = dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "COSIGN_PASSWORD=" + password}
	for k, v := range env {
		cmd.Env = append(cmd.Env, k+"="+v)
	}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		require.NoError(t, err)
	}
	require.NoError(t, ctx.Err(), "%s %s takes too long: %s", name, strings.Join(args, " "), stderr.String())
	require.NotContains(t, stdout.String()+stderr.String(), password)
	return outcome{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// must runs a program that has to succeed.
func must(t testing.TB, dir string, env map[string]string, name string, args ...string) outcome {
	t.Helper()
	o := run(t, dir, env, name, args...)
	require.Zero(t, o.code, "%s %s: %s%s", name, strings.Join(args, " "), o.stdout, o.stderr)
	return o
}

// document writes a file to sign and returns its name.
func document(t *testing.T, dir, content string) string {
	t.Helper()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "sbom.json"), []byte(content), 0o600))
	return "sbom.json"
}

func TestMain(m *testing.M) { sigstore.Main(m) }
