package secrets

import (
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp/syntax"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"github.com/zricethezav/gitleaks/v8/detect"
)

func finder(t testing.TB) *Finder {
	t.Helper()
	f, err := New("salt")
	require.NoError(t, err)
	return f
}

// whole is what gitleaks itself finds in a whole text, as "RULE LINE".
func whole(f *Finder, name, text string) []string {
	found := map[string]bool{}
	all := detect.Fragment{Raw: text, FilePath: name, StartLine: 1} //nolint:staticcheck // v8 has no other that Detect takes
	for _, m := range f.detector.Detect(all) {
		if m.RuleID == PrivateKey && !keyBody.MatchString(m.Secret) {
			continue
		}
		found[fmt.Sprintf("%s %d", m.RuleID, m.StartLine)] = true
	}
	return slices.Sorted(maps.Keys(found))
}

func parts(f *Finder, name, text string) []string {
	found := map[string]bool{}
	for _, m := range f.Find(name, []byte(text)) {
		found[fmt.Sprintf("%s %d", m.Rule, m.Line)] = true
	}
	return slices.Sorted(maps.Keys(found))
}

// Whatever a rule's own regular expression makes is found in the parts as it is in
// the whole, between ordinary text.
func TestFindsWhatGitleaksFinds(t *testing.T) {
	f := finder(t)
	prose, err := os.ReadFile("../../../LICENSE")
	require.NoError(t, err)
	rules := slices.Sorted(maps.Keys(f.detector.Config.Rules))
	seen := map[string]bool{}
	for n, id := range rules {
		rule := f.detector.Config.Rules[id]
		re, err := syntax.Parse(rule.Regex.String(), syntax.Perl)
		require.NoError(t, err)
		name := "app/settings.conf"
		if rule.Path != nil {
			p, err := syntax.Parse(rule.Path.String(), syntax.Perl)
			require.NoError(t, err)
			name = "app/settings" + sample(rand.New(rand.NewPCG(1, 1)), p)
		}
		for i := range 10 {
			rnd := rand.New(rand.NewPCG(uint64(n), uint64(i)))
			secret := sample(rnd, re)
			text := string(prose[:rnd.IntN(len(prose))]) + "\n"
			// Some rules have a keyword that their expression does not.
			if !slices.ContainsFunc(rule.Keywords, func(k string) bool { return strings.Contains(strings.ToLower(secret), k) }) {
				text += "see " + rule.Keywords[0] + ":\n"
			}
			text += secret + "\n" + string(prose[:rnd.IntN(len(prose))])
			want := whole(f, name, text)
			require.Subset(t, parts(f, name, text), want, "%s: %q", id, secret)
			for _, w := range want {
				found, _, _ := strings.Cut(w, " ")
				seen[found] = true
			}
		}
	}
	// Gitleaks finds some samples too regular; most rules must have been tried.
	require.Greater(t, len(seen), len(rules)*9/10, "rules that found a sample: %v", seen)
}

// sample makes a text that an expression matches.
func sample(rnd *rand.Rand, re *syntax.Regexp) string {
	var b strings.Builder
	switch re.Op {
	case syntax.OpLiteral:
		b.WriteString(string(re.Rune))
	case syntax.OpCharClass:
		// A range is taken as often as it is long, as far as it is ASCII.
		var runes []rune
		for i := 0; i < len(re.Rune); i += 2 {
			for r := re.Rune[i]; r <= min(re.Rune[i+1], '~'); r++ {
				runes = append(runes, r)
			}
		}
		b.WriteRune(runes[rnd.IntN(len(runes))])
	case syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		b.WriteByte("abcdefghij 0123456789"[rnd.IntN(21)])
	case syntax.OpCapture, syntax.OpConcat:
		for _, sub := range re.Sub {
			b.WriteString(sample(rnd, sub))
		}
	case syntax.OpAlternate:
		b.WriteString(sample(rnd, re.Sub[rnd.IntN(len(re.Sub))]))
	case syntax.OpQuest, syntax.OpStar, syntax.OpPlus, syntax.OpRepeat:
		least, most := re.Min, re.Max
		switch re.Op {
		case syntax.OpQuest:
			least, most = 0, 1
		case syntax.OpStar:
			least, most = 0, 5
		case syntax.OpPlus:
			least, most = 1, 40
		}
		if most < 0 {
			most = least + 20
		}
		for range least + rnd.IntN(most-least+1) {
			b.WriteString(sample(rnd, re.Sub[0]))
		}
	case syntax.OpWordBoundary:
		// What comes before is a word or is not; a space does no harm where one fits.
		b.WriteByte(' ')
	}
	return b.String()
}

