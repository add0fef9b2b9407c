package publish_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	digest "github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/client/publish"
	"github.com/temper-images/temper/client/referrer"
)

var update = flag.Bool("update", false, "write the golden files anew")

func golden(t *testing.T, file string, got []byte) {
	t.Helper()
	file = filepath.Join("testdata", file)
	if *update {
		require.NoError(t, os.MkdirAll("testdata", 0o755))
		require.NoError(t, os.WriteFile(file, got, 0o644))
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, string(want), string(got), "run go test -update")
}

func planned(t *testing.T, order publish.Order) *publish.Request {
	t.Helper()
	tag, err := name.NewTag("registry.example.com/team/app:1.2")
	require.NoError(t, err)
	other, err := name.NewTag("ghcr.io/team/app:1.2")
	require.NoError(t, err)
	img := read(t, false)
	r := &publish.Request{Image: img, Tags: []name.Tag{tag, other}, ArchTags: true, Order: order, Attachments: map[digest.Digest][]referrer.Signed{}}
	for _, m := range img.Platforms() {
		r.Attachments[m.Descriptor.Digest] = []referrer.Signed{{PredicateType: predicateSBOM}}
	}
	return r
}

func TestPlan(t *testing.T) {
	for _, order := range []publish.Order{publish.OrderAuto, publish.OrderDigestFirst} {
		t.Run(string(order), func(t *testing.T) {
			p, err := publish.NewPlan(planned(t, order))
			require.NoError(t, err)
			var table, document bytes.Buffer
			require.NoError(t, p.Table(&table))
			golden(t, "plan-"+string(order)+".txt", table.Bytes())
			require.NoError(t, p.JSON(&document))
			var back publish.Plan
			require.NoError(t, json.Unmarshal(document.Bytes(), &back))
			require.Equal(t, *p, back)
		})
	}
}

// What Run writes is what the plan says, in an order that the plan allows.
func TestPlanIsCarriedOut(t *testing.T) {
	for _, order := range []publish.Order{publish.OrderSignatureFirst, publish.OrderDigestFirst} {
		t.Run(string(order), func(t *testing.T) {
			f := without(t)
			r := request(t, read(t, false), f.tag(t, "team/app:1.2"))
			r.Order = order
			p, err := publish.NewPlan(r)
			require.NoError(t, err)
			result, err := publish.Run(t.Context(), r)
			require.NoError(t, err)
			require.Equal(t, order, result.Repositories[0].Order)
			whole(t, r, 0)
			wrote := f.writes()
			bundles := 0
			for _, o := range p.Operations {
				switch o.Action {
				case publish.ActionManifest:
					require.Contains(t, wrote, o.Digest.String())
				case publish.ActionMerge, publish.ActionIndex, publish.ActionTag:
					require.Contains(t, wrote, o.Tag)
				case publish.ActionSign, publish.ActionAttest:
					bundles++
				}
			}
			tags := 3
			require.Len(t, wrote, len(r.Image.Manifests)+bundles+5+5+2+tags, "nothing else is written")
			top := slices.Index(wrote, r.Image.Top.Digest.String())
			for _, m := range r.Image.Manifests {
				at := slices.Index(wrote, m.Descriptor.Digest.String())
				index := slices.Index(wrote, referrer.FallbackTag(m.Descriptor.Digest))
				require.LessOrEqual(t, at, top)
				require.Equal(t, order == publish.OrderSignatureFirst, index < at)
				require.Less(t, slices.Index(wrote, referrer.SignatureTag(m.Descriptor.Digest)), at, "Cosign's tag is first in both orders")
			}
		})
	}
}

