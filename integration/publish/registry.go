package publish

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"

	digest "github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// Repository reads a repository over plain HTTP, with nothing of ours in between.
// What is not there it reads as nil; every other failure it keeps.
type Repository struct {
	ctx        context.Context
	host, name string
	// Err is the first failure.
	Err error
}

// Read reads the repository name at host as long as ctx is not done.
func Read(ctx context.Context, host, name string) *Repository {
	return &Repository{ctx: ctx, host: host, name: name}
}

const accept = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, " +
	"application/vnd.docker.distribution.manifest.v2+json, application/vnd.docker.distribution.manifest.list.v2+json"

// tries is how often something is read that a registry fails at: docker-registry
// answers 500 to who reads a tag while it is written.
const tries = 5

// get reads a path of the repository; 404 is nil.
func (r *Repository) get(method, path string) []byte {
	for i := 0; ; i++ {
		data, status, err := r.once(method, path)
		switch {
		case err == nil:
			return data
		case status < 500 || i == tries:
			return r.fail(err)
		}
	}
}

func (r *Repository) once(method, path string) (data []byte, status int, err error) {
	req, err := http.NewRequestWithContext(r.ctx, method, "http://"+r.host+"/v2/"+r.name+path, nil)
	if err != nil {
		return nil, 0, err
	}
	req.Header.Set("Accept", accept)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, 0, err
	}
	defer resp.Body.Close()
	data, err = io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return nil, 0, err
	case resp.StatusCode == http.StatusNotFound:
		return nil, resp.StatusCode, nil
	case resp.StatusCode != http.StatusOK:
		return nil, resp.StatusCode, fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, data)
	case method == http.MethodHead:
		return []byte(resp.Header.Get("Docker-Content-Digest")), resp.StatusCode, nil
	}
	return data, resp.StatusCode, nil
}

func (r *Repository) fail(err error) []byte {
	if r.Err == nil && r.ctx.Err() == nil {
		r.Err = err
	}
	return nil
}

func (r *Repository) manifest(ref string) []byte  { return r.get(http.MethodGet, "/manifests/"+ref) }
func (r *Repository) blob(d digest.Digest) []byte { return r.get(http.MethodGet, "/blobs/"+d.String()) }

// has is the digest of a manifest that is there, or nothing.
func (r *Repository) has(ref string) digest.Digest {
	return digest.Digest(r.get(http.MethodHead, "/manifests/"+ref))
}

// referrers asks the registry's list, and without one the tag that stands in for it
// (distribution-spec v1.1, "Referrers Tag Schema").
func (r *Repository) referrers(subject digest.Digest) []ocispecs.Descriptor {
	data := r.get(http.MethodGet, "/referrers/"+subject.String())
	if data == nil {
		data = r.manifest(tagOf(subject, ""))
	}
	var index ocispecs.Index
	if data != nil {
		if err := json.Unmarshal(data, &index); err != nil {
			r.fail(err)
		}
	}
	return index.Manifests
}

// Tags are the tags of images.
func (r *Repository) Tags() []string {
	var list struct {
		Tags []string `json:"tags"`
	}
	if data := r.get(http.MethodGet, "/tags/list"); data != nil {
		if err := json.Unmarshal(data, &list); err != nil {
			r.fail(err)
		}
	}
	var tags []string
	for _, tag := range list.Tags {
		if !beside.MatchString(tag) {
			tags = append(tags, tag)
		}
	}
	return tags
}

// Signatures reads and verifies the signatures of a manifest.
func (r *Repository) Signatures(key Key, subject digest.Digest) Found { return key.find(r, subject) }

// contains says that a repository of that name was asked for.
func (e *Exchange) contains(name string) bool { return strings.HasPrefix(e.Path, "/v2/"+name+"/") }
