package leak

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html"
	"net/url"
	"strings"
)

// form is one way to write a secret.
type form struct {
	name  string
	bytes []byte
	// wrapped says that it is written in lines too.
	wrapped bool
}

func forms(secret string) []form {
	var out []form
	seen := map[string]bool{}
	add := func(name, s string, wrapped bool) {
		if s == "" || seen[s] {
			return
		}
		seen[s] = true
		out = append(out, form{name, []byte(s), wrapped})
	}
	add("plain text", secret, false)
	for before := range 3 {
		for name, e := range map[string]*base64.Encoding{"base64": base64.StdEncoding, "base64url": base64.URLEncoding} {
			// The characters that the bytes before or behind have no part in.
			text := e.EncodeToString([]byte(strings.Repeat("\x00", before) + secret))
			first := []int{0, 2, 3}[before]
			last := (before + len(secret)) * 8 / 6
			add(fmt.Sprintf("%s after %d", name, before), text[first:last], true)
		}
	}
	var lower, upper, percent, percentLower strings.Builder
	for i := range len(secret) {
		fmt.Fprintf(&lower, "%02x", secret[i])
		fmt.Fprintf(&upper, "%02X", secret[i])
		fmt.Fprintf(&percent, "%%%02X", secret[i])
		fmt.Fprintf(&percentLower, "%%%02x", secret[i])
	}
	add("hexadecimal", lower.String(), true)
	add("hexadecimal", upper.String(), true)
	add("percent-encoded throughout", percent.String(), false)
	add("percent-encoded throughout", percentLower.String(), false)
	add("URL query", url.QueryEscape(secret), false)
	add("URL path", url.PathEscape(secret), false)
	add("URL query", strings.ToLower(url.QueryEscape(secret)), false)
	escaped, err := json.Marshal(secret)
	if err == nil {
		inner := strings.Trim(string(escaped), `"`)
		add("JSON", inner, false)
		plain := strings.NewReplacer(`\u003c`, "<", `\u003e`, ">", `\u0026`, "&").Replace(inner)
		add("JSON", plain, false)
		for _, s := range []string{inner, plain} {
			if twice, err := json.Marshal(s); err == nil {
				add("JSON within JSON", strings.TrimSuffix(strings.TrimPrefix(string(twice), `"`), `"`), false)
			}
		}
	}
	add("Go syntax", strings.Trim(fmt.Sprintf("%q", secret), `"`), false)
	add("Go syntax", strings.Trim(fmt.Sprintf("%+q", secret), `"`), false)
	add("Go bytes", strings.Trim(fmt.Sprintf("%v", []byte(secret)), "[]"), false)
	add("HTML", html.EscapeString(secret), false)
	return out
}
