package daemon

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/moby/sys/user"
)

// Requirement is something that a daemon cannot be started without.
type Requirement struct {
	Name string
	// Found says what meets the requirement, for example a path. It is empty
	// when nothing does.
	Found string
	// Fix says how to meet it.
	Fix string
}

// MissingError says why a daemon cannot be started here.
type MissingError struct {
	Requirements []Requirement
}

func (e *MissingError) Error() string {
	var b strings.Builder
	b.WriteString("cannot start a buildkitd of our own:")
	for _, r := range e.Requirements {
		fmt.Fprintf(&b, "\n  %s is missing: %s", r.Name, r.Fix)
	}
	return b.String()
}

func missing(all []Requirement) []Requirement {
	var out []Requirement
	for _, r := range all {
		if r.Found == "" {
			out = append(out, r)
		}
	}
	return out
}

// Requirements lists what starting a daemon takes, met or not.
func (c Config) Requirements() []Requirement {
	if !supported {
		return []Requirement{{Name: "Linux", Fix: "run buildkitd elsewhere and name it with --builder or BUILDKIT_HOST"}}
	}
	rs := []Requirement{
		{Name: "buildkitd", Found: c.find("buildkitd"), Fix: "put buildkitd beside temper or on PATH (make build leaves it in bin/)"},
		{Name: "runc or crun", Found: c.findRuntime(), Fix: "install an OCI runtime, on Debian: apt-get install runc"},
	}
	if os.Geteuid() == 0 {
		return rs
	}
	return append(rs,
		Requirement{Name: "rootlesskit", Found: c.find("rootlesskit"), Fix: "needed when not root; on Debian: apt-get install rootlesskit"},
		Requirement{Name: "newuidmap", Found: c.find("newuidmap"), Fix: "needed when not root; on Debian: apt-get install uidmap"},
		Requirement{Name: "newgidmap", Found: c.find("newgidmap"), Fix: "needed when not root; on Debian: apt-get install uidmap"},
		subIDs("/etc/subuid", "--add-subuids", user.CurrentUserSubUIDs),
		subIDs("/etc/subgid", "--add-subgids", user.CurrentUserSubGIDs),
		userNamespaces(),
	)
}

// minSubIDs is how many subordinate IDs hold the users of an ordinary image.
const minSubIDs = 65536

func subIDs(file, flag string, list func() ([]user.SubID, error)) Requirement {
	r := Requirement{Name: "an entry in " + file, Fix: fmt.Sprintf("as root: usermod %s 100000-165535 USER", flag)}
	ids, err := list()
	if err != nil {
		r.Fix += fmt.Sprintf(" (%v)", err)
		return r
	}
	for _, id := range ids {
		if id.Count >= minSubIDs {
			r.Found = fmt.Sprintf("%d IDs from %d", id.Count, id.SubID)
		}
	}
	return r
}

// userNamespaces looks for the three switches by which distributions forbid
// user namespaces to ordinary users.
func userNamespaces() Requirement {
	r := Requirement{Name: "user namespaces", Found: "allowed"}
	for _, s := range []struct{ key, bad, good string }{
		{"user/max_user_namespaces", "0", "10000"},
		{"kernel/unprivileged_userns_clone", "0", "1"},
		{"kernel/apparmor_restrict_unprivileged_userns", "1", "0"},
	} {
		dt, err := os.ReadFile(filepath.Join("/proc/sys", s.key))
		if err == nil && strings.TrimSpace(string(dt)) == s.bad {
			r.Found = ""
			r.Fix = fmt.Sprintf("as root: sysctl -w %s=%s", strings.ReplaceAll(s.key, "/", "."), s.good)
		}
	}
	return r
}

func (c Config) findRuntime() string {
	for _, name := range []string{"buildkit-runc", "runc", "crun"} {
		if p := c.find(name); p != "" {
			return p
		}
	}
	return ""
}

// find looks a program up in BinDirs, on PATH, and in the system directories
// that distributions leave out of an ordinary user's PATH.
func (c Config) find(name string) string {
	dirs := c.BinDirs
	if len(dirs) == 0 {
		if exe, err := os.Executable(); err == nil {
			dirs = []string{filepath.Dir(exe)}
		}
	}
	for _, dir := range dirs {
		if p, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return absolute(p)
		}
	}
	if p, err := exec.LookPath(name); err == nil {
		return absolute(p)
	}
	for _, dir := range []string{"/usr/local/sbin", "/usr/sbin", "/sbin"} {
		if p, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return p
		}
	}
	return ""
}

func absolute(p string) string {
	if abs, err := filepath.Abs(p); err == nil {
		return abs
	}
	return p
}

// Describe says in a few words where and how Start would run a daemon.
func (c Config) Describe() string {
	how := "as root"
	if uid := os.Geteuid(); uid != 0 {
		how = "rootless as uid " + strconv.Itoa(uid)
	}
	dir, err := c.Dir()
	if err != nil {
		dir = "an unknown directory"
	}
	return fmt.Sprintf("%s, %s", dir, how)
}

// Check says why a daemon could not be started, as a *MissingError, or nothing.
func (c Config) Check() error {
	if missing := missing(c.Requirements()); len(missing) > 0 {
		return &MissingError{Requirements: missing}
	}
	return nil
}
