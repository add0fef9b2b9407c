package scan

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/anchore/syft/syft/format/syftjson"
	"github.com/anchore/syft/syft/linux"
	"github.com/anchore/syft/syft/pkg"
	"github.com/anchore/syft/syft/sbom"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/client/finding"
	"github.com/temper-images/temper/client/scan/scantest"
	"github.com/temper-images/temper/client/vex"
	"github.com/temper-images/temper/client/vulndb"
	"github.com/temper-images/temper/client/vulndb/vulndbtest"
	"github.com/temper-images/temper/hardening/spec"
)

var (
	update = flag.Bool("update", false, "rewrite golden files")
	epoch  = time.Date(2026, 5, 5, 6, 7, 8, 0, time.UTC)
	db     *vulndb.Database
)

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "scan-test-")
		if err != nil {
			panic(err)
		}
		defer os.RemoveAll(dir)
		built, err := vulndbtest.Build(filepath.Join(dir, "build"), scantest.Built, scantest.Records())
		if err != nil {
			panic(err)
		}
		db, err = vulndb.Open(context.Background(), vulndb.Options{Dir: filepath.Join(dir, "cache"), Source: built.Archive}, scantest.Built)
		if err != nil {
			panic(err)
		}
		defer db.Close()
		return m.Run()
	}())
}

func scanned(t *testing.T, s *sbom.SBOM, o Options) *Result {
	t.Helper()
	o.Time = epoch
	r, err := Match(t.Context(), s, db, o)
	require.NoError(t, err)
	return r
}

func ids(list []*finding.Finding) []string {
	var out []string
	for _, f := range list {
		out = append(out, f.ID+" "+f.Package.Name)
	}
	return out
}

func TestMatch(t *testing.T) {
	r := scanned(t, scantest.Catalogue(), Options{})
	require.Equal(t, []string{
		"CVE-2025-0001 libssl3", "CVE-2025-0004 libssl3", "CVE-2025-0003 zlib1g", "CVE-2025-0002 zlib1g", "GO-2025-0006 example.com/parser",
	}, ids(r.Findings))
	require.Equal(t, 4, r.Packages, "the Python that a package owns is not counted twice")
	require.Equal(t, "debian 12", r.Distribution)
	require.Empty(t, r.Warnings)
	require.Equal(t, scantest.Built, r.Database.Built)

	f := r.Findings[0]
	require.Equal(t, finding.Critical, f.Severity)
	require.Equal(t, []string{"openssl"}, f.Package.Sources)
	require.Equal(t, finding.Fix{State: "fixed", Versions: []string{"3.0.16-1~deb12u1"}, Since: time.Date(2026, 1, 10, 0, 0, 0, 0, time.UTC)}, f.Fix)
	require.InDelta(t, 0.9, f.EPSS.Probability, 1e-9)
	require.Equal(t, "2026-01-12", f.Exploited.Added)
	require.Positive(t, f.Risk)
	require.Equal(t, finding.FixNone, r.Findings[2].Fix.State)
	require.Equal(t, []string{"CVE-2025-0006"}, r.Findings[4].Aliases)
	require.Equal(t, []string{"1.4.0"}, r.Findings[4].Fix.Versions)
}

func TestDocuments(t *testing.T) {
	d, err := vex.Read("vex.json", []byte(`{"@context": "https://openvex.dev/ns/v0.2.0", "@id": "https://example.com/v", "timestamp": "2026-05-01T00:00:00Z",
		"statements": [{"vulnerability": {"name": "CVE-2025-0002"}, "products": [{"@id": "pkg:oci/app"}], "status": "not_affected", "justification": "vulnerable_code_not_in_execute_path"}]}`))
	require.NoError(t, err)
	o := Options{VEX: []*vex.Document{d}, Image: vex.Image{Name: "app"}}
	var first [][]byte
	for range 8 {
		r := scanned(t, scantest.Catalogue(), o)
		require.Equal(t, []string{"CVE-2025-0002 zlib1g"}, ids(r.Excused))
		list, err := r.Artifacts("app", "amd64", "linux/amd64")
		require.NoError(t, err)
		table, err := r.Format(FormatTable)
		require.NoError(t, err)
		var all [][]byte
		for _, a := range list {
			require.NoError(t, a.Validate())
			all = append(all, a.Data)
		}
		all = append(all, table)
		if first == nil {
			first = all
		}
		require.Equal(t, first, all, "equal input gives equal bytes")
	}
	for i, name := range []string{"scan-app-amd64.json", "scan-app-amd64.sarif", "vuln-app-amd64.json", "table.txt"} {
		golden(t, name, first[i])
	}
	require.Contains(t, string(first[0]), `"reason": "statement https://example.com/v#1 of vex.json (`)
	require.NotContains(t, string(first[0]), os.TempDir())
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	// The database's identity changes with the builder's clock.
	got = bytes.ReplaceAll(got, []byte(db.Archive), []byte("sha256:DATABASE"))
	file := filepath.Join("testdata", name)
	if *update {
		require.NoError(t, os.MkdirAll("testdata", 0o755))
		require.NoError(t, os.WriteFile(file, got, 0o644))
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, string(want), string(got))
}

// The catalogue may be encoded while it is matched.
func TestOnlyReads(t *testing.T) {
	s := scantest.Catalogue()
	s.Artifacts.LinuxDistribution.IDLike = []string{"rhel fedora", "centos"}
	encode := func() string {
		var b bytes.Buffer
		require.NoError(t, syftjson.NewFormatEncoder().Encode(&b, *s))
		return b.String()
	}
	before := encode()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() { scanned(t, s, Options{}) })
		wg.Go(func() { _ = encode() })
	}
	wg.Wait()
	require.Equal(t, before, encode())
}

func TestFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "syft.json")
	f, err := os.Create(file)
	require.NoError(t, err)
	require.NoError(t, syftjson.NewFormatEncoder().Encode(f, *scantest.Catalogue()))
	require.NoError(t, f.Close())
	r, err := File(t.Context(), file, db, Options{Time: epoch})
	require.NoError(t, err)
	require.Equal(t, ids(scanned(t, scantest.Catalogue(), Options{}).Findings), ids(r.Findings))

	require.NoError(t, os.WriteFile(file, []byte(`{"hello": "world"}`), 0o644))
	_, err = File(t.Context(), file, db, Options{})
	var input *InputError
	require.ErrorAs(t, err, &input)
	_, err = File(t.Context(), filepath.Join(t.TempDir(), "none"), db, Options{})
	require.ErrorAs(t, err, &input)
}

// Nothing found in a distribution that the database does not know is no good news.
func TestUncovered(t *testing.T) {
	s := scantest.Catalogue()
	s.Artifacts.LinuxDistribution = &linux.Release{ID: "debian", VersionID: "99"}
	r := scanned(t, s, Options{})
	require.Contains(t, r.Uncovered, "no records of debian 99")
	require.Equal(t, []string{r.Uncovered}, r.Warnings)
	s.Artifacts.LinuxDistribution = nil
	require.Contains(t, scanned(t, s, Options{}).Uncovered, "is not known")
	s.Artifacts.LinuxDistribution = &linux.Release{ID: "plan9", VersionID: "4"}
	require.Contains(t, scanned(t, s, Options{}).Uncovered, "plan9")
	s.Artifacts.Packages = pkg.NewCollection()
	require.Empty(t, scanned(t, s, Options{}).Uncovered, "there is nothing that it should know")
}

func TestRemoved(t *testing.T) {
	report := &spec.Report{Packages: []spec.Package{
		{Type: "deb", Name: "apt", Version: "2.6.1", Arch: "amd64", State: spec.PackageRemoved, Why: "package manager"},
		{Type: "deb", Name: "openssl", Version: "3.0.15-1~deb12u1", Arch: "amd64", State: spec.PackageRemoved},
		{Type: "deb", Name: "zlib1g", Version: "1:1.2.13.dfsg-1", Arch: "amd64", State: spec.PackageKept},
		{Type: "deb", Name: "bash", Version: "5", State: spec.PackageRemoved},
	}}
	got, err := Removed(t.Context(), scantest.Catalogue(), report, db)
	require.NoError(t, err)
	require.Equal(t, []vex.Removed{
		{PURL: "pkg:deb/debian/apt@2.6.1?arch=amd64&distro=debian-12", Why: "package manager", Vulnerabilities: []string{"CVE-2025-0009"}},
		{PURL: "pkg:deb/debian/openssl@3.0.15-1~deb12u1?arch=amd64&distro=debian-12", Vulnerabilities: []string{"CVE-2025-0001", "CVE-2025-0004"}},
	}, got)
	got, err = Removed(t.Context(), scantest.Catalogue(), nil, db)
	require.NoError(t, err)
	require.Empty(t, got)
}

func TestTableIsPlain(t *testing.T) {
	s := scantest.Catalogue()
	for p := range s.Artifacts.Packages.Enumerate(pkg.GoModulePkg) {
		s.Artifacts.Packages.Delete(p.ID())
		p.Version = "v1.3.9\x1b[2J"
		p.SetID()
		s.Artifacts.Packages.Add(p)
	}
	r := scanned(t, s, Options{})
	dt, err := r.Format(FormatTable)
	require.NoError(t, err)
	require.NotContains(t, string(dt), "\x1b")
	_, err = r.Format("xml")
	require.ErrorContains(t, err, `"xml"`)
}

func TestPredicate(t *testing.T) {
	r := scanned(t, scantest.Catalogue(), Options{})
	dt, err := r.Format(FormatCosign)
	require.NoError(t, err)
	var p struct {
		Scanner struct {
			URI    string
			Result struct{ Matches []any }
		}
		Metadata struct{ ScanStartedOn, ScanFinishedOn time.Time }
	}
	require.NoError(t, json.Unmarshal(dt, &p))
	require.Len(t, p.Scanner.Result.Matches, 5)
	require.Equal(t, epoch, p.Metadata.ScanStartedOn)
}

// The report keeps to the standard's schema, which Grype's module carries.
func TestSARIF(t *testing.T) {
	module, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "github.com/anchore/grype").Output()
	require.NoError(t, err)
	schema, err := jsonschema.NewCompiler().Compile(filepath.Join(strings.TrimSpace(string(module)), "grype/presenter/sarif/testdata/sarif-schema-2.1.0.json"))
	require.NoError(t, err)
	dt, err := scanned(t, scantest.Catalogue(), Options{}).Format(FormatSARIF)
	require.NoError(t, err)
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(dt))
	require.NoError(t, err)
	require.NoError(t, schema.Validate(doc))
}

// The version in the documents is the one that is linked.
func TestVersion(t *testing.T) {
	dt, err := os.ReadFile(filepath.Join("..", "..", "go.mod"))
	require.NoError(t, err)
	require.True(t, strings.Contains(string(dt), "github.com/anchore/grype "+grypeVersion+"\n"))
}
