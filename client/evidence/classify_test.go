package evidence

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"syscall"
	"testing"
	"time"

	"cloud.google.com/go/storage"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/aws/smithy-go"
	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"
	"google.golang.org/api/googleapi"
)

func TestClassify(t *testing.T) {
	s3 := func(code string) error {
		return &smithy.OperationError{ServiceID: "S3", OperationName: "PutObject", Err: &smithy.GenericAPIError{Code: code, Message: "m"}}
	}
	gcs := func(status int, reason string) error {
		return fmt.Errorf("w: %w", &googleapi.Error{Code: status, Errors: []googleapi.ErrorItem{{Reason: reason}}})
	}
	azure := func(status int, code string) error { return &azcore.ResponseError{StatusCode: status, ErrorCode: code} }
	answer := func(status int, skew time.Duration) *exchange { return &exchange{status: status, skew: skew} }
	for _, tt := range []struct {
		name string
		op   string
		err  error
		x    *exchange
		want Reason
	}{
		{"s3 denied", "write", s3("AccessDenied"), answer(403, 0), Denied},
		{"s3 skew", "write", s3("RequestTimeTooSkewed"), answer(403, time.Hour), ClockSkew},
		{"s3 skew by another name", "write", s3("SignatureDoesNotMatch"), answer(403, -time.Hour), ClockSkew},
		{"s3 busy", "write", s3("SlowDown"), answer(503, 0), Unreachable},
		{"s3 conditional writes meet", "write", s3("ConditionalRequestConflict"), answer(409, 0), Unreachable},
		{"s3 changed on the way", "write", s3("BadDigest"), answer(400, 0), Unreachable},
		{"s3 elsewhere", "read", s3("PermanentRedirect"), answer(301, 0), NoBucket},
		{"s3 unknown code", "write", s3("Odd"), answer(503, 0), Unreachable},
		{"s3 unknown", "write", s3("Odd"), answer(400, 0), Refused},
		{"gcs denied", "write", gcs(403, "forbidden"), answer(403, 0), Denied},
		{"gcs busy with a status of denial", "write", gcs(403, "userRateLimitExceeded"), answer(403, 0), Unreachable},
		{"gcs no bucket", "write", gcs(404, "notFound"), answer(404, 0), NoBucket},
		{"gcs bucket", "list", fmt.Errorf("w: %w", storage.ErrBucketNotExist), nil, NoBucket},
		{"gcs token's time", "read", &oauth2.RetrieveError{ErrorCode: "invalid_grant", ErrorDescription: "Invalid JWT: Token must be a short-lived token and in a reasonable timeframe", Response: &http.Response{Status: "400"}}, answer(400, time.Hour), ClockSkew},
		{"gcs token", "read", &oauth2.RetrieveError{ErrorCode: "invalid_grant", Response: &http.Response{Status: "400"}}, answer(400, 0), Denied},
		{"azure denied", "write", azure(403, "AuthorizationPermissionMismatch"), answer(403, 0), Denied},
		{"azure skew", "write", azure(403, "AuthenticationFailed"), answer(403, 24*time.Hour), ClockSkew},
		{"azure container", "write", azure(404, "ContainerNotFound"), answer(404, 0), NoBucket},
		{"azure full", "write", azure(409, "AccountLimitExceeded"), answer(409, 0), Full},
		{"disk", "write", &fs.PathError{Op: "write", Path: "x", Err: syscall.ENOSPC}, nil, Full},
		{"quota", "write", &fs.PathError{Op: "write", Path: "x", Err: syscall.EDQUOT}, nil, Full},
		{"permission", "write", &fs.PathError{Op: "open", Path: "x", Err: syscall.EACCES}, nil, Denied},
		{"read-only", "write", &fs.PathError{Op: "open", Path: "x", Err: syscall.EROFS}, nil, Denied},
		{"reset", "write", &net.OpError{Op: "read", Err: syscall.ECONNRESET}, nil, Unreachable},
		{"cut", "read", fmt.Errorf("body: %w", io.ErrUnexpectedEOF), answer(200, 0), Unreachable},
		{"slow", "read", fmt.Errorf("no answer: %w", context.DeadlineExceeded), nil, Unreachable},
		{"url", "read", &url.Error{Op: "Get", URL: "https://h/?sig=s", Err: errors.New("x")}, nil, Unreachable},
		{"anything", "read", errors.New("x"), nil, Refused},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, _ := classify(tt.op, tt.err, tt.x)
			require.Equal(t, tt.want, got)
		})
	}
}

// Each word of a store means one thing.
func TestWordsAreUnambiguous(t *testing.T) {
	seen := map[string]Reason{}
	for reason, list := range words {
		for _, w := range list {
			require.Empty(t, seen[w], "%s is under %s too", w, reason)
			seen[w] = reason
		}
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, tt := range []struct {
		name, value string
		want        time.Duration
	}{
		{"Retry-After", "7", 7 * time.Second},
		{"Retry-After", now.Add(time.Minute).Format(http.TimeFormat), time.Minute},
		{"Retry-After", now.Add(-time.Minute).Format(http.TimeFormat), 0},
		{"Retry-After", "-1", 0},
		{"Retry-After", "99999999999999999999", 0},
		{"Retry-After", "soon", 0},
		{"X-Ms-Retry-After-Ms", "1500", 1500 * time.Millisecond},
		{"Other", "7", 0},
	} {
		require.Equal(t, tt.want, retryAfter(http.Header{tt.name: {tt.value}}, now), "%s: %s", tt.name, tt.value)
	}
}

// What stands in an address behind a question mark may be a signature.
func TestErrorsDoNotShowQueries(t *testing.T) {
	e := &Error{Reason: Unreachable, Store: "azblob://c", Op: "read", Path: "p",
		Err: &url.Error{Op: "Get", URL: "https://acc.blob.core.windows.net/c/p?sv=1&sig=SECRET", Err: errors.New("no\nroute")}}
	require.Equal(t, `evidence store azblob://c: read p: the store does not answer: Get "https://acc.blob.core.windows.net/c/p": no route`, e.Error())
}
