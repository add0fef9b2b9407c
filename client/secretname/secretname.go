// Package secretname judges by a name alone whether what it names is likely a
// secret: a variable, a build argument or a key of a document.
package secretname

import (
	"slices"
	"strings"
	"unicode"
)

// secrets are words that name a secret when a name ends with them.
var secrets = []string{
	"password", "passwords", "passwd", "passphrase", "passcode", "pword",
	"secret", "secrets", "token", "tokens", "credential", "credentials",
	"apikey", "apikeys", "secretkey", "accesskey", "privatekey", "authkey",
}

// short are words that name a secret only as the last of several, or that are
// the tail of no other word. "PWD" alone is the shell's working directory.
var short = []string{"pass", "pwd", "auth", "pat", "psk", "jwt", "otp", "creds", "bearer"}

// keys are the words before KEY that make it a secret one. A PUBLIC_KEY or a
// GPG_KEY, which is a fingerprint by custom, is none.
var keys = []string{
	"api", "access", "account", "app", "auth", "client", "deploy", "encryption", "encrypt", "host", "license",
	"licence", "master", "priv", "private", "rsa", "secret", "service", "session", "shared", "signing", "sign",
	"ssh", "ssl", "storage", "subscription", "tls", "webhook",
}

// about are last words that name something about a secret: where it is, how long
// it lives, whether it is wanted.
var about = []string{
	"algorithm", "alg", "arn", "audience", "class", "count", "dir", "directory", "disabled", "driver", "enable",
	"enabled", "endpoint", "engine", "expiration", "expires", "expiry", "field", "file", "format", "header", "host",
	"hostname", "id", "ids", "issuer", "length", "limit", "limits", "location", "lifetime", "manager", "max", "min",
	"mode", "mount", "name", "names", "namespace", "path", "paths", "policy", "port", "prefix", "provider", "realm",
	"ref", "region", "required", "rotation", "scope", "server", "service", "size", "source", "store", "suffix", "timeout",
	"ttl", "type", "types", "uri", "url", "user", "username", "validator", "version", "versions",
}

// Likely says whether a name is likely a secret's: DB_PASSWORD, npmToken,
// API_KEY and GITHUBTOKEN are; TOKENIZER, PUBLIC_KEY, KEYCLOAK_VERSION and
// PASSWORD_FILE are not. It knows nothing of the value.
func Likely(name string) bool {
	words := split(name)
	if len(words) == 0 {
		return false
	}
	// SECRET_1 and TOKEN2 name what SECRET and TOKEN name.
	for len(words) > 1 && strings.Trim(words[len(words)-1], "0123456789") == "" {
		words = words[:len(words)-1]
	}
	last := strings.TrimRight(words[len(words)-1], "0123456789")
	// SECRET_ID is Vault's word for a password; every other ID is public.
	if last == "id" && len(words) > 1 && words[len(words)-2] == "secret" {
		return true
	}
	if slices.Contains(about, last) {
		return false
	}
	if slices.Contains(words, "public") {
		return false
	}
	for _, s := range secrets {
		if strings.HasSuffix(last, s) {
			return true
		}
	}
	if len(words) > 1 && slices.Contains(short, last) {
		return true
	}
	if (last == "key" || last == "keys") && len(words) > 1 {
		return slices.Contains(keys, words[len(words)-2])
	}
	// A secret in front, with a word behind it that says which: PASSWORD_PROD, TOKEN_NPM.
	return len(words) > 1 && slices.Contains(secrets, words[0])
}

// split cuts a name into lower-case words, at everything that is no letter or
// digit and between camel's humps.
func split(name string) []string {
	var words []string
	var word []rune
	flush := func() {
		if len(word) > 0 {
			words = append(words, strings.ToLower(string(word)))
			word = word[:0]
		}
	}
	runes := []rune(name)
	for i, r := range runes {
		switch {
		case !unicode.IsLetter(r) && !unicode.IsDigit(r):
			flush()
			continue
		case unicode.IsUpper(r) && i > 0 && (unicode.IsLower(runes[i-1]) || unicode.IsUpper(runes[i-1]) && i+1 < len(runes) && unicode.IsLower(runes[i+1])):
			flush()
		}
		word = append(word, r)
	}
	flush()
	return words
}
