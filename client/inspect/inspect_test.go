package inspect_test

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/anchore/syft/syft/file"
	"github.com/anchore/syft/syft/pkg"
	"github.com/anchore/syft/syft/sbom"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/client/imagefs"
	"github.com/temper-images/temper/client/inspect"
	"github.com/temper-images/temper/client/inspect/licence"
)

var update = flag.Bool("update", false, "rewrite golden files")

// Secrets of well-known forms. They are put together so that no scanner takes this
// file for a leak.
const (
	awsKey  = "AKIA" + "Q3EGVMZ5TIPW7H2L"
	ghToken = "ghp_" + "q8Zt3Lw0vX7rN5bY2kD9mH4jP6sF1gT0cR8e"
	random  = "q8Zt3Lw0vX7rN5bY2kD9mH4jP6sF1gT0cR8e"
	hunter  = "correct-horse-battery"
)

var pem = "-----BEGIN PRIVATE " + "KEY-----\n" + strings.Repeat("MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj\n", 20) + "-----END PRIVATE KEY-----\n"

// capNetBind is security.capability for cap_net_bind_service=ep, revision 2.
const capNetBind = "\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"

func TestConfiguration(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*fixture)
		want   []string
	}{
		"nothing":      {func(*fixture) {}, nil},
		"no user":      {func(f *fixture) { f.config.User = "" }, []string{"fail config.root User"}},
		"user zero":    {func(f *fixture) { f.config.User = "00:1000" }, []string{"fail config.root User"}},
		"user name":    {func(f *fixture) { f.config.User = "app" }, []string{"warn config.user-name User"}},
		"user is root": {func(f *fixture) { f.config.User = "root:app" }, []string{"fail config.root User", "warn config.user-name User"}},
		"toor": {func(f *fixture) {
			f.config.User = "toor"
			f.layers[0][0].text += "toor:x:0:0::/:/bin/sh\n"
		}, []string{"fail config.root User", "warn config.user-name User"}},
		"stranger":   {func(f *fixture) { f.config.User = "nobody" }, []string{"fail config.unknown-user User", "warn config.user-name User"}},
		"no command": {func(f *fixture) { f.config.Entrypoint = nil }, []string{"warn config.no-command Entrypoint"}},
		"ports": {func(f *fixture) {
			f.config.ExposedPorts = map[string]struct{}{"8080/tcp": {}, "443/tcp": {}, "53/udp": {}}
		},
			[]string{"warn config.low-port 443/tcp", "warn config.low-port 53/udp"}},
		"volumes": {func(f *fixture) {
			f.config.Volumes = map[string]struct{}{"/data": {}, "/usr": {}, "/etc/app": {}, "/var/run/docker.sock": {}, "/var/lib/app": {}}
		}, []string{"warn config.system-volume /etc/app", "warn config.system-volume /usr", "warn config.system-volume /var/run/docker.sock"}},
		"search path": {func(f *fixture) {
			f.config.Env = []string{"PATH=/bin::bin:/tmp", "LD_LIBRARY_PATH="}
			f.layers[0] = append(f.layers[0], entry{name: "tmp", kind: tar.TypeDir, mode: 0o1777})
		}, []string{"warn config.search-path PATH", "warn config.search-path PATH", "warn config.search-path PATH"}},
		"onbuild": {func(f *fixture) { f.config.OnBuild = []string{"RUN true"} }, []string{"warn config.onbuild OnBuild"}},
		"add url": {func(f *fixture) {
			f.history = []string{"ADD https://example.com/x /x # buildkit", "ADD --checksum=sha256:00 https://example.com/x /x", "ADD x /x", "RUN curl https://example.com"}
		}, []string{"warn config.add-url 1"}},
		"health check": {func(f *fixture) { f.config.Healthcheck = &v1.HealthConfig{Test: []string{"CMD", "true"}} }, nil},

		"token in env":   {func(f *fixture) { f.config.Env = []string{"GITHUB=" + ghToken} }, []string{"fail config.secret GITHUB github-pat"}},
		"named in env":   {func(f *fixture) { f.config.Env = []string{"DB_PASSWORD=" + hunter} }, []string{"fail config.secret-name DB_PASSWORD"}},
		"generic in env": {func(f *fixture) { f.config.Env = []string{"API_KEY=" + random} }, []string{"fail config.secret API_KEY generic-api-key"}},
		"checksum in env": {func(f *fixture) {
			f.config.Env = []string{"GPG_KEY=7169605F62C751356D054A26A821E680E5FA6305", "NGINX_KEY_SHA256=" + strings.Repeat("3f", 32)}
		}, nil},
		"references in env": {func(f *fixture) {
			f.config.Env = []string{"DB_PASSWORD=", "A_TOKEN=$TOKEN", "PASSWORD_FILE=/run/secrets/x", "USE_TOKEN=true", "X_SECRET=/run/secrets/y", "Y_TOKEN=ref+vault://x"}
		}, nil},
		"password in url": {func(f *fixture) { f.config.Env = []string{"DATABASE=postgres://app:" + hunter + "@db/app"} }, []string{"fail config.secret DATABASE url-password"}},
		"url without": {func(f *fixture) {
			f.config.Env = []string{"DATABASE=postgres://app@db/app", "B=postgres://app:${PASSWORD}@db"}
		}, nil},
		"label":          {func(f *fixture) { f.config.Labels = map[string]string{"deploy.token": hunter, "a": awsKey} }, []string{"fail config.secret a aws-access-token", "fail config.secret-name deploy.token"}},
		"command":        {func(f *fixture) { f.config.Cmd = []string{"--db-password=" + hunter} }, []string{"fail config.secret-name Cmd"}},
		"command apart":  {func(f *fixture) { f.config.Cmd = []string{"--token", hunter} }, []string{"fail config.secret-name Cmd"}},
		"command option": {func(f *fixture) { f.config.Cmd = []string{"--token", "--verbose", "--password-file=/x"} }, nil},
		"health secret": {func(f *fixture) {
			f.config.Healthcheck = &v1.HealthConfig{Test: []string{"CMD", "curl", "-H", "X: " + ghToken}}
		},
			[]string{"fail config.secret Healthcheck github-pat"}},
		"history": {func(f *fixture) {
			f.history = []string{"RUN |1 NPM_TOKEN=" + hunter + " /bin/sh -c npm ci", "RUN export TOKEN=$(cat /run/secrets/t)", "RUN echo " + awsKey, "ARG DB_PASSWORD"}
		}, []string{"fail config.secret 3 aws-access-token", "fail config.secret-name 1"}},
		"env is told of once": {func(f *fixture) {
			f.config.Env = []string{"GITHUB=" + ghToken}
			f.history = []string{"ENV GITHUB=" + ghToken}
		}, []string{"fail config.secret GITHUB github-pat"}},
	} {
		t.Run(name, func(t *testing.T) {
			f := plain()
			c.change(&f)
			d := f.inspect(t, inspect.Policy{})
			require.Equal(t, c.want, brief(d))
			noSecrets(t, d)
		})
	}
}

