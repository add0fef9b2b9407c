package evidence

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/sas"
	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/client/evidence"
	"github.com/temper-images/temper/integration/fault"
	"github.com/temper-images/temper/integration/objectstore"
)

// requireSilent checks that an error does not tell a secret.
func requireSilent(t *testing.T, err error, secrets ...string) {
	t.Helper()
	for _, s := range secrets {
		require.NotContains(t, err.Error(), s)
	}
}

// Wrong credentials are refused by the real servers, and told at once.
func TestWrongCredentials(t *testing.T) {
	const wrong = "d3JvbmctYnV0LWJhc2U2NA=="
	for _, tt := range []struct {
		name  string
		kind  objectstore.Kind
		given evidence.Credentials
		env   map[string]string
		want  string
	}{
		{"s3 secret", objectstore.S3, evidence.Credentials{Account: "temper", Secret: wrong}, nil, "SignatureDoesNotMatch"},
		{"s3 account", objectstore.S3, evidence.Credentials{Account: "nobody", Secret: wrong}, nil, "InvalidAccessKeyId"},
		{"s3 environment", objectstore.S3, evidence.Credentials{}, map[string]string{"AWS_SECRET_ACCESS_KEY": wrong}, "SignatureDoesNotMatch"},
		{"s3 none", objectstore.S3, evidence.Credentials{}, map[string]string{"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_EC2_METADATA_DISABLED": "true", "HOME": "/nonexistent"}, "AWS_ACCESS_KEY_ID"},
		{"azure key", objectstore.Azure, evidence.Credentials{Account: "temper", Secret: wrong}, nil, "status 403"},
		{"azure signature", objectstore.Azure, evidence.Credentials{Account: "temper", Secret: "sv=2024-01-01&sr=c&sp=rcl&sig=" + wrong}, nil, "status 403"},
		{"azure environment", objectstore.Azure, evidence.Credentials{}, map[string]string{"AZURE_STORAGE_KEY": wrong}, "status 403"},
		{"azure no base64", objectstore.Azure, evidence.Credentials{Account: "temper", Secret: "not base64!"}, nil, "not in base64"},
		{"gcs no key", objectstore.GCS, evidence.Credentials{Secret: `{"type":"external_account","credential_source":{"executable":{"command":"rm"}}}`}, map[string]string{"STORAGE_EMULATOR_HOST": ""}, "not the JSON of a service account's key"},
		{"gcs file", objectstore.GCS, evidence.Credentials{}, map[string]string{"STORAGE_EMULATOR_HOST": "", "GOOGLE_APPLICATION_CREDENTIALS": "/nonexistent"}, "GOOGLE_APPLICATION_CREDENTIALS"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newPlace(t, tt.kind)
			for name, value := range tt.env {
				t.Setenv(name, value)
			}
			started := time.Now()
			s, err := evidence.Open(t.Context(), p.url, evidence.Options{Credentials: tt.given})
			if err == nil {
				defer s.Close()
				_, err = s.Put(t.Context(), image("app"), documents(2, 100))
			}
			e := requireReason(t, err, evidence.Denied)
			require.ErrorContains(t, e, tt.want)
			require.ErrorContains(t, e, "in temper.yaml (evidence.")
			requireSilent(t, err, wrong, "not base64!")
			require.Less(t, time.Since(started), time.Minute, "nothing is tried again")
		})
	}
	t.Run("gcs token", func(t *testing.T) {
		p := newPlace(t, objectstore.GCS)
		p.proxy.Set(func(*http.Request) fault.Fault {
			return fault.Reply(http.StatusUnauthorized, http.Header{"Content-Type": {"application/json"}},
				`{"error":{"code":401,"message":"Invalid Credentials","errors":[{"reason":"authError"}]}}`)
		})
		_, err := p.open(t, evidence.Options{}).Put(t.Context(), image("app"), documents(2, 100))
		requireReason(t, err, evidence.Denied)
	})
}

// Credentials that the caller has resolved win over the environment.
func TestGivenCredentials(t *testing.T) {
	for _, kind := range []objectstore.Kind{objectstore.S3, objectstore.Azure} {
		server := servers[kind]
		given := map[string]evidence.Credentials{"key": {Account: server.Account, Secret: server.Secret}}
		if kind == objectstore.Azure {
			given["signature"] = evidence.Credentials{Account: server.Account, Secret: sharedAccessSignature(t, server)}
			given["connection string"] = evidence.Credentials{Secret: "DefaultEndpointsProtocol=http;AccountName=" + server.Account +
				";AccountKey=" + server.Secret + ";BlobEndpoint=http://" + server.Addr + "/" + server.Account + ";"}
		}
		for name, c := range given {
			t.Run(string(kind)+"/"+name, func(t *testing.T) {
				p := newPlace(t, kind)
				for name := range server.Env(p.proxy.Addr) {
					t.Setenv(name, "d3Jvbmc=")
				}
				s := p.open(t, evidence.Options{Credentials: c, Patience: time.Second})
				_, err := s.Put(t.Context(), image("app"), documents(2, 100))
				require.NoError(t, err)
				requireComplete(t, s, image("app"), 2)
				require.NotContains(t, s.URL(), c.Secret)

				// Requests that fail have the signature in their address.
				p.proxy.Set(func(*http.Request) fault.Fault { return fault.HangUp(0) })
				_, err = s.Put(t.Context(), image("app"), documents(2, 100))
				if name != "connection string" {
					requireReason(t, err, evidence.Unreachable)
					requireSilent(t, err, c.Secret, "sig=", "se=")
				}
			})
		}
	}
}

