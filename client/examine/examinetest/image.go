// Package examinetest has an image before and after hardening, with a report, for
// tests of what explains and compares images.
package examinetest

import (
	"encoding/json"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/temper-images/temper/client/catalogue/cataloguetest"
	"github.com/temper-images/temper/hardening/linkage/linkagetest"
	"github.com/temper-images/temper/hardening/spec"
)

// status is dpkg's, of the packages before hardening.
const (
	statusKept = `Package: server
Status: install ok installed
Architecture: amd64
Version: 1.22-1
Depends: libfoo1

Package: libfoo1
Status: install ok installed
Architecture: amd64
Version: 3.0.1-2

Package: dash
Status: install ok installed
Architecture: amd64
Version: 0.5.12-2
`
	statusGone = `
Package: gpgv
Status: install ok installed
Architecture: amd64
Version: 2.2.40-1
`
)

// kept is in the image before and after.
func kept() []cataloguetest.File {
	program := linkagetest.Image{Interp: "/lib64/ld.so", Needed: []string{"libfoo.so.1"}, Type: 3}.Bytes()
	library := linkagetest.Image{Soname: "libfoo.so.1", Type: 3}.Bytes()
	return []cataloguetest.File{
		{Name: "bin", Symlink: "usr/bin"},
		{Name: "etc/os-release", Data: "ID=debian\nVERSION_ID=\"12\"\n"},
		{Name: "etc/server/server.conf", Data: "root /srv\n"},
		{Name: "srv/index.html", Data: "<p>here\n"},
		{Name: "usr/bin/dash", Data: "#!", Mode: 0o755},
		{Name: "usr/bin/sh", Symlink: "dash"},
		{Name: "usr/bin/server", Data: string(program), Mode: 0o755},
		{Name: "usr/lib/libfoo.so.1", Symlink: "libfoo.so.1.2"},
		{Name: "usr/lib/libfoo.so.1.2", Data: string(library)},
		{Name: "usr/lib/server/one.mod", Data: "1"},
		{Name: "usr/lib/server/two.mod", Data: "2"},
		{Name: "usr/share/loop", Symlink: "loop"},
		{Name: "usr/share/dangling", Symlink: "/usr/bin/gpgv"},
		{Name: "var/lib/dpkg/info/server.list", Data: "/.\n/etc/server/server.conf\n/usr/bin/server\n/usr/lib/server/one.mod\n/usr/lib/server/two.mod\n"},
		{Name: "var/lib/dpkg/info/libfoo1:amd64.list", Data: "/.\n/lib/libfoo.so.1\n/usr/lib/libfoo.so.1\n/usr/lib/libfoo.so.1.2\n"},
		{Name: "var/lib/dpkg/info/dash.list", Data: "/.\n/bin/sh\n/bin/dash\n"},
	}
}

// Before is the image before hardening, with layers.
func Before() (v1.Image, error) {
	return configured([][]cataloguetest.File{
		append(kept(), []cataloguetest.File{
			{Name: "etc/passwd", Data: "root:x:0:0::/:/bin/sh\n"},
			{Name: "usr/bin/chsh", Data: string(linkagetest.Image{Interp: "/lib64/ld.so", Type: 3}.Bytes()), Mode: 0o4755},
			{Name: "usr/bin/gpgv", Data: string(linkagetest.Image{Interp: "/lib64/ld.so", Type: 3}.Bytes()), Mode: 0o755},
			{Name: "usr/include/foo.h", Data: "int foo;\n"},
			{Name: "usr/lib/libbar.so.2", Symlink: "libbar.so.2.7.1"},
			{Name: "usr/lib/libbar.so.2.7.1", Data: string(linkagetest.Image{Soname: "libbar.so.2", Type: 3}.Bytes())},
			{Name: "usr/share/locale/de/LC_MESSAGES/server.mo", Data: "de"},
			{Name: "usr/share/doc/server/README", Data: "read me\n"},
			{Name: "var/lib/dpkg/info/gpgv.list", Data: "/.\n/usr/bin/gpgv\n"},
			{Name: "var/lib/dpkg/status", Data: statusKept + statusGone},
		}...),
		{{Name: "srv/new.html", Data: "<p>new\n"}},
	}, v1.Config{Cmd: []string{"server"}, Env: []string{"PATH=/usr/bin:/bin", "API_TOKEN=one"}, Labels: map[string]string{"version": "1"}})
}

// After is the image after hardening.
func After() (v1.Image, error) {
	return configured([][]cataloguetest.File{
		append(kept(), []cataloguetest.File{
			{Name: "etc/passwd", Data: "root:x:0:0::/:/bin/sh\nnonroot:x:65532:65532::/home/nonroot:\n"},
			{Name: "home/nonroot/"},
			{Name: "srv/new.html", Data: "<p>new\n"},
			{Name: "usr/bin/chsh", Data: string(linkagetest.Image{Interp: "/lib64/ld.so", Type: 3}.Bytes()), Mode: 0o755},
			{Name: "var/lib/dpkg/status", Data: statusKept},
		}...),
	}, v1.Config{User: "65532:65532", Cmd: []string{"server"}, Env: []string{"PATH=/usr/bin:/bin", "API_TOKEN=two"}, Labels: map[string]string{"version": "1"}})
}

func configured(layers [][]cataloguetest.File, c v1.Config) (v1.Image, error) {
	img, err := cataloguetest.Of(layers...)
	if err != nil {
		return nil, err
	}
	cfg, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	cfg = cfg.DeepCopy()
	cfg.Config = c
	return mutate.ConfigFile(img, cfg)
}

