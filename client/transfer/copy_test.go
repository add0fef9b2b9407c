package transfer_test

import (
	"bytes"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"cuelabs.dev/go/oci/ociregistry/ocimem"
	"cuelabs.dev/go/oci/ociregistry/ociserver"
	digest "github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"

	images "github.com/temper-images/temper/client/publish"
	"github.com/temper-images/temper/client/referrer"
	"github.com/temper-images/temper/client/registry"
	"github.com/temper-images/temper/client/transfer"
)

var kinds = map[string]func() http.Handler{"with the API": withAPI, "without": withoutAPI}

// Everything arrives, whatever lists it at either end.
func TestCopy(t *testing.T) {
	for from, source := range kinds {
		for to, destination := range kinds {
			t.Run(from+", "+to, func(t *testing.T) {
				p := publish(t, serve(t, source(), "team/app"), "1.0")
				dst := serve(t, destination(), "mirror/app")
				var progress sync.Map
				o := transfer.Options{Verify: signedBy(signerNo(t, 0)), Progress: func(blob string, done, total int64) { progress.Store(blob, done == total) }}
				result, err := transfer.Copy(t.Context(), p.image(), dst, "1.0", o)
				require.NoError(t, err)
				require.Equal(t, 4, result.Manifests)
				require.Equal(t, 13, result.Attached)
				require.Equal(t, result.Blobs, result.Pushed)
				require.False(t, result.FellBack)
				require.Equal(t, dst.Name().Name()+":1.0", result.Name)
				p.requireArrived(t, dst)
				tagged, err := dst.Head(t.Context(), "1.0")
				require.NoError(t, err)
				require.Equal(t, p.top.Digest, tagged.Digest)
				blobs := 0
				progress.Range(func(_, done any) bool { blobs++; return done.(bool) })
				require.Equal(t, result.Blobs, blobs)

				again, err := transfer.Copy(t.Context(), p.image(), dst, "1.0", o)
				require.NoError(t, err)
				require.Zero(t, again.Pushed)
			})
		}
	}
}

// recorder notes the manifests that are pushed, in order.
type recorder struct {
	http.Handler
	mu     sync.Mutex
	puts   []string
	refuse func(r *http.Request) bool
}

func (rec *recorder) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if rec.refuse != nil && rec.refuse(r) {
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprint(w, `{"errors":[{"code":"MANIFEST_BLOB_UNKNOWN","message":"blob unknown to registry"}]}`)
		return
	}
	if r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/manifests/") {
		rec.mu.Lock()
		rec.puts = append(rec.puts, r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:])
		rec.mu.Unlock()
	}
	rec.Handler.ServeHTTP(w, r)
}

func (rec *recorder) at(t *testing.T, ref digest.Digest) int {
	t.Helper()
	i := slices.Index(rec.puts, ref.String())
	require.GreaterOrEqual(t, i, 0, ref)
	return i
}

// Signatures are there before what they are about, and the tag comes last.
func TestOrder(t *testing.T) {
	p := publish(t, serve(t, withoutAPI(), "team/app"), "1.0")
	rec := &recorder{Handler: withAPI()}
	_, err := transfer.Copy(t.Context(), p.image(), serve(t, rec, "app"), "1.0", transfer.Options{})
	require.NoError(t, err)
	for _, image := range []string{"index", "amd64", "arm64"} {
		for what, dgst := range p.all {
			if !slices.Contains([]string{"index", "amd64", "arm64", "attestation manifest"}, what) && !strings.HasPrefix(what, "sig tag") && !strings.Contains(what, "tag") {
				require.Less(t, rec.at(t, dgst), rec.at(t, p.all[image]), "%s before %s", what, image)
			}
		}
	}
	require.Less(t, rec.at(t, p.all["signature of the sbom"]), rec.at(t, p.all["sbom"]))
	require.Less(t, rec.at(t, p.all["remark"]), rec.at(t, p.all["signature of the sbom"]))
	require.Less(t, rec.at(t, p.all["amd64"]), rec.at(t, p.all["index"]))
	require.Equal(t, "1.0", rec.puts[len(rec.puts)-1])
}

