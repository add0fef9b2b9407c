package verify_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"cuelabs.dev/go/oci/ociregistry/ocimem"
	"cuelabs.dev/go/oci/ociregistry/ociserver"
	"github.com/google/go-containerregistry/pkg/name"
	digest "github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/client/ci"
	"github.com/temper-images/temper/client/gate"
	"github.com/temper-images/temper/client/inspect"
	"github.com/temper-images/temper/client/provenance"
	"github.com/temper-images/temper/client/referrer"
	"github.com/temper-images/temper/client/registry"
	"github.com/temper-images/temper/client/signing"
	"github.com/temper-images/temper/client/verify"
	"github.com/temper-images/temper/client/vex"
	"github.com/temper-images/temper/hardening/spec"
)

// now is the time of all verifications, and knowledge that of the scans' databases.
var (
	now       = time.Date(2026, 5, 10, 12, 0, 0, 0, time.UTC)
	knowledge = time.Date(2026, 5, 7, 3, 0, 0, 0, time.UTC)
)

// What the provenance of the images says.
const (
	builderID = "https://github.com/team/release/.github/workflows/temper.yml@refs/tags/v1"
	source    = "https://github.com/team/app"
	ref       = "refs/tags/v1.2"
	commit    = "0123456789abcdef0123456789abcdef01234567"
	workflow  = ".github/workflows/release.yml"
)

// key signs.
type key struct {
	signer   *signing.Signer
	verifier *signing.Verifier
}

func newKey() (k key, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return k, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return k, err
	}
	k.signer, err = signing.Open(context.Background(), signing.Options{KeyPEM: func(context.Context) ([]byte, error) {
		return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
	}})
	if err != nil {
		return k, err
	}
	k.verifier, err = k.signer.Verifier()
	return k, err
}

// keys are ours and a stranger's.
var keys = sync.OnceValues(func() (k [2]key, err error) {
	if k[0], err = newKey(); err != nil {
		return k, err
	}
	k[1], err = newKey()
	return k, err
})

func ours(t testing.TB) key     { return someKey(t, 0) }
func stranger(t testing.TB) key { return someKey(t, 1) }

func someKey(t testing.TB, i int) key {
	t.Helper()
	k, err := keys()
	require.NoError(t, err)
	return k[i]
}

// world is a registry in this process with one repository.
type world struct {
	t *testing.T
	// answer may answer a request in the registry's stead, and then says true.
	answer func(w http.ResponseWriter, r *http.Request) bool
	server *httptest.Server
	repo   *registry.Repository
	// formats are those that signatures are written in.
	formats referrer.Formats
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t}
	handler := ociserver.New(ocimem.New(), nil)
	w.server = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if w.answer == nil || !w.answer(rw, r) {
			handler.ServeHTTP(rw, r)
		}
	}))
	t.Cleanup(w.server.Close)
	w.repo = w.open(w.server.Listener.Addr().String())
	return w
}

func (w *world) open(host string) *registry.Repository {
	w.t.Helper()
	repo, err := name.NewRepository(host + "/team/app")
	require.NoError(w.t, err)
	r, err := registry.Open(w.t.Context(), repo, registry.Options{Retry: registry.Retry{Attempts: 2, Base: time.Millisecond, Cap: time.Millisecond}})
	require.NoError(w.t, err)
	return r
}

func (w *world) blob(mediaType string, data []byte) ocispecs.Descriptor {
	w.t.Helper()
	desc := ocispecs.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
	_, err := w.repo.PushBlob(w.t.Context(), desc, func(offset int64) (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(data[offset:])), nil
	}, registry.BlobOptions{})
	require.NoError(w.t, err)
	return desc
}

func (w *world) manifest(tag, mediaType string, document any) ocispecs.Descriptor {
	w.t.Helper()
	data, err := json.Marshal(document)
	require.NoError(w.t, err)
	desc := ocispecs.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
	if tag == "" {
		tag = desc.Digest.String()
	}
	require.NoError(w.t, w.repo.PutManifest(w.t.Context(), tag, mediaType, data))
	return desc
}

// image pushes an image for a platform: "arm/v7".
func (w *world) image(platform string) ocispecs.Descriptor {
	w.t.Helper()
	arch, variant, _ := strings.Cut(platform, "/")
	p := ocispecs.Platform{OS: "linux", Architecture: arch, Variant: variant}
	config, err := json.Marshal(ocispecs.Image{Platform: p})
	require.NoError(w.t, err)
	m := ocispecs.Manifest{
		MediaType: ocispecs.MediaTypeImageManifest, Config: w.blob(ocispecs.MediaTypeImageConfig, config),
		Layers: []ocispecs.Descriptor{w.blob(ocispecs.MediaTypeImageLayer, []byte(platform))},
	}
	m.SchemaVersion = 2
	d := w.manifest("", ocispecs.MediaTypeImageManifest, m)
	d.Platform = &p
	return d
}

