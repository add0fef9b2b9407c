// Package reporttest makes up the documents of a release, for tests of the page.
package reporttest

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/CycloneDX/cyclonedx-go"
	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/client/artifact"
	"github.com/temper-images/temper/client/finding"
	"github.com/temper-images/temper/client/gate"
	"github.com/temper-images/temper/client/inspect"
	"github.com/temper-images/temper/hardening/spec"
)

var today = time.Date(2026, 3, 14, 15, 0, 0, 0, time.UTC)

// Digest is the digest of the image that the documents are about.
const Digest = "sha256:05b3abf2579a5eb66403cd78be557fd860633a1fe2103c7642030defe32c657f"

// Release makes the documents of a release of one image, with most of what a
// document can say. packages and findings say how many there are beyond a few.
func Release(t testing.TB, packages, findings int) []artifact.Artifact {
	t.Helper()
	docs := []artifact.Artifact{
		document(t, "sbom-app-amd64.cdx.json", sbom(packages)),
		document(t, "sbom-app-amd64.spdx.json", map[string]string{"spdxVersion": "SPDX-2.3"}),
		document(t, "hardening-app-amd64.json", hardening(packages)),
		document(t, "gate-app-amd64.json", judged(t, findings)),
		document(t, "scan-app-amd64.json", json.RawMessage(`{"matches":[]}`)),
		document(t, "inspect-app-amd64.json", inspection()),
		document(t, "vex-app-amd64.openvex.json", vexDocument()),
		document(t, "test-app-amd64.json", map[string]any{
			"result": "PASSED", "url": "https://ci.example.com/runs/17",
			"passedTests": []string{"answers on 8080", "serves a template", "runs as its own user"}, "failedTests": []string{},
		}),
	}
	docs = append(docs, artifact.Artifact{Name: "attestation-app-amd64.json", Data: []byte(attestation)})
	for _, d := range docs[:len(docs):len(docs)] {
		if strings.HasPrefix(d.Name, "test-") {
			continue
		}
		docs = append(docs,
			artifact.Artifact{Name: d.Name + artifact.SignatureSuffix, Data: []byte("MEUCIQ==")},
			artifact.Artifact{Name: d.Name + artifact.BundleSuffix, Data: []byte(bundle)},
		)
	}
	return docs
}

const bundle = `{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","verificationMaterial":{"publicKey":{"hint":"3q2+7w=="}},"messageSignature":{}}`

func document(t testing.TB, name string, v any) artifact.Artifact {
	t.Helper()
	dt, err := json.Marshal(v)
	require.NoError(t, err)
	return artifact.Artifact{Name: name, Data: dt}
}

func sbom(more int) *cyclonedx.BOM {
	b := cyclonedx.NewBOM()
	b.Metadata = &cyclonedx.Metadata{
		Timestamp: "2026-03-01T09:30:00Z",
		Component: &cyclonedx.Component{
			Type: cyclonedx.ComponentTypeContainer, Name: "registry.example.com/team/app:1.4",
			Hashes: &[]cyclonedx.Hash{{Algorithm: "SHA-256", Value: strings.TrimPrefix(Digest, "sha256:")}},
		},
	}
	var components []cyclonedx.Component
	var needs []cyclonedx.Dependency
	add := func(name, version string, on ...string) {
		components = append(components, cyclonedx.Component{BOMRef: name, Type: cyclonedx.ComponentTypeLibrary, Name: name, Version: version})
		if len(on) > 0 {
			needs = append(needs, cyclonedx.Dependency{Ref: name, Dependencies: &on})
		}
	}
	add("gunicorn", "20.1.0-6", "python3")
	add("python3-flask", "2.2.2-3", "python3", "python3-jinja2", "python3-werkzeug", "python3-click")
	add("python3-jinja2", "3.1.2-1", "python3", "python3-markupsafe")
	add("python3-markupsafe", "2.1.2-1+b1", "python3", "libc6")
	add("python3-werkzeug", "2.2.2-3", "python3")
	add("python3-click", "8.1.3-2", "python3")
	add("python3", "3.11.2-1+b1", "python3.11")
	add("python3.11", "3.11.2-6", "libpython3.11-stdlib", "libc6", "zlib1g", "libexpat1")
	add("libpython3.11-stdlib", "3.11.2-6", "libssl3", "libsqlite3-0", "libc6", "python3.11")
	add("libssl3", "3.0.15-1~deb12u1", "libc6")
	add("libsqlite3-0", "3.40.1-2", "libc6")
	add("libexpat1", "2.5.0-1", "libc6")
	add("zlib1g", "1:1.2.13.dfsg-1", "libc6")
	add("libc6", "2.36-9+deb12u9", "libgcc-s1")
	add("libgcc-s1", "12.2.0-14", "libc6")
	add("tzdata", "2024a-0+deb12u1")
	for i := range more {
		add(fmt.Sprintf("package-%05d", i), "1.0", fmt.Sprintf("package-%05d", (i*7+1)%max(more, 1)), "libc6")
	}
	b.Components, b.Dependencies = &components, &needs
	return b
}

