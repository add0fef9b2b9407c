package vulndbtest

import (
	"testing"
	"time"

	v6 "github.com/anchore/grype/grype/db/v6"
	"github.com/stretchr/testify/require"
)

func TestBuild(t *testing.T) {
	built := time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)
	d, err := Build(t.TempDir(), built, Records{
		Debian: []Record{{ID: "CVE-2025-0001", Package: "nginx", Fixed: "1.22.1-9+deb12u1", Severity: "High", EPSS: 0.25, KEV: "2025-02-01"}},
		Go:     []GoRecord{{ID: "GO-2025-0001", Alias: "CVE-2025-0009", Module: "example.com/m", Fixed: "1.2.3"}},
	})
	require.NoError(t, err)
	got, err := v6.ReadDescription(d.File)
	require.NoError(t, err)
	require.Equal(t, built, got.Built.UTC())
	require.FileExists(t, d.Archive)
}