func sharedAccessSignature(t *testing.T, s *objectstore.Server) string {
	t.Helper()
	key, err := container.NewSharedKeyCredential(s.Account, s.Secret)
	require.NoError(t, err)
	values, err := sas.BlobSignatureValues{
		Protocol: sas.ProtocolHTTPSandHTTP, ContainerName: objectstore.Bucket, ExpiryTime: time.Now().Add(time.Hour).UTC(),
		Permissions: (&sas.ContainerPermissions{Read: true, Create: true, Write: true, List: true}).String(),
	}.SignWithSharedKey(key)
	require.NoError(t, err)
	return values.Encode()
}

// shiftedClock makes requests and answers look as they would on a machine whose
// clock is off: requests are dated and signed anew, answers are dated back. Blind,
// it leaves the answers, so that nobody can learn the right time from them.
type shiftedClock struct {
	by              time.Duration
	blind           bool
	account, secret string

	mu      sync.Mutex
	refused int
}

func (c *shiftedClock) RoundTrip(req *http.Request) (*http.Response, error) {
	date, err := time.Parse("20060102T150405Z", req.Header.Get("X-Amz-Date"))
	if err != nil {
		return nil, err
	}
	again := req.Clone(req.Context())
	again.Header.Del("Authorization")
	creds := aws.Credentials{AccessKeyID: c.account, SecretAccessKey: c.secret}
	if err := v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true }).SignHTTP(req.Context(), creds, again,
		req.Header.Get("X-Amz-Content-Sha256"), "s3", "us-east-1", date.Add(c.by)); err != nil {
		return nil, err
	}
	resp, err := http.DefaultTransport.RoundTrip(again)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode == http.StatusForbidden {
		c.mu.Lock()
		c.refused++
		c.mu.Unlock()
	}
	if date, err := http.ParseTime(resp.Header.Get("Date")); err == nil && !c.blind {
		resp.Header.Set("Date", date.Add(-c.by).Format(http.TimeFormat))
	}
	return resp, nil
}

// A clock that is off by a day is put right by the store's own, or is told with by
// how much it is off.
func TestClockOffByADay(t *testing.T) {
	server := servers[objectstore.S3]
	for name, by := range map[string]time.Duration{"behind": -24 * time.Hour, "ahead": 24 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			clock := &shiftedClock{by: by, account: server.Account, secret: server.Secret}
			p := newPlace(t, objectstore.S3)
			_, err := p.open(t, evidence.Options{Transport: clock}).Put(t.Context(), image("app"), documents(3, 1000))
			require.NoError(t, err)
			require.Positive(t, clock.refused, "the server refused the wrong time")
			requireComplete(t, p.open(t, evidence.Options{}), image("app"), 3)
		})
		t.Run(name+", for good", func(t *testing.T) {
			clock := &shiftedClock{by: by, blind: true, account: server.Account, secret: server.Secret}
			p := newPlace(t, objectstore.S3)
			_, err := p.open(t, evidence.Options{Transport: clock}).Put(t.Context(), image("app"), documents(3, 1000))
			requireReason(t, err, evidence.ClockSkew)
			require.ErrorContains(t, err, "set this machine's clock")
			requireNothing(t, p.open(t, evidence.Options{}), image("app"))
		})
	}
	// The others are told in words that their services use; their stand-ins here
	// look at no date.
	dated := func(by time.Duration, code, body string) fault.Fault {
		return fault.Reply(http.StatusForbidden, http.Header{
			"Date": {time.Now().Add(by).UTC().Format(http.TimeFormat)}, "X-Ms-Error-Code": {code}, "Content-Type": {"application/xml"},
		}, body)
	}
	for name, tt := range map[string]struct {
		reply fault.Fault
		want  string
	}{
		"ahead":  {dated(-24*time.Hour, "AuthenticationFailed", "<Error><Code>AuthenticationFailed</Code></Error>"), "this machine's clock is 24h0m"},
		"behind": {dated(24*time.Hour, "AuthenticationFailed", "<Error><Code>AuthenticationFailed</Code></Error>"), "behind the store's"},
	} {
		t.Run("azure "+name, func(t *testing.T) {
			p := newPlace(t, objectstore.Azure)
			p.proxy.Set(func(*http.Request) fault.Fault { return tt.reply })
			_, err := p.open(t, evidence.Options{}).Put(t.Context(), image("app"), documents(1, 100))
			e := requireReason(t, err, evidence.ClockSkew)
			require.InDelta(t, 24, e.Skew.Abs().Hours(), 0.1)
			require.ErrorContains(t, err, tt.want)
		})
	}
}

// A host that does not exist, and one that does not listen, are told; neither is
// waited for longer than it is worth.
func TestUnreachable(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "x")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "x")
	for name, endpoint := range map[string]string{"no host": "http://store.invalid", "no server": "http://127.0.0.1:1", "no TLS": "https://" + servers[objectstore.S3].Addr} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			s, err := evidence.Open(ctx, "s3://evidence?endpoint="+endpoint, evidence.Options{Patience: time.Second})
			require.NoError(t, err)
			defer s.Close()
			_, err = s.Put(ctx, image("app"), documents(1, 100))
			requireReason(t, err, evidence.Unreachable)
			require.ErrorContains(t, err, strings.SplitN(endpoint, "//", 2)[1])
		})
	}
}
