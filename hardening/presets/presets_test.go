package presets

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the table in docs/hardening.md")

func TestEveryPresetLoads(t *testing.T) {
	names := Names()
	if len(names) < 8 {
		t.Fatalf("there are the presets %q", names)
	}
	for _, name := range names {
		p, err := Load(name)
		if err != nil {
			t.Error(err)
			continue
		}
		if strings.HasSuffix(p.Description, ".") || strings.ContainsAny(p.Description, "|\n") {
			t.Errorf("%s: the description %q is no phrase that fits a table", name, p.Description)
		}
	}
}

func TestLoadSaysWhatThereIs(t *testing.T) {
	for _, name := range []string{"postgresql", "", "../data/debug", "debug.yaml"} {
		if _, err := Load(name); err == nil || !strings.Contains(err.Error(), "postgres, python") {
			t.Errorf("%q: error %v", name, err)
		}
	}
}

func TestParseIsStrict(t *testing.T) {
	for _, tc := range []struct{ text, want string }{
		{"description: x\nkeep: [/a]\nkep: [/b]\n", "kep"},
		{"description: x\nkeep: /a\n", "keep"},
		{"description: x\n", "something to keep"},
		{"keep: [/a]\n", "description"},
		{"description: x\nkeep: [a]\n", "is not absolute"},
		{"description: x\nkeep: [/a]\nremove: ['package:']\n", "names no package"},
		{"description: x\nkeep: [/a]\nwith: ['soname:a/b']\n", "names no library"},
		{"description: x\nkeep: ['/a[']\n", "glob"},
		{"description: x\nkeep: [/a/../b]\n", ".."},
		{"description: x\nkeep: [/a]\nwritable: [/]\n", "no directory"},
		{"description: x\nkeep: [/a]\n---\ndescription: y\n", "more than one document"},
	} {
		if _, err := parse("test", []byte(tc.text)); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%q: error %v, want one that says %q", tc.text, err, tc.want)
		}
	}
}

// The table of the documentation is made from the data.
func TestDocumentation(t *testing.T) {
	const begin, end = "<!-- presets: made by go test ./hardening/presets -update -->\n", "<!-- /presets -->\n"
	name := filepath.Join("..", "..", "docs", "hardening.md")
	dt, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(dt), begin)
	got, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no place for the table: %q … %q", name, begin, end)
	}
	want := table(t)
	if *update {
		if err := os.WriteFile(name, []byte(before+begin+want+end+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the table in %s is not what the data says; run go test ./hardening/presets -update (-want +got)\n%s", name, diff)
	}
}

func table(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	b.WriteString("| preset | keeps | packages | removes | writable |\n|---|---|---|---|---|\n")
	for _, name := range Names() {
		p, err := Load(name)
		if err != nil {
			t.Fatal(err)
		}
		var packages []string
		for _, r := range p.Keep {
			if pkg, ok := strings.CutPrefix(r, "package:"); ok {
				packages = append(packages, pkg)
			}
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", name, p.Description, code(packages), code(p.Remove), code(p.Writable))
	}
	return b.String()
}

// code lists words, the first few of them.
func code(words []string) string {
	const most = 4
	if len(words) == 0 {
		return "–"
	}
	more := ""
	if len(words) > most {
		words, more = words[:most], ", …"
	}
	return "`" + strings.Join(words, "`, `") + "`" + more
}
