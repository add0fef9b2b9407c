package publish

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	digest "github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// Repository reads a repository over plain HTTP, with nothing of ours in between.
// What is not there it reads as nil; every other failure it keeps.
type Repository struct {
	ctx        context.Context
	host, name string
	client     *http.Client
	// Err is the first failure.
	Err error
}

// Read reads the repository name at host as long as ctx is not done.
func Read(ctx context.Context, host, name string) *Repository {
	return &Repository{ctx: ctx, host: host, name: name, client: http.DefaultClient}
}

// ReadAs reads with a name and a password.
func ReadAs(ctx context.Context, host, repository, user, secret string) (*Repository, error) {
	r := Read(ctx, host, repository)
	if user == "" {
		return r, nil
	}
	n, err := name.NewRepository(host + "/" + repository)
	if err != nil {
		return nil, err
	}
	for i := 0; ; i++ {
		t, err := transport.NewWithContext(ctx, n.Registry, authn.FromConfig(authn.AuthConfig{Username: user, Password: secret}),
			http.DefaultTransport, []string{n.Scope(transport.PullScope)})
		if err == nil {
			r.client = &http.Client{Transport: t}
			return r, nil
		}
		if i == tries {
			return nil, err
		}
	}
}

const accept = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, " +
	"application/vnd.docker.distribution.manifest.v2+json, application/vnd.docker.distribution.manifest.list.v2+json"

// tries is how often something is read that a registry fails at: docker-registry
// answers 500 to who reads a tag while it is written, and others throttle.
const tries = 5

// get reads a path of the repository; 404 is nil.
func (r *Repository) get(method, path string) []byte {
	data, _ := r.read(method, path)
	return data
}

// page reads a page of a list, and says where the next one is.
func (r *Repository) page(path string) (data []byte, further string) {
	data, header := r.read(http.MethodGet, path)
	if m := next.FindStringSubmatch(header.Get("Link")); m != nil {
		further = m[1]
	}
	return data, further
}

func (r *Repository) read(method, path string) ([]byte, http.Header) {
	for i := 0; ; i++ {
		data, resp, err := r.once(method, path)
		switch {
		case err == nil:
			return data, resp.Header
		case i == tries || resp != nil && resp.StatusCode < 500 && resp.StatusCode != http.StatusTooManyRequests:
			return r.fail(err), http.Header{}
		}
		select {
		case <-r.ctx.Done():
		case <-time.After(pause):
		}
	}
}

func (r *Repository) once(method, path string) (data []byte, resp *http.Response, err error) {
	req, err := http.NewRequestWithContext(r.ctx, method, "http://"+r.host+"/v2/"+r.name+path, nil)
	if err != nil {
		return nil, nil, err
	}
	req.Header.Set("Accept", accept)
	resp, err = r.client.Do(req)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	data, err = io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return nil, nil, err
	case resp.StatusCode == http.StatusNotFound:
		return nil, resp, nil
	case resp.StatusCode != http.StatusOK:
		return nil, resp, fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, data)
	case method == http.MethodHead:
		return []byte(resp.Header.Get("Docker-Content-Digest")), resp, nil
	}
	return data, resp, nil
}

func (r *Repository) fail(err error) []byte {
	if r.Err == nil && r.ctx.Err() == nil {
		r.Err = err
	}
	return nil
}

func (r *Repository) manifest(ref string) []byte  { return r.get(http.MethodGet, "/manifests/"+ref) }
func (r *Repository) blob(d digest.Digest) []byte { return r.get(http.MethodGet, "/blobs/"+d.String()) }

// Digest is that of a manifest that is there, or nothing.
func (r *Repository) Digest(ref string) digest.Digest {
	d := r.get(http.MethodHead, "/manifests/"+ref)
	if d != nil && len(d) == 0 {
		// ECR does not say it.
		return digest.FromBytes(r.manifest(ref))
	}
	return digest.Digest(d)
}

// referrers asks the registry's list, and without one the tag that stands in for it
// (distribution-spec v1.1, "Referrers Tag Schema").
func (r *Repository) referrers(subject digest.Digest) []ocispecs.Descriptor {
	first := "/referrers/" + subject.String()
	var all []ocispecs.Descriptor
	for path := first; path != ""; {
		data, next := r.page(path)
		if data == nil && path == first {
			data = r.manifest(tagOf(subject, ""))
		}
		var index ocispecs.Index
		if data != nil {
			if err := json.Unmarshal(data, &index); err != nil {
				r.fail(err)
			}
		}
		all, path = append(all, index.Manifests...), next
	}
	return all
}

// next is the address of the next page in a Link header (RFC 8288).
var next = regexp.MustCompile(`^<[^>]*(/referrers/[^>]+)>`)

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
