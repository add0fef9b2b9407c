package registry

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/google/go-containerregistry/pkg/name"
	digest "github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"
)

func TestNextLink(t *testing.T) {
	for header, want := range map[string]string{
		``:                                   "",
		`</v2/a?n=1>; rel="next"`:            "/v2/a?n=1",
		`</v2/a?n=1>;rel=next`:               "/v2/a?n=1",
		`</v2/a?n=1> ; REL = "Next" `:        "/v2/a?n=1",
		`</p>; rel="prev"`:                   "",
		`</p>; rel="prev", </n>; rel="next"`: "/n",
		`</p>; title="a, <b>; rel=next"; rel=prev, </n>; rel="last next"`: "/n",
		`</n>; rel=prev; rel=next`:                                        "", // the first counts
		`</n>`:                                                            "",
		`<`:                                                               "",
		`</n>; rel`:                                                       "",
		`</n>; rel=`:                                                      "",
		`</n>; rel="next`:                                                 "/n",
	} {
		require.Equal(t, want, nextLink([]string{header}), header)
	}
	require.Equal(t, "/n", nextLink([]string{`</p>; rel=prev`, `</n>; rel=next`}))
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for header, want := range map[string]time.Duration{
		"":                              0,
		"0":                             0,
		"-5":                            0,
		"7":                             7 * time.Second,
		"99999999999999":                24 * time.Hour,
		"999999999999999999999999":      0,
		"soon":                          0,
		"Fri, 02 Jan 2026 03:05:05 GMT": time.Minute,
		"Fri, 02 Jan 2026 03:03:05 GMT": 0,
		"Sat, 02 Jan 2027 03:03:05 GMT": 24 * time.Hour,
	} {
		require.Equal(t, want, parseRetryAfter(header, now), header)
	}
	r := Retry{Base: time.Second, Cap: 10 * time.Second}
	require.Equal(t, 10*time.Second, r.delay(1, time.Hour), "no longer than the cap")
	require.Equal(t, 3*time.Second, r.delay(5, 3*time.Second))
	for attempt := range 100 {
		d := r.delay(attempt+1, 0)
		require.Greater(t, d, time.Duration(0))
		require.LessOrEqual(t, d, 10*time.Second)
	}
}

func TestErrorBody(t *testing.T) {
	for body, want := range map[string]struct {
		codes   []string
		message string
	}{
		``: {nil, ""},
		`{"errors":[{"code":"NAME_UNKNOWN","message":"no such\nrepository","detail":{"secret":"x"}}]}`: {[]string{"NAME_UNKNOWN"}, "no such repository"},
		`{"errors":[{"code":"A","message":"a"},{"code":"B","message":"b"}]}`:                           {[]string{"A", "B"}, "a; b"},
		`{"errors":[{"code":5,"message":{}}]}`:                                                         {nil, ""},
		`{"errors":[{"code":"","message":""}],"message":"m"}`:                                          {nil, "m"},
		`{"message":"Bad credentials"}`:                                                                {nil, "Bad credentials"},
		"404 page\x1b[31m not\u202e found\n":                                                           {nil, "404 page[31m not found"},
		`<html><body>x`:                                                                                {nil, ""},
		`[1]`:                                                                                          {nil, "[1]"},
	} {
		codes, message := parseErrorBody([]byte(body))
		require.Equal(t, want.codes, codes, body)
		require.Equal(t, want.message, message, body)
	}
	_, message := parseErrorBody([]byte(strings.Repeat("x", 10_000)))
	require.LessOrEqual(t, len(message), maxMessage+len("…"))
}

