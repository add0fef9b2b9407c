package hardening

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/temper-images/temper/hardening/spec"
)

// server is an application on the base of the fixtures: a program with a library,
// data, and what a distribution has besides.
const server = base + `
	prog /usr/sbin/httpd needs libz.so.1,libc.so.6 imports getaddrinfo "\x00/usr/share/httpd/pages\x00libplug.so.2\x00/usr/lib/httpd/tool\x00deluser\x00"
	file /etc/httpd/httpd.conf "ErrorPage /usr/share/errors/404.html\n"
	file /usr/share/httpd/pages/index.html "x"
	file /usr/share/httpd/icons/a.png "x"
	prog /usr/sbin/httpdctl needs libc.so.6
	file /lib/systemd/system/httpd.service "x"
	file /etc/init.d/httpd 0755 "#!/bin/sh\nuseradd www\n"
	deb httpd depends=libc6,zlib1g,httpd-common,adduser: /usr/sbin/httpd /usr/sbin/httpdctl /etc/httpd/httpd.conf /usr/share/httpd/pages/index.html /usr/share/httpd/icons/a.png /lib/systemd/system/httpd.service /etc/init.d/httpd
	file /usr/share/httpd-common/mime "x"
	deb httpd-common auto: /usr/share/httpd-common/mime
	file /usr/share/errors/404.html "x"
	file /usr/share/errors/500.html "x"
	prog /usr/bin/errortool needs libc.so.6
	deb errors auto: /usr/share/errors/404.html /usr/share/errors/500.html /usr/bin/errortool
	lib /usr/lib/x86_64-linux-gnu/libplug.so.2 needs libc.so.6
	deb libplug2 auto section=libs: /usr/lib/x86_64-linux-gnu/libplug.so.2
	file /usr/lib/httpd/tool 0755 "#!/usr/bin/env python3\nimport os\n"
	deb httpd-tool auto: /usr/lib/httpd/tool
	prog /usr/bin/env needs libc.so.6
	prog /usr/bin/ls needs libc.so.6
	deb coreutils essential priority=required: /usr/bin/env /usr/bin/ls
	prog /usr/bin/python3.11 needs libc.so.6
	link /usr/bin/python3 python3.11
	link /usr/bin/script /etc/alternatives/script
	link /etc/alternatives/script /usr/bin/python3.11
	link /usr/bin/viewer /etc/alternatives/viewer
	link /etc/alternatives/viewer /usr/bin/errortool
	file /usr/lib/python3.11/os.py "x"
	file /usr/lib/python3.11/json.py "x"
	deb python3.11 auto: /usr/bin/python3.11 /usr/bin/python3 /usr/lib/python3.11/os.py /usr/lib/python3.11/json.py
	file /usr/sbin/useradd 0755 "#!/usr/bin/perl\n"
	prog /usr/bin/perl needs libc.so.6
	file /usr/sbin/deluser 0755 "#!/usr/bin/perl\n"
	deb adduser priority=important: /usr/sbin/useradd /usr/sbin/deluser
	deb perl-base essential priority=required: /usr/bin/perl
	lib /usr/lib/x86_64-linux-gnu/libnss_files.so.2 needs libc.so.6
	lib /usr/lib/x86_64-linux-gnu/gconv/UTF-16.so needs libc.so.6
	deb libc6-more auto section=libs: /usr/lib/x86_64-linux-gnu/libnss_files.so.2 /usr/lib/x86_64-linux-gnu/gconv/UTF-16.so
	file /usr/include/httpd.h "x"
	file /usr/lib/x86_64-linux-gnu/libz.a "x"
	deb zlib1g-dev: /usr/include/httpd.h /usr/lib/x86_64-linux-gnu/libz.a
	lib /usr/lib/x86_64-linux-gnu/libunused.so.1 needs libc.so.6
	deb libunused1 auto section=libs: /usr/lib/x86_64-linux-gnu/libunused.so.1
	file /srv/app/run.sh 0755 "#!/bin/sh\nexec gzip -c data\n"
	prog /usr/bin/gzip needs libc.so.6
	prog /usr/bin/gunzip needs libc.so.6
	deb gzip essential priority=required: /usr/bin/gzip /usr/bin/gunzip
`

