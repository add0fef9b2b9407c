package stage

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write the table of docs/logging.md anew")

const (
	docs  = "../../docs/logging.md"
	begin = "<!-- The table is written by go test ./client/stage -update. -->\n"
	end   = "<!-- End of the table. -->\n"
)

// docs/logging.md lists the events that there are, with their fields.
func TestDocumentedEvents(t *testing.T) {
	dt, err := os.ReadFile(docs)
	require.NoError(t, err)
	before, rest, ok := strings.Cut(string(dt), begin)
	require.True(t, ok)
	got, after, ok := strings.Cut(rest, end)
	require.True(t, ok)
	want := table()
	if *update {
		require.NoError(t, os.WriteFile(docs, []byte(before+begin+want+end+after), 0o644))
		return
	}
	require.Equal(t, want, got, "run go test ./client/stage -update")
}

func table() string {
	var rows strings.Builder
	var common []Fact
	for _, e := range Events {
		var facts []string
		for _, f := range e.Facts {
			if !f.Common {
				facts = append(facts, written(f)+" "+f.About)
				continue
			}
			facts = append(facts, written(f))
			if !slices.Contains(common, f) {
				common = append(common, f)
			}
		}
		fmt.Fprintf(&rows, "| `%s` | %s | %s |\n", e.Name, e.About, strings.Join(facts, "; "))
	}
	var b strings.Builder
	b.WriteString("\n| fact of several events | meaning |\n|---|---|\n")
	for _, f := range common {
		fmt.Fprintf(&b, "| %s | %s |\n", written(f), f.About)
	}
	fmt.Fprintf(&b, "\n| event | what is done | facts; numbers are in italics |\n|---|---|---|\n%s\n", rows.String())
	return b.String()
}

// written is a fact's key in Markdown.
func written(f Fact) string {
	if f.Number {
		return "*`" + f.Key + "`*"
	}
	return "`" + f.Key + "`"
}
