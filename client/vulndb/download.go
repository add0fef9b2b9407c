package vulndb

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"
	digest "github.com/opencontainers/go-digest"
)

const (
	// fruitless is after how many attempts that brought nothing a download ends.
	fruitless = 5
	// stall is how long a server may be silent.
	stall = time.Minute
	// maxRetryAfter bounds what a server may ask for.
	maxRetryAfter = time.Minute
)

// getter fetches over HTTP. An attempt that breaks off is taken up again where it
// ended, by this process or by a later one.
type getter struct {
	Options
	client *http.Client
}

// attemptError is a failed attempt; another may succeed.
type attemptError struct {
	err   error
	after time.Duration
}

func (e *attemptError) Error() string { return e.err.Error() }
func (e *attemptError) Unwrap() error { return e.err }

func again(err error) error { return &attemptError{err: err} }

// retry calls attempt until it succeeds, fails for good, or has brought nothing
// for a while. attempt says whether it brought something.
func (g getter) retry(ctx context.Context, attempt func() (bool, error)) error {
	wait := backoff.NewExponentialBackOff()
	if g.firstDelay > 0 {
		wait.InitialInterval = g.firstDelay
	}
	for left := fruitless; ; {
		brought, err := attempt()
		var temporary *attemptError
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case !errors.As(err, &temporary):
			return err
		case brought:
			left = fruitless
			wait.Reset()
		default:
			if left--; left == 0 {
				return err
			}
		}
		timer := time.NewTimer(max(wait.NextBackOff(), temporary.after))
		select {
		case <-ctx.Done():
			timer.Stop()
			return context.Cause(ctx)
		case <-timer.C:
		}
	}
}

// get asks for what is at u from offset on. The caller closes the body.
func (g getter) get(ctx context.Context, u *url.URL, offset int64) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), http.NoBody)
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", "temper")
	// A transparently decompressed body has no offsets.
	req.Header.Set("Accept-Encoding", "identity")
	if offset > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", offset))
	}
	resp, err := g.client.Do(req)
	if err != nil {
		var ue *url.Error
		if errors.As(err, &ue) {
			ue.URL = u.Redacted()
		}
		return nil, again(err)
	}
	switch resp.StatusCode {
	case http.StatusOK, http.StatusPartialContent, http.StatusRequestedRangeNotSatisfiable:
		return resp, nil
	}
	resp.Body.Close()
	err = fmt.Errorf("GET %s: the server answers %s", u.Redacted(), resp.Status)
	switch {
	case resp.StatusCode >= 500, resp.StatusCode == http.StatusTooManyRequests, resp.StatusCode == http.StatusRequestTimeout:
		seconds, _ := strconv.Atoi(resp.Header.Get("Retry-After"))
		return nil, &attemptError{err, min(max(time.Duration(seconds)*time.Second, 0), maxRetryAfter)}
	}
	return nil, err
}

// document fetches something small.
func (g getter) document(ctx context.Context, u *url.URL, limit int64) ([]byte, error) {
	var dt []byte
	err := g.retry(ctx, func() (bool, error) {
		ctx, cancel := context.WithTimeout(ctx, stall)
		defer cancel()
		resp, err := g.get(ctx, u, 0)
		if err != nil {
			return false, err
		}
		defer resp.Body.Close()
		dt, err = io.ReadAll(io.LimitReader(resp.Body, limit+1))
		if err != nil {
			return false, again(fmt.Errorf("GET %s: %w", u.Redacted(), err))
		}
		if int64(len(dt)) > limit {
			return false, &InvalidError{What: u.Redacted(), Err: fmt.Errorf("it is larger than %d bytes", limit)}
		}
		return true, nil
	})
	return dt, err
}

// archive fetches the archive with that digest and opens it. The part that came is
// kept until the whole is installed.
func (g getter) archive(ctx context.Context, u *url.URL, sum digest.Digest) (io.ReadCloser, int64, error) {
	dir := filepath.Join(g.Dir, "downloads")
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // as the store itself
		return nil, 0, err
	}
	if err := sum.Validate(); err != nil {
		return nil, 0, err
	}
	name := filepath.Join(dir, sum.Encoded()+".part")
	if err := removeOtherParts(dir, name); err != nil {
		return nil, 0, err
	}
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o644) //nolint:gosec // as the store itself
	if err != nil {
		return nil, 0, err
	}
	size, err := g.complete(ctx, f, u, sum)
	if err != nil {
		if isFull(err) {
			// What fills the disk is of no use to anybody.
			err = errors.Join(fmt.Errorf("fetch the vulnerability database to %s: %w", dir, err), os.Remove(name))
		}
		return nil, 0, errors.Join(err, f.Close())
	}
	return &part{f, name}, size, nil
}

// part is a complete download; closing it after it was read removes it.
type part struct {
	*os.File
	name string
}

func (p *part) Close() error { return errors.Join(p.File.Close(), os.Remove(p.name)) }

