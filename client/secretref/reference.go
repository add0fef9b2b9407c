// Package secretref reads secret references, the values that say where a secret
// is kept in place of the secret itself: "ref+vault://secret/app#/password".
//
// References are written as helmfile/vals writes them. Differences: options are
// checked, and those that would hide a failure or hold a secret themselves are
// refused; a reference within a reference is refused; env://NAME names a variable.
//
// Nothing is fetched here; package secretstore does that.
package secretref

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"unicode"
)

// maxReference bounds the length of a reference, in bytes. SOPS data can stand in one.
const maxReference = 64 << 10

// Reference is one parsed reference.
type Reference struct {
	// Provider is the scheme: "vault".
	Provider string
	// Path is what the provider is asked for, as vals hands it over: "secret/app".
	Path string
	// Keys lead to a value in the document that the provider returns: "#/a/b" is
	// a, then b. Empty means the whole.
	Keys []string

	options map[string]string
}

// SyntaxError says what is wrong with a reference. It names the part at fault,
// and repeats neither the reference nor an option's value.
type SyntaxError struct {
	// Part is the part at fault: "the provider", "the option secret_id".
	Part string
	// Problem says what is wrong with it, and what to write.
	Problem string
}

func (e *SyntaxError) Error() string {
	return fmt.Sprintf("secret reference: %s %s", e.Part, e.Problem)
}

// String is the reference without its options, for messages. SOPS data is cut short.
func (r Reference) String() string {
	path := r.Path
	if len(path) > 80 {
		path = path[:80] + "…"
	}
	s := "ref+" + r.Provider + "://" + path
	if len(r.Keys) > 0 {
		s += "#/" + strings.Join(r.Keys, "/")
	}
	return s
}

// Options are the options, decoded.
func (r Reference) Options() map[string]string { return maps.Clone(r.options) }

// Option is the value of an option, or "".
func (r Reference) Option(name string) string { return r.options[name] }

// Document identifies what is to be fetched; references to several keys of a
// document share it. It holds the options, so it is not for messages.
func (r Reference) Document() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\x00%s\x00%t", r.Provider, r.Path, len(r.Keys) > 0)
	for _, name := range slices.Sorted(maps.Keys(r.options)) {
		fmt.Fprintf(&b, "\x00%s=%s", name, r.options[name])
	}
	return b.String()
}

// parseReference reads what follows "ref+".
func parseReference(s string) (Reference, error) {
	if len(s) > maxReference {
		return Reference{}, &SyntaxError{"the reference", fmt.Sprintf("is longer than %d bytes", maxReference)}
	}
	if strings.ContainsFunc(s, func(r rune) bool { return unicode.IsControl(r) || unicode.IsSpace(r) || r == unicode.ReplacementChar }) {
		return Reference{}, &SyntaxError{"the reference", "holds white space, a control character or broken text: write it percent-encoded"}
	}
	scheme, rest, ok := strings.Cut(s, "://")
	if !ok {
		return Reference{}, &SyntaxError{"the provider", "is not followed by ://, as in ref+vault://secret/app#/password"}
	}
	p, ok := grammars[scheme]
	if !ok {
		return Reference{}, &SyntaxError{"the provider " + quoted(scheme), "is not known: use one of " + strings.Join(Providers(), ", ")}
	}

	rest, fragment, hasFragment := strings.Cut(rest, "#")
	rest, query, _ := strings.Cut(rest, "?")
	r := Reference{Provider: scheme}
	var err error
	if r.Path, err = parsePath(rest); err != nil {
		return Reference{}, err
	}
	if r.options, err = parseOptions(scheme, p, query); err != nil {
		return Reference{}, err
	}
	if hasFragment {
		if r.Keys, err = parseKeys(fragment); err != nil {
			return Reference{}, err
		}
	}
	if p.shape != nil {
		if problem := p.shape(r); problem != "" {
			return Reference{}, &SyntaxError{"the path", problem}
		}
	}
	return r, nil
}

// parsePath gives what vals makes of a reference's host and path.
func parsePath(s string) (string, error) {
	// An ARN has colons that are no ports.
	if host, _, _ := strings.Cut(s, "/"); strings.Contains(host, "@") {
		return "", &SyntaxError{"the path", "begins with a user or a password: set the store's credentials in the environment"}
	}
	path, err := url.PathUnescape(s)
	if err != nil {
		return "", &SyntaxError{"the path", "is not percent-encoded correctly"}
	}
	if path == "" || path == "/" {
		return "", &SyntaxError{"the path", "is empty: say which secret"}
	}
	if strings.ContainsFunc(path, unicode.IsControl) {
		return "", &SyntaxError{"the path", "holds a control character"}
	}
	return path, nil
}

func parseOptions(scheme string, p grammar, query string) (map[string]string, error) {
	options := map[string]string{}
	if query == "" {
		return options, nil
	}
	for pair := range strings.SplitSeq(query, "&") {
		name, value, ok := strings.Cut(pair, "=")
		if !ok && name == "" {
			return nil, &SyntaxError{"an option", "is empty"}
		}
		if why, refused := p.refused[name]; refused {
			return nil, &SyntaxError{"the option " + quoted(name), "is not taken: " + why}
		}
		if !slices.Contains(p.options, name) {
			known := "it takes none"
			if len(p.options) > 0 {
				known = "it takes " + strings.Join(p.options, ", ")
			}
			return nil, &SyntaxError{"the option " + quoted(name), "is not known to " + scheme + ": " + known}
		}
		if _, twice := options[name]; twice {
			return nil, &SyntaxError{"the option " + quoted(name), "stands there twice"}
		}
		v, err := url.QueryUnescape(value)
		if err != nil || strings.ContainsFunc(v, unicode.IsControl) {
			return nil, &SyntaxError{"the option " + quoted(name), "has a value that is not percent-encoded correctly"}
		}
		if allowed := p.values[name]; allowed != nil && !slices.Contains(allowed, v) {
			return nil, &SyntaxError{"the option " + quoted(name), "is one of " + strings.Join(allowed, ", ")}
		}
		options[name] = v
	}
	return options, nil
}

func parseKeys(fragment string) ([]string, error) {
	f, err := url.PathUnescape(fragment)
	if err != nil || strings.ContainsFunc(f, unicode.IsControl) {
		return nil, &SyntaxError{"the part after #", "is not percent-encoded correctly"}
	}
	keys := strings.Split(strings.TrimPrefix(f, "/"), "/")
	if slices.Contains(keys, "") {
		return nil, &SyntaxError{"the part after #", "has an empty key: write #/key or #/key/inner"}
	}
	return keys, nil
}

// quoted shows a name of the reference's grammar, cut short, because what was
// meant as something else can stand in its place.
func quoted(name string) string {
	if len(name) > 24 {
		name = name[:24] + "…"
	}
	return fmt.Sprintf("%q", name)
}