func hardening(more int) *spec.Report {
	mib := int64(1 << 20)
	r := &spec.Report{
		Level: "exclusive", Family: "debian", Distribution: "debian 12",
		Before: spec.Totals{Files: 9310, Directories: 1204, Bytes: 164 * mib, Packages: 124, Executables: 902, Libraries: 410, SetUID: 11},
		After:  spec.Totals{Files: 5870, Directories: 811, Bytes: 103 * mib, Packages: 71, Executables: 214, Libraries: 288},
		User:   spec.User{Config: "65532:65532", UID: 65532, GID: 65532, Created: true},
		Removed: []spec.Group{
			{Class: "package-manager", Name: "apt", Why: []string{"apt is a package manager"}, Files: 412, Bytes: 9 * mib, Paths: []string{"/usr/bin/apt", "/usr/bin/apt-get", "/usr/lib/apt/"}},
			{Class: "package-manager", Name: "dpkg", Why: []string{"dpkg is a package manager"}, Files: 298, Bytes: 6 * mib, Paths: []string{"/usr/bin/dpkg"}},
			{Class: "orphan", Name: "libapt-pkg6.0", Why: []string{"apt is a package manager", "only apt needs libapt-pkg6.0"}, Files: 9, Bytes: 2*mib + 400<<10, Paths: []string{"/usr/lib/x86_64-linux-gnu/libapt-pkg.so.6.0"}},
			{Class: "orphan", Name: "libstdc++6", Why: []string{"apt is a package manager", "only apt needs libapt-pkg6.0", "only libapt-pkg6.0 needs libstdc++6"}, Files: 7, Bytes: 2 * mib, Paths: []string{"/usr/lib/x86_64-linux-gnu/libstdc++.so.6"}},
			{Class: "documentation", Name: "/usr/share/doc", Files: 1210, Bytes: 14 * mib, Paths: []string{"/usr/share/doc/"}},
			{Class: "documentation", Name: "/usr/share/man", Files: 480, Bytes: 5 * mib, Paths: []string{"/usr/share/man/"}},
			{Class: "locale", Name: "/usr/share/locale", Files: 390, Bytes: 12 * mib, Paths: []string{"/usr/share/locale/"}},
			{Class: "cache", Name: "/var/lib/apt/lists", Files: 11, Bytes: 4 * mib, Paths: []string{"/var/lib/apt/lists/"}},
			{Class: "shell", Name: "dash", Why: []string{"harden.shell is remove"}, Files: 4, Bytes: 130 << 10, Paths: []string{"/bin/sh", "/usr/bin/dash"}},
			{Class: "log", Name: "/var/log", Files: 6, Bytes: 700 << 10, Paths: []string{"/var/log/"}},
		},
		Packages: []spec.Package{
			{Type: "deb", Name: "apt", Version: "2.6.1", State: spec.PackageRemoved, FilesBefore: 412, Why: "apt is a package manager"},
			{Type: "deb", Name: "coreutils", Version: "9.1-1", State: spec.PackagePartial, FilesBefore: 210, FilesAfter: 140, Why: "documentation"},
			{Type: "deb", Name: "libc6", Version: "2.36-9+deb12u9", State: spec.PackageKept, FilesBefore: 300, FilesAfter: 300},
		},
		Checks: []spec.Check{
			{Name: "links", Statement: "every kept ELF file finds all its libraries in the image", Passed: true, Examined: 502},
			{Name: "packages", Statement: "scanners still see the truth", Passed: true, Examined: 71},
			{Name: "lockdown", Statement: "it cannot install packages and does not run as root", Passed: true, Examined: 5870},
			{Name: "unchanged", Statement: "what stayed is what was there", Passed: true, Examined: 6681},
		},
		Notices: []string{"/etc/ssl/openssl.cnf names a module that is not there"},
	}
	for i := range more {
		r.Removed = append(r.Removed, spec.Group{Class: "orphan", Name: fmt.Sprintf("group-%05d", i), Files: 1, Bytes: int64(i % 97)})
		r.Packages = append(r.Packages, spec.Package{Type: "deb", Name: fmt.Sprintf("gone-%05d", i), Version: "1", State: spec.PackageRemoved})
	}
	return r
}

