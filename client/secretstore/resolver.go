// Package secretstore resolves secret references through the providers of helmfile/vals:
// Vault, AWS, Google, Azure and Kubernetes, SOPS, files and the environment.
//
// The providers take no context, log, panic on some failures and quote what they
// could not read. What surrounds them here gives a fetch an end, keeps their
// words away from the terminal and lets no error of theirs through as it is.
package secretstore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/helmfile/vals/pkg/api"

	"github.com/temper-images/temper/client/redact"
	"github.com/temper-images/temper/client/secretref"
)

// The limits of a zero Options.
const (
	DefaultTimeout = 30 * time.Second
	DefaultMaxSize = 64 << 10
)

// Options are how references are resolved.
type Options struct {
	// Secrets learns every secret before it is handed out. Nil means that nobody is told.
	Secrets *redact.Redactor
	// Timeout bounds each fetch; 0 means DefaultTimeout.
	Timeout time.Duration
	// MaxSize bounds a secret, in bytes; 0 means DefaultMaxSize, which is also what
	// AWS and Google keep at most.
	MaxSize int64
	// Providers are the only providers that are asked; nil means all.
	Providers []string
}

// Resolver resolves references, each document once in its life, and keeps what
// it fetched in memory until Close. It is safe for concurrent use.
type Resolver struct {
	o       Options
	secrets *redact.Redactor

	mu        sync.Mutex
	documents map[string]*document
	instances map[string]api.Provider
	given     []*secretref.Secret
	closed    bool
}

// ErrClosed says that a Resolver was used after Close.
var ErrClosed = errors.New("secrets are no longer resolved: the run has ended")

// NewResolver makes a resolver, which is to be closed.
func NewResolver(o Options) *Resolver {
	if o.Timeout <= 0 {
		o.Timeout = DefaultTimeout
	}
	if o.MaxSize <= 0 {
		o.MaxSize = DefaultMaxSize
	}
	r := &Resolver{o: o, secrets: o.Secrets, documents: map[string]*document{}, instances: map[string]api.Provider{}}
	if r.secrets == nil {
		r.secrets = &redact.Redactor{}
	}
	// The stores' own credentials must not come back in an error.
	r.secrets.AddEnvironment(os.Environ())
	return r
}

// Text resolves a value of which only the references are secret, such as an
// address or a header. A value without references is returned as it is.
func (r *Resolver) Text(ctx context.Context, v secretref.Value) (string, error) {
	b, err := r.join(ctx, v)
	if err != nil {
		return "", err
	}
	defer clear(b)
	return string(b), nil
}

// Secret resolves a value that is secret as a whole, also where it is plain text.
// The resolver wipes the secret in Close; the caller may do it before.
func (r *Resolver) Secret(ctx context.Context, v secretref.Value) (*secretref.Secret, error) {
	b, err := r.join(ctx, v)
	if err != nil {
		return nil, err
	}
	r.secrets.Add(b)
	s := secretref.NewSecret(b)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		s.Wipe()
		return nil, ErrClosed
	}
	r.given = append(r.given, s)
	return s, nil
}

// Close wipes every secret that was handed out and lets go of what was fetched.
// Strings that providers and Text made cannot be wiped; the memory is freed.
func (r *Resolver) Close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.given {
		s.Wipe()
	}
	r.given, r.documents, r.instances, r.closed = nil, nil, nil, true
}

func (r *Resolver) join(ctx context.Context, v secretref.Value) ([]byte, error) {
	var out []byte
	for _, p := range v.Parts() {
		if p.Reference == nil {
			out = append(out, p.Text...)
			continue
		}
		value, err := r.resolve(ctx, *p.Reference)
		if err != nil {
			clear(out)
			return nil, err
		}
		out = append(out, value...)
	}
	return out, nil
}

func (r *Resolver) resolve(ctx context.Context, ref secretref.Reference) (string, error) {
	if r.o.Providers != nil && !slices.Contains(r.o.Providers, ref.Provider) {
		allowed := "none"
		if len(r.o.Providers) > 0 {
			allowed = strings.Join(r.o.Providers, ", ")
		}
		return "", &Error{ref.String(), "this provider is not allowed here", "allowed: " + allowed, ErrSetup, nil}
	}
	for option, value := range ref.Options() {
		if strings.HasSuffix(option, "_env") {
			r.secrets.Add([]byte(os.Getenv(value)))
		}
	}
	whole, err := r.fetch(ctx, ref)
	if err != nil {
		if errors.Is(err, ErrClosed) {
			return "", err
		}
		return "", r.failure(ref, err)
	}
	value, err := pick(whole, ref.Keys)
	if err == nil {
		err = r.usable(value)
	}
	if err != nil {
		return "", r.failure(ref, err)
	}
	r.secrets.Add([]byte(value))
	return value, nil
}

func (r *Resolver) usable(value string) error {
	switch {
	case value == "":
		return &reason{ErrUnusable, "the secret is empty", ""}
	case int64(len(value)) > r.o.MaxSize:
		return &reason{ErrUnusable, fmt.Sprintf("the secret has %d bytes, and at most %d are taken", len(value), r.o.MaxSize), ""}
	}
	return nil
}

// pick follows the keys through a document. The last value is text, a number
// that reads the same in any form, or true or false.
func pick(whole any, keys []string) (string, error) {
	at := whole
	for i, key := range keys {
		m, ok := mapping(at)
		if !ok {
			return "", &reason{ErrNotFound, fmt.Sprintf("there is no mapping at #/%s", strings.Join(keys[:i], "/")), ""}
		}
		if at, ok = m[key]; !ok {
			return "", &reason{ErrNotFound, "the secret has no such key", ""}
		}
	}
	switch v := at.(type) {
	case string:
		return v, nil
	case json.Number:
		return v.String(), nil
	case bool, int, int64, uint64:
		return fmt.Sprint(v), nil
	case nil:
		return "", &reason{ErrUnusable, "the secret is null", ""}
	case float32, float64:
		return "", &reason{ErrUnusable, "the secret is a number with a fraction, of which the digits are lost", "put it into quotation marks where it is kept"}
	}
	return "", &reason{ErrUnusable, "the secret is a mapping or a list", "name a key in it"}
}

func mapping(v any) (map[string]any, bool) {
	switch m := v.(type) {
	case map[string]any:
		return m, true
	case map[any]any:
		out := make(map[string]any, len(m))
		for k, v := range m {
			out[fmt.Sprint(k)] = v
		}
		return out, true
	}
	return nil, false
}
