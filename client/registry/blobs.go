package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	digest "github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// HasBlob tells whether a blob is in the repository.
func (r *Repository) HasBlob(ctx context.Context, d digest.Digest) (bool, error) {
	if err := d.Validate(); err != nil {
		return false, fmt.Errorf("blob %q: %w", plain(d.String(), 200), err)
	}
	resp, err := r.do(ctx, request{method: http.MethodHead, url: r.url("blobs", d.String())}, http.StatusOK)
	switch {
	case errors.Is(err, ErrNotFound):
		return false, nil
	case err != nil:
		return false, err
	}
	resp.Body.Close()
	return true, nil
}

// Blob reads a blob, which is to be closed. Its last Read gives io.EOF when the size and
// the digest are the descriptor's, and an error otherwise, such as a *DigestError. A cut
// connection is taken up again where it broke. The error is ErrNotFound when there is no
// such blob.
func (r *Repository) Blob(ctx context.Context, desc ocispecs.Descriptor) (io.ReadCloser, error) {
	if err := checkBlob(desc); err != nil {
		return nil, err
	}
	b := &blob{r: r, ctx: ctx, desc: desc, url: r.url("blobs", desc.Digest.String()), hash: desc.Digest.Verifier()}
	if err := b.open(); err != nil {
		return nil, err
	}
	return b, nil
}

func checkBlob(desc ocispecs.Descriptor) error {
	if err := desc.Digest.Validate(); err != nil {
		return fmt.Errorf("blob %q: %w", plain(desc.Digest.String(), 200), err)
	}
	if desc.Size < 0 {
		return fmt.Errorf("blob %s: its size is said to be %d", desc.Digest, desc.Size)
	}
	return nil
}

// blob reads a blob in as many requests as it takes.
type blob struct {
	r    *Repository
	ctx  context.Context // of the reads: io.Reader has none
	desc ocispecs.Descriptor
	url  *url.URL
	hash digest.Verifier

	body    io.ReadCloser // nil between requests
	at      int64
	attempt int // without a byte more
	err     error
}

func (b *blob) open() error {
	q := request{method: http.MethodGet, url: b.url, header: http.Header{"Accept": {"*/*"}, "Accept-Encoding": {"identity"}}}
	if b.at > 0 {
		q.header.Set("Range", fmt.Sprintf("bytes=%d-", b.at))
	}
	resp, err := b.r.do(b.ctx, q, http.StatusOK, http.StatusPartialContent)
	if err != nil {
		return err
	}
	if resp.StatusCode == http.StatusOK {
		if resp.ContentLength >= 0 && resp.ContentLength != b.desc.Size {
			resp.Body.Close()
			return fmt.Errorf("GET %s: the blob has %d bytes, not %d", public(b.url), resp.ContentLength, b.desc.Size)
		}
		// The registry pays no attention to the range.
		if _, err := io.CopyN(io.Discard, resp.Body, b.at); err != nil {
			resp.Body.Close()
			return b.r.failed(b.ctx, err, http.MethodGet, b.url)
		}
	} else if start, ok := contentRangeStart(resp.Header.Get("Content-Range")); !ok || start != b.at {
		resp.Body.Close()
		return fmt.Errorf("GET %s: byte %d and those after it were asked for, and others came", public(b.url), b.at)
	}
	b.body = resp.Body
	return nil
}

// Read implements io.Reader.
func (b *blob) Read(p []byte) (int, error) {
	for b.err == nil {
		if b.body == nil {
			if b.err = b.open(); b.err != nil {
				break
			}
		}
		n, err := b.body.Read(p)
		if n > 0 {
			b.attempt = 0
			b.at += int64(n)
			if b.at > b.desc.Size {
				b.err = fmt.Errorf("GET %s: the blob has more than %d bytes", public(b.url), b.desc.Size)
				break
			}
			_, _ = b.hash.Write(p[:n]) // hashes do not fail
		}
		switch {
		case err == nil && n == 0 && len(p) > 0:
			continue
		case err == nil:
		case b.at == b.desc.Size:
			if b.err = io.EOF; !b.hash.Verified() {
				b.err = fmt.Errorf("GET %s: the content does not have the digest of its name: it was damaged or exchanged", public(b.url))
			}
		default:
			b.err = b.again(err)
		}
		if n > 0 || len(p) == 0 {
			return n, nil
		}
	}
	return 0, b.err
}

// again prepares for going on after the connection was cut.
func (b *blob) again(err error) error {
	b.body.Close()
	b.body = nil
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	if err = b.r.failed(b.ctx, err, http.MethodGet, b.url); b.ctx.Err() != nil {
		return err
	}
	if b.attempt++; b.attempt >= b.r.o.Retry.Attempts {
		return err
	}
	return b.r.pause(b.ctx, b.attempt, err)
}

// Close implements io.Closer.
func (b *blob) Close() error {
	if b.err == nil {
		b.err = errors.New("read of a closed blob")
	}
	if b.body == nil {
		return nil
	}
	err := b.body.Close()
	b.body = nil
	return err
}

// contentRangeStart reads where the content of a 206 begins (RFC 9110, section 14.4).
func contentRangeStart(header string) (int64, bool) {
	rest, ok := strings.CutPrefix(strings.TrimSpace(header), "bytes ")
	if !ok {
		return 0, false
	}
	first, _, ok := strings.Cut(rest, "-")
	if !ok {
		return 0, false
	}
	return parseOffset(first)
}

// uploadedRange reads how many bytes of an upload have arrived ("Range: 0-1023" is 1024;
// distribution-spec, "Pushing a blob in chunks"). Registries write "0-0" for none.
func uploadedRange(header string) (int64, bool) {
	s := strings.TrimSpace(header)
	for _, prefix := range []string{"bytes=", "bytes "} { // GCR
		s = strings.TrimPrefix(s, prefix)
	}
	first, last, ok := strings.Cut(s, "-")
	if !ok || first != "0" {
		return 0, false
	}
	n, ok := parseOffset(last)
	if !ok || n == 1<<63-1 {
		return 0, false
	}
	if n == 0 {
		return 0, true
	}
	return n + 1, true
}

func parseOffset(s string) (int64, bool) {
	if s == "" || s[0] == '+' || s[0] == '-' {
		return 0, false
	}
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil
}
