package secrets

import (
	"bytes"
	"path"
	"slices"
	"strings"
)

// span is a part of a text that gitleaks is to look at.
type span struct{ start, end int }

// class says what must be beside a keyword for a match to be possible.
type class int

const (
	// named keywords are a service's name or the beginning of its tokens: a run of
	// token characters is near.
	named class = iota
	// assigned keywords are everyday words. They need an assignment and a value.
	assigned
	// embedded keywords are a part of the token itself, and of many words.
	embedded
	// far keywords may stand anywhere in a file with the token.
	far
	// block keywords begin something that spans lines.
	block
	// armour begins a key.
	armour
)

// keyword is a keyword of gitleaks' rules, in small letters.
type keyword struct {
	class class
	// least is the least length of the token that an embedded keyword is in.
	least int
	// begins says that no letter, digit or underscore comes before the keyword.
	begins bool
}

// classes lists the keywords that are not named ones. It was made by counting
// keywords in the files of a Debian system: what is rare there needs no entry.
var classes = map[string]keyword{
	"access": {class: assigned}, "api": {class: assigned}, "auth": {class: assigned}, "key": {class: assigned},
	"credential": {class: assigned}, "creds": {class: assigned}, "passwd": {class: assigned},
	"password": {class: assigned}, "secret": {class: assigned}, "token": {class: assigned},

	"ey":    {class: embedded, least: 40, begins: true}, // jwt
	"s.":    {class: embedded, least: 26, begins: true}, // vault-service-token
	"sk":    {class: embedded, least: 34},               // twilio-api-key
	"api-":  {class: embedded, least: 30, begins: true}, // octopus-deploy-api-key
	"ext_":  {class: embedded, least: 30, begins: true}, // authress-service-client-access-key
	"sc_":   {class: embedded, least: 30, begins: true},
	"asia":  {class: embedded, least: 20, begins: true}, // aws-access-token
	"test_": {class: embedded, least: 40},               // lob-api-key
	"live_": {class: embedded, least: 40},
	"_pub":  {class: embedded, least: 36}, // lob-pub-api-key

	"facebook": {class: far}, "sourcegraph": {class: far}, "airtable": {class: far}, "cloudflare": {class: far},

	"curl": {class: block}, "<add key=": {class: block}, "secret_key": {class: block}, "administrator_login_password": {class: block},
	"bundle_enterprise__contribsys__com": {class: block}, "bundle_gems__contribsys__com": {class: block},

	"-----begin": {class: armour},
}

func classify(k string) keyword { return classes[k] }

// How far a span reaches beyond a keyword, in bytes.
const (
	before      = 128
	after       = 384
	aroundFar   = 2 << 10
	afterBlock  = 2 << 10
	afterArmour = 32 << 10
	// lineEdge is how far a span grows to begin and end with a line.
	lineEdge = 256
)

// The shortest values that rules with assigned and with named keywords take.
const (
	leastValue = 10
	leastToken = 10
	// plainToken is how long a token is that may have no digit.
	plainToken = 16
)

// spans are the parts of text where a rule could match, in order and apart.
func (f *Finder) spans(name string, text []byte) []span {
	var (
		out   []span
		lower = toLower(text)
		ext   = strings.ToLower(path.Ext(name))
	)
	f.keywords.Walk(lower, func(end, n, pattern int64) bool {
		start, stop := int(end-n)+1, int(end)+1
		w := f.words[pattern]
		if w.class == assigned && inBlock(ext) {
			w.class = block
		}
		s := span{start - before, stop + after}
		switch w.class {
		case assigned:
			if !assignment(text[stop:]) {
				return true
			}
		case embedded:
			if !w.within(text, start) {
				return true
			}
		case named:
			if !tokenNear(text, start) {
				return true
			}
		case far:
			s = span{start - aroundFar, stop + aroundFar}
		case block:
			s.end = stop + afterBlock
		case armour:
			if s.end = armourEnd(lower, stop); s.end == 0 {
				return true
			}
		}
		out = append(out, wholeLines(text, s))
		return true
	})
	return merge(out)
}

// inBlock says that files of this kind have rules that span lines and begin with
// an everyday word: Kubernetes' Secret and Terraform's passwords.
func inBlock(ext string) bool {
	return ext == ".yaml" || ext == ".yml" || ext == ".tf" || ext == ".hcl"
}

