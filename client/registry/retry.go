package registry

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// Retry says how persistent to be with a registry that throttles, fails or hangs up.
type Retry struct {
	// Attempts is how often something is tried in all; 0 means 6. Uploads count
	// anew with each piece that arrives.
	Attempts int
	// Base is the pause after the first attempt, which doubles with each; 0 means
	// half a second. Pauses vary by half, so that many clients do not come back at once.
	Base time.Duration
	// Cap is the longest pause, also when the registry wants a longer one
	// (Retry-After); 0 means a minute.
	Cap time.Duration
}

func (r Retry) defaults() Retry {
	if r.Attempts <= 0 {
		r.Attempts = 6
	}
	if r.Base <= 0 {
		r.Base = 500 * time.Millisecond
	}
	if r.Cap <= 0 {
		r.Cap = time.Minute
	}
	return r
}

// delay is the pause after an attempt, counted from 1; after is what the registry wants.
func (r Retry) delay(attempt int, after time.Duration) time.Duration {
	if after > 0 {
		return min(after, r.Cap)
	}
	d := r.Base << min(attempt-1, 20)
	if d <= 0 || d > r.Cap {
		d = r.Cap
	}
	return d - time.Duration(rand.Float64()*float64(d)/2) //nolint:gosec // spreads load; nobody gains by guessing it
}

// parseRetryAfter reads a Retry-After header (RFC 9110, section 10.2.3), which is a
// number of seconds or a date. It is 0 when it is neither or lies in the past.
func parseRetryAfter(header string, now time.Time) time.Duration {
	if s, err := strconv.ParseInt(header, 10, 64); err == nil {
		if s <= 0 {
			return 0
		}
		return time.Duration(min(s, int64(24*time.Hour/time.Second))) * time.Second
	}
	if t, err := http.ParseTime(header); err == nil {
		return max(0, min(t.Sub(now), 24*time.Hour))
	}
	return 0
}

// temporary tells statuses that may be others in a while.
func temporary(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return true
	case http.StatusNotImplemented, http.StatusHTTPVersionNotSupported:
		return false
	}
	return status >= 500
}

// persistent is a transport that repeats what may be repeated. It is below the one
// that logs in, so that requests for tokens are repeated too. Each attempt sends a
// body of its own: the transport above repeats requests after it has got a new token,
// with a body that has been read.
type persistent struct {
	inner    http.RoundTripper
	registry string
	retry    Retry
	notice   func(string)

	mu    sync.Mutex
	quiet time.Time // nobody asks before this: one was told to wait
}

func (p *persistent) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx := req.Context()
	if req.Body != nil && req.GetBody != nil {
		defer req.Body.Close()
	}
	for attempt := 1; ; attempt++ {
		if err := p.patience(ctx); err != nil {
			return nil, err
		}
		once := req
		if req.Body != nil && req.GetBody != nil {
			body, err := req.GetBody()
			if err != nil {
				return nil, err
			}
			once = req.Clone(ctx)
			once.Body = body
		}
		resp, err := p.inner.RoundTrip(once)
		if ctx.Err() != nil || attempt >= p.retry.Attempts || !repeatable(req, resp, err) {
			return resp, err
		}
		var after time.Duration
		why := err
		if resp != nil {
			after = parseRetryAfter(resp.Header.Get("Retry-After"), time.Now())
			why = fmt.Errorf("it answered %d %s", resp.StatusCode, http.StatusText(resp.StatusCode))
			_, _ = io.CopyN(io.Discard, resp.Body, maxErrorBody) // so that the connection can be used again
			resp.Body.Close()
		}
		d := p.retry.delay(attempt, after)
		p.notice(waiting(p.registry, d, why))
		if after > 0 {
			p.hush(d)
		}
		if err := sleep(ctx, d); err != nil {
			return nil, err
		}
	}
}

// repeatable tells whether a request that ended so may be sent again as it is. Uploads
// may only when they cannot have arrived: others have to ask what became of them.
func repeatable(req *http.Request, resp *http.Response, err error) bool {
	if req.Body != nil && req.Body != http.NoBody && req.GetBody == nil {
		return false
	}
	upload := req.Method == http.MethodPut || req.Method == http.MethodPatch
	if err != nil {
		if permanent(err) {
			return false
		}
		var op *net.OpError
		return !upload || errors.As(err, &op) && op.Op == "dial"
	}
	if upload {
		return resp.StatusCode == http.StatusTooManyRequests
	}
	return temporary(resp.StatusCode)
}

// permanent tells errors that do not go away.
func permanent(err error) bool {
	var (
		record    tls.RecordHeaderError
		cert      *tls.CertificateVerificationError
		authority x509.UnknownAuthorityError
		dns       *net.DNSError
	)
	if errors.As(err, &dns) {
		return dns.IsNotFound
	}
	return errors.As(err, &record) || errors.As(err, &cert) || errors.As(err, &authority) ||
		errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// hush has all requests wait, for as long as one was told to.
func (p *persistent) hush(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if until := time.Now().Add(d); until.After(p.quiet) {
		p.quiet = until
	}
}

func (p *persistent) patience(ctx context.Context) error {
	p.mu.Lock()
	d := time.Until(p.quiet)
	p.mu.Unlock()
	if d <= 0 {
		return nil
	}
	return sleep(ctx, d)
}

func waiting(registry string, d time.Duration, why error) string {
	return fmt.Sprintf("registry %s: trying again in %s: %s", registry, d.Round(100*time.Millisecond), plain(why.Error(), maxMessage))
}
