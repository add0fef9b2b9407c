package daemon

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	bkclient "github.com/moby/buildkit/client"
	"github.com/moby/buildkit/client/llb"
	"github.com/moby/sys/user"
	"github.com/stretchr/testify/require"
	"github.com/tonistiigi/fsutil"
)

// binDir is where make build leaves buildkitd. TestRootless gives its children
// a copy that their user can reach.
var binDir = func() string {
	if dir := os.Getenv("TEMPER_TEST_BIN"); dir != "" {
		return dir
	}
	dir, err := filepath.Abs("../../bin")
	if err != nil {
		panic(err)
	}
	return dir
}()

// TestMain lets the test binary play the two programs that the tests need: the
// supervisor, and a client that can be killed.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "daemon" {
		if err := Main(context.Background(), os.Args[2:], os.Stderr); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if os.Getenv("TEMPER_TEST_SLEEP") != "" {
		time.Sleep(time.Hour)
	}
	if dir := os.Getenv("TEMPER_TEST_HOLD"); dir != "" {
		l, err := Start(context.Background(), Config{StateDir: dir, BinDirs: []string{binDir}})
		if err != nil {
			fmt.Println("error", err)
			os.Exit(1)
		}
		fmt.Println("holding", l.Address())
		select {}
	}
	os.Exit(m.Run())
}

func config(t *testing.T) Config {
	t.Helper()
	if _, err := os.Stat(filepath.Join(binDir, "buildkitd")); err != nil {
		t.Fatalf("%v: run make build first", err)
	}
	cfg := Config{StateDir: t.TempDir(), BinDirs: []string{binDir}}
	t.Cleanup(func() { requireStopped(t, cfg) })
	return cfg
}

// processes lists the processes whose command line names the state directory.
func processes(t *testing.T, cfg Config) (pids []int, list string) {
	t.Helper()
	dirs, err := filepath.Glob("/proc/[0-9]*")
	require.NoError(t, err)
	for _, dir := range dirs {
		dt, err := os.ReadFile(filepath.Join(dir, "cmdline"))
		if err != nil || !strings.Contains(string(dt), cfg.StateDir) {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(dir))
		require.NoError(t, err)
		pids = append(pids, pid)
		list += fmt.Sprintf("%d %s\n", pid, strings.ReplaceAll(string(dt), "\x00", " "))
	}
	return pids, list
}

func requireStopped(t *testing.T, cfg Config) {
	t.Helper()
	var list string
	for range 400 {
		var pids []int
		if pids, list = processes(t, cfg); len(pids) == 0 {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatalf("still running:\n%s", list)
}

func supervisorPID(t *testing.T, cfg Config) int {
	t.Helper()
	pids, list := processes(t, cfg)
	for _, pid := range pids {
		dt, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if err == nil && strings.Contains(string(dt), "\x00supervise\x00") {
			return pid
		}
	}
	t.Fatalf("no supervisor among:\n%s", list)
	return 0
}

func holder(t *testing.T, cfg Config) (*exec.Cmd, string) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "TEMPER_TEST_HOLD="+cfg.StateDir, "TEMPER_TEST_BIN="+binDir)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	what, address, _ := strings.Cut(strings.TrimSpace(line), " ")
	require.Equal(t, "holding", what, line)
	return cmd, address
}

func connect(t *testing.T, address string) *bkclient.Client {
	t.Helper()
	c, err := bkclient.New(t.Context(), address)
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	return c
}

func TestStartAndRelease(t *testing.T) {
	cfg := config(t)
	l, err := Start(t.Context(), cfg)
	require.NoError(t, err)
	_, err = connect(t, l.Address()).Info(t.Context())
	require.NoError(t, err)

	fi, err := os.Stat(cfg.StateDir)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o700), fi.Mode().Perm())

	require.NoError(t, l.Release(t.Context()))
	pids, list := processes(t, cfg)
	require.Empty(t, pids, "after the last Release nothing is left:\n%s", list)
}