// A registry that wants subjects to be there gets them first, and the tag last.
func TestAbsentSubjectRefused(t *testing.T) {
	p := publish(t, serve(t, withAPI(), "team/app"), "1.0")
	inner := withAPI()
	rec := &recorder{Handler: inner}
	there := map[string]bool{}
	rec.refuse = func(r *http.Request) bool {
		if r.Method != http.MethodPut || !strings.Contains(r.URL.Path, "/manifests/sha256:") {
			return false
		}
		rec.mu.Lock()
		defer rec.mu.Unlock()
		ref := r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]
		subject := map[digest.Digest]string{
			p.all["sbom"]: p.amd.Digest.String(), p.all["signature of the sbom"]: p.all["sbom"].String(), p.all["remark"]: p.all["signature of the sbom"].String(),
			p.all["set"]: p.top.Digest.String(), p.all["attestation manifest"]: p.amd.Digest.String(),
		}[digest.Digest(ref)]
		if subject != "" && !there[subject] {
			return true
		}
		there[ref] = true
		return false
	}
	var notices []string
	dst := serve(t, rec, "app")
	result, err := transfer.Copy(t.Context(), p.image(), dst, "1.0", transfer.Options{
		Verify: signedBy(signerNo(t, 0)), Notice: func(text string) { notices = append(notices, text) },
	})
	require.NoError(t, err)
	require.True(t, result.FellBack)
	require.Contains(t, strings.Join(notices, "\n"), "it gets the image first")
	require.Equal(t, "1.0", rec.puts[len(rec.puts)-1])
	p.requireArrived(t, dst)
}

// A tag that stands for something else stays, and nothing is pushed.
func TestTagStays(t *testing.T) {
	p := publish(t, serve(t, withAPI(), "team/app"), "1.0")
	rec := &recorder{Handler: withAPI()}
	dst := serve(t, rec, "app")
	other := origin{t, dst}.index("1.0", origin{t, dst}.image("riscv64"))
	before := len(rec.puts)
	_, err := transfer.Copy(t.Context(), p.image(), dst, "1.0", transfer.Options{})
	var exists *images.TagExistsError
	require.ErrorAs(t, err, &exists)
	require.Equal(t, other.Digest, exists.Has)
	require.ErrorContains(t, err, "--move-tag")
	require.Len(t, rec.puts, before)

	_, err = transfer.Copy(t.Context(), p.image(), dst, "1.0", transfer.Options{MoveTag: true})
	require.NoError(t, err)
	p.requireArrived(t, dst)
	tagged, err := dst.Head(t.Context(), "1.0")
	require.NoError(t, err)
	require.Equal(t, p.top.Digest, tagged.Digest)
}

// Nothing is pushed of an image that is not signed as demanded.
func TestUnsignedIsNotCopied(t *testing.T) {
	src := serve(t, withAPI(), "team/app")
	p := publish(t, src, "1.0")
	rec := &recorder{Handler: withAPI()}
	_, err := transfer.Copy(t.Context(), p.image(), serve(t, rec, "app"), "1.0", transfer.Options{Verify: signedBy(signerNo(t, 1))})
	require.ErrorIs(t, err, errUnsigned)
	require.Empty(t, rec.puts)
}

