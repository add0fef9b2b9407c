package secretref_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/client/redact"
	"github.com/temper-images/temper/client/secretref"
)

func TestParse(t *testing.T) {
	for in, want := range map[string]string{
		"":                                       "",
		"ref+vault://secret/app#/password":       "ref+vault://secret/app#/password",
		"secretref+vault://secret/app#/password": "ref+vault://secret/app#/password",
		"ref+vault://secret/app#password":        "ref+vault://secret/app#/password",
		"ref+vault://secret/app/password":        "ref+vault://secret/app/password",
		"ref+vault://secret/app?address=https://vault:8200#/a/b":         "ref+vault://secret/app#/a/b",
		"ref+awssecrets://arn:aws:secretsmanager:eu-west-1:1:secret:x-y": "ref+awssecrets://arn:aws:secretsmanager:eu-west-1:1:secret:x-y",
		"ref+awsssm://team/app/token?region=eu-west-1":                   "ref+awsssm://team/app/token",
		"ref+gcpsecrets://project/name?version=3":                        "ref+gcpsecrets://project/name",
		"ref+azurekeyvault://vault/name/version":                         "ref+azurekeyvault://vault/name/version",
		"ref+k8s://v1/Secret/ns/name/key?inCluster=true":                 "ref+k8s://v1/Secret/ns/name/key",
		"ref+sops://secrets.enc.yaml#/db/password":                       "ref+sops://secrets.enc.yaml#/db/password",
		"ref+file:///run/secrets/token":                                  "ref+file:///run/secrets/token",
		"ref+file://./token%20file":                                      "ref+file://./token file",
		"ref+env://HOME":                                                 "ref+env://HOME",
		"ref+envsubst://$HOME":                                           "ref+envsubst://$HOME",
		"Bearer ref+env://TOKEN":                                         "«redacted»ref+env://TOKEN",
		"https://ref+env://HOST+/a?b=ref+env://B":                        "«redacted»ref+env://HOST«redacted»ref+env://B",
		"just text":                "«redacted»",
		"href+https://example.com": "«redacted»",
		"a preference+more":        "«redacted»",
	} {
		v, err := secretref.Parse(in)
		require.NoError(t, err, in)
		require.Equal(t, want, v.String())
		require.Equal(t, strings.Contains(want, "ref+"), v.IsReference(), in)
		require.Equal(t, in == "", v.IsEmpty())
	}
}

