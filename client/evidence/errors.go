package evidence

import (
	"fmt"
	"regexp"
	"strings"
	"time"

	digest "github.com/opencontainers/go-digest"
)

// Reason says why a store did not do what was asked.
type Reason string

// The reasons.
const (
	// Denied says that there are no credentials, or that they do not suffice.
	Denied Reason = "denied"
	// ClockSkew says that this machine's clock is wrong, or the store's.
	ClockSkew Reason = "clock skew"
	// NoBucket says that there is no such bucket, container or account.
	NoBucket Reason = "no bucket"
	// Full says that the store has no room, or a quota is used up.
	Full Reason = "full"
	// Unreachable says that the store did not answer, or only to ask for patience.
	Unreachable Reason = "unreachable"
	// Conflict says that the object exists with other content.
	Conflict Reason = "conflict"
	// Damaged says that the store holds other bytes than were sent or than the
	// index names.
	Damaged Reason = "damaged"
	// Refused is everything else.
	Refused Reason = "refused"
)

// Error is what went wrong with a store.
type Error struct {
	Reason Reason
	// Store is where the store is, without secrets.
	Store string
	// Op is what was tried: "open", "read", "write", "list".
	Op string
	// Path is the object's place in the store, or empty.
	Path string
	// Skew is by how much this machine's clock is ahead of the store's. It is
	// known for reason ClockSkew only, and then not always.
	Skew time.Duration
	// Wait is how long the store asks to wait, when that is too long.
	Wait time.Duration
	// Advice is what to do.
	Advice string
	Err    error
}

func (e *Error) Error() string {
	what := e.Op
	if e.Path != "" {
		what += " " + e.Path
	}
	var why string
	switch e.Reason {
	case Denied:
		why = "access denied"
	case ClockSkew:
		why = "the clocks of this machine and of the store differ too much"
		if e.Skew != 0 {
			why = fmt.Sprintf("this machine's clock is %s %s the store's", e.Skew.Abs().Round(time.Second), map[bool]string{true: "ahead of", false: "behind"}[e.Skew > 0])
		}
	case NoBucket:
		why = "there is no such bucket"
	case Full:
		why = "the store is full or a quota is used up"
	case Unreachable:
		why = "the store does not answer"
		if e.Wait != 0 {
			why = fmt.Sprintf("the store asks to wait %s", e.Wait)
		}
	case Conflict:
		why = "it exists with other content"
	case Damaged:
		why = "the store holds other bytes"
	default:
		why = "the store refused"
	}
	text := fmt.Sprintf("evidence store %s: %s: %s", e.Store, what, why)
	if e.Err != nil {
		text += ": " + clean(describe(e.Err))
	}
	if e.Advice != "" {
		text += "; " + e.Advice
	}
	return text
}

func (e *Error) Unwrap() error { return e.Err }

// queries are the parameters of URLs in the texts of the SDKs' errors: shared
// access signatures and upload sessions are among them.
var queries = regexp.MustCompile(`(https?://[^\s"'?]*)\?[^\s"']*`)

// clean makes an SDK's error fit for one line of a log.
func clean(text string) string {
	return strings.Join(strings.Fields(queries.ReplaceAllString(text, "$1")), " ")
}

// NotStoredError says that the store has nothing about an image.
type NotStoredError struct {
	Store string
	// Name is the image as it was asked for.
	Name string
}

func (e *NotStoredError) Error() string {
	return fmt.Sprintf("evidence store %s has nothing about %s", e.Store, e.Name)
}

// RecordError says that a document of the index cannot be trusted.
type RecordError struct {
	Path string
	Err  error
}

func (e *RecordError) Error() string {
	return fmt.Sprintf("index document %s: %v", e.Path, e.Err)
}
func (e *RecordError) Unwrap() error { return e.Err }

// VerificationError says that evidence about an image is not as it was stored.
type VerificationError struct {
	Image    digest.Digest
	Problems []Problem
}

func (e *VerificationError) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = "\n  " + p.String()
	}
	return fmt.Sprintf("the evidence about %s cannot be trusted:%s", e.Image, strings.Join(lines, ""))
}

// credentialsError says that there are none, or that they cannot be read.
type credentialsError struct{ err error }

func (e *credentialsError) Error() string { return e.err.Error() }
func (e *credentialsError) Unwrap() error { return e.err }
