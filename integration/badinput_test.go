package integration

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/integration/daemon"
	"github.com/temper-images/temper/integration/door"
	"github.com/temper-images/temper/integration/tools"
)

const small = "FROM busybox\nCMD [\"true\"]\n"

// A mistake in temper.yaml is answered with its place and with what is allowed.
func TestBrokenConfiguration(t *testing.T) {
	for _, tt := range []struct {
		name, yaml string
		want       []string
	}{
		{"unknown field", "harden:\n  levle: off\n", []string{"temper.yaml:2:3", "levle", "level"}},
		{"wrong type", "harden:\n  keep: 3\n", []string{"temper.yaml:2:9", "keep"}},
		{"wrong value", "harden:\n  level: extreme\n", []string{"temper.yaml:2:10", "extreme", "off", "exclusive"}},
		{"no YAML", "harden: [\n", []string{"temper.yaml:"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := contextDir(t, map[string]string{"Dockerfile": small, "temper.yaml": tt.yaml})
			for _, d := range doors(t) {
				log := fails(t, d, door.Build{Context: dir, Contexts: contexts(t, "busybox")})
				for _, want := range tt.want {
					require.Contains(t, log, want, d.Name())
				}
			}
		})
	}
}

func TestBrokenOverride(t *testing.T) {
	dir := contextDir(t, map[string]string{"Dockerfile": small})
	for _, d := range doors(t) {
		b := door.Build{Context: dir, Contexts: contexts(t, "busybox"), Args: map[string]string{"TEMPER_HARDEN_LEVEL": "extreme"}}
		log := fails(t, d, b)
		require.Contains(t, log, "TEMPER_HARDEN_LEVEL")
		require.Contains(t, log, "exclusive")
		b.Args = map[string]string{"TEMPER_HARDEN_LEVLE": "off"}
		require.Contains(t, fails(t, d, b), "TEMPER_HARDEN_LEVLE")
	}
}

// A mistake in the Dockerfile is shown with its line, as ever.
func TestBrokenDockerfile(t *testing.T) {
	dir := contextDir(t, map[string]string{"Dockerfile": "FROM busybox\nRUN true\nCOPY nothing /\n"})
	for _, d := range doors(t) {
		log := fails(t, d, door.Build{Context: dir, Contexts: contexts(t, "busybox")})
		require.Contains(t, log, "nothing")
		// The syntax line of some doors is a line too.
		require.Regexp(t, "Dockerfile:[34]\n", log, d.Name())
	}
}

func TestUnreachableBuilder(t *testing.T) {
	dir := contextDir(t, map[string]string{"Dockerfile": small})
	addr := "unix://" + filepath.Join(t.TempDir(), "nobody.sock")
	log := fails(t, door.Temper{Binary: tools.Path("temper"), Addr: addr}, door.Build{Context: dir})
	require.Contains(t, log, addr)
}

func TestMissingFrontend(t *testing.T) {
	dir := contextDir(t, map[string]string{"Dockerfile": small})
	missing := filepath.Join(t.TempDir(), "no-frontend")
	cmd := exec.CommandContext(bounded(t), tools.Path("temper"), "build", "--builder", shared.Addr, "--frontend", missing, "--output", filepath.Join(t.TempDir(), "image"), dir)
	out, err := cmd.CombinedOutput()
	require.Error(t, err)
	require.Contains(t, string(out), missing)
	require.NotContains(t, string(out), "panic:")

	// Alone in a directory, temper finds no frontend beside itself.
	alone := t.TempDir()
	binary, err := os.ReadFile(tools.Path("temper"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(alone, "temper"), binary, 0o755))
	cmd = exec.CommandContext(bounded(t), filepath.Join(alone, "temper"), "build", "--builder", shared.Addr, "--output", filepath.Join(t.TempDir(), "image"), dir)
	out, err = cmd.CombinedOutput()
	require.Error(t, err)
	require.Contains(t, string(out), "no Temper frontend found")
}

// tmpfs mounts a file system of that size, in bytes.
func tmpfs(t *testing.T, size string) string {
	t.Helper()
	dir, err := os.MkdirTemp(scratch, "t") //nolint:usetesting // a socket in it must have a short path
	require.NoError(t, err)
	require.NoError(t, exec.CommandContext(t.Context(), "mount", "-t", "tmpfs", "-o", "size="+size, "tmpfs", dir).Run())
	t.Cleanup(func() {
		require.NoError(t, exec.Command("umount", dir).Run())
	})
	return dir
}