func TestRequestErrors(t *testing.T) {
	tag := func(s string) name.Tag {
		tag, err := name.NewTag(s)
		require.NoError(t, err)
		return tag
	}
	l := newLayout(t)
	two, err := publish.Read(t.Context(), l.dir, l.index(l.image("amd64"), l.attestation(l.image("arm64").Digest)), false)
	require.NoError(t, err)
	defer two.Close()
	for name, c := range map[string]struct {
		change func(*publish.Request)
		want   string
	}{
		"no image":     {func(r *publish.Request) { r.Image = nil }, "there is no image"},
		"no tag":       {func(r *publish.Request) { r.Tags = nil }, "there is no tag"},
		"latest":       {func(r *publish.Request) { r.Tags[0] = tag("registry.example.com/app:latest") }, "is not written; name a version"},
		"no version":   {func(r *publish.Request) { r.Tags[0] = tag("registry.example.com/app") }, "app: the tag latest"},
		"order":        {func(r *publish.Request) { r.Order = "backwards" }, `order of publishing "backwards"`},
		"long":         {func(r *publish.Request) { r.Tags[0] = tag("registry.example.com/app:" + strings.Repeat("a", 128)) }, "tag for linux/amd64"},
		"same tag":     {func(r *publish.Request) { r.Tags = append(r.Tags, tag("registry.example.com/team/app:1.2-amd64")) }, "is to name both"},
		"attestation":  {func(r *publish.Request) { r.Attachments[digest.FromString("x")] = make([]referrer.Signed, 2) }, "2 attestations are about sha256:2d711642"},
		"nobody signs": {func(r *publish.Request) {}, "nobody signs the image"},
	} {
		t.Run(name, func(t *testing.T) {
			r := planned(t, publish.OrderAuto)
			c.change(r)
			_, err := publish.Run(t.Context(), r)
			var bad *publish.RequestError
			require.ErrorAs(t, err, &bad)
			require.ErrorContains(t, err, c.want)
			if name != "nobody signs" {
				_, err = publish.NewPlan(r)
				require.ErrorAs(t, err, &bad)
			}
		})
	}
	for s, want := range map[string]publish.Order{"": publish.OrderAuto, "auto": publish.OrderAuto, "digest-first": publish.OrderDigestFirst} {
		got, err := publish.ParseOrder(s)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
}

// Tags in two repositories of one registry: blobs are mounted into the second, and
// no tag is written before both have everything.
func TestTwoRepositories(t *testing.T) {
	f := withAPI(t)
	r := request(t, read(t, false), f.tag(t, "team/app:1.2"), f.tag(t, "mirror/app:1.2"), f.tag(t, "team/app:1.2.3"))
	result, err := publish.Run(t.Context(), r)
	require.NoError(t, err)
	whole(t, r, 0)
	require.Len(t, result.Repositories, 2)
	require.Equal(t, strings.TrimPrefix(f.URL, "http://")+"/mirror/app", result.Repositories[1].Repository)
	require.Positive(t, result.Repositories[1].Blobs.Mounted)
	require.Len(t, result.Repositories[0].Tags, 6)
	tagged := false
	for _, e := range f.exchanges() {
		if e.method != http.MethodPut || !strings.Contains(e.path, "/manifests/") {
			continue
		}
		ref := filepath.Base(e.path)
		mine := strings.HasPrefix(ref, "1.2")
		require.False(t, tagged && !mine, "%s after a tag", e.path)
		tagged = tagged || mine
	}
	require.True(t, tagged)
}

// Each form can be left out.
func TestFormats(t *testing.T) {
	for name, formats := range map[string]referrer.Formats{"bundle": {Bundle: true}, "cosign": {Cosign: true}} {
		t.Run(name, func(t *testing.T) {
			f := without(t)
			r := request(t, read(t, false), f.tag(t, "team/app:1.2"))
			r.Formats = formats
			_, err := publish.Run(t.Context(), r)
			require.NoError(t, err)
			for _, m := range r.Image.Manifests {
				got := stranger(t, shared(t), r.Tags[0], m.Descriptor.Digest)
				want := 1 + len(r.Attachments[m.Descriptor.Digest])
				require.Len(t, got, want, "%v", got)
				for what := range got {
					require.Equal(t, formats.Bundle, strings.HasPrefix(what, "bundle "))
				}
			}
			// What was left out is added later, by the same signer.
			r.Formats = referrer.Formats{}
			_, err = publish.Run(t.Context(), r)
			require.NoError(t, err)
			whole(t, r, 0)
		})
	}
}

// Another signer's signatures stay, and this one's are added.
func TestOthersSignaturesStay(t *testing.T) {
	other, err := newKey(t.Context(), t.TempDir())
	require.NoError(t, err)
	for kind, start := range map[string]func(*testing.T) *fake{"referrers API": withAPI, "no referrers API": without} {
		t.Run(kind, func(t *testing.T) {
			f := start(t)
			img := read(t, false)
			theirs := requestBy(t, other, img, f.tag(t, "team/app:1.2"))
			_, err := publish.Run(t.Context(), theirs)
			require.NoError(t, err)
			ours := request(t, img, f.tag(t, "team/app:1.2"))
			result, err := publish.Run(t.Context(), ours)
			require.NoError(t, err)
			require.Zero(t, result.Repositories[0].Manifests)
			whole(t, theirs, 1)
			whole(t, ours, 1)
		})
	}
}

// An attestation with another content is added; one with the same is not, though
// its signature has other bytes.
func TestAttestationsAreKnownByContent(t *testing.T) {
	f := withAPI(t)
	img := read(t, false)
	_, err := publish.Run(t.Context(), request(t, img, f.tag(t, "team/app:1.2")))
	require.NoError(t, err)
	r := request(t, img, f.tag(t, "team/app:1.2"))
	d := img.Platforms()[0].Descriptor.Digest
	more := shared(t).attest(t, d, predicateSBOM, "another bom")
	r.Attachments[d] = append(r.Attachments[d], more, more)
	result, err := publish.Run(t.Context(), r)
	require.NoError(t, err)
	require.Equal(t, 1, result.Repositories[0].Signed)
	got := stranger(t, shared(t), r.Tags[0], d)
	require.Equal(t, 2, got["bundle "+predicateSBOM])
	require.Equal(t, 2, got["att "+predicateSBOM])
	require.Equal(t, 1, got["bundle "+predicateVEX])
}
