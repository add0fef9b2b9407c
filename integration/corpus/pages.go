package corpus

import (
	"net/http"
	"net/url"

	"github.com/stretchr/testify/require"
)

// page is the URL of a page of the service on port 8080; args are the names and
// values of its query.
func page(path string, args ...string) string {
	q := url.Values{}
	for n := 0; n+1 < len(args); n += 2 {
		q.Set(args[n], args[n+1])
	}
	if len(q) == 0 {
		return "http://127.0.0.1:8080" + path
	}
	return "http://127.0.0.1:8080" + path + "?" + q.Encode()
}

// requirePage checks the body of a page that must be there.
func requirePage(i *Instance, want, url string) {
	status, body := i.Get(url)
	require.Equal(i, http.StatusOK, status, "%s: %s", url, body)
	require.Equal(i, want, body, url)
}

// requireError checks that a page is an error that says what is expected.
func requireError(i *Instance, want, url string) {
	status, body := i.Get(url)
	require.Equal(i, http.StatusInternalServerError, status, "%s: %s", url, body)
	require.Contains(i, body, want, url)
}