func judged(t testing.TB, more int) *gate.Result {
	t.Helper()
	found := func(id string, s finding.Severity, name, version, fixed string, epss float64) *finding.Finding {
		f := &finding.Finding{
			ID: id, Severity: s, Source: "https://security-tracker.debian.org/tracker/" + id, Risk: epss * 100,
			Package: finding.Package{Name: name, Version: version, Type: "deb", PURL: "pkg:deb/debian/" + name + "@" + version},
			Fix:     finding.Fix{State: finding.FixNone}, EPSS: &finding.EPSS{Probability: epss},
			Description: "A use-after-free <b>somewhere</b>.",
		}
		if fixed != "" {
			f.Fix = finding.Fix{State: finding.FixAvailable, Versions: []string{fixed}}
		}
		return f
	}
	in := gate.Input{
		Subject:  gate.Subject{Name: "app", Digest: Digest, Platform: "linux/amd64"},
		Database: gate.Database{Built: today.Add(-9 * time.Hour), Schema: "6.0.2"},
		Findings: []*finding.Finding{
			found("CVE-2026-0001", finding.Critical, "libexpat1", "2.5.0-1", "2.5.0-1+deb12u1", 0.42),
			found("CVE-2026-0002", finding.High, "libssl3", "3.0.15-1~deb12u1", "3.0.17-1~deb12u2", 0.031),
			found("CVE-2025-4802", finding.High, "libc6", "2.36-9+deb12u9", "", 0.002),
			found("CVE-2025-1111", finding.Medium, "libsqlite3-0", "3.40.1-2", "3.40.1-2+deb12u1", 0.004),
			found("CVE-2023-45853", finding.Low, "zlib1g", "1:1.2.13.dfsg-1", "", 0.01),
			found("CVE-2011-3374", finding.Negligible, "libapt-pkg6.0", "2.6.1", "", 0.001),
		},
	}
	in.Findings[0].Exploited = &finding.Exploited{Added: "2026-02-20"}
	for i := range more {
		in.Findings = append(in.Findings, found(fmt.Sprintf("CVE-2024-%05d", i), finding.Severity(i%6), "linux-libc-dev", "6.1.1", "", 0.001))
	}
	excused := found("CVE-2026-0099", finding.High, "python3-werkzeug", "2.2.2-3", "3.0.1-1", 0.09)
	excused.Statement = &finding.Statement{Document: "team.openvex.json", Digest: Digest, Status: finding.NotAffected, Justification: "vulnerable_code_not_in_execute_path"}
	in.Excused = []*finding.Finding{excused}
	until, err := gate.ParseDate("2026-06-30")
	require.NoError(t, err)
	r, err := gate.Judge(gate.Policy{Exceptions: []gate.Exception{
		{Vulnerability: "CVE-2026-0002", Reason: "the update breaks the client certificate check, fixed upstream in June", Expires: until},
	}}, in, today)
	require.NoError(t, err)
	return r
}