// noSecrets looks for the planted values in all of a document.
func noSecrets(t *testing.T, d *inspect.Document) {
	t.Helper()
	dt, err := d.Marshal()
	require.NoError(t, err)
	text := string(dt)
	if d.Err() != nil {
		text += d.Err().Error()
	}
	for _, secret := range []string{awsKey, ghToken, random, hunter, "MIIEvQIBADANBgkqhkiG9w0"} {
		require.NotContains(t, text, secret[4:])
	}
}

func TestFiles(t *testing.T) {
	f := plain(
		entry{name: "usr/bin/su", mode: 0o4755},
		entry{name: "usr/bin/wall", mode: 0o2755},
		entry{name: "usr/bin/both", mode: 0o6755},
		entry{name: "usr/bin/data", mode: 0o4644},
		entry{name: "srv/open", mode: 0o666},
		entry{name: "srv/dir", mode: 0o777, kind: tar.TypeDir},
		entry{name: "tmp", mode: 0o1777, kind: tar.TypeDir},
		entry{name: "srv/link", mode: 0o777, kind: tar.TypeSymlink, link: "open"},
		entry{name: "usr/bin/ping", mode: 0o755, records: map[string]string{"SCHILY.xattr.security.capability": capNetBind}},
		entry{name: "dev/null", mode: 0o666, kind: tar.TypeChar},
		entry{name: "app/.git/HEAD", text: "ref: refs/heads/main\n"},
		entry{name: "root/.bash_history", text: "ls\n"},
		entry{name: "root/.ssh/authorized_keys", text: "ssh-ed25519 AAAA\n"},
		entry{name: "app/server.p12", text: "\x30\x82"},
	)
	f.layers[0][0].text += "guest::1001:1001::/:/bin/sh\nold:aBcDeFgHiJkLm:1002:1002::/:/bin/sh\n"
	f = f.layer(entry{name: "etc/shadow", text: "root:*:1::::::\napp:!$6$x:1::::::\nadmin:$y$j9T$x$y:1::::::\nopen::1::::::\nlocked:!:1::::::\n", mode: 0o600})
	require.Equal(t, []string{
		"fail file.empty-password guest", "fail file.empty-password open",
		"fail file.password admin", "fail file.password old",
		"fail file.setuid /usr/bin/both", "fail file.setuid /usr/bin/su",
		"fail file.world-writable /srv/open", "fail file.world-writable-directory /srv/dir",
		"warn file.authorized-keys /root/.ssh/authorized_keys",
		"warn file.capability /usr/bin/ping", "warn file.device /dev/null", "warn file.git-directory /app/.git",
		"warn file.setgid /usr/bin/both", "warn file.setgid /usr/bin/wall",
		"warn secret.key-store /app/server.p12", "warn file.shell-history /root/.bash_history",
	}, brief(f.inspect(t, inspect.Policy{})))
	for _, found := range f.inspect(t, inspect.Policy{}).Findings {
		if found.Rule == "file.capability" {
			require.Equal(t, "/usr/bin/ping has cap_net_bind_service=ep", found.Message)
		}
	}
}