// What level minimal keeps and removes of one image, and why.
func TestMinimal(t *testing.T) {
	src := newFixture(t, server)
	dst, report, err := run(t, src, settings(func(s *spec.Settings) {
		s.Level, s.Image.Entrypoint, s.Installed = spec.LevelMinimal, []string{"httpd"}, []string{"httpd"}
	}))
	if err != nil {
		t.Fatal(err)
	}
	// Each file with a step of the chain that leads to it; an empty step means
	// that the file goes.
	for file, why := range map[string]string{
		"/usr/sbin/httpd":                             "is the entrypoint",
		"/usr/sbin/httpdctl":                          "is of the package httpd",
		"/etc/httpd/httpd.conf":                       "is of the package httpd",
		"/usr/share/httpd/icons/a.png":                "is of the package httpd",
		"/usr/share/httpd-common/mime":                "httpd-common",
		"/usr/lib/x86_64-linux-gnu/libz.so.1":         "links to",
		"/usr/lib64/ld-linux-x86-64.so.2":             "is started by",
		"/usr/lib/x86_64-linux-gnu/libplug.so.2":      "names the library",
		"/usr/lib/httpd/tool":                         "names",
		"/usr/bin/env":                                "is run by",
		"/usr/bin/python3.11":                         "is run by",
		"/usr/lib/python3.11/json.py":                 "is of the same package as",
		"/usr/bin/script":                             "is also known as",
		"/etc/alternatives/script":                    "is also known as",
		"/etc/alternatives/viewer":                    "",
		"/usr/share/errors/404.html":                  "names",
		"/usr/share/errors/500.html":                  "is of the same package as",
		"/usr/lib/x86_64-linux-gnu/libnss_files.so.2": "by the rule name-service",
		"/srv/app/run.sh":                             "is of no package",
		"/usr/bin/gzip":                               "runs",
		"/usr/share/doc/zlib1g/copyright":             "is of the same package as",
		"/usr/bin/dash":                               "is the shell, which harden.shell keeps",

		"/usr/bin/gunzip":                             "",
		"/usr/bin/ls":                                 "",
		"/usr/bin/perl":                               "",
		"/usr/sbin/useradd":                           "",
		"/usr/sbin/deluser":                           "",
		"/usr/bin/errortool":                          "",
		"/etc/init.d/httpd":                           "",
		"/usr/lib/systemd/system/httpd.service":       "",
		"/usr/include/httpd.h":                        "",
		"/usr/lib/x86_64-linux-gnu/libz.a":            "",
		"/usr/lib/x86_64-linux-gnu/gconv/UTF-16.so":   "",
		"/usr/lib/x86_64-linux-gnu/libunused.so.1":    "",
		"/usr/lib/x86_64-linux-gnu/libapt-pkg.so.6.0": "",
	} {
		_, err := os.Lstat(filepath.Join(dst, file))
		switch {
		case why == "" && err == nil:
			t.Errorf("%s stays: %v", file, chainOf(report, file))
		case why != "" && err != nil:
			t.Errorf("%s has gone", file)
		case why != "" && !strings.Contains(strings.Join(chainOf(report, file), "\n"), why):
			t.Errorf("the chain to %s does not say %q: %v", file, why, chainOf(report, file))
		}
	}
	for name, state := range map[string]string{
		"httpd": spec.PackagePartial, "coreutils": spec.PackagePartial, "perl-base": spec.PackageRemoved,
		"libunused1": spec.PackageRemoved, "zlib1g-dev": spec.PackageRemoved, "httpd-common": spec.PackageKept,
	} {
		i := slices.IndexFunc(report.Packages, func(p spec.Package) bool { return p.Name == name })
		if got := report.Packages[i].State; got != state {
			t.Errorf("the package %s is %s, want %s", name, got, state)
		}
	}
	for path, class := range map[string]string{"/usr/include/": "development", "/usr/bin/ls": "unreachable"} {
		if !slices.ContainsFunc(report.Removed, func(g spec.Group) bool {
			return g.Class == class && slices.ContainsFunc(g.Paths, func(p string) bool { return strings.HasPrefix(p, path) })
		}) {
			t.Errorf("%s is not in a group of class %s", path, class)
		}
	}
}

// chainOf follows the reasons from a path to a root.
func chainOf(r *spec.Report, file string) []string {
	var steps []string
	for range 50 {
		var found *spec.Reason
		for i := range r.Reasons {
			reason := &r.Reasons[i]
			if reason.Path == file || strings.HasSuffix(reason.Path, "/") && strings.HasPrefix(file, reason.Path) {
				found = reason
			}
		}
		if found == nil {
			return append(steps, "nothing is known of "+file)
		}
		steps = append(steps, strings.TrimSpace(found.From+" "+found.Why+" "+found.Path))
		if found.From == "" || strings.HasPrefix(found.From, "package ") {
			return steps
		}
		file = found.From
	}
	return append(steps, "and so on")
}

