package gate

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/client/finding"
	"github.com/temper-images/temper/frontend/config"
)

var (
	update = flag.Bool("update", false, "rewrite golden files")
	now    = time.Date(2026, 5, 5, 23, 59, 0, 0, time.UTC)
)

func day(s string) Date {
	d, err := ParseDate(s)
	if err != nil {
		panic(err)
	}
	return d
}

func found(id string, s finding.Severity, change ...func(*finding.Finding)) *finding.Finding {
	f := &finding.Finding{
		ID: id, Severity: s, Fix: finding.Fix{State: finding.FixAvailable, Versions: []string{"3.0.16"}, Since: day("2026-05-01").midnight},
		Package: finding.Package{Name: "libssl3", Version: "3.0.15-1~deb12u1", Type: "deb", Sources: []string{"openssl"}, PURL: "pkg:deb/debian/libssl3@3.0.15-1~deb12u1?arch=amd64"},
	}
	for _, c := range change {
		c(f)
	}
	return f
}

func unfixed(f *finding.Finding) { f.Fix = finding.Fix{State: finding.FixNone} }

func exploited(f *finding.Finding) { f.Exploited = &finding.Exploited{Added: "2026-01-12"} }

func likely(f *finding.Finding) { f.EPSS = &finding.EPSS{Probability: 0.6} }

func undated(f *finding.Finding) { f.Fix.Since = time.Time{} }

func TestRules(t *testing.T) {
	week := Policy{Grace: 7 * 24 * time.Hour}
	tests := []struct {
		name          string
		policy        Policy
		finding       *finding.Finding
		verdict, rule string
	}{
		{"critical with a fix", Policy{}, found("A", finding.Critical), Counts, RuleSeverity},
		{"high with a fix", Policy{}, found("A", finding.High), Counts, RuleSeverity},
		{"medium", Policy{}, found("A", finding.Medium), Passes, RuleSeverity},
		{"high without a fix", Policy{}, found("A", finding.High, unfixed), Passes, RuleUnfixed},
		{"high without a fix, all wanted", Policy{Unfixed: true}, found("A", finding.High, unfixed), Counts, RuleSeverity},
		{"medium wanted", Policy{Severities: []finding.Severity{finding.Medium}}, found("A", finding.Medium), Counts, RuleSeverity},
		{"high not wanted", Policy{Severities: []finding.Severity{finding.Medium}}, found("A", finding.High), Passes, RuleSeverity},
		{"nothing wanted", Policy{Severities: []finding.Severity{}}, found("A", finding.Critical), Passes, RuleSeverity},
		{"low and exploited", Policy{}, found("A", finding.Low, exploited), Counts, RuleExploited},
		{"low, exploited, without a fix", Policy{}, found("A", finding.Low, exploited, unfixed), Counts, RuleExploited},
		{"exploited in grace", week, found("A", finding.Low, exploited), Counts, RuleExploited},
		{"exploited as any other", Policy{IgnoreExploited: true}, found("A", finding.Low, exploited), Passes, RuleSeverity},
		{"likely", Policy{EPSS: 0.5}, found("A", finding.Low, likely), Counts, RuleEPSS},
		{"likely, at the threshold", Policy{EPSS: 0.6}, found("A", finding.Low, likely), Counts, RuleEPSS},
		{"not so likely", Policy{EPSS: 0.7}, found("A", finding.Low, likely), Passes, RuleSeverity},
		{"likely without a fix", Policy{EPSS: 0.5}, found("A", finding.Low, likely, unfixed), Passes, RuleUnfixed},
		{"likelihood decides nothing", Policy{}, found("A", finding.Low, likely), Passes, RuleSeverity},
		{"in grace", week, found("A", finding.High), Passes, RuleGrace},
		{"after grace", Policy{Grace: 4 * 24 * time.Hour}, found("A", finding.High), Counts, RuleSeverity},
		{"grace of an unknown date", week, found("A", finding.High, undated), Counts, RuleSeverity},
		{"grace without a fix", Policy{Grace: week.Grace, Unfixed: true}, found("A", finding.High, unfixed), Counts, RuleSeverity},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r, err := Judge(tt.policy, Input{Findings: []*finding.Finding{tt.finding}}, now)
			require.NoError(t, err)
			require.Len(t, r.Decisions, 1)
			require.Equal(t, tt.verdict, r.Decisions[0].Verdict)
			require.Equal(t, tt.rule, r.Decisions[0].Rule)
			require.NotEmpty(t, r.Decisions[0].Reason)
			require.Equal(t, tt.verdict != Counts, r.Passed)
		})
	}
}

