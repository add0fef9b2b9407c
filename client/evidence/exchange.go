package evidence

import (
	"context"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// exchange is what the last HTTP response of an attempt said beside its body. The
// SDKs' errors tell it in three ways, or not at all.
type exchange struct {
	mu         sync.Mutex
	status     int
	retryAfter time.Duration
	skew       time.Duration
}

type exchangeKey struct{}

func withExchange(ctx context.Context) (context.Context, *exchange) {
	x := &exchange{}
	return context.WithValue(ctx, exchangeKey{}, x), x
}

// recorder notes responses in the exchange of their context.
type recorder struct{ base http.RoundTripper }

func (r recorder) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := r.base.RoundTrip(req)
	x, ok := req.Context().Value(exchangeKey{}).(*exchange)
	if !ok {
		return resp, err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if err != nil {
		x.status, x.retryAfter = 0, 0
		return resp, err
	}
	now := time.Now()
	x.status = resp.StatusCode
	x.retryAfter = retryAfter(resp.Header, now)
	if date, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
		x.skew = now.Sub(date)
	}
	return resp, nil
}

// snapshot returns what was noted. The nil exchange has noted nothing.
func (x *exchange) snapshot() (status int, wait, skew time.Duration) {
	if x == nil {
		return 0, 0, 0
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.status, x.retryAfter, x.skew
}

// retryAfter reads how long a store asks to wait (RFC 9110, section 10.2.3, and
// Azure's own header).
func retryAfter(h http.Header, now time.Time) time.Duration {
	if ms, err := strconv.Atoi(h.Get("x-ms-retry-after-ms")); err == nil && ms > 0 {
		return time.Duration(ms) * time.Millisecond
	}
	value := h.Get("Retry-After")
	if s, err := strconv.Atoi(value); err == nil && s > 0 && s < 1<<30 {
		return time.Duration(s) * time.Second
	}
	if t, err := http.ParseTime(value); err == nil && t.After(now) {
		return t.Sub(now)
	}
	return 0
}
