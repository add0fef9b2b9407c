package secretstore

import (
	"errors"
	"io/fs"
	"net/http"
	"regexp"
	"strconv"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

var awsError = regexp.MustCompile(`(?:api error |RequestID: [^,]*, )(\w+): ([^\n]*)`)

// awsKinds are the codes of AWS Secrets Manager's and Systems Manager's APIs, and
// the errors common to all of AWS.
var awsKinds = map[string]error{
	"ResourceNotFoundException": ErrNotFound, "ParameterNotFound": ErrNotFound, "ParameterVersionNotFound": ErrNotFound,
	"AccessDenied": ErrDenied, "AccessDeniedException": ErrDenied, "UnrecognizedClientException": ErrDenied,
	"InvalidSignatureException": ErrDenied, "SignatureDoesNotMatch": ErrDenied, "ExpiredTokenException": ErrDenied, "ExpiredToken": ErrDenied,
	"InvalidClientTokenId": ErrDenied, "IncompleteSignature": ErrDenied, "MissingAuthenticationTokenException": ErrDenied,
	"DecryptionFailure": ErrDenied, "InvalidKeyId": ErrDenied,
	"ThrottlingException": ErrUnavailable, "InternalServiceError": ErrUnavailable, "InternalServerError": ErrUnavailable,
	"InternalFailure": ErrUnavailable, "ServiceUnavailable": ErrUnavailable,
}

func explainAWS(err error) (reason, bool) {
	text := err.Error()
	if m := awsError.FindStringSubmatch(text); m != nil {
		kind, ok := awsKinds[m[1]]
		if !ok {
			kind = ErrFailed
		}
		why := reason{kind: kind, what: clean(strings.TrimSuffix(m[1]+": "+m[2], ": "))}
		why.advice = map[error]string{
			ErrDenied:   "check the AWS credentials, the clock, and that their policy allows this secret and its KMS key",
			ErrNotFound: "check the name and the region",
		}[kind]
		return why, true
	}
	switch {
	case strings.Contains(text, "out.Parameters is empty"):
		return reason{ErrNotFound, "no parameter lies below this path", "check the name and the region"}, true
	case strings.Contains(text, "is nil"), strings.Contains(text, "nor SecretBinary"):
		return reason{ErrNotFound, "the answer holds no value", "check the name and the version"}, true
	case strings.Contains(text, "Missing Region"), strings.Contains(text, "Invalid Configuration"), strings.Contains(text, "invalid region"):
		return reason{ErrSetup, "no AWS region is set", "set AWS_REGION, or add ?region= to the reference"}, true
	case strings.Contains(text, "get credentials"), strings.Contains(text, "refresh cached credentials"), strings.Contains(text, "IMDS"):
		return reason{ErrSetup, "no AWS credentials were found", "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or give this machine a role"}, true
	}
	return reason{}, false
}

var (
	vaultCode   = regexp.MustCompile(`Code: (\d{3})\.`)
	vaultErrors = regexp.MustCompile(`(?m)^\s*\* (.*)$`)
)

func explainVault(err error) (reason, bool) {
	text := err.Error()
	if m := vaultCode.FindStringSubmatch(text); m != nil {
		var said []string
		for _, s := range vaultErrors.FindAllStringSubmatch(text, 5) {
			if line := clean(s[1]); line != "" {
				said = append(said, line)
			}
		}
		what := "the server answered " + m[1]
		if len(said) > 0 {
			what += ": " + strings.Join(said, "; ")
		}
		login := strings.Contains(text, "/login")
		switch {
		case strings.Contains(text, "is sealed"):
			return reason{ErrUnavailable, "Vault is sealed", "unseal it, and run this again"}, true
		case login && (m[1] == "400" || m[1] == "403"):
			return reason{ErrDenied, "the login failed: " + what, "check VAULT_ROLE_ID, VAULT_SECRET_ID or the method's other settings"}, true
		case m[1] == "403":
			return reason{ErrDenied, what, "check the token, and that its policy allows to read this path"}, true
		case m[1] == "404":
			return reason{ErrNotFound, what, "check the mount and the path"}, true
		case m[1] == "429", m[1][0] == '5':
			return reason{ErrUnavailable, what, "check the server's own log"}, true
		}
		return reason{ErrFailed, what, ""}, true
	}
	switch {
	case strings.Contains(text, "no secret found for path"):
		return reason{ErrNotFound, "there is no secret at this path", "check the mount and the path"}, true
	case strings.Contains(text, "does not exist in"):
		return reason{ErrNotFound, "the secret has no such key", ""}, true
	case strings.Contains(text, "base64 decode failed"):
		return reason{ErrUnusable, "the value is not in base64", "leave out decode=base64"}, true
	case strings.Contains(text, "but it isn't set"), strings.Contains(text, "password missing"), strings.Contains(text, "service account token file"),
		strings.Contains(text, ": open "):
		return reason{ErrSetup, clean(strings.TrimPrefix(text, "Cannot create Vault Client: ")), ""}, true
	}
	return reason{}, false
}

func explainKubernetes(err error) (reason, bool) {
	text := clean(err.Error())
	switch {
	case strings.Contains(text, "is forbidden"), strings.Contains(text, "Unauthorized"):
		return reason{ErrDenied, text, "check the credentials of the context, and that its role may get this secret"}, true
	case strings.Contains(text, "Unable to build config"), strings.Contains(text, "No path was found"), strings.Contains(text, "is set but path"):
		return reason{ErrSetup, text, "set KUBECONFIG, or add ?kubeConfigPath= or ?inCluster=true to the reference"}, true
	case strings.Contains(text, "kind is not valid"), strings.Contains(text, "Invalid apiVersion"), strings.Contains(text, "Invalid path"):
		return reason{ErrSetup, "only v1/Secret and v1/ConfigMap can be read", ""}, true
	case strings.Contains(text, "not found"):
		return reason{ErrNotFound, text, "check the namespace and the name"}, true
	case strings.Contains(text, "does not exist in"):
		return reason{ErrNotFound, "the secret has no such key", ""}, true
	}
	return reason{}, false
}

func explainAzure(err error) (reason, bool) {
	var answer *azcore.ResponseError
	text := err.Error()
	if errors.As(err, &answer) {
		what := "Azure answered " + clean(strconv.Itoa(answer.StatusCode)+" "+answer.ErrorCode)
		switch {
		case answer.StatusCode == http.StatusUnauthorized, answer.StatusCode == http.StatusForbidden:
			return reason{ErrDenied, what, "check that the identity has the role Key Vault Secrets User on this vault"}, true
		case answer.StatusCode == http.StatusNotFound:
			return reason{ErrNotFound, what, "check the vault, the name and the version"}, true
		case answer.StatusCode == http.StatusTooManyRequests, answer.StatusCode >= http.StatusInternalServerError:
			return reason{ErrUnavailable, what, "run this again later"}, true
		}
		return reason{ErrFailed, what, ""}, true
	}
	switch {
	case strings.Contains(text, "AADSTS"):
		i := strings.Index(text, "AADSTS")
		return reason{ErrDenied, "the login at Azure failed: " + clean(text[i:min(len(text), i+13)]), "check AZURE_TENANT_ID, AZURE_CLIENT_ID and the secret or certificate"}, true
	case strings.Contains(text, "authentication failed"), strings.Contains(text, "failed to acquire a token"), strings.Contains(text, "credential"):
		return reason{ErrSetup, "no Azure credential could log in", "set AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET, or AZKV_AUTH for one method"}, true
	case strings.Contains(text, "challenge"):
		return reason{ErrUnavailable, "the server's challenge is not Key Vault's: " + clean(text), "check the vault's host name"}, true
	}
	return reason{}, false
}

func explainGCP(err error) (reason, bool) {
	// status.FromError would put the words of whoever wrapped it in.
	var answer interface{ GRPCStatus() *status.Status }
	if !errors.As(err, &answer) {
		return reason{}, false
	}
	s := answer.GRPCStatus()
	if s == nil || s.Code() == codes.OK || s.Code() == codes.Unknown {
		return reason{}, false
	}
	what := clean(s.Code().String() + ": " + s.Message())
	switch s.Code() {
	case codes.NotFound:
		return reason{ErrNotFound, what, "check the project, the name and the version"}, true
	case codes.PermissionDenied, codes.Unauthenticated:
		return reason{ErrDenied, what, "check that the identity has the role Secret Manager Secret Accessor on this secret"}, true
	case codes.DeadlineExceeded:
		return reason{ErrTimeout, "Google did not answer in time", "check that secretmanager.googleapis.com can be reached from here"}, true
	case codes.Unavailable, codes.ResourceExhausted, codes.Internal, codes.Aborted:
		return reason{ErrUnavailable, what, ""}, true
	}
	return reason{ErrFailed, what, ""}, true
}

// explainSOPS never repeats SOPS: its errors quote values that were left unencrypted.
func explainSOPS(err error) (reason, bool) {
	text := err.Error()
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return reason{}, false
	}
	switch {
	case strings.Contains(text, "metadata not found"):
		return reason{ErrUnusable, "this is no file of SOPS: it has no metadata", "use ref+file:// for a plain file"}, true
	case strings.Contains(text, "data key"), strings.Contains(text, "recover"):
		return reason{ErrDenied, "none of the keys that this file is encrypted for could decrypt it", "give SOPS the key: SOPS_AGE_KEY_FILE, a PGP secret key ring, or access to the KMS"}, true
	case strings.Contains(text, "data integrity"), strings.Contains(text, "mac"), strings.Contains(text, "authentication failed"):
		return reason{ErrUnusable, "the file was changed after SOPS encrypted it", "decrypt and encrypt it again"}, true
	case strings.Contains(text, "illegal base64"):
		return reason{ErrUnusable, "the path is not in base64 (URL alphabet)", ""}, true
	}
	return reason{ErrUnusable, "SOPS cannot read this file", "see what sops --decrypt says of it"}, true
}
