// Package fault is a reverse proxy on loopback that breaks what passes through it,
// as networks and overloaded servers do.
package fault

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync"
	"time"
)

// Fault answers a request. forward passes it on to the server.
type Fault func(w http.ResponseWriter, r *http.Request, forward http.Handler)

// Proxy is a running proxy.
type Proxy struct {
	// Addr is where it listens, "127.0.0.1:PORT", for plain HTTP.
	Addr string

	server *http.Server
	mu     sync.Mutex
	choose func(r *http.Request) Fault
	counts map[string]int
}

// Start runs a proxy before the HTTP server at addr. It hands on the Host header
// as it comes, which signatures of requests are over; with host it sets that one.
// The proxy is to be closed.
func Start(addr, host string) (*Proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("start proxy: %w", err)
	}
	p := &Proxy{Addr: l.Addr().String(), counts: map[string]int{}}
	forward := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: "http", Host: addr})
			r.Out.Host = r.In.Host
			if host != "" {
				r.Out.Host = host
			}
		},
		// A server that is gone looks to clients as if it hung up.
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
		Transport:    &http.Transport{DisableCompression: true},
	}
	p.server = &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		p.counts[r.Method]++
		var f Fault
		if p.choose != nil {
			f = p.choose(r)
		}
		p.mu.Unlock()
		if f == nil {
			forward.ServeHTTP(w, r)
			return
		}
		f(w, r, forward)
	})}
	go func() { _ = p.server.Serve(l) }() // Close ends it
	return p, nil
}

// Set has choose say what befalls each request; nil is nothing. It is called for
// one request at a time.
func (p *Proxy) Set(choose func(r *http.Request) Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.choose = choose
	p.counts = map[string]int{}
}

// Count is how many requests of a method there were since Set.
func (p *Proxy) Count(method string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.counts[method]
}

// Close ends the proxy and all that passes through it.
func (p *Proxy) Close() error { return p.server.Close() }

// Reply answers in the server's place.
func Reply(status int, header http.Header, body string) Fault {
	return func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
		_, _ = io.Copy(io.Discard, r.Body)
		for name, values := range header {
			w.Header()[name] = values
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// HangUp reads n bytes of the request's body and hangs up.
func HangUp(n int64) Fault {
	return func(_ http.ResponseWriter, r *http.Request, _ http.Handler) {
		_, _ = io.CopyN(io.Discard, r.Body, n)
		panic(http.ErrAbortHandler)
	}
}

// LoseAnswer has the server do what is asked, and hangs up instead of answering.
func LoseAnswer(_ http.ResponseWriter, r *http.Request, forward http.Handler) {
	forward.ServeHTTP(&nowhere{header: http.Header{}}, r)
	panic(http.ErrAbortHandler)
}

// CutAnswer hangs up in the middle of the answer's body.
func CutAnswer(w http.ResponseWriter, r *http.Request, forward http.Handler) {
	rec := &nowhere{header: http.Header{}}
	forward.ServeHTTP(rec, r)
	for name, values := range rec.header {
		w.Header()[name] = values
	}
	w.WriteHeader(rec.status)
	_, _ = w.Write(rec.body.Bytes()[:rec.body.Len()/2])
	if f, ok := w.(http.Flusher); ok {
		f.Flush()
	}
	panic(http.ErrAbortHandler)
}

// Flip changes one bit of the request's body on its way.
func Flip(w http.ResponseWriter, r *http.Request, forward http.Handler) {
	body, err := io.ReadAll(r.Body)
	if err == nil && len(body) > 0 {
		body[len(body)/2] ^= 1
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	forward.ServeHTTP(w, r)
}

// Wait holds the request back.
func Wait(d time.Duration) Fault {
	return func(w http.ResponseWriter, r *http.Request, forward http.Handler) {
		select {
		case <-time.After(d):
			forward.ServeHTTP(w, r)
		case <-r.Context().Done():
		}
	}
}

// nowhere keeps an answer that is not sent.
type nowhere struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (n *nowhere) Header() http.Header         { return n.header }
func (n *nowhere) WriteHeader(status int)      { n.status = status }
func (n *nowhere) Write(p []byte) (int, error) { return n.body.Write(p) }