func TestSecretsInFiles(t *testing.T) {
	for name, c := range map[string]struct {
		file, text string
		want       string
	}{
		"token":            {"app/settings.py", "x = 1\nTOKEN = '" + ghToken + "'\n", "fail secret.token /app/settings.py github-pat"},
		"generic":          {"app/settings.py", "api_key = '" + random + "'\n", "warn secret.generic /app/settings.py generic-api-key"},
		"private key":      {"app/key.pem", pem, "fail secret.private-key /app/key.pem private-key"},
		"in a binary":      {"app/module.pyc", "\x00\x01" + ghToken + "\x00", "fail secret.token /app/module.pyc github-pat"},
		"generic binary":   {"app/module.pyc", "\x00\x01api_key='" + random + "'\x00", ""},
		"netrc":            {"root/.netrc", "machine example.com login me password " + hunter + "\n", "fail secret.credentials /root/.netrc netrc"},
		"netrc empty":      {"root/.netrc", "machine example.com login me\n", ""},
		"docker":           {"home/me/.docker/config.json", `{"auths":{"x":{"auth":"` + random + `"}}}`, "fail secret.credentials /home/me/.docker/config.json docker"},
		"docker helper":    {"home/me/.docker/config.json", `{"credsStore":"pass","auths":{"x":{}}}`, ""},
		"npmrc":            {"app/.npmrc", "//registry.example.com/:_authToken=" + random + "\n", "fail secret.credentials /app/.npmrc npm"},
		"npmrc variable":   {"app/.npmrc", "//registry.example.com/:_authToken=${NPM_TOKEN}\n", ""},
		"aws":              {"root/.aws/credentials", "[default]\naws_secret_access_key = " + random + "\n", "fail secret.credentials /root/.aws/credentials aws"},
		"apt":              {"etc/apt/auth.conf.d/x.conf", "machine x login y password " + hunter + "\n", "fail secret.credentials /etc/apt/auth.conf.d/x.conf apt"},
		"git remote":       {"app/.git/config", "[remote \"origin\"]\nurl = https://me:" + hunter + "@example.com/x\n", "fail secret.credentials /app/.git/config git"},
		"pgpass":           {"root/.pgpass", "db:5432:*:me:" + hunter + "\n", "fail secret.credentials /root/.pgpass postgresql"},
		"another's netrc":  {"app/not.netrc", "password " + hunter + "\n", ""},
		"across a window":  {"app/big.txt", strings.Repeat("nothing to see here\n", 209_710) + pem + strings.Repeat("nothing\n", 100_000), "fail secret.private-key /app/big.txt private-key"},
		"behind a window":  {"app/big.txt", strings.Repeat("nothing to see here\n", 300_000) + "t=" + ghToken + "\n", "fail secret.token /app/big.txt github-pat"},
		"one endless line": {"app/big.txt", strings.Repeat("x", 9<<20) + " " + ghToken + " " + strings.Repeat("y", 1<<20), "fail secret.token /app/big.txt github-pat"},
	} {
		t.Run(name, func(t *testing.T) {
			d := plain(entry{name: c.file, text: c.text}).inspect(t, inspect.Policy{})
			var want []string
			if c.want != "" {
				want = []string{c.want}
			}
			require.Equal(t, want, brief(d))
			noSecrets(t, d)
			if strings.HasPrefix(name, "behind") {
				require.Equal(t, 300_001, d.Findings[0].Subject.Line)
			}
		})
	}
}

