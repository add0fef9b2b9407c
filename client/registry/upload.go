package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"

	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// chunkSize is how much of a blob is sent in one request, in bytes; smaller blobs are sent
// whole. It is less than what proxies before registries commonly take, and a multiple of
// 256 KiB, which Google's wants.
const chunkSize = 16 << 20

// chunkRefusal remembers that a registry takes no chunks of that size, such as GHCR, or
// forgets parts of them: later blobs are not sent that way in vain.
type chunkRefusal struct{ atomic.Bool }

// upload is the sending of one blob.
type upload struct {
	r        *Repository
	desc     ocispecs.Descriptor
	open     Content
	progress *progress
	session  *session // nil before one has begun

	furthest int64 // how many bytes a registry has ever had of it
	attempt  int   // without one more
	checked  bool
	localErr localError
}

// localError keeps the first error of the content itself, which no repetition mends.
type localError struct {
	mu  sync.Mutex
	err error
}

func (l *localError) set(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil {
		l.err = err
	}
}

func (l *localError) get() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

// errRestart says that an upload cannot go on and has to begin anew.
var errRestart = errors.New("the registry lost the upload")

// run sends the blob until it is there or nothing helps any more.
func (u *upload) run(ctx context.Context) error {
	for {
		err := u.once(ctx)
		if err == nil {
			return nil
		}
		if local := u.localErr.get(); local != nil {
			return local
		}
		if ctx.Err() != nil {
			return err
		}
		if !errors.Is(err, errRestart) && !lost(err) {
			return err
		}
		// A registry may have taken it and failed to say so.
		there, herr := u.r.HasBlob(ctx, u.desc.Digest)
		if there {
			return nil
		}
		if u.attempt++; u.attempt >= u.r.o.Retry.Attempts || lost(herr) {
			return err
		}
		u.session = nil
		u.progress.set(0)
		if err := u.r.pause(ctx, u.attempt, err); err != nil {
			return err
		}
	}
}

// once sends the blob in one upload.
func (u *upload) once(ctx context.Context) (err error) {
	if u.session == nil {
		if u.session, err = u.r.begin(ctx); err != nil {
			return err
		}
	}
	switch {
	case u.desc.Size <= u.r.chunk:
		return u.finish(ctx, u.session.location, 0)
	case u.r.noChunks.Load():
		return u.stream(ctx)
	}
	err = u.chunks(ctx)
	var s *StatusError
	if !errors.Is(err, errRestart) && errors.As(err, &s) && refusesChunks(s.Status) {
		u.r.noChunks.Store(true)
		u.r.o.Notice(fmt.Sprintf("registry %s: sending blobs as one stream, since it takes no chunks: %s", u.r.name.RegistryStr(), s.Error()))
		return fmt.Errorf("%w: %w", errRestart, err)
	}
	return err
}

// refusesChunks tells the statuses of registries that do not want a blob in chunks: GHCR's
// is 416 for chunks above 4 MiB.
func refusesChunks(status int) bool {
	return slices.Contains([]int{
		http.StatusBadRequest, http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusLengthRequired,
		http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType, http.StatusRequestedRangeNotSatisfiable, http.StatusNotImplemented,
	}, status)
}

// octets is how content is sent.
func octets() http.Header { return http.Header{"Content-Type": {"application/octet-stream"}} }

// chunks sends the blob piece by piece (distribution-spec, "Pushing a blob in chunks").
func (u *upload) chunks(ctx context.Context) error {
	size := max(u.r.chunk, u.session.minChunk)
	location, offset := u.session.location, int64(0)
	refused := false
	for offset < u.desc.Size {
		n := min(size, u.desc.Size-offset)
		q := request{method: http.MethodPatch, url: location, header: octets(), push: true, body: u.body(offset, n), size: n}
		q.header.Set("Content-Range", fmt.Sprintf("%d-%d", offset, offset+n-1))
		resp, err := u.r.do(ctx, q, http.StatusAccepted, http.StatusCreated, http.StatusNoContent)
		if err == nil {
			resp.Body.Close()
			if location, err = resolve(location, resp.Header.Get("Location")); err != nil {
				return fmt.Errorf("PATCH %s: %w", public(q.url), err)
			}
			// What the answer's range says is not looked at: ECR's stands still. A
			// registry that kept less than it accepted finds another digest at the end.
			if offset += n; offset > u.furthest {
				u.furthest, u.attempt = offset, 0
			}
			continue
		}
		if u.localErr.get() != nil || ctx.Err() != nil {
			return err
		}
		if !lost(err) {
			// It may be that a chunk arrived before whose answer was lost.
			var denied *DeniedError
			if offset == 0 || refused || throttled(err) || errors.As(err, &denied) {
				return err
			}
			refused = true
		}
		if u.attempt++; u.attempt >= u.r.o.Retry.Attempts {
			return err
		}
		if err := u.r.pause(ctx, u.attempt, err); err != nil {
			return err
		}
		if location, offset, err = u.state(ctx, location); err != nil {
			return err
		}
		u.progress.set(offset)
	}
	return u.finish(ctx, location, u.desc.Size)
}

