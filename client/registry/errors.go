package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// ErrNotFound is in the errors about manifests, tags, blobs and repositories that
// are not there.
var ErrNotFound = errors.New("not found")

// StatusError says that a registry answered something else than was hoped for.
type StatusError struct {
	// Method and URL are of the request. The URL has no query and no user.
	Method, URL string
	// Status is the HTTP status.
	Status int
	// Codes are the error codes of the answer (distribution-spec, "Error Codes"),
	// none when it has no such body.
	Codes []string
	// Message is what the registry says in words, without control characters and
	// cut to some hundred bytes.
	Message string

	after time.Duration // what Retry-After wants; 0 is nothing
}

func (e *StatusError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s: the registry answered %d", e.Method, e.URL, e.Status)
	if t := http.StatusText(e.Status); t != "" {
		b.WriteString(" " + t)
	}
	if len(e.Codes) > 0 {
		b.WriteString(" (" + strings.Join(e.Codes, ", ") + ")")
	}
	if e.Message != "" {
		b.WriteString(": " + e.Message)
	}
	return b.String()
}

// Is makes errors with the status 404 ErrNotFound.
func (e *StatusError) Is(target error) bool {
	return target == ErrNotFound && e.Status == http.StatusNotFound
}

// UnreachableError says that a registry did not answer, could not, or did not want
// to for having been asked too often, however often it was tried.
type UnreachableError struct {
	// Registry is its host name and port.
	Registry string
	// Err is the last attempt's.
	Err error
}

func (e *UnreachableError) Error() string {
	if s := (*StatusError)(nil); errors.As(e.Err, &s) && s.Status == http.StatusTooManyRequests {
		return fmt.Sprintf("registry %s is throttling, try again later or log in: %v", e.Registry, e.Err)
	}
	return fmt.Sprintf("registry %s cannot be reached: %v", e.Registry, e.Err)
}

func (e *UnreachableError) Unwrap() error { return e.Err }

// DeniedError says that a registry wants other credentials.
type DeniedError struct {
	// Registry is its host name and port, and Repository the repository's name in it.
	Registry, Repository string
	// Err is a *StatusError.
	Err error
}

func (e *DeniedError) Error() string {
	return fmt.Sprintf("registry %s denies access to %s: log in to it, and check that the account may do this and that the repository exists: %v", e.Registry, e.Repository, e.Err)
}

func (e *DeniedError) Unwrap() error { return e.Err }

// IsAbsentSubject tells whether a registry refused a manifest because its subject, or
// something else that it names, is not in the repository. distribution-spec wants
// subjects to be allowed to be absent; GitLab's registry does not.
func IsAbsentSubject(err error) bool {
	var s *StatusError
	if !errors.As(err, &s) {
		return false
	}
	switch s.Status {
	case http.StatusBadRequest, http.StatusNotFound, http.StatusUnprocessableEntity:
	default:
		return false
	}
	for _, code := range []string{"MANIFEST_BLOB_UNKNOWN", "BLOB_UNKNOWN", "MANIFEST_UNKNOWN", "MANIFEST_INVALID"} {
		if slices.Contains(s.Codes, code) {
			return true
		}
	}
	m := strings.ToLower(s.Message)
	return strings.Contains(m, "blob unknown") || strings.Contains(m, "manifest unknown")
}

// IsImmutableTag tells whether a registry refused a manifest because the tag is there
// already and must not move. Registries have no common code for it: ECR says
// TAG_INVALID, Harbor PRECONDITION, Azure's DENIED.
func IsImmutableTag(err error) bool {
	var s *StatusError
	if !errors.As(err, &s) {
		return false
	}
	switch s.Status {
	case http.StatusBadRequest, http.StatusForbidden, http.StatusMethodNotAllowed, http.StatusConflict, http.StatusPreconditionFailed:
	default:
		return false
	}
	if slices.Contains(s.Codes, "TAG_INVALID") {
		return true
	}
	m := strings.ToLower(s.Message + " " + strings.Join(s.Codes, " "))
	for _, words := range []string{"immutab", "cannot be overwritten", "cannot overwrite", "already exists", "locked"} {
		if strings.Contains(m, words) {
			return true
		}
	}
	return false
}

// retryAfter is what the registry that gave this error wants waited; 0 is nothing.
func retryAfter(err error) time.Duration {
	var s *StatusError
	if errors.As(err, &s) {
		return s.after
	}
	return 0
}

// Sizes of what is kept of an error's body, in bytes.
const (
	maxErrorBody = 64 << 10
	maxMessage   = 400
	maxCodes     = 8
)

