package records

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestCheck(t *testing.T) {
	events, err := Check(`#1 building
{"event":"scan.started","step":"x"}
{"event":"scan.completed","findings":3,"duration_ms":1,"image":"sha256:ab"}
ERROR: x
`)
	require.NoError(t, err)
	require.Equal(t, []string{"scan.started", "scan.completed"}, events)
	for line, want := range map[string]string{
		`{"event":"scan.started"}`:                  "more starts than ends",
		`{"event":"guess.completed"}`:               "unknown event",
		`{"event":"scan.begun"}`:                    "unknown event",
		`{"msg":"x"}`:                               "unknown event",
		`{"event":"scan.failed","colour":"red"}`:    "colour is not documented",
		`{"event":"scan.started","findings":3}`:     "findings is not documented",
		`{"event":"scan.completed","findings":"3"}`: "it is string",
		`{"event":"scan.completed","image":3}`:      "it is float64",
		`{`:                                         "unexpected end",
	} {
		_, err := Check(line)
		require.ErrorContains(t, err, want, line)
	}
}
