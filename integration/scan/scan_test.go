// Package scan tests the vulnerability scan and its gate against Grype's own command
// line, on a real Debian and a database whose every record is known.
package scan

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/anchore/syft/syft/format/syftjson"
	"github.com/anchore/syft/syft/pkg"
	syftsbom "github.com/anchore/syft/syft/sbom"
	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/client/catalogue"
	"github.com/temper-images/temper/client/imagefs"
	"github.com/temper-images/temper/client/sbom"
	"github.com/temper-images/temper/client/scan"
	"github.com/temper-images/temper/client/subject"
	"github.com/temper-images/temper/client/vulndb"
	"github.com/temper-images/temper/client/vulndb/vulndbtest"
	"github.com/temper-images/temper/integration/base"
	"github.com/temper-images/temper/integration/tools"
)

var built = time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)

// debian is a real image of Debian and the database that knows its packages.
type debian struct {
	layout  base.Layout
	set     *subject.Set
	sbom    *syftsbom.SBOM
	db      *vulndbtest.Database
	options vulndb.Options
}

var scratch string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		var err error
		if scratch, err = os.MkdirTemp("", "temper-scan-"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(scratch)
		return m.Run()
	}())
}

var image = sync.OnceValues(func() (*debian, error) {
	ctx := context.Background()
	layout, err := base.Debian(ctx)
	if err != nil {
		return nil, err
	}
	d := &debian{layout: layout}
	if d.set, err = subject.Open(ctx, layout.Dir, subject.Options{}); err != nil {
		return nil, err
	}
	img := d.set.Images[0]
	fsys, err := imagefs.Open(ctx, img.Image, imagefs.Options{})
	if err != nil {
		return nil, err
	}
	defer fsys.Close()
	if d.sbom, err = catalogue.Image(ctx, img.Image, fsys, catalogue.Options{Reference: img.Name}); err != nil {
		return nil, err
	}
	d.db, err = vulndbtest.Build(filepath.Join(scratch, "db"), built, records(d.sbom))
	d.options = vulndb.Options{Dir: filepath.Join(scratch, "cache"), MaxAge: -1, Offline: true}
	if err == nil {
		_, err = vulndb.Import(ctx, d.options, d.db.Archive, built)
	}
	return d, err
})

// records knows of four vulnerabilities in every source package of the image: one
// with a fix, one without, one that was fixed before, and one in another release.
func records(s *syftsbom.SBOM) vulndbtest.Records {
	severities := []string{"Critical", "High", "Medium", "Low", "Negligible"}
	var out vulndbtest.Records
	seen := map[string]bool{}
	for p := range s.Artifacts.Packages.Enumerate(pkg.DebPkg) {
		entry, ok := p.Metadata.(pkg.DpkgDBEntry)
		name := cmp.Or(entry.Source, p.Name)
		if !ok || seen[name] {
			continue
		}
		seen[name] = true
		h := fnv.New32a()
		_, _ = h.Write([]byte(name))
		n := int(h.Sum32())
		id := func(i int) string { return fmt.Sprintf("CVE-%d-%07d", 2020+i, n%10_000_000) }
		severity := func(i int) string { return severities[(n+i)%len(severities)] }
		version := cmp.Or(entry.SourceVersion, p.Version)
		fixed := vulndbtest.Record{ID: id(0), Package: name, Fixed: version + "+deb12u99", FixDate: "2026-04-01", Severity: severity(0), EPSS: float64(n%100) / 100}
		if n%7 == 0 {
			fixed.KEV = "2026-04-02"
		}
		out.Debian = append(out.Debian, fixed,
			vulndbtest.Record{ID: id(1), Package: name, Severity: severity(1)},
			vulndbtest.Record{ID: id(2), Package: name, Fixed: "0~", Severity: severity(2)},
			vulndbtest.Record{ID: id(3), Package: name, Release: "11", Fixed: version + "+deb11u99", Severity: severity(3)})
	}
	slices.SortFunc(out.Debian, func(a, b vulndbtest.Record) int { return cmp.Compare(a.ID+a.Package, b.ID+b.Package) })
	return out
}

func ready(t *testing.T) *debian {
	t.Helper()
	d, err := image()
	require.NoError(t, err)
	return d
}

