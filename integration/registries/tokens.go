package registries

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
)

// The account of the registries that want a login.
const (
	user     = "releaser"
	password = "correct-horse-battery"
)

// tokens hands out bearer tokens and takes them, as distribution's "Token Authentication
// Specification" has it. Each is good for so many requests.
type tokens struct {
	path   string // where they are handed out, on the registry's own host
	uses   int
	public bool

	mu    sync.Mutex
	given map[string]*token
}

type token struct {
	left   int
	scopes map[string][]string // actions by repository
}

// bearer puts a login by tokens before a registry. They are handed out at path.
func bearer(s *Server, next http.Handler, path string, c Config) http.Handler {
	t := &tokens{path: path, uses: c.TokenUses, public: c.Public, given: map[string]*token{}}
	s.Username, s.Password = user, password
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == path:
			t.give(w, r)
		case t.allows(r):
			next.ServeHTTP(w, r)
		default:
			challenge := fmt.Sprintf(`Bearer realm="http://%s%s",service="%s"`, r.Host, path, r.Host)
			if c, ok := parse(r.URL); ok {
				challenge += fmt.Sprintf(`,scope="repository:%s:%s"`, c.repo, strings.Join(needs(r), ","))
			}
			w.Header().Set("WWW-Authenticate", challenge)
			reply(w, r, http.StatusUnauthorized, "UNAUTHORIZED", "authentication required")
		}
	})
}

// needs are the actions that a request needs.
func needs(r *http.Request) []string {
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		return []string{"pull"}
	}
	return []string{"pull", "push"}
}

func (t *tokens) give(w http.ResponseWriter, r *http.Request) {
	name, pass, login := r.BasicAuth()
	if login && (name != user || pass != password) || !login && !t.public {
		reply(w, r, http.StatusUnauthorized, "UNAUTHORIZED", "incorrect username or password")
		return
	}
	k := &token{left: t.uses, scopes: map[string][]string{}}
	for _, scope := range strings.Fields(strings.Join(r.URL.Query()["scope"], " ")) {
		rest, ok := strings.CutPrefix(scope, "repository:")
		i := strings.LastIndexByte(rest, ':')
		if !ok || i < 0 {
			continue
		}
		for action := range strings.SplitSeq(rest[i+1:], ",") {
			if login || action == "pull" {
				k.scopes[rest[:i]] = append(k.scopes[rest[:i]], action)
			}
		}
	}
	text := rand.Text()
	t.mu.Lock()
	t.given[text] = k
	t.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"token": text, "expires_in": 60})
}

// allows takes a request's token, and uses it up.
func (t *tokens) allows(r *http.Request) bool {
	text, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	k := t.given[text]
	if k == nil {
		return false
	}
	c, about := parse(r.URL)
	if about {
		for _, action := range needs(r) {
			if !slices.Contains(k.scopes[c.repo], action) {
				return false
			}
		}
		if from := r.URL.Query().Get("from"); from != "" && !slices.Contains(k.scopes[from], "pull") {
			return false
		}
	}
	if t.uses > 0 {
		if k.left == 0 {
			delete(t.given, text)
			return false
		}
		k.left--
	}
	return true
}

// basic puts a login by name and password before a registry.
func basic(s *Server, next http.Handler, name, service string) http.Handler {
	s.Username, s.Password = name, password
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, p, ok := r.BasicAuth()
		if !ok || n != name || p != password {
			w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Basic realm="http://%s/",service=%q`, r.Host, service))
			reply(w, r, http.StatusUnauthorized, "UNAUTHORIZED", "authentication required")
			return
		}
		next.ServeHTTP(w, r)
	})
}
