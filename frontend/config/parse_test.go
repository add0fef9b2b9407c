package config

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/temper-images/temper/hardening/spec"
)

func TestParse(t *testing.T) {
	with := func(change func(*Harden)) Config {
		c := Default()
		change(&c.Harden)
		return c
	}
	for _, tt := range []struct {
		name, in string
		want     Config
	}{
		{"empty", "", Default()},
		{"only a comment", "# nothing\n", Default()},
		{"only a document mark", "---\n", Default()},
		{"empty section", "harden:\n", Default()},
		{"byte order mark and carriage returns", "harden:\r\n  level: off\r\n", with(func(h *Harden) { h.Level = spec.LevelOff })},
		{"off is no boolean", "harden: {level: off}", with(func(h *Harden) { h.Level = spec.LevelOff })},
		{"numeric user", "harden:\n  user: 1000\n", with(func(h *Harden) { h.User = "1000" })},
		{"user and group", "harden:\n  user: 1000:2000\n", with(func(h *Harden) { h.User = "1000:2000" })},
		{"empty lists", "harden:\n  keep: []\n  locales:\n", with(func(h *Harden) { h.Keep, h.Locales = []string{}, []string{} })},
		{"everything", `
harden:
  level: exclusive
  shell: remove
  docs: keep
  bytecode: remove
  locales: [de, en_GB.UTF-8]
  keep:
    - /usr/share/app/**
    - "/opt/[ab]*"
    - package:libfoo*
  remove: ["soname:libz.so.1", /opt/c]
  preset: [debug]
  setuid: [/usr/bin/ping]
  user: keep
  writable: [/var/lib/app]
  report: none
sbom:
  formats: [spdx]
  cyclonedx: 1.5
  spdx: "3.0"
  context: true
  stages: [builder]
scan:
  gate: warn
  severities: [critical]
  fixed: false
  exploited: false
  epss: 0.25
  grace: 7
  vex: [security/vex.json]
  database: https://mirror.example.com/databases
  maxage: 2
  exceptions:
    - id: CVE-2026-0001
      package: zlib1g
      version: "1:1.2*"
      reason: the function is not called
      expires: 2026-12-31
inspect:
  gate: warn
  fail: [root-user]
  warn: [world-writable]
  off: [privileged-port]
  exceptions:
    - {rule: setuid, subject: /usr/bin/ping, reason: needed for health checks, expires: 2026-12-31}
licences:
  gate: warn
  allow: [MIT, Apache-2.0]
  deny: [AGPL-*]
  unknown: warn
  exceptions:
    - {licence: GPL-3.0-only, package: bash, reason: not linked, expires: 2026-12-31}
sign:
  key: awskms:///alias/release
  password: ref+env://KEY_PASSWORD
  tlog: on
  rekor: https://rekor.example.com
  fulcio: https://fulcio.example.com
  token: ref+file:///run/token
  timestamp: ref+env://TSA
  root: trusted_root.json
  services: signing_config.json
  tuf: https://tuf.example.com
  tufroot: root.json
evidence:
  url: s3://evidence?region=eu-central-1
  account: ref+vault://secret/s3#/key
  secret: ref+vault://secret/s3#/secret
push:
  order: digest-first
  formats: [bundle]
  archtags: false
  plain: true
  logins:
    - {registry: registry.example.com/team, username: ci, password: ref+env://PASSWORD}
    - {registry: ghcr.io, token: ref+env://TOKEN}
log:
  format: json
  level: debug
  otlp: https://collector.example.com:4318
  headers: [x-tenant=a, Authorization=ref+env://TOKEN]
`, Config{
			Harden: Harden{
				Level: spec.LevelExclusive, Shell: spec.ShellRemove, Docs: DocsKeep, Bytecode: BytecodeRemove,
				Locales: []string{"de", "en_GB.UTF-8"}, Keep: []string{"/usr/share/app/**", "/opt/[ab]*", "package:libfoo*"},
				Remove: []string{"soname:libz.so.1", "/opt/c"}, Preset: []string{"debug"},
				SetUID: []string{"/usr/bin/ping"}, User: "keep", Writable: []string{"/var/lib/app"}, Report: ReportNone,
			},
			SBOM: SBOM{Formats: []string{"spdx"}, CycloneDX: "1.5", SPDX: "3.0", Context: true, Stages: []string{"builder"}},
			Scan: Scan{
				Gate: GateWarn, Severities: []string{"critical"}, EPSS: 0.25, Grace: 7, VEX: []string{"security/vex.json"},
				Database: "https://mirror.example.com/databases", MaxAge: 2,
				Exceptions: []Exception{{ID: "CVE-2026-0001", Match: "zlib1g", Version: "1:1.2*", Reason: "the function is not called", Expires: "2026-12-31"}},
			},
			Inspect: Inspect{
				Gate: GateWarn, Fail: []string{"root-user"}, Warn: []string{"world-writable"}, Off: []string{"privileged-port"},
				Exceptions: []Exception{{ID: "setuid", Match: "/usr/bin/ping", Reason: "needed for health checks", Expires: "2026-12-31"}},
			},
			Licences: Licences{
				Gate: GateWarn, Allow: []string{"MIT", "Apache-2.0"}, Deny: []string{"AGPL-*"}, Unknown: GateWarn,
				Exceptions: []Exception{{ID: "GPL-3.0-only", Match: "bash", Reason: "not linked", Expires: "2026-12-31"}},
			},
			Sign: Sign{
				Key: "awskms:///alias/release", Password: "ref+env://KEY_PASSWORD", TLog: TLogOn, Rekor: "https://rekor.example.com",
				Fulcio: "https://fulcio.example.com", Token: "ref+file:///run/token", Timestamp: "ref+env://TSA", Root: "trusted_root.json",
				Services: "signing_config.json", TUF: "https://tuf.example.com", TUFRoot: "root.json",
			},
			Evidence: Evidence{URL: "s3://evidence?region=eu-central-1", Account: "ref+vault://secret/s3#/key", Secret: "ref+vault://secret/s3#/secret"},
			Push: Push{
				Order: OrderDigestFirst, Formats: []string{FormatBundle}, Plain: true,
				Logins: []Login{{Registry: "registry.example.com/team", Username: "ci", Password: "ref+env://PASSWORD"}, {Registry: "ghcr.io", Token: "ref+env://TOKEN"}},
			},
			Log: Log{
				Format: LogJSON, Level: "debug", OTLP: "https://collector.example.com:4318",
				Headers: []string{"x-tenant=a", "Authorization=ref+env://TOKEN"},
			},
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Parse(FileName, []byte(tt.in))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
}

func TestParseErrors(t *testing.T) {
	for _, tt := range []struct {
		name, in string
		want     []string
	}{
		{"wrong value", "harden:\n  shell: keep\n\n  level: maximum\n", []string{
			`temper.yaml:4:10: harden.level: "maximum" is not known; allowed: off, exclusive, minimal`,
		}},
		{"near miss", "harden:\n  level: exclusiv\n", []string{
			`temper.yaml:2:10: harden.level: "exclusiv" is not known; allowed: off, exclusive, minimal; did you mean "exclusive"?`,
		}},
		{"unknown field", "harden:\n  levle: off\n", []string{
			`temper.yaml:2:3: harden: field "levle" is not known; allowed: level, shell, docs, bytecode, locales, preset, keep, remove, setuid, user, writable, report; did you mean "level"?`,
		}},
		{"unknown section", "hardn:\n  level: off\n", []string{
			`temper.yaml:1:1: field "hardn" is not known; allowed: harden, sbom, scan, inspect, licences, sign, evidence, push, log; did you mean "harden"?`,
		}},
		{"all at once", "harden:\n  shell: no\n  keep: [usr, /a/../b]\nrest: 1\n", []string{
			`temper.yaml:2:10: harden.shell: "no" is not known; allowed: keep, remove`,
			`temper.yaml:3:10: harden.keep[0]: "usr" is not absolute: it must begin with /, package: or soname:; allowed: an absolute path or glob, package:NAME or soname:NAME`,
			`temper.yaml:3:15: harden.keep[1]: "/a/../b" must not hold ".."; allowed: an absolute path or glob, package:NAME or soname:NAME`,
			`temper.yaml:4:1: field "rest" is not known; allowed: harden, sbom, scan, inspect, licences, sign, evidence, push, log`,
		}},
		{"boolean for a choice", "harden:\n  docs: true\n", []string{`temper.yaml:2:9: harden.docs: must be a string, not true or false; allowed: keep, remove`}},
		{"null for a choice", "harden:\n  docs:\n", []string{`temper.yaml:2:9: harden.docs: must be a string, not nothing; allowed: keep, remove`}},
		{"string for a list", "harden:\n  keep: /usr\n", []string{`temper.yaml:2:9: harden.keep: must be a list of strings, not a string; allowed: an absolute path or glob, package:NAME or soname:NAME`}},
		{"mapping in a list", "harden:\n  keep:\n    - a: b\n", []string{`temper.yaml:3:8: harden.keep[0]: must be a string, not a mapping; allowed: an absolute path or glob, package:NAME or soname:NAME`}},
		{"list for a section", "harden: [a]\n", []string{`temper.yaml:1:9: harden: must be a mapping, not a list; allowed: level, shell, docs, bytecode, locales, preset, keep, remove, setuid, user, writable, report`}},
		{"list for the file", "- a\n", []string{`temper.yaml:1:1: must be a mapping, not a list; allowed: harden, sbom, scan, inspect, licences, sign, evidence, push, log`}},
		{"root user", "harden:\n  user: 0:0\n", []string{`temper.yaml:2:9: harden.user: "0:0" is root; to leave a root user as the Dockerfile sets it, say keep; allowed: auto, keep, UID or UID:GID`}},
		{"named user", "harden:\n  user: nginx\n", []string{`temper.yaml:2:9: harden.user: "nginx" is not a numeric user; allowed: auto, keep, UID or UID:GID`}},
		{"user above 32 bits", "harden:\n  user: 4294967295\n", []string{`temper.yaml:2:9: harden.user: "4294967295" is not a numeric user; allowed: auto, keep, UID or UID:GID`}},
		{"user with an empty group", "harden:\n  user: '1:'\n", []string{`temper.yaml:2:9: harden.user: "1:" is not a numeric user; allowed: auto, keep, UID or UID:GID`}},
		{"unknown preset", "harden:\n  preset: postgresql\n", []string{`temper.yaml:2:11: harden.preset[0]: "postgresql" is not known; allowed: ` +
			`debug, java, mariadb, nginx, node, php, postgres, python; did you mean "postgres"?`}},
		{"preset of another kind", "harden:\n  preset: {debug: true}\n", []string{`temper.yaml:2:11: harden.preset: must be a string or a list of strings, not a mapping; allowed: ` +
			`debug, java, mariadb, nginx, node, php, postgres, python`}},
		{"package of no name", "harden:\n  remove:\n    - package:a/b\n", []string{`temper.yaml:3:7: harden.remove[0]: "package:a/b" names no package: it must be package:NAME, ` +
			`where * stands for any characters; allowed: an absolute path or glob, package:NAME or soname:NAME`}},
		{"open class in a glob", "harden:\n  keep: ['/a[']\n", []string{`temper.yaml:2:10: harden.keep[0]: "/a[" is not a glob that can be read (a "[", "{" or "\" is not closed); allowed: an absolute path or glob, package:NAME or soname:NAME`}},
		{"root as writable", "harden:\n  writable: [/./]\n", []string{`temper.yaml:2:14: harden.writable[0]: "/./" is the root directory, which no user but root may own; allowed: an absolute directory`}},
		{"escaping locale", "harden:\n  locales: [../x]\n", []string{`temper.yaml:2:13: harden.locales[0]: "../x" is not a locale name; allowed: a locale such as de or de_AT`}},
		{"field twice", "harden:\n  docs: keep\n  docs: remove\n", []string{`temper.yaml:3:3: is not valid YAML: mapping key "docs" already defined at [2:3]`}},
		{"two documents", "harden: {}\n---\nharden: {}\n", []string{`temper.yaml:3:7: a second YAML document begins here; the file must hold one`}},
		{"alias", "harden: &a\n  docs: keep\nb: *a\n", []string{`temper.yaml:1:9: anchors and aliases are not accepted; write the value out`}},
		{"merge key", "harden:\n  <<: {docs: keep}\n", []string{`temper.yaml:2:3: merge keys are not accepted; write the values out`}},
		{"tag", "harden: !!map {}\n", []string{`temper.yaml:1:9: tags are not accepted`}},
		{"tabs", "harden:\n\tdocs: keep\n", []string{"temper.yaml:2:1: is not valid YAML: found character '\t' that cannot start any token"}},
		{"not UTF-8", "harden: \xff\n", []string{`temper.yaml: is not UTF-8 text`}},
		{"too large", strings.Repeat("#", MaxSize+1), []string{`temper.yaml: has 1048577 bytes, which is more than the 1048576 allowed`}},
		{"deep flow", strings.Repeat("[", 1<<19), []string{`temper.yaml:1:17: is nested too deeply`}},
		{"deep block", strings.Repeat("- ", 1<<19), []string{`temper.yaml:1:65: is nested or indented too deeply`}},
		{"secret written out", "sign:\n  password: hunter2\n", []string{
			`temper.yaml:2:13: sign.password: its value must be a reference, since this file is no place for a secret; allowed: ref+PROVIDER://…`,
		}},
		{"key written out", "sign:\n  key: |\n    -----BEGIN PRIVATE KEY-----\n    MIIB\n", []string{
			`temper.yaml:2:8: sign.key: its value must be a reference, since this file is no place for a secret; allowed: a key file or a reference to a key, or keyless`,
		}},
		{"credentials in a URL", "log:\n  otlp: https://user:hunter2@example.com\n", []string{
			`temper.yaml:2:9: log.otlp: its value holds credentials, which do not belong into this file; allowed: an http:// or https:// URL, or a reference`,
		}},
		{"header written out", "log:\n  headers: [authorization=Bearer hunter2]\n", []string{
			`temper.yaml:2:13: log.headers[0]: its value must have a reference for its value, since this file is no place for a secret; allowed: NAME=VALUE or NAME=ref+PROVIDER://…`,
		}},
		{"login in plain text", "push:\n  logins:\n    - registry: r.example.com\n      username: ci\n      password: hunter2\n", []string{
			`temper.yaml:5:17: push.logins[0].password: the value must be a reference, since this file is no place for a secret; allowed: ref+PROVIDER://…`,
		}},
		{"half a login", "push:\n  logins:\n    - {registry: r.example.com, username: ci}\n", []string{
			`temper.yaml:3:7: push.logins[0]: has to have either username and password, or token`,
		}},
		{"exception without a reason", "scan:\n  exceptions:\n    - id: CVE-2026-1\n      expires: 2026-12-31\n", []string{
			`temper.yaml:3:9: scan.exceptions[0]: has no reason (a sentence)`,
		}},
		{"exception without an end", "scan:\n  exceptions:\n    - id: CVE-2026-1\n      reason: x\n      expires: never\n", []string{
			`temper.yaml:5:16: scan.exceptions[0].expires: "never" is not a date; allowed: a date, YYYY-MM-DD`,
		}},
		{"exception for everything", "scan:\n  exceptions:\n    - reason: x\n      expires: 2026-12-31\n", []string{
			`temper.yaml:3:13: scan.exceptions[0]: names nothing: give id or package, or both`,
		}},
		{"exception misspelt", "inspect:\n  exceptions: [{rul: setuid}]\n", []string{
			`temper.yaml:2:17: inspect.exceptions[0]: field "rul" is not known; allowed: rule, subject, reason, expires; did you mean "rule"?`,
		}},
		{"VEX from elsewhere", "scan:\n  vex: [../vex.json]\n", []string{
			`temper.yaml:2:9: scan.vex[0]: "../vex.json" lies outside of the build context; allowed: a path in the build context`,
		}},
		{"long value", "harden:\n  level: " + strings.Repeat("x", 200) + "\n", []string{
			`temper.yaml:2:10: harden.level: "` + strings.Repeat("x", 80) + `"… is not known; allowed: off, exclusive, minimal`,
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := Default()
			c.Harden.User = "7"
			err := c.Read(FileName, []byte(tt.in))
			if err == nil {
				t.Fatal("no error")
			}
			if diff := cmp.Diff(tt.want, strings.Split(err.Error(), "\n")); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
			var typed *Error
			if !errors.As(err, &typed) || typed.File != FileName {
				t.Errorf("no *Error for the file in %#v", err)
			}
			if c.Harden.User != "7" || c.Harden.Level != spec.LevelExclusive {
				t.Error("a failed read changed the configuration")
			}
		})
	}
}

// TestParseTime feeds shapes that tempt a parser into quadratic work.
func TestParseTime(t *testing.T) {
	var distinct strings.Builder
	for i := range MaxSize / 16 {
		fmt.Fprintf(&distinct, "k%d: v\n", i)
	}
	for name, in := range map[string]string{
		"keys":        distinct.String(),
		"commas":      "harden: {keep: [" + strings.Repeat("/a,", MaxSize/3-10) + "]}",
		"items":       "harden:\n  keep:\n" + strings.Repeat("  - /a\n", MaxSize/7-10),
		"equal keys":  strings.Repeat("a: b\n", MaxSize/5),
		"blank lines": strings.Repeat("\n", MaxSize),
		"colons":      strings.Repeat(": ", MaxSize/2),
		"quotes":      strings.Repeat("'", MaxSize),
	} {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			_, err := Parse(FileName, []byte(in))
			if took := time.Since(start); took > 10*time.Second {
				t.Errorf("took %v (%.80v)", took, err)
			}
			t.Logf("%v, err=%.80v", time.Since(start), err)
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("harden:\n  level: off\n  keep: [/a, '/b/**']\n"))
	f.Add([]byte("harden: {user: 1000:1000, report: none}\n---\n"))
	f.Add([]byte("? a\n: &b\n- *b\n- !x {<<: 1}\n"))
	f.Add([]byte("harden:\n  docs: |\n    keep\n  \"locales\": [de, 0x1, 1e3, .nan]\n"))
	f.Fuzz(func(t *testing.T, dt []byte) {
		c := Default()
		if err := c.Read(FileName, dt); err != nil {
			var typed *Error
			if !errors.As(err, &typed) {
				t.Fatalf("untyped error %v", err)
			}
			if diff := cmp.Diff(Default(), c); diff != "" {
				t.Fatalf("a failed read changed the configuration: %s", diff)
			}
			return
		}
		for _, k := range c.Harden.Keep {
			if !strings.HasPrefix(k, "/") {
				t.Fatalf("relative keep %q", k)
			}
		}
	})
}

// What only the build finds wrong is shown at its place too.
func TestLocate(t *testing.T) {
	const text = "harden:\n  preset: debug\n  keep:\n    - /a\n    - \"package:b\"\n  remove: [/a, soname:c]\n  user: 7\n"
	for _, tt := range []struct {
		field, value string
		line, column int
	}{
		{"harden.preset", "debug", 2, 11},
		{"harden.keep", "/a", 4, 7},
		{"harden.keep", "package:b", 5, 7},
		{"harden.remove", "/a", 6, 12},
		{"harden.remove", "soname:c", 6, 16},
		{"harden.user", "7", 7, 9},
		{"harden.keep", "soname:c", 0, 0},
		{"harden", "/a", 0, 0},
	} {
		line, column, found := Locate([]byte(text), tt.field, tt.value)
		if line != tt.line || column != tt.column || found != (tt.line > 0) {
			t.Errorf("%s %s: %d:%d, %v", tt.field, tt.value, line, column, found)
		}
	}
}
