package ecr

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/client/registry"
)

var _ registry.Creator = Creator{}

// api answers as ECR's API does, and keeps what it is asked.
func api(t *testing.T, status int, answer string) (asked *string) {
	t.Helper()
	asked = new(string)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Amz-Target") != "AmazonEC2ContainerRegistry_V20150921.CreateRepository" || r.Header.Get("Authorization") == "" {
			http.Error(w, "", http.StatusBadRequest)
			return
		}
		body, _ := io.ReadAll(r.Body)
		*asked = r.Header.Get("Authorization") + "\n" + string(body)
		w.Header().Set("Content-Type", "application/x-amz-json-1.1")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, answer)
	}))
	t.Cleanup(s.Close)
	t.Setenv("AWS_ENDPOINT_URL_ECR", s.URL)
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret-key-of-the-test")
	t.Setenv("AWS_MAX_ATTEMPTS", "1")
	none := filepath.Join(t.TempDir(), "none")
	t.Setenv("AWS_CONFIG_FILE", none)
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", none)
	return asked
}

func repository(t *testing.T, s string) name.Repository {
	t.Helper()
	r, err := name.NewRepository(s)
	require.NoError(t, err)
	return r
}

const app = "123456789012.dkr.ecr.eu-central-1.amazonaws.com/team/app"

func TestCreate(t *testing.T) {
	asked := api(t, http.StatusOK, `{"repository":{"repositoryName":"team/app"}}`)
	require.NoError(t, Creator{}.Create(t.Context(), repository(t, app)))
	require.Contains(t, *asked, "/eu-central-1/ecr/aws4_request")
	require.Contains(t, *asked, `"registryId":"123456789012"`)
	require.Contains(t, *asked, `"repositoryName":"team/app"`)
	require.NotContains(t, *asked, "imageTagMutability")

	require.NoError(t, Creator{Immutable: true}.Create(t.Context(), repository(t, app)))
	require.Contains(t, *asked, `"imageTagMutability":"IMMUTABLE_WITH_EXCLUSION"`)
	require.Contains(t, *asked, `"sha256-*"`)
}

func TestItExists(t *testing.T) {
	api(t, http.StatusBadRequest, `{"__type":"RepositoryAlreadyExistsException","message":"it exists"}`)
	require.NoError(t, Creator{}.Create(t.Context(), repository(t, app)))
}

func TestDenied(t *testing.T) {
	api(t, http.StatusBadRequest, `{"__type":"AccessDeniedException","message":"User is not authorized to perform ecr:CreateRepository"}`)
	err := Creator{}.Create(t.Context(), repository(t, app))
	require.ErrorContains(t, err, "not authorized")
	require.ErrorContains(t, err, "check that the AWS credentials")
	require.NotErrorIs(t, err, errors.ErrUnsupported)
	require.NotContains(t, err.Error(), "secret-key-of-the-test")
}

func TestHosts(t *testing.T) {
	asked := api(t, http.StatusOK, `{}`)
	for host, region := range map[string]string{
		"123456789012.dkr.ecr.us-east-1.amazonaws.com":          "us-east-1",
		"123456789012.dkr.ecr-fips.us-gov-west-1.amazonaws.com": "us-gov-west-1",
		"123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn":      "cn-north-1",
		"123456789012.dkr-ecr.eu-west-1.on.aws":                 "eu-west-1",
	} {
		require.NoError(t, Creator{}.Create(t.Context(), repository(t, host+"/a")), host)
		require.Contains(t, *asked, "/"+region+"/ecr/")
	}
	*asked = ""
	for _, host := range []string{"public.ecr.aws", "ghcr.io", "127.0.0.1:5000", "123456789012.dkr.ecr.us-east-1.amazonaws.com.evil.example", "12.dkr.ecr.us-east-1.amazonaws.com"} {
		require.ErrorIs(t, Creator{}.Create(t.Context(), repository(t, host+"/a")), errors.ErrUnsupported, host)
	}
	require.Empty(t, *asked)
}
