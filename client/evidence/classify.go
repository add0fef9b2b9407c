package evidence

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"time"

	"cloud.google.com/go/storage"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/aws/smithy-go"
	"golang.org/x/oauth2"
	"google.golang.org/api/googleapi"
)

// maxSkew is beyond what S3 and Azure tolerate between the clocks: 15 minutes.
const maxSkew = 15 * time.Minute

// The stores' own words: error codes of S3 and its kin, of Azure, and reasons of
// Google.
var words = map[Reason][]string{
	ClockSkew: {"RequestTimeTooSkewed", "RequestExpired", "RequestInTheFuture"},
	NoBucket: {
		"NoSuchBucket", "InvalidBucketName", "PermanentRedirect", "AllAccessDisabled",
		"ContainerNotFound", "ContainerDisabled", "ContainerBeingDeleted", "AccountIsDisabled", "InvalidResourceName",
	},
	Full: {
		"QuotaExceeded", "XMinioStorageFull", "XMinioAdminBucketQuotaExceeded", "InsufficientStorage", "StorageFull",
		"ServiceQuotaExceeded", "AccountLimitExceeded", "storageQuotaExceeded", "TooManyBuckets",
	},
	Denied: {
		"AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "TokenRefreshRequired",
		"InvalidTokenId", "AccountProblem", "NotSignedUp", "AuthorizationHeaderMalformed", "InvalidSecurity", "UnauthorizedAccess",
		"AuthenticationFailed", "AuthorizationFailure", "AuthorizationPermissionMismatch", "InsufficientAccountPermissions",
		"NoAuthenticationInformation", "InvalidAuthenticationInfo", "PublicAccessNotPermitted", "ResourceTypeMismatch",
		"authError", "forbidden", "insufficientPermissions", "required", "accountDisabled",
	},
	Unreachable: {
		"SlowDown", "ServiceUnavailable", "InternalError", "Throttling", "ThrottlingException", "RequestTimeout", "OperationAborted",
		"ConditionalRequestConflict", "TooManyRequests", "BadDigest", "Md5Mismatch", "XAmzContentSHA256Mismatch",
		"XAmzContentChecksumMismatch", "IncompleteBody", "ServerBusy", "OperationTimedOut", "backendError", "internalError",
		"rateLimitExceeded", "userRateLimitExceeded", "XMinioServerNotInitialized", "SlowDownWrite", "SlowDownRead",
	},
}

// classify finds out why an attempt failed, from the SDKs' errors and from what
// the last response said.
func classify(op string, err error, x *exchange) (Reason, time.Duration) {
	status, _, skew := x.snapshot()
	if hasNoCredentials(err) {
		if refusesTime(err) {
			return ClockSkew, skew
		}
		return Denied, 0
	}
	if reason, ok := ofFileSystem(err); ok {
		return reason, 0
	}
	code, answered := storeCode(err)
	if answered != 0 {
		status = answered
	}
	reason := byCode(code)
	if reason == "" {
		reason = byStatus(op, status)
	}
	if errors.Is(err, storage.ErrBucketNotExist) {
		reason = NoBucket
	}
	switch {
	case reason == Denied && (skew.Abs() > maxSkew || refusesTime(err)):
		// Azure and some S3 servers call a wrong clock a wrong signature.
		return ClockSkew, skew
	case reason == ClockSkew:
		return ClockSkew, skew
	case reason == "" && isNetwork(err):
		return Unreachable, 0
	case reason == "":
		return Refused, 0
	}
	return reason, 0
}

// storeCode is what the store's answer calls the error, and its status.
func storeCode(err error) (code string, status int) {
	var azure *azcore.ResponseError
	if errors.As(err, &azure) {
		return azure.ErrorCode, azure.StatusCode
	}
	var google *googleapi.Error
	if errors.As(err, &google) {
		if len(google.Errors) > 0 {
			code = google.Errors[0].Reason
		}
		return code, google.Code
	}
	var aws smithy.APIError
	if errors.As(err, &aws) {
		return aws.ErrorCode(), 0
	}
	return "", 0
}

