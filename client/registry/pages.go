package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// pages reads a list that comes in pages, each linked to the next by a Link header
// (RFC 8288; distribution-spec, "Listing Tags" and "Listing Referrers"). A list of
// which a page is missing is an error.
func (r *Repository) pages(ctx context.Context, u *url.URL, accept string, page func(header http.Header, data []byte) error) error {
	seen := map[string]bool{}
	for range maxPages {
		seen[u.String()] = true
		header, dt, err := r.fetch(ctx, u, accept, MaxManifest)
		if err != nil {
			return err
		}
		if err := page(header, dt); err != nil {
			return fmt.Errorf("GET %s: %w", public(u), err)
		}
		target := nextLink(header.Values("Link"))
		if target == "" {
			return nil
		}
		next, err := resolve(u, target)
		if err != nil {
			return fmt.Errorf("GET %s: next page: %w", public(u), err)
		}
		if next.Host != u.Host || next.Path != u.Path {
			return fmt.Errorf("GET %s: the next page is said to be elsewhere, at %s", public(u), public(next))
		}
		if seen[next.String()] {
			return fmt.Errorf("GET %s: the pages of this list go round in a circle", public(u))
		}
		u = next
	}
	return fmt.Errorf("GET %s: the list has more than %d pages", public(u), maxPages)
}

// nextLink finds the target of the link with the relation "next"; "" is none.
func nextLink(headers []string) string {
	for _, h := range headers {
		for h != "" {
			var target string
			var ok bool
			if _, h, ok = strings.Cut(h, "<"); !ok {
				break
			}
			if target, h, ok = strings.Cut(h, ">"); !ok {
				break
			}
			params, rest := linkParams(h)
			h = rest
			if slices.Contains(strings.Fields(strings.ToLower(params["rel"])), "next") {
				return strings.TrimSpace(target)
			}
		}
	}
	return ""
}

// linkParams reads the parameters of one link up to the comma before the next.
func linkParams(s string) (params map[string]string, rest string) {
	params = map[string]string{}
	for {
		s = strings.TrimLeft(s, " \t")
		if !strings.HasPrefix(s, ";") {
			return params, strings.TrimPrefix(s, ",")
		}
		end := strings.IndexAny(s[1:], "=;,")
		if end < 0 {
			return params, ""
		}
		key := strings.ToLower(strings.TrimSpace(s[1 : 1+end]))
		s = s[1+end:]
		if s[0] != '=' {
			continue
		}
		s = strings.TrimLeft(s[1:], " \t")
		var value string
		if strings.HasPrefix(s, `"`) {
			value, s, _ = strings.Cut(s[1:], `"`)
			// What is left over up to the next parameter or link is no part of it.
			if i := strings.IndexAny(s, ";,"); i >= 0 {
				s = s[i:]
			} else {
				s = ""
			}
		} else if i := strings.IndexAny(s, ";,"); i >= 0 {
			value, s = strings.TrimSpace(s[:i]), s[i:]
		} else {
			value, s = strings.TrimSpace(s), ""
		}
		if _, twice := params[key]; !twice {
			params[key] = value
		}
	}
}

// Tags lists the repository's tags, sorted. The error is ErrNotFound when the registry
// does not know the repository.
func (r *Repository) Tags(ctx context.Context) ([]string, error) {
	u := r.url("tags", "list")
	u.RawQuery = "n=1000" // more is refused by ECR
	var tags []string
	err := r.pages(ctx, u, "application/json", func(_ http.Header, dt []byte) error {
		var list struct {
			Tags []string `json:"tags"`
		}
		if err := json.Unmarshal(dt, &list); err != nil {
			return errors.New("the answer is no list of tags")
		}
		if tags = append(tags, list.Tags...); len(tags) > maxTags {
			return fmt.Errorf("the repository has more than %d tags", maxTags)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	slices.Sort(tags)
	return slices.Compact(tags), nil
}