// Report is what hardening says of After.
func Report(level spec.Level) *spec.Report {
	r := &spec.Report{
		Level: level, Family: "debian", Distribution: "debian 12",
		Removed: []spec.Group{
			{Class: "orphan", Name: "gpgv", Why: []string{"apt depends on gpgv"}, Files: 1, Bytes: 900, Paths: []string{"/usr/bin/gpgv"}},
			{Class: "documentation", Name: "/usr/share/doc", Files: 1, Bytes: 8, Paths: []string{"/usr/share/doc/"}},
			{Class: "locale", Name: "/usr/share/locale", Files: 1, Bytes: 2, Paths: []string{"/usr/share/locale/de/"}},
			{Class: "package-manager", Name: "apt", Why: []string{"apt is a package manager"}, Files: 2, Bytes: 12, Paths: []string{"/etc/apt/", "/usr/bin/apt"}},
		},
		Packages: []spec.Package{
			{Type: "deb", Name: "apt", Version: "2.6", Arch: "amd64", State: spec.PackageRemoved, FilesBefore: 2, Why: "it is a package manager"},
			{Type: "deb", Name: "dash", Version: "0.5.12-2", Arch: "amd64", State: spec.PackageKept, FilesBefore: 2, FilesAfter: 2},
			{Type: "deb", Name: "gpgv", Version: "2.2.40-1", Arch: "amd64", State: spec.PackageRemoved, FilesBefore: 1, Why: "apt depends on gpgv"},
			{Type: "deb", Name: "libfoo1", Version: "3.0.1-2", Arch: "amd64", State: spec.PackageKept, FilesBefore: 2, FilesAfter: 2},
			{Type: "deb", Name: "server", Version: "1.22-1", Arch: "amd64", State: spec.PackagePartial, FilesBefore: 6, FilesAfter: 4},
		},
		Changed: []spec.Change{
			{Path: "/etc/passwd", What: spec.ChangeRewritten},
			{Path: "/home/nonroot", What: spec.ChangeCreated},
			{Path: "/usr/bin/chsh", What: spec.ChangeSetUID, Before: "4755", After: "0755"},
		},
	}
	if level != spec.LevelMinimal {
		return r
	}
	r.Removed = append(r.Removed,
		spec.Group{Class: "unreachable", Name: "/usr/lib", Files: 2, Bytes: 700, Paths: []string{"/usr/lib/libbar.so.2", "/usr/lib/libbar.so.2.7.1"}},
		spec.Group{Class: "development", Name: "/usr/include", Files: 1, Bytes: 9, Paths: []string{"/usr/include/"}},
	)
	r.Reasons = []spec.Reason{
		{Path: "/etc/passwd", Why: "is read by the C library"},
		{Path: "/etc/server/server.conf", From: "package server", Why: "is of the same package as", Needs: []string{"/srv/index.html", "/usr/bin/server"}},
		{Path: "/srv/", From: "/etc/server/server.conf", Why: "names the directory of"},
		{Path: "/srv/index.html", From: "/etc/server/server.conf", Why: "names"},
		{Path: "/usr/bin/sh", Why: "is run by shell scripts"},
		{Path: "/usr/bin/server", Why: "is the command", Needs: []string{"/etc/server/server.conf", "/usr/lib/libfoo.so.1"}},
		{Path: "/usr/lib/libfoo.so.1", From: "/usr/bin/server", Why: "links to", Needs: []string{"/usr/lib/libfoo.so.1.2"}},
		{Path: "/usr/lib/libfoo.so.1.2", From: "/usr/lib/libfoo.so.1", Why: "is a link to"},
		{Path: "/usr/lib/server/", From: "package server", Why: "is of the same package as"},
		{Path: "/usr/share/loop", From: "/usr/share/loop", Why: "leads to"},
	}
	return r
}

// Layout writes img into a layout in dir, with a report attached to it where there
// is one.
func Layout(dir string, img v1.Image, report *spec.Report) error {
	idx := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	idx = mutate.AppendManifests(idx, mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "amd64"}}})
	d, err := img.Digest()
	if err != nil {
		return err
	}
	if report != nil {
		st, err := Statement(d, report)
		if err != nil {
			return err
		}
		att, err := mutate.Append(mutate.MediaType(empty.Image, types.OCIManifestSchema1), mutate.Addendum{
			Layer:       static.NewLayer(st, "application/vnd.in-toto+json"),
			Annotations: map[string]string{"in-toto.io/predicate-type": spec.PredicateType},
		})
		if err != nil {
			return err
		}
		idx = mutate.AppendManifests(idx, mutate.IndexAddendum{Add: att, Descriptor: v1.Descriptor{
			Platform: &v1.Platform{OS: "unknown", Architecture: "unknown"},
			Annotations: map[string]string{
				"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": d.String(),
			},
		}})
	}
	p, err := layout.Write(dir, empty.Index)
	if err != nil {
		return err
	}
	return p.AppendIndex(idx)
}

// Statement is the in-toto statement with a report about an image.
func Statement(d v1.Hash, report *spec.Report) ([]byte, error) {
	predicate, err := report.Marshal()
	if err != nil {
		return nil, err
	}
	return json.Marshal(map[string]any{
		"_type": "https://in-toto.io/Statement/v1", "predicateType": spec.PredicateType, "predicate": json.RawMessage(predicate),
		"subject": []any{map[string]any{"name": "app", "digest": map[string]string{d.Algorithm: d.Hex}}},
	})
}
