package closure

import (
	"strings"
	"testing"
)

// The rules that come with the program can be read, and no name is used twice.
func TestBuiltinRules(t *testing.T) {
	rules, err := builtin()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, r := range rules {
		if seen[r.Name] {
			t.Errorf("two rules are named %q", r.Name)
		}
		seen[r.Name] = true
	}
	if !seen["system-files"] {
		t.Error("the rule system-files is not there")
	}
}

func TestRuleMistakes(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"an unknown field", "- {name: a, kep: [/x]}", "kep"},
		{"no name", "- {keep: [/x]}", "has no name"},
		{"a relative glob", "- {name: a, keep: [x]}", "no absolute glob"},
		{"a broken glob", "- {name: a, keep: ['/x[']}", "no absolute glob"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := parseRules([]byte(c.text))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("the error is %v, want one with %q", err, c.want)
			}
		})
	}
}
