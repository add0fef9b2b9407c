package publish

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	digest "github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"
)

// copier puts single manifests of a published image into another repository, in any
// order: what a client does that signs too late.
type copier struct {
	t        *testing.T
	from, to string
}

func (c copier) request(method, url string, body []byte, contentType string) *http.Response {
	c.t.Helper()
	req, err := http.NewRequestWithContext(c.t.Context(), method, url, bytes.NewReader(body))
	require.NoError(c.t, err)
	req.Header.Set("Content-Type", contentType)
	req.Header.Set("Accept", accept)
	resp, err := http.DefaultClient.Do(req)
	require.NoError(c.t, err)
	c.t.Cleanup(func() { resp.Body.Close() })
	return resp
}

// put copies a manifest with its blobs.
func (c copier) put(data []byte, ref string) {
	c.t.Helper()
	var m ocispecs.Manifest
	require.NoError(c.t, json.Unmarshal(data, &m))
	if m.Config.Digest != "" {
		for _, b := range append([]ocispecs.Descriptor{m.Config}, m.Layers...) {
			c.blob(b.Digest)
		}
	}
	resp := c.request(http.MethodPut, c.to+"/manifests/"+ref, data, m.MediaType)
	require.Equal(c.t, http.StatusCreated, resp.StatusCode, ref)
}

func (c copier) blob(d digest.Digest) {
	c.t.Helper()
	resp := c.request(http.MethodGet, c.from+"/blobs/"+d.String(), nil, "")
	var content bytes.Buffer
	_, err := content.ReadFrom(resp.Body)
	require.NoError(c.t, err)
	resp = c.request(http.MethodPost, c.to+"/blobs/uploads/", nil, "")
	to, err := resp.Location()
	require.NoError(c.t, err)
	q := to.Query()
	q.Set("digest", d.String())
	to.RawQuery = q.Encode()
	resp = c.request(http.MethodPut, to.String(), content.Bytes(), "application/octet-stream")
	require.Equal(c.t, http.StatusCreated, resp.StatusCode)
}

// Everything that the rules forbid is noticed, by the rules or by the watcher.
func TestRulesNotice(t *testing.T) {
	s := dockerRegistry(t)
	private, key := newKey(t)
	_, stranger := newKey(t)
	img, other := newImage(t, "good"), newImage(t, "other")
	for i, image := range []*Image{img, other} {
		r := &Release{Image: image, Tags: []string{s.host + "/good:" + string(rune('1'+i))}, Key: private}
		_, err := r.Run(t.Context())
		require.NoError(t, err)
	}
	source := Read(t.Context(), s.host, "good")
	leaf := img.Platforms[0]
	manifest, signature := source.manifest(leaf.String()), source.manifest(tagOf(leaf, ".sig"))
	list := source.manifest(tagOf(leaf, ""))
	var index ocispecs.Index
	require.NoError(t, json.Unmarshal(list, &index))
	bundle := source.manifest(index.Manifests[0].Digest.String())
	require.NoError(t, source.Err)
	signed := func(c copier) {
		c.put(signature, tagOf(leaf, ".sig"))
		c.put(bundle, index.Manifests[0].Digest.String())
		c.put(list, tagOf(leaf, ""))
	}
	tests := map[string]struct {
		do          func(c copier)
		key         Key
		digestFirst bool
		want        string
	}{
		"all is well":          {func(c copier) { signed(c); c.put(manifest, leaf.String()); c.put(manifest, "1") }, key, false, ""},
		"unsigned by tag":      {func(c copier) { c.put(manifest, "1") }, key, true, "is readable as 1 with 0 bundles and 0 signatures"},
		"unsigned by digest":   {func(c copier) { c.put(manifest, leaf.String()) }, key, false, "is readable as sha256:"},
		"by digest is allowed": {func(c copier) { c.put(manifest, leaf.String()); signed(c); c.put(manifest, "1") }, key, true, ""},
		"signed afterwards":    {func(c copier) { c.put(manifest, "1"); signed(c) }, key, true, "is readable as 1"},
		"no bundle":            {func(c copier) { c.put(signature, tagOf(leaf, ".sig")); c.put(manifest, "1") }, key, true, "with 0 bundles and 1 signatures"},
		"a bundle that no list has": {func(c copier) {
			c.put(signature, tagOf(leaf, ".sig"))
			c.put(bundle, index.Manifests[0].Digest.String())
			c.put(manifest, "1")
		}, key, true, "with 0 bundles and 1 signatures"},
		"another key": {func(c copier) { signed(c); c.put(manifest, "1") }, stranger, true, "with 0 bundles and 0 signatures"},
		"a tag that moves": {func(c copier) {
			signed(c)
			c.put(manifest, "1")
			c.put(source.manifest(other.Platforms[0].String()), "1")
		}, key, true, "the tag 1 is taken from sha256:"},
		"a lost referrer": {func(c copier) {
			signed(c)
			c.put([]byte(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`), tagOf(leaf, ""))
		}, key, true, "no longer lists [sha256:"},
		"a deleted one": {func(c copier) { c.request(http.MethodDelete, c.to+"/manifests/"+leaf.String(), nil, "") }, key, true, "something is deleted"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			into := dockerRegistry(t)
			rec, err := Record(into.host)
			require.NoError(t, err)
			defer rec.Close()
			w := Watch(t.Context(), rec.Addr, "bad", tt.key, tt.digestFirst)
			w.Expect(leaf)
			tt.do(copier{t, "http://" + s.host + "/v2/good", "http://" + rec.Addr + "/v2/bad"})
			w.Look(1)
			report := w.Stop()
			require.NoError(t, report.Err)
			broken := Rules{Key: tt.key, DigestFirst: tt.digestFirst}.Check(rec.Exchanges())
			if tt.want == "" {
				require.Empty(t, broken)
				require.Empty(t, report.Broken)
				require.Equal(t, 2, report.Seen)
				return
			}
			require.NotEmpty(t, broken)
			require.Contains(t, broken[0].Rule, tt.want)
		})
	}
}

// The image's own content is never taken for what was sent.
func TestKeyRefuses(t *testing.T) {
	private, key := newKey(t)
	require.FileExists(t, private)
	for _, bad := range []string{"", "{}", `{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","dsseEnvelope":{"payload":"e30=","payloadType":"application/vnd.in-toto+json","signatures":[{"sig":"AAAA"}]}}`} {
		_, err := key.Bundle([]byte(bad), digest.FromString("x"))
		require.Error(t, err)
		require.Error(t, key.Payload([]byte(bad), "AAAA", digest.FromString("x")))
	}
	public, err := os.ReadFile(filepath.Join(filepath.Dir(private), "cosign.pub"))
	require.NoError(t, err)
	_, err = ParseKey(public)
	require.NoError(t, err)
	_, err = ParseKey([]byte("no PEM"))
	require.Error(t, err)
}
