package hardening

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

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
		t.Run(tc.name, func(t *testing.T) {
			src := newFixture(t, tc.fixture)
			if tc.spoil != nil {
				tc.spoil(t, src)
			}
			outside := filepath.Join(filepath.Dir(src), "outside")
			if err := os.WriteFile(outside, []byte(secret), 0o600); err != nil {
				t.Fatal(err)
			}
			dst, report, err := run(t, src, settings(tc.change))
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
