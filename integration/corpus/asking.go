package corpus

import (
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/hardening/spec"
)

// ask asks an application each question of want, at a URL that ends with the
// question, and compares the answers as JSON.
func ask(i *Instance, url string, want map[string]string) {
	for what, answer := range want {
		status, body := i.Get(url + what)
		require.Equal(i, http.StatusOK, status, "%s: %s", what, body)
		require.True(i, json.Valid([]byte(body)), "%s: %s", what, body)
		var got, wanted any
		require.NoError(i, json.Unmarshal([]byte(body), &got))
		require.NoError(i, json.Unmarshal([]byte(answer), &wanted), what)
		same(i, what, wanted, got)
	}
}

// askText is ask for answers that are plain text.
func askText(i *Instance, url string, want map[string]string) {
	for what, answer := range want {
		status, body := i.Get(url + what)
		require.Equal(i, http.StatusOK, status, "%s: %s", what, body)
		same(i, what, answer, body)
	}
}

// same notes an answer that is not the wanted one. The other questions are asked
// all the same, so that one run shows everything that fails.
func same(i *Instance, what string, want, got any) {
	if !assert.ObjectsAreEqual(want, got) {
		i.Errorf("the answer to %q is %v, not %v\n", what, got, want)
	}
}

// userName is the login name of the image's user, where the Dockerfile names none.
func userName(i *Instance) string {
	file, err := i.Image.ConfigFile()
	require.NoError(i, err)
	if file.Config.User == "" {
		return "root"
	}
	require.Equal(i, fmt.Sprintf("%[1]d:%[1]d", spec.NonrootID), file.Config.User)
	return spec.NonrootName
}

// userHome is the home directory of that user.
func userHome(i *Instance) string {
	if userName(i) == "root" {
		return "/root"
	}
	return "/home/" + spec.NonrootName
}
