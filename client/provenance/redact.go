package provenance

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/temper-images/temper/frontend/config"
)

// removed stands where a value was.
const removed = "REDACTED"

// minSecret is the shortest value, in bytes, that is looked for outside the places
// that state it. What is shorter is no secret, and common in other words.
const minSecret = 6

// publicArgs are build arguments that BuildKit itself understands, whose values are
// no secrets and explain the result.
var publicArgs = []string{
	"SOURCE_DATE_EPOCH", "BUILDKIT_MULTI_PLATFORM", "BUILDKIT_INLINE_CACHE", "BUILDKIT_SYNTAX",
	"BUILDKIT_CONTEXT_KEEP_GIT_DIR", "BUILDKIT_SANDBOX_HOSTNAME", "BUILDKIT_DOCKERFILE_CHECK",
}

// isPublic says whether a build argument's value may be told. A TEMPER_ argument
// is a field of temper.yaml, which refuses secrets.
func isPublic(name string, allowed []string) bool {
	return slices.Contains(publicArgs, name) || slices.Contains(allowed, name) || strings.HasPrefix(name, config.ArgPrefix)
}

// redactor takes the values of build arguments, and credentials in URLs, out of
// text.
type redactor struct {
	// names are the build arguments whose values are not told.
	names    []string
	replacer *strings.Replacer
}

// newRedactor knows the values of args but for those that allowed names.
func newRedactor(args map[string][]string, allowed []string) *redactor {
	r := &redactor{}
	instead := map[string]string{}
	for name, values := range args {
		if isPublic(name, allowed) {
			continue
		}
		r.names = append(r.names, name)
		for _, value := range values {
			if len(value) < minSecret {
				continue
			}
			// The forms that a value takes in a URL and in JSON inside of a string.
			for _, form := range []string{value, url.QueryEscape(value), url.PathEscape(value), inJSON(value)} {
				instead[form] = removed
			}
			// From where something was fetched must stay known.
			for _, form := range []string{value, scrubURL(value)} {
				if host := hostPattern.FindString(form); host != "" {
					instead[form] = accountPattern.ReplaceAllString(host, "$1://") + "/" + removed
				}
			}
		}
	}
	slices.Sort(r.names)
	// A value that holds another one goes first.
	forms := slices.SortedFunc(maps.Keys(instead), func(a, b string) int {
		return cmp.Or(cmp.Compare(len(b), len(a)), cmp.Compare(a, b))
	})
	var pairs []string
	for _, form := range forms {
		pairs = append(pairs, form, instead[form])
	}
	r.replacer = strings.NewReplacer(pairs...)
	return r
}

// inJSON is s as it stands inside of a JSON string.
func inJSON(s string) string {
	dt, err := json.Marshal(s)
	if err != nil {
		return s
	}
	return string(dt[1 : len(dt)-1])
}

// hostPattern is the beginning of a URL up to its host.
var hostPattern = regexp.MustCompile(`^(?i:https?|git|ftp)://[^/\s?#]+`)

// A URL's account and password, but for the account of ssh, which is part of the
// address; and the query parameters that sign or authorise a request.
var (
	accountPattern  = regexp.MustCompile(`(?i)\b(https?|git|ftp)://[^/\s@"'?#]+@`)
	passwordPattern = regexp.MustCompile(`(?i)\b(ssh://[^/\s@:"'?#]+):[^/\s@"']+@`)
	queryPattern    = regexp.MustCompile(`(?i)([?&;](?:x-amz-(?:signature|credential|security-token)|x-goog-(?:signature|credential)|sig|signature|token|access_token|private_token|job_token|auth|authorization|key|api_?key|password|passwd|pwd|secret|client_secret|code)=)[^&#;\s"']*`)
)

// scrubURL takes credentials out of the URLs in s.
func scrubURL(s string) string {
	if !strings.Contains(s, "://") {
		return s
	}
	s = accountPattern.ReplaceAllString(s, "$1://")
	s = passwordPattern.ReplaceAllString(s, "$1@")
	return queryPattern.ReplaceAllString(s, "${1}"+removed)
}

// isImage says that s names an image, which is no place for a secret and must stay
// readable.
func isImage(s string) bool {
	return strings.HasPrefix(s, "pkg:") || strings.HasPrefix(s, "docker-image://") || strings.HasPrefix(s, "oci-layout://")
}

// text is s without values and credentials.
func (r *redactor) text(s string) string {
	if isImage(s) {
		return s
	}
	if name, _, ok := strings.Cut(s, "="); ok && slices.Contains(r.names, name) {
		return name + "=" + removed
	}
	return r.replacer.Replace(scrubURL(s))
}

// blob is text for a string that may be base64: files that a step writes are.
func (r *redactor) blob(s string) string {
	if out := r.text(s); out != s {
		return out
	}
	if len(s) < 8 || len(s)%4 != 0 {
		return s
	}
	dt, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		return s
	}
	plain := string(dt)
	out := r.replacer.Replace(plain)
	if utf8.ValidString(plain) {
		out = scrubURL(out)
	}
	if out == plain {
		return s
	}
	return base64.StdEncoding.EncodeToString([]byte(out))
}

// structural are keys below which there is no text of the build's, so that a
// value that happens to be "linux/amd64" does not spoil them.
var structural = []string{
	"digest", "digestMapping", "mediaType", "platform", "builderPlatform", "targetPlatform", "buildType", "layers",
	"sysUsage", "resourceUsage", "startedOn", "finishedOn", "invocationId", "language", "constraints",
}

// document is v, decoded JSON, without values and credentials.
func (r *redactor) document(v any) any {
	switch v := v.(type) {
	case string:
		return r.blob(v)
	case []any:
		for i := range v {
			v[i] = r.document(v[i])
		}
	case map[string]any:
		for key, value := range v {
			name, isArg := strings.CutPrefix(key, argPrefix)
			switch {
			case isArg && slices.Contains(r.names, name):
				v[key] = removed
			case !slices.Contains(structural, key):
				v[key] = r.document(value)
			}
		}
	}
	return v
}
