// Package buildtrace reads the spans that BuildKit recorded of one build, so that
// they can be sent together with the client's own.
//
// BuildKit keeps them in its build history (since 0.11), also when it has no
// collector of its own. They are in the trace of the client when the connection to
// the builder was made in a context with a span.
package buildtrace

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/containerd/containerd/v2/core/content/proxy"
	"github.com/docker/buildx/util/otelutil"
	controlapi "github.com/moby/buildkit/api/services/control"
	bkclient "github.com/moby/buildkit/client"
	digest "github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// maxSize bounds the recorded spans of one build, in bytes of JSON. A build with a
// thousand steps leaves about 10 MB.
const maxSize = 64 << 20

// ErrNone says that the builder has no spans of the build: it keeps no history, or
// nobody traced.
var ErrNone = errors.New("the builder has recorded no spans of the build")

// Fetch returns the spans of the build with that reference
// (build.Request.Ref), which has ended. The builder ends its record at that. Asking
// for them leaves no spans.
func Fetch(ctx context.Context, c *bkclient.Client, ref string) ([]sdktrace.ReadOnlySpan, error) {
	if sc := trace.SpanContextFromContext(ctx); sc.IsValid() {
		ctx = trace.ContextWithRemoteSpanContext(ctx, sc.WithTraceFlags(sc.TraceFlags().WithSampled(false)))
	}
	spans, err := fetch(ctx, c, ref)
	if err != nil {
		return nil, fmt.Errorf("fetch the builder's trace of build %s: %w", ref, err)
	}
	return spans, nil
}

func fetch(ctx context.Context, c *bkclient.Client, ref string) ([]sdktrace.ReadOnlySpan, error) {
	control := c.ControlClient()
	if _, err := control.UpdateBuildHistory(ctx, &controlapi.UpdateBuildHistoryRequest{Ref: ref, Finalize: true}); err != nil {
		return nil, err
	}
	desc, err := descriptor(ctx, control, ref)
	if err != nil {
		return nil, err
	}
	if desc.Size > maxSize {
		return nil, fmt.Errorf("it has %d bytes, more than the %d that are read", desc.Size, maxSize)
	}
	ra, err := proxy.NewContentStore(c.ContentClient()).ReaderAt(ctx, desc)
	if err != nil {
		return nil, err
	}
	defer ra.Close()
	return parse(io.NewSectionReader(ra, 0, min(ra.Size(), maxSize)))
}

// descriptor finds the blob that holds the spans.
func descriptor(ctx context.Context, control controlapi.ControlClient, ref string) (ocispecs.Descriptor, error) {
	history, err := control.ListenBuildHistory(ctx, &controlapi.BuildHistoryRequest{Ref: ref, EarlyExit: true})
	if err != nil {
		return ocispecs.Descriptor{}, err
	}
	for {
		event, err := history.Recv()
		if errors.Is(err, io.EOF) {
			return ocispecs.Descriptor{}, ErrNone
		}
		if err != nil {
			return ocispecs.Descriptor{}, err
		}
		if t := event.GetRecord().GetTrace(); t != nil {
			return ocispecs.Descriptor{Digest: digest.Digest(t.Digest), MediaType: t.MediaType, Size: t.Size}, nil
		}
	}
}

// parse reads spans as BuildKit's history has them. The library panics at input
// that BuildKit does not write.
func parse(r io.Reader) (_ []sdktrace.ReadOnlySpan, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("it is not what BuildKit writes: %v", p)
		}
	}()
	spans, err := otelutil.ParseSpanStubs(r)
	if err != nil {
		return nil, err
	}
	return spans.ReadOnlySpans(), nil
}
