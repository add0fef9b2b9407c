package integration

import (
	"fmt"
	"regexp"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/integration/door"
	"github.com/temper-images/temper/integration/image"
)

// fresh tells runs apart: the testing package calls a benchmark several times.
var fresh int

// BenchmarkHarden sets what the harden vertices take on the nginx example beside
// what copying the kept files takes: "cp -a" of the hardened image in a vertex of
// the same builder. Nothing is asserted; the machine decides.
func BenchmarkHarden(b *testing.B) {
	nginx := door.Build{Context: example("nginx"), Contexts: contexts(b, "debian:bookworm")}
	nginx.Output = b.TempDir() + "/image"
	// Without a report the layout holds the image itself, which a named context
	// can mean by its digest.
	nginx.Args = map[string]string{"TEMPER_HARDEN_REPORT": "none"}
	_, err := temper().Build(b.Context(), nginx)
	require.NoError(b, err)
	img, err := image.OpenOne(nginx.Output)
	require.NoError(b, err)
	digest, err := img.Digest()
	require.NoError(b, err)

	copying := contexts(b, "debian:bookworm")
	copying["hardened"] = fmt.Sprintf("oci-layout://%s@%s", nginx.Output, digest)
	var harden, verify, cp float64
	for range b.N {
		fresh++
		// What is measured must run anew, and nothing before it: a locale that
		// does not exist changes the settings only, and a directory's name the copy.
		dir := contextDir(b, map[string]string{
			"Dockerfile": fmt.Sprintf("FROM debian:bookworm\nRUN --mount=from=hardened,target=/from mkdir /to-%d && cp -a /from/. /to-%d/\n", fresh, fresh),
		})
		log, err := temper().Build(b.Context(), door.Build{Context: dir, Contexts: copying, Args: map[string]string{"TEMPER_HARDEN_LEVEL": "off"}})
		require.NoError(b, err)
		cp += seconds(b, log, `RUN --mount=from=hardened`)

		again := nginx
		again.Output = ""
		again.Args = map[string]string{"TEMPER_HARDEN_REPORT": "none", "TEMPER_HARDEN_LOCALES": fmt.Sprintf("z%c%c", 'a'+fresh/26%26, 'a'+fresh%26)}
		log, err = temper().Build(b.Context(), again)
		require.NoError(b, err)
		harden += seconds(b, log, `\[hardened 2/3\]`)
		verify += seconds(b, log, `\[hardened 3/3\]`)
	}
	n := float64(b.N)
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(harden/n, "harden-s")
	b.ReportMetric(verify/n, "verify-s")
	b.ReportMetric(cp/n, "cp-s")
	b.ReportMetric((harden+verify)/cp, "harden/cp")
}

// seconds reads how long a vertex took from plain progress.
func seconds(b *testing.B, log, name string) float64 {
	b.Helper()
	id := regexp.MustCompile(`(?m)^#(\d+) .*` + name).FindStringSubmatch(log)
	require.NotNil(b, id, "no vertex %s in\n%s", name, log)
	done := regexp.MustCompile(`(?m)^#` + id[1] + ` DONE ([0-9.]+)s`).FindStringSubmatch(log)
	require.NotNil(b, done, "vertex %s is not done in\n%s", name, log)
	took, err := strconv.ParseFloat(done[1], 64)
	require.NoError(b, err)
	return took
}