// state asks how far an upload has got ("Pushing a blob in chunks", GET).
func (u *upload) state(ctx context.Context, location *url.URL) (*url.URL, int64, error) {
	resp, err := u.r.do(ctx, request{method: http.MethodGet, url: location, push: true}, http.StatusNoContent, http.StatusAccepted, http.StatusOK)
	if err != nil {
		if ctx.Err() != nil || lost(err) {
			return nil, 0, err
		}
		return nil, 0, fmt.Errorf("%w: %w", errRestart, err)
	}
	resp.Body.Close()
	offset, ok := uploadedRange(resp.Header.Get("Range"))
	if !ok || offset > u.desc.Size {
		return nil, 0, fmt.Errorf("%w: it does not say how far it got", errRestart)
	}
	if h := resp.Header.Get("Location"); h != "" {
		if location, err = resolve(location, h); err != nil {
			return nil, 0, fmt.Errorf("%w: %w", errRestart, err)
		}
	}
	return location, offset, nil
}

// stream sends the blob in one request of any size, which registries took before there
// were chunks, and finishes it with another.
func (u *upload) stream(ctx context.Context) error {
	q := request{method: http.MethodPatch, url: u.session.location, header: octets(), push: true, body: u.body(0, u.desc.Size), size: u.desc.Size}
	resp, err := u.r.do(ctx, q, http.StatusAccepted, http.StatusCreated, http.StatusNoContent)
	if err != nil {
		return err
	}
	resp.Body.Close()
	location, err := resolve(q.url, resp.Header.Get("Location"))
	if err != nil {
		return fmt.Errorf("PATCH %s: %w", public(q.url), err)
	}
	return u.finish(ctx, location, u.desc.Size)
}

// finish ends an upload of which the bytes before offset have been sent, with those that
// have not. What has been sent is not sent again because the end of it fails.
func (u *upload) finish(ctx context.Context, location *url.URL, offset int64) error {
	for {
		err := u.end(ctx, location, offset)
		if offset == 0 || !lost(err) || ctx.Err() != nil {
			return err
		}
		there, herr := u.r.HasBlob(ctx, u.desc.Digest)
		if there {
			return nil
		}
		if u.attempt++; u.attempt >= u.r.o.Retry.Attempts || lost(herr) {
			return err
		}
		if err := u.r.pause(ctx, u.attempt, err); err != nil {
			return err
		}
	}
}

func (u *upload) end(ctx context.Context, location *url.URL, offset int64) error {
	end := *location
	query := end.Query()
	query.Set("digest", u.desc.Digest.String())
	end.RawQuery = query.Encode()
	q := request{method: http.MethodPut, url: &end, header: octets(), push: true}
	if offset < u.desc.Size {
		q.body, q.size = u.body(offset, u.desc.Size-offset), u.desc.Size-offset
	}
	resp, err := u.r.do(ctx, q, http.StatusCreated, http.StatusOK, http.StatusNoContent, http.StatusAccepted)
	if err == nil {
		return stored(resp, &end, u.desc.Digest)
	}
	var s *StatusError
	if ctx.Err() != nil || lost(err) || !errors.As(err, &s) {
		return err
	}
	switch {
	case s.Status == http.StatusNotFound, s.Status == http.StatusRequestedRangeNotSatisfiable, slices.Contains(s.Codes, "BLOB_UPLOAD_UNKNOWN"), slices.Contains(s.Codes, "BLOB_UPLOAD_INVALID"):
		return fmt.Errorf("%w: %w", errRestart, err)
	case slices.Contains(s.Codes, "DIGEST_INVALID"), slices.Contains(s.Codes, "SIZE_INVALID"), s.Status == http.StatusBadRequest:
		if err := u.check(); err != nil {
			return err
		}
		if u.desc.Size > u.r.chunk {
			u.r.noChunks.Store(true)
		}
		return fmt.Errorf("%w: %w", errRestart, err)
	}
	return err
}

// check reads the content to find out whose fault it is that the registry sees another
// digest.
func (u *upload) check() (err error) {
	if u.checked {
		return nil
	}
	u.checked = true
	rc, err := u.open(0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rc.Close()) }()
	v := u.desc.Digest.Verifier()
	n, err := io.Copy(v, io.LimitReader(rc, u.desc.Size+1))
	if err != nil {
		return err
	}
	if n != u.desc.Size || !v.Verified() {
		return fmt.Errorf("the content that is to be pushed is not that of %s with %d bytes: it was changed since", u.desc.Digest, u.desc.Size)
	}
	return nil
}

// body opens n bytes of the content from offset on, for one attempt at sending them.
func (u *upload) body(offset, n int64) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) {
		rc, err := u.open(offset)
		if err != nil {
			u.localErr.set(err)
			return nil, err
		}
		return &piece{u: u, rc: rc, at: offset, left: n}, nil
	}
}

// piece is a part of the content on its way.
type piece struct {
	u    *upload
	rc   io.ReadCloser
	at   int64
	left int64

	closing sync.Once
	closed  atomic.Bool
}

// Read implements io.Reader.
func (p *piece) Read(b []byte) (int, error) {
	if p.left == 0 {
		return 0, io.EOF
	}
	n, err := p.rc.Read(b[:min(int64(len(b)), p.left)])
	p.at += int64(n)
	p.left -= int64(n)
	if p.closed.Load() {
		return n, err // an attempt that was given up reads on for a moment
	}
	if n > 0 {
		p.u.progress.set(p.at)
	}
	switch {
	case errors.Is(err, io.EOF) && p.left > 0:
		err = fmt.Errorf("the content ends %d bytes before its size: it was changed since", p.left)
		p.u.localErr.set(err)
	case err != nil && !errors.Is(err, io.EOF):
		p.u.localErr.set(err)
	}
	return n, err
}

// Close implements io.Closer.
func (p *piece) Close() (err error) {
	p.closing.Do(func() {
		p.closed.Store(true)
		err = p.rc.Close()
	})
	return err
}
