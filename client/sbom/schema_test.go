package sbom

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/anchore/syft/syft/pkg"
	digest "github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/client/sbom/sbomtest"
)

func TestSchemas(t *testing.T) {
	judge := sbomtest.New(t)
	s := catalogued(t)
	for name, f := range map[string]Facts{"all facts": known(t), "no facts": {Subject: Subject{Name: "app", Digest: digest.FromString("app")}}} {
		for _, d := range documents {
			dt := write(t, s, f, d.format, d.version)
			require.NoError(t, judge.Judge(d.format, d.version, dt), "%s, %v", name, d)
			// The schema is really asked.
			var v map[string]any
			require.NoError(t, json.Unmarshal(dt, &v))
			delete(v, map[string]string{"cyclonedx": "bomFormat", "spdx2.3": "SPDXID", "spdx3.0": "@graph"}[d.format+map[string]string{FormatSPDX: d.version}[d.format]])
			dt, err := json.Marshal(v)
			require.NoError(t, err)
			require.Error(t, judge.Judge(d.format, d.version, dt), d)
		}
	}
}

// The list is that of the module's schema; -update takes over a newer one.
func TestLicenceList(t *testing.T) {
	want := strings.Join(sbomtest.Licences(t), "\n") + "\n"
	if *update {
		require.NoError(t, os.WriteFile("licences.txt", []byte(want), 0o644))
	}
	got, err := os.ReadFile("licences.txt")
	require.NoError(t, err)
	require.Equal(t, want, string(got))
}

func TestNewLicences(t *testing.T) {
	s := catalogued(t)
	for _, p := range s.Artifacts.Packages.PackagesByName("left-pad") {
		s.Artifacts.Packages.Delete(p.ID())
		p.Licenses.Add(pkg.NewLicense("SMAIL-GPL"))
		s.Artifacts.Packages.Add(p)
	}
	dt := string(write(t, s, known(t), FormatCycloneDX, ""))
	require.True(t, strings.Contains(dt, `"license":{"name":"SMAIL-GPL"}`), "SMAIL-GPL is a name")
	require.True(t, strings.Contains(dt, `"license":{"id":"WTFPL"}`), "WTFPL is an identifier")
}
