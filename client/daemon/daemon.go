// Package daemon runs a private buildkitd for as long as somebody needs it.
//
// Any number of processes share one daemon per state directory. Each holds a
// lease, a shared file lock that the kernel takes back when the process ends in
// whatever way. A supervisor process starts buildkitd, waits until no lease is
// left, and stops it. Killing the supervisor ends buildkitd and every container
// that it runs, because they live in a PID namespace whose first process dies
// with the supervisor.
package daemon

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
)

// Config says where a daemon lives and how it is started. The zero value is the
// daemon of the current user.
type Config struct {
	// StateDir holds the build cache, the locks and the log. Empty means
	// DefaultStateDir.
	StateDir string
	// BinDirs are searched for buildkitd and the OCI runtime before PATH. Empty
	// means the directory of the running executable.
	BinDirs []string
	// Program is the command, without arguments, that calls Main when it is run
	// with the argument "daemon". Empty means the running executable.
	Program string
}

// DefaultStateDir is /var/lib/temper for root, and temper below
// $XDG_STATE_HOME or ~/.local/state for anybody else.
func DefaultStateDir() (string, error) {
	if os.Geteuid() == 0 {
		return "/var/lib/temper", nil
	}
	if dir := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "temper"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("find a state directory: %w; set XDG_STATE_HOME or pass --state-dir", err)
	}
	return filepath.Join(home, ".local", "state", "temper"), nil
}

// plan is everything the supervisor needs to know. It travels as its argument.
type plan struct {
	StateDir   string   `json:"stateDir"`
	RuntimeDir string   `json:"runtimeDir"`
	Rootless   bool     `json:"rootless"`
	Program    string   `json:"program"`
	Runtime    string   `json:"runtime"`
	Args       []string `json:"args"`
}

func (p *plan) socket() string         { return filepath.Join(p.RuntimeDir, "buildkitd.sock") }
func (p *plan) address() string        { return "unix://" + p.socket() }
func (p *plan) logFile() string        { return filepath.Join(p.StateDir, "buildkitd.log") }
func (p *plan) leaseLock() string      { return filepath.Join(p.StateDir, "lease.lock") }
func (p *plan) supervisorLock() string { return filepath.Join(p.StateDir, "supervisor.lock") }
func (p *plan) root() string           { return filepath.Join(p.StateDir, "buildkit") }

// cacheLimits keeps 2 GB of cache whatever happens, prunes while less than 2 GB
// of the disk are free, and never lets the cache grow beyond 20 GB
// (buildkitd.toml, reservedSpace, minFreeSpace and maxUsedSpace, in MB).
const cacheLimits = "2000,2000,20000"

func (c Config) plan() (*plan, error) {
	err := c.Check()
	if err != nil {
		return nil, err
	}
	p := &plan{Rootless: os.Geteuid() != 0, Program: c.Program}
	if p.StateDir, err = c.Dir(); err != nil {
		return nil, err
	}
	if p.Program == "" {
		if p.Program, err = os.Executable(); err != nil {
			return nil, fmt.Errorf("find the running executable to start the supervisor of buildkitd with: %w", err)
		}
	}
	if err := privateDir(p.StateDir); err != nil {
		return nil, fmt.Errorf("prepare the state directory of buildkitd: %w", err)
	}
	if p.RuntimeDir, err = runtimeDir(p.StateDir); err != nil {
		return nil, err
	}
	p.Runtime = c.findRuntime()
	p.Args = p.commandLine(c)
	return p, nil
}

// Dir is the state directory.
func (c Config) Dir() (string, error) {
	if c.StateDir == "" {
		return DefaultStateDir()
	}
	dir, err := filepath.Abs(c.StateDir)
	if err != nil {
		return "", fmt.Errorf("state directory %s: %w", c.StateDir, err)
	}
	return dir, nil
}

func (p *plan) commandLine(c Config) []string {
	args := []string{
		c.find("buildkitd"),
		"--config", filepath.Join(p.StateDir, "buildkitd.toml"),
		"--root", p.root(),
		"--addr", p.address(),
		"--otel-socket-path", filepath.Join(p.RuntimeDir, "otel.sock"),
		"--containerd-worker=false",
		"--oci-worker=true",
		"--oci-worker-binary", p.Runtime,
		"--oci-worker-snapshotter=auto",
		"--oci-worker-net=host",
		"--oci-worker-gc",
		"--oci-worker-gc-keepstorage", cacheLimits,
		// The daemon belongs to the one who builds: what a build may do is
		// decided by that build's own --allow.
		"--allow-insecure-entitlement", "network.host",
		"--allow-insecure-entitlement", "security.insecure",
	}
	if !p.Rootless {
		return args
	}
	return append([]string{
		c.find("rootlesskit"),
		"--state-dir", filepath.Join(p.RuntimeDir, "rootlesskit"),
		"--net=host",
		"--pidns",
	}, append(args, "--rootless")...)
}

// maxSocketPath is what a unix socket's address can hold, sun_path of unix(7)
// without its final zero.
const maxSocketPath = 107

// runtimeDir makes the directory for sockets. Its path must be short, so it is
// named by a hash of the state directory instead of lying inside it.
func runtimeDir(stateDir string) (string, error) {
	sum := sha256.Sum256([]byte(stateDir))
	name := hex.EncodeToString(sum[:6])
	var bases []string
	if os.Geteuid() == 0 {
		bases = append(bases, "/run/temper")
	} else if dir := os.Getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(dir) {
		bases = append(bases, filepath.Join(dir, "temper"))
	}
	bases = append(bases, filepath.Join(os.TempDir(), "temper-"+strconv.Itoa(os.Geteuid())))
	var errs []error
	for _, base := range bases {
		dir := filepath.Join(base, name)
		if len(filepath.Join(dir, "rootlesskit", "api.sock")) > maxSocketPath {
			errs = append(errs, fmt.Errorf("%s: too long for a unix socket", dir))
			continue
		}
		// The base may lie in a directory that everybody can write to, so it
		// is checked before anything is made in it.
		err := privateDir(base)
		if err == nil {
			err = privateDir(dir)
		}
		if err == nil {
			return dir, nil
		}
		errs = append(errs, err)
	}
	return "", fmt.Errorf("find a directory for the sockets of buildkitd: %w", errors.Join(errs...))
}

// privateDir makes dir with mode 0700 and makes sure that nobody else owns it.
func privateDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil { //nolint:gosec // the one who builds names the program and the cache
		return err
	}
	fi, err := os.Lstat(dir) //nolint:gosec // the one who builds names the program and the cache
	if err != nil {
		return err
	}
	if fi.Mode()&os.ModeSymlink != 0 {
		if fi, err = os.Stat(dir); err != nil { //nolint:gosec // the one who builds names the program and the cache
			return err
		}
	}
	if st, ok := fi.Sys().(*syscall.Stat_t); ok && int(st.Uid) != os.Geteuid() {
		return fmt.Errorf("%s belongs to uid %d, not to uid %d: choose another directory", dir, st.Uid, os.Geteuid())
	}
	if fi.Mode().Perm() != 0o700 {
		if err := os.Chmod(dir, 0o700); err != nil { //nolint:gosec // a directory needs its execute bit
			return err
		}
	}
	return nil
}

// supported says whether this operating system can run a daemon at all.
const supported = runtime.GOOS == "linux"