func TestOffsets(t *testing.T) {
	for header, want := range map[string]int64{"0-0": 0, "0-1": 2, "bytes=0-1023": 1024, "0-9223372036854775806": 1<<63 - 1, "0-9": 10} {
		n, ok := uploadedRange(header)
		require.True(t, ok, header)
		require.Equal(t, want, n, header)
	}
	for _, header := range []string{"", "0", "1-5", "0--1", "0-+1", "0-x", "0-9223372036854775807", "0-99999999999999999999"} {
		_, ok := uploadedRange(header)
		require.False(t, ok, header)
	}
	n, ok := contentRangeStart("bytes 5-9/10")
	require.True(t, ok)
	require.EqualValues(t, 5, n)
	for _, header := range []string{"", "5-9/10", "bytes */10", "bytes -5-9/10"} {
		_, ok := contentRangeStart(header)
		require.False(t, ok, header)
	}
}

func TestLocations(t *testing.T) {
	secure, plain := parse(t, "https://r.example.com/v2/a/blobs/uploads/"), parse(t, "http://localhost:5000/v2/a/blobs/uploads/")
	for _, c := range []struct {
		base       *url.URL
		location   string
		want, fail string
	}{
		{secure, "/v2/a/blobs/uploads/1?x=y", "https://r.example.com/v2/a/blobs/uploads/1?x=y", ""},
		{secure, "1", "https://r.example.com/v2/a/blobs/uploads/1", ""},
		{secure, "https://storage.example.com/1?sig=2", "https://storage.example.com/1?sig=2", ""},
		{secure, "http://r.example.com/1", "https://r.example.com/1", ""},
		{secure, "http://storage.example.com/1?sig=secret", "", "without encryption: http://storage.example.com/1"},
		{plain, "http://localhost:5000/1", "http://localhost:5000/1", ""},
		{plain, "https://user:pass@localhost:5000/1#f", "https://localhost:5000/1", ""},
		{secure, "", "", "names no address"},
		{secure, "https://%zz", "", "that is none"},
		{secure, "ftp://r.example.com/1", "", "that is none"},
		{secure, "file:///etc/passwd", "", "that is none"},
	} {
		u, err := resolve(c.base, c.location)
		if c.fail != "" {
			require.ErrorContains(t, err, c.fail, c.location)
			require.NotContains(t, err.Error(), "secret")
			continue
		}
		require.NoError(t, err, c.location)
		require.Equal(t, c.want, u.String())
	}
}

func parse(t testing.TB, s string) *url.URL {
	t.Helper()
	u, err := url.Parse(s)
	require.NoError(t, err)
	return u
}

func TestRefusals(t *testing.T) {
	for _, c := range []struct {
		status            int
		code, message     string
		absent, immutable bool
	}{
		{404, "MANIFEST_BLOB_UNKNOWN", "blob unknown to registry", true, false}, // GitLab
		{400, "MANIFEST_INVALID", "subject missing", true, false},
		{422, "", "Blob unknown", true, false},
		{404, "NAME_UNKNOWN", "repository name not known", false, false},
		{403, "DENIED", "requested access to the resource is denied", false, false},
		{500, "MANIFEST_BLOB_UNKNOWN", "", false, false},
		{429, "TOOMANYREQUESTS", "", false, false},
		{400, "TAG_INVALID", "The image tag 'v1' already exists in the 'a' repository and cannot be overwritten because the tag is immutable.", false, true}, // ECR
		{412, "PRECONDITION", "Failed to process request due to 'a:v1' configured as immutable.", false, true},                                               // Harbor
		{405, "DENIED", "The operation is disallowed: locked", false, true},                                                                                  // ACR
		{400, "DENIED", "cannot update tag v1. The repository has enabled tag immutability", false, true},                                                    // GAR
		{409, "TAG_IMMUTABLE", "", false, true},
	} {
		r := &Repository{}
		var codes []string
		if c.code != "" {
			codes = []string{c.code}
		}
		err := fmt.Errorf("push: %w", r.classify(&StatusError{Method: "PUT", Status: c.status, Codes: codes, Message: c.message}))
		require.Equal(t, c.absent, IsAbsentSubject(err), "%v", err)
		require.Equal(t, c.immutable, IsImmutableTag(err), "%v", err)
	}
	require.False(t, IsAbsentSubject(errors.New("blob unknown")))
	require.False(t, IsImmutableTag(nil))
}

