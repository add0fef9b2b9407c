package integration

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/client/vulndb/vulndbtest"
	"github.com/temper-images/temper/integration/tools"
)

// BenchmarkEvidence sets temper evidence create on the nginx example beside the
// command lines that do the same work: syft for each format, grype on its SBOM, and
// cosign for each document. Nothing is asserted; the machine decides.
func BenchmarkEvidence(b *testing.B) {
	r := newReleases(b, manyRecords(b))
	layout := filepath.Join(r.dir, "nginx.oci")
	code, out := r.temper(b, append(append([]string{"build", "-o", layout}, r.args...), example("nginx"))...)
	require.Zero(b, code, out)
	cache := filepath.Join(r.dir, "grype")
	code, out = r.command(b, []string{"GRYPE_DB_CACHE_DIR=" + cache}, tools.Path("grype"), "db", "import", r.db.Archive)
	require.Zero(b, code, out)
	// The first run fills temper's cache of the database, as import did grype's.
	documents := 0
	ours, theirs := cost{}, cost{}
	for i := range b.N + 1 {
		store := fmt.Sprintf("store-%d", i)
		c := r.cost(b, tools.Path("temper"), "evidence", "create", layout, "--progress", "none", "--gate", "warn", "--key", "cosign.key", "--db", r.db.Archive, "--evidence", store)
		if i > 0 {
			ours.add(c)
		}
		documents = countDocuments(b, filepath.Join(r.dir, store))
	}
	os.Setenv("GRYPE_DB_CACHE_DIR", cache) //nolint:usetesting // for the commands below, until the end of the benchmark
	defer os.Unsetenv("GRYPE_DB_CACHE_DIR")
	for range b.N {
		one := cost{}
		one.add(r.cost(b, tools.Path("syft"), "scan", "-q", "oci-dir:"+layout, "-o", "cyclonedx-json=cdx.json"))
		one.add(r.cost(b, tools.Path("syft"), "scan", "-q", "oci-dir:"+layout, "-o", "spdx-json=spdx.json"))
		one.add(r.cost(b, tools.Path("grype"), "-q", "sbom:cdx.json", "-o", "json=grype.json", "-o", "sarif=grype.sarif"))
		for range documents {
			one.add(r.cost(b, tools.Path("cosign"), "sign-blob", "--yes", "--tlog-upload=false", "--key", "cosign.key",
				"--output-signature", "x.sig", "--bundle", "x.sigstore.json", "--new-bundle-format", "grype.json"))
		}
		theirs.add(one)
	}
	n := float64(b.N)
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(ours.wall.Seconds()/n, "temper-s")
	b.ReportMetric(theirs.wall.Seconds()/n, "peers-s")
	b.ReportMetric(ours.wall.Seconds()/theirs.wall.Seconds(), "temper/peers")
	b.ReportMetric(ours.cpu.Seconds()/n, "temper-cpu-s")
	b.ReportMetric(theirs.cpu.Seconds()/n, "peers-cpu-s")
	b.ReportMetric(float64(ours.peak)/(1<<20), "temper-MB")
	b.ReportMetric(float64(theirs.peak)/(1<<20), "peers-MB")
	b.ReportMetric(float64(documents), "documents")
}

// cost is what processes took, one after the other.
type cost struct {
	wall, cpu time.Duration
	// peak is the largest resident size of one of them, in bytes.
	peak int64
}

func (c *cost) add(o cost) {
	c.wall += o.wall
	c.cpu += o.cpu
	c.peak = max(c.peak, o.peak)
}

// cost runs a command, which must succeed, and measures it.
func (r *releases) cost(b *testing.B, name string, args ...string) cost {
	b.Helper()
	cmd := exec.CommandContext(bounded(b), name, args...)
	cmd.Dir = r.dir
	cmd.Env = append(os.Environ(), "COSIGN_PASSWORD="+password, "TEMPER_DB_DIR="+filepath.Join(r.dir, "cache"),
		"XDG_STATE_HOME="+filepath.Join(r.dir, "state"), "SYFT_CHECK_FOR_APP_UPDATE=false", "GRYPE_CHECK_FOR_APP_UPDATE=false", "GRYPE_DB_AUTO_UPDATE=false", "GRYPE_DB_VALIDATE_AGE=false")
	return r.costOf(b, cmd)
}

// newCost is what a command took that has ended.
func newCost(b *testing.B, cmd *exec.Cmd, took time.Duration) cost {
	b.Helper()
	usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	require.True(b, ok)
	return cost{wall: took, cpu: cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), peak: usage.Maxrss << 10}
}

// countDocuments counts what was signed in a store.
func countDocuments(b *testing.B, store string) int {
	b.Helper()
	signatures, err := filepath.Glob(filepath.Join(store, "*", "*", "*", "*.sig"))
	require.NoError(b, err)
	require.NotEmpty(b, signatures)
	return len(signatures)
}

// manyRecords are eight thousand vulnerabilities, so that the database has a size to
// look things up in. The image has some two hundred of them, as one of Debian 12 with
// nginx has that was not updated for some months.
func manyRecords(b *testing.B) vulndbtest.Records {
	b.Helper()
	dt, err := exec.CommandContext(b.Context(), "dpkg-query", "-W", "-f", "${source:Package}\n").Output()
	require.NoError(b, err)
	names := strings.Fields(string(dt))
	slices.Sort(names)
	names = slices.Compact(names)
	var records vulndbtest.Records
	for i := range 8000 {
		r := vulndbtest.Record{
			ID: fmt.Sprintf("CVE-2025-%05d", i), Package: fmt.Sprintf("package-%d", i/20), Severity: []string{"Low", "Medium", "High", "Critical"}[i%4],
		}
		if i < 3*len(names) {
			r.Package = names[i%len(names)]
		}
		if i%3 == 0 {
			r.Fixed, r.FixDate = "0.1", "2025-06-01"
		}
		records.Debian = append(records.Debian, r)
	}
	return records
}