// What a later layer removes or replaces is still in the image.
func TestRemovedFiles(t *testing.T) {
	f := plain(
		entry{name: "app/.env", text: "T=" + ghToken + "\n"},
		entry{name: "app/key.pem", text: pem},
		entry{name: "root/.netrc", text: "machine x login y password " + hunter + "\n"},
		entry{name: "app/moved.conf", text: "K=" + awsKey + "\n"},
	).layer(
		entry{name: "app/.wh..env"},
		entry{name: "app/key.pem", text: "none\n"},
		entry{name: "root/.wh..netrc"},
		entry{name: "app/moved.conf", text: "K=" + awsKey + "\n", mode: 0o600},
	)
	d := f.inspect(t, inspect.Policy{})
	require.Equal(t, []string{
		"fail secret.token /app/moved.conf aws-access-token",
		"fail secret.removed /app/.env github-pat",
		"fail secret.removed /app/key.pem private-key",
		"fail secret.removed /root/.netrc netrc",
	}, brief(d))
	layer, err := f.image(t).Image.Layers()
	require.NoError(t, err)
	diffID, err := layer[0].DiffID()
	require.NoError(t, err)
	require.Equal(t, diffID.String(), d.Findings[1].Subject.Layer)
	require.Contains(t, d.Findings[1].Message, "still has it")
	require.Equal(t, 4, d.Examined.Removed)
	noSecrets(t, d)
}

// A distribution's files are public, as long as they are the distribution's.
func TestPackagedFilesAreNotSearched(t *testing.T) {
	text := "example: " + ghToken + "\n"
	f := plain(entry{name: "usr/share/doc/x/README", text: text}, entry{name: "usr/share/doc/x/changed", text: text + "\n"})
	f.catalogue = packages(pkg.Package{Name: "x", Version: "1", Type: pkg.DebPkg, Metadata: pkg.DpkgDBEntry{Files: []pkg.DpkgFileRecord{
		{Path: "/usr/share/doc/x/README", Digest: &file.Digest{Algorithm: "md5", Value: md5sum(text)}},
		{Path: "/usr/share/doc/x/changed", Digest: &file.Digest{Algorithm: "md5", Value: md5sum(text)}},
	}}})
	d := f.inspect(t, inspect.Policy{})
	require.Equal(t, []string{"fail secret.token /usr/share/doc/x/changed github-pat"}, brief(d))
	require.Equal(t, 1, d.Examined.Packaged)

	d = f.inspect(t, inspect.Policy{Fail: []string{"secret.packaged"}})
	require.Equal(t, []string{"fail secret.token /usr/share/doc/x/changed github-pat", "fail secret.packaged /usr/share/doc/x/README github-pat"}, brief(d))
	require.Equal(t, 0, d.Examined.Packaged)

	// apk has SHA-1 in a form of its own.
	f.catalogue = packages(pkg.Package{Name: "x", Version: "1", Type: pkg.ApkPkg, Metadata: pkg.ApkDBEntry{Files: []pkg.ApkFileRecord{
		{Path: "/usr/share/doc/x/README", Digest: &file.Digest{Algorithm: "'Q1'+base64(sha1)", Value: apkSum(text)}},
	}}})
	require.Equal(t, 1, f.inspect(t, inspect.Policy{}).Examined.Packaged)
}