func FuzzNextLink(f *testing.F) {
	for _, s := range []string{`</n>; rel="next"`, `</p>; rel=prev, </n>; title="a,b"; rel="x next"`, "<>;;=,\"", `<a>;x="`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, header string) {
		if target := nextLink([]string{header}); !strings.Contains(header, target) {
			t.Errorf("%q is not in %q", target, header)
		}
	})
}

func FuzzAnswerHeaders(f *testing.F) {
	for _, s := range []string{"0-0", "0-1023", "bytes 0-5/6", "/v2/a/blobs/uploads/1?_state=x", "http://h/x", "120", "Fri, 02 Jan 2026 03:05:05 GMT"} {
		f.Add(s)
	}
	base := parse(f, "https://r.example.com/v2/a/blobs/uploads/")
	f.Fuzz(func(t *testing.T, header string) {
		if n, ok := uploadedRange(header); ok && n < 0 {
			t.Errorf("uploaded %d", n)
		}
		if n, ok := contentRangeStart(header); ok && n < 0 {
			t.Errorf("begins at %d", n)
		}
		if d := parseRetryAfter(header, time.Unix(1_700_000_000, 0)); d < 0 || d > 24*time.Hour {
			t.Errorf("wait %s", d)
		}
		u, err := resolve(base, header)
		if err != nil {
			return
		}
		if u.Scheme != "https" || u.Host == "" || u.User != nil {
			t.Errorf("%q leads to %s", header, u)
		}
		if _, err := http.NewRequest(http.MethodGet, u.String(), nil); err != nil {
			t.Errorf("%q cannot be asked for: %v", header, err)
		}
	})
}

func FuzzErrorBody(f *testing.F) {
	for _, s := range []string{`{"errors":[{"code":"A","message":"b"}]}`, `{"message":"x"}`, "text", "<html>", `{"errors":[{"code":1}]}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		codes, message := parseErrorBody(body)
		err := (&StatusError{Method: "GET", URL: "https://r", Status: 400, Codes: codes, Message: message}).Error()
		if len(err) > 4096 {
			t.Errorf("%d bytes of error", len(err))
		}
		if i := strings.IndexFunc(err, func(c rune) bool { return !unicode.IsPrint(c) }); i >= 0 {
			t.Errorf("%q cannot be shown", err)
		}
	})
}

func FuzzReferrers(f *testing.F) {
	f.Add([]byte(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{"mediaType":"m","digest":"`+nobody.String()+`","size":2}]}`), true)
	f.Add([]byte(`{"manifests":null}`), false)
	f.Fuzz(func(t *testing.T, data []byte, typed bool) {
		contentType := ""
		if typed {
			contentType = ocispecs.MediaTypeImageIndex
		}
		descs, err := parseReferrers(data, contentType)
		if err != nil {
			return
		}
		c := collected{seen: map[digest.Digest]bool{}}
		if c.add(descs) != nil {
			return
		}
		for _, d := range c.descs {
			if d.Digest.Validate() != nil || d.Size < 0 {
				t.Errorf("took %v", d)
			}
			_ = fallbackTag(d.Digest)
		}
		_, _ = manifestType(data, contentType)
		if !json.Valid(data) {
			t.Error("took what is no JSON")
		}
	})
}

func TestAdvice(t *testing.T) {
	for repo, want := range map[string]string{
		"123456789012.dkr.ecr.eu-central-1.amazonaws.com/team/app": "run aws ecr create-repository --repository-name team/app --region eu-central-1",
		"europe-west1-docker.pkg.dev/project/images/app":           "run gcloud artifacts repositories create images --repository-format=docker --project=project --location=europe-west1",
		"eu.gcr.io/project/app":                                    "run gcloud artifacts repositories create eu.gcr.io --repository-format=docker --project=project, with the location that the host stands for",
		"harbor.example.com/team/app":                              `make it, or the project "team" that it belongs to, in the registry`,
	} {
		n, err := name.NewRepository(repo)
		require.NoError(t, err)
		require.Equal(t, want, (&Repository{name: n}).advice())
	}
}
