package secrets

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/client/secretstore"
)

const (
	awsKey    = "AKIATESTTESTTESTTEST"
	awsSecret = "p1anted/aws+secret+key+of+40+characters0"
)

// aws stands in for Secrets Manager and for Parameter Store, and checks signatures
// (AWS Signature Version 4).
type aws struct{}

var credential = regexp.MustCompile(`^AWS4-HMAC-SHA256 Credential=([^/]+)/\d{8}/([^/]+)/([^/]+)/aws4_request, SignedHeaders=([^,]+), Signature=([0-9a-f]+)$`)

// signed says whether the request is signed with the secret key, for the service.
func signed(r *http.Request, body []byte, service string) error {
	m := credential.FindStringSubmatch(r.Header.Get("Authorization"))
	if m == nil || m[1] != awsKey || m[3] != service {
		return errNobody
	}
	at, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
	if err != nil || time.Since(at).Abs() > 5*time.Minute {
		return errNobody
	}
	again, err := http.NewRequest(r.Method, "http://"+r.Host+r.URL.RequestURI(), strings.NewReader(string(body)))
	if err != nil {
		return err
	}
	for name := range strings.SplitSeq(m[4], ";") {
		if values := r.Header.Values(name); values != nil {
			again.Header[http.CanonicalHeaderKey(name)] = values
		}
	}
	sum := sha256.Sum256(body)
	creds := awssdk.Credentials{AccessKeyID: awsKey, SecretAccessKey: awsSecret}
	if err := v4.NewSigner().SignHTTP(r.Context(), creds, again, hex.EncodeToString(sum[:]), service, m[2], at); err != nil {
		return err
	}
	if again.Header.Get("Authorization") != r.Header.Get("Authorization") {
		return errNobody
	}
	return nil
}

func (*aws) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	if err != nil {
		return
	}
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	fail := func(code, message string) {
		w.WriteHeader(http.StatusBadRequest)
		_ = json.NewEncoder(w).Encode(object{"__type": code, "message": message})
	}
	service, operation, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
	if err := signed(r, body, map[string]string{"secretsmanager": "secretsmanager", "AmazonSSM": "ssm"}[service]); err != nil {
		fail("InvalidSignatureException", "The request signature we calculated does not match.\n\nThe Canonical String was\nx-amz-security-token:p1anted")
		return
	}
	var in struct {
		SecretID                 string `json:"SecretId"`
		Name, Path, VersionStage string
	}
	if err := json.Unmarshal(body, &in); err != nil {
		fail("SerializationException", "no JSON")
		return
	}
	parameter := func(name, value string, version int) object {
		return object{"Name": name, "Value": value, "Type": "SecureString", "Version": version}
	}
	var out object
	switch operation + " " + in.SecretID + in.Name + in.Path {
	case "GetSecretValue team/app":
		out = object{"Name": in.SecretID, "SecretString": `{"password": "` + planted + `"}`}
		if in.VersionStage == "AWSPREVIOUS" {
			out["SecretString"] = planted + "-old"
		}
	case "GetSecretValue arn:aws:secretsmanager:eu-west-1:123456789012:secret:plain-AbCdEf":
		out = object{"Name": "plain", "SecretString": planted}
	case "GetSecretValue binary":
		out = object{"Name": "binary", "SecretBinary": []byte(planted)}
	case "GetSecretValue text":
		out = object{"Name": "text", "SecretString": "p1anted-but-no-mapping"}
	case "GetSecretValue nothing":
		out = object{"Name": "nothing"}
	case "GetSecretValue secret", "GetParameter /secret":
		fail("AccessDeniedException", "User: arn:aws:iam::1:user/x is not authorized to perform this")
		return
	case "GetSecretValue busy":
		fail("ThrottlingException", "Rate exceeded")
		return
	case "GetParameter /team/app/password":
		out = object{"Parameter": parameter(in.Name, planted, 2)}
	case "GetParameter /team/document":
		out = object{"Parameter": parameter(in.Name, "a: {b: "+planted+"}", 1)}
	case "GetParameterHistory /team/app/password":
		out = object{"Parameters": []object{parameter(in.Name, planted+"-old", 1), parameter(in.Name, planted, 2)}}
	case "GetParametersByPath /team/app":
		out = object{"Parameters": []object{parameter("/team/app/password", planted, 2), parameter("/team/app/user", "someone", 1)}}
	case "GetParametersByPath /empty":
		out = object{"Parameters": []object{}}
	default:
		if service == "AmazonSSM" {
			fail("ParameterNotFound", "")
			return
		}
		fail("ResourceNotFoundException", "Secrets Manager can't find the specified secret.")
		return
	}
	_ = json.NewEncoder(w).Encode(out)
}

