package closure

import (
	"bufio"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

// What another program is called with counts in modules; a word in a list of
// words does not, unless the file is the application's own.
func TestScanCommands(t *testing.T) {
	const text = `KEYWORDS = ("awk", "sed")
subprocess.run(["tar", "-xf", name])
os.system('gzip -d x')
execSync("ps aux")
const args = ['lsof', '-p']
shutil.which("git")
colour("perl")
`
	for _, tt := range []struct {
		name         string
		mustBeCalled bool
		want         []string
	}{
		{"application", false, []string{"awk", "git", "gzip", "lsof", "perl", "ps", "sed", "tar"}},
		{"module", true, []string{"git", "gzip", "lsof", "ps", "tar"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			words := &commands{packages: map[string][]int32{}, mustBeCalled: tt.mustBeCalled}
			for _, name := range []string{"awk", "sed", "tar", "gzip", "ps", "lsof", "git", "perl", "cat"} {
				words.packages[name] = []int32{0}
			}
			s := &scanner{tops: map[string]bool{}}
			for _, size := range []int{16, 4096} {
				found, err := s.scan(bufio.NewReaderSize(iotest.OneByteReader(strings.NewReader(text)), size), words)
				if err != nil {
					t.Fatal(err)
				}
				if !slices.Equal(found.words, tt.want) {
					t.Errorf("found %q, want %q", found.words, tt.want)
				}
			}
		})
	}
}

// Of the programs that a file names, those count whose package is asked for.
func TestScanAskedCommands(t *testing.T) {
	c := &commands{
		packages: map[string][]int32{"git": {0}, "less": {1, 2}, "vi": {3}},
		provides: [][]int32{{0}, {1}, {2, 5}, {3}},
		asked:    []map[int32]bool{{0: true}, {5: true}},
	}
	for name, want := range map[string]bool{"git": true, "less": true, "vi": false, "cat": false} {
		if got := c.count([]byte(name)); got != want {
			t.Errorf("%s counts: %v, want %v", name, got, want)
		}
	}
}
