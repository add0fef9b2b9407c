package evidence

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	digest "github.com/opencontainers/go-digest"
)

// An attempt may take this long, and longer the larger the object is. The slowest
// line that is worth waiting for carries slowest bytes a second.
const (
	attemptTime = 30 * time.Second
	slowest     = 64 << 10
)

// otherSize is how much larger, in bytes, another content of an object may be to
// be looked at. Signatures of one document differ in length.
const otherSize = 64 << 10

// objects reads and writes whole objects of a bucket, below a prefix, as often as
// it takes.
type objects struct {
	bucket   bucket
	store    string
	access   string
	prefix   string
	patience time.Duration
	progress func(Event)
}

// serialised lets one goroutine at a time through.
func serialised(f func(Event)) func(Event) {
	if f == nil {
		return func(Event) {}
	}
	var mu sync.Mutex
	return func(e Event) {
		mu.Lock()
		defer mu.Unlock()
		f(e)
	}
}

// try makes attempts until one succeeds, fails for good, or patience ends.
func (o *objects) try(ctx context.Context, op, path string, size int64, attempt func(context.Context) error) error {
	var last error
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval = 200 * time.Millisecond
	pause.Multiplier = 2
	pause.MaxInterval = 15 * time.Second
	skewed := false
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		limit := attemptTime + time.Duration(size/slowest)*time.Second
		actx, x := withExchange(ctx)
		actx, cancel := context.WithTimeout(actx, limit)
		defer cancel()
		err := attempt(actx)
		if err == nil {
			last = nil
			return struct{}{}, nil
		}
		if cause := context.Cause(ctx); cause != nil {
			last = cause
			return struct{}{}, backoff.Permanent(cause)
		}
		if actx.Err() != nil {
			err = fmt.Errorf("no answer within %s: %w", limit, context.DeadlineExceeded)
		}
		last = o.failed(op, path, err, x)
		var e *Error
		if !errors.As(last, &e) {
			return struct{}{}, backoff.Permanent(last)
		}
		switch {
		case e.Reason == Unreachable && !isHopeless(err):
		case e.Reason == ClockSkew && !skewed:
			// The SDK for S3 has learnt the store's time from the answer.
			skewed = true
		default:
			return struct{}{}, backoff.Permanent(last)
		}
		if _, wait, _ := x.snapshot(); wait > 0 {
			if wait > o.patience {
				e.Wait = wait
				return struct{}{}, backoff.Permanent(last)
			}
			return struct{}{}, errors.Join(&backoff.RetryAfterError{Duration: wait}, last)
		}
		return struct{}{}, last
	}, backoff.WithBackOff(pause), backoff.WithMaxElapsedTime(o.patience), backoff.WithNotify(func(_ error, wait time.Duration) {
		o.progress(Event{State: Retry, Path: path, Err: last, Wait: wait})
	}))
	if err == nil {
		return nil
	}
	if cause := context.Cause(ctx); cause != nil {
		return fmt.Errorf("evidence store %s: %s %s: %w", o.store, op, path, cause)
	}
	return last
}

// failed makes the error of a failed attempt.
func (o *objects) failed(op, path string, err error, x *exchange) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, errAbsent) || errors.Is(err, errPresent) || errors.Is(err, errTooBig) {
		return err
	}
	var already *Error
	if errors.As(err, &already) {
		return err
	}
	e := &Error{Store: o.store, Op: op, Path: path, Err: err}
	e.Reason, e.Skew = classify(op, err, x)
	switch e.Reason {
	case Denied:
		e.Advice = o.access
	case ClockSkew:
		e.Advice = "set this machine's clock"
	case NoBucket:
		e.Advice = "make it, or mend its name, region or endpoint; temper makes no buckets"
	case Full:
		e.Advice = "make room and run this again: what is stored already is not sent again"
	case Unreachable:
		e.Advice = "run this again: what is stored already is not sent again"
	}
	return e
}

func (o *objects) read(ctx context.Context, path string, limit int64) (data []byte, err error) {
	err = o.try(ctx, "read", path, limit, func(ctx context.Context) error {
		data, err = o.bucket.read(ctx, o.prefix+path, limit)
		return err
	})
	if err != nil && (errors.Is(err, errAbsent) || errors.Is(err, errTooBig)) {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return data, err
}

func (o *objects) create(ctx context.Context, path, mediaType string, data []byte) error {
	return o.try(ctx, "write", path, int64(len(data)), func(ctx context.Context) error {
		return o.bucket.create(ctx, o.prefix+path, mediaType, data)
	})
}

// list returns all paths that begin with prefix, in order.
func (o *objects) list(ctx context.Context, prefix string) (paths []string, err error) {
	err = o.try(ctx, "list", prefix, 0, func(ctx context.Context) error {
		paths = nil
		return o.bucket.list(ctx, o.prefix+prefix, func(key string) error {
			if len(paths) == maxKeys {
				return &Error{Reason: Refused, Store: o.store, Op: "list", Path: prefix, Err: fmt.Errorf("there are more than %d objects", maxKeys)}
			}
			paths = append(paths, strings.TrimPrefix(key, o.prefix))
			return nil
		})
	})
	return paths, err
}

// differs says that an object exists with other content.
const differs EventState = "differs"

// put makes sure that an object exists with the given content and reads back that
// it does. The state is Sent, Present, or differs: then other is what the object
// holds, unless that is much larger.
func (o *objects) put(ctx context.Context, path, mediaType string, data []byte) (state EventState, other []byte, err error) {
	limit := int64(len(data)) + otherSize
	state = Present
	have, err := o.read(ctx, path, limit)
	if errors.Is(err, errAbsent) {
		switch err := o.create(ctx, path, mediaType, data); {
		case err == nil:
			state = Sent
		case !errors.Is(err, errPresent):
			return "", nil, err
		}
		// It is present when somebody else was faster, or when the answer to an
		// earlier attempt of ours was lost.
		have, err = o.read(ctx, path, limit)
	}
	switch {
	case errors.Is(err, errTooBig):
		return differs, nil, nil
	case errors.Is(err, errAbsent):
		err = &Error{Reason: Damaged, Store: o.store, Op: "write", Path: path,
			Err: errors.New("it is gone after it was written"), Advice: "nothing names it yet; run this again"}
	case err == nil && !bytes.Equal(have, data) && state == Sent:
		err = &Error{Reason: Damaged, Store: o.store, Op: "write", Path: path,
			Err:    fmt.Errorf("it has digest %s after %s was written", digest.FromBytes(have), digest.FromBytes(data)),
			Advice: "nothing names it yet; see whether somebody else writes there, or the store is broken"}
	case err == nil && !bytes.Equal(have, data):
		return differs, have, nil
	}
	if err != nil {
		return "", nil, err
	}
	o.progress(Event{State: state, Path: path, Size: int64(len(data))})
	return state, nil, nil
}

// locate is an object's address, without the store's parameters.
func (o *objects) locate(path string) string {
	base, _, _ := strings.Cut(o.store, "?")
	if _, ok := o.bucket.(folder); ok {
		return filepath.ToSlash(filepath.Join(base, filepath.FromSlash(path)))
	}
	return base + "/" + path
}