// The files of the machine hold what no generator thinks of.
func TestFindsWhatGitleaksFindsInRealFiles(t *testing.T) {
	f := finder(t)
	left := 1 << 20
	for _, dir := range []string{"/etc", "/usr/share/perl", "../../../docs"} {
		most := left / 2
		err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() || most <= 0 {
				return nil //nolint:nilerr // what cannot be read is no part of the corpus
			}
			dt, err := os.ReadFile(name)
			if err != nil || len(dt) > 100_000 || !utf8.Valid(dt) {
				return nil //nolint:nilerr // as above
			}
			most, left = most-len(dt), left-len(dt)
			require.Equal(t, whole(f, name, string(dt)), parts(f, name, string(dt)), name)
			return nil
		})
		require.NoError(t, err)
	}
	require.Less(t, left, 1<<19, "bytes that were not compared")
}

const key = "q8Zt3Lw0vX7rN5bY2kD9mH4jP6sF1gT0cR8e"

func TestFind(t *testing.T) {
	f := finder(t)
	pem := "-----BEGIN PRIVATE KEY-----\n" + strings.Repeat(strings.Repeat("MIIEvQ", 10)+"\n", 25) + "-----END PRIVATE KEY-----\n"
	for name, c := range map[string]struct {
		text string
		want []string
	}{
		"none":         {"The key to success: perseverance. See the API: it is documented.\n", nil},
		"key":          {"a\nb\nAWS_KEY=AKIAQ3EGVMZ5TIPW7H2L\n", []string{"aws-access-token 3"}},
		"generic":      {"api_key = \"" + key + "\"\n", []string{Generic + " 1"}},
		"private key":  {"x\n" + pem, []string{PrivateKey + " 2"}},
		"key in prose": {"x\n-----BEGIN PRIVATE KEY-----\n" + strings.Repeat("what comes here is secret\n", 5) + "-----END PRIVATE KEY-----\n", nil},
		"key escaped":  {"k=\"" + strings.ReplaceAll(pem, "\n", "\\n") + "\"", []string{PrivateKey + " 1"}},
		"certificate":  {strings.ReplaceAll(pem, "PRIVATE KEY", "CERTIFICATE"), nil},
		"no newline":   {"\ntoken: ghp_" + key, []string{"github-pat 2"}},
		"allow marker": {"AWS_KEY=AKIAQ3EGVMZ5TIPW7H2L # gitleaks:allow\n", []string{"aws-access-token 1"}},
		"long lines":   {strings.Repeat("x", 5000) + " AKIAQ3EGVMZ5TIPW7H2L " + strings.Repeat("y", 5000), []string{"aws-access-token 1"}},
		"far apart": {
			"AKIAQ3EGVMZ5TIPW7H2L\n" + strings.Repeat("nothing here\n", 1000) + "AKIAQ3EGVMZ5TIPW7H2M\n",
			[]string{"aws-access-token 1", "aws-access-token 1002"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, c.want, parts(f, "", c.text))
		})
	}
}

func TestFingerprintsTellSecretsApart(t *testing.T) {
	f := finder(t)
	text := []byte("a: AKIAQ3EGVMZ5TIPW7H2L\nb: AKIAQ3EGVMZ5TIPW7H2L\nc: AKIAQ3EGVMZ5TIPW7H2M\n")
	got := f.Find("", text)
	require.Len(t, got, 3)
	require.Equal(t, got[0].Fingerprint, got[1].Fingerprint)
	require.NotEqual(t, got[0].Fingerprint, got[2].Fingerprint)
	require.Len(t, got[0].Fingerprint, 4)
	other, err := New("another salt")
	require.NoError(t, err)
	require.NotEqual(t, got[0].Fingerprint, other.Find("", text)[0].Fingerprint)
}

func FuzzFind(f *testing.F) {
	finder := finder(f)
	for _, s := range []string{
		"", "key", "key=", "api_key = \"" + key + "\"", "-----BEGIN PRIVATE KEY-----", "curl -u a:b", "s.", "ey", "\xff\xfeAKIA",
		"-----BEGIN RSA PRIVATE KEY-----\n" + strings.Repeat("A", 100) + "-----END RSA PRIVATE KEY-----",
	} {
		f.Add("a.yaml", s)
	}
	f.Fuzz(func(t *testing.T, name, text string) {
		lines := strings.Count(text, "\n") + 1
		for _, m := range finder.Find(name, []byte(text)) {
			if m.Line < 1 || m.Line > lines {
				t.Fatalf("line %d of %d", m.Line, lines)
			}
		}
		end := -1
		for _, s := range finder.spans(name, []byte(text)) {
			if s.start <= end || s.end > len(text) || s.start > s.end {
				t.Fatalf("span %v after %d of %d bytes", s, end, len(text))
			}
			end = s.end
		}
	})
}