func TestParseRefuses(t *testing.T) {
	for in, want := range map[string]string{
		"ref+vaul://secret/app#/password":                `secret reference: the provider "vaul" is not known: use one of awssecrets, awsssm, azurekeyvault, env, envsubst, file, gcpsecrets, k8s, sops, vault`,
		"ref+echo://hunter22":                            `the provider "echo" is not known`,
		"ref+exec://rm":                                  `the provider "exec" is not known`,
		"ref+vault":                                      "the provider is not followed by ://",
		"ref+vault:hunter22":                             "the provider is not followed by ://",
		"ref+://x":                                       `the provider "" is not known`,
		"ref+vault://":                                   "the path is empty",
		"ref+vault://app":                                "the path has no key: write MOUNT/PATH#/KEY or MOUNT/PATH/KEY",
		"ref+vault://user:hunter22@vault/app#/x":         "the path begins with a user or a password",
		"ref+vault://secret/app?adress=hunter22#/x":      `the option "adress" is not known to vault: it takes address, auth_method`,
		"ref+vault://secret/app?secret_id=hunter22#/x":   `the option "secret_id" is not taken: it would be a secret in the reference: set VAULT_SECRET_ID`,
		"ref+vault://secret/app?auth_method=hunter22#/x": `the option "auth_method" is one of token, approle, kubernetes, userpass`,
		"ref+vault://secret/app?version=1&version=2#/x":  `the option "version" stands there twice`,
		"ref+vault://secret/app?version=%zz#/x":          `the option "version" has a value that is not percent-encoded correctly`,
		"ref+vault://secret/app?#/x/":                    "the part after # has an empty key",
		"ref+vault://secret/app#":                        "the part after # has an empty key",
		"ref+vault://secret/app#/%0a":                    "the part after # is not percent-encoded correctly",
		"ref+gcpsecrets://p/n?optional=true":             `the option "optional" is not taken: every failure would count as an empty secret`,
		"ref+gcpsecrets://p/n?fallback_value=hunter22":   `the option "fallback_value" is not taken`,
		"ref+gcpsecrets://p/n/o/q":                       "the path is not PROJECT/SECRET",
		"ref+azurekeyvault://vault":                      "the path is not VAULT/SECRET or VAULT/SECRET/VERSION",
		"ref+k8s://v1/Secret/ns":                         "the path is not v1/Secret/NAMESPACE/NAME/KEY",
		"ref+env://A-B":                                  "the path is not the name of a variable",
		"ref+file://a%zz":                                "the path is not percent-encoded correctly",
		"ref+file://a%00b":                               "the path holds a control character",
		"ref+vault://ref+env://A/b":                      "the reference holds another reference",
		"ref+env://A?x=1":                                `the option "x" is not known to env: it takes none`,
		"ref+file://" + strings.Repeat("a", 70_000):      "the reference is longer than 65536 bytes",
		"ref+" + strings.Repeat("hunter22", 20) + "://x": `the provider "hunter22hunter22hunter22…" is not known`,
	} {
		_, err := secretref.Parse(in)
		var syntax *secretref.SyntaxError
		require.ErrorAs(t, err, &syntax, in)
		require.Contains(t, err.Error(), want, in)
		if !strings.Contains(want, "hunter22") {
			require.NotContains(t, err.Error(), "hunter22", in)
		}
	}
}

// A secret and a value's text print as nothing, in any verb and at any depth.
func TestPrintsNothing(t *testing.T) {
	const text = "hunter22-and-more"
	secret := secretref.NewSecret([]byte(text))
	value, err := secretref.Parse(text)
	require.NoError(t, err)
	reference, err := secretref.Parse("ref+vault://a/b?role_id=" + text + "#/c")
	require.NoError(t, err)
	hidden := struct {
		secret  secretref.Secret
		Secret  *secretref.Secret
		Again   secretref.Secret
		Value   secretref.Value
		Any     any
		Mapping map[string]any
	}{*secret, secret, *secret, value, secret, map[string]any{"a": secret, "b": value}}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
		for _, what := range []any{secret, *secret, hidden, &hidden, errors.New("x"), []any{secret, value}, reference} {
			out := fmt.Sprintf(verb, what)
			require.NotContains(t, out, "hunter22", verb)
			require.NotContains(t, out, "104 117 110", verb)
			require.NotContains(t, strings.ToLower(out), "68756e746572", verb)
		}
	}
	for _, what := range []any{secret, *secret, hidden, value, reference} {
		dt, err := json.Marshal(what)
		require.NoError(t, err)
		require.NotContains(t, string(dt), "hunter22")
	}
	require.Equal(t, redact.Mark, secret.LogValue().String())

	require.Equal(t, text, string(secret.Bytes()))
	b := secret.Bytes()
	secret.Wipe()
	require.Nil(t, secret.Bytes())
	require.Equal(t, make([]byte, len(text)), b, "overwritten")
	require.Empty(t, secret.Reveal())
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"ref+vault://secret/app?address=https://v#/a/b", "x ref+env://A+ y", "secretref+awsssm://a/b?mode=singleparam#/k", "ref+", "ref+file://%2e",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		v, err := secretref.Parse(s)
		if err != nil {
			var syntax *secretref.SyntaxError
			require.ErrorAs(t, err, &syntax)
			require.Less(t, len(err.Error()), 600)
			return
		}
		if !v.IsReference() {
			return
		}
		for _, r := range v.References() {
			require.Contains(t, secretref.Providers(), r.Provider)
			require.NotEmpty(t, r.Path)
		}
	})
}