func TestLicences(t *testing.T) {
	f := plain()
	with := func(name string, licences ...string) pkg.Package {
		p := pkg.Package{Name: name, Version: "1.0", Type: pkg.NpmPkg}
		for _, l := range licences {
			p.Licenses.Add(pkg.NewLicense(l))
		}
		return p
	}
	f.catalogue = packages(with("a", "MIT"), with("b", "AGPL-3.0-only"), with("c", "MIT OR AGPL-3.0-only"), with("d"), with("e", "MIT", "our own"))
	d := f.inspect(t, inspect.Policy{})
	require.Empty(t, d.Findings)
	require.Equal(t, &inspect.Licences{Packages: 5, Unknown: 1, Licences: []inspect.Licence{
		{Name: "MIT", SPDX: true, Packages: 2}, {Name: "AGPL-3.0-only", SPDX: true, Packages: 1},
		{Name: "MIT OR AGPL-3.0-only", SPDX: true, Packages: 1}, {Name: "our own", Packages: 1},
	}}, d.Licences)

	d = f.inspect(t, inspect.Policy{Licences: inspect.LicencePolicy{Lists: licence.Lists{Deny: []string{"AGPL-*"}}, Unknown: inspect.Warn}})
	require.Equal(t, []string{"fail licence.denied b AGPL-3.0-only", "warn licence.unknown d"}, brief(d))
	d = f.inspect(t, inspect.Policy{Licences: inspect.LicencePolicy{Lists: licence.Lists{Allow: []string{"MIT"}}, Gate: inspect.Warn}})
	require.Equal(t, []string{"warn licence.not-allowed b AGPL-3.0-only", "warn licence.not-allowed e our own"}, brief(d))
	d = f.inspect(t, inspect.Policy{
		Licences: inspect.LicencePolicy{
			Lists:      licence.Lists{Allow: []string{"MIT"}},
			Exceptions: []inspect.Exception{{Match: "b", Version: "1.*", Reason: "we bought it", Expires: "2026-12-31"}},
		},
	})
	require.Equal(t, []string{"fail licence.not-allowed e our own", "excepted licence.not-allowed b AGPL-3.0-only"}, brief(d))

	f.catalogue = nil
	_, err := f.run(t, inspect.Options{Policy: inspect.Policy{Licences: inspect.LicencePolicy{Lists: licence.Lists{Allow: []string{"MIT"}}}}})
	var policy *inspect.PolicyError
	require.ErrorAs(t, err, &policy)
}

func TestExceptions(t *testing.T) {
	f := plain(entry{name: "usr/bin/su", mode: 0o4755}, entry{name: "app/a/b/x.py", text: "t='" + ghToken + "'\n"})
	e := func(id, match, expires string) inspect.Exception {
		return inspect.Exception{ID: id, Match: match, Reason: "known to the team", Expires: expires}
	}
	for name, c := range map[string]struct {
		exception inspect.Exception
		want      []string
		state     string
	}{
		"rule":           {e("file.setuid", "", "2026-03-14"), []string{"fail secret.token /app/a/b/x.py github-pat", "excepted file.setuid /usr/bin/su"}, inspect.ExceptionUsed},
		"expired":        {e("file.setuid", "", "2026-03-13"), []string{"fail secret.token /app/a/b/x.py github-pat", "fail file.setuid /usr/bin/su"}, inspect.ExceptionExpired},
		"glob and path":  {e("secret.*", "/app/**", "2027-01-01"), []string{"fail file.setuid /usr/bin/su", "excepted secret.token /app/a/b/x.py github-pat"}, inspect.ExceptionUsed},
		"kind of secret": {e("github-pat", "", "2027-01-01"), []string{"fail file.setuid /usr/bin/su", "excepted secret.token /app/a/b/x.py github-pat"}, inspect.ExceptionUsed},
		"subject alone":  {e("", "/usr/bin/su", "2027-01-01"), []string{"fail secret.token /app/a/b/x.py github-pat", "excepted file.setuid /usr/bin/su"}, inspect.ExceptionUsed},
		"another path":   {e("secret.*", "/app/*", "2027-01-01"), []string{"fail secret.token /app/a/b/x.py github-pat", "fail file.setuid /usr/bin/su"}, inspect.ExceptionUnused},
	} {
		t.Run(name, func(t *testing.T) {
			d := f.inspect(t, inspect.Policy{Exceptions: []inspect.Exception{c.exception}})
			require.Equal(t, c.want, brief(d))
			require.Equal(t, c.state, d.Exceptions[0].State)
			require.ErrorContains(t, d.Err(), "refused")
			if c.state == inspect.ExceptionExpired {
				require.ErrorContains(t, d.Err(), "The exception for file.setuid (known to the team) expired on 2026-03-13.")
			}
		})
	}
	d := f.inspect(t, inspect.Policy{Exceptions: []inspect.Exception{e("**", "", "2027-01-01")}})
	require.Equal(t, inspect.Passed, d.Outcome)
	require.NoError(t, d.Err())
	require.Equal(t, 2, d.Exceptions[0].Findings)
}

