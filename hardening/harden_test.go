package hardening

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/temper-images/temper/hardening/spec"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// base is what the Debian fixtures share: a C library, a shell, a package
// manager with a library of its own, and the links of a merged /usr.
const base = `
	link /bin usr/bin
	link /lib usr/lib
	link /sbin usr/sbin
	link /lib64 usr/lib64
	prog /usr/bin/dash needs libc.so.6
	link /usr/bin/sh dash
	prog /usr/bin/apt needs libapt-pkg.so.6.0,libc.so.6
	prog /usr/bin/apt-get needs libapt-pkg.so.6.0,libc.so.6
	prog /usr/bin/dpkg needs libc.so.6
	prog /usr/bin/gpgv needs libgcrypt.so.20,libc.so.6
	lib /usr/lib64/ld-linux-x86-64.so.2
	lib /usr/lib/x86_64-linux-gnu/libc.so.6 needs ld-linux-x86-64.so.2
	lib /usr/lib/x86_64-linux-gnu/libapt-pkg.so.6.0 needs libstdc++.so.6,libz.so.1,libc.so.6
	lib /usr/lib/x86_64-linux-gnu/libstdc++.so.6 needs libc.so.6
	lib /usr/lib/x86_64-linux-gnu/libz.so.1 needs libc.so.6
	lib /usr/lib/x86_64-linux-gnu/libgcrypt.so.20 needs libc.so.6
	file /etc/apt/sources.list "deb"
	file /etc/ssl/certs/ca-certificates.crt "pem"
	file /etc/passwd "root:x:0:0:root:/root:/bin/sh\nwww-data:x:33:33::/var/www:/usr/sbin/nologin\n"
	file /etc/group "root:x:0:\nwww-data:x:33:\n"
	file /usr/share/doc/zlib1g/copyright "zlib"
	file /usr/share/doc/zlib1g/changelog.gz "x"
	dir /tmp 1777
	dir /run
	dir /var/log
	deb libc6 section=libs: /usr/lib64/ld-linux-x86-64.so.2 /usr/lib/x86_64-linux-gnu/libc.so.6
	deb dash essential priority=required depends=libc6: /bin/dash /bin/sh
	deb apt priority=important depends=libapt-pkg6.0,gpgv,libc6,ca-certificates: /usr/bin/apt /usr/bin/apt-get /etc/apt/sources.list
	deb dpkg essential priority=required depends=libc6: /usr/bin/dpkg
	deb gpgv priority=important depends=libgcrypt20,libc6: /usr/bin/gpgv
	deb libapt-pkg6.0 section=libs depends=libstdc++6,zlib1g,libc6: /usr/lib/x86_64-linux-gnu/libapt-pkg.so.6.0
	deb libstdc++6 section=libs depends=libc6: /usr/lib/x86_64-linux-gnu/libstdc++.so.6
	deb zlib1g section=libs depends=libc6: /usr/lib/x86_64-linux-gnu/libz.so.1 /usr/share/doc/zlib1g/copyright /usr/share/doc/zlib1g/changelog.gz
	deb libgcrypt20 section=libs depends=libc6: /usr/lib/x86_64-linux-gnu/libgcrypt.so.20
	deb ca-certificates: /etc/ssl/certs/ca-certificates.crt
`

func settings(change func(*spec.Settings)) spec.Settings {
	s := spec.Settings{Level: spec.LevelExclusive, Shell: spec.ShellKeep, User: spec.UserAuto}
	s.Image.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	if change != nil {
		change(&s)
	}
	return s
}

// run hardens a fixture, checks the result and returns its root and report.
func run(t *testing.T, src string, s spec.Settings) (string, *spec.Report, error) {
	t.Helper()
	in, err := os.OpenRoot(src)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	dst := t.TempDir()
	out, err := os.OpenRoot(dst)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	report, err := Harden(t.Context(), Options{Settings: s, Rootfs: in, Out: out})
	if err != nil {
		if left, lerr := os.ReadDir(dst); lerr != nil || len(left) > 0 {
			t.Errorf("a refused root filesystem left output behind: %v, %v", left, lerr)
		}
		return dst, nil, err
	}
	return dst, report, Check(t.Context(), CheckOptions{Settings: s, Before: in, After: out, Report: report})
}