func TestAWS(t *testing.T) {
	t.Setenv("AWS_ENDPOINT_URL", "http://"+shared.clouds.plain)
	t.Setenv("AWS_ACCESS_KEY_ID", awsKey)
	t.Setenv("AWS_SECRET_ACCESS_KEY", awsSecret)
	t.Setenv("AWS_REGION", "eu-west-1")
	for reference, want := range map[string]string{
		"ref+awssecrets://team/app#/password":                                                planted,
		"ref+awssecrets://team/app":                                                          `{"password": "` + planted + `"}`,
		"ref+awssecrets://team/app?version_stage=AWSPREVIOUS":                                planted + "-old",
		"ref+awssecrets://team/app?region=us-east-1#/password":                               planted,
		"ref+awssecrets://binary":                                                            planted,
		"ref+awssecrets://arn:aws:secretsmanager:eu-west-1:123456789012:secret:plain-AbCdEf": planted,
		"ref+awsssm://team/app/password":                                                     planted,
		"ref+awsssm:///team/app/password":                                                    planted,
		"ref+awsssm://team/app/password?version=1":                                           planted + "-old",
		"ref+awsssm://team/app#/password":                                                    planted,
		"ref+awsssm://team/document?mode=singleparam#/a/b":                                   planted,
	} {
		resolves(t, reference, want)
	}
	fails(t, "ref+awssecrets://absent", secretstore.ErrNotFound, "ResourceNotFoundException: Secrets Manager can't find the specified secret.: check the name and the region")
	fails(t, "ref+awssecrets://absent#/key", secretstore.ErrNotFound, "ResourceNotFoundException")
	fails(t, "ref+awssecrets://team/app#/absent", secretstore.ErrNotFound, "the secret has no such key")
	fails(t, "ref+awssecrets://text#/key", secretstore.ErrUnusable, "no YAML or JSON mapping")
	fails(t, "ref+awssecrets://nothing", secretstore.ErrNotFound, "the answer holds no value")
	fails(t, "ref+awssecrets://secret", secretstore.ErrDenied, "AccessDeniedException: User: arn:aws:iam::1:user/x is not authorized")
	fails(t, "ref+awssecrets://busy", secretstore.ErrUnavailable, "ThrottlingException: Rate exceeded")
	fails(t, "ref+awsssm://absent", secretstore.ErrNotFound, "ParameterNotFound")
	fails(t, "ref+awsssm://empty#/key", secretstore.ErrNotFound, "no parameter lies below this path")
	fails(t, "ref+awsssm://secret", secretstore.ErrDenied, "AccessDeniedException")
	fails(t, "ref+awsssm://team/app/password?version=9", secretstore.ErrNotFound, "the answer holds no value")

	t.Run("wrong key", func(t *testing.T) {
		t.Setenv("AWS_SECRET_ACCESS_KEY", "another-p1anted-key")
		fails(t, "ref+awssecrets://team/app", secretstore.ErrDenied, "InvalidSignatureException: The request signature we calculated does not match.: check the AWS credentials, the clock")
	})
	t.Run("profile", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "credentials")
		require.NoError(t, os.WriteFile(file, fmt.Appendf(nil, "[release]\naws_access_key_id = %s\naws_secret_access_key = %s\n", awsKey, awsSecret), 0o600))
		t.Setenv("AWS_SHARED_CREDENTIALS_FILE", file)
		t.Setenv("AWS_ACCESS_KEY_ID", "")
		t.Setenv("AWS_SECRET_ACCESS_KEY", "")
		resolves(t, "ref+awssecrets://team/app?profile=release#/password", planted)
		fails(t, "ref+awssecrets://team/app?profile=other#/password", secretstore.ErrSetup, `there is no AWS profile "other"`)
	})
	t.Run("no credentials", func(t *testing.T) {
		t.Setenv("AWS_ACCESS_KEY_ID", "")
		t.Setenv("AWS_SECRET_ACCESS_KEY", "")
		fails(t, "ref+awssecrets://team/app", secretstore.ErrSetup, "no AWS credentials were found: set AWS_ACCESS_KEY_ID")
	})
	t.Run("no region", func(t *testing.T) {
		t.Setenv("AWS_REGION", "")
		t.Setenv("AWS_ENDPOINT_URL", "")
		fails(t, "ref+awssecrets://team/app", secretstore.ErrSetup, "no AWS region is set: set AWS_REGION")
	})
	t.Run("server down", func(t *testing.T) {
		t.Setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
		fails(t, "ref+awssecrets://team/app", secretstore.ErrUnavailable, "the store cannot be reached: dial tcp 127.0.0.1:1: connect: connection refused")
	})
}