func inspection() *inspect.Document {
	d := &inspect.Document{
		Schema: inspect.PredicateType, Date: "2026-03-14", Outcome: inspect.Warned,
		Image: inspect.Image{Name: "app", Reference: "registry.example.com/team/app:1.4", Digest: Digest, Platform: "linux/amd64"},
		Findings: []inspect.Finding{
			{
				Rule: "secret.generic", Severity: inspect.Medium, Action: inspect.Warn, Subject: inspect.Subject{Kind: inspect.File, Name: "/app/settings.py", Line: 12},
				Detail: "generic-api-key", Message: "/app/settings.py line 12 looks like a secret", Remedy: "Look at the line.", Fingerprint: "1f2e",
			},
			{
				Rule: "file.setuid", Severity: inspect.High, Action: inspect.Excepted, Subject: inspect.Subject{Kind: inspect.File, Name: "/usr/bin/ping"},
				Message: "/usr/bin/ping runs as user 0, whoever starts it (mode 4755)", Remedy: "Remove the bit.", Reason: "health check",
			},
		},
		Exceptions: []inspect.ExceptionState{
			{Exception: inspect.Exception{ID: "file.setuid", Match: "/usr/bin/ping", Reason: "health check", Expires: "2026-12-31"}, State: inspect.ExceptionUsed, Findings: 1},
		},
		Licences: &inspect.Licences{Packages: 71, Unknown: 3, Licences: []inspect.Licence{
			{Name: "LGPL-2.1-or-later", SPDX: true, Packages: 22}, {Name: "MIT", SPDX: true, Packages: 18}, {Name: "PSF-2.0", SPDX: true, Packages: 6},
		}},
		Examined: inspect.Examined{Entries: 6681, Texts: 255, Binaries: 401, Skipped: 3023, Packaged: 1404, Bytes: 8 << 20},
	}
	for _, r := range inspect.Rules() {
		s := inspect.RuleState{ID: r.ID, Severity: r.Severity, Action: r.Default, Title: r.Title}
		switch r.ID {
		case "secret.generic":
			s.Findings = 1
		case "file.setuid":
			s.Findings, s.Excepted = 1, 1
		}
		d.Rules = append(d.Rules, s)
	}
	return d
}

func vexDocument() map[string]any {
	gone := func(id, name string) map[string]any {
		return map[string]any{
			"vulnerability": map[string]any{"name": id}, "status": "not_affected", "justification": "component_not_present",
			"impact_statement": "hardening removed the package: apt is a package manager",
			"products":         []any{map[string]any{"@id": "pkg:oci/app", "subcomponents": []any{map[string]any{"@id": "pkg:deb/debian/" + name + "@1"}}}},
		}
	}
	return map[string]any{
		"@context": "https://openvex.dev/ns/v0.2.0", "author": "Temper",
		"statements": []any{gone("CVE-2024-1001", "apt"), gone("CVE-2024-1002", "perl-base"), gone("CVE-2024-1003", "perl-base")},
	}
}