// One platform comes with what is attached to it, and to it only.
func TestPlatform(t *testing.T) {
	p := publish(t, serve(t, withAPI(), "team/app"), "1.0")
	dst := serve(t, withAPI(), "app")
	result, err := transfer.Copy(t.Context(), p.image(), dst, "1.0-amd64", transfer.Options{Platform: "linux/amd64", Verify: signedBy(signerNo(t, 0))})
	require.NoError(t, err)
	require.Equal(t, p.amd.Digest, result.Image)
	c, err := transfer.Collect(t.Context(), dst, ocispecs.Descriptor{Digest: p.amd.Digest}, "")
	require.NoError(t, err)
	for _, what := range []string{"amd64", "attestation manifest", "sbom", "remark", "sbom tag", "bundle of " + p.amd.Digest.String()} {
		require.Contains(t, c.Manifests, p.all[what], what)
	}
	for _, what := range []string{"index", "arm64", "set"} {
		_, err := dst.Head(t.Context(), p.all[what].String())
		require.ErrorIs(t, err, registry.ErrNotFound, what)
	}
	var input *transfer.InputError
	_, err = transfer.Collect(t.Context(), p.repo, p.top, "linux/s390x")
	require.ErrorAs(t, err, &input)
	require.ErrorContains(t, err, "there is linux/amd64, linux/arm64")
	_, err = transfer.Collect(t.Context(), p.repo, p.arm, "linux/amd64")
	require.ErrorAs(t, err, &input)
}

// What others signed under Cosign's tags, and listed in the index, stays.
func TestOthersSignaturesStay(t *testing.T) {
	for kind, destination := range kinds {
		t.Run(kind, func(t *testing.T) {
			p := publish(t, serve(t, withAPI(), "team/app"), "1.0")
			dst := serve(t, destination(), "app")
			there := origin{t, dst}
			amd, arm := there.image("amd64"), there.image("arm64")
			require.Equal(t, []digest.Digest{p.amd.Digest, p.arm.Digest}, []digest.Digest{amd.Digest, arm.Digest})
			attestation := there.artifact("", "application/vnd.docker.attestation.manifest.v1+json", "attestation", &p.amd, nil)
			attestation.Platform = p.attestation.Platform
			top := there.index("", amd, arm, attestation)
			require.Equal(t, p.top.Digest, top.Digest)
			there.sign(signerNo(t, 1), top)
			_, err := transfer.Copy(t.Context(), p.image(), dst, "1.0", transfer.Options{})
			require.NoError(t, err)
			found, err := referrer.Read(t.Context(), dst, top.Digest)
			require.NoError(t, err)
			forms := map[int]map[referrer.Form]bool{0: {}, 1: {}}
			for _, e := range found.Entries {
				for i := range forms {
					if _, err := e.Verify(t.Context(), signerNo(t, i).verifier, top.Digest); err == nil {
						for _, place := range e.Places {
							forms[i][place.Form] = true
						}
					}
				}
			}
			both := map[referrer.Form]bool{referrer.FormBundle: true, referrer.FormSignature: true}
			require.Equal(t, map[int]map[referrer.Form]bool{0: both, 1: both}, forms)
		})
	}
}

// Two copies of two images' signatures into one repository, at once: nothing is lost.
func TestTwoCopiesAtOnce(t *testing.T) {
	first, second := serve(t, withoutAPI(), "a"), serve(t, withoutAPI(), "b")
	one, two := origin{t, first}, origin{t, second}
	top := one.image("amd64")
	require.Equal(t, top.Digest, two.image("amd64").Digest)
	one.sign(signerNo(t, 0), top)
	two.sign(signerNo(t, 1), top)
	for range 10 {
		dst := serve(t, withoutAPI(), "app")
		var wg sync.WaitGroup
		errs := make([]error, 2)
		for i, src := range []*registry.Repository{first, second} {
			wg.Go(func() {
				_, errs[i] = transfer.Copy(t.Context(), transfer.Image{Source: src, Top: top}, dst, fmt.Sprint("v", i), transfer.Options{})
			})
		}
		wg.Wait()
		require.NoError(t, errs[0])
		require.NoError(t, errs[1])
		require.NoError(t, signedBy(signerNo(t, 0))(t.Context(), dst, top))
		require.NoError(t, signedBy(signerNo(t, 1))(t.Context(), dst, top))
	}
}