func TestHarden(t *testing.T) {
	for _, tc := range []struct {
		name    string
		fixture string
		change  func(*spec.Settings)
	}{
		{name: "debian", fixture: base},
		{
			// What an application that no package owns links to stays, with its
			// package; the package named in the Dockerfile stays too.
			name: "debian-copied-application",
			fixture: base + `
				prog /app/server needs libstdc++.so.6,libc.so.6
				file /app/data.txt "data"
				link /usr/local/bin/server /app/server
			`,
			change: func(s *spec.Settings) {
				s.Image.Entrypoint = []string{"server"}
				s.Installed = []string{"gpgv"}
			},
		},
		{
			// A script that somebody wrote calls gpgv, and CMD is in shell form.
			name: "debian-scripts",
			fixture: base + `
				file /entrypoint.sh 0755 "#!/bin/sh\nset -e\nif true; then exec gpgv \"$@\"; fi\n"
				file /usr/local/bin/gone 0755 "#!/usr/bin/env dash\n:\n"
			`,
			change: func(s *spec.Settings) {
				s.Image.Entrypoint = []string{"/entrypoint.sh"}
				s.Image.Cmd = []string{"/bin/sh", "-c", "apt-get update && gpgv --version"}
			},
		},
		{
			name: "debian-classes",
			fixture: base + `
				file /usr/share/doc/app/README "x"
				file /usr/share/doc/app/copyright "x"
				link /usr/share/doc/libapp app
				file /usr/share/man/man1/app.1.gz "x"
				link /usr/share/man/man1/application.1.gz app.1.gz
				file /usr/share/locale/de/LC_MESSAGES/app.mo "x"
				file /usr/share/locale/de_AT/LC_MESSAGES/app.mo "x"
				file /usr/share/locale/fr/LC_MESSAGES/app.mo "x"
				file /usr/share/locale/fr/LC_MESSAGES/mine.mo "x"
				file /usr/share/locale/locale.alias "x"
				file /usr/lib/locale/C.utf8/LC_CTYPE "x"
				file /var/log/app/app.log "x"
				link /var/log/app/error.log /dev/stderr
				file /var/cache/ldconfig/aux-cache "x"
				file /var/cache/app/cached "x"
				file /tmp/left "x"
				file /run/app.pid "1"
				file /root/.cache/pip/x "x"
				file /etc/passwd- "x"
				file /etc/app.conf.dpkg-old "x"
				deb app depends=libc6: /usr/share/doc/app/README /usr/share/doc/app/copyright /usr/share/doc/libapp /usr/share/man/man1/app.1.gz /usr/share/man/man1/application.1.gz /usr/share/locale/de/LC_MESSAGES/app.mo /usr/share/locale/de_AT/LC_MESSAGES/app.mo /usr/share/locale/fr/LC_MESSAGES/app.mo /usr/lib/locale/C.utf8/LC_CTYPE /usr/share/locale/locale.alias
			`,
			change: func(s *spec.Settings) { s.Locales = []string{"de_AT.UTF-8"} },
		},
		{
			name: "debian-keep",
			fixture: base + `
				file /usr/share/doc/app/api/index.html "x"
				file /tmp/needed "x"
			`,
			change: func(s *spec.Settings) {
				s.Keep = []string{"/usr/share/doc/app", "/tmp/n*", "/usr/**/libgcrypt*"}
			},
		},
		{
			name: "debian-no-shell",
			fixture: base + `
				prog /app/server needs libc.so.6
			`,
			change: func(s *spec.Settings) {
				s.Shell = spec.ShellRemove
				s.Image.Entrypoint = []string{"/app/server"}
			},
		},
		{
			name: "debian-user",
			fixture: base + `
				prog /usr/bin/su 4755 needs libc.so.6
				file /usr/bin/kept-suid 4755 "x"
				file /usr/bin/dropped-suid 6755 "x"
				dir /var/lib/app 0750 33:33
				file /var/lib/app/db 0640 33:33 "x"
				dir /data
			`,
			change: func(s *spec.Settings) {
				s.SetUID = []string{"/usr/bin/kept-suid"}
				s.Writable = []string{"/srv/made/here"}
				s.Image.Volumes = []string{"/data", "/var/missing"}
			},
		},
		{
			name: "debian-named-user",
			fixture: base + `
				dir /var/lib/app 0750 33:33
			`,
			change: func(s *spec.Settings) { s.Image.User = "www-data" },
		},
		{
			// No package database: what linkage alone can tell.
			name: "package-less",
			fixture: `
				prog /bin/busybox needs libc.so.6
				link /bin/sh busybox
				prog /sbin/apk needs libapk.so.2,libc.so.6
				lib /lib/libapk.so.2.1 needs libz.so.1,libc.so.6
				link /lib/libapk.so.2 libapk.so.2.1
				lib /lib/libz.so.1 needs libc.so.6
				lib /lib/libother.so needs libc.so.6
				lib /lib/libc.so.6
				lib /lib64/ld-linux-x86-64.so.2
				file /etc/apk/repositories "x"
				file /app/run 0755 "#!/bin/sh\n:\n"
			`,
			change: func(s *spec.Settings) { s.Image.Entrypoint = []string{"/app/run"} },
		},
		{
			name: "static-binary",
			fixture: `
				file /server 0755 "a program"
			`,
			change: func(s *spec.Settings) { s.Image.Entrypoint = []string{"/server"} },
		},
		{
			name: "alpine",
			fixture: `
				prog /bin/busybox needs libc.musl-x86_64.so.1
				link /bin/sh /bin/busybox
				prog /sbin/apk needs libapk.so.2,libssl.so.3,libc.musl-x86_64.so.1
				lib /lib/libapk.so.2 needs libc.musl-x86_64.so.1
				lib /lib/libssl.so.3 needs libc.musl-x86_64.so.1
				lib /lib/ld-musl-x86_64.so.1
				link /lib/libc.musl-x86_64.so.1 ld-musl-x86_64.so.1
				file /etc/apk/world "alpine-baselayout\napk-tools\nbusybox\n"
				file /etc/apk/repositories "x"
				file /etc/ssl/cert.pem "x"
				file /lib/apk/db/lock ""
				file /lib/apk/db/scripts.tar "x"
				file /lib/apk/db/installed ` + "\"" + strings.Join([]string{
				`C:Q1a=\nP:musl\nV:1.2\nA:x86_64\np:so:libc.musl-x86_64.so.1=1\nF:lib\nR:ld-musl-x86_64.so.1\nR:libc.musl-x86_64.so.1\n`,
				`C:Q1b=\nP:busybox\nV:1.36\nA:x86_64\nD:so:libc.musl-x86_64.so.1\np:cmd:sh=1\nF:bin\nR:busybox\nR:sh\n`,
				`C:Q1c=\nP:apk-tools\nV:2.14\nA:x86_64\nD:musl ca-certificates-bundle so:libapk.so.2 so:libssl.so.3\nF:sbin\nR:apk\n`,
				`C:Q1d=\nP:libapk2\nV:2.14\nA:x86_64\np:so:libapk.so.2=2\nF:lib\nR:libapk.so.2\n`,
				`C:Q1e=\nP:libssl3\nV:3.1\nA:x86_64\np:so:libssl.so.3=3\nF:lib\nR:libssl.so.3\n`,
				`C:Q1f=\nP:ca-certificates-bundle\nV:1\nA:x86_64\nF:etc/ssl\nR:cert.pem\n\n`,
			}, `\n`) + `"`,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dst, report, err := run(t, newFixture(t, tc.fixture), settings(tc.change))
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range report.Checks {
				if !c.Passed || c.Examined == 0 && c.Name == spec.CheckLockdown {
					t.Errorf("check %s: passed %v, examined %d", c.Name, c.Passed, c.Examined)
				}
			}
			dt, err := json.MarshalIndent(report, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			golden(t, tc.name+".golden", listing(t, dst)+"\n"+string(dt)+"\n")
		})
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	name = filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(name, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s differs (-want +got), run with -update to accept:\n%s", name, diff)
	}
}

func TestHardenRefuses(t *testing.T) {
	as := func(target any) func(error) bool { return func(err error) bool { return errors.As(err, target) } }
	for _, tc := range []struct {
		name   string
		change func(*spec.Settings)
		is     func(error) bool
		text   string
	}{
		{"root by name", func(s *spec.Settings) { s.Image.User = "root" }, as(new(*UserError)), "run as root"},
		{"root by number", func(s *spec.Settings) { s.Image.User = "0:33" }, as(new(*UserError)), "run as root"},
		{"unknown user", func(s *spec.Settings) { s.Image.User = "nobody-here" }, as(new(*UserError)), "cannot be found"},
		{"odd user setting", func(s *spec.Settings) { s.User = "someone" }, as(new(*UserError)), "UID[:GID]"},
		{"command is a package manager", func(s *spec.Settings) { s.Image.Cmd = []string{"apt-get", "update"} }, as(new(*CommandError)), "package manager"},
		{"command needs the removed shell", func(s *spec.Settings) {
			s.Shell = spec.ShellRemove
			s.Image.Cmd = []string{"/bin/sh", "-c", "server"}
		}, as(new(*CommandError)), "exec form"},
		{"health check needs the removed shell", func(s *spec.Settings) {
			s.Shell = spec.ShellRemove
			s.Image.Healthcheck = []string{"CMD-SHELL", "true"}
		}, as(new(*CommandError)), "HEALTHCHECK"},
		{"keep matches nothing", func(s *spec.Settings) { s.Keep = []string{"/opt/absent/*"} }, as(new(*RuleError)), "matches nothing"},
		{"setuid names nothing", func(s *spec.Settings) { s.SetUID = []string{"/usr/bin/sudo"} }, as(new(*RuleError)), "not in the runtime stage"},
		{"writable is a file", func(s *spec.Settings) { s.Writable = []string{"/etc/passwd"} }, as(new(*RuleError)), "not a directory"},
		{"writable is everything", func(s *spec.Settings) { s.Writable = []string{"/"} }, as(new(*RuleError)), "root directory"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, _, err := run(t, newFixture(t, base), settings(tc.change))
			if err == nil || !tc.is(err) || !strings.Contains(err.Error(), tc.text) {
				t.Errorf("error %v (%T), want one that says %q", err, err, tc.text)
			}
		})
	}
}

