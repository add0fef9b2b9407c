package registries

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// call is what a request to a registry is about.
type call struct {
	repo, kind, id string
}

// parse reads a path of the distribution API.
func parse(u *url.URL) (call, bool) {
	path, ok := strings.CutPrefix(u.Path, "/v2/")
	if !ok {
		return call{}, false
	}
	for _, kind := range []string{"/blobs/uploads/", "/manifests/", "/referrers/", "/blobs/", "/tags/"} {
		if i := strings.LastIndex(path, kind); i > 0 {
			return call{path[:i], strings.Trim(kind, "/"), path[i+len(kind):]}, true
		}
	}
	return call{}, false
}

// reply answers with an error as distribution-spec has it.
func reply(w http.ResponseWriter, r *http.Request, status int, code, message string) {
	_, _ = io.Copy(io.Discard, r.Body)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, `{"errors":[{"code":%q,"message":%q}]}`, code, message)
}

// held is an answer that has not been sent.
type held struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (h *held) Header() http.Header { return h.header }
func (h *held) WriteHeader(status int) {
	if h.status == 0 {
		h.status = status
	}
}
func (h *held) Write(p []byte) (int, error) {
	h.WriteHeader(http.StatusOK)
	return h.body.Write(p)
}

func hold(next http.Handler, r *http.Request) *held {
	h := &held{header: http.Header{}}
	next.ServeHTTP(h, r)
	h.WriteHeader(http.StatusOK)
	return h
}

func (h *held) send(w http.ResponseWriter) {
	for k, v := range h.header {
		w.Header()[k] = v
	}
	w.WriteHeader(h.status)
	_, _ = w.Write(h.body.Bytes())
}

// upload turns a mount that cannot be into an upload, as distribution-spec says, and says
// nothing of chunks' sizes.
func upload(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, ok := parse(r.URL)
		if !ok || r.Method != http.MethodPost || c.kind != "blobs/uploads" {
			next.ServeHTTP(w, r)
			return
		}
		if r.URL.Query().Has("mount") {
			if h := hold(next, r); h.status == http.StatusCreated {
				h.send(w)
				return
			}
			r = r.Clone(r.Context())
			r.URL.RawQuery = ""
		}
		h := hold(next, r)
		h.header.Del("OCI-Chunk-Min-Length")
		h.send(w)
	})
}

// paged lists referrers in pages of n.
func paged(next http.Handler, n int) http.Handler {
	if n <= 0 {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, ok := parse(r.URL)
		if !ok || c.kind != "referrers" {
			next.ServeHTTP(w, r)
			return
		}
		h := hold(next, r)
		var idx map[string]any
		if h.status == http.StatusOK && json.Unmarshal(h.body.Bytes(), &idx) == nil {
			all, _ := idx["manifests"].([]any)
			from, _ := strconv.Atoi(r.URL.Query().Get("after"))
			from = min(from, len(all))
			to := min(from+n, len(all))
			idx["manifests"] = all[from:to]
			if to < len(all) {
				h.header.Set("Link", fmt.Sprintf(`<%s?after=%d>; rel="next"`, r.URL.Path, to))
			}
			h.body.Reset()
			_ = json.NewEncoder(&h.body).Encode(idx)
			h.header.Del("Content-Length")
		}
		h.send(w)
	})
}

// noReferrers answers the referrers API in a registry's way of not having it.
func noReferrers(next http.Handler, answer http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c, ok := parse(r.URL); ok && c.kind == "referrers" {
			answer(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// subjectHeader is what registries with the referrers API answer pushes with.
const subjectHeader = "OCI-Subject"

// quiet drops that header: a registry without the API does not send it.
func quiet(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c, ok := parse(r.URL); ok && c.kind == "manifests" && r.Method == http.MethodPut {
			h := hold(next, r)
			h.header.Del(subjectHeader)
			h.send(w)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// immutable has a refusal to move a tag say what a registry says.
func immutable(next http.Handler, status int, code, message string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, ok := parse(r.URL)
		if !ok || c.kind != "manifests" || r.Method != http.MethodPut || strings.Contains(c.id, ":") {
			next.ServeHTTP(w, r)
			return
		}
		h := hold(next, r)
		if h.status == http.StatusForbidden && strings.Contains(h.body.String(), "cannot overwrite tag") {
			reply(w, r, status, code, strings.NewReplacer("TAG", c.id, "REPOSITORY", c.repo).Replace(message))
			return
		}
		h.send(w)
	})
}

// existing refuses what is about a repository that was not made. into tells what has to
// have been made for a repository.
func existing(s *Server, next http.Handler, into func(repo string) string, status int, code, message string) http.Handler {
	s.into = into
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, ok := parse(r.URL)
		if ok && !s.made(c.repo) {
			reply(w, r, status, code, strings.ReplaceAll(message, "REPOSITORY", c.repo))
			return
		}
		next.ServeHTTP(w, r)
	})
}