// removeOtherParts gives up downloads of archives that are not the newest any more.
func removeOtherParts(dir, keep string) error {
	list, err := filepath.Glob(filepath.Join(dir, "*.part"))
	if err != nil {
		return err
	}
	for _, name := range list {
		if name != keep {
			err = errors.Join(err, os.Remove(name))
		}
	}
	return err
}

// complete fills f until it has the digest, and leaves it at its beginning.
func (g getter) complete(ctx context.Context, f *os.File, u *url.URL, sum digest.Digest) (int64, error) {
	fi, err := f.Stat()
	if err != nil {
		return 0, err
	}
	resumed := fi.Size() > 0
	for {
		if err := g.retry(ctx, func() (bool, error) { return g.fill(ctx, f, u) }); err != nil {
			return 0, err
		}
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return 0, err
		}
		got, err := sum.Algorithm().FromReader(contextReader{ctx, f})
		if err != nil {
			return 0, err
		}
		if got == sum {
			size, err := f.Seek(0, io.SeekCurrent)
			if err != nil {
				return 0, err
			}
			_, err = f.Seek(0, io.SeekStart)
			return size, err
		}
		if err := f.Truncate(0); err != nil {
			return 0, err
		}
		if !resumed {
			return 0, &InvalidError{What: u.Redacted(), Err: fmt.Errorf("the archive has the checksum %s instead of %s", got, sum)}
		}
		// The beginning may have been of something else.
		resumed = false
	}
}

// fill appends to f what is still missing. It says whether anything came.
func (g getter) fill(ctx context.Context, f *os.File, u *url.URL) (bool, error) {
	offset, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return false, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	silent := time.AfterFunc(stall, func() { cancel(fmt.Errorf("the server is silent for %s", stall)) })
	defer silent.Stop()
	resp, err := g.get(ctx, u, offset)
	if err != nil {
		return false, err
	}
	defer resp.Body.Close()
	start, total := contentRange(resp.Header.Get("Content-Range"))
	switch {
	case resp.StatusCode == http.StatusRequestedRangeNotSatisfiable:
		if total == offset {
			return true, nil
		}
		return false, errors.Join(again(fmt.Errorf("GET %s: the server has fewer bytes than came before", u.Redacted())), f.Truncate(0))
	case resp.StatusCode == http.StatusPartialContent && start != offset:
		return false, errors.Join(again(fmt.Errorf("GET %s: the server answers with other bytes than it was asked for", u.Redacted())), f.Truncate(0))
	case resp.StatusCode == http.StatusOK:
		// The server does not know ranges and sends everything.
		if err := f.Truncate(0); err != nil {
			return false, err
		}
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return false, err
		}
		offset, total = 0, max(resp.ContentLength, 0)
	}
	if total > g.MaxArchive {
		return false, g.tooLarge(u)
	}
	w := &progressWriter{w: f, done: offset, total: total, report: func(done int64) {
		silent.Reset(stall)
		g.Progress(Progress{Downloading, done, total})
	}}
	n, err := io.Copy(w, io.LimitReader(resp.Body, g.MaxArchive-offset+1))
	var write *os.PathError
	switch {
	case offset+n > g.MaxArchive:
		return false, g.tooLarge(u)
	case errors.As(err, &write):
		return false, err
	case err != nil:
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return n > 0, again(fmt.Errorf("GET %s: the download broke off after %d bytes: %w", u.Redacted(), offset+n, err))
	case total > 0 && offset+n < total:
		return n > 0, again(fmt.Errorf("GET %s: the download broke off after %d of %d bytes", u.Redacted(), offset+n, total))
	}
	return true, nil
}

func (g getter) tooLarge(u *url.URL) error {
	return &InvalidError{What: u.Redacted(), Err: fmt.Errorf("the archive is larger than %d bytes", g.MaxArchive)}
}

// contentRange reads "bytes START-END/TOTAL" and "bytes */TOTAL" (RFC 9110,
// section 14.4). What is not said is -1 and 0.
func contentRange(s string) (start, total int64) {
	rest, ok := strings.CutPrefix(s, "bytes ")
	span, size, cut := strings.Cut(rest, "/")
	if !ok || !cut {
		return -1, 0
	}
	if n, err := strconv.ParseInt(size, 10, 64); err == nil && n > 0 {
		total = n
	}
	first, _, _ := strings.Cut(span, "-")
	if n, err := strconv.ParseInt(first, 10, 64); err == nil {
		return n, total
	}
	return -1, total
}

// progressWriter tells how much was written, at most once in 64 KiB.
type progressWriter struct {
	w           io.Writer
	done, total int64
	told        int64
	report      func(done int64)
}

func (p *progressWriter) Write(b []byte) (int, error) {
	n, err := p.w.Write(b)
	p.done += int64(n)
	if p.done-p.told >= 64<<10 || p.done == p.total {
		p.told = p.done
		p.report(p.done)
	}
	return n, err
}
