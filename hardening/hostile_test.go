package hardening

import (
	"bufio"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/metrics"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/temper-images/temper/hardening/linkage/linkagetest"
	"github.com/temper-images/temper/hardening/spec"
)

// A root filesystem comes from anywhere. Each case is one that somebody would
// try: the result is safe, or the error says what is wrong; nothing panics and
// nothing outside of the root filesystem is read or written.
func TestHardenHostile(t *testing.T) {
	const secret = "root:x:0:0:the host's own:/root:/bin/sh\n"
	for _, tc := range []struct {
		name    string
		fixture string
		change  func(*spec.Settings)
		spoil   func(t *testing.T, root string)
		// wantErr, when not empty, is part of the error; else the result is
		// checked and notice, when not empty, is part of a notice.
		wantErr, notice string
	}{
		{
			name: "directory link escapes",
			fixture: `
				link /lib ../../../../etc
				link /usr/lib/up ../../../../../..
				file /etc/app "x"
				file /app "x"
			`,
		},
		{name: "account file escapes", fixture: "link /etc/passwd ../../../../../../../../etc/shadow", wantErr: "/etc/passwd"},
		{
			name: "links in circles",
			fixture: base + `
				link /a b
				link /b a
				link /usr/bin/loop loop
				link /etc/ld.so.cache /etc/ld.so.cache
				link /var/lib/rpm /var/lib/rpm
			`,
		},
		{name: "account file is a circle", fixture: "link /etc/passwd passwd", wantErr: "/etc/passwd"},
		{name: "account file is a directory", fixture: "dir /etc/passwd", wantErr: "/etc/passwd"},
		{
			name: "account file is a FIFO", fixture: "file /app \"x\"", wantErr: "/etc/passwd",
			spoil: func(t *testing.T, root string) {
				if err := os.MkdirAll(filepath.Join(root, "etc"), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := syscall.Mkfifo(filepath.Join(root, "etc/passwd"), 0o644); err != nil {
					t.Fatal(err)
				}
			},
		},
		{
			name: "malformed ELF files", notice: "/usr/bin/short",
			fixture: base + `
				file /usr/bin/short 0755 "\x7fELF"
				file /usr/bin/huge 0755 "\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x03\x00\x3e\x00\x01\x00\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f\xff\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00\x40\x00\x38\x00\xff\xff\x40\x00\xff\xff\xff\xff"
			`,
		},
		{
			name: "malformed ld.so.cache", notice: "ld.so.cache",
			fixture: base + `
				file /etc/ld.so.cache "glibc-ld.so.cache1.1\xff\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00"
				file /etc/ld.so.conf "include /etc/ld.so.conf\n/usr/lib\n"
			`,
		},
		{
			name: "malformed package database",
			fixture: base + `
				file /lib/apk/db/installed "P:\nV\nF:../../etc\nR:shadow\n\nC:x\n"
				file /var/lib/rpm/Packages "not a database"
				file /var/lib/rpm/rpmdb.sqlite "not a database either"
			`,
		},
		{
			name: "package lists climb out", notice: "../../etc/shadow",
			fixture: base + `
				deb climber: ../../etc/shadow /usr/bin/../../../../etc/shadow /app
				file /app "x"
			`,
		},
		{
			name: "names that are no text",
			fixture: base + `
				file /app "x"
			`,
			spoil: func(t *testing.T, root string) {
				for _, name := range []string{"new\nline", "\xff\xfe", "-rf", "a\tb", " ", "\x1b[31m"} {
					write(t, root, name, 0o755)
				}
			},
		},
		{
			name: "10,000 directories within each other", fixture: "file /app \"x\"", wantErr: "directories within each other",
			spoil: func(t *testing.T, root string) { deep(t, root, 10_000) },
		},
		{
			name: "500 directories within each other", fixture: base,
			spoil: func(t *testing.T, root string) { deep(t, root, 500) },
		},
		{
			name: "chains of links", fixture: base + "prog /app needs libchain.so,libc.so.6\n",
			spoil: func(t *testing.T, root string) {
				// The kernel follows forty.
				for i := range 200 {
					must(t, os.Symlink(fmt.Sprintf("chain%d", i+1), filepath.Join(root, fmt.Sprintf("usr/lib/chain%d", i))))
				}
				must(t, os.Symlink("libc.so.6", filepath.Join(root, "usr/lib/chain200")))
				must(t, os.Symlink("chain0", filepath.Join(root, "usr/lib/libchain.so")))
			},
		},
		{
			name: "directories that are links to their parents", fixture: base + "file /etc/nsswitch.conf \"hosts: files\"\n",
			spoil: func(t *testing.T, root string) {
				for _, dir := range []string{"usr/lib/again", "etc/again", "usr/share/again", "var/lib/dpkg/info/again"} {
					must(t, os.Symlink("..", filepath.Join(root, dir)))
				}
			},
		},
		{
			name: "ELF headers with every field past the end", fixture: base,
			spoil: func(t *testing.T, root string) {
				must(t, os.MkdirAll(filepath.Join(root, "usr/lib/bad"), 0o755))
				good := linkagetest.Image{
					Type: elf.ET_DYN, Interp: "/lib64/ld-linux-x86-64.so.2", Needed: []string{"libc.so.6"}, Soname: "libbad.so", Imports: []string{"iconv_open"},
					Exports: []string{"x"}, Dlopen: `[{"soname":["libz.so.1"],"priority":"required"}]`, Property: true,
				}.Bytes()
				for off := 0; off+8 <= len(good) && off < 1200; off += 4 {
					bad := slices.Clone(good)
					binary.LittleEndian.PutUint64(bad[off:], 1<<63-uint64(off))
					must(t, os.WriteFile(filepath.Join(root, "usr/lib/bad", fmt.Sprintf("field%d.so", off)), bad, 0o755))
					must(t, os.WriteFile(filepath.Join(root, "usr/lib/bad", fmt.Sprintf("cut%d.so", off)), good[:off], 0o755))
				}
			},
		},
		{
			name: "decompression of nothing", fixture: base + "file /lib/apk/db/installed \"\"\nfile /etc/ld.so.cache \"\"\n",
			spoil: func(t *testing.T, root string) {
				for _, name := range []string{
					"usr/share/man/man1/a.1.gz", "usr/share/doc/zlib1g/changelog.Debian.gz", "usr/lib/locale/locale-archive", "usr/lib/modules/a.ko.xz",
					"usr/share/i18n/charmaps/UTF-8.gz", "var/lib/rpm/rpmdb.sqlite", "var/lib/rpm/Packages.db", "var/lib/rpm/Packages", "var/lib/rpmmanifest/container-manifest-2",
					"var/lib/dpkg/diversions", "var/lib/dpkg/alternatives/awk", "usr/lib/python3.11/os.pyc", "usr/lib/jvm/java/lib/modules", "usr/share/zoneinfo/UTC",
				} {
					must(t, os.MkdirAll(filepath.Join(root, filepath.Dir(name)), 0o755))
					must(t, os.WriteFile(filepath.Join(root, name), nil, 0o644))
				}
			},
		},
		{
			name: "other package databases that climb out", fixture: base, notice: "../../etc/shadow",
			spoil: func(t *testing.T, root string) {
				for name, text := range map[string]string{
					"var/lib/dpkg/diversions":        "/usr/bin/dash\n../../../../etc/shadow\ndash\n/../../a\n/b\n:\nhalf\n",
					"var/lib/dpkg/alternatives/awk":  "auto\n/../../../usr/bin/awk\n../../x\n/../../../y\n\n",
					"var/lib/dpkg/info/dash.md5sums": "00000000000000000000000000000000  ../../etc/shadow\n",
					"var/lib/dpkg/info/dash.list":    "/.\n/bin\n/bin/dash\n../../etc/shadow\n/bin/sh\n",
					"lib/apk/db/installed":           "P:climber\nV:1\nF:../../etc\nR:../../etc/shadow\n\n",
				} {
					must(t, os.MkdirAll(filepath.Join(root, filepath.Dir(name)), 0o755))
					must(t, os.WriteFile(filepath.Join(root, name), []byte(text), 0o644))
				}
			},
		},
		{
			name: "FIFOs and devices where files are expected", fixture: base + "file /app 0755 \"#!/bin/sh\\ncat /etc/nsswitch.conf /etc/pam.d/login\\n\"\n",
			change: func(s *spec.Settings) { s.Image.Entrypoint = []string{"/app"} },
			spoil: func(t *testing.T, root string) {
				for i, name := range []string{
					"etc/nsswitch.conf", "etc/pam.d/login", "etc/ld.so.conf", "etc/ld.so.cache", "etc/ld.so.conf.d/a.conf", "etc/os-release", "usr/lib/os-release", "etc/ssl/openssl.cnf",
					"usr/lib/x86_64-linux-gnu/libnss_files.so.2", "usr/lib/x86_64-linux-gnu/gconv/gconv-modules", "var/lib/apk", "lib/apk/db/installed", "var/lib/rpm/Packages",
					"var/lib/dpkg/diversions", "var/lib/dpkg/info/dash.md5sums", "var/lib/apt/extended_states", "etc/apk/world", "usr/bin/env", "etc/subuid",
				} {
					name = filepath.Join(root, name)
					must(t, os.MkdirAll(filepath.Dir(name), 0o755))
					must(t, os.RemoveAll(name))
					if i%2 == 0 {
						must(t, syscall.Mkfifo(name, 0o755))
					} else {
						must(t, syscall.Mknod(name, syscall.S_IFCHR|0o777, 1<<8|5)) // /dev/zero
					}
				}
			},
		},
		{
			name: "directories where files are expected", fixture: base,
			spoil: func(t *testing.T, root string) {
				for _, name := range []string{
					"etc/nsswitch.conf", "etc/ld.so.conf", "etc/ld.so.cache", "etc/os-release", "usr/lib/os-release", "var/lib/dpkg/diversions", "var/lib/rpm/Packages",
					"var/lib/rpm/rpmdb.sqlite", "var/lib/dpkg/info/dash.md5sums", "usr/bin/env", "etc/pam.d/login/login",
				} {
					must(t, os.MkdirAll(filepath.Join(root, name), 0o755))
				}
			},
		},
		{
			name: "interpreters in circles", fixture: base + `
				file /usr/bin/a 0755 "#!/usr/bin/b\n"
				file /usr/bin/b 0755 "#!/usr/bin/a\n"
				file /usr/bin/self 0755 "#!/usr/bin/self -x\n"
				file /usr/bin/out 0755 "#!../../../../bin/sh\n"
				file /usr/bin/nothing 0755 "#!\n"
				file /usr/bin/split 0755 "#!/usr/bin/env -S sh -c 'a' \\ \" "
			`,
			change: func(s *spec.Settings) { s.Image.Entrypoint = []string{"a"} },
		},
		{
			name: "scripts that nest without end", fixture: base,
			change: func(s *spec.Settings) { s.Image.Entrypoint = []string{"/nest0"} },
			spoil: func(t *testing.T, root string) {
				for i, part := range []string{"(", "$(", "if ", "`", "{ /nest1;"} {
					text := "#!/bin/sh\n" + strings.Repeat(part, 200<<10/len(part))
					must(t, os.WriteFile(filepath.Join(root, fmt.Sprintf("nest%d", i)), []byte(text), 0o755))
				}
			},
		},
		{
			// Eight gigabytes of nothing, and a thousand names for one file.
			name: "holes and hardlinks", fixture: base,
			spoil: func(t *testing.T, root string) {
				must(t, os.MkdirAll(filepath.Join(root, "srv"), 0o755))
				hole := filepath.Join(root, "srv/hole")
				must(t, os.WriteFile(hole, []byte("#!/bin/sh\n/usr/bin/dash\n"), 0o755))
				must(t, os.Truncate(hole, 8<<30))
				text := filepath.Join(root, "srv/text")
				must(t, os.WriteFile(text, []byte("#!/bin/sh\n"+strings.Repeat("/usr/bin/dash /etc/passwd libz.so.1 ", 28_000)), 0o755))
				for i := range 1000 {
					must(t, os.Link(text, filepath.Join(root, fmt.Sprintf("srv/text%d", i))))
				}
			},
		},
		{
			// Each spelling names a directory with thousands of files.
			name: "a file that names everything", fixture: base, change: func(s *spec.Settings) { s.Image.Entrypoint = []string{"/app"} },
			spoil: func(t *testing.T, root string) {
				must(t, os.MkdirAll(filepath.Join(root, "opt/data"), 0o755))
				for i := range 2000 {
					must(t, os.WriteFile(filepath.Join(root, fmt.Sprintf("opt/data/%d", i)), nil, 0o644))
				}
				var text strings.Builder
				text.WriteString("#!/bin/sh\n")
				for i := range 4000 {
					fmt.Fprintf(&text, "/opt/data/%s\n", strings.Repeat("./", i%200)+strings.Repeat("/", i/200))
				}
				must(t, os.WriteFile(filepath.Join(root, "app"), []byte(text.String()), 0o755))
			},
		},
		{
			name: "packages that ask for what all provide", fixture: base,
			spoil: func(t *testing.T, root string) {
				addPackages(t, root, 20_000, func(i int) string { return "Provides: x\nDepends: x\n" })
			},
		},
		{
			name: "a chain of packages", fixture: base,
			change: func(s *spec.Settings) { s.Installed = []string{"p0"} },
			spoil: func(t *testing.T, root string) {
				addPackages(t, root, 50_000, func(i int) string { return fmt.Sprintf("Depends: p%d\n", i+1) })
			},
		},
		{
			name: "files that a thousand packages list", fixture: base, change: func(s *spec.Settings) { s.Installed = []string{"p0"} },
			spoil: func(t *testing.T, root string) {
				addPackages(t, root, 1000, func(i int) string { return "Depends: p1, p2\n" })
				var list strings.Builder
				for i := range 1000 {
					name := fmt.Sprintf("usr/bin/shared%d", i)
					must(t, os.WriteFile(filepath.Join(root, name), []byte(fmt.Sprintf("#!/usr/bin/shared%d\n", i+1)), 0o755))
					list.WriteString("/" + name + "\n")
				}
				for i := range 1000 {
					must(t, os.WriteFile(filepath.Join(root, fmt.Sprintf("var/lib/dpkg/info/p%d.list", i)), []byte(list.String()), 0o644))
				}
			},
		},
		{
			name: "library directories of 4,000 architectures", fixture: base,
			spoil: func(t *testing.T, root string) {
				for i := range 4000 {
					must(t, os.Mkdir(filepath.Join(root, fmt.Sprintf("usr/lib/x%d-linux-gnu", i)), 0o755))
				}
			},
		},
		{
			name: "files full of names", fixture: base, change: func(s *spec.Settings) { s.Image.Entrypoint = []string{"/app0"} },
			spoil: func(t *testing.T, root string) {
				for i := range 20 {
					var text strings.Builder
					text.WriteString("#!/bin/sh\n")
					for k := range 200_000 {
						fmt.Fprintf(&text, "/usr/bin/%d-%d lib%d-%d.so.1\n", i, k, i, k)
					}
					must(t, os.WriteFile(filepath.Join(root, fmt.Sprintf("app%d", i)), []byte(text.String()), 0o755))
				}
			},
		},
		{
			// Whether a name of a program counts is up to what packages ask for.
			name: "a file of two hundred packages that names one program of many", fixture: base,
			change: func(s *spec.Settings) { s.Image.Entrypoint = []string{"/app"} },
			spoil: func(t *testing.T, root string) {
				var provided, asked, programs strings.Builder
				for i := range 2000 {
					fmt.Fprintf(&provided, ", a%d", i)
					fmt.Fprintf(&asked, ", b%d", i)
				}
				for i := range 16 {
					dir := []string{"bin", "sbin", "games", "libexec"}[i%4]
					name := fmt.Sprintf("usr/%s/prog%d", dir, i)
					must(t, os.MkdirAll(filepath.Join(root, filepath.Dir(name)), 0o755))
					must(t, os.WriteFile(filepath.Join(root, name), []byte("x"), 0o755))
					programs.WriteString("/" + name + "\n")
				}
				addPackages(t, root, 217, func(i int) string {
					switch {
					case i == 0:
						return "Provides: b" + strings.TrimPrefix(asked.String(), ", b") + "\n"
					case i < 17:
						return "Provides: a" + strings.TrimPrefix(provided.String(), ", a") + "\n"
					}
					return "Depends: b" + strings.TrimPrefix(asked.String(), ", b") + "\n"
				})
				for i := 1; i < 217; i++ {
					list := "/app\n"
					if i < 17 {
						list = programs.String()
					}
					must(t, os.WriteFile(filepath.Join(root, fmt.Sprintf("var/lib/dpkg/info/p%d.list", i)), []byte(list), 0o644))
				}
				must(t, os.WriteFile(filepath.Join(root, "app"), []byte("#!/bin/sh\n"+strings.Repeat(`"prog3" `, 100_000)), 0o755))
			},
		},
		{
			name: "globs of many stars over long names", fixture: base + "file /app \"x\"\n",
			change: func(s *spec.Settings) {
				s.Keep = []string{"/**/*a*a*a*a*a*a*/**/*b*/**/*", "/app"}
				s.Remove = []string{"/**/**/**/{a,b,c}*{a,b,c}*/**/a*a*a*", "package:*a*a*a*"}
			},
			wantErr: "matches nothing",
			spoil: func(t *testing.T, root string) {
				dir := filepath.Join(root, strings.Repeat("a", 250), strings.Repeat("a", 250), strings.Repeat("a", 250))
				must(t, os.MkdirAll(dir, 0o755))
				for i := range 1000 {
					must(t, os.WriteFile(filepath.Join(dir, fmt.Sprintf("%s%d", strings.Repeat("a", 200), i)), nil, 0o644))
				}
			},
		},
		{
			name: "programs with names that are no text", fixture: base,
			change: func(s *spec.Settings) { s.Keep = []string{"/usr/bin/*\n*", "/usr/lib/x86_64-linux-gnu/*"} },
			spoil: func(t *testing.T, root string) {
				program := linkagetest.Image{Type: elf.ET_EXEC, Interp: "/lib64/ld-linux-x86-64.so.2", Needed: []string{"lib\n\xff.so", "../../../outside", "", strings.Repeat("x", 5000)}}.Bytes()
				library := linkagetest.Image{Type: elf.ET_DYN, Soname: "lib\n\xff.so"}.Bytes()
				must(t, os.WriteFile(filepath.Join(root, "usr/bin/new\nline"), program, 0o755))
				must(t, os.WriteFile(filepath.Join(root, "usr/bin/\xff\xfe"), program, 0o755))
				must(t, os.WriteFile(filepath.Join(root, "usr/lib/x86_64-linux-gnu/lib\n\xff.so"), library, 0o755))
			},
		},
		{
			name: "entrypoint climbs out", fixture: base,
			change: func(s *spec.Settings) {
				s.Image.Entrypoint = []string{"../../../../bin/sh", "-c", "$(apt-get) ; `apt` && ((("}
				s.Image.WorkingDir = "/../.."
			},
		},
		{
			name: "keep climbs out", fixture: base, wantErr: "matches nothing",
			change: func(s *spec.Settings) { s.Keep = []string{"/../../../../../../root/absent-on-any-machine"} },
		},
	} {
		for _, level := range []spec.Level{spec.LevelExclusive, spec.LevelMinimal} {
			t.Run(tc.name+"/"+string(level), func(t *testing.T) {
				src := newFixture(t, tc.fixture)
				if tc.spoil != nil {
					tc.spoil(t, src)
				}
				outside := filepath.Join(filepath.Dir(src), "outside")
				if err := os.WriteFile(outside, []byte(secret), 0o600); err != nil {
					t.Fatal(err)
				}
				s := settings(tc.change)
				s.Level = level
				var (
					dst    string
					report *spec.Report
					err    error
				)
				bounded(t, func() { dst, report, err = run(t, src, s) })
				if tc.wantErr != "" {
					if err == nil || !strings.Contains(err.Error(), tc.wantErr) {
						t.Errorf("error %v, want one that says %q", err, tc.wantErr)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				if tc.notice != "" && !strings.Contains(strings.Join(report.Notices, "\n"), tc.notice) {
					t.Errorf("notices %q, want one that says %q", report.Notices, tc.notice)
				}
				if got := listing(t, dst); strings.Contains(got, "outside") {
					t.Errorf("something from outside came in:\n%s", got)
				}
			})
		}
	}
}

// bounded runs f within what a build step may take of a small machine: two
// minutes, and 1 GiB of memory.
func bounded(t *testing.T, f func()) {
	t.Helper()
	const memory, patience = 1 << 30, 2 * time.Minute
	runtime.GC()
	var peak atomic.Uint64
	stop := make(chan struct{})
	var sampler sync.WaitGroup
	sampler.Go(func() {
		for {
			sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/heap/stacks:bytes"}}
			metrics.Read(sample)
			peak.Store(max(peak.Load(), sample[0].Value.Uint64()+sample[1].Value.Uint64()))
			select {
			case <-stop:
				return
			case <-time.After(10 * time.Millisecond):
			}
		}
	})
	start := time.Now()
	f()
	took := time.Since(start)
	close(stop)
	sampler.Wait()
	t.Logf("%s, %d MiB", took.Round(time.Millisecond), peak.Load()>>20)
	if took > patience || peak.Load() > memory {
		t.Errorf("it took %s and %d MiB", took, peak.Load()>>20)
	}
}

// addPackages adds n packages p0, p1 and so on to a dpkg database, each with further
// fields.
func addPackages(t *testing.T, root string, n int, fields func(i int) string) {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(root, "var/lib/dpkg/status"), os.O_APPEND|os.O_WRONLY, 0)
	must(t, err)
	w := bufio.NewWriter(f)
	for i := range n {
		fmt.Fprintf(w, "Package: p%d\nStatus: install ok installed\nVersion: 1\nArchitecture: all\n%s\n", i, fields(i))
	}
	must(t, w.Flush())
	must(t, f.Close())
	must(t, os.MkdirAll(filepath.Join(root, "var/lib/dpkg/info"), 0o755))
	must(t, os.WriteFile(filepath.Join(root, "var/lib/dpkg/info/p0.list"), []byte("/usr/bin\n"), 0o644))
}

// deep makes directories within each other, which no path can name.
func deep(t *testing.T, root string, depth int) {
	t.Helper()
	fd, err := syscall.Open(root, syscall.O_RDONLY|syscall.O_DIRECTORY|syscall.O_CLOEXEC, 0)
	must(t, err)
	for range depth {
		must(t, syscall.Mkdirat(fd, "d", 0o755))
		next, err := syscall.Openat(fd, "d", syscall.O_RDONLY|syscall.O_DIRECTORY|syscall.O_CLOEXEC, 0)
		must(t, err)
		must(t, syscall.Close(fd))
		fd = next
	}
	must(t, syscall.Close(fd))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
