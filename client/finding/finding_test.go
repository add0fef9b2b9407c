package finding

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSeverity(t *testing.T) {
	for _, s := range Severities() {
		got, err := ParseSeverity(" " + s.String() + " ")
		require.NoError(t, err)
		require.Equal(t, s, got)
		dt, err := json.Marshal(s)
		require.NoError(t, err)
		var back Severity
		require.NoError(t, json.Unmarshal(dt, &back))
		require.Equal(t, s, back)
	}
	require.True(t, slices.IsSortedFunc(Severities(), func(a, b Severity) int { return int(b - a) }))
	_, err := ParseSeverity("fatal")
	require.ErrorContains(t, err, `"fatal" is not one of UNKNOWN`)
	require.Equal(t, "UNKNOWN", Severity(99).String())
}

func TestPlain(t *testing.T) {
	require.Equal(t, "a?[2Jé", Plain("a\x1b[2Jé"))
}

func TestCompare(t *testing.T) {
	risky := &Finding{ID: "B", Risk: 9}
	severe := &Finding{ID: "C", Risk: 1, Severity: Critical}
	first := &Finding{ID: "A", Risk: 1, Package: Package{Name: "a"}}
	second := &Finding{ID: "A", Risk: 1, Package: Package{Name: "b"}}
	list := []*Finding{second, first, severe, risky}
	slices.SortFunc(list, Compare)
	require.Equal(t, []*Finding{risky, severe, first, second}, list)
}