// What Check says of a root filesystem that breaks each promise.
func TestCheckFindsBrokenPromises(t *testing.T) {
	for _, tc := range []struct {
		name  string
		spoil func(t *testing.T, dst string)
		want  string
	}{
		{"library gone", func(t *testing.T, dst string) { remove(t, dst, "usr/lib/x86_64-linux-gnu/libc.so.6") }, "/usr/bin/dash has lost its library libc.so.6"},
		{"link target gone", func(t *testing.T, dst string) { remove(t, dst, "usr/bin/dash") }, "/usr/bin/sh has lost its target"},
		{"record gone", func(t *testing.T, dst string) { remove(t, dst, "var/lib/dpkg/status") }, "has lost its record"},
		{"file of a record gone", func(t *testing.T, dst string) { remove(t, dst, "etc/ssl/certs/ca-certificates.crt") }, "package ca-certificates 1.0 (amd64) has a record and no file"},
		{"installer added", func(t *testing.T, dst string) { write(t, dst, "usr/bin/dpkg", 0o755) }, "/usr/bin/dpkg can install packages"},
		{"set-uid bit", func(t *testing.T, dst string) { write(t, dst, "usr/bin/new", 0o755|os.ModeSetuid) }, "/usr/bin/new has mode 4755"},
		{"stranger", func(t *testing.T, dst string) { write(t, dst, "stranger", 0o644) }, "/stranger was not in the runtime stage"},
		{"mode changed", func(t *testing.T, dst string) {
			if err := os.Chmod(filepath.Join(dst, "etc/group"), 0o666); err != nil {
				t.Fatal(err)
			}
		}, "/etc/group has another mode"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			src, s := newFixture(t, base), settings(nil)
			dst, report, err := run(t, src, s)
			if err != nil {
				t.Fatal(err)
			}
			tc.spoil(t, dst)
			before, after := open(t, src), open(t, dst)
			err = Check(t.Context(), CheckOptions{Settings: s, Before: before, After: after, Report: report})
			var broken *BrokenPromiseError
			if !errors.As(err, &broken) || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want a broken promise that says %q", err, tc.want)
			}
		})
	}
}

func open(t *testing.T, dir string) *os.Root {
	t.Helper()
	r, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

func remove(t *testing.T, dir, name string) {
	t.Helper()
	if err := os.Remove(filepath.Join(dir, name)); err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, dir, name string, mode os.FileMode) {
	t.Helper()
	name = filepath.Join(dir, name)
	if err := os.WriteFile(name, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(name, mode); err != nil {
		t.Fatal(err)
	}
}

func TestHardenObeysCancellation(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := Harden(ctx, Options{Settings: settings(nil), Rootfs: open(t, newFixture(t, base)), Out: open(t, t.TempDir())})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want %v", err, context.Canceled)
	}
}
