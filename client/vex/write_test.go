package vex

import (
	"flag"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	openvex "github.com/openvex/go-vex/pkg/vex"
	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/client/finding"
)

var update = flag.Bool("update", false, "rewrite golden files")

func report() Report {
	return Report{
		Name: "app", Reference: "registry.example.com:5000/team/app:1.2", Digest: dgst, Platform: "linux/arm/v7",
		Time: time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC),
		Patched: []Patched{
			{PURL: found.Package.PURL, From: "3.0.14-1~deb12u2", Vulnerabilities: []string{"CVE-2025-0002", "CVE-2025-0001", "CVE-2025-0001"}},
		},
		Removed: []Removed{
			{PURL: "pkg:deb/debian/apt@2.6.1?arch=armhf&distro=debian-12", Why: "package manager", Vulnerabilities: []string{"CVE-2011-3374"}},
			{PURL: "pkg:deb/debian/wget@1.21", Vulnerabilities: nil},
		},
	}
}

func TestWrite(t *testing.T) {
	dt, err := Write(report())
	require.NoError(t, err)
	golden := filepath.Join("testdata", "app.openvex.json")
	if *update {
		require.NoError(t, os.MkdirAll("testdata", 0o755))
		require.NoError(t, os.WriteFile(golden, dt, 0o644))
	}
	want, err := os.ReadFile(golden)
	require.NoError(t, err)
	require.Equal(t, string(want), string(dt))

	a, err := Artifact(report(), "arm-v7")
	require.NoError(t, err)
	require.NoError(t, a.Validate())
	require.Equal(t, "vex-app-arm-v7.openvex.json", a.Name)
	require.Equal(t, dt, a.Data)

	other := report()
	slices.Reverse(other.Patched[0].Vulnerabilities)
	slices.Reverse(other.Removed)
	again, err := Write(other)
	require.NoError(t, err)
	require.Equal(t, dt, again, "the order of what is reported does not count")

	_, err = openvex.Parse(dt)
	require.NoError(t, err)
	d, err := Read("own", dt)
	require.NoError(t, err)
	require.Equal(t, 3, d.Len())
	s := Find([]*Document{d}, img, found)
	require.Equal(t, finding.Fixed, s.Status)
	apt := &finding.Finding{ID: "CVE-2011-3374", Package: finding.Package{PURL: "pkg:deb/debian/apt@2.6.1?arch=armhf&distro=debian-12"}}
	require.Equal(t, "component_not_present", Find([]*Document{d}, img, apt).Justification)
	require.Nil(t, Find([]*Document{d}, Image{Name: "other"}, apt), "it is about this image only")
}

func TestWriteRefuses(t *testing.T) {
	r := report()
	r.Digest = "sha256:short"
	_, err := Write(r)
	require.ErrorContains(t, err, "digest")
	r = report()
	r.Name = ""
	_, err = Write(r)
	require.ErrorContains(t, err, "no name")
	r = report()
	r.Reference = "Not A Reference"
	_, err = Write(r)
	require.ErrorContains(t, err, "no registry reference")
	r = report()
	r.Patched, r.Removed, r.Reference = nil, nil, ""
	dt, err := Write(r)
	require.NoError(t, err)
	require.Contains(t, string(dt), `"statements": []`)
}
