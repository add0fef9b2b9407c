package secretstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"strings"
	"unicode"

	"github.com/temper-images/temper/client/secretref"
)

// The kinds of failure, for errors.Is.
var (
	// ErrNotFound says that there is no such secret, version or key.
	ErrNotFound = errors.New("not found")
	// ErrDenied says that the store refused the credentials, or refused them this secret.
	ErrDenied = errors.New("refused")
	// ErrUnavailable says that the store did not answer, or not usefully: it is
	// down, sealed, overloaded or not to be trusted.
	ErrUnavailable = errors.New("not available")
	// ErrTimeout says that the store did not answer in time.
	ErrTimeout = errors.New("timed out")
	// ErrSetup says that something in this process's surroundings is missing or
	// wrong: an address, credentials, a file.
	ErrSetup = errors.New("set up wrongly")
	// ErrUnusable says that what was found is no usable secret: empty, too long, not
	// the form that the reference supposes.
	ErrUnusable = errors.New("not usable")
	// ErrFailed says that the provider failed for a reason of its own.
	ErrFailed = errors.New("failed")
)

// Error says why a reference could not be resolved. Its text holds no secret and
// no credential of a store. It wraps one of the kinds and, where the context
// ended, the context's error; the provider's own error, whose text may hold
// anything, is not wrapped.
type Error struct {
	// Reference is the reference without its options.
	Reference string
	// Reason says what went wrong.
	Reason string
	// Advice says what to do, or is empty.
	Advice string

	kind    error
	context error
}

func (e *Error) Error() string {
	s := fmt.Sprintf("resolve %s: %s", e.Reference, e.Reason)
	if e.Advice != "" {
		s += ": " + e.Advice
	}
	return s
}

func (e *Error) Unwrap() []error {
	if e.context != nil {
		return []error{e.kind, e.context}
	}
	return []error{e.kind}
}

// reason is a failure in our own words.
type reason struct {
	kind   error
	what   string
	advice string
}

func (r *reason) Error() string { return r.what }

// broken is a panic of a provider.
type broken struct{ value any }

func (b *broken) Error() string { return fmt.Sprintf("the provider broke off with a %T", b.value) }

// failure makes an Error of what a provider, or a check before it, returned.
func (r *Resolver) failure(ref secretref.Reference, err error) *Error {
	e := &Error{Reference: ref.String(), kind: ErrFailed}
	var why *reason
	var b *broken
	switch {
	case errors.As(err, &why):
	case errors.As(err, &b):
		// A provider panics with the error that it had no way to return.
		if inner, ok := b.value.(error); ok && !isRuntime(inner) {
			return r.failure(ref, inner)
		}
		why = &reason{ErrFailed, b.Error(), ""}
	default:
		why = explain(ref.Provider, err)
	}
	e.kind = why.kind
	e.Reason, e.Advice = r.secrets.String(why.what), r.secrets.String(why.advice)
	for _, end := range []error{context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, end) {
			e.context = end
		}
	}
	return e
}

func isRuntime(err error) bool {
	var e interface{ RuntimeError() }
	return errors.As(err, &e)
}

// yamlError matches errors of a YAML parser, which quote what they could not parse.
var yamlError = regexp.MustCompile(`yaml:|as yaml|unmarshal`)

func explain(name string, err error) *reason {
	var path *fs.PathError
	switch p := providers[name]; {
	case errors.As(err, &path):
	case name != "sops" && yamlError.MatchString(err.Error()):
		return &reason{ErrUnusable, "what is kept there is no YAML or JSON mapping", "leave out the part after # to take the whole"}
	case p.explain != nil:
		if why, ok := p.explain(err); ok {
			return &why
		}
	}
	return general(err)
}

var (
	dial       = regexp.MustCompile(`dial (?:tcp|unix|udp)[46]? [^:\s]*(?::\d+)?: .*`)
	userinfo   = regexp.MustCompile(`://[^/@\s"]*@`)
	queries    = regexp.MustCompile(`\?[^\s"']*`)
	connection = []string{
		"connection refused", "no such host", "connection reset", "network is unreachable", "no route to host", "broken pipe",
		"server misbehaving", "EOF",
	}
)

// general explains what all providers can run into.
func general(err error) *reason {
	text := err.Error()
	var path *fs.PathError
	switch {
	case errors.As(err, &path):
		kind := ErrSetup
		if errors.Is(err, fs.ErrNotExist) {
			kind = ErrNotFound
		}
		return &reason{kind, fmt.Sprintf("%s: %v", path.Path, path.Err), ""}
	case errors.Is(err, context.Canceled):
		return &reason{ErrFailed, "it was cancelled", ""}
	case errors.Is(err, context.DeadlineExceeded), strings.Contains(text, "i/o timeout"), strings.Contains(text, "deadline exceeded"),
		strings.Contains(text, "Client.Timeout"), strings.Contains(text, "TLS handshake timeout"):
		return &reason{ErrTimeout, "the store did not answer in time", "check that it runs and can be reached from here"}
	case strings.Contains(text, "HTTP response to HTTPS client"):
		return &reason{ErrUnavailable, "the store does not speak TLS at its address", "write http:// if that is meant"}
	case strings.Contains(text, "x509:"), strings.Contains(text, "tls:"):
		i := max(strings.Index(text, "x509:"), strings.Index(text, "tls:"), 0)
		return &reason{ErrUnavailable, "the store's certificate is not trusted: " + clean(text[i:]), "add its authority to SSL_CERT_FILE"}
	}
	for _, c := range connection {
		if strings.Contains(text, c) {
			what := c
			if m := dial.FindString(text); m != "" {
				what = m
			}
			return &reason{ErrUnavailable, "the store cannot be reached: " + clean(what), "check its address and that it runs"}
		}
	}
	return &reason{ErrFailed, clean(text), ""}
}

// clean makes a line of foreign text fit for a message: one line, no credentials
// or queries of URLs, no control characters, cut short.
func clean(s string) string {
	s, _, _ = strings.Cut(strings.TrimSpace(s), "\n")
	s = userinfo.ReplaceAllString(s, "://")
	s = queries.ReplaceAllString(s, "")
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, s)
	if r := []rune(s); len(r) > 240 {
		s = string(r[:240]) + "…"
	}
	return s
}
