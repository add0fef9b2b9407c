package linkagetest

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// hostTrees are the directories of a Debian machine that hold its programs and
// libraries, and what tells the loader where they are.
var hostTrees = []string{
	"/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32",
	"/usr/bin", "/usr/sbin", "/usr/lib", "/usr/lib32", "/usr/lib64", "/usr/libx32", "/usr/libexec", "/usr/local/lib",
	"/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d",
}

// HostRoot returns a directory with the programs and libraries of this machine, as
// a root filesystem of its own: hard links where the filesystem allows it.
func HostRoot(tb testing.TB) string {
	tb.Helper()
	root := tb.TempDir()
	for _, p := range hostTrees {
		if _, err := os.Lstat(p); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		to := filepath.Join(root, filepath.Dir(p))
		if err := os.MkdirAll(to, 0o755); err != nil {
			tb.Fatal(err)
		}
		if exec.CommandContext(tb.Context(), "cp", "-al", p, to).Run() == nil {
			continue
		}
		// Another filesystem than that of the temporary directory.
		if out, err := exec.CommandContext(tb.Context(), "cp", "-a", p, to).CombinedOutput(); err != nil {
			tb.Fatalf("copy %s: %v\n%s", p, err, out)
		}
	}
	return root
}

var lddLine = regexp.MustCompile(`^\t(\S+)(?: => (.*?))?(?: \(0x[0-9a-f]+\))?$`)

// Ldd asks ldd(1), in the root filesystem root, what the file at a path in it is
// loaded with: paths in root by name, empty where the name is not found. The
// result is nil when ldd says that the file is not dynamic. Nothing is run but ldd
// and the loader.
func Ldd(ctx context.Context, root, file string) map[string]string {
	cmd := exec.CommandContext(ctx, "chroot", root, "ldd", file)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
	out, _ := cmd.Output() // a library that is not found makes it fail
	found := map[string]string{}
	for line := range strings.Lines(string(out)) {
		m := lddLine.FindStringSubmatch(strings.TrimRight(line, "\n"))
		switch {
		case m == nil || strings.HasPrefix(m[1], "linux-vdso"):
		case m[2] == "not found":
			found[m[1]] = ""
		case m[2] == "":
			found[m[1]] = m[1]
		default:
			found[m[1]] = m[2]
		}
	}
	return found
}
