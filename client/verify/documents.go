package verify

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	digest "github.com/opencontainers/go-digest"

	"github.com/temper-images/temper/client/gate"
	"github.com/temper-images/temper/client/inspect"
	"github.com/temper-images/temper/client/vex"
	"github.com/temper-images/temper/hardening/spec"
)

// about says whether a document that names a digest means the subject: by its own
// digest, or by that of the index that was asked for.
func (x *examination) about(d string) bool {
	return d == x.desc.Digest.String() || d == x.top.String()
}

// scanned is what a vulnerability predicate says
// (sigstore/cosign, specs/COSIGN_VULN_ATTESTATION_SPEC.md).
type scanned struct {
	Scanner struct {
		URI     string `json:"uri"`
		Version string `json:"version"`
		DB      struct {
			Version    string `json:"version"`
			LastUpdate string `json:"lastUpdate"`
		} `json:"db"`
		Result json.RawMessage `json:"result"`
	} `json:"scanner"`
	Metadata struct {
		Finished string `json:"scanFinishedOn"`
	} `json:"metadata"`
}

// knowledge is of when what the scan knew is: of the vulnerability database where the
// predicate says it, and otherwise of the scan. It is zero when nobody says it.
func (s *scanned) knowledge() time.Time {
	if t, err := time.Parse(time.RFC3339, s.Scanner.DB.LastUpdate); err == nil {
		return t.UTC()
	}
	// "v6.1.10-20260504030201"
	if i := strings.LastIndexByte(s.Scanner.DB.Version, '-'); i >= 0 {
		if t, err := time.Parse("20060102150405", s.Scanner.DB.Version[i+1:]); err == nil {
			return t.UTC()
		}
	}
	if t, err := time.Parse(time.RFC3339, s.Metadata.Finished); err == nil {
		return t.UTC()
	}
	return time.Time{}
}

// scans judges the newest scan.
func (x *examination) scans() (string, error) {
	var newest *scanned
	var wrong error
	for _, s := range x.said[Scan] {
		var doc scanned
		if err := json.Unmarshal(s.predicate, &doc); err != nil {
			wrong = fmt.Errorf("it is no scan: %w", err)
			continue
		}
		if doc.Scanner.URI == "" && len(doc.Scanner.Result) == 0 {
			wrong = errors.New("it is no scan: it names no scanner and has no result")
			continue
		}
		if newest == nil || doc.knowledge().After(newest.knowledge()) {
			newest = &doc
		}
	}
	if newest == nil {
		return "", wrong
	}
	at := newest.knowledge()
	detail := cmp.Or(newest.Scanner.URI, "a scanner without a name")
	if at.IsZero() {
		detail += ", of a time that it does not say"
	} else {
		detail += ", with the knowledge of " + at.Format(time.DateOnly)
	}
	limit, err := x.Policy.Scan.MaxAge.Duration()
	if err != nil || limit == 0 {
		return detail, err
	}
	age := x.Now.Sub(at)
	switch {
	case at.IsZero():
		return "", fmt.Errorf("%s: it may be %s old", detail, x.Policy.Scan.MaxAge)
	case age > limit:
		return "", fmt.Errorf("%s: it is %s old, and may be %s old: scan the image again and attest that", detail, days(age), x.Policy.Scan.MaxAge)
	case age < -24*time.Hour:
		return "", fmt.Errorf("%s: that is %s from now", detail, days(-age))
	}
	return detail, nil
}

func days(d time.Duration) string {
	if d < 48*time.Hour {
		return fmt.Sprintf("%.0f hours", d.Hours())
	}
	return fmt.Sprintf("%d days", int(d/(24*time.Hour)))
}

// verdicts orders what a gate decided, the worst first.
var verdicts = []string{"fail", "warn", "pass"}

// gate judges what the vulnerability gate decided last.
func (x *examination) gate() (Verdict, string, error) {
	var last *gate.Result
	var wrong error
	for _, s := range x.said[Gate] {
		var r gate.Result
		if err := json.Unmarshal(s.predicate, &r); err != nil {
			wrong = fmt.Errorf("it is no document of the gate: %w", err)
			continue
		}
		switch {
		case r.Subject.Digest != "" && !x.about(r.Subject.Digest):
			wrong = fmt.Errorf("it is about another image, %s", r.Subject.Digest)
			continue
		case r.Mode != gate.ModeFail && r.Mode != gate.ModeWarn && r.Mode != gate.ModeOff:
			wrong = errors.New("it is no document of the gate: it does not say what the gate was set to")
			continue
		}
		if last == nil || newer(&r, last) {
			last = &r
		}
	}
	if last == nil {
		return Fail, "", wrong
	}
	day := "on " + last.Judged.String()
	switch {
	case last.Mode == gate.ModeOff:
		return Fail, "", fmt.Errorf("the gate was off %s and decided nothing", day)
	case !last.Passed:
		return Fail, "", fmt.Errorf("the gate refused the image %s: %s", day, counting(last))
	case last.Counts.Counts > 0 && x.Policy.Gate.Accept == AcceptPass:
		return Fail, "", fmt.Errorf("the gate let the image pass with a warning %s: %s", day, counting(last))
	case last.Counts.Counts > 0:
		return Warn, fmt.Sprintf("the gate warned %s: %s", day, counting(last)), nil
	}
	return Pass, fmt.Sprintf("passed %s (%d findings, %d excused, %d excepted)", day, len(last.Decisions), last.Counts.Excused, last.Counts.Excepted), nil
}

