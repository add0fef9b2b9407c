package signing

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// attempts is how often a request is made before a service counts as out of order.
const attempts = 3

// The pauses between attempts.
const (
	firstPause   = 200 * time.Millisecond
	longestPause = 2 * time.Second
)

// maxAnswer bounds what is quoted of a server's complaint, in bytes.
const maxAnswer = 300

// transport makes the requests of sigstore-go's clients, which know no context and
// lose the reason when a server stays broken: it ends with the context, tries
// again when the server is at fault, and then says what the server said.
type transport struct {
	ctx  context.Context //nolint:containedctx // it stands for the one that the requests lack
	base http.RoundTripper
}

func newTransport(ctx context.Context) http.RoundTripper {
	return transport{ctx: ctx, base: http.DefaultTransport}
}

// RoundTrip implements http.RoundTripper.
func (t transport) RoundTrip(req *http.Request) (*http.Response, error) {
	return retry(t.ctx, func() (*http.Response, error) {
		again := req.Clone(t.ctx)
		if req.GetBody != nil {
			body, err := req.GetBody()
			if err != nil {
				return nil, backoff.Permanent(err)
			}
			again.Body = body
		}
		resp, err := t.base.RoundTrip(again)
		if err != nil {
			return nil, err
		}
		if resp.StatusCode < 500 && resp.StatusCode != http.StatusTooManyRequests {
			return resp, nil
		}
		defer resp.Body.Close()
		return nil, statusError(resp)
	})
}

func statusError(resp *http.Response) error {
	said, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	text := strings.Join(strings.Fields(string(said)), " ")
	if err != nil || text == "" {
		return errors.New(resp.Status)
	}
	return fmt.Errorf("%s: %s", resp.Status, text)
}

// retry tries f some times, with pauses, unless the error is backoff.Permanent.
func retry[T any](ctx context.Context, f backoff.Operation[T]) (T, error) {
	pauses := backoff.NewExponentialBackOff()
	pauses.InitialInterval, pauses.MaxInterval = firstPause, longestPause
	v, err := backoff.Retry(ctx, f, backoff.WithBackOff(pauses), backoff.WithMaxTries(attempts))
	var permanent *backoff.PermanentError
	if errors.As(err, &permanent) {
		err = permanent.Unwrap()
	}
	return v, err
}

// call bounds the work with a service by a timeout, and says which service failed.
func call[T any](ctx context.Context, timeout time.Duration, service, url string, f func(context.Context) (T, error)) (T, error) {
	limited, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("no answer within %s", timeout))
	defer cancel()
	v, err := interruptible(limited, func() (T, error) { return f(limited) })
	if err == nil {
		return v, nil
	}
	if ctx.Err() != nil {
		return v, context.Cause(ctx)
	}
	if limited.Err() != nil {
		err = context.Cause(limited)
	}
	return v, &ServiceError{Service: service, URL: url, Err: err}
}