func TestPolicy(t *testing.T) {
	f := plain(entry{name: "usr/bin/su", mode: 0o4755}, entry{name: "usr/bin/wall", mode: 0o2755})
	for name, c := range map[string]struct {
		policy  inspect.Policy
		want    []string
		outcome string
	}{
		"defaults":       {inspect.Policy{}, []string{"fail file.setuid /usr/bin/su", "warn file.setgid /usr/bin/wall"}, inspect.Refused},
		"gate warns":     {inspect.Policy{Gate: inspect.Warn}, []string{"warn file.setuid /usr/bin/su", "warn file.setgid /usr/bin/wall"}, inspect.Warned},
		"gate off":       {inspect.Policy{Gate: inspect.Off}, nil, inspect.Passed},
		"off":            {inspect.Policy{Off: []string{"file.set*"}}, nil, inspect.Passed},
		"fail by glob":   {inspect.Policy{Fail: []string{"file.*"}}, []string{"fail file.setuid /usr/bin/su", "fail file.setgid /usr/bin/wall"}, inspect.Refused},
		"name over glob": {inspect.Policy{Off: []string{"file.*"}, Warn: []string{"file.setuid"}}, []string{"warn file.setuid /usr/bin/su"}, inspect.Warned},
	} {
		t.Run(name, func(t *testing.T) {
			d := f.inspect(t, c.policy)
			require.Equal(t, c.want, brief(d))
			require.Equal(t, c.outcome, d.Outcome)
		})
	}
	for want, p := range map[string]inspect.Policy{
		`gate is "never"`:                       {Gate: "never"},
		`there is no rule "file.suid"`:          {Fail: []string{"file.suid"}},
		`rule file.setuid is on the lists`:      {Fail: []string{"file.*"}, Off: []string{"*.setuid"}},
		`exception 1 (x): it has no reason`:     {Exceptions: []inspect.Exception{{ID: "x", Expires: "2026-01-01"}}},
		`exception 1 (x): it must end on a day`: {Exceptions: []inspect.Exception{{ID: "x", Reason: "r", Expires: "soon"}}},
		`exception 1 (without an id)`:           {Licences: inspect.LicencePolicy{Exceptions: []inspect.Exception{{Reason: "r", Expires: "2026-01-01"}}}},
		`"[" is no pattern`:                     {Exceptions: []inspect.Exception{{ID: "x", Match: "[", Reason: "r", Expires: "2026-01-01"}}},
		`licence "GPLv2": it is no SPDX`:        {Licences: inspect.LicencePolicy{Lists: licence.Lists{Deny: []string{"GPLv2"}}}},
		`licences: unknown is "maybe"`:          {Licences: inspect.LicencePolicy{Unknown: "maybe"}},
	} {
		var policy *inspect.PolicyError
		require.ErrorAs(t, p.Check(), &policy)
		require.ErrorContains(t, p.Check(), want)
	}
}

func TestDocument(t *testing.T) {
	f := plain(
		entry{name: "usr/bin/su", mode: 0o4755}, entry{name: "app/a.py", text: "t='" + ghToken + "'\n"}, entry{name: "srv/x\ny\x1b[31m", mode: 0o666},
	)
	f.config.User = ""
	f.catalogue = packages(pkg.Package{Name: "a", Version: "1", Type: pkg.NpmPkg})
	p := inspect.Policy{Exceptions: []inspect.Exception{
		{ID: "file.setuid", Match: "/usr/bin/su", Reason: "needed to log in", Expires: "2026-06-30"}, {ID: "config.*", Reason: "old", Expires: "2025-01-01"},
	}}
	d := f.inspect(t, p)
	dt, err := d.Marshal()
	require.NoError(t, err)
	if *update {
		require.NoError(t, os.WriteFile("testdata/document.json", dt, 0o644))
	}
	want, err := os.ReadFile("testdata/document.json")
	require.NoError(t, err)
	require.Equal(t, string(want), string(dt))
	again, err := inspect.Read(bytes.NewReader(dt))
	require.NoError(t, err)
	require.Equal(t, d, again)

	// However many search at once, the document is the same.
	for _, n := range []int{1, 7} {
		other, err := f.run(t, inspect.Options{Policy: p, Now: today, Parallelism: n})
		require.NoError(t, err)
		require.Equal(t, d, other)
	}
	a, err := d.Artifact("amd64")
	require.NoError(t, err)
	require.NoError(t, a.Validate())
	require.Equal(t, "inspect-app-amd64.json", a.Name)

	message := d.Err().Error()
	require.NotContains(t, message, "\x1b")
	require.Contains(t, message, "app (linux/amd64) is refused for what is in it: 3 findings\n  critical secret.token: /app/a.py line 1 holds a secret (github-pat)")
	var refused *inspect.RefusedError
	require.ErrorAs(t, d.Err(), &refused)

	_, err = inspect.Read(strings.NewReader(`{"schema":"x"}`))
	require.ErrorContains(t, err, "its schema is")
	_, err = inspect.Read(strings.NewReader(`{`))
	require.ErrorContains(t, err, "decode inspection")
}

