package redact

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"html"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// A long value is known by pieces of it, so that a part of a private key is
// replaced too and a writer never has to hold back more than one piece. Pieces
// overlap by what base64 blurs at the ends of each.
const (
	pieceSize    = 64
	pieceOverlap = 4
)

// minLine is the length from which a line of a value with several lines is known
// by itself, in bytes: logs print line by line, and indent.
const minLine = 12

// pieces cuts a value into what is looked for.
func pieces(value string) []string {
	out := windows(value)
	if strings.Contains(value, "\n") {
		for line := range strings.Lines(value) {
			line = strings.TrimSpace(line)
			// The lines around a PEM block are the same for everybody.
			if len(line) >= minLine && !strings.HasPrefix(line, "-----") {
				out = append(out, windows(line)...)
			}
		}
	}
	return out
}

// windows cuts at whole characters. A piece does not begin with white space, or
// every line break would be held back.
func windows(s string) []string {
	var out []string
	for {
		s = strings.TrimLeft(s, " \t\r\n")
		if len(s) <= pieceSize {
			break
		}
		end := atCharacter(s, pieceSize)
		out = append(out, s[:end])
		s = s[atCharacter(s, end-pieceOverlap):]
	}
	// The end of a value may be too little to look for by itself.
	if len(s) >= MinLength {
		out = append(out, s)
	}
	return out
}

// atCharacter is the last index of s up to n where a character begins, or n when s is no text.
func atCharacter(s string, n int) int {
	for i := n; i > n-utf8.UTFMax && i > 0; i-- {
		if utf8.RuneStart(s[i]) {
			return i
		}
	}
	return n
}

// encodings adds the forms in which s is printed.
func encodings(s string, to map[string]struct{}) {
	add := func(forms ...string) {
		for _, f := range forms {
			if len(f) >= MinLength {
				to[f] = struct{}{}
			}
		}
	}
	x := hex.EncodeToString([]byte(s))
	add(s, x, strings.ToUpper(x))
	for offset := range 3 {
		add(alignedBase64(base64.RawStdEncoding, s, offset), alignedBase64(base64.RawURLEncoding, s, offset))
	}
	_, user, _ := strings.Cut(url.UserPassword("", s).String(), ":")
	query := url.QueryEscape(s)
	for _, u := range []string{query, strings.ReplaceAll(query, "+", "%20"), url.PathEscape(s), user, uriComponent(s)} {
		add(u, lowerPercent(u))
	}
	quoted, ascii := strconv.Quote(s), strconv.QuoteToASCII(s)
	add(quoted[1:len(quoted)-1], ascii[1:len(ascii)-1])
	for _, j := range []string{jsonHTML(s), jsonPlain(s), jsonASCII(s)} {
		add(j, jsonPlain(j), strings.ReplaceAll(j, "/", `\/`))
	}
	add(decimal(s))
	add(html.EscapeString(s))
	// encoding/xml and templates have their own words for the same characters.
	add(strings.NewReplacer("&#34;", "&quot;", "&#39;", "&apos;").Replace(html.EscapeString(s)))
}

// decimal writes bytes as fmt does: "104 117 110".
func decimal(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(strconv.Itoa(int(s[i])))
	}
	return b.String()
}

// alignedBase64 is what s alone decides of a base64 text in which offset bytes
// stand before s in the first group of three.
func alignedBase64(e *base64.Encoding, s string, offset int) string {
	out := e.EncodeToString(append(make([]byte, offset), s...))
	return out[(offset*8+5)/6 : (offset+len(s))*8/6]
}

// lowerPercent writes the digits of percent escapes in lower case.
func lowerPercent(s string) string {
	b := []byte(s)
	for i := 0; i+2 < len(b); i++ {
		if b[i] == '%' {
			copy(b[i+1:i+3], strings.ToLower(s[i+1:i+3]))
		}
	}
	return string(b)
}

// uriComponent escapes as JavaScript's encodeURIComponent does.
func uriComponent(s string) string {
	return strings.NewReplacer("+", "%20", "%21", "!", "%27", "'", "%28", "(", "%29", ")", "%2A", "*").Replace(url.QueryEscape(s))
}

// jsonHTML escapes as Go's encoding/json does, jsonPlain as it does without its
// care for HTML.
func jsonHTML(s string) string  { return jsonText(s, true) }
func jsonPlain(s string) string { return jsonText(s, false) }

func jsonText(s string, escapeHTML bool) string {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(escapeHTML)
	if err := e.Encode(s); err != nil {
		return s
	}
	return strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(b.String()), `"`), `"`)
}

// jsonASCII escapes as Python's json does: nothing outside ASCII remains.
func jsonASCII(s string) string {
	var b strings.Builder
	for _, r := range jsonPlain(s) {
		switch {
		case r < utf8.RuneSelf:
			b.WriteRune(r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&b, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}
