package signing

import (
	"context"
	"time"

	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	protorekor "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	rekortiles "github.com/sigstore/rekor-tiles/v2/pkg/client"
	"github.com/sigstore/rekor-tiles/v2/pkg/client/write"
	rekorclient "github.com/sigstore/rekor/pkg/client"
	"github.com/sigstore/sigstore-go/pkg/sign"
)

// What the witnesses of a signature are called in errors.
const (
	serviceRekor     = "transparency log"
	serviceTimestamp = "timestamp authority"
)

// transparency enters signatures in one log. It implements sign.Transparency.
type transparency struct {
	rekor
	timeout time.Duration
}

// GetTransparencyLogEntry implements sign.Transparency.
func (t transparency) GetTransparencyLogEntry(ctx context.Context, signer []byte, b *protobundle.Bundle) error {
	_, err := call(ctx, t.timeout, serviceRekor, t.url, func(ctx context.Context) (struct{}, error) {
		o := &sign.RekorOptions{BaseURL: t.url, Version: t.version, Timeout: t.timeout}
		if err := t.connect(o); err != nil {
			return struct{}{}, err
		}
		return struct{}{}, sign.NewRekor(o).GetTransparencyLogEntry(ctx, signer, b)
	})
	return err
}

func (t transparency) connect(o *sign.RekorOptions) error {
	if t.version == 1 {
		client, err := rekorclient.GetRekorClient(t.url, rekorclient.WithRetryCount(attempts-1),
			rekorclient.WithRetryWaitMin(firstPause), rekorclient.WithRetryWaitMax(longestPause))
		if err != nil {
			return err
		}
		o.Client = client.Entries
		return nil
	}
	writer, err := write.NewWriter(t.url, rekortiles.WithTimeout(t.timeout))
	if err != nil {
		return err
	}
	o.ClientV2 = tiles{writer}
	return nil
}

// tiles tries again when a log of version 2 is out of order.
type tiles struct{ write.Client }

// Add implements sign.RekorV2Client.
func (t tiles) Add(ctx context.Context, entry any) (*protorekor.TransparencyLogEntry, error) {
	return retry(ctx, func() (*protorekor.TransparencyLogEntry, error) { return t.Client.Add(ctx, entry) })
}

// timestamp has a signature timed (RFC 3161) by one authority.
func (s *Signer) timestamp(ctx context.Context, authority string, sig []byte) (*protocommon.RFC3161SignedTimestamp, error) {
	stamp, err := call(ctx, s.timeout, serviceTimestamp, authority, func(ctx context.Context) ([]byte, error) {
		tsa := sign.NewTimestampAuthority(&sign.TimestampAuthorityOptions{URL: authority, Timeout: -1, Transport: newTransport(ctx)})
		return tsa.GetTimestamp(ctx, sig)
	})
	if err != nil {
		return nil, err
	}
	return &protocommon.RFC3161SignedTimestamp{SignedTimestamp: stamp}, nil
}