func TestClientsShareOneDaemon(t *testing.T) {
	cfg := config(t)
	type started struct {
		l   *Lease
		err error
	}
	ch := make(chan started)
	for range 4 {
		go func() {
			l, err := Start(t.Context(), cfg)
			ch <- started{l, err}
		}()
	}
	var leases []*Lease
	for range 4 {
		s := <-ch
		require.NoError(t, s.err)
		leases = append(leases, s.l)
	}
	_, list := processes(t, cfg)
	require.Equal(t, 1, strings.Count(list, " supervise "), list)
	for _, l := range leases[1:] {
		require.NoError(t, l.Release(t.Context()))
	}
	_, err := connect(t, leases[0].Address()).Info(t.Context())
	require.NoError(t, err, "one lease keeps the daemon")
	require.NoError(t, leases[0].Release(t.Context()))
}

func TestKilledClient(t *testing.T) {
	cfg := config(t)
	cmd, _ := holder(t, cfg)
	require.NoError(t, cmd.Process.Kill())
	require.Error(t, cmd.Wait())
	requireStopped(t, cfg)
}

// TestKilledSupervisor also has a container running, which must not survive.
func TestKilledSupervisor(t *testing.T) {
	cfg := config(t)
	l, err := Start(t.Context(), cfg)
	require.NoError(t, err)
	marker := "temper-test-" + filepath.Base(cfg.StateDir)
	done := make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	running := make(chan struct{})
	go func() { done <- sleepInBuild(ctx, l.Address(), marker, running) }()
	<-running

	require.NoError(t, syscall.Kill(supervisorPID(t, cfg), syscall.SIGKILL))
	require.Error(t, <-done)
	requireStopped(t, cfg)
	require.Eventually(t, func() bool { return !sleeping(marker) }, 5*time.Second, 50*time.Millisecond,
		"the container of a killed daemon still runs")
	require.NoError(t, l.Release(t.Context()))

	again, err := Start(t.Context(), cfg)
	require.NoError(t, err, "a start after a crash")
	require.NoError(t, again.Release(t.Context()))
}

func TestKilledBuildkitd(t *testing.T) {
	cfg := config(t)
	l, err := Start(t.Context(), cfg)
	require.NoError(t, err)
	sup := supervisorPID(t, cfg)
	pids, _ := processes(t, cfg)
	killed := 0
	for _, pid := range pids {
		if pid == sup {
			continue
		}
		// The end of one ends others, such as rootlesskit's child.
		if err := syscall.Kill(pid, syscall.SIGKILL); !errors.Is(err, syscall.ESRCH) {
			require.NoError(t, err)
			killed++
		}
	}
	require.Positive(t, killed)
	requireStopped(t, cfg)
	again, err := Start(t.Context(), cfg)
	require.NoError(t, err)
	require.NoError(t, again.Release(t.Context()))
	require.NoError(t, l.Release(t.Context()))
}

func TestStaleFilesAreSurvived(t *testing.T) {
	cfg := config(t)
	p, err := cfg.plan()
	require.NoError(t, err)
	require.NoError(t, os.MkdirAll(p.root(), 0o700))
	for _, path := range []string{p.socket(), p.leaseLock(), p.supervisorLock(), filepath.Join(p.root(), "buildkitd.lock")} {
		require.NoError(t, os.WriteFile(path, []byte("stale"), 0o600))
	}
	l, err := Start(t.Context(), cfg)
	require.NoError(t, err)
	require.NoError(t, l.Release(t.Context()))
}

func TestStartReportsWhyItFailed(t *testing.T) {
	cfg := config(t)
	bin := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(bin, "buildkitd"), []byte("#!/bin/sh\necho the disk is on fire >&2\nexit 7\n"), 0o755))
	cfg.BinDirs = []string{bin}
	_, err := Start(t.Context(), cfg)
	var se *StartError
	require.ErrorAs(t, err, &se)
	require.Contains(t, err.Error(), "the disk is on fire")
	require.Contains(t, err.Error(), "exit status 7")
}