// refused makes an error out of an answer, reads what it says, and closes it.
func (r *Repository) refused(resp *http.Response, method string, u *url.URL) error {
	defer resp.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(resp.Body, maxErrorBody)) // what was cut off says nothing
	s := &StatusError{Method: method, URL: public(u), Status: resp.StatusCode, after: parseRetryAfter(resp.Header.Get("Retry-After"), time.Now())}
	s.Codes, s.Message = parseErrorBody(body)
	return r.classify(s)
}

func (r *Repository) classify(s *StatusError) error {
	switch {
	case s.Status == http.StatusUnauthorized, s.Status == http.StatusForbidden:
		return &DeniedError{r.name.RegistryStr(), r.name.RepositoryStr(), s}
	case temporary(s.Status):
		return &UnreachableError{r.name.RegistryStr(), s}
	}
	return s
}

// failed makes an error out of one of net/http or of go-containerregistry's
// transport. Theirs name addresses with their query, where signatures are.
func (r *Repository) failed(ctx context.Context, err error, method string, u *url.URL) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%s %s: %w", method, public(u), stopped(ctx))
	}
	if known(err) {
		return err
	}
	var t *transport.Error
	if errors.As(err, &t) {
		s := &StatusError{Method: method, URL: public(u), Status: t.StatusCode}
		if t.Request != nil && t.Request.URL != nil {
			s.Method, s.URL = t.Request.Method, public(t.Request.URL)
		}
		for _, d := range t.Errors[:min(len(t.Errors), maxCodes)] {
			s.Codes = append(s.Codes, plain(string(d.Code), 64))
			s.Message = join(s.Message, plain(d.Message, maxMessage))
		}
		if err := r.classify(s); s.Status == http.StatusUnauthorized || s.Status == http.StatusForbidden || temporary(s.Status) {
			return err
		}
		// Only logging in fails so: that there is no token server, or no registry,
		// must not pass for there being no such image.
		return &UnreachableError{r.name.RegistryStr(), fmt.Errorf("it does not answer as registries do: %s", plain(s.Error(), 2*maxMessage))}
	}
	var ue *url.Error
	for errors.As(err, &ue) {
		err = ue.Err
		ue = nil
	}
	if text, _, found := strings.Cut(err.Error(), "no token in bearer response"); found {
		// What follows is the token server's answer as a whole.
		err = errors.New(text + "the token server's answer has no token")
	}
	return &UnreachableError{r.name.RegistryStr(), fmt.Errorf("%s %s: %w", method, public(u), err)}
}

// stopped is why a context was cancelled. When it was because a request beside this
// one failed, as with errgroup, that one's answer is not what became of this one: a
// request that was not made must not count as ErrNotFound.
func stopped(ctx context.Context) error {
	if cause := context.Cause(ctx); !known(cause) && !errors.Is(cause, ErrNotFound) {
		return cause
	}
	return ctx.Err()
}

// known tells errors that have their final form.
func known(err error) bool {
	var u *UnreachableError
	var d *DeniedError
	var s *StatusError
	return errors.As(err, &u) || errors.As(err, &d) || errors.As(err, &s)
}

// public is an address without what may be secret in it.
func public(u *url.URL) string {
	c := url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}
	return plain(c.String(), 300)
}

// parseErrorBody reads the body of an error: the codes and the words. Where it is not
// what distribution-spec says, the words are its beginning, if it is plain text.
func parseErrorBody(body []byte) (codes []string, message string) {
	var doc struct {
		Errors []struct {
			Code    any `json:"code"`
			Message any `json:"message"`
		} `json:"errors"`
		// Of registries that have a way of their own.
		Message any `json:"message"`
	}
	if json.Unmarshal(body, &doc) != nil {
		text := strings.TrimSpace(string(body))
		if strings.HasPrefix(text, "<") {
			return nil, "" // a page for a browser
		}
		return nil, plain(text, maxMessage)
	}
	for _, e := range doc.Errors[:min(len(doc.Errors), maxCodes)] {
		if code, ok := e.Code.(string); ok && code != "" {
			codes = append(codes, plain(code, 64))
		}
		if words, ok := e.Message.(string); ok {
			message = join(message, plain(words, maxMessage))
		}
	}
	if words, ok := doc.Message.(string); ok && message == "" {
		message = plain(words, maxMessage)
	}
	return codes, message
}

func join(a, b string) string {
	switch {
	case a == "":
		return b
	case b == "" || len(a) >= maxMessage:
		return a
	}
	return a + "; " + b
}

// plain makes text of a stranger fit to be shown: one line, of at most n bytes and a mark.
func plain(s string, n int) string {
	s = strings.ToValidUTF8(s, "")
	s = strings.Map(func(c rune) rune {
		switch {
		case unicode.IsSpace(c):
			return ' '
		case !unicode.IsPrint(c):
			return -1
		}
		return c
	}, s)
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > n {
		s = strings.ToValidUTF8(s[:n], "") + "…"
	}
	return s
}