func (w *world) index(tag string, images ...ocispecs.Descriptor) ocispecs.Descriptor {
	w.t.Helper()
	i := ocispecs.Index{MediaType: ocispecs.MediaTypeImageIndex, Manifests: images}
	i.SchemaVersion = 2
	return w.manifest(tag, ocispecs.MediaTypeImageIndex, i)
}

// attach pushes what was signed about a manifest.
func (w *world) attach(subject ocispecs.Descriptor, signed ...referrer.Signed) {
	w.t.Helper()
	found, err := referrer.Read(w.t.Context(), w.repo, subject.Digest)
	require.NoError(w.t, err)
	list, err := referrer.Manifests(subject, signed, found.Existing, now, w.formats)
	require.NoError(w.t, err)
	for _, m := range list {
		for _, b := range m.Blobs {
			w.blob(b.Descriptor.MediaType, b.Data)
		}
		at := m.Tag
		if at == "" {
			at = m.Descriptor.Digest.String()
		}
		require.NoError(w.t, w.repo.PutManifest(w.t.Context(), at, m.Descriptor.MediaType, m.Data))
	}
}

func (w *world) sign(k key, subjects ...ocispecs.Descriptor) {
	w.t.Helper()
	for _, s := range subjects {
		signed, err := referrer.SignImage(w.t.Context(), k.signer, w.repo.Name().Name(), s)
		require.NoError(w.t, err)
		w.attach(s, signed)
	}
}

// attest attests a predicate about a manifest, under the name of another if there is
// one.
func (w *world) attest(k key, subject ocispecs.Descriptor, predicateType string, predicate any, about ...digest.Digest) {
	w.t.Helper()
	d := subject.Digest
	if len(about) > 0 {
		d = about[0]
	}
	data, is := predicate.([]byte)
	if !is {
		var err error
		data, err = json.Marshal(predicate)
		require.NoError(w.t, err)
	}
	statement, err := provenance.Wrap(predicateType, data, provenance.Image{Name: "app", Digest: d, Platform: "linux/amd64"})
	require.NoError(w.t, err)
	w.attestStatement(k, subject, statement)
}

func (w *world) attestStatement(k key, subject ocispecs.Descriptor, statement []byte) {
	w.t.Helper()
	signed, err := referrer.Attest(w.t.Context(), k.signer, statement)
	require.NoError(w.t, err)
	w.attach(subject, signed)
}

// release is what temper release says of an image.
type release struct {
	facts    ci.Facts
	checkout ci.Checkout
	builder  string
	built    time.Time
	gate     gate.Result
	sbomOf   digest.Digest
	outcome  string
	result   string
	skip     map[verify.Kind]bool
}

func newRelease() *release {
	r := &release{
		facts: ci.Facts{
			Platform: ci.GitHub, Repository: source, Commit: commit, Ref: ref, Workflow: workflow, Runner: ci.Hosted, BuilderID: builderID,
			Origins: map[string]ci.Origin{ci.FactBuilder: ci.FromClaims, ci.FactRunner: ci.FromClaims, ci.FactRepository: ci.FromClaims},
		},
		checkout: ci.Checkout{Repository: source, Commit: commit, Ref: ref, Dir: "."},
		built:    knowledge, outcome: inspect.Passed, result: "PASSED", skip: map[verify.Kind]bool{},
		gate: gate.Result{Passed: true, Mode: gate.ModeFail, Judged: gate.DateOf(now)},
	}
	r.facts.Checkout = &r.checkout
	return r
}

func (r *release) provenance(t *testing.T, d digest.Digest) []byte {
	t.Helper()
	statement, err := provenance.Release(provenance.Input{
		Image: provenance.Image{Name: "app", Digest: d, Platform: "linux/amd64"}, CI: &r.facts, BuilderID: r.builder,
	})
	require.NoError(t, err)
	return statement
}

type object = map[string]any