func TestMissingPrograms(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	_, err := Start(t.Context(), Config{StateDir: t.TempDir(), BinDirs: []string{t.TempDir()}})
	var me *MissingError
	require.ErrorAs(t, err, &me)
	require.Equal(t, "buildkitd", me.Requirements[0].Name)
	require.Contains(t, err.Error(), "make build")
}

func TestStartHonoursCancellation(t *testing.T) {
	cfg := config(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("changed my mind")
	cancel(stop)
	_, err := Start(ctx, cfg)
	require.ErrorIs(t, err, stop)
}

func TestForeignStateDirIsRefused(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.Chown(dir, 12345, 12345))
	_, err := Start(t.Context(), Config{StateDir: dir, BinDirs: []string{binDir}})
	require.ErrorContains(t, err, "belongs to uid 12345")
}

// TestRootless repeats the tests of a daemon's life as a user who is not root.
func TestRootless(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("run this test as root: it makes a user of its own")
	}
	dir, err := os.MkdirTemp("", "temper-rootless-") //nolint:usetesting // another user must reach it, and t.TempDir lies in a private directory
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	require.NoError(t, os.Chmod(dir, 0o755))
	name := fmt.Sprintf("temper%d", os.Getpid())
	output(t, "useradd", "--no-create-home", "--home-dir", dir, "--shell", "/bin/sh", name)
	t.Cleanup(func() { output(t, "userdel", name) })
	u, err := user.LookupUser(name)
	require.NoError(t, err)

	exe := filepath.Join(dir, "daemon.test")
	for src, dst := range map[string]string{os.Args[0]: exe, filepath.Join(binDir, "buildkitd"): filepath.Join(dir, "buildkitd")} {
		output(t, "install", "-m", "0755", src, dst)
	}
	tmp := filepath.Join(dir, "tmp")
	require.NoError(t, os.Mkdir(tmp, 0o700))
	require.NoError(t, os.Chown(tmp, u.Uid, u.Gid))

	cmd := exec.Command(exe, "-test.v", "-test.timeout=3m",
		"-test.run", "^(TestStartAndRelease|TestClientsShareOneDaemon|TestKilled.*|TestStaleFilesAreSurvived)$")
	cmd.Dir = dir
	cmd.Env = []string{"HOME=" + dir, "USER=" + name, "TMPDIR=" + tmp, "PATH=" + os.Getenv("PATH"), "TEMPER_TEST_BIN=" + dir}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(u.Uid), Gid: uint32(u.Gid)}}
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Equal(t, 6, strings.Count(string(out), "--- PASS"), "%s", out)
}

func output(t *testing.T, name string, args ...string) {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	require.NoError(t, err, "%s %s: %s", name, args, out)
}

// sleepInBuild runs a step that sleeps, in a root filesystem that holds this
// test binary and nothing else; running is closed once the step does.
func sleepInBuild(ctx context.Context, address, marker string, running chan<- struct{}) error {
	c, err := bkclient.New(ctx, address)
	if err != nil {
		return err
	}
	defer c.Close()
	dir, err := fsutil.NewFS(filepath.Dir(os.Args[0]))
	if err != nil {
		return err
	}
	name := filepath.Base(os.Args[0])
	exe := llb.Local("exe", llb.IncludePatterns([]string{name}))
	def, err := llb.Scratch().File(llb.Copy(exe, name, "/sleep")).
		Run(llb.Args([]string{"/sleep", marker}), llb.AddEnv("TEMPER_TEST_SLEEP", "1")).
		Marshal(ctx)
	if err != nil {
		return err
	}
	go func() {
		for !sleeping(marker) && ctx.Err() == nil {
			time.Sleep(20 * time.Millisecond)
		}
		close(running)
	}()
	_, err = c.Solve(ctx, def, bkclient.SolveOpt{LocalMounts: map[string]fsutil.FS{"exe": dir}, FrontendAttrs: map[string]string{}}, nil)
	return err
}

// sleeping says whether the step of sleepInBuild runs.
func sleeping(marker string) bool {
	dirs, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range dirs {
		if dt, err := os.ReadFile(path); err == nil && string(dt) == "/sleep\x00"+marker+"\x00" {
			return true
		}
	}
	return false
}
