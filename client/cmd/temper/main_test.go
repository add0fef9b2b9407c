package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"
	"github.com/temper-images/temper/client/build"
	"github.com/temper-images/temper/client/frontend"
)

// TestMain lets the test binary be temper itself, which also is the supervisor
// of its own buildkitd, and a program that sleeps inside a build.
func TestMain(m *testing.M) {
	switch {
	case filepath.Base(os.Args[0]) == "step":
		time.Sleep(time.Hour)
	case os.Getenv("TEMPER_TEST_MAIN") != "" || len(os.Args) > 1 && os.Args[1] == "daemon":
		main()
	}
	os.Exit(m.Run())
}

func temper(t *testing.T, dir string, args ...string) *exec.Cmd {
	t.Helper()
	bin, err := filepath.Abs("../../../bin")
	require.NoError(t, err)
	if _, err := os.Stat(filepath.Join(bin, "buildkitd")); err != nil {
		t.Fatalf("%v: run make build first", err)
	}
	cmd := exec.Command(os.Args[0], args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "TEMPER_TEST_MAIN=1", "PATH="+bin+":"+os.Getenv("PATH"),
		"TEMPER_STATE_DIR="+filepath.Join(dir, "..", "state"), "TEMPER_FRONTEND="+frontend.Stock, "BUILDKIT_HOST=ephemeral")
	return cmd
}

func app(t *testing.T, dockerfile string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "app")
	require.NoError(t, os.Mkdir(dir, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte(dockerfile), 0o644))
	if strings.Contains(dockerfile, "step") {
		exe, err := os.ReadFile(os.Args[0])
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(dir, "step"), exe, 0o755))
	}
	return dir
}

// nothingRuns waits until no process works in the state directory of temper.
func nothingRuns(t *testing.T, dir string) {
	t.Helper()
	state := filepath.Join(filepath.Dir(dir), "state")
	var list []string
	for range 300 {
		list = nil
		paths, err := filepath.Glob("/proc/[0-9]*/cmdline")
		require.NoError(t, err)
		for _, path := range paths {
			if dt, err := os.ReadFile(path); err == nil && (strings.Contains(string(dt), state) || strings.HasPrefix(string(dt), "/step\x00"+filepath.Base(filepath.Dir(filepath.Dir(dir))))) {
				list = append(list, strings.ReplaceAll(string(dt), "\x00", " "))
			}
		}
		if len(list) == 0 {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatalf("still running:\n%s", strings.Join(list, "\n"))
}

func TestBuildCommand(t *testing.T) {
	dir := app(t, "FROM scratch\nCOPY Dockerfile /\n")
	cmd := temper(t, dir, "build", "--metadata-file", "md.json", "--iidfile", "iid", "-t", "app:1")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Contains(t, string(out), "written to app.oci")
	require.Contains(t, string(out), "exporting to oci image format")
	require.FileExists(t, filepath.Join(dir, "app.oci", "index.json"))
	dt, err := os.ReadFile(filepath.Join(dir, "md.json"))
	require.NoError(t, err)
	var md map[string]any
	require.NoError(t, json.Unmarshal(dt, &md))
	iid, err := os.ReadFile(filepath.Join(dir, "iid"))
	require.NoError(t, err)
	require.Equal(t, md["containerimage.config.digest"], string(iid))
	require.IsType(t, map[string]any{}, md["containerimage.descriptor"])

	quiet, err := temper(t, dir, "build", "-q", "-t", "app:1").Output()
	require.NoError(t, err)
	require.Equal(t, string(iid)+"\n", string(quiet))

	var stderr bytes.Buffer
	raw := temper(t, dir, "build", "--progress=rawjson", "-o", "type=cacheonly")
	raw.Stderr = &stderr
	require.NoError(t, raw.Run())
	for line := range strings.Lines(stderr.String()) {
		require.True(t, json.Valid([]byte(line)), line)
	}
	nothingRuns(t, dir)
}

func TestExitCodes(t *testing.T) {
	good := app(t, "FROM scratch\nCOPY Dockerfile /\n")
	bad := app(t, "FROM scratch\nCOPY nothing /\n")
	warned := app(t, "from scratch\nCOPY Dockerfile /\n")
	for _, tc := range []struct {
		name string
		dir  string
		args []string
		code int
		says string
	}{
		{"success", good, []string{"build", "-o", "type=cacheonly"}, exitOK, ""},
		{"failed build", bad, []string{"build"}, exitFailed, "Dockerfile:2"},
		{"check finds nothing", good, []string{"build", "--check"}, exitOK, "no warnings found"},
		{"check finds something", warned, []string{"build", "--check"}, exitFailed, "Dockerfile:1"},
		{"unknown flag", good, []string{"build", "--nonsense"}, exitUsage, "nonsense"},
		{"unknown command", good, []string{"bild"}, exitUsage, "bild"},
		{"too many arguments", good, []string{"build", ".", "."}, exitUsage, "accepts at most 1"},
		{"bad output", good, []string{"build", "-o", "type=registry,name=x"}, exitUsage, "signed"},
		{"bad progress", good, []string{"build", "--progress", "loud"}, exitUsage, "one of auto"},
		{"quiet and plain", good, []string{"build", "-q", "--progress", "plain"}, exitUsage, "exclude"},
		{"no such context", good, []string{"build", "nowhere"}, exitUsage, "does not exist"},
		{"image ID of files", good, []string{"build", "--iidfile", "x", "-o", "type=local,dest=y"}, exitUsage, "no image ID"},
		{"no terminal", good, []string{"build", "--progress", "tty"}, exitUsage, "console"},
		{"builder is down", good, []string{"build", "--builder", "unix:///nowhere"}, exitNoBuilder, "does not answer"},
		{"no TLS files", good, []string{"build", "--tlsdir", "."}, exitUsage, "ca.pem"},
		{"frontend is missing", good, []string{"build", "--frontend", "./nowhere"}, exitNoFrontend, "nowhere"},
		{"frontend is no frontend", good, []string{"build", "--frontend", "./Dockerfile"}, exitNoFrontend, "not a Linux program"},
		{"version", good, []string{"version"}, exitOK, "BuildKit client v"},
		{"doctor", good, []string{"doctor"}, exitOK, "temper build works here"},
		{"doctor finds trouble", good, []string{"doctor", "--builder", "unix:///nowhere"}, exitFailed, "missing"},
		{"completion", good, []string{"completion", "bash"}, exitOK, "bash completion"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			out, err := temper(t, tc.dir, tc.args...).CombinedOutput()
			code := 0
			var ee *exec.ExitError
			if errors.As(err, &ee) {
				code = ee.ExitCode()
			}
			require.Equal(t, tc.code, code, "%s", out)
			require.Contains(t, string(out), tc.says)
			nothingRuns(t, tc.dir)
		})
	}
}

// interrupted starts a build that does not end, sends signals once it is under
// way, and returns the exit code.
func interrupted(t *testing.T, signals ...syscall.Signal) (dir string, cmd *exec.Cmd) {
	t.Helper()
	root := t.TempDir()
	dir = filepath.Join(root, "app")
	require.NoError(t, os.Rename(app(t, "FROM scratch\nCOPY step /\nRUN [\"/step\", \""+filepath.Base(root)+"\"]\n"), dir))
	cmd = temper(t, dir, "build", "--progress=plain")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	require.NoError(t, cmd.Start())
	marker := "/step\x00" + filepath.Base(root) + "\x00"
	require.Eventually(t, func() bool {
		paths, _ := filepath.Glob("/proc/[0-9]*/cmdline")
		for _, path := range paths {
			if dt, err := os.ReadFile(path); err == nil && string(dt) == marker {
				return true
			}
		}
		return false
	}, 60*time.Second, 20*time.Millisecond)
	for _, s := range signals {
		require.NoError(t, cmd.Process.Signal(s))
	}
	err := cmd.Wait()
	require.Error(t, err)
	t.Logf("%s", out.String())
	nothingRuns(t, dir)
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range entries {
		if len(signals) == 1 && signals[0] != syscall.SIGKILL {
			require.Contains(t, []string{"Dockerfile", "step"}, e.Name(), "nothing half done is left")
		}
		require.NotEqual(t, "app.oci", e.Name())
	}
	return dir, cmd
}

func TestInterrupt(t *testing.T) {
	for _, s := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		_, cmd := interrupted(t, s)
		require.Equal(t, exitInterrupted, cmd.ProcessState.ExitCode())
	}
}