func counting(r *gate.Result) string {
	if r.Counts.Counts == 1 {
		return "1 vulnerability counts"
	}
	return fmt.Sprintf("%d vulnerabilities count", r.Counts.Counts)
}

// newer says whether a decides over b: the later day, and of one day the worse
// decision.
func newer(a, b *gate.Result) bool {
	if c := strings.Compare(a.Judged.String(), b.Judged.String()); c != 0 {
		return c > 0
	}
	return slices.Index(verdicts, a.Verdict()) < slices.Index(verdicts, b.Verdict())
}

// outcomes orders what an inspection came to, the worst first; what is none of them
// is worse.
var outcomes = []string{inspect.Refused, inspect.Warned, inspect.Passed}

// inspection judges the last inspection.
func (x *examination) inspection() (Verdict, string, error) {
	var last *inspect.Document
	var wrong error
	for _, s := range x.said[Inspection] {
		d, err := inspect.Read(bytes.NewReader(s.predicate))
		if err != nil {
			wrong = err
			continue
		}
		if d.Image.Digest != "" && !x.about(d.Image.Digest) {
			wrong = fmt.Errorf("it is about another image, %s", d.Image.Digest)
			continue
		}
		if last == nil || d.Date > last.Date || d.Date == last.Date && slices.Index(outcomes, d.Outcome) < slices.Index(outcomes, last.Outcome) {
			last = d
		}
	}
	switch {
	case last == nil:
		return Fail, "", wrong
	case last.Outcome == inspect.Passed:
		return Pass, "passed on " + last.Date, nil
	case last.Outcome == inspect.Warned:
		return Warn, count(last.Warnings(), "warning") + " on " + last.Date, nil
	}
	return Fail, "", fmt.Errorf("the image was refused on %s: %s", last.Date, count(last.Failures(), "finding"))
}

// hardening judges the hardening reports. Each must have kept its promises.
func (x *examination) hardening() (string, error) {
	var detail string
	for _, s := range x.said[Hardening] {
		r, err := spec.ReadReport(bytes.NewReader(s.predicate))
		if err != nil {
			return "", err
		}
		if len(r.Checks) == 0 {
			return "", errors.New("the hardened file system was not checked")
		}
		for _, c := range r.Checks {
			if !c.Passed {
				return "", fmt.Errorf("a promise was not kept: %s", c.Statement)
			}
		}
		detail = fmt.Sprintf("level %s, %d of %d files left, %d checks passed", r.Level, r.After.Files, r.Before.Files, len(r.Checks))
	}
	return detail, nil
}

// vex reads the VEX documents.
func (x *examination) vex() (string, error) {
	for _, s := range x.said[VEX] {
		if _, err := vex.Read("attestation", s.predicate); err != nil {
			return "", err
		}
	}
	return count(len(x.said[VEX]), "document"), nil
}

// tests judges test results. Each must have passed.
func (x *examination) tests() (Verdict, string, error) {
	passed, warned := 0, 0
	for _, s := range x.said[Test] {
		var r struct {
			Result string   `json:"result"`
			Passed []string `json:"passedTests"`
			Failed []string `json:"failedTests"`
		}
		if err := json.Unmarshal(s.predicate, &r); err != nil {
			return Fail, "", fmt.Errorf("it is no test result: %w", err)
		}
		switch {
		case r.Result == "WARNED" && len(r.Failed) == 0:
			warned++
		case r.Result != "PASSED" || len(r.Failed) > 0:
			return Fail, "", fmt.Errorf("the result is %.20q, and %s failed", r.Result, count(len(r.Failed), "test"))
		}
		passed += len(r.Passed)
	}
	detail := fmt.Sprintf("%s, %s passed", count(len(x.said[Test]), "result"), count(passed, "test"))
	if warned > 0 {
		return Warn, detail + ", with warnings", nil
	}
	return Pass, detail, nil
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// digestOf is the digest in a list of hexadecimal SHA-256 sums and the like.
func digestOf(algorithm, hex string) string {
	alg := strings.ToLower(strings.ReplaceAll(algorithm, "-", ""))
	d := digest.Digest(alg + ":" + strings.ToLower(hex))
	if d.Validate() != nil {
		return ""
	}
	return d.String()
}
