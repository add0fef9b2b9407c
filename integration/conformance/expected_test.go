package conformance

import (
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestExpectedListsAreWellFormed(t *testing.T) {
	for _, mode := range []Mode{Stock, Off, Exclusive} {
		if _, err := Expected(mode); err != nil {
			t.Error(err)
		}
	}
}

func TestParse(t *testing.T) {
	events := `{"Action":"run","Test":"TestIntegration"}
{"Action":"run","Test":"TestIntegration/TestA/worker=oci/frontend=gateway"}
{"Action":"output","Test":"TestIntegration/TestA/worker=oci/frontend=gateway","Output":"words\n"}
{"Action":"run","Test":"TestIntegration/TestA/worker=oci/frontend=gateway/step"}
{"Action":"fail","Test":"TestIntegration/TestA/worker=oci/frontend=gateway/step"}
{"Action":"fail","Test":"TestIntegration/TestA/worker=oci/frontend=gateway"}
{"Action":"run","Test":"TestIntegration/TestB/worker=oci/env=simple/frontend=gateway/network.host=denied"}
{"Action":"pass","Test":"TestIntegration/TestB/worker=oci/env=simple/frontend=gateway/network.host=denied"}
{"Action":"run","Test":"TestIntegration/TestC/worker=oci/frontend=gateway"}
{"Action":"run","Test":"TestUnit"}
{"Action":"pass","Test":"TestUnit"}
`
	var log strings.Builder
	got, err := Parse(strings.NewReader(events), &log)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]Outcome{"TestA": Fail, "TestB/env=simple/network.host=denied": Pass, "TestC": Unfinished}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("results (-want +got):\n%s", diff)
	}
	if log.String() != "words\n" {
		t.Errorf("log = %q", log.String())
	}
	if _, err := Parse(strings.NewReader("no json"), io.Discard); err == nil {
		t.Error("no error for a broken event stream")
	}
}

func TestJudge(t *testing.T) {
	results := map[string]Outcome{"a": Pass, "b": Fail, "c": Skip, "d": Fail, "e": Pass, "g": Pass}
	got := Judge(results, map[string]Failure{"d": {}, "e": {}, "f": {}, "g": {Sometimes: true}})
	want := Verdict{Passed: 3, Failed: 2, Skipped: 1, UnexpectedFail: []string{"b"}, UnexpectedPass: []string{"e"}, Unknown: []string{"f"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("verdict (-want +got):\n%s", diff)
	}
	if got.OK() {
		t.Error("OK() = true")
	}
}
