package hardening

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/temper-images/temper/hardening/spec"
)

// application is what rules are tried on: a package with a program, a library
// that the program links to, a plugin that nothing links to, and data.
const application = base + `
	prog /usr/bin/server needs libserver.so.1,libc.so.6
	lib /usr/lib/x86_64-linux-gnu/libserver.so.1.2 needs libc.so.6
	link /usr/lib/x86_64-linux-gnu/libserver.so.1 libserver.so.1.2
	lib /usr/lib/server/plugins/one.so needs libc.so.6
	lib /usr/lib/server/plugins/two.so needs libc.so.6
	file /usr/share/server/data "x"
	file /usr/share/doc/server/copyright "x"
	file /usr/share/doc/server/manual.txt "x"
	file /usr/share/locale/de/LC_MESSAGES/server.mo "x"
	file /etc/server.conf "x"
	deb server depends=libserver1: /usr/bin/server /usr/lib/server/plugins/one.so /usr/lib/server/plugins/two.so /usr/share/server/data /usr/share/doc/server/copyright /usr/share/doc/server/manual.txt /usr/share/locale/de/LC_MESSAGES/server.mo /etc/server.conf
	deb libserver1 section=libs depends=libc6: /usr/lib/x86_64-linux-gnu/libserver.so.1.2 /usr/lib/x86_64-linux-gnu/libserver.so.1
`

func paths(list string) []string { return strings.Fields(list) }

func TestRules(t *testing.T) {
	for _, tc := range []struct {
		name         string
		keep, remove string
		// stays and gone are paths below the root.
		stays, gone string
	}{
		{"by path", "/usr/share/doc/server/manual.txt", "", "usr/share/doc/server/manual.txt", "usr/share/doc/zlib1g/changelog.gz"},
		{"by glob", "/usr/share/doc/*/change*", "", "usr/share/doc/zlib1g/changelog.gz", "usr/share/doc/server/manual.txt"},
		{"by glob over directories", "/usr/**/*.mo", "", "usr/share/locale/de/LC_MESSAGES/server.mo", ""},
		{"by braces", "/usr/share/doc/{server,absent}", "", "usr/share/doc/server/manual.txt", "usr/share/doc/zlib1g/changelog.gz"},
		{"by package", "package:gpgv", "", "usr/bin/gpgv usr/lib/x86_64-linux-gnu/libgcrypt.so.20", "usr/lib/x86_64-linux-gnu/libapt-pkg.so.6.0"},
		{"by package glob", "package:lib*crypt*", "", "usr/lib/x86_64-linux-gnu/libgcrypt.so.20", "usr/bin/gpgv"},
		{"by soname", "soname:libgcrypt.so.20", "", "usr/lib/x86_64-linux-gnu/libgcrypt.so.20", "usr/bin/gpgv"},
		{"by soname glob", "soname:libapt-pkg.so.*", "", "usr/lib/x86_64-linux-gnu/libapt-pkg.so.6.0 usr/lib/x86_64-linux-gnu/libstdc++.so.6", "usr/bin/apt"},

		{"remove a path", "", "/usr/share/server/data", "usr/share/server usr/bin/server", "usr/share/server/data"},
		{"remove a directory", "", "/usr/lib/server", "usr/bin/server", "usr/lib/server"},
		{"remove by glob", "", "/usr/lib/server/**/t*.so", "usr/lib/server/plugins/one.so", "usr/lib/server/plugins/two.so"},
		{"remove through a link to a directory", "", "/bin/server", "usr/lib/server/plugins/one.so", "usr/bin/server"},
		{
			"remove a package", "", "package:server", "usr/lib/x86_64-linux-gnu/libserver.so.1",
			"usr/bin/server usr/lib/server/plugins/one.so usr/share/server/data usr/share/doc/server etc/server.conf",
		},
		{
			"remove by soname and what links to it", "", "soname:libserver.so.* /usr/bin/server", "usr/lib/server/plugins/one.so",
			"usr/lib/x86_64-linux-gnu/libserver.so.1 usr/lib/x86_64-linux-gnu/libserver.so.1.2",
		},
		{"removing a link leaves its target", "", "/usr/bin/sh", "usr/bin/dash", "usr/bin/sh"},
		{"keep wins", "/usr/lib/server/plugins/two.so", "/usr/lib/server", "usr/lib/server/plugins/two.so", "usr/lib/server/plugins/one.so"},
		{"keep of a package wins", "package:server", "/usr/share/server", "usr/share/server/data", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := settings(func(s *spec.Settings) { s.Keep, s.Remove = paths(tc.keep), paths(tc.remove) })
			dst, report, err := run(t, newFixture(t, application), s)
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range paths(tc.stays) {
				if _, err := os.Lstat(filepath.Join(dst, p)); err != nil {
					t.Errorf("/%s is gone", p)
				}
			}
			for _, p := range paths(tc.gone) {
				if _, err := os.Lstat(filepath.Join(dst, p)); err == nil {
					t.Errorf("/%s is still there", p)
				}
			}
			hasClass := slices.ContainsFunc(report.Removed, func(g spec.Group) bool { return g.Class == classRule })
			if hasClass != (tc.remove != "" && tc.gone != "") {
				t.Errorf("class %q in the report: %v", classRule, hasClass)
			}
		})
	}
}

