package conformance

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Outcome is how a test ended.
type Outcome string

// The outcomes, in the words of test2json.
const (
	Pass Outcome = "pass"
	Fail Outcome = "fail"
	Skip Outcome = "skip"
	// Unfinished is a test that began and never ended, because the run broke off.
	Unfinished Outcome = "run"
)

// What stands in the name of every test of the suite:
// TestIntegration/TestX/worker=oci/frontend=gateway.
const (
	prefix   = "TestIntegration/"
	worker   = "/worker=oci"
	frontend = "frontend=gateway"
)

// settings are the keys under which the suite runs a test several times; other
// parts of a name are steps inside a test, which end as the test does.
var settings = []string{"env", "network.host", "security.insecure"}

// event is a line of "go tool test2json".
type event struct {
	Action string
	Test   string
	Output string
}

// Parse reads the events of a test run and returns how each test of the suite
// ended, by its short name: TestX, or TestX/key=value where the suite runs a test
// under several settings. log gets the tests' output.
func Parse(r io.Reader, log io.Writer) (map[string]Outcome, error) {
	results := map[string]Outcome{}
	dec := json.NewDecoder(r)
	for {
		var e event
		err := dec.Decode(&e)
		if errors.Is(err, io.EOF) {
			return results, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read test events: %w", err)
		}
		if e.Action == "output" {
			if _, err := io.WriteString(log, e.Output); err != nil {
				return nil, fmt.Errorf("write test log: %w", err)
			}
			continue
		}
		name, ok := shortName(e.Test)
		if !ok {
			continue
		}
		switch outcome := Outcome(e.Action); outcome {
		case Unfinished, Pass, Fail, Skip:
			results[name] = outcome
		}
	}
}

// shortName cuts what all names share, and refuses what is no test of the suite.
func shortName(full string) (string, bool) {
	name, ok := strings.CutPrefix(full, prefix)
	if !ok {
		return "", false
	}
	test, rest, ok := strings.Cut(name, worker)
	if !ok {
		return "", false
	}
	for part := range strings.SplitSeq(strings.TrimPrefix(rest, "/"), "/") {
		if part == "" || part == frontend {
			continue
		}
		key, _, _ := strings.Cut(part, "=")
		if !slices.Contains(settings, key) {
			return "", false
		}
		test += "/" + part
	}
	return test, true
}
