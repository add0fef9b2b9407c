package conformance

import (
	"bufio"
	"embed"
	"fmt"
	"maps"
	"slices"
	"strings"
)

//go:embed expected-failures-*.txt
var lists embed.FS

// Mode says which frontend is tested, and how.
type Mode string

// The modes.
const (
	// Stock is BuildKit's own frontend: the baseline.
	Stock Mode = "stock"
	// Off is Temper's frontend with hardening off, which must behave as Stock.
	Off Mode = "off"
	// Exclusive is Temper's frontend with hardening at its default level.
	Exclusive Mode = "exclusive"
)

// Failure is a test that is expected to fail.
type Failure struct {
	Reason string
	// Sometimes says that it depends on the machine.
	Sometimes bool
}

// Expected reads the list of tests that are expected to fail in a mode, by name.
// A line is a test's name, a "?" if it fails on some machines only, white space
// and the reason; empty lines and lines that start with "#" are skipped.
func Expected(mode Mode) (map[string]Failure, error) {
	file := "expected-failures-" + string(mode) + ".txt"
	f, err := lists.Open(file)
	if err != nil {
		return nil, fmt.Errorf("no list of expected failures for mode %q: %w", mode, err)
	}
	defer f.Close()
	expected := map[string]Failure{}
	sc := bufio.NewScanner(f)
	for n := 1; sc.Scan(); n++ {
		line := strings.TrimSpace(sc.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		name, reason, _ := strings.Cut(line, " ")
		if reason = strings.TrimSpace(reason); reason == "" {
			return nil, fmt.Errorf("%s:%d: %s has no reason", file, n, name)
		}
		name, sometimes := strings.CutSuffix(name, "?")
		if _, twice := expected[name]; twice {
			return nil, fmt.Errorf("%s:%d: %s is listed twice", file, n, name)
		}
		expected[name] = Failure{Reason: reason, Sometimes: sometimes}
	}
	if err := sc.Err(); err != nil {
		return nil, fmt.Errorf("read %s: %w", file, err)
	}
	return expected, nil
}

// Verdict compares results with what was expected.
type Verdict struct {
	Passed, Failed, Skipped int
	// UnexpectedFail lists tests that failed and are not in the list.
	UnexpectedFail []string
	// UnexpectedPass lists tests of the list that did not fail.
	UnexpectedPass []string
	// Unknown lists names of the list that no test has.
	Unknown []string
}

// OK says that the results are exactly what was expected.
func (v Verdict) OK() bool {
	return len(v.UnexpectedFail)+len(v.UnexpectedPass)+len(v.Unknown) == 0
}

// Judge compares results, by test name, with the expected failures.
func Judge(results map[string]Outcome, expected map[string]Failure) Verdict {
	var v Verdict
	for _, name := range slices.Sorted(maps.Keys(results)) {
		switch results[name] {
		case Pass:
			v.Passed++
		case Skip:
			v.Skipped++
		case Fail:
			v.Failed++
		}
		if failure, listed := expected[name]; listed && results[name] != Fail {
			if failure.Sometimes {
				continue
			}
			v.UnexpectedPass = append(v.UnexpectedPass, name)
		} else if !listed && results[name] == Fail {
			v.UnexpectedFail = append(v.UnexpectedFail, name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(expected)) {
		if _, ok := results[name]; !ok {
			v.Unknown = append(v.Unknown, name)
		}
	}
	return v
}