func bounded(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// grype runs the command line on an SBOM, with the database as Temper keeps it.
func (d *debian) grype(t *testing.T, file string) []map[string]any {
	t.Helper()
	cmd := exec.CommandContext(bounded(t), tools.Path("grype"), "sbom:"+file, "--quiet", "--output", "json")
	cmd.Env = append(os.Environ(), "GRYPE_DB_CACHE_DIR="+d.options.Dir, "GRYPE_DB_AUTO_UPDATE=false", "GRYPE_DB_VALIDATE_AGE=false",
		"GRYPE_CHECK_FOR_APP_UPDATE=false", "XDG_CACHE_HOME="+t.TempDir(), "XDG_CONFIG_HOME="+t.TempDir())
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.NoError(t, err, "%s", stderr.String())
	return matches(t, out)
}

// matches are the matches of a document of Grype's, in an order of their own.
func matches(t *testing.T, dt []byte) []map[string]any {
	t.Helper()
	var doc struct{ Matches []map[string]any }
	require.NoError(t, json.Unmarshal(dt, &doc))
	key := func(m map[string]any) string {
		v, a := m["vulnerability"].(map[string]any), m["artifact"].(map[string]any)
		return fmt.Sprint(v["id"], v["namespace"], a["name"], a["version"], a["type"], a["id"])
	}
	slices.SortFunc(doc.Matches, func(a, b map[string]any) int { return strings.Compare(key(a), key(b)) })
	return doc.Matches
}

// The library, from the catalogue in memory, finds exactly what the command line
// finds in the same catalogue as a file, down to the last field.
func TestAgreesWithGrype(t *testing.T) {
	d := ready(t)
	file := filepath.Join(t.TempDir(), "syft.json")
	f, err := os.Create(file)
	require.NoError(t, err)
	require.NoError(t, syftjson.NewFormatEncoder().Encode(f, *d.sbom))
	require.NoError(t, f.Close())

	began := time.Now()
	theirs := d.grype(t, file)
	command := time.Since(began)

	began = time.Now()
	db, err := vulndb.Open(t.Context(), d.options, built)
	require.NoError(t, err)
	defer db.Close()
	opened := time.Since(began)
	r, err := scan.Match(t.Context(), d.sbom, db, scan.Options{})
	require.NoError(t, err)
	dt, err := r.Format(scan.FormatJSON)
	require.NoError(t, err)
	ours := matches(t, dt)
	t.Logf("%d packages, %d matches: grype %s; temper %s, of which %s to open the database", r.Packages, len(ours), command, time.Since(began), opened)

	require.Greater(t, len(ours), 100)
	require.Equal(t, theirs, ours)
}

// Grype finds the same in the bills of materials that Temper writes.
func TestGrypeReadsOurSBOMs(t *testing.T) {
	d := ready(t)
	db, err := vulndb.Open(t.Context(), d.options, built)
	require.NoError(t, err)
	defer db.Close()
	r, err := scan.Match(t.Context(), d.sbom, db, scan.Options{})
	require.NoError(t, err)
	var want []string
	for _, f := range r.Findings {
		want = append(want, f.ID+" "+f.Package.Name+" "+f.Package.Version+" "+strings.ToLower(f.Severity.String()))
	}
	slices.Sort(want)
	img := d.set.Images[0]
	list, err := sbom.Artifacts(d.sbom, sbom.Facts{
		Subject: sbom.Subject{Name: img.Name, Digest: img.Digest, Platform: img.Platform}, Epoch: img.Created,
	}, sbom.Options{Formats: sbom.Formats()})
	require.NoError(t, err)
	for _, a := range list {
		t.Run(a.Name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), a.Name)
			require.NoError(t, os.WriteFile(file, a.Data, 0o644))
			var got []string
			for _, m := range d.grype(t, file) {
				v, p := m["vulnerability"].(map[string]any), m["artifact"].(map[string]any)
				got = append(got, fmt.Sprintf("%s %s %s %s", v["id"], p["name"], p["version"], strings.ToLower(v["severity"].(string))))
			}
			slices.Sort(got)
			require.Equal(t, want, got)

			own, err := scan.File(t.Context(), file, db, scan.Options{})
			require.NoError(t, err)
			require.Len(t, own.Findings, len(want))
		})
	}
}