// Within one registry blobs are mounted and not sent.
func TestMounted(t *testing.T) {
	src := serve(t, ociserver.New(ocimem.New(), nil), "team/app")
	p := publish(t, src, "1.0")
	dst := open(t, src.Name().RegistryStr(), "mirror/app")
	result, err := transfer.Copy(t.Context(), p.image(), dst, "1.0", transfer.Options{})
	require.NoError(t, err)
	require.Equal(t, result.Blobs, result.Mounted)
	require.Zero(t, result.Pushed)
	p.requireArrived(t, dst)
}

// A list that names what was deleted does not keep an image from being copied, and
// a refused list is no empty one.
func TestLists(t *testing.T) {
	src := serve(t, withoutAPI(), "team/app")
	p := publish(t, src, "1.0")
	gone := p.artifact("", "text/plain", "what is deleted", &p.top, nil).Digest
	request, err := http.NewRequestWithContext(t.Context(), http.MethodDelete, "http://"+src.Name().RegistryStr()+"/v2/team/app/manifests/"+gone.String(), nil)
	require.NoError(t, err)
	answer, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	require.NoError(t, answer.Body.Close())
	require.Equal(t, http.StatusAccepted, answer.StatusCode)
	var notices []string
	dst := serve(t, withAPI(), "app")
	result, err := transfer.Copy(t.Context(), p.image(), dst, "1.0", transfer.Options{Notice: func(text string) { notices = append(notices, text) }})
	require.NoError(t, err)
	require.Equal(t, []digest.Digest{gone}, result.Gone)
	require.Contains(t, strings.Join(notices, "\n"), gone.String())
	p.requireArrived(t, dst)

	for _, status := range []int{http.StatusForbidden, http.StatusTooManyRequests, http.StatusInternalServerError} {
		inner := withAPI()
		whole := serve(t, inner, "team/app")
		p := publish(t, whole, "1.0")
		bad := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.HasSuffix(r.URL.Path, p.amd.Digest.String()) && strings.Contains(r.URL.Path, "/referrers/") {
				w.WriteHeader(status)
				return
			}
			inner.ServeHTTP(w, r)
		}), "team/app")
		_, err := transfer.Collect(t.Context(), bad, p.top, "")
		require.Error(t, err, "%d", status)
		require.ErrorContains(t, err, "list what is attached to "+p.amd.Digest.String())
	}
}

// A source that changes what it says is found out.
func TestHostileManifests(t *testing.T) {
	src := serve(t, withAPI(), "team/app")
	o := origin{t, src}
	for name, document := range map[string]string{
		"neither":       `{"schemaVersion":2,"mediaType":"application/x-something"}`,
		"negative size": `{"schemaVersion":2,"mediaType":"` + ocispecs.MediaTypeImageManifest + `","config":{"mediaType":"a/b","digest":"` + digest.FromString("x").String() + `","size":-1},"layers":[]}`,
	} {
		t.Run(name, func(t *testing.T) {
			dgst := digest.FromString(document)
			handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if strings.Contains(r.URL.Path, "/manifests/"+dgst.String()) {
					w.Header().Set("Content-Type", ocispecs.MediaTypeImageManifest)
					_, _ = bytes.NewBufferString(document).WriteTo(w)
					return
				}
				if r.URL.Path != "/v2/" {
					w.WriteHeader(http.StatusNotFound)
				}
			})
			_, err := transfer.Collect(t.Context(), serve(t, handler, "app"), ocispecs.Descriptor{Digest: dgst}, "")
			require.ErrorContains(t, err, dgst.String())
		})
	}
	// Deep indexes end somewhere.
	top := o.image("amd64")
	for range 20 {
		top = o.index("", top)
	}
	_, err := transfer.Collect(t.Context(), src, top, "")
	require.ErrorContains(t, err, "16 deep")
}
