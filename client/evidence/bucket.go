package evidence

import (
	"bytes"
	"context"
	"crypto/md5" //nolint:gosec // Content-MD5 is what the stores check
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"io"
	"strings"

	"cloud.google.com/go/storage"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"gocloud.dev/blob"
	"gocloud.dev/gcerrors"
)

// What a bucket answers that is no failure.
var (
	errAbsent  = errors.New("there is no such object")
	errPresent = errors.New("there is such an object already")
	errTooBig  = errors.New("it is larger than it may be")
)

// minPart is the least size of a part that the SDK for S3 accepts, in bytes.
const minPart = 5 << 20

// bucket makes one attempt at a time at one object.
type bucket interface {
	// read returns an object of at most limit bytes, errAbsent or errTooBig.
	read(ctx context.Context, key string, limit int64) ([]byte, error)
	// create writes an object that did not exist, or returns errPresent.
	create(ctx context.Context, key, mediaType string, data []byte) error
	// list calls yield with each key that begins with prefix, in order, until it
	// returns an error.
	list(ctx context.Context, prefix string, yield func(key string) error) error
	close() error
}

// cloud is a bucket of one of gocloud's drivers.
type cloud struct{ bucket *blob.Bucket }

func (c cloud) close() error { return c.bucket.Close() }

func (c cloud) read(ctx context.Context, key string, limit int64) (_ []byte, err error) {
	r, err := c.bucket.NewReader(ctx, key, nil)
	if err != nil {
		if gcerrors.Code(err) == gcerrors.NotFound && !isNoBucket(err) && !isDenied(err) {
			return nil, errAbsent
		}
		return nil, bare(err)
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	if r.Size() > limit {
		return nil, errTooBig
	}
	return readAtMost(r, limit)
}

func (c cloud) create(ctx context.Context, key, mediaType string, data []byte) error {
	err := c.upload(ctx, key, mediaType, data, true)
	if code, _ := storeCode(err); err != nil && code == "NotImplemented" {
		// Some servers with S3's protocol know no conditional writes. Whoever
		// calls this has seen that there is no such object.
		err = c.upload(ctx, key, mediaType, data, false)
	}
	if gcerrors.Code(err) == gcerrors.FailedPrecondition {
		return errPresent
	}
	return bare(err)
}

func (c cloud) upload(ctx context.Context, key, mediaType string, data []byte, onlyNew bool) error {
	sum := md5.Sum(data) //nolint:gosec // see the import
	return c.bucket.Upload(ctx, key, bytes.NewReader(data), &blob.WriterOptions{
		IfNotExist:                  onlyNew,
		ContentType:                 mediaType,
		DisableContentTypeDetection: true,
		ContentMD5:                  sum[:],
		// One request for each object: stores check the checksum of a request,
		// and what is in several parts has none of the whole.
		BufferSize:     max(len(data)+1, minPart),
		MaxConcurrency: 1,
		BeforeWrite: func(as func(any) bool) error {
			var put *s3.PutObjectInput
			if as(&put) {
				sum := sha256.Sum256(data)
				put.ChecksumSHA256 = aws.String(base64.StdEncoding.EncodeToString(sum[:]))
			}
			var w *storage.Writer
			if as(&w) {
				w.ChunkSize = 0
			}
			return nil
		},
	})
}

func (c cloud) list(ctx context.Context, prefix string, yield func(string) error) error {
	it := c.bucket.List(&blob.ListOptions{Prefix: prefix})
	for {
		obj, err := it.Next(ctx)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return bare(err)
		}
		if err := yield(obj.Key); err != nil {
			return err
		}
	}
}

// bare is the SDK's error without what gocloud writes before it: the key, which our
// own errors have.
func bare(err error) error {
	if inner := errors.Unwrap(err); inner != nil && strings.HasPrefix(err.Error(), "blob (") {
		return inner
	}
	return err
}

func readAtMost(r io.Reader, limit int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, errTooBig
	}
	return data, nil
}