// attach attests everything about an image.
func (r *release) attach(w *world, k key, image ocispecs.Descriptor) {
	w.t.Helper()
	d := image.Digest
	if r.sbomOf != "" {
		d = r.sbomOf
	}
	purl := "pkg:oci/app@" + d.Algorithm().String() + "%3A" + d.Encoded() + "?repository_url=example.com/app"
	g := r.gate
	g.Subject = gate.Subject{Name: "app", Digest: image.Digest.String()}
	statements := []struct {
		kind          verify.Kind
		predicateType string
		predicate     any
	}{
		{verify.SBOM, "https://cyclonedx.org/bom", object{
			"bomFormat": "CycloneDX", "specVersion": "1.6", "components": []object{{"name": "zlib"}},
			"metadata": object{"component": object{"type": "container", "purl": purl, "hashes": []object{{"alg": "SHA-256", "content": d.Encoded()}}}},
		}},
		{verify.SBOM, "https://spdx.dev/Document", object{
			"spdxVersion":   "SPDX-2.3",
			"packages":      []object{{"SPDXID": "SPDXRef-app", "externalRefs": []object{{"referenceLocator": purl}}}, {"SPDXID": "SPDXRef-zlib"}},
			"relationships": []object{{"spdxElementId": "SPDXRef-DOCUMENT", "relationshipType": "DESCRIBES", "relatedSpdxElement": "SPDXRef-app"}},
		}},
		{verify.Scan, "https://cosign.sigstore.dev/attestation/vuln/v1", object{
			"scanner":  object{"uri": "pkg:golang/github.com/anchore/grype@v0.120.1", "db": object{"version": "v6.1.10-" + r.built.Format("20060102150405")}, "result": object{}},
			"metadata": object{"scanFinishedOn": "2020-01-01T00:00:00Z"},
		}},
		{verify.Gate, gate.PredicateType, g},
		{verify.Hardening, spec.PredicateType, spec.Report{Level: spec.LevelExclusive, Checks: []spec.Check{{Name: spec.CheckLinks, Statement: "it still links", Passed: true}}}},
		{verify.Inspection, inspect.PredicateType, inspect.Document{Schema: inspect.PredicateType, Image: inspect.Image{Digest: image.Digest.String()}, Date: "2026-05-10", Outcome: r.outcome}},
		{verify.VEX, vex.PredicateType, object{"@context": "https://openvex.dev/ns/v0.2.0", "@id": "https://example.com/vex", "author": "Ada",
			"timestamp": "2026-04-01T00:00:00Z", "version": 1, "statements": []object{{"vulnerability": object{"name": "CVE-2026-0001"},
				"products": []object{{"@id": purl}}, "status": "not_affected", "justification": "component_not_present"}}}},
		{verify.Test, verify.PredicateTestResult, object{"result": r.result, "passedTests": []string{"starts"}}},
	}
	if !r.skip[verify.Provenance] {
		w.attestStatement(k, image, r.provenance(w.t, image.Digest))
	}
	for _, s := range statements {
		if !r.skip[s.kind] {
			w.attest(k, image, s.predicateType, s.predicate)
		}
	}
}

// policy is one that asks for everything and expects what the release says.
func policy() verify.Policy {
	return verify.Policy{
		Require:    verify.Kinds,
		Provenance: verify.ProvenancePolicy{Builders: []verify.Builder{{ID: builderID}}, Source: source, Ref: "refs/tags/v*", Commit: commit, Workflow: workflow, Level: 2},
		SBOM:       verify.SBOMPolicy{Formats: []string{verify.FormatCycloneDX, verify.FormatSPDX}},
		Scan:       verify.ScanPolicy{MaxAge: "7d"},
		Gate:       verify.GatePolicy{Accept: verify.AcceptPass},
	}
}

// verify verifies a manifest with our key.
func (w *world) verify(top digest.Digest, p verify.Policy) (*verify.Report, error) {
	w.t.Helper()
	return verify.Image(w.t.Context(), w.repo, top, verify.Options{
		Policy: p, Signers: []*signing.Verifier{ours(w.t).verifier}, Image: "registry.example.com/team/app", Now: now,
	})
}

// row finds a check.
func row(t *testing.T, r *verify.Report, subject digest.Digest, kind verify.Kind) verify.Check {
	t.Helper()
	for _, s := range r.Subjects {
		for _, c := range s.Checks {
			if s.Digest == subject && c.Kind == kind {
				return c
			}
		}
	}
	require.Fail(t, fmt.Sprintf("the report has no check %s of %s", kind, subject))
	return verify.Check{}
}

func contextWithTimeout(t *testing.T, d time.Duration) (context.Context, context.CancelFunc) {
	t.Helper()
	return context.WithTimeout(t.Context(), d)
}
