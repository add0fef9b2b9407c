package config

import (
	"fmt"
	"strings"

	"github.com/moby/buildkit/util/suggest"
)

// Error is one thing wrong in temper.yaml or in an override of it. Where there
// are several, they come joined (errors.Join).
type Error struct {
	// File, Line and Column say where, both counted from 1; File is empty when
	// an override is at fault, and Line is 0 when the file as a whole is.
	File   string
	Line   int
	Column int
	// Source names the override at fault: "build argument TEMPER_HARDEN_LEVEL".
	Source string
	// Field is the path of the field, "harden.level", or empty.
	Field string
	// Msg says what is wrong.
	Msg string
	// Allowed lists what would be right, where that can be listed.
	Allowed []string
	// Suggestion is the allowed value that was probably meant, or empty.
	Suggestion string
}

func (e *Error) Error() string {
	var b strings.Builder
	switch {
	case e.File != "" && e.Line > 0:
		fmt.Fprintf(&b, "%s:%d:%d: ", e.File, e.Line, e.Column)
	case e.File != "":
		fmt.Fprintf(&b, "%s: ", e.File)
	case e.Source != "":
		fmt.Fprintf(&b, "%s: ", e.Source)
	}
	if e.Field != "" {
		fmt.Fprintf(&b, "%s: ", e.Field)
	}
	b.WriteString(e.Msg)
	if len(e.Allowed) > 0 {
		b.WriteString("; allowed: " + strings.Join(e.Allowed, ", "))
	}
	if e.Suggestion != "" {
		fmt.Fprintf(&b, "; did you mean %q?", e.Suggestion)
	}
	return b.String()
}

// unknown is an Error for a word that is not among those allowed.
func unknown(word string, allowed []string) *Error {
	e := &Error{Msg: quote(word) + " is not known", Allowed: allowed}
	if s, ok := suggest.Search(word, allowed, true); ok {
		e.Suggestion = s
	}
	return e
}

// judge says what is wrong with one value of a field, or nil.
func (f field) judge(v string) *Error {
	if f.allowed != nil {
		for _, a := range f.allowed {
			if v == a {
				return nil
			}
		}
		return unknown(v, f.allowed)
	}
	if msg := f.check(v); msg != "" {
		if f.secret {
			return &Error{Msg: fmt.Sprintf("its value %s; allowed: %s", msg, f.form)}
		}
		return &Error{Msg: fmt.Sprintf("%s %s; allowed: %s", quote(v), msg, f.form)}
	}
	return nil
}

// maxQuoted bounds how much of a bad value an error repeats, in bytes.
const maxQuoted = 80

func quote(s string) string {
	if len(s) > maxQuoted {
		return fmt.Sprintf("%q…", s[:maxQuoted])
	}
	return fmt.Sprintf("%q", s)
}
