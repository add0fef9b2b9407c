// Package redact keeps known secret values out of text: out of standard error,
// logs, traces, errors and the words of a crash.
//
// A value that was added is replaced by Mark wherever it stands, plain or in one
// of the encodings in which programs print what they were given: base64 in both
// alphabets and all three alignments, hexadecimal, escaped for URLs, for JSON
// (also JSON within JSON), for Go and for HTML.
//
// Values shorter than MinLength bytes are not replaced: they stand in every text
// by chance, and replacing them would spoil the text and tell where they stand.
package redact

import (
	"bytes"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/temper-images/temper/client/secretname"
)

// Mark stands where a secret stood.
const Mark = "«redacted»"

// MinLength is the length in bytes below which a value is not replaced.
const MinLength = 6

// Redactor knows secret values. The zero Redactor knows none and is ready for
// use, and so is a nil one, which cannot learn any. It is safe for concurrent use.
type Redactor struct {
	mu       sync.Mutex
	added    map[string]struct{}
	patterns map[string]struct{}
	current  atomic.Pointer[matcher]
}

// Add makes the value known. White space around it does not count, since files
// end with a line break and what is printed does not. It returns false when the
// value is too short to be replaced (see MinLength). The value is copied.
//
// What was written before is out of reach, so values are added before they are used.
func (r *Redactor) Add(value []byte) bool {
	value = bytes.TrimSpace(value)
	if len(value) < MinLength {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.added[string(value)]; ok {
		return true
	}
	if r.added == nil {
		r.added, r.patterns = map[string]struct{}{}, map[string]struct{}{}
	}
	r.added[string(value)] = struct{}{}
	for _, piece := range pieces(string(value)) {
		encodings(piece, r.patterns)
	}
	all := make([]string, 0, len(r.patterns))
	for p := range r.patterns {
		all = append(all, p)
	}
	r.current.Store(newMatcher(all))
	return true
}

// AddEnvironment adds the values of the variables whose names are likely a
// secret's, out of assignments as os.Environ gives them.
func (r *Redactor) AddEnvironment(environ []string) {
	for _, e := range environ {
		if name, value, ok := strings.Cut(e, "="); ok && secretname.Likely(name) && !isSwitch(value) {
			r.Add([]byte(value))
		}
	}
}

// isSwitch says whether the value turns something on or off, as in NO_AUTH=disabled.
func isSwitch(value string) bool {
	return slices.Contains([]string{"disabled", "enabled", "default", "required", "optional"}, strings.ToLower(value))
}

// String returns s without the known values.
func (r *Redactor) String(s string) string {
	m := r.matcher()
	if m == nil || !occurs(m, s) {
		return s
	}
	var st state
	return string(st.replace(m, nil, []byte(s), len(s)))
}

// Bytes returns b without the known values: b itself when it holds none.
func (r *Redactor) Bytes(b []byte) []byte {
	m := r.matcher()
	if m == nil || !occurs(m, b) {
		return b
	}
	var st state
	return st.replace(m, nil, b, len(b))
}

// Contains says whether a known value stands in s.
func (r *Redactor) Contains(s string) bool {
	m := r.matcher()
	return m != nil && occurs(m, s)
}

// Error returns an error whose text is without the known values, also those that
// are added later. errors.Is and errors.As see the error within, whose own text
// is as it was.
func (r *Redactor) Error(err error) error {
	if err == nil || r == nil {
		return err
	}
	if _, ok := err.(*filteredError); ok { //nolint:errorlint // what wraps one adds words of its own
		return err
	}
	return &filteredError{r, err}
}

type filteredError struct {
	r   *Redactor
	err error
}

func (e *filteredError) Error() string { return e.r.String(e.err.Error()) }
func (e *filteredError) Unwrap() error { return e.err }

func (r *Redactor) matcher() *matcher {
	if r == nil {
		return nil
	}
	return r.current.Load()
}