// An image full of findings makes a document of bounded size that still says how
// many there are, and of which rules.
func TestBounds(t *testing.T) {
	var entries []entry
	for i := range 3000 {
		entries = append(entries, entry{name: "srv/" + time.Duration(i).String(), mode: 0o4777})
	}
	entries = append(entries, entry{name: "app/a.py", text: "t='" + ghToken + "'\n"})
	d := plain(entries...).inspect(t, inspect.Policy{})
	require.Equal(t, 6001, d.Failures())
	require.Equal(t, 6001, len(d.Findings)+d.More)
	require.Less(t, len(d.Findings), 1002)
	require.True(t, slices.ContainsFunc(d.Findings, func(f inspect.Finding) bool { return f.Rule == "secret.token" }))
	require.Contains(t, d.Err().Error(), "and 5991 more")
}

func TestCancelled(t *testing.T) {
	f := plain()
	img := f.image(t)
	fsys, err := imagefs.Open(t.Context(), img.Image, imagefs.Options{})
	require.NoError(t, err)
	defer fsys.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = inspect.Run(ctx, img, fsys, nil, inspect.Options{})
	require.ErrorIs(t, err, context.Canceled)
}

func TestProgress(t *testing.T) {
	var last [2]int
	passwd := len(plain().layers[0][0].text)
	_, err := plain().run(t, inspect.Options{Progress: func(done, total int) { last = [2]int{done, total} }})
	require.NoError(t, err)
	require.Equal(t, [2]int{passwd + 5, passwd + 5}, last)
}

func TestRules(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range inspect.Rules() {
		require.False(t, seen[r.ID], r.ID)
		seen[r.ID] = true
		require.NotEmpty(t, r.Title)
		require.NotEmpty(t, r.Remedy)
	}
	doc, err := os.ReadFile("../../docs/inspect.md")
	require.NoError(t, err)
	for _, r := range inspect.Rules() {
		require.Contains(t, string(doc), "| `"+r.ID+"` | "+string(r.Severity)+" | "+string(r.Default)+" | "+r.Title+" |")
	}
}

func packages(list ...pkg.Package) *sbom.SBOM {
	for i := range list {
		list[i].SetID()
	}
	return &sbom.SBOM{Artifacts: sbom.Artifacts{Packages: pkg.NewCollection(list...)}}
}

// FuzzInspect: whatever an image is made of, an inspection ends with a document
// that can be read again.
func FuzzInspect(f *testing.F) {
	f.Add("root:x:0:0", "a:$1$:", "app", "A=b", "RUN x", "etc/x", "text", int64(0o4755), capNetBind)
	f.Add("::::", ":::", "0", "=", "ADD http://", "root/.netrc", "password x", int64(0), "x")
	f.Fuzz(func(t *testing.T, passwd, shadow, user, env, history, name, text string, mode int64, caps string) {
		if strings.ContainsAny(name+caps, "\x00=\n") || name == "" || caps == "" {
			return
		}
		fx := plain()
		fx.layers[0][0].text = passwd
		fx.layers[0] = append(fx.layers[0], entry{name: "etc/shadow", text: shadow}, entry{name: "fuzz/" + strings.ReplaceAll(name, ".wh.", ""), text: text, mode: mode & 0o7777, records: map[string]string{"SCHILY.xattr.security.capability": caps}})
		fx.config.User, fx.config.Env, fx.history = user, []string{env}, []string{history}
		d := fx.inspect(t, inspect.Policy{Fail: []string{"*"}, Licences: inspect.LicencePolicy{Unknown: inspect.Off}})
		dt, err := d.Marshal()
		require.NoError(t, err)
		require.True(t, json.Valid(dt))
		_, err = inspect.Read(bytes.NewReader(dt))
		require.NoError(t, err)
	})
}
