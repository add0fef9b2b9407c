package secretlint

import (
	"fmt"
	"math"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/temper-images/temper/client/inspect/secrets"
	"github.com/temper-images/temper/client/secretref"
)

// harmless says that a value is no secret whatever its name: nothing, a switch, a
// small number, another variable, or a reference that nobody resolved.
func harmless(value string) bool {
	v := strings.ToLower(strings.TrimSpace(value))
	if slices.Contains([]string{"", "true", "false", "yes", "no", "on", "off", "none", "null", "enabled", "disabled", "default"}, v) {
		return true
	}
	if smallNumber.MatchString(v) {
		return true
	}
	ref, err := secretref.Parse(value)
	return err == nil && len(ref.Parts()) == 1 && ref.IsReference()
}

var (
	smallNumber = regexp.MustCompile(`^\d{1,4}$`)
	// privateKey is PEM or PGP armour, also in one line.
	privateKey = regexp.MustCompile(`-----BEGIN [A-Z0-9 ]*PRIVATE KEY( BLOCK)?-----`)
	// token is a text without words: 24 characters or more of base64's alphabets.
	token = regexp.MustCompile(`^[A-Za-z0-9+/_-]{24,}={0,2}$`)
	// checksum is a digest in a form in which checksums are written.
	checksum    = regexp.MustCompile(`^(?i:(sha(1|256|384|512)|md5|h1)[:-].*|[0-9a-f]{32}|[0-9a-f]{40}|[0-9a-f]{64}|[0-9a-f]{96}|[0-9a-f]{128})$`)
	hexadecimal = regexp.MustCompile(`^(?i:[0-9a-f]+)$`)
)

// A token counts as random by its entropy, in bits a character, and by how often
// capitals, small letters and digits take turns. 24 random characters of base64
// have an entropy above 4 and change at 64 % of the places; names in CamelCase
// reach such an entropy too, but change at 40 % or less.
const (
	minEntropy = 3.8
	minTurns   = 0.45
)

func judgeValue(name, value string, finder *secrets.Finder) string {
	if privateKey.MatchString(value) {
		return "its value is a private key"
	}
	if hasPassword(value) {
		return "its value is a URL with a password in it"
	}
	// The rules look for a name beside the value, as in a file of settings.
	for _, f := range finder.Find("", fmt.Appendf(nil, "%s=\"%s\"\n%s\n", name, value, value)) {
		if f.Rule == secrets.Generic && (checksum.MatchString(value) || hexadecimal.MatchString(value)) {
			continue
		}
		return "its value has the form of a secret (" + f.Rule + ")"
	}
	if token.MatchString(value) && !checksum.MatchString(value) && !hexadecimal.MatchString(value) && entropy(value) >= minEntropy && turns(value) >= minTurns {
		return "its value looks random"
	}
	return ""
}

// hasPassword finds a password in a URL, unless it is a variable's.
func hasPassword(value string) bool {
	for word := range strings.FieldsFuncSeq(value, func(r rune) bool { return strings.ContainsRune(" \t\r\n,;|\"'", r) }) {
		u, err := url.Parse(word)
		if err != nil || u.User == nil || u.Host == "" {
			continue
		}
		if password, ok := u.User.Password(); ok && password != "" && !strings.HasPrefix(password, "$") {
			return true
		}
	}
	return false
}

// turns is the share of places where one class of characters follows another.
func turns(s string) float64 {
	class := func(c byte) int {
		switch {
		case c >= 'a' && c <= 'z':
			return 1
		case c >= 'A' && c <= 'Z':
			return 2
		}
		return 3
	}
	n := 0
	for i := 1; i < len(s); i++ {
		if class(s[i]) != class(s[i-1]) {
			n++
		}
	}
	return float64(n) / float64(len(s)-1)
}

// entropy is Shannon's, in bits a byte.
func entropy(s string) float64 {
	var counts [256]int
	for i := range len(s) {
		counts[s[i]]++
	}
	var h float64
	for _, n := range counts {
		if n > 0 {
			p := float64(n) / float64(len(s))
			h -= p * math.Log2(p)
		}
	}
	return h
}
