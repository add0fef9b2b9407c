package secretref

import (
	"regexp"
	"strings"

	"github.com/helmfile/vals/pkg/expansion"

	"github.com/temper-images/temper/client/redact"
)

// Value is a value of the configuration or of a flag: text, a reference, or text
// with references in it. The zero Value is empty text. It never prints its text.
type Value struct {
	// Behind a function, as in Secret.
	held func() []Part
}

// Parts are the text and the references of the value, in their order.
func (v Value) Parts() []Part {
	if v.held == nil {
		return nil
	}
	return v.held()
}

// Part is text or a reference.
type Part struct {
	Text      string
	Reference *Reference
}

// Parse reads a value. Within text, a reference ends as vals has it end: before
// white space, a quotation mark or a comma, or at a plus sign, which belongs to
// it ("https://ref+env://HOST+/path").
func Parse(s string) (Value, error) {
	var parts []Part
	for s != "" {
		at := start(s)
		if at < 0 {
			parts = append(parts, Part{Text: s})
			break
		}
		if at > 0 {
			parts = append(parts, Part{Text: s[:at]})
			s = s[at:]
		}
		body, length := strings.TrimPrefix(strings.TrimPrefix(s, "secret"), "ref+"), len(s)
		if m := expansion.DefaultRefRegexp.FindStringSubmatchIndex(s); m != nil && m[0] == 0 {
			body, length = s[m[6]:m[7]], m[1]
			if nested.MatchString(s[:length]) {
				return Value{}, &SyntaxError{"the reference", "holds another reference: name the secret itself"}
			}
		}
		ref, err := parseReference(body)
		if err != nil {
			return Value{}, err
		}
		parts = append(parts, Part{Reference: &ref})
		s = s[length:]
	}
	if parts == nil {
		return Value{}, nil
	}
	return Value{func() []Part { return parts }}, nil
}

// nested matches what is left of a reference that begins another.
var nested = regexp.MustCompile(`\W(secret)?ref\+$`)

// start is where the first reference of s begins, or -1. A longer word that
// happens to end in "ref+" begins none.
func start(s string) int {
	for from := 0; ; {
		i := strings.Index(s[from:], "ref+")
		if i < 0 {
			return -1
		}
		i += from
		from = i + len("ref+")
		if strings.HasSuffix(s[:i], "secret") {
			i -= len("secret")
		}
		if i == 0 || !isWord(s[i-1]) {
			return i
		}
	}
}

func isWord(b byte) bool {
	return b >= '0' && b <= '9' || b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b == '_'
}

// IsReference says whether a reference stands in the value.
func (v Value) IsReference() bool { return len(v.References()) > 0 }

// References are the references that stand in the value, in their order.
func (v Value) References() []Reference {
	var out []Reference
	for _, p := range v.Parts() {
		if p.Reference != nil {
			out = append(out, *p.Reference)
		}
	}
	return out
}

// IsEmpty says whether the value is no text at all.
func (v Value) IsEmpty() bool { return len(v.Parts()) == 0 }

// String shows the references without their options, and not the text.
func (v Value) String() string {
	var b strings.Builder
	for _, p := range v.Parts() {
		if p.Reference != nil {
			b.WriteString(p.Reference.String())
		} else {
			b.WriteString(redact.Mark)
		}
	}
	return b.String()
}

// GoString is String, for %#v.
func (v Value) GoString() string { return v.String() }

// MarshalText is String, so that no encoder writes the text.
func (v Value) MarshalText() ([]byte, error) { return []byte(v.String()), nil }
