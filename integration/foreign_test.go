package integration

import (
	"debug/elf"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/hardening/spec"
	"github.com/temper-images/temper/integration/base"
	"github.com/temper-images/temper/integration/container"
	"github.com/temper-images/temper/integration/door"
	"github.com/temper-images/temper/integration/image"
)

// A root filesystem for another architecture is hardened by the machine's own
// helper: nothing of the image is run, so no emulation is needed.
func TestForeignArchitecture(t *testing.T) {
	debian, err := base.DebianForeign(bounded(t), "arm64", "apt", "bash", "coreutils", "dash", "openssl", "python3-minimal", "tzdata")
	require.NoError(t, err)
	dir := contextDir(t, map[string]string{
		"app.py":     "import hashlib\nprint(hashlib.sha256(b'').hexdigest())\n",
		"Dockerfile": "FROM debian:arm64\nCOPY app.py /app/\nENTRYPOINT [\"python3\", \"/app/app.py\"]\n",
	})
	bytes := map[spec.Level]int64{}
	for _, level := range []spec.Level{spec.LevelExclusive, spec.LevelMinimal} {
		t.Run(string(level), func(t *testing.T) {
			out := filepath.Join(t.TempDir(), "image")
			log, err := temper().Build(bounded(t), door.Build{
				Context: dir, Contexts: map[string]string{"debian:arm64": debian.Ref()}, Platforms: []string{"linux/arm64"},
				Args: map[string]string{"TEMPER_HARDEN_LEVEL": string(level)}, Output: out,
			})
			require.NoError(t, err, log)
			images, err := image.Open(out)
			require.NoError(t, err)
			img := images["linux/arm64"]
			require.NotNil(t, img, "platforms of the result")

			var report spec.Report
			require.NoError(t, img.Predicate(spec.PredicateType, &report))
			require.Equal(t, level, report.Level)
			require.Equal(t, "debian", report.Family)
			require.NotEmpty(t, report.Checks)
			for _, c := range report.Checks {
				require.True(t, c.Passed, c.Name)
				require.Positive(t, c.Examined, c.Name)
			}
			for _, p := range report.Packages {
				if p.Name == "apt" || p.Name == "dpkg" {
					require.Equal(t, spec.PackageRemoved, p.State, p.Name)
				}
			}
			bytes[level] = report.After.Bytes

			root := filepath.Join(t.TempDir(), "rootfs")
			require.NoError(t, os.Mkdir(root, 0o755))
			require.NoError(t, container.Unpack(t.Context(), img.Image, root))
			require.FileExists(t, filepath.Join(root, "usr/bin/python3.11"))
			require.NoFileExists(t, filepath.Join(root, "usr/bin/apt-get"))
			requireLibraries(t, root, elf.EM_AARCH64)
		})
	}
	require.Less(t, bytes[spec.LevelMinimal], bytes[spec.LevelExclusive])
}

// requireLibraries tests with the Go library's reader that every ELF file below
// root is for the machine and that its interpreter and all libraries it needs
// are in Debian's library directories or, as gconv's own, beside it.
func requireLibraries(t *testing.T, root string, machine elf.Machine) {
	t.Helper()
	dirs := []string{"/lib/aarch64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/lib", "/usr/lib"}
	examined := 0
	require.NoError(t, filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		f, err := elf.Open(p)
		if bad := (*elf.FormatError)(nil); errors.As(err, &bad) {
			return nil
		}
		if err != nil {
			return nil // too short for a header
		}
		defer f.Close()
		examined++
		require.Equal(t, machine, f.Machine, p)
		needed, err := f.ImportedLibraries()
		require.NoError(t, err, p)
		for _, name := range needed {
			_, beside := os.Stat(filepath.Join(filepath.Dir(p), name))
			require.True(t, beside == nil || slices.ContainsFunc(dirs, func(dir string) bool {
				_, err := os.Stat(filepath.Join(root, dir, name))
				return err == nil
			}), "%s needs %s, which is not there", p, name)
		}
		for _, s := range f.Progs {
			if s.Type == elf.PT_INTERP {
				name := make([]byte, s.Filesz)
				_, err := s.ReadAt(name, 0)
				require.NoError(t, err)
				_, err = os.Stat(filepath.Join(root, strings.TrimRight(string(name), "\x00")))
				require.NoError(t, err, p)
			}
		}
		return nil
	}))
	require.Greater(t, examined, 5, "ELF files")
}