// Rules, a shell that goes, and an image without a package database at level
// minimal.
func TestMinimalSettings(t *testing.T) {
	for _, c := range []struct {
		name          string
		lines         string
		change        func(*spec.Settings)
		kept, removed []string
	}{
		{"keep by path and package", server, func(s *spec.Settings) { s.Keep = []string{"/usr/bin/ls", "package:gzip"} },
			[]string{"/usr/bin/ls", "/usr/bin/gunzip"}, []string{"/usr/bin/errortool"}},
		{"remove", server, func(s *spec.Settings) { s.Remove = []string{"/usr/share/httpd/icons/**"} },
			[]string{"/usr/share/httpd/pages/index.html"}, []string{"/usr/share/httpd/icons/a.png"}},
		{"no shell", server, func(s *spec.Settings) { s.Shell = spec.ShellRemove; s.Keep = []string{"/usr/bin/gzip"} },
			[]string{"/usr/sbin/httpd"}, []string{"/usr/bin/dash"}},
		{"no packages", "prog /app needs libx.so\nlib /usr/lib/libx.so\nlib /lib64/ld-linux-x86-64.so.2\nfile /etc/x \"x\"\n", func(s *spec.Settings) { s.Image.Entrypoint = []string{"/app"} },
			[]string{"/app", "/usr/lib/libx.so", "/etc/x"}, nil},
		{"nothing is named: what came by itself", server, func(s *spec.Settings) { s.Installed = nil },
			[]string{"/usr/sbin/httpd", "/etc/httpd/httpd.conf", "/usr/sbin/httpdctl"}, []string{"/usr/bin/errortool", "/usr/bin/ls"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dst, report, err := run(t, newFixture(t, c.lines), settings(func(s *spec.Settings) {
				s.Level, s.Image.Entrypoint, s.Installed = spec.LevelMinimal, []string{"httpd"}, []string{"httpd"}
				c.change(s)
			}))
			if err != nil {
				t.Fatal(err)
			}
			for _, file := range c.kept {
				if _, err := os.Lstat(filepath.Join(dst, file)); err != nil {
					t.Errorf("%s has gone", file)
				}
			}
			for _, file := range c.removed {
				if _, err := os.Lstat(filepath.Join(dst, file)); err == nil {
					t.Errorf("%s stays: %v", file, chainOf(report, file))
				}
			}
		})
	}
}

// Compiled Python modules go by choice: those that can be compiled again.
func TestByteCode(t *testing.T) {
	const fixture = base + `
		prog /usr/bin/python3.11 needs libc.so.6
		file /usr/lib/python3.11/os.py "x"
		file /usr/lib/python3.11/__pycache__/os.cpython-311.pyc "x"
		file /usr/lib/python3.11/__pycache__/kept.cpython-311.pyc "x"
		file /usr/lib/python3.11/kept.py "x"
		deb python3.11: /usr/bin/python3.11 /usr/lib/python3.11/os.py /usr/lib/python3.11/kept.py
		file /srv/app/main.py "x"
		file /srv/app/__pycache__/main.cpython-311.opt-1.pyc "x"
		file /srv/app/__pycache__/secret.cpython-311.pyc "x"
		file /srv/app/alone.pyc "x"
	`
	all := []string{"/usr/lib/python3.11/__pycache__/os.cpython-311.pyc", "/srv/app/__pycache__/main.cpython-311.opt-1.pyc"}
	always := []string{
		"/usr/lib/python3.11/os.py", "/srv/app/main.py", "/srv/app/alone.pyc", "/srv/app/__pycache__/secret.cpython-311.pyc",
		"/usr/lib/python3.11/__pycache__/kept.cpython-311.pyc",
	}
	for _, level := range []spec.Level{spec.LevelExclusive, spec.LevelMinimal} {
		for _, sources := range []bool{false, true} {
			t.Run(fmt.Sprint(level, sources), func(t *testing.T) {
				dst, report, err := run(t, newFixture(t, fixture), settings(func(s *spec.Settings) {
					s.Level, s.Sources, s.Image.Entrypoint = level, sources, []string{"python3.11", "/srv/app/main.py"}
					s.Keep = []string{"/usr/lib/python3.11/**/kept.*"}
				}))
				if err != nil {
					t.Fatal(err)
				}
				got := listing(t, dst)
				for _, p := range always {
					if !strings.Contains(got, p) {
						t.Errorf("%s went", p)
					}
				}
				for _, p := range all {
					if strings.Contains(got, p) == sources {
						t.Errorf("%s is there: %v", p, !sources)
					}
				}
				var files int
				for _, g := range report.Removed {
					if g.Class == classByteCode {
						files += g.Files
					}
				}
				if want := map[bool]int{true: len(all)}[sources]; files != want {
					t.Errorf("the report names %d files of the class, want %d", files, want)
				}
			})
		}
	}
}

// Where a relative search path of the loader starts is up to the image.
func TestMinimalWorkingDir(t *testing.T) {
	src := newFixture(t, base+`
		prog /srv/app/server needs libown.so.1,libc.so.6
		lib /opt/own/lib/libown.so.1 needs libc.so.6
		lib /opt/other/lib/libown.so.1 needs libc.so.6
		deb own auto section=libs: /opt/own/lib/libown.so.1
		deb other auto section=libs: /opt/other/lib/libown.so.1
	`)
	dst, _, err := run(t, src, settings(func(s *spec.Settings) {
		s.Level, s.Image.Entrypoint, s.Image.WorkingDir = spec.LevelMinimal, []string{"/srv/app/server"}, "/opt/own"
		s.Image.Env = append(s.Image.Env, "LD_LIBRARY_PATH=lib")
	}))
	if err != nil {
		t.Fatal(err)
	}
	if got := listing(t, dst); !strings.Contains(got, "/opt/own/lib/libown.so.1") || strings.Contains(got, "/opt/other") {
		t.Errorf("the library is not that of the working directory:\n%s", got)
	}
}