// toLower lowers ASCII letters only, so that offsets stay what they are.
func toLower(text []byte) []byte {
	out := make([]byte, len(text))
	for i, c := range text {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		out[i] = c
	}
	return out
}

// set is a set of bytes.
type set [256]bool

func setOf(chars string) *set {
	var s set
	for i := range len(chars) {
		s[chars[i]] = true
	}
	return &s
}

const alphanumeric = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

var (
	wordChars  = setOf(alphanumeric + "_")
	digits     = setOf("0123456789")
	nameChars  = setOf(alphanumeric + "_.- \t\n\r\f\v'\"")
	operators  = setOf("=>:|?,")
	beforeVal  = setOf("=>:|?,`'\" \t\n\r\f\v")
	valueChars = setOf(alphanumeric + "_.=+/-")
	notPlain   = setOf("0123456789=+/")
	tokenChars = setOf(alphanumeric + "_.=+/~%\\:-")
)

// span is how many bytes at the beginning of text are in the set, most at most.
func (s *set) span(text []byte, most int) int {
	n := 0
	for n < len(text) && n < most && s[text[n]] {
		n++
	}
	return n
}

func (s *set) in(text []byte) bool {
	for _, c := range text {
		if s[c] {
			return true
		}
	}
	return false
}

// assignment says that text, which follows a keyword, goes on with an operator and
// a value that is no plain word.
func assignment(text []byte) bool {
	n := nameChars.span(text, 24)
	if n == len(text) || !operators[text[n]] {
		return false
	}
	text = text[n:]
	text = text[beforeVal.span(text, 16):]
	value := text[:valueChars.span(text, 200)]
	return len(value) >= leastValue && notPlain.in(value)
}

// within says that the keyword at start is part of a token that is long enough.
func (w keyword) within(text []byte, start int) bool {
	if w.begins && start > 0 && wordChars[text[start-1]] {
		return false
	}
	from := start
	for from > 0 && start-from < w.least && tokenChars[text[from-1]] {
		from--
	}
	return start-from+tokenChars.span(text[start:], w.least) >= w.least
}

// tokenNear says that a token begins in or soon after the keyword at start, or
// that the keyword is part of one.
func tokenNear(text []byte, start int) bool {
	from := start
	for from > 0 && start-from < 64 && tokenChars[text[from-1]] {
		from--
	}
	for i := from; i < min(len(text), start+after/2); {
		n := tokenChars.span(text[i:], 512)
		if n >= plainToken || n >= leastToken && digits.in(text[i:i+n]) {
			return true
		}
		i += n + 1
	}
	return false
}

// armourEnd is where the armour that begins before start ends, or 0 when it is of
// no private key.
func armourEnd(lower []byte, start int) int {
	label := lower[start:min(len(lower), start+128)]
	if i := bytes.IndexByte(label, '\n'); i >= 0 {
		label = label[:i]
	}
	if !bytes.Contains(label, []byte("private key")) {
		return 0
	}
	rest := lower[start:min(len(lower), start+afterArmour)]
	i := bytes.Index(rest, []byte("-----end"))
	if i < 0 {
		return start + len(rest)
	}
	return min(len(lower), start+i+128)
}

// wholeLines bounds the span to the text and lets it begin and end with a line,
// when the line is not too long for that.
func wholeLines(text []byte, s span) span {
	s.start, s.end = max(0, s.start), min(len(text), s.end)
	from := max(0, s.start-lineEdge)
	if i := bytes.LastIndexByte(text[from:s.start], '\n'); i >= 0 {
		s.start = from + i + 1
	} else if from == 0 {
		s.start = 0
	}
	to := min(len(text), s.end+lineEdge)
	if i := bytes.IndexByte(text[s.end:to], '\n'); i >= 0 {
		s.end += i + 1
	} else if to == len(text) {
		s.end = to
	}
	return s
}

func merge(spans []span) []span {
	slices.SortFunc(spans, func(a, b span) int { return a.start - b.start })
	var out []span
	for _, s := range spans {
		if last := len(out) - 1; last >= 0 && s.start <= out[last].end {
			out[last].end = max(out[last].end, s.end)
			continue
		}
		out = append(out, s)
	}
	return out
}