const attestation = `{
 "_type": "https://in-toto.io/Statement/v1",
 "predicate": {
  "buildDefinition": {
   "buildType": "https://github.com/temper-images/temper/blob/main/docs/provenance.md#release-v1",
   "externalParameters": {
    "buildArgs": {
     "TOKEN": {},
     "URL": {}
    },
    "configuration": {
     "digest": {
      "sha256": "b79606fb3afea5bd1609ed40b622142f1c98125abcfe89a76a661b0e8e343910"
     },
     "path": "services/app/temper.yaml"
    },
    "contexts": {
     "busybox": "oci-layout@sha256:2f32a9021f13744dfc4ee807f0c5bd603c62bd9453622abbe664e35f529effae",
     "named": "local"
    },
    "dockerfile": {
     "digest": {
      "sha256": "d955eae0c79e63a288a251d927692dc0499e4af0e1ee382e75e2e33884937278"
     },
     "path": "services/app/Dockerfile"
    },
    "platform": "linux/amd64",
    "secrets": [
     "word"
    ],
    "source": {
     "digest": {
      "gitCommit": "0123456789abcdef0123456789abcdef01234567"
     },
     "directory": "services/app",
     "dirty": true,
     "uri": "git+https://github.com/team/app@refs/tags/v1"
    },
    "workflow": {
     "path": ".github/workflows/release.yml",
     "platform": "github-actions",
     "ref": "refs/tags/v1",
     "repository": "https://github.com/team/app",
     "trigger": "push"
    }
   },
   "internalParameters": {},
   "resolvedDependencies": [
    {
     "annotations": {
      "kind": "frontend"
     },
     "digest": {
      "sha256": "741829ba36576711c2b5ccb26ee9d18d3853b47d57c415c8fa20eb0f18cf4565"
     },
     "name": "temper/frontend:1",
     "uri": "pkg:oci/temper/frontend@1?digest=sha256:741829ba36576711c2b5ccb26ee9d18d3853b47d57c415c8fa20eb0f18cf4565&platform=linux%2Famd64"
    },
    {
     "annotations": {
      "context": "busybox",
      "kind": "image"
     },
     "digest": {
      "sha256": "2f32a9021f13744dfc4ee807f0c5bd603c62bd9453622abbe664e35f529effae"
     },
     "name": "busybox",
     "uri": "pkg:oci/busybox?digest=sha256:2f32a9021f13744dfc4ee807f0c5bd603c62bd9453622abbe664e35f529effae&platform=linux%2Famd64"
    },
    {
     "annotations": {
      "kind": "package",
      "replaces": "3.0.15-1~deb12u1"
     },
     "uri": "pkg:deb/debian/openssl@3.0.17-1~deb12u2?arch=amd64"
    },
    {
     "annotations": {
      "kind": "source"
     },
     "digest": {
      "gitCommit": "0123456789abcdef0123456789abcdef01234567"
     },
     "uri": "git+https://github.com/team/app@refs/tags/v1"
    }
   ]
  },
  "runDetails": {
   "builder": {
    "id": "https://github.com/team/app/.github/workflows/release.yml@refs/tags/v1",
    "version": {
     "buildkit": "v0.34.2",
     "temper": "v0.3.0"
    }
   },
   "byproducts": [
    {
     "annotations": {
      "predicateType": "https://cyclonedx.org/bom"
     },
     "digest": {
      "sha256": "2e01b8740d2b1c7ff47487ab94ff0f7f4d2853f3d985cd6d7e381c4aa5ef9afa"
     },
     "mediaType": "application/vnd.cyclonedx+json",
     "name": "sbom-app-amd64.cdx.json"
    },
    {
     "digest": {
      "sha256": "59ad1b2fc74287ded1bba7af67765d23ad4a49f1ae51902cc2ed3f8ebee96cfa"
     },
     "mediaType": "application/json",
     "name": "scan-app-amd64.json"
    }
   ],
   "metadata": {
    "finishedOn": "2025-06-15T15:08:20Z",
    "invocationId": "https://github.com/team/app/actions/runs/1/attempts/2",
    "startedOn": "2025-06-15T15:06:40Z"
   }
  }
 },
 "predicateType": "https://slsa.dev/provenance/v1",
 "subject": [
  {
   "name": "registry.example.com/team/app",
   "digest": {
    "sha256": "05b3abf2579a5eb66403cd78be557fd860633a1fe2103c7642030defe32c657f"
   }
  }
 ]
}`
