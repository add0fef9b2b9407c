package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"

	"github.com/google/go-containerregistry/pkg/name"
	digest "github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// BlobOptions say how to push a blob.
type BlobOptions struct {
	// From are repositories that may have the blob. Those of the same registry are
	// asked to lend it (distribution-spec, "Mounting a blob from another repository").
	From []name.Repository
	// New says that the blob is not likely to be there: the registry is not asked
	// first. One that is there is sent again.
	New bool
	// Progress is told how many of how many bytes have been sent. The number goes down
	// when a part has to be sent again. It may be nil, and is not called concurrently.
	Progress func(done, total int64)
}

// BlobResult says how a blob came into the repository.
type BlobResult int

// The ways in which a blob comes into a repository.
const (
	Present BlobResult = iota + 1 // it was there
	Mounted                       // the registry had it in another repository
	Pushed
)

func (b BlobResult) String() string {
	switch b {
	case Present:
		return "present"
	case Mounted:
		return "mounted"
	case Pushed:
		return "pushed"
	}
	return fmt.Sprintf("BlobResult(%d)", int(b))
}

// Content opens the content of a blob from an offset on. The reader is closed when it
// has been used; another may be opened while an earlier one still is.
type Content = func(offset int64) (io.ReadCloser, error)

// PushBlob brings a blob into the repository: it looks whether it is there, has it mounted
// from another repository, or sends it. Small blobs are sent in one request; large ones in
// chunks that go on after a cut connection, an error of the registry or an expired token
// from where the registry says it got to, or else from the beginning. Where a registry
// refuses chunks they are sent as one stream.
func (r *Repository) PushBlob(ctx context.Context, desc ocispecs.Descriptor, open Content, o BlobOptions) (BlobResult, error) {
	result, err := r.pushBlob(ctx, desc, open, o)
	if err != nil {
		return 0, fmt.Errorf("push blob %s to %s: %w", plain(desc.Digest.String(), 200), r.name, err)
	}
	return result, nil
}

func (r *Repository) pushBlob(ctx context.Context, desc ocispecs.Descriptor, open Content, o BlobOptions) (BlobResult, error) {
	if err := checkBlob(desc); err != nil {
		return 0, err
	}
	p := &progress{total: desc.Size, tell: o.Progress}
	if !o.New {
		there, err := r.HasBlob(ctx, desc.Digest)
		if err != nil {
			return 0, err
		}
		if there {
			p.set(desc.Size)
			return Present, nil
		}
	}
	session, err := r.mount(ctx, desc.Digest, o.From)
	if err != nil {
		return 0, err
	}
	if session != nil && session.mounted {
		p.set(desc.Size)
		return Mounted, nil
	}
	u := &upload{r: r, desc: desc, open: open, progress: p, session: session}
	if err := u.run(ctx); err != nil {
		return 0, err
	}
	p.set(desc.Size)
	return Pushed, nil
}

// session is an upload that a registry has begun.
type session struct {
	mounted  bool // nothing is to be sent
	location *url.URL
	minChunk int64 // OCI-Chunk-Min-Length; 0 is none
}

// mount asks for the blob out of each other repository. It returns nil when none of them
// has it, or the upload that a registry begins instead. Only losing the registry is an
// error: the blob can be sent all the same.
func (r *Repository) mount(ctx context.Context, d digest.Digest, from []name.Repository) (*session, error) {
	tried := map[string]bool{r.name.RepositoryStr(): true}
	for _, f := range from {
		if f.RegistryStr() != r.name.RegistryStr() || tried[f.RepositoryStr()] {
			continue
		}
		tried[f.RepositoryStr()] = true
		s, err := r.borrow(ctx, d, f)
		var gone *UnreachableError
		switch {
		case err == nil:
			return s, nil
		case ctx.Err() != nil, errors.As(err, &gone):
			return nil, err
		}
	}
	return nil, nil
}

func (r *Repository) borrow(ctx context.Context, d digest.Digest, from name.Repository) (*session, error) {
	client, err := r.lender(ctx, from)
	if err != nil {
		return nil, err
	}
	u := r.url("blobs/uploads", "")
	u.RawQuery = url.Values{"mount": {d.String()}, "from": {from.RepositoryStr()}}.Encode()
	resp, err := r.do(ctx, request{method: http.MethodPost, url: u, client: client}, http.StatusAccepted, http.StatusCreated)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode == http.StatusCreated {
		resp.Body.Close()
		return &session{mounted: true}, nil
	}
	return begun(resp, u)
}

// begin begins an upload.
func (r *Repository) begin(ctx context.Context) (*session, error) {
	u := r.url("blobs/uploads", "")
	for attempt := 1; ; attempt++ {
		resp, err := r.do(ctx, request{method: http.MethodPost, url: u, push: true}, http.StatusAccepted, http.StatusCreated)
		if isNoRepository(err) && attempt < r.o.Retry.Attempts {
			if err := r.create(ctx, err); err != nil {
				return nil, err
			}
			continue
		}
		if err != nil {
			return nil, err
		}
		return begun(resp, u)
	}
}

// begun reads what a registry says of an upload that it has begun.
func begun(resp *http.Response, u *url.URL) (*session, error) {
	resp.Body.Close()
	location, err := resolve(u, resp.Header.Get("Location"))
	if err != nil {
		return nil, fmt.Errorf("POST %s: %w", public(u), err)
	}
	s := &session{location: location}
	if n, ok := parseOffset(resp.Header.Get("OCI-Chunk-Min-Length")); ok {
		s.minChunk = n
	}
	return s, nil
}

// progress tells of bytes sent, one call at a time.
type progress struct {
	mu    sync.Mutex
	total int64
	tell  func(done, total int64)
	done  int64
}

func (p *progress) set(done int64) {
	if p.tell == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if done != p.done {
		p.done = done
		p.tell(done, p.total)
	}
}