func TestExceptions(t *testing.T) {
	f := found("GHSA-1", finding.High, func(f *finding.Finding) { f.Aliases = []string{"CVE-2025-0001"} })
	tests := []struct {
		name    string
		e       Exception
		verdict string
		used    bool
	}{
		{"by identifier", Exception{Vulnerability: "GHSA-1"}, Excepted, true},
		{"by alias", Exception{Vulnerability: "cve-2025-0001"}, Excepted, true},
		{"by package", Exception{Package: "libssl3"}, Excepted, true},
		{"by source package", Exception{Package: "openssl"}, Excepted, true},
		{"by glob", Exception{Package: "libssl*"}, Excepted, true},
		{"by package URL", Exception{Package: "pkg:deb/debian/libssl3"}, Excepted, true},
		{"by package URL with version", Exception{Package: "pkg:deb/debian/libssl3@3.0.15-1~deb12u1"}, Excepted, true},
		{"by version", Exception{Package: "libssl3", Version: "3.0.15-*"}, Excepted, true},
		{"both", Exception{Vulnerability: "CVE-2025-0001", Package: "openssl"}, Excepted, true},
		{"other identifier", Exception{Vulnerability: "CVE-2025-0002"}, Counts, false},
		{"other package", Exception{Vulnerability: "CVE-2025-0001", Package: "zlib1g"}, Counts, false},
		{"other version", Exception{Package: "libssl3", Version: "3.1.*"}, Counts, false},
		{"other package URL", Exception{Package: "pkg:deb/debian/libssl3@3.1"}, Counts, false},
		{"on its last day", Exception{Vulnerability: "GHSA-1", Expires: day("2026-05-05")}, Excepted, true},
		{"expired", Exception{Vulnerability: "GHSA-1", Expires: day("2026-05-04")}, Counts, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e := tt.e
			e.Reason = "not reachable"
			if e.Expires.IsZero() {
				e.Expires = day("2026-06-01")
			}
			r, err := Judge(Policy{Exceptions: []Exception{e}}, Input{Findings: []*finding.Finding{f}}, now)
			require.NoError(t, err)
			d := r.Decisions[0]
			require.Equal(t, tt.verdict, d.Verdict)
			require.Equal(t, tt.used, len(r.Warnings) == 0, "%v", r.Warnings)
			require.Equal(t, tt.used, d.Exception != nil, "what applied is recorded")
			if tt.name == "expired" {
				require.ErrorContains(t, r.Err(), "the exception for it expired on 2026-05-04")
			}
			if !tt.used {
				require.Contains(t, r.Warnings[0], "matches nothing")
			}
		})
	}
	t.Run("a good one beside an expired one", func(t *testing.T) {
		r, err := Judge(Policy{Exceptions: []Exception{
			{Vulnerability: "GHSA-1", Reason: "old", Expires: day("2026-01-01")}, {Package: "openssl", Reason: "new", Expires: day("2026-06-01")},
		}}, Input{Findings: []*finding.Finding{f}}, now)
		require.NoError(t, err)
		require.True(t, r.Passed)
		require.Equal(t, "until 2026-06-01: new", r.Decisions[0].Reason)
		require.Empty(t, r.Warnings)
	})
}

func TestPolicyErrors(t *testing.T) {
	good := Exception{Vulnerability: "CVE-1", Reason: "r", Expires: day("2026-06-01")}
	with := func(change func(*Exception)) Policy {
		e := good
		change(&e)
		return Policy{Exceptions: []Exception{good, e}}
	}
	tests := []struct {
		field  string
		policy Policy
	}{
		{"scan.gate", Policy{Mode: "maybe"}},
		{"scan.epss", Policy{EPSS: 1.5}},
		{"scan.grace", Policy{Grace: -1}},
		{"scan.exceptions[1]", with(func(e *Exception) { e.Vulnerability = "" })},
		{"scan.exceptions[1].package", with(func(e *Exception) { e.Vulnerability, e.Package = "", "**" })},
		{"scan.exceptions[1].package", with(func(e *Exception) { e.Package = "pkg:nothing" })},
		{"scan.exceptions[1].package", with(func(e *Exception) { e.Package = "[" })},
		{"scan.exceptions[1].version", with(func(e *Exception) { e.Version = "[" })},
		{"scan.exceptions[1].reason", with(func(e *Exception) { e.Reason = " " })},
		{"scan.exceptions[1].expires", with(func(e *Exception) { e.Expires = Date{} })},
	}
	for _, tt := range tests {
		_, err := Judge(tt.policy, Input{}, now)
		var bad *PolicyError
		require.ErrorAs(t, err, &bad)
		require.Equal(t, tt.field, bad.Field)
	}
}

func TestModes(t *testing.T) {
	in := Input{Findings: []*finding.Finding{found("A", finding.High)}, Uncovered: "nothing is known of plan9 4", Distribution: "plan9 4"}
	for mode, passed := range map[Mode]bool{"": false, ModeFail: false, ModeWarn: true, ModeOff: true} {
		r, err := Judge(Policy{Mode: mode}, in, now)
		require.NoError(t, err)
		require.Equal(t, passed, r.Passed, "%q", mode)
		require.Equal(t, passed, r.Err() == nil)
		require.NotEmpty(t, r.Summary())
	}
	r, err := Judge(Policy{Mode: ModeWarn}, in, now)
	require.NoError(t, err)
	require.Equal(t, 2, r.Counts.Counts)
	require.Contains(t, r.Summary(), "the gate warns: 2 of 2")
}

