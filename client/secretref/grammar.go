package secretref

import (
	"maps"
	"regexp"
	"slices"
	"strings"
)

// grammar is what a provider's references may hold.
type grammar struct {
	// options are the options that it takes, refused those of vals that it does
	// not, with the reason.
	options []string
	refused map[string]string
	// values are the only values of an option.
	values map[string][]string
	// shape says what is wrong with a path, or "".
	shape func(Reference) string
}

var awsOptions = []string{"profile", "region", "role_arn"}

var grammars = map[string]grammar{
	"awssecrets": {options: append([]string{"version_id", "version_stage"}, awsOptions...)},
	"awsssm": {
		options: append([]string{"mode", "recursive", "version"}, awsOptions...),
		values:  map[string][]string{"mode": {"singleparam"}, "recursive": {"true", "false"}},
	},
	"gcpsecrets": {
		options: []string{"trim_nl", "version"},
		refused: map[string]string{
			"optional":       "every failure would count as an empty secret",
			"fallback_value": "it would be a secret in the reference, and stand for every failure",
		},
		values: map[string][]string{"trim_nl": {"true", "false"}},
		shape:  segments(1, 2, "PROJECT/SECRET, or SECRET with GCP_PROJECT set"),
	},
	"azurekeyvault": {shape: segments(2, 3, "VAULT/SECRET or VAULT/SECRET/VERSION")},
	"vault": {
		options: []string{
			"address", "auth_method", "decode", "host", "namespace", "password_env", "password_file", "proto",
			"role_id", "token_env", "token_file", "username", "version",
		},
		refused: map[string]string{"secret_id": "it would be a secret in the reference: set VAULT_SECRET_ID"}, //nolint:gosec // no credential, but a reason
		values: map[string][]string{
			"auth_method": {"token", "approle", "kubernetes", "userpass"},
			"decode":      {"raw", "base64"},
			"proto":       {"https", "http"},
		},
		shape: func(r Reference) string {
			if len(r.Keys) == 0 && !strings.Contains(strings.Trim(r.Path, "/"), "/") {
				return "has no key: write MOUNT/PATH#/KEY or MOUNT/PATH/KEY"
			}
			return ""
		},
	},
	"k8s": {
		options: []string{"inCluster", "kubeConfigPath", "kubeContext"},
		values:  map[string][]string{"inCluster": {"true"}},
		shape: func(r Reference) string {
			n := strings.Count(r.Path, "/")
			if n == 3 || n == 4 && len(r.Keys) == 0 {
				return ""
			}
			return "is not v1/Secret/NAMESPACE/NAME/KEY, or v1/Secret/NAMESPACE/NAME#/KEY"
		},
	},
	"sops": {
		options: append([]string{"encode", "format", "key_type"}, awsOptions...),
		values: map[string][]string{
			"encode": {"raw", "base64"}, "key_type": {"filepath", "base64"},
			"format": {"yaml", "json", "dotenv", "ini", "binary"},
		},
	},
	"file": {options: []string{"encode"}, values: map[string][]string{"encode": {"raw", "base64"}}},
	"env": {
		shape: func(r Reference) string {
			if !variable.MatchString(r.Path) {
				return "is not the name of a variable"
			}
			return ""
		},
	},
	"envsubst": {},
}

var variable = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// Providers are the names of the providers, sorted.
func Providers() []string { return slices.Sorted(maps.Keys(grammars)) }

func segments(least, most int, form string) func(Reference) string {
	return func(r Reference) string {
		if n := strings.Count(strings.Trim(r.Path, "/"), "/") + 1; n < least || n > most {
			return "is not " + form
		}
		return ""
	}
}