func TestKilled(t *testing.T) {
	dir, _ := interrupted(t, syscall.SIGKILL)
	// The next build is not disturbed by what the killed one left.
	require.NoError(t, os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte("FROM scratch\nCOPY Dockerfile /\n"), 0o644))
	out, err := temper(t, dir, "build").CombinedOutput()
	require.NoError(t, err, "%s", out)
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 3, "what the killed build was writing is gone: %v", entries)
}

// TestFlagsReachTheRequest sets every flag that is a field of the request.
func TestFlagsReachTheRequest(t *testing.T) {
	t.Setenv("DOCKER_DEFAULT_PLATFORM", "")
	f := &buildFlags{}
	cmd := &cobra.Command{}
	f.add(cmd)
	require.NoError(t, cmd.ParseFlags([]string{
		"-f", "D", "--target", "t", "--platform", "p1", "--platform", "p2", "--build-arg", "a", "--build-context", "c",
		"--secret", "s", "--ssh", "h", "--no-cache", "--no-cache-filter", "n", "--pull", "--cache-from", "cf", "--cache-to", "ct",
		"--label", "l", "--annotation", "an", "-t", "tag", "-o", "out", "--add-host", "ah", "--network", "none", "--allow", "al",
		"--shm-size", "64m", "--ulimit", "u", "--attest", "type=sbom,x=y", "--sbom", "true", "--provenance", "mode=max", "--call", "outline,format=json",
	}))
	require.NoError(t, f.complete())
	want := build.Request{
		Dockerfile: "D", Target: "t", Platforms: []string{"p1", "p2"}, BuildArgs: []string{"a"}, Contexts: []string{"c"},
		Secrets: []string{"s"}, SSH: []string{"h"}, NoCache: true, NoCacheFilter: []string{"n"}, Pull: true,
		CacheFrom: []string{"cf"}, CacheTo: []string{"ct"}, Labels: []string{"l"}, Annotations: []string{"an"}, Tags: []string{"tag"},
		Outputs: []string{"out"}, AddHosts: []string{"ah"}, Network: "none", Allow: []string{"al"}, ShmSize: 64 << 20, Ulimits: []string{"u"},
		Attest: []string{"type=sbom,x=y", "type=sbom,disabled=false", "type=provenance,mode=max"}, Call: &build.Call{Name: "outline", JSON: true},
	}
	require.Empty(t, cmp.Diff(want, f.req))
}