// A rule that cannot be carried out says what comes near.
func TestRuleErrors(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(*spec.Settings)
		want   RuleError
	}{
		{"keep of nothing", func(s *spec.Settings) { s.Keep = []string{"/opt/absent/*"} }, RuleError{
			Field: "harden.keep", Rule: "/opt/absent/*", Why: nothing,
		}},
		{"elsewhere", func(s *spec.Settings) { s.Keep = []string{"/usr/local/bin/server"} }, RuleError{
			Field: "harden.keep", Rule: "/usr/local/bin/server", Why: nothing, Near: []string{"/usr/bin/server", "/usr/lib/server", "/usr/share/doc/server"},
		}},
		{"mistyped", func(s *spec.Settings) { s.Remove = []string{"/etc/sever.conf"} }, RuleError{
			Field: "harden.remove", Rule: "/etc/sever.conf", Why: nothing, Near: []string{"/etc/server.conf"},
		}},
		{"glob elsewhere", func(s *spec.Settings) { s.Keep = []string{"/usr/share/plugins/t*.so"} }, RuleError{
			Field: "harden.keep", Rule: "/usr/share/plugins/t*.so", Why: nothing, Near: []string{"/usr/lib/server/plugins/two.so"},
		}},
		{"package", func(s *spec.Settings) { s.Remove = []string{"package:sever"} }, RuleError{
			Field: "harden.remove", Rule: "package:sever", Why: nothing, Near: []string{"package:server"},
		}},
		{"soname", func(s *spec.Settings) { s.Keep = []string{"soname:libgcrypt.so.11"} }, RuleError{
			Field: "harden.keep", Rule: "soname:libgcrypt.so.11", Why: nothing, Near: []string{"soname:libgcrypt.so.20"},
		}},
		{"pattern", func(s *spec.Settings) { s.Keep = []string{"/a["} }, RuleError{Field: "harden.keep", Rule: "/a[", Why: "is no valid pattern"}},
		{"package pattern", func(s *spec.Settings) { s.Keep = []string{"package:[a"} }, RuleError{
			Field: "harden.keep", Rule: "package:[a", Why: "is no valid pattern",
		}},
		{"package manager", func(s *spec.Settings) { s.Keep = []string{"/usr/bin/apt-get"} }, RuleError{
			Field: "harden.keep", Rule: "/usr/bin/apt-get", Why: "names only what belongs to a package manager or a removed shell, which no rule keeps",
		}},
		{"package manager's package", func(s *spec.Settings) { s.Keep = []string{"package:dpkg"} }, RuleError{
			Field: "harden.keep", Rule: "package:dpkg", Why: "names only what belongs to a package manager or a removed shell, which no rule keeps",
		}},
		{"removed shell", func(s *spec.Settings) { s.Keep, s.Shell = []string{"/bin/sh"}, spec.ShellRemove }, RuleError{
			Field: "harden.keep", Rule: "/bin/sh", Why: "names only what belongs to a package manager or a removed shell, which no rule keeps",
		}},
		{"own command", func(s *spec.Settings) { s.Remove, s.Image.Entrypoint = []string{"package:server"}, []string{"server"} }, RuleError{
			Field: "harden.remove", Rule: "package:server", Why: "removes /usr/bin/server, which the image runs",
		}},
		{"preset", func(s *spec.Settings) { s.Presets = []string{"postgres"} }, RuleError{
			Field: "harden.preset", Rule: "postgres", Why: "matches nothing in the runtime stage: a PostgreSQL server with its extensions, or its client programs is not there",
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, _, err := run(t, newFixture(t, application), settings(tc.change))
			var got *RuleError
			if !errors.As(err, &got) {
				t.Fatalf("error %v (%T), want a RuleError", err, err)
			}
			if diff := cmp.Diff(tc.want, *got); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
}

const nothing = "matches nothing in the runtime stage; mend it or take it out"

// A rule that removes what something kept needs makes the check fail, with the
// rule's name.
func TestRulesBreakNoPromise(t *testing.T) {
	for _, tc := range []struct {
		name, remove string
		want         string
		rule         spec.Rule
	}{
		{
			"library", "soname:libserver.so.1",
			`/usr/bin/server has lost its library libserver.so.1; harden.remove "soname:libserver.so.1" removes it: mend that rule, or remove /usr/bin/server too`,
			spec.Rule{Field: "harden.remove", Value: "soname:libserver.so.1"},
		},
		{
			"target of the loader's link", "/usr/lib/x86_64-linux-gnu/libserver.so.1.2",
			`harden.remove "/usr/lib/x86_64-linux-gnu/libserver.so.1.2" removes it`,
			spec.Rule{Field: "harden.remove", Value: "/usr/lib/x86_64-linux-gnu/libserver.so.1.2"},
		},
		{
			"interpreter", "/usr/bin/sh", `/app.sh has lost its interpreter /bin/sh; harden.remove "/usr/bin/sh" removes it: mend that rule, or remove /app.sh too`,
			spec.Rule{Field: "harden.remove", Value: "/usr/bin/sh"},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			fixture := application + "file /app.sh 0755 \"#!/bin/sh\\n\"\n"
			_, _, err := run(t, newFixture(t, fixture), settings(func(s *spec.Settings) { s.Remove = []string{tc.remove} }))
			var broken *BrokenPromiseError
			if !errors.As(err, &broken) || !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("error %v, want a broken promise that says %q", err, tc.want)
			}
			if diff := cmp.Diff([]spec.Rule{tc.rule}, broken.Rules); diff != "" {
				t.Errorf("rules at fault (-want +got)\n%s", diff)
			}
		})
	}
}
