package publish

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	digest "github.com/opencontainers/go-digest"
)

// Exchange is a request that reached the registry, and the answer.
type Exchange struct {
	Method, Path string
	Query        url.Values
	Host         string
	// Type is the request's Content-Type.
	Type string
	Body []byte

	// Status is 0 for a request without an answer.
	Status int
	Header http.Header
	// Answer is kept of manifests.
	Answer []byte

	// Sent and Answered are places in the order of all events: what was answered
	// at a lower place was so before what was sent at a higher one.
	Sent, Answered int
}

func (e *Exchange) String() string {
	return fmt.Sprintf("%d-%d %s %s %d", e.Sent, e.Answered, e.Method, e.Path, e.Status)
}

// ok says that the registry did what it was asked.
func (e *Exchange) ok() bool { return e.Status >= 200 && e.Status < 300 }

// manifest splits the path of a manifest: repository and tag or digest.
func (e *Exchange) manifest() (repository, ref string, ok bool) { return split(e.Path, "/manifests/") }

func split(path, kind string) (repository, ref string, ok bool) {
	path, ok = strings.CutPrefix(path, "/v2/")
	i := strings.LastIndex(path, kind)
	if !ok || i < 0 {
		return "", "", false
	}
	return path[:i], path[i+len(kind):], true
}

// Recorder is a reverse proxy on loopback, right before a registry. What it has
// passed on it waits for, even if the client is gone by then, so that its record is
// what happened to the registry.
type Recorder struct {
	// Addr is where it listens, "127.0.0.1:PORT", for plain HTTP.
	Addr string

	registry string
	server   *http.Server
	client   *http.Client

	mu        sync.Mutex
	place     int
	exchanges []*Exchange
	before    func(*Exchange)
}

// Record runs a recorder before the registry at addr. It is to be closed.
func Record(addr string) (*Recorder, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("start recorder: %w", err)
	}
	r := &Recorder{Addr: l.Addr().String(), registry: addr, client: &http.Client{
		Transport:     &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 16},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	r.server = &http.Server{ReadHeaderTimeout: time.Minute, Handler: r}
	go func() { _ = r.server.Serve(l) }() // Close ends it
	return r, nil
}

// Close ends the proxy and all that passes through it.
func (r *Recorder) Close() error { return r.server.Close() }

// Before has f look at each request before the registry gets it; nil is nobody.
func (r *Recorder) Before(f func(*Exchange)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.before = f
}

// Exchanges are all so far, in the order in which they were sent.
func (r *Recorder) Exchanges() []*Exchange {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.exchanges)
}

// ServeHTTP passes a request on.
func (r *Recorder) ServeHTTP(w http.ResponseWriter, in *http.Request) {
	body, err := io.ReadAll(in.Body)
	if err != nil {
		panic(http.ErrAbortHandler) // the client hung up in the middle
	}
	e := &Exchange{Method: in.Method, Path: in.URL.Path, Query: in.URL.Query(), Host: in.Host, Type: in.Header.Get("Content-Type"), Body: body}
	r.mu.Lock()
	before := r.before
	r.mu.Unlock()
	if before != nil {
		before(e)
	}
	r.mu.Lock()
	r.place++
	e.Sent = r.place
	r.exchanges = append(r.exchanges, e)
	r.mu.Unlock()

	status, header, answer, err := r.forward(context.WithoutCancel(in.Context()), in, body)
	r.mu.Lock()
	r.place++
	e.Answered, e.Status, e.Header = r.place, status, header
	if _, _, ok := e.manifest(); ok {
		e.Answer = answer
	}
	r.mu.Unlock()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	for name, values := range header {
		w.Header()[name] = values
	}
	w.WriteHeader(status)
	_, _ = w.Write(answer) // the client went away
}

func (r *Recorder) forward(ctx context.Context, in *http.Request, body []byte) (int, http.Header, []byte, error) {
	to := *in.URL
	to.Scheme, to.Host = "http", r.registry
	out, err := http.NewRequestWithContext(ctx, in.Method, to.String(), bytes.NewReader(body))
	if err != nil {
		return 0, nil, nil, err
	}
	out.Header, out.Host = in.Header.Clone(), in.Host
	resp, err := r.client.Do(out)
	if err != nil {
		return 0, nil, nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	return resp.StatusCode, resp.Header, answer, err
}

// isDigest says that a reference is no tag.
func isDigest(ref string) bool { return digest.Digest(ref).Validate() == nil }
