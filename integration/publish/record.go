package publish

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
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

// Recorder stands right before a registry, as a reverse proxy or as a handler. What
// it has passed on it waits for, even if the client is gone by then, so that its
// record is what happened to the registry.
type Recorder struct {
	// Addr is where a proxy listens, "127.0.0.1:PORT", for plain HTTP.
	Addr string

	registry http.Handler
	server   *http.Server

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
	r := RecordHandler(&httputil.ReverseProxy{
		Rewrite: func(p *httputil.ProxyRequest) {
			p.SetURL(&url.URL{Scheme: "http", Host: addr})
			p.Out.Host = p.In.Host
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.(*answer).lost = true },
		Transport:    &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 16},
		ErrorLog:     log.New(io.Discard, "", 0),
	})
	r.Addr, r.server = l.Addr().String(), &http.Server{ReadHeaderTimeout: time.Minute, Handler: r}
	go func() { _ = r.server.Serve(l) }() // Close ends it
	return r, nil
}

// RecordHandler records what passes to a registry in this process.
func RecordHandler(registry http.Handler) *Recorder { return &Recorder{registry: registry} }

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
	in.Body = io.NopCloser(bytes.NewReader(body))

	a := &answer{header: http.Header{}}
	r.registry.ServeHTTP(a, in.WithContext(context.WithoutCancel(in.Context())))
	r.mu.Lock()
	r.place++
	if !a.lost {
		a.WriteHeader(http.StatusOK)
	}
	e.Answered, e.Status, e.Header = r.place, a.status, a.header
	if _, _, ok := e.manifest(); ok {
		e.Answer = a.body.Bytes()
	}
	r.mu.Unlock()
	if a.lost {
		panic(http.ErrAbortHandler)
	}
	for name, values := range a.header {
		w.Header()[name] = values
	}
	w.WriteHeader(a.status)
	_, _ = w.Write(a.body.Bytes()) // the client went away
}

// answer is one that is not sent yet, or never.
type answer struct {
	header http.Header
	status int
	body   bytes.Buffer
	// lost says that the registry gave none.
	lost bool
}

func (a *answer) Header() http.Header { return a.header }

func (a *answer) WriteHeader(status int) {
	if a.status == 0 && status >= http.StatusOK {
		a.status = status
	}
}

func (a *answer) Write(p []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	return a.body.Write(p)
}

// isDigest says that a reference is no tag.
func isDigest(ref string) bool { return digest.Digest(ref).Validate() == nil }