// describe is the text of an SDK's error without the request that led to it.
func describe(err error) string {
	var azure *azcore.ResponseError
	if errors.As(err, &azure) {
		return fmt.Sprintf("status %d %s", azure.StatusCode, azure.ErrorCode)
	}
	var aws smithy.APIError
	if !errors.As(err, &aws) {
		return err.Error()
	}
	text := aws.ErrorCode()
	if m := aws.ErrorMessage(); m != "" && m != text {
		text += ": " + m
	}
	var response interface{ ServiceRequestID() string }
	if errors.As(err, &response) && response.ServiceRequestID() != "" {
		text += " (request " + response.ServiceRequestID() + ")"
	}
	return text
}

func byCode(code string) Reason {
	if code == "" {
		return ""
	}
	for reason, list := range words {
		if slices.Contains(list, code) {
			return reason
		}
	}
	return ""
}

func byStatus(op string, status int) Reason {
	switch status {
	case http.StatusUnauthorized, http.StatusForbidden:
		return Denied
	case http.StatusInsufficientStorage, http.StatusRequestEntityTooLarge:
		return Full
	case http.StatusMovedPermanently, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return NoBucket
	case http.StatusNotFound:
		if op != "read" {
			return NoBucket
		}
	case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusInternalServerError,
		http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return Unreachable
	}
	return ""
}

func ofFileSystem(err error) (Reason, bool) {
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return Full, true
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		return Denied, true
	}
	return "", false
}

// hasNoCredentials says that no request was made, because there is nothing to
// make it with.
func hasNoCredentials(err error) bool {
	var (
		own       *credentialsError
		identity  *azidentity.AuthenticationFailedError
		retrieval *oauth2.RetrieveError
	)
	if errors.As(err, &own) || errors.As(err, &identity) || errors.As(err, &retrieval) {
		return true
	}
	// AWS and Azure have no type for it.
	text := err.Error()
	return strings.Contains(text, "get identity: get credentials") || strings.Contains(text, "failed to acquire a token")
}

// refusesTime recognises a refusal of a time that is told in words only: Google's
// of a token's, Azure's of a request's.
func refusesTime(err error) bool {
	text := err.Error()
	return strings.Contains(text, "reasonable timeframe") || strings.Contains(text, "Request date header too old")
}

func isNetwork(err error) bool {
	var (
		netError net.Error
		urlError *url.Error
	)
	return errors.As(err, &netError) || errors.As(err, &urlError) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.Is(err, net.ErrClosed) || errors.Is(err, context.DeadlineExceeded)
}

// isHopeless says that a network error will not go away by itself.
func isHopeless(err error) bool {
	var (
		dns         *net.DNSError
		certificate *tls.CertificateVerificationError
		record      tls.RecordHeaderError
		authority   x509.UnknownAuthorityError
		plain       = strings.Contains(err.Error(), "server gave HTTP response to HTTPS client")
	)
	return (errors.As(err, &dns) && dns.IsNotFound) || errors.As(err, &certificate) || errors.As(err, &record) || errors.As(err, &authority) || plain
}

func isNoBucket(err error) bool {
	code, _ := storeCode(err)
	return errors.Is(err, storage.ErrBucketNotExist) || slices.Contains(words[NoBucket], code) || isNetwork(err)
}

// isDenied tells Google's "denied, or it may not exist" from absence.
func isDenied(err error) bool {
	code, status := storeCode(err)
	return slices.Contains(words[Denied], code) || status == http.StatusForbidden || status == http.StatusUnauthorized
}

// isNoLinks says that a file system has no hard links.
func isNoLinks(err error) bool {
	return errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EOPNOTSUPP) || errors.Is(err, syscall.EMLINK)
}
