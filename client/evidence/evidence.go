// Package evidence keeps documents about images in an object store or a folder,
// so that an audit years later finds each one as it was made: nothing is ever
// overwritten, everything is read back before it counts as stored, and an index
// per image digest names every document with its digest.
//
// Stores are Amazon S3 and what speaks its protocol, Google Cloud Storage, Azure
// Blob Storage (all through gocloud.dev/blob) and a folder. docs/evidence.md
// describes what lies where.
package evidence

import (
	"context"
	"fmt"
	"net/http"
	"time"
)

// DefaultFolder is the store when none is named: a folder below the working
// directory.
const DefaultFolder = "temper-evidence"

// Limits on what is read from a store, in bytes and counts. A document above
// MaxDocument is not stored either.
const (
	MaxDocument = 256 << 20
	maxRecord   = 8 << 20
	maxIndex    = 64 << 20
	maxRef      = 64 << 10
	maxKeys     = 100_000
)

// The values that stand for zero in Options.
const (
	defaultConcurrency = 8
	defaultPatience    = 2 * time.Minute
)

// Options are what a store is opened with. The zero value is useful.
type Options struct {
	// Credentials are used instead of those that the environment offers.
	Credentials Credentials
	// Concurrency bounds how many documents are under way at a time. Zero is 8.
	Concurrency int
	// Patience bounds how long one object is tried for while the store is
	// throttled, broken or out of reach. Zero is 2 minutes.
	Patience time.Duration
	// Immutable makes a document that exists with other content an error of
	// reason Conflict. Otherwise both are kept.
	Immutable bool
	// Verifier, when there is one, recognises signatures of an earlier run that
	// was broken off, so that documents need not be signed twice.
	Verifier Verifier
	// Progress, when it is not nil, hears of every object. It is called by one
	// goroutine at a time.
	Progress func(Event)
	// Transport carries the requests. Nil is http.DefaultTransport.
	Transport http.RoundTripper
}

// Verifier checks signatures of documents. A nil signature or bundle is not there
// to be checked; when both are, both have to be right.
type Verifier interface {
	Verify(ctx context.Context, data, signature, bundle []byte) error
	// VerifyEnvelope checks a bundle that is to hold the in-toto statement itself.
	VerifyEnvelope(ctx context.Context, statement, bundle []byte) error
}

// Event is something that happened to an object.
type Event struct {
	State EventState
	// Path is the object's place in the store.
	Path string
	// Size is in bytes; it is zero for a retry.
	Size int64
	// Err is why an attempt is repeated, and Wait how long the pause before is.
	Err  error
	Wait time.Duration
}

// EventState says what happened.
type EventState string

// The states.
const (
	// Sent says that the object was sent, read back and found right.
	Sent EventState = "sent"
	// Present says that the object was there already with the same content.
	Present EventState = "present"
	// Retry says that an attempt failed and is repeated.
	Retry EventState = "retry"
)

// Store is an evidence store. Its methods may be called at the same time, and so
// may those of other processes on the same store.
type Store struct {
	objects *objects
	opts    Options
}

// Open opens the store at a location: a URL of scheme s3, gs, azblob or file, as
// gocloud.dev documents them, with an optional folder as its path, or the path of
// a folder. Empty is DefaultFolder. No request is made yet. Errors are
// *LocationError and *Error. The store is to be closed.
func Open(ctx context.Context, location string, o Options) (*Store, error) {
	loc, err := parseLocation(location)
	if err != nil {
		return nil, err
	}
	if o.Concurrency <= 0 {
		o.Concurrency = defaultConcurrency
	}
	if o.Patience <= 0 {
		o.Patience = defaultPatience
	}
	if o.Transport == nil {
		o.Transport = http.DefaultTransport
	}
	objs := &objects{store: loc.String(), access: access[loc.scheme], prefix: loc.prefix, patience: o.Patience, progress: serialised(o.Progress)}
	if objs.bucket, err = openBucket(ctx, loc, o); err != nil {
		return nil, objs.failed("open", "", err, nil)
	}
	return &Store{objects: objs, opts: o}, nil
}

func openBucket(ctx context.Context, loc location, o Options) (bucket, error) {
	switch loc.scheme {
	case schemeS3:
		return openS3(ctx, loc, o)
	case schemeGCS:
		return openGCS(ctx, loc, o)
	case schemeAzure:
		return openAzure(ctx, loc, o)
	case schemeFile:
		return folder(loc.dir), nil
	}
	return nil, fmt.Errorf("unknown scheme %q", loc.scheme)
}

// Close releases what the store holds open.
func (s *Store) Close() error { return s.objects.bucket.close() }

// URL is where the store is. It has no secrets.
func (s *Store) URL() string { return s.objects.store }

// Locate is the address of an object by its path in the store. It has no secrets
// and names no endpoint.
func (s *Store) Locate(path string) string { return s.objects.locate(path) }
