package secretref

import (
	"fmt"
	"io"
	"log/slog"
	"sync"

	"github.com/temper-images/temper/client/redact"
)

// Secret holds the bytes of a secret and prints as redact.Mark in every form. It
// is safe for concurrent use.
type Secret struct {
	// Behind a function, of which fmt prints an address where it cannot call
	// methods: in a field that is not exported.
	held func() *held
}

type held struct {
	mu    sync.Mutex
	bytes []byte
}

// NewSecret keeps b, which is the secret's from then on.
func NewSecret(b []byte) *Secret {
	h := &held{bytes: b}
	return &Secret{func() *held { return h }}
}

// Bytes are the secret's own bytes, to be read only, and only before Wipe. They
// are nil after it.
func (s Secret) Bytes() []byte {
	if s.held == nil {
		return nil
	}
	h := s.held()
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.bytes
}

// Reveal copies the secret into a string, for libraries that take nothing else.
// The copy cannot be wiped.
func (s Secret) Reveal() string { return string(s.Bytes()) }

// Wipe overwrites the bytes with zeroes and lets go of them.
func (s Secret) Wipe() {
	if s.held == nil {
		return
	}
	h := s.held()
	h.mu.Lock()
	defer h.mu.Unlock()
	clear(h.bytes)
	h.bytes = nil
}

// String is redact.Mark.
func (Secret) String() string { return redact.Mark }

// Format writes redact.Mark for every verb.
func (Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redact.Mark) }

// MarshalText is redact.Mark, in JSON and YAML too.
func (Secret) MarshalText() ([]byte, error) { return []byte(redact.Mark), nil }

// LogValue is redact.Mark.
func (Secret) LogValue() slog.Value { return slog.StringValue(redact.Mark) }
