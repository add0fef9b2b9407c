// Package client drives BuildKit with the Temper frontend: it finds a builder,
// hands the frontend over, puts the hardened image where it is wanted, and makes
// the evidence about it.
package client

import (
	"context"

	"github.com/temper-images/temper/client/build"
	"github.com/temper-images/temper/client/builder"
	"github.com/temper-images/temper/client/frontend"
	"github.com/temper-images/temper/client/release"
)

// Options say which builder and which frontend a Client uses. The zero value
// finds both.
type Options struct {
	Builder  builder.Options
	Frontend frontend.Options
}

// Client is a connection to a builder together with a frontend. It can be used
// by several goroutines at once.
type Client struct {
	builder  *builder.Builder
	frontend *frontend.Frontend
}

// New finds the frontend and connects to a builder. Errors are those of
// frontend.Locate and builder.Find. The client is to be closed.
func New(ctx context.Context, opts Options) (*Client, error) {
	f, err := frontend.Locate(ctx, opts.Frontend)
	if err != nil {
		return nil, err
	}
	b, err := builder.Find(ctx, opts.Builder)
	if err != nil {
		return nil, err
	}
	return &Client{builder: b, frontend: f}, nil
}

// Builder is what the client builds on.
func (c *Client) Builder() *builder.Builder { return c.builder }

// Frontend is what the client builds with unless a request names another.
func (c *Client) Frontend() *frontend.Frontend { return c.frontend }

// Build carries out one request; see build.Run.
func (c *Client) Build(ctx context.Context, r build.Request) (*build.Result, error) {
	if r.Frontend == nil {
		r.Frontend = c.frontend
	}
	return build.Run(ctx, c.builder, r)
}

// Release builds r, and makes, judges, signs and stores the evidence about what it
// gave; see release.Run.
func (c *Client) Release(ctx context.Context, r build.Request, o release.Options) (*release.Result, error) {
	if r.Frontend == nil {
		r.Frontend = c.frontend
	}
	return release.Run(ctx, c.builder, r, o)
}

// Close ends the connection. A buildkitd of our own is stopped when nobody else
// uses it, and Close waits for that until ctx is done.
func (c *Client) Close(ctx context.Context) error { return c.builder.Close(ctx) }
