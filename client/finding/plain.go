package finding

import (
	"strings"
	"unicode"
)

// Plain makes what comes out of an image or a document safe for a terminal:
// control characters become question marks.
func Plain(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, s)
}
