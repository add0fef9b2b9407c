package integration

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/integration/door"
	"github.com/temper-images/temper/integration/tools"
)

// BenchmarkRelease sets temper release beside the command lines that do the same work
// on the same builder and registry: docker buildx build --push, a squash, syft for
// each format, grype, cosign sign-blob for each of their documents, cosign sign and
// cosign attest. Both begin with a Dockerfile whose steps are in the builder's cache
// but for the last, which is another for each of them. "again" is a second run that changes nothing. Nothing is asserted;
// the machine decides.
func BenchmarkRelease(b *testing.B) {
	for _, app := range []string{"nginx", "python"} {
		b.Run(app, func(b *testing.B) {
			r := newReleases(b, harmless)
			frontend := frontendLayout(b)
			buildx, err := door.NewBuildx(b.Context(), b.TempDir(), shared.Addr, frontend, tools.Path("buildx"))
			require.NoError(b, err)
			cache := filepath.Join(r.dir, "grype")
			code, out := r.command(b, []string{"GRYPE_DB_CACHE_DIR=" + cache}, tools.Path("grype"), "db", "import", r.db.Archive)
			require.Zero(b, code, out)
			os.Setenv("GRYPE_DB_CACHE_DIR", cache) //nolint:usetesting // for the commands below, until the end of the benchmark
			defer os.Unsetenv("GRYPE_DB_CACHE_DIR")
			// What both have in their caches: the Dockerfile's steps, the database.
			warm := stamped(b, app)
			r.ours(b, "warm-"+app, warm)
			r.theirs(b, buildx, "warm-"+app, warm)

			var ours, oursAgain, theirs, theirsAgain cost
			for range b.N {
				fresh++
				name := fmt.Sprintf("%s-%d", app, fresh)
				dir := stamped(b, app)
				ours.add(r.ours(b, name, dir))
				oursAgain.add(r.ours(b, name, dir))
				// Not the same step again: the builder would have the other's result of it in its
				// cache, and in the other's compression.
				dir = stamped(b, app)
				theirs.add(r.theirs(b, buildx, name, dir))
				theirsAgain.add(r.theirs(b, buildx, name, dir))
			}
			n := float64(b.N)
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(ours.wall.Seconds()/n, "temper-s")
			b.ReportMetric(theirs.wall.Seconds()/n, "peers-s")
			b.ReportMetric(ours.wall.Seconds()/theirs.wall.Seconds(), "temper/peers")
			b.ReportMetric(oursAgain.wall.Seconds()/n, "again-temper-s")
			b.ReportMetric(theirsAgain.wall.Seconds()/n, "again-peers-s")
			b.ReportMetric(oursAgain.wall.Seconds()/theirsAgain.wall.Seconds(), "again-temper/peers")
			b.ReportMetric(ours.cpu.Seconds()/n, "temper-cpu-s")
			b.ReportMetric(theirs.cpu.Seconds()/n, "peers-cpu-s")
		})
	}
}

// stamped is an example with one more step, which no cache has.
func stamped(b *testing.B, app string) string {
	b.Helper()
	dir := filepath.Join(b.TempDir(), app)
	require.NoError(b, os.CopyFS(dir, os.DirFS(example(app))))
	f, err := os.OpenFile(filepath.Join(dir, "Dockerfile"), os.O_APPEND|os.O_WRONLY, 0)
	require.NoError(b, err)
	_, err = f.WriteString("\nCOPY stamp /srv/stamp\n")
	require.NoError(b, err)
	require.NoError(b, f.Close())
	require.NoError(b, os.WriteFile(filepath.Join(dir, "stamp"), []byte(time.Now().Format(time.RFC3339Nano)), 0o644))
	return dir
}

// ours is one temper release.
func (r *releases) ours(b *testing.B, name, dir string) cost {
	b.Helper()
	args := append([]string{
		"--builder", shared.Addr, "release", "--progress", "none", "--db", r.db.Archive, "--key", "cosign.key",
		"-o", name + ".oci", "-t", r.host(b) + "/ours/" + name + ":1",
	}, r.args...)
	return r.cost(b, tools.Path("temper"), append(args, dir)...)
}

// theirs is the same by command lines.
func (r *releases) theirs(b *testing.B, buildx *door.Buildx, name, dir string) cost {
	b.Helper()
	ref := r.host(b) + "/theirs/" + name + ":1"
	build := []string{"build", "--progress", "quiet", "--push", "--provenance=mode=max", "-t", ref}
	for context, layout := range contexts(b, "debian:bookworm", "debian:bookworm-slim") {
		build = append(build, "--build-context", context+"="+layout)
	}
	var sum cost
	sum.add(r.costOf(b, buildx.Command(bounded(b), append(build, dir)...)))
	run := func(name string, args ...string) { sum.add(r.cost(b, tools.Path(name), args...)) }
	run("crane", "flatten", "--platform", "linux/amd64", ref, "-t", ref)
	run("syft", "scan", "-q", "registry:"+ref, "-o", "cyclonedx-json=cdx.json")
	run("syft", "scan", "-q", "registry:"+ref, "-o", "spdx-json=spdx.json")
	run("grype", "-q", "sbom:cdx.json", "-o", "json=grype.json", "-o", "sarif=grype.sarif")
	for _, document := range []string{"cdx.json", "spdx.json", "grype.json", "grype.sarif"} {
		run("cosign", "sign-blob", "--yes", "--tlog-upload=false", "--key", "cosign.key",
			"--output-signature", "x.sig", "--bundle", "x.sigstore.json", "--new-bundle-format", document)
	}
	offline := []string{"--yes", "--tlog-upload=false", "--key", "cosign.key", "--allow-http-registry"}
	run("cosign", append(append([]string{"sign"}, offline...), ref)...)
	run("cosign", append(append([]string{"attest", "--type", "cyclonedx", "--predicate", "cdx.json"}, offline...), ref)...)
	return sum
}

// costOf runs a command, which must succeed, and measures it.
func (r *releases) costOf(b *testing.B, cmd *exec.Cmd) cost {
	b.Helper()
	began := time.Now()
	out, err := cmd.CombinedOutput()
	took := time.Since(began)
	require.NoError(b, err, "%s\n%s", cmd, out)
	return newCost(b, cmd, took)
}