func TestFullDisk(t *testing.T) {
	dir := contextDir(t, map[string]string{
		"Dockerfile": "FROM busybox\nRUN dd if=/dev/urandom of=/big bs=1M count=24\nCMD [\"cat\", \"/big\"]\n",
	})
	t.Run("of the client", func(t *testing.T) {
		disk := tmpfs(t, "4m")
		out := filepath.Join(disk, "image")
		log, err := temper().Build(bounded(t), door.Build{Context: dir, Contexts: contexts(t, "busybox"), Output: out})
		require.Error(t, err)
		require.Contains(t, log, "no space left on device")
		require.NotContains(t, log, "panic:")
		entries, err := os.ReadDir(disk)
		require.NoError(t, err)
		require.Empty(t, entries, "a failed build left output")
	})
	t.Run("of the builder", func(t *testing.T) {
		// Room for the frontend, but not for the image.
		disk := tmpfs(t, "160m")
		d, err := daemon.Start(t.Context(), disk, daemon.Options{Binary: tools.Path("buildkitd"), Args: []string{"--oci-worker-snapshotter=overlayfs"}})
		require.NoError(t, err)
		defer func() { require.NoError(t, d.Stop()) }()
		big := contextDir(t, map[string]string{
			"Dockerfile": "FROM busybox\nRUN dd if=/dev/urandom of=/big bs=1M count=60\nCMD [\"cat\", \"/big\"]\n",
		})
		log := fails(t, door.Temper{Binary: tools.Path("temper"), Addr: d.Addr}, door.Build{Context: big, Contexts: contexts(t, "busybox")})
		require.Contains(t, log, "no space left on device")
	})
}

// What a root filesystem says of itself is believed nowhere.
func TestHostileRootFilesystems(t *testing.T) {
	for _, tt := range []struct{ name, run string }{
		{"cyclic links", "ln -s b /a && ln -s a /b && mkdir -p /usr/share/doc && ln -s /usr/share/doc /usr/share/doc/again && ln -s self /lib/self"},
		{"escaping links", "rm -rf /lib && ln -s ../../../../../../../etc /lib && ln -s ../../../../../../../../canary /canary && mkdir -p /usr/share && ln -s ../../../../../../../.. /usr/share/doc"},
		{"links in the place of databases", "mkdir -p /var/lib/dpkg && ln -s /proc/self/mem /var/lib/dpkg/status && mkdir -p /etc && ln -s ../../../../../../etc/shadow /etc/ld.so.cache"},
		{"malformed ELF", `printf '\177ELF\002\001\001\000\000\000\000\000\000\000\000\000\003\000\076\000\001\000\000\000\377\377\377\377\377\377\377\377\377\377\377\377\377\377\377\377' >/bin/broken && chmod 755 /bin/broken && head -c 70 /bin/busybox >/bin/cut-short && chmod 755 /bin/cut-short`},
		{"malformed package database", `mkdir -p /var/lib/dpkg/info && head -c 100000 /dev/urandom >/var/lib/dpkg/status && printf 'Package: ../../x\nStatus: install ok installed\nVersion: 1\n\nPackage: dpkg\nStatus: install ok installed\nDepends: , | (((\n' >>/var/lib/dpkg/status && printf '/../../../canary\n/etc\n' >/var/lib/dpkg/info/dpkg.list`},
		{"malformed ld.so.cache", `printf 'glibc-ld.so.cache1.1\377\377\377\377\377\377\377\377' >/etc/ld.so.cache`},
		{"names", `touch "/$(printf 'new\nline')" "/$(printf '\377\376')" '/quo"te' && mkdir -p "/$(printf 'esc\033[2J')"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			canary := filepath.Join(t.TempDir(), "canary")
			require.NoError(t, os.WriteFile(canary, []byte("alive"), 0o600))
			dir := contextDir(t, map[string]string{"script": tt.run, "Dockerfile": "FROM busybox\nRUN --mount=source=script,target=/script sh /script\nCMD [\"/bin/busybox\", \"echo\", \"alive\"]\n"})
			out := filepath.Join(t.TempDir(), "image")
			log, err := temper().Build(bounded(t), door.Build{Context: dir, Contexts: contexts(t, "busybox"), Output: out})
			require.NotContains(t, log, "panic")
			require.NotContains(t, log, "goroutine ")
			require.NotContains(t, log, "internal error")
			if err != nil {
				// Refusing is right if the reason is said and nothing is left.
				require.Contains(t, log, "ERROR")
				require.NoDirExists(t, out)
				t.Log(lastLine(log))
			}
			dt, err := os.ReadFile(canary)
			require.NoError(t, err)
			require.Equal(t, "alive", string(dt))
			require.NotContains(t, log, "root:", "the machine's shadow file was read")
		})
	}
}

func lastLine(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return lines[len(lines)-1]
}
