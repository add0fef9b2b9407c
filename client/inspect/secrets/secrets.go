// Package secrets finds credentials in text with the rules of gitleaks. It tells
// where a secret is and what kind it is, never the secret.
//
// Gitleaks runs regular expressions over all of a file that has one of their
// keywords, at about a megabyte in a second. Here they run only where a match is
// possible: near a keyword that has beside it something that could be a secret.
package secrets

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"

	ahocorasick "github.com/BobuSumisu/aho-corasick"
	"github.com/rs/zerolog"
	"github.com/spf13/viper"
	"github.com/zricethezav/gitleaks/v8/config"
	"github.com/zricethezav/gitleaks/v8/detect"
	"github.com/zricethezav/gitleaks/v8/logging"
)

// The rules of gitleaks that callers tell from the others.
const (
	// Generic is a value with a random look beside a word such as "key".
	Generic = "generic-api-key"
	// PrivateKey is a private key in PEM or PGP armour.
	PrivateKey = "private-key"
)

// byPath is the one rule that looks at a file's name alone. Names are not looked
// at here.
const byPath = "pkcs12-file"

// keyBody is a line of an armoured key: a rule that asks for less finds programs
// and manuals that only speak of keys.
var keyBody = regexp.MustCompile(`[A-Za-z0-9+/]{40}`)

// Finding is a secret in a text.
type Finding struct {
	// Rule is the rule's name in gitleaks: "aws-access-token".
	Rule string
	// Line counts from 1.
	Line int
	// Fingerprint is the same for the same secret, so that one in several places is
	// known for one. It has 16 bits of a salted digest: too few to find out by it
	// what the secret was.
	Fingerprint string
}

// Finder finds secrets. It can be used by several goroutines at once.
type Finder struct {
	detector *detect.Detector
	keywords *ahocorasick.Trie
	words    []keyword
	salt     string
}

// Warm begins in the background what the first search of a process needs.
func Warm() { go func() { _, _ = rules() }() }

// rules reads gitleaks' own configuration, once: that takes as long as reading a
// small image.
var rules = sync.OnceValues(func() (*Finder, error) {
	// It would print to standard error. What it has to say is of its own files.
	logging.Logger = zerolog.Nop()
	v := viper.New()
	v.SetConfigType("toml")
	if err := v.ReadConfig(strings.NewReader(config.DefaultConfig)); err != nil {
		return nil, err
	}
	var raw config.ViperConfig
	if err := v.Unmarshal(&raw); err != nil {
		return nil, err
	}
	cfg, err := raw.Translate()
	if err != nil {
		return nil, err
	}
	delete(cfg.Rules, byPath)
	f := &Finder{detector: detect.NewDetector(cfg)}
	// A comment in the image must not silence the gate: exceptions have a reason
	// and an end, and stand in the policy.
	f.detector.IgnoreGitleaksAllow = true
	list := slices.Sorted(func(yield func(string) bool) {
		for k := range cfg.Keywords {
			if !yield(k) {
				return
			}
		}
	})
	f.keywords = ahocorasick.NewTrieBuilder().AddStrings(list).Build()
	for _, k := range list {
		f.words = append(f.words, classify(k))
	}
	return f, nil
})

// New returns a Finder. Fingerprints of finders with the same salt can be
// compared.
func New(salt string) (*Finder, error) {
	f, err := rules()
	if err != nil {
		return nil, fmt.Errorf("read the rules of gitleaks: %w", err)
	}
	with := *f
	with.salt = salt
	return &with, nil
}

// Ignores says that files of this name are not searched, whatever is in them:
// gitleaks has a list of pictures, lock files and trees that package managers of
// languages install.
func (f *Finder) Ignores(name string) bool {
	return slices.ContainsFunc(f.detector.Config.Allowlists, func(a *config.Allowlist) bool {
		// A list with more conditions is asked with the finding in hand.
		return a.MatchCondition == config.AllowlistMatchOr && a.PathAllowed(name)
	})
}

// Find finds the secrets in text, sorted by line and rule. The name is the path of
// the file, or empty; some rules ask for its ending. In a file that Ignores names
// nothing is found.
func (f *Finder) Find(name string, text []byte) []Finding {
	if f.Ignores(name) {
		return nil
	}
	var out []Finding
	line, counted := 1, 0
	for _, s := range f.spans(name, text) {
		line += bytes.Count(text[counted:s.start], []byte{'\n'})
		counted = s.start
		part := detect.Fragment{Raw: string(text[s.start:s.end]), FilePath: name, StartLine: line} //nolint:staticcheck // v8 has no other that Detect takes
		for _, m := range f.detector.Detect(part) {
			if m.RuleID == PrivateKey && !keyBody.MatchString(m.Secret) {
				continue
			}
			out = append(out, Finding{Rule: m.RuleID, Line: m.StartLine, Fingerprint: f.fingerprint(m.Secret)})
		}
	}
	slices.SortFunc(out, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Rule, b.Rule), cmp.Compare(a.Fingerprint, b.Fingerprint))
	})
	return slices.Compact(out)
}

func (f *Finder) fingerprint(secret string) string {
	sum := sha256.Sum256([]byte(f.salt + "\x00" + secret))
	return hex.EncodeToString(sum[:2])
}