// A database that knows nothing of the distribution is no good news, unless
// somebody says so.
func TestUncovered(t *testing.T) {
	in := Input{Uncovered: "the database has no records of plan9 4", Distribution: "plan9 4"}
	r, err := Judge(Policy{}, in, now)
	require.NoError(t, err)
	require.ErrorContains(t, r.Err(), "no records of plan9 4")
	p := Policy{Exceptions: []Exception{{Vulnerability: Uncovered, Reason: "we watch it by hand", Expires: day("2026-06-01")}}}
	r, err = Judge(p, in, now)
	require.NoError(t, err)
	require.NoError(t, r.Err())
	require.Equal(t, Excepted, r.Decisions[0].Verdict)
}

func TestDocument(t *testing.T) {
	excused := found("CVE-2025-0003", finding.High, func(f *finding.Finding) {
		f.Statement = &finding.Statement{
			Document: "vex.json", Digest: "sha256:00", ID: "https://example.com/v#1", Status: finding.NotAffected,
			Justification: "component_not_present", Time: day("2026-05-01").midnight, Product: "pkg:oci/app",
		}
	})
	p := Policy{EPSS: 0.5, Exceptions: []Exception{
		{Vulnerability: "CVE-2025-0002", Reason: "not reachable", Expires: day("2026-06-01")},
		{Vulnerability: "CVE-2025-0003", Reason: "excused as well", Expires: day("2026-06-01")},
		{Package: "nothing", Reason: "forgotten", Expires: day("2026-06-01")},
	}}
	in := Input{
		Subject: Subject{Name: "app", Digest: "sha256:11", Platform: "linux/amd64"}, Database: Database{Built: day("2026-05-04").midnight, Schema: "6.1.10"},
		Findings: []*finding.Finding{
			found("CVE-2025-0001", finding.Critical, exploited, likely), found("CVE-2025-0002", finding.High), found("CVE-2025-0004", finding.Low),
		},
		Excused: []*finding.Finding{excused},
	}
	r, err := Judge(p, in, now)
	require.NoError(t, err)
	require.Equal(t, Totals{Counts: 1, Excepted: 1, Excused: 1, Passes: 1}, r.Counts)
	require.Equal(t, []string{"the exception for nothing matches nothing that was found: remove it"}, r.Warnings)
	a, err := r.Artifact("app", "amd64")
	require.NoError(t, err)
	require.NoError(t, a.Validate())
	require.Equal(t, "gate-app-amd64.json", a.Name)
	file := filepath.Join("testdata", a.Name)
	if *update {
		require.NoError(t, os.MkdirAll("testdata", 0o755))
		require.NoError(t, os.WriteFile(file, a.Data, 0o644))
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, string(want), string(a.Data))

	var refused *RefusedError
	require.ErrorAs(t, r.Err(), &refused)
	for _, word := range []string{
		"app (linux/amd64)", "CVE-2025-0001 in libssl3 3.0.15-1~deb12u1, fixed in 3.0.16: it is known to be exploited since 2026-01-12",
		"--vex", "scan.exceptions",
	} {
		require.ErrorContains(t, refused, word)
	}
}

func TestLongRefusal(t *testing.T) {
	var list []*finding.Finding
	for i := range 50 {
		list = append(list, found(fmt.Sprintf("CVE-2025-%04d", i), finding.High, func(f *finding.Finding) { f.Package.Name = "a\x1b[2Jb" }))
	}
	r, err := Judge(Policy{}, Input{Subject: Subject{Name: "app"}, Findings: list}, now)
	require.NoError(t, err)
	require.ErrorContains(t, r.Err(), "and 30 more")
	require.NotContains(t, r.Err().Error(), "\x1b")
	require.Equal(t, Totals{Counts: 50}, r.Counts)
}

func TestFromConfig(t *testing.T) {
	p, err := FromConfig(config.Scan{
		Gate: config.GateWarn, Severities: []string{"low"}, Fixed: true, Exploited: true, EPSS: 0.1, Grace: 3,
		Exceptions: []config.Exception{{ID: "CVE-1", Match: "openssl", Version: "3.*", Reason: "r", Expires: "2026-06-01"}},
	})
	require.NoError(t, err)
	require.Equal(t, Policy{
		Mode: ModeWarn, Severities: []finding.Severity{finding.Low}, EPSS: 0.1, Grace: 72 * time.Hour,
		Exceptions: []Exception{{Vulnerability: "CVE-1", Package: "openssl", Version: "3.*", Reason: "r", Expires: day("2026-06-01")}},
	}, p)
	for _, bad := range []config.Scan{
		{Severities: []string{"fatal"}}, {Exceptions: []config.Exception{{ID: "CVE-1", Reason: "r", Expires: "soon"}}}, {EPSS: 2},
	} {
		_, err := FromConfig(bad)
		var policy *PolicyError
		require.ErrorAs(t, err, &policy)
	}
}
